//! The compression function of SHA-256 (FIPS 180-4, 6.2.2) on several states at once.
//!
//! `sha256rnds2` takes two rounds, and needs the result of the two before. With two or more states
//! the unit is given one's rounds while another's are under way.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

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

#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn words_of(block: &[u8; 64]) -> Words {
    let [a, b, c, d] = block.as_chunks().0 else { unreachable!() };
    [swap_bytes(load(a)), swap_bytes(load(b)), swap_bytes(load(c)), swap_bytes(load(d))]
}

/// Takes one block into each state.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &[Words; N]) {
    compress_beside(states, blocks, |_| {});
}

/// Takes one block into each state, and has something else done between its sixteen steps: work for
/// units that would be idle.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn compress_beside<const N: usize>(
    states: &mut [State; N],
    blocks: &[Words; N],
    mut other: impl FnMut(usize),
) {
    let before = *states;
    let mut words = [[_mm_setzero_si128(); N]; 4];
    for (lane, block) in blocks.iter().enumerate() {
        for (four, vector) in words.iter_mut().zip(block) {
            four[lane] = *vector;
        }
    }
    four_rounds::<N, 0>(states, &mut words);
    other(0);
    four_rounds::<N, 1>(states, &mut words);
    other(1);
    four_rounds::<N, 2>(states, &mut words);
    other(2);
    four_rounds::<N, 3>(states, &mut words);
    other(3);
    four_rounds::<N, 4>(states, &mut words);
    other(4);
    four_rounds::<N, 5>(states, &mut words);
    other(5);
    four_rounds::<N, 6>(states, &mut words);
    other(6);
    four_rounds::<N, 7>(states, &mut words);
    other(7);
    four_rounds::<N, 8>(states, &mut words);
    other(8);
    four_rounds::<N, 9>(states, &mut words);
    other(9);
    four_rounds::<N, 10>(states, &mut words);
    other(10);
    four_rounds::<N, 11>(states, &mut words);
    other(11);
    four_rounds::<N, 12>(states, &mut words);
    other(12);
    four_rounds::<N, 13>(states, &mut words);
    other(13);
    four_rounds::<N, 14>(states, &mut words);
    other(14);
    four_rounds::<N, 15>(states, &mut words);
    other(15);
    for (state, before) in states.iter_mut().zip(before) {
        state.abef = _mm_add_epi32(state.abef, before.abef);
        state.cdgh = _mm_add_epi32(state.cdgh, before.cdgh);
    }
}

/// Rounds 4 AT to 4 AT + 3. The four words that they use up make room for the four that are sixteen
/// further on.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds<const N: usize, const AT: usize>(
    states: &mut [State; N],
    words: &mut [[__m128i; N]; 4],
) {
    let k = load_words(&K.0[AT]);
    let mut input = [_mm_setzero_si128(); N];
    for lane in 0..N {
        input[lane] = _mm_add_epi32(words[AT % 4][lane], k);
    }
    for lane in 0..N {
        let State { abef, cdgh } = states[lane];
        states[lane].cdgh = _mm_sha256rnds2_epu32(cdgh, abef, input[lane]);
    }
    for lane in 0..N {
        let State { abef, cdgh } = states[lane];
        let input = _mm_shuffle_epi32(input[lane], 0x0E);
        states[lane].abef = _mm_sha256rnds2_epu32(abef, cdgh, input);
    }
    if AT < 12 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| words[(AT + i) % 4]);
        for (lane, word) in words[AT % 4].iter_mut().enumerate() {
            let shifted = _mm_alignr_epi8(d[lane], c[lane], 4);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(a[lane], b[lane]), shifted);
            *word = _mm_sha256msg2_epu32(sum, d[lane]);
        }
    }
}
