//! The compression function of SHA-256 (FIPS 180-4, 6.2.2) on several states at once.
//!
//! `SHA256H` and `SHA256H2` take four rounds together, and need the result of the four before. With
//! two or more states the unit is given one's rounds while another's are under way.

use std::arch::aarch64::{
    uint8x16_t, uint32x4_t, vaddq_u32, vdupq_n_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8,
    vrev32q_u8, vsha256h2q_u32, vsha256hq_u32, vsha256su0q_u32, vsha256su1q_u32,
};

use super::vector::{load, load_words};

/// FIPS 180-4, 4.2.2: the constants of the rounds, by sixteen, and by four in a vector.
#[rustfmt::skip]
static K: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];

/// The eight words of a state, A to D and E to H, the first in the lowest lane.
pub(super) type State = [uint32x4_t; 2];

/// The sixteen words of a block, the first in the lowest lane of the first vector.
pub(super) type Words = [uint32x4_t; 4];

#[inline]
#[target_feature(enable = "sha2")]
pub(super) fn state_of(words: &[u32; 8]) -> State {
    let [low, high] = words.as_chunks().0 else { unreachable!() };
    [load_words(low), load_words(high)]
}

/// The words that sixteen bytes of a message are.
#[inline]
#[target_feature(enable = "sha2")]
pub(super) fn words_of_bytes(bytes: uint8x16_t) -> uint32x4_t {
    vreinterpretq_u32_u8(vrev32q_u8(bytes))
}

/// The bytes of a hash value.
#[inline]
#[target_feature(enable = "sha2")]
pub(super) fn bytes_of(state: State) -> [uint8x16_t; 2] {
    let [low, high] = state;
    [vrev32q_u8(vreinterpretq_u8_u32(low)), vrev32q_u8(vreinterpretq_u8_u32(high))]
}

#[inline]
#[target_feature(enable = "sha2")]
pub(super) fn words_of(block: &[u8; 64]) -> Words {
    let [a, b, c, d] = block.as_chunks().0 else { unreachable!() };
    let (a, b) = (words_of_bytes(load(a)), words_of_bytes(load(b)));
    [a, b, words_of_bytes(load(c)), words_of_bytes(load(d))]
}

/// Takes one block into each state.
#[inline]
#[target_feature(enable = "sha2")]
pub(super) fn compress<const N: usize>(states: &mut [State; N], blocks: &[Words; N]) {
    let before = *states;
    let mut words = [[vdupq_n_u32(0); N]; 4];
    for (lane, block) in blocks.iter().enumerate() {
        for (four, vector) in words.iter_mut().zip(block) {
            four[lane] = *vector;
        }
    }
    let [others @ .., last] = &K;
    for k in others {
        sixteen_rounds::<N, true>(states, &mut words, k);
    }
    sixteen_rounds::<N, false>(states, &mut words, last);
    for (state, before) in states.iter_mut().zip(before) {
        *state = [vaddq_u32(state[0], before[0]), vaddq_u32(state[1], before[1])];
    }
}

/// The rounds of sixteen words, with those that are sixteen further on put in their places.
#[inline]
#[target_feature(enable = "sha2")]
fn sixteen_rounds<const N: usize, const MORE: bool>(
    states: &mut [State; N],
    words: &mut [[uint32x4_t; N]; 4],
    k: &[[u32; 4]; 4],
) {
    four_rounds::<N, 0, MORE>(states, words, &k[0]);
    four_rounds::<N, 1, MORE>(states, words, &k[1]);
    four_rounds::<N, 2, MORE>(states, words, &k[2]);
    four_rounds::<N, 3, MORE>(states, words, &k[3]);
}

#[inline]
#[target_feature(enable = "sha2")]
fn four_rounds<const N: usize, const AT: usize, const MORE: bool>(
    states: &mut [State; N],
    words: &mut [[uint32x4_t; N]; 4],
    k: &[u32; 4],
) {
    let k = load_words(k);
    for (state, word) in states.iter_mut().zip(&words[AT]) {
        let (input, [abcd, efgh]) = (vaddq_u32(*word, k), *state);
        *state = [vsha256hq_u32(abcd, efgh, input), vsha256h2q_u32(efgh, abcd, input)];
    }
    if MORE {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| words[(AT + i) % 4]);
        for (lane, word) in words[AT].iter_mut().enumerate() {
            *word = vsha256su1q_u32(vsha256su0q_u32(a[lane], b[lane]), c[lane], d[lane]);
        }
    }
}
