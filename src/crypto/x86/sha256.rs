//! The compression function of SHA-256 (FIPS 180-4, 6.2.2) on several states at once.
//!
//! `sha256rnds2` takes two rounds, and needs the result of the two before. With two or more states
//! the unit is given one's rounds while another's are under way.
//!
//! Four states and their message words do not fit into sixteen registers, and what a compiler spills
//! to make them fit costs a third of the time. So the words lie in memory, where the instructions
//! take them from, and four rounds of one state are written down as they are to run: on a Zen 4 four
//! states take 51 cycles per block instead of 73.

#[cfg(not(miri))]
use std::arch::asm;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use zeroize::Zeroize;

use super::vector::{load, load_words};

/// FIPS 180-4, 4.2.2: the constants of the rounds, by four.
#[rustfmt::skip]
static K: Constants = Constants([
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
]);

/// Aligned, so that an addition can take them from memory.
#[repr(align(16))]
struct Constants([[u32; 4]; 16]);

/// The eight words of a state as `sha256rnds2` takes them: A, B, E, F and C, D, G, H, each from the
/// highest lane down.
#[derive(Clone, Copy)]
pub(super) struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// The sixteen words of a block, the first in the lowest lane of the first vector.
pub(super) type Words = [__m128i; 4];

/// A block of each of N messages, by four words: what is hashed next. Hashing uses it up.
///
/// What is left in it of a plaintext is a secret: see that something else is hashed from it last.
#[derive(Clone)]
pub(super) struct Blocks<const N: usize>([[__m128i; N]; 4]);

impl State {
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn load(words: &[u32; 8]) -> Self {
        let [low, high] = words.as_chunks().0 else { unreachable!() };
        let cdab = _mm_shuffle_epi32(load_words(low), 0xB1);
        let efgh = _mm_shuffle_epi32(load_words(high), 0x1B);
        Self { abef: _mm_alignr_epi8(cdab, efgh, 8), cdgh: _mm_blend_epi16(efgh, cdab, 0xF0) }
    }

    /// The hash value: words A to D and E to H, the first in the lowest lane.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn digest(self) -> [__m128i; 2] {
        let feba = _mm_shuffle_epi32(self.abef, 0x1B);
        let dchg = _mm_shuffle_epi32(self.cdgh, 0xB1);
        [_mm_blend_epi16(feba, dchg, 0xF0), _mm_alignr_epi8(dchg, feba, 8)]
    }
}

/// The other byte order in each of four words.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn swap_bytes(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(words, _mm_set_epi64x(0x0C0D_0E0F_0809_0A0B, 0x0405_0607_0001_0203))
}

impl<const N: usize> Blocks<N> {
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn new() -> Self {
        Self([[_mm_setzero_si128(); N]; 4])
    }

    /// Four words of a lane's block; `at` counts by four.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn set_four(&mut self, lane: usize, at: usize, words: __m128i) {
        self.0[at][lane] = words;
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn set(&mut self, lane: usize, words: Words) {
        for (at, four) in words.into_iter().enumerate() {
            self.0[at][lane] = four;
        }
    }

    /// Wipes what is left of a plaintext.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn wipe(&mut self) {
        self.0.zeroize();
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn get(&self, lane: usize) -> Words {
        [0, 1, 2, 3].map(|at| self.0[at][lane])
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn words_of(block: &[u8; 64]) -> Words {
    let [a, b, c, d] = block.as_chunks().0 else { unreachable!() };
    [swap_bytes(load(a)), swap_bytes(load(b)), swap_bytes(load(c)), swap_bytes(load(d))]
}

/// Takes one block into each state.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &mut Blocks<N>) {
    compress_beside(states, blocks, |_| {});
}

/// Takes one block into each state, and has something else done between its sixteen steps: work for
/// units that would be idle.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn compress_beside<const N: usize>(
    states: &mut [State; N],
    blocks: &mut Blocks<N>,
    mut other: impl FnMut(usize),
) {
    // For all that the compiler knows, what is behind a reference is read by the rounds: in variables
    // of their own the states stay in registers.
    let (before, mut working) = (*states, *states);
    let mut newest = blocks.0[3];
    four_rounds::<N, 0>(&mut working, blocks, &mut newest);
    other(0);
    four_rounds::<N, 1>(&mut working, blocks, &mut newest);
    other(1);
    four_rounds::<N, 2>(&mut working, blocks, &mut newest);
    other(2);
    four_rounds::<N, 3>(&mut working, blocks, &mut newest);
    other(3);
    four_rounds::<N, 4>(&mut working, blocks, &mut newest);
    other(4);
    four_rounds::<N, 5>(&mut working, blocks, &mut newest);
    other(5);
    four_rounds::<N, 6>(&mut working, blocks, &mut newest);
    other(6);
    four_rounds::<N, 7>(&mut working, blocks, &mut newest);
    other(7);
    four_rounds::<N, 8>(&mut working, blocks, &mut newest);
    other(8);
    four_rounds::<N, 9>(&mut working, blocks, &mut newest);
    other(9);
    four_rounds::<N, 10>(&mut working, blocks, &mut newest);
    other(10);
    four_rounds::<N, 11>(&mut working, blocks, &mut newest);
    other(11);
    four_rounds::<N, 12>(&mut working, blocks, &mut newest);
    other(12);
    four_rounds::<N, 13>(&mut working, blocks, &mut newest);
    other(13);
    four_rounds::<N, 14>(&mut working, blocks, &mut newest);
    other(14);
    four_rounds::<N, 15>(&mut working, blocks, &mut newest);
    other(15);
    for ((state, before), after) in states.iter_mut().zip(before).zip(working) {
        state.abef = _mm_add_epi32(before.abef, after.abef);
        state.cdgh = _mm_add_epi32(before.cdgh, after.cdgh);
    }
}

