//! The layout of a cell and the derivation of its keys, for the peers that bring only primitives.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub use always_encrypted::crypto::encrypted_len;

macro_rules! salt {
    ($purpose:literal) => {
        concat!(
            "Microsoft SQL Server cell ",
            $purpose,
            " key with encryption algorithm:AEAD_AES_256_CBC_HMAC_SHA256 and key length:256"
        )
    };
}

/// The version byte, and the byte that stands for its length at the end of what the MAC covers.
pub const VERSION: u8 = 0x01;
pub const VERSION_LEN: u8 = 0x01;

pub const BLOCK: usize = 16;
/// Where the tag begins.
pub const TAG: usize = 1;
/// Where the initialisation vector begins.
pub const IV: usize = TAG + 32;
/// Where the ciphertext begins.
pub const CIPHERTEXT: usize = IV + BLOCK;

/// The three keys of a CEK.
pub struct Keys {
    pub encryption: [u8; 32],
    pub mac: [u8; 32],
    pub iv: [u8; 32],
}

impl Keys {
    pub fn derive(cek: &[u8; 32]) -> Self {
        Self::derive_with(|salt| {
            let mut mac = hmac(cek);
            mac.update(&utf16(salt));
            mac.finalize().into_bytes().into()
        })
    }

    /// The three keys by somebody's HMAC, keyed with the CEK, of the texts that name them.
    pub fn derive_with(hmac: impl Fn(&str) -> [u8; 32]) -> Self {
        let [encryption, mac, iv] = SALTS.map(hmac);
        Self { encryption, mac, iv }
    }
}

/// The texts that name the derived keys: of the encryption, the MAC and the IV key.
const SALTS: [&str; 3] = [salt!("encryption"), salt!("MAC"), salt!("IV")];

/// A text in UTF-16, as the derivations take it.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// HMAC-SHA-256 of the RustCrypto project, keyed afresh.
pub fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Whether `cell` has the version and a length that a cell can have.
pub fn well_formed(cell: &[u8]) -> bool {
    cell.len() >= CIPHERTEXT + BLOCK
        && (cell.len() - CIPHERTEXT).is_multiple_of(BLOCK)
        && cell[0] == VERSION
}

/// Writes PKCS#7 padding behind the first `len` bytes of `blocks`.
pub fn pad(blocks: &mut [u8], len: usize) {
    let pad = (blocks.len() - len) as u8;
    blocks[len..].fill(pad);
}

/// How long the plaintext in `blocks` is without its PKCS#7 padding.
pub fn unpadded_len(blocks: &[u8]) -> Option<usize> {
    let pad = usize::from(*blocks.last()?);
    let len = blocks.len().checked_sub(pad)?;
    let good = (1..=BLOCK).contains(&pad) && blocks[len..].iter().all(|&b| usize::from(b) == pad);
    good.then_some(len)
}
