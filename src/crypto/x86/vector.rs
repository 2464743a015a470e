//! Sixteen bytes, or twice as many, between memory and a register, at any alignment.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
};

#[inline(always)]
pub(super) fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is to 16 readable bytes, the load asks for no alignment, and SSE2 is
    // part of x86-64.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline(always)]
pub(super) fn load_words(words: &[u32; 4]) -> __m128i {
    // SAFETY: as in `load`; four words are 16 bytes.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline(always)]
pub(super) fn store(bytes: &mut [u8; 16], vector: __m128i) {
    // SAFETY: the reference is to 16 writable bytes that nobody else refers to, the store asks for
    // no alignment, and SSE2 is part of x86-64.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_two(blocks: &[[u8; 16]; 2]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_two(blocks: &mut [[u8; 16]; 2], vector: __m256i) {
    // SAFETY: the reference is to 32 writable bytes that nobody else refers to, and the store asks for
    // no alignment.
    unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), vector) }
}
