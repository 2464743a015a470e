//! The crypto layer of `always-encrypted` as a crate of its own.
#![cfg_attr(feature = "simd", deny(unsafe_code))]
#![cfg_attr(not(feature = "simd"), forbid(unsafe_code))]
// What only the layers above use.
#![allow(dead_code)]

#[path = "../../src/crypto/mod.rs"]
pub mod crypto;
