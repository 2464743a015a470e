//! The implementation that is compared with all others: it comes first in every table, and all
//! ratios are against it.

use always_encrypted::crypto::{Cek, CellKey, EncryptionType};

use crate::contender::Peer;

/// One cell at a time into the caller's buffer.
pub struct Single(CellKey);

impl Single {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self(CellKey::new(&Cek::from(*cek)))
    }
}

impl Peer for Single {
    const NAME: &'static str = "always-encrypted";
    type Bytes<'a> = &'a [u8];

    fn encrypt<'a>(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &'a mut [u8],
    ) -> &'a [u8] {
        let len = self.0.encrypt_into(plaintext, encryption_type, out).expect("room enough");
        &out[..len]
    }

    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        let len = self.0.decrypt_into(cell, out).ok()?;
        Some(&out[..len])
    }
}

// Many cells per call (`encrypt_batch`, `decrypt_batch`) goes here once the crate has it: a `Batch`
// that implements `Contender` itself, with a loop over groups of inputs in `run`, named `BATCH`,
// and added to `contenders()` in main.rs. The verdict finds it by that name.
/// The name under which the verdict looks for a contender that does many cells per call.
pub const BATCH: &str = "always-encrypted, batch";
