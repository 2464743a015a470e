//! The cryptography of Always Encrypted: the cell cipher, the CEK envelope and CMK signatures.
//!
//! This layer owns bytes in, bytes out. It knows nothing of SQL types, key stores or the network.
//!
//! # The keys
//!
//! | key | what it is | where it lives |
//! |---|---|---|
//! | column master key (CMK) | RSA, 2048 bits or more | a key store; the server knows its name and path only |
//! | column encryption key (CEK) | 32 random bytes | in the database, wrapped by the CMK in an [`Envelope`] |
//! | cell keys | three HMAC-SHA-256 derivations of the CEK | inside a [`CellKey`], never stored |
//!
//! # The hot path
//!
//! A [`CellKey`] is built once per CEK and shared by every cell: it holds the AES key schedules and
//! the HMAC states with their pads already absorbed, so a cell costs no allocation and no key set-up.
//!
//! ```
//! use always_encrypted::crypto::{Cek, CellKey, EncryptionType, encrypted_len};
//!
//! let key = CellKey::new(&Cek::generate()?);
//! let mut cell = [0u8; encrypted_len(5)];
//! key.encrypt_into(b"hello", EncryptionType::Randomized, &mut cell)?;
//!
//! let plaintext = key.decrypt_in_place(&mut cell)?;
//! assert_eq!(&cell[plaintext], b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Many cells go faster together: [`CellKey::encrypt_batch`], [`CellKey::decrypt_batch`]. A long one
//! that comes in chunks is hashed as it comes, and decrypted as it is taken: [`CellDecryptor`].
//!
//! On x86-64 with AES-NI and SHA-NI, and on AArch64 with the ARMv8 instructions for AES and SHA-256,
//! the cells are made by kernels of this crate ([`Implementation`]). Those for AArch64 have been
//! tested in an emulator, and nobody has measured them on such a processor.
//!
//! Do not compile for x86-64 with `-C target-cpu=native`: the SHA instructions have no form
//! that goes well with AVX, and on a Zen 3 the `sha2` crate was forty times slower on small cells.
//! `-C target-cpu=x86-64-v3` was not affected.
//!
//! Everywhere else it is safe Rust on the `aes` and `sha2` crates.

#[cfg(all(feature = "simd", target_arch = "aarch64"))]
#[allow(unsafe_code)]
mod aarch64;
mod batch;
mod cek;
mod cell;
mod cmk;
mod envelope;
mod hmac;
mod implementation;
mod incremental;
mod iv;
#[cfg(all(test, feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod kernels_tests;
mod layout;
mod portable;
pub(crate) mod random;
#[cfg(test)]
mod wycheproof_vectors;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
#[allow(unsafe_code)]
mod x86;

/// The kernels that there are for processors of this kind.
#[cfg(all(feature = "simd", target_arch = "aarch64"))]
use aarch64 as native;
pub use batch::{CellToDecrypt, CellToEncrypt};
pub use cek::{Cek, InvalidCekLength};
use cell::CellMacs;
pub use cell::{BufferTooSmall, CellKey, DecryptError, EncryptError, EncryptionType, InvalidCell};
pub use cmk::{
    CmkError, CmkPrivateKey, CmkPublicKey, MIN_MODULUS_BITS, SignatureForm, cmk_metadata_message,
};
pub use envelope::{Envelope, InvalidEnvelope};
pub use implementation::{Implementation, implementation};
pub use incremental::{CellDecryptor, VerifiedCell};
pub use iv::{IvSource, reseed_ivs};
pub use layout::{MAX_OVERHEAD, PLAINTEXT_OFFSET, encrypted_len};
pub use random::RandomFailed;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
use x86 as native;