/// Rounds 4 AT to 4 AT + 3. The four words that they use up make room for the four that are sixteen
/// further on, which become the lane's `newest`.
///
/// One state alone has registers enough, and waits for nothing as long as for its own rounds.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds<const N: usize, const AT: usize>(
    states: &mut [State; N],
    blocks: &mut Blocks<N>,
    newest: &mut [__m128i; N],
) {
    if N == 1 {
        four_rounds_in_registers::<N, AT>(states, blocks, newest);
    } else {
        four_rounds_from_memory::<N, AT>(states, blocks, newest);
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds_in_registers<const N: usize, const AT: usize>(
    states: &mut [State; N],
    blocks: &mut Blocks<N>,
    newest: &mut [__m128i; N],
) {
    for (lane, State { abef, cdgh }) in states.iter_mut().enumerate() {
        let [a, b, c] = [0, 1, 2].map(|i| blocks.0[(AT + i) % 4][lane]);
        let input = _mm_add_epi32(a, load_words(&K.0[AT]));
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, input);
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(input, 0x0E));
        if AT < 12 {
            let shifted = _mm_alignr_epi8(newest[lane], c, 4);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), shifted);
            newest[lane] = _mm_sha256msg2_epu32(sum, newest[lane]);
            blocks.0[AT % 4][lane] = newest[lane];
        }
    }
}

/// An interpreter knows the instructions as functions only.
#[cfg(miri)]
use four_rounds_in_registers as four_rounds_from_memory;

#[cfg(not(miri))]
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds_from_memory<const N: usize, const AT: usize>(
    states: &mut [State; N],
    blocks: &mut Blocks<N>,
    newest: &mut [__m128i; N],
) {
    let k = K.0.as_flattened().as_ptr();
    for (lane, state) in states.iter_mut().enumerate() {
        let words = blocks.0.as_flattened().as_ptr();
        // SAFETY: the caller's target features are those of the instructions. `k` is to sixteen fours
        // of words, of which AT is one, and `words` to the first of a lane's four vectors, which are N
        // vectors apart; both are aligned to 16 bytes. Nothing is written but the registers that are
        // named.
        unsafe {
            let words = words.add(lane);
            if AT < 12 {
                asm!(
                    "movdqa {four}, [{words} + {a}]",
                    "movdqa xmm0, {four}",
                    "paddd xmm0, [{k} + {at}]",
                    "sha256rnds2 {cdgh}, {abef}",
                    "pshufd xmm0, xmm0, 0x0E",
                    "sha256rnds2 {abef}, {cdgh}",
                    "sha256msg1 {four}, [{words} + {b}]",
                    "movdqa {shifted}, {newest}",
                    "palignr {shifted}, [{words} + {c}], 4",
                    "paddd {four}, {shifted}",
                    "sha256msg2 {four}, {newest}",
                    words = in(reg) words,
                    k = in(reg) k,
                    at = const AT * 16,
                    a = const AT % 4 * N * 16,
                    b = const (AT + 1) % 4 * N * 16,
                    c = const (AT + 2) % 4 * N * 16,
                    abef = inout(xmm_reg) state.abef,
                    cdgh = inout(xmm_reg) state.cdgh,
                    newest = in(xmm_reg) newest[lane],
                    four = out(xmm_reg) newest[lane],
                    shifted = out(xmm_reg) _,
                    out("xmm0") _,
                    options(nostack, preserves_flags, readonly),
                );
                blocks.0[AT % 4][lane] = newest[lane];
            } else {
                asm!(
                    "movdqa xmm0, [{words} + {a}]",
                    "paddd xmm0, [{k} + {at}]",
                    "sha256rnds2 {cdgh}, {abef}",
                    "pshufd xmm0, xmm0, 0x0E",
                    "sha256rnds2 {abef}, {cdgh}",
                    words = in(reg) words,
                    k = in(reg) k,
                    at = const AT * 16,
                    a = const AT % 4 * N * 16,
                    abef = inout(xmm_reg) state.abef,
                    cdgh = inout(xmm_reg) state.cdgh,
                    out("xmm0") _,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }
}
