//! Cells on x86-64 with AES-NI and SHA-NI.
//!
//! What is unsafe about it is three things. Instructions that a processor may not have: a [`Kernels`]
//! exists only where they have been found, and its methods are the only way in; those that `vaes` needs
//! are asked for at each call. Loads and stores of 16 and 32 bytes: `vector` makes them from references to
//! arrays. And four rounds of SHA-256 in assembly, which write registers only (`sha256`). The kernels
//! between them are safe functions on slices, with their bounds checked.
//!
//! A SHA-NI stream waits for itself two thirds of the time, an AES chain longer still, so [`LANES`]
//! cells go side by side; a cell alone has its last blocks hashed while the next are encrypted.
//!
//! No AVX here, on purpose, but in `vaes`, which is apart from the hashing. The SHA instructions have no
//! VEX form, and on some processors each one costs a hundredfold while the upper half of a vector
//! register is dirty.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    CellMacs, EncryptionType, Implementation,
    layout::{BLOCK, Draft, Opening},
};

mod aes256;
mod cells;
mod sha256;
mod vaes;
mod vector;

/// What these kernels are called.
pub(super) const IMPLEMENTATION: Implementation = Implementation::X86;

/// How many cells go side by side.
const LANES: usize = 4;

/// Whether the processor has what the kernels need. The standard library asks it once.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// The AES schedules of a key, and the proof that the processor can use them.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Kernels {
    schedules: aes256::Schedules,
}

impl Kernels {
    /// `None` where the processor lacks an instruction.
    pub(super) fn new(encryption_key: &[u8; 32]) -> Option<Self> {
        if !is_available() {
            return None;
        }
        // SAFETY: the instructions have just been found.
        let schedules = unsafe { aes256::Schedules::expand(encryption_key) };
        Some(Self { schedules })
    }

    pub(super) fn seal(
        &self,
        macs: &CellMacs,
        drafts: &mut [Draft<'_>],
        encryption_type: EncryptionType,
    ) {
        // SAFETY: `new` made `self`, so the processor has the instructions.
        unsafe { cells::seal(&self.schedules, macs, drafts, encryption_type) }
    }

    /// Whether the tag is that of the cell, compared over all its 32 bytes in constant time.
    pub(super) fn verify(&self, macs: &CellMacs, cell: &[u8]) -> bool {
        // SAFETY: `new` made `self`, so the processor has the instructions.
        unsafe { cells::verify(macs, cell) }
    }

    pub(super) fn decrypt(&self, iv: &[u8; BLOCK], ciphertext: &mut [u8]) {
        let (blocks, _) = ciphertext.as_chunks_mut();
        // SAFETY: `new` made `self`, so the processor has the instructions.
        unsafe { aes256::decrypt(&self.schedules, iv, blocks) }
    }

    pub(super) fn open(&self, macs: &CellMacs, cells: &mut [Opening<'_>]) {
        // SAFETY: `new` made `self`, so the processor has the instructions.
        unsafe { cells::open(&self.schedules, macs, cells) }
    }
}
