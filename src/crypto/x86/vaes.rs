//! CBC decryption by VAES, two blocks to a register: where the processor has it, long cells take half
//! the time.
//!
//! The only AVX code of the crate. It runs when a cell's hash is done, and ends with `vzeroupper`, even
//! where all is compiled for AVX and the compiler would see no need: no SHA instruction ever meets the
//! dirty half of a register.

use std::arch::x86_64::{
    __m256i, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_broadcastsi128_si256,
    _mm256_set_m128i, _mm256_setzero_si256, _mm256_xor_si256, _mm256_zeroupper,
};

use super::{
    aes256::{Block, ROUNDS, RoundKeys},
    vector::{load, load_two, store_two},
};

/// How many blocks are decrypted at a time.
pub(super) const WIDTH: usize = 16;

/// Whether the processor has what [`decrypt`] needs. The standard library asks it once.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx2")
}

/// Decrypts neighbouring blocks where they lie; `chain` is the one before them. Returns the last one
/// as it was.
#[target_feature(enable = "avx2,vaes")]
pub(super) fn decrypt(keys: &RoundKeys, chain: Block, runs: &mut [[Block; WIDTH]]) -> Block {
    let mut chain = chain;
    for blocks in runs {
        let last = blocks[WIDTH - 1];
        let mut pairs = [_mm256_setzero_si256(); WIDTH / 2];
        let key = _mm256_broadcastsi128_si256(keys[0]);
        for (pair, two) in pairs.iter_mut().zip(blocks.as_chunks::<2>().0) {
            *pair = _mm256_xor_si256(load_two(two), key);
        }
        for key in &keys[1..ROUNDS] {
            let key = _mm256_broadcastsi128_si256(*key);
            for pair in &mut pairs {
                *pair = _mm256_aesdec_epi128(*pair, key);
            }
        }
        let key = _mm256_broadcastsi128_si256(keys[ROUNDS]);
        // From the end, so that the ciphertext before each pair is still there.
        for at in (0..WIDTH / 2).rev() {
            let before = before(&chain, blocks, 2 * at);
            let pair = _mm256_aesdeclast_epi128(pairs[at], key);
            if let Some(two) = blocks[2 * at..].first_chunk_mut() {
                store_two(two, _mm256_xor_si256(pair, before));
            }
        }
        chain = last;
    }
    _mm256_zeroupper();
    chain
}

/// The ciphertext that is added to the blocks `at` and `at + 1`.
#[inline]
#[target_feature(enable = "avx2,vaes")]
fn before(chain: &Block, blocks: &[Block; WIDTH], at: usize) -> __m256i {
    match at.checked_sub(1).and_then(|at| blocks[at..].first_chunk()) {
        Some(two) => load_two(two),
        None => _mm256_set_m128i(load(&blocks[0]), load(chain)),
    }
}
