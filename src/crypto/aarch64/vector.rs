//! Sixteen bytes between memory and a register, at any alignment.

use std::arch::aarch64::{uint8x16_t, uint32x4_t, vld1q_u8, vld1q_u32, vst1q_u8};

#[inline(always)]
pub(super) fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is to 16 readable bytes, the load asks for no alignment beyond that of
    // a byte, and NEON is part of AArch64.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline(always)]
pub(super) fn load_words(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: as in `load`; the words are aligned as their type is.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline(always)]
pub(super) fn store(bytes: &mut [u8; 16], vector: uint8x16_t) {
    // SAFETY: the reference is to 16 writable bytes that nobody else refers to, the store asks for
    // no alignment beyond that of a byte, and NEON is part of AArch64.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), vector) }
}
