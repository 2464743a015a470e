//! AES-256 (FIPS 197) by AES-NI: the key schedules, CBC chains side by side, wide CBC decryption.

use std::arch::x86_64::{
    __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128,
    _mm_aesimc_si128, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_xor_si128,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    vaes,
    vector::{load, store},
};

pub(super) const ROUNDS: usize = 14;

pub(super) type Block = [u8; 16];
pub(super) type RoundKeys = [__m128i; ROUNDS + 1];

/// The round keys of both directions.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedules {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
}

impl Schedules {
    #[target_feature(enable = "aes,sse4.1")]
    pub(super) fn expand(key: &[u8; 32]) -> Self {
        let [low, high] = key.as_chunks().0 else { unreachable!() };
        let mut schedules =
            Self { encrypt: [_mm_setzero_si128(); 15], decrypt: [_mm_setzero_si128(); 15] };
        let keys = &mut schedules.encrypt;
        keys[0] = load(low);
        keys[1] = load(high);
        expand_two::<2, 0x01>(keys);
        expand_two::<4, 0x02>(keys);
        expand_two::<6, 0x04>(keys);
        expand_two::<8, 0x08>(keys);
        expand_two::<10, 0x10>(keys);
        expand_two::<12, 0x20>(keys);
        expand_two::<14, 0x40>(keys);
        // The equivalent inverse cipher, FIPS 197, 5.3.5.
        for (to, from) in schedules.decrypt.iter_mut().zip(schedules.encrypt.iter().rev()) {
            *to = *from;
        }
        for key in &mut schedules.decrypt[1..ROUNDS] {
            *key = _mm_aesimc_si128(*key);
        }
        schedules
    }
}

/// Round keys AT and AT + 1. The first takes the rotated and substituted last word of the one before
/// with a round constant, the second the substituted one. The last of all has no second.
///
/// The last round of the cipher substitutes too, and what it moves are equal words. It is quicker than
/// `aeskeygenassist`, and Miri knows it.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn expand_two<const AT: usize, const ROUND_CONSTANT: i32>(keys: &mut RoundKeys) {
    let rotated = _mm_shuffle_epi8(keys[AT - 1], _mm_set1_epi32(0x0C0F_0E0D));
    let sums = _mm_xor_si128(running_sums(keys[AT - 2]), _mm_set1_epi32(ROUND_CONSTANT));
    keys[AT] = _mm_aesenclast_si128(rotated, sums);
    if AT < ROUNDS {
        let last = _mm_shuffle_epi32(keys[AT], 0xFF);
        keys[AT + 1] = _mm_aesenclast_si128(last, running_sums(keys[AT - 1]));
    }
}

/// Each word the sum of itself and all below it.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn running_sums(key: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    _mm_xor_si128(key, _mm_slli_si128(key, 8))
}

/// Encrypts one block of each chain where it lies.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn encrypt_next<const N: usize>(
    schedules: &Schedules,
    chains: &mut [__m128i; N],
    blocks: [&mut Block; N],
) {
    let keys = &schedules.encrypt;
    for lane in 0..N {
        // The sum that does not wait for the chain comes first.
        let input = _mm_xor_si128(load(blocks[lane]), keys[0]);
        chains[lane] = _mm_xor_si128(chains[lane], input);
    }
    for key in &keys[1..ROUNDS] {
        for chain in chains.iter_mut() {
            *chain = _mm_aesenc_si128(*chain, *key);
        }
    }
    for (chain, block) in chains.iter_mut().zip(blocks) {
        *chain = _mm_aesenclast_si128(*chain, keys[ROUNDS]);
        store(block, *chain);
    }
}

