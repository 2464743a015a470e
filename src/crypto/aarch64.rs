//! Cells on AArch64 with the ARMv8 instructions for AES and SHA-256.
//!
//! What is unsafe about it is two things, as in `x86`. Instructions that a processor may not have: a
//! [`Kernels`] exists only where they have been found, and its methods are the only way in. And loads
//! and stores of 16 bytes: `vector` makes them from references to arrays. The kernels between the two
//! are safe functions on slices, with their bounds checked.
//!
//! The cut is that of `x86`, too: one chain or one hash waits for itself most of the time, so
//! [`LANES`] cells go side by side. It has been tested in an emulator. Nobody has measured it on a
//! processor, so the number of lanes is a guess.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    CellMacs, EncryptionType, Implementation,
    layout::{BLOCK, Draft, Opening},
};

mod aes256;
mod cells;
mod sha256;
mod vector;

/// What these kernels are called.
pub(super) const IMPLEMENTATION: Implementation = Implementation::Aarch64;

/// How many cells go side by side.
const LANES: usize = 4;

/// Whether the processor has what the kernels need. The standard library asks it once.
pub(super) fn is_available() -> bool {
    // The order of lanes in memory would be another one.
    cfg!(target_endian = "little")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("sha2")
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
