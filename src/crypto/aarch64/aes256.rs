//! AES-256 (FIPS 197) by the ARMv8 instructions: the key schedules, CBC chains side by side, wide CBC
//! decryption.
//!
//! `AESE` adds the round key before it substitutes, where FIPS 197 adds it after the columns are
//! mixed. So a round takes the key of the one before, and the last key is added by itself.

use std::arch::aarch64::{
    uint8x16_t, uint32x4_t, vaesdq_u8, vaeseq_u8, vaesimcq_u8, vaesmcq_u8, vdupq_n_u8, vdupq_n_u32,
    veorq_u8, veorq_u32, vextq_u32, vgetq_lane_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::vector::{load, store};

const ROUNDS: usize = 14;

pub(super) type Block = [u8; 16];
type RoundKeys = [uint8x16_t; ROUNDS + 1];

/// The round keys of both directions.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedules {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
}

impl Schedules {
    #[target_feature(enable = "aes")]
    pub(super) fn expand(key: &[u8; 32]) -> Self {
        let [low, high] = key.as_chunks().0 else { unreachable!() };
        let zero = vdupq_n_u8(0);
        let mut schedules = Self { encrypt: [zero; ROUNDS + 1], decrypt: [zero; ROUNDS + 1] };
        let keys = &mut schedules.encrypt;
        keys[0] = load(low);
        keys[1] = load(high);
        for at in 2..=ROUNDS {
            // Every second key takes the last word of the one before rotated, with a round constant.
            let word = substitute_last_word(keys[at - 1]);
            let word = if at % 2 == 0 { word.rotate_right(8) ^ (1 << (at / 2 - 1)) } else { word };
            let sums = running_sums(vreinterpretq_u32_u8(keys[at - 2]));
            keys[at] = vreinterpretq_u8_u32(veorq_u32(sums, vdupq_n_u32(word)));
        }
        // The equivalent inverse cipher, FIPS 197, 5.3.5.
        for (to, from) in schedules.decrypt.iter_mut().zip(schedules.encrypt.iter().rev()) {
            *to = *from;
        }
        for key in &mut schedules.decrypt[1..ROUNDS] {
            *key = vaesimcq_u8(*key);
        }
        schedules
    }
}

/// The last word of a key through the S-box. `AESE` moves bytes between columns too; these are equal.
#[inline]
#[target_feature(enable = "aes")]
fn substitute_last_word(key: uint8x16_t) -> u32 {
    let columns = vdupq_n_u32(vgetq_lane_u32::<3>(vreinterpretq_u32_u8(key)));
    let substituted = vaeseq_u8(vreinterpretq_u8_u32(columns), vdupq_n_u8(0));
    vgetq_lane_u32::<0>(vreinterpretq_u32_u8(substituted))
}

/// Each word the sum of itself and all below it.
#[inline]
#[target_feature(enable = "aes")]
fn running_sums(key: uint32x4_t) -> uint32x4_t {
    let zero = vdupq_n_u32(0);
    let key = veorq_u32(key, vextq_u32::<3>(zero, key));
    veorq_u32(key, vextq_u32::<2>(zero, key))
}

/// Encrypts one block of each chain where it lies.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn encrypt_next<const N: usize>(
    schedules: &Schedules,
    chains: &mut [uint8x16_t; N],
    blocks: [&mut Block; N],
) {
    let [keys @ .., last_but_one, last] = &schedules.encrypt;
    for (chain, block) in chains.iter_mut().zip(&blocks) {
        *chain = veorq_u8(*chain, load(block));
    }
    for key in keys {
        for chain in chains.iter_mut() {
            *chain = vaesmcq_u8(vaeseq_u8(*chain, *key));
        }
    }
    for (chain, block) in chains.iter_mut().zip(blocks) {
        *chain = veorq_u8(vaeseq_u8(*chain, *last_but_one), *last);
        store(block, *chain);
    }
}

/// Decrypts blocks of one cell where they lie. They do not wait for each other.
#[target_feature(enable = "aes")]
pub(super) fn decrypt(schedules: &Schedules, iv: &Block, blocks: &mut [Block]) {
    let mut chain = load(iv);
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
#[target_feature(enable = "aes")]
fn decrypt_run<const N: usize>(
    schedules: &Schedules,
    chain: uint8x16_t,
    blocks: &mut [Block; N],
) -> uint8x16_t {
    let mut chains = [chain; N];
    for (chain, before) in chains[1..].iter_mut().zip(&*blocks) {
        *chain = load(before);
    }
    decrypt_next(schedules, &mut chains, blocks.each_mut());
    chains[N - 1]
}

/// Decrypts one block of each chain where it lies; the chains go on with what the blocks were.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn decrypt_next<const N: usize>(
    schedules: &Schedules,
    chains: &mut [uint8x16_t; N],
    blocks: [&mut Block; N],
) {
    let [keys @ .., last_but_one, last] = &schedules.decrypt;
    let mut vectors = [vdupq_n_u8(0); N];
    for (vector, block) in vectors.iter_mut().zip(&blocks) {
        *vector = load(block);
    }
    let ciphertext = vectors;
    for key in keys {
        for vector in &mut vectors {
            *vector = vaesimcq_u8(vaesdq_u8(*vector, *key));
        }
    }
    for ((vector, chain), block) in vectors.into_iter().zip(chains.iter()).zip(blocks) {
        let decrypted = veorq_u8(vaesdq_u8(vector, *last_but_one), *last);
        store(block, veorq_u8(decrypted, *chain));
    }
    *chains = ciphertext;
}