/// A quarter of encrypting the block `at` of each chain where it lies.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn encrypt_quarter<const N: usize>(
    schedules: &Schedules,
    chains: &mut [__m128i; N],
    blocks: &mut [&mut [Block]; N],
    at: usize,
    quarter: usize,
) {
    let keys = &schedules.encrypt;
    if quarter == 0 {
        for (chain, blocks) in chains.iter_mut().zip(blocks.iter()) {
            *chain = _mm_xor_si128(*chain, _mm_xor_si128(load(&blocks[at]), keys[0]));
        }
    }
    let rounds = [1..4, 4..8, 8..11, 11..ROUNDS];
    for key in &keys[rounds[quarter].clone()] {
        for chain in chains.iter_mut() {
            *chain = _mm_aesenc_si128(*chain, *key);
        }
    }
    if quarter == 3 {
        for (chain, blocks) in chains.iter_mut().zip(blocks) {
            *chain = _mm_aesenclast_si128(*chain, keys[ROUNDS]);
            store(&mut blocks[at], *chain);
        }
    }
}

/// Decrypts blocks of one cell where they lie. They do not wait for each other.
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn decrypt(schedules: &Schedules, iv: &Block, blocks: &mut [Block]) {
    let (mut chain, mut blocks) = (*iv, blocks);
    // Below that, the wider registers are hardly awake.
    if blocks.len() >= 4 * vaes::WIDTH && vaes::is_available() {
        let (runs, rest) = blocks.as_chunks_mut();
        // SAFETY: the instructions have just been found.
        chain = unsafe { vaes::decrypt(&schedules.decrypt, chain, runs) };
        blocks = rest;
    }
    let mut chain = load(&chain);
    let (eights, rest) = blocks.as_chunks_mut::<8>();
    for blocks in eights {
        chain = decrypt_run(schedules, chain, blocks);
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    for blocks in fours {
        chain = decrypt_run(schedules, chain, blocks);
    }
    for block in rest {
        chain = decrypt_run(schedules, chain, std::array::from_mut(block));
    }
}

/// Decrypts neighbouring blocks; returns the last one as it was.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn decrypt_run<const N: usize>(
    schedules: &Schedules,
    chain: __m128i,
    blocks: &mut [Block; N],
) -> __m128i {
    let mut vectors = [_mm_setzero_si128(); N];
    for (vector, block) in vectors.iter_mut().zip(&*blocks) {
        *vector = load(block);
    }
    decrypt_all(schedules, &mut vectors);
    vectors[0] = _mm_xor_si128(vectors[0], chain);
    for lane in 1..N {
        vectors[lane] = _mm_xor_si128(vectors[lane], load(&blocks[lane - 1]));
    }
    let last = load(&blocks[N - 1]);
    for (vector, block) in vectors.iter().zip(blocks) {
        store(block, *vector);
    }
    last
}

/// Decrypts one block of each cell where it lies.
#[inline]
#[target_feature(enable = "aes,sse4.1")]
pub(super) fn decrypt_next<const N: usize>(
    schedules: &Schedules,
    chains: &mut [__m128i; N],
    blocks: [&mut Block; N],
) {
    let mut vectors = [_mm_setzero_si128(); N];
    for (vector, block) in vectors.iter_mut().zip(&blocks) {
        *vector = load(block);
    }
    let ciphertext = vectors;
    decrypt_all(schedules, &mut vectors);
    for (lane, block) in blocks.into_iter().enumerate() {
        store(block, _mm_xor_si128(vectors[lane], chains[lane]));
    }
    *chains = ciphertext;
}

#[inline]
#[target_feature(enable = "aes,sse4.1")]
fn decrypt_all<const N: usize>(schedules: &Schedules, vectors: &mut [__m128i; N]) {
    let keys = &schedules.decrypt;
    for vector in vectors.iter_mut() {
        *vector = _mm_xor_si128(*vector, keys[0]);
    }
    for key in &keys[1..ROUNDS] {
        for vector in vectors.iter_mut() {
            *vector = _mm_aesdec_si128(*vector, *key);
        }
    }
    for vector in vectors.iter_mut() {
        *vector = _mm_aesdeclast_si128(*vector, keys[ROUNDS]);
    }
}
