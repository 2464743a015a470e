//! AEAD_AES_256_CBC_HMAC_SHA_256, the cipher of a cell.
//!
//! # Layout of a cell
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, `0x01` |
//! | 1 | 32 | HMAC-SHA-256 (MAC key) over version, IV, ciphertext and one byte `0x01` |
//! | 33 | 16 | IV: random, or for deterministic cells the first half of HMAC-SHA-256 (IV key) over the plaintext |
//! | 49 | 16 n | AES-256-CBC (encryption key) over the plaintext with PKCS#7 padding |
//!
//! The three keys are HMAC-SHA-256 of the CEK over texts that name them. Source: the cryptography
//! page of SQL Server's documentation and the behaviour of Microsoft.Data.SqlClient.

use std::{fmt, ops::Range};

use aes::{
    Aes256Dec, Aes256Enc,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, block_padding::NoPadding},
};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Cek, hmac::HmacSha256Key};

/// The one version of the cell format there is.
const VERSION: u8 = 0x01;
/// The last byte under the MAC: the length of the version field.
const VERSION_LEN: u8 = 0x01;

const BLOCK: usize = 16;
const TAG: usize = 1;
const IV: usize = TAG + 32;
const CIPHERTEXT: usize = IV + BLOCK;
/// The shortest cell there is: an empty plaintext still has one block of padding.
const MIN_CELL: usize = CIPHERTEXT + BLOCK;

/// How much longer than its plaintext a cell can be, in bytes.
pub const MAX_OVERHEAD: usize = CIPHERTEXT + BLOCK;

/// The length in bytes of the cell that `plaintext_len` bytes make.
///
/// ```
/// use always_encrypted::crypto::encrypted_len;
/// assert_eq!(encrypted_len(0), 65);
/// assert_eq!(encrypted_len(15), 65);
/// assert_eq!(encrypted_len(16), 81);
/// assert_eq!(encrypted_len(8000), 8065);
/// ```
#[must_use]
pub const fn encrypted_len(plaintext_len: usize) -> usize {
    CIPHERTEXT + (plaintext_len / BLOCK + 1) * BLOCK
}

/// Where the initialisation vector of a cell comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncryptionType {
    /// From the plaintext: equal values make equal cells, so the server can compare them, and so
    /// can anyone who reads the table.
    Deterministic,
    /// From the random number generator: nothing but the length shows.
    Randomized,
}

impl EncryptionType {
    /// The byte that stands for it on the wire: 1 or 2.
    #[must_use]
    pub const fn wire_value(self) -> u8 {
        match self {
            Self::Deterministic => 0x01,
            Self::Randomized => 0x02,
        }
    }

    /// The encryption type of a byte on the wire, if it names one.
    #[must_use]
    pub const fn from_wire_value(value: u8) -> Option<Self> {
        match value {
            0x01 => Some(Self::Deterministic),
            0x02 => Some(Self::Randomized),
            _ => None,
        }
    }
}

impl fmt::Display for EncryptionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deterministic => "DETERMINISTIC",
            Self::Randomized => "RANDOMIZED",
        })
    }
}

/// A CEK made ready for cells: AES schedules and HMAC states, derived once.
///
/// Build it once per CEK (under two microseconds) and share it; it is `Send + Sync`, holds about a
/// kilobyte, allocates nothing per cell and is wiped on drop.
///
/// Random IVs come from a ChaCha generator of the calling thread, seeded by the operating system.
/// Like every user-space generator it is copied by `fork`: do not encrypt in both halves of a
/// process that forked without `exec`.
pub struct CellKey {
    encrypt: Aes256Enc,
    decrypt: Aes256Dec,
    mac: HmacSha256Key,
    iv: HmacSha256Key,
}

impl CellKey {
    /// Derives the cell keys of a CEK.
    #[must_use]
    pub fn new(cek: &Cek) -> Self {
        let encryption_key = derive(cek, "encryption");
        Self {
            encrypt: Aes256Enc::new((&*encryption_key).into()),
            decrypt: Aes256Dec::new((&*encryption_key).into()),
            mac: HmacSha256Key::new(&derive(cek, "MAC")),
            iv: HmacSha256Key::new(&derive(cek, "IV")),
        }
    }

    /// Encrypts `plaintext` into the front of `out` and returns the cell's length.
    ///
    /// `out` needs room for [`encrypted_len`]`(plaintext.len())` bytes.
    pub fn encrypt_into(
        &self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &mut [u8],
    ) -> Result<usize, BufferTooSmall> {
        let needed = encrypted_len(plaintext.len());
        let available = out.len();
        let Some(cell) = out.get_mut(..needed) else {
            return Err(BufferTooSmall { needed, available });
        };
        let mut iv = [0; BLOCK];
        match encryption_type {
            EncryptionType::Deterministic => {
                iv.copy_from_slice(&self.iv.mac([], plaintext, [])[..BLOCK]);
            }
            EncryptionType::Randomized => rand::rng().fill_bytes(&mut iv),
        }
        let (header, ciphertext) = cell.split_at_mut(CIPHERTEXT);
        let (message, padding) = ciphertext.split_at_mut(plaintext.len());
        message.copy_from_slice(plaintext);
        // 1..=16 bytes, each its own count.
        let pad = padding.len() as u8;
        padding.fill(pad);
        let (blocks, _) = ciphertext.as_chunks_mut::<BLOCK>();
        cbc::Encryptor::inner_iv_init(&self.encrypt, (&iv).into())
            .encrypt_blocks(aes::cipher::Array::cast_slice_from_core_mut(blocks));

        header[0] = VERSION;
        header[IV..].copy_from_slice(&iv);
        let tag = self.mac.mac([VERSION], &cell[IV..], [VERSION_LEN]);
        cell[TAG..IV].copy_from_slice(&tag);
        Ok(needed)
    }

    /// Encrypts `plaintext` into a new vector.
    #[must_use]
    pub fn encrypt(&self, plaintext: &[u8], encryption_type: EncryptionType) -> Vec<u8> {
        let mut cell = vec![0; encrypted_len(plaintext.len())];
        let written = self.encrypt_into(plaintext, encryption_type, &mut cell);
        debug_assert_eq!(written, Ok(cell.len()));
        cell
    }

    /// Decrypts `cell` into the front of `out` and returns the plaintext's length.
    ///
    /// `out` needs room for `cell.len() - 49` bytes, the ciphertext's length. On any failure `out`
    /// holds no plaintext.
    pub fn decrypt_into(&self, cell: &[u8], out: &mut [u8]) -> Result<usize, DecryptError> {
        let (iv, ciphertext) = self.authenticate(cell)?;
        let needed = ciphertext.len();
        let available = out.len();
        let Some(out) = out.get_mut(..needed) else {
            return Err(BufferTooSmall { needed, available }.into());
        };
        cbc::Decryptor::inner_iv_init(&self.decrypt, (&iv).into())
            .decrypt_padded_b2b::<NoPadding>(ciphertext, out)
            .map_err(|_| InvalidCell)?;
        Ok(unpad(out)?)
    }

    /// Decrypts `cell` where it lies and returns where in it the plaintext is.
    ///
    /// On a failure of the tag the cell is left as it was; on any other failure it is wiped.
    pub fn decrypt_in_place(&self, cell: &mut [u8]) -> Result<Range<usize>, InvalidCell> {
        let (iv, _) = self.authenticate(cell)?;
        let Some(ciphertext) = cell.get_mut(CIPHERTEXT..) else {
            return Err(InvalidCell);
        };
        cbc::Decryptor::inner_iv_init(&self.decrypt, (&iv).into())
            .decrypt_padded::<NoPadding>(ciphertext)
            .map_err(|_| InvalidCell)?;
        let len = unpad(ciphertext)?;
        Ok(CIPHERTEXT..CIPHERTEXT + len)
    }

    /// Decrypts `cell` into a new vector, which is wiped on drop.
    pub fn decrypt(&self, cell: &[u8]) -> Result<Zeroizing<Vec<u8>>, InvalidCell> {
        let mut plaintext = Zeroizing::new(vec![0; cell.len().saturating_sub(CIPHERTEXT)]);
        match self.decrypt_into(cell, &mut plaintext) {
            Ok(len) => {
                plaintext.truncate(len);
                Ok(plaintext)
            }
            Err(_) => Err(InvalidCell),
        }
    }

    /// Checks length, version and tag. The tag comes before any decryption, all its 32 bytes are
    /// compared, and the comparison takes the same time wherever they differ.
    fn authenticate<'a>(&self, cell: &'a [u8]) -> Result<([u8; BLOCK], &'a [u8]), InvalidCell> {
        if cell.len() < MIN_CELL || !(cell.len() - CIPHERTEXT).is_multiple_of(BLOCK) {
            return Err(InvalidCell);
        }
        if cell[0] != VERSION {
            return Err(InvalidCell);
        }
        let tag = self.mac.mac([VERSION], &cell[IV..], [VERSION_LEN]);
        if !bool::from(tag.ct_eq(&cell[TAG..IV])) {
            return Err(InvalidCell);
        }
        let mut iv = [0; BLOCK];
        iv.copy_from_slice(&cell[IV..CIPHERTEXT]);
        Ok((iv, &cell[CIPHERTEXT..]))
    }
}

impl fmt::Debug for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CellKey(..)")
    }
}

/// The length of the plaintext without its PKCS#7 padding. Wipes the buffer if there is none.
///
/// Only authenticated bytes come here, so its timing tells nobody anything.
fn unpad(padded: &mut [u8]) -> Result<usize, InvalidCell> {
    let pad = padded.last().map_or(0, |&b| usize::from(b));
    if pad == 0 || pad > BLOCK || pad > padded.len() {
        padded.zeroize();
        return Err(InvalidCell);
    }
    let len = padded.len() - pad;
    if padded[len..].iter().any(|&b| usize::from(b) != pad) {
        padded.zeroize();
        return Err(InvalidCell);
    }
    padded[len..].zeroize();
    Ok(len)
}

/// HMAC-SHA-256 of the CEK over the text that names the derived key, in UTF-16.
fn derive(cek: &Cek, purpose: &str) -> Zeroizing<[u8; 32]> {
    let salt = format!(
        "Microsoft SQL Server cell {purpose} key with encryption algorithm:\
         AEAD_AES_256_CBC_HMAC_SHA256 and key length:256"
    );
    let salt: Vec<u8> = salt.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(cek.expose())
        .expect("HMAC takes keys of any length");
    mac.update(&salt);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The bytes are not a cell that this key made.
///
/// One error for every cause (length, version, tag, padding), so that whoever feeds us cells learns
/// nothing from how they fail. No plaintext is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a cell that this key made")]
pub struct InvalidCell;

/// The caller's buffer cannot hold the result. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has room for {available} bytes and {needed} are needed")]
pub struct BufferTooSmall {
    /// How many bytes the result may take.
    pub needed: usize,
    /// How many bytes the buffer has.
    pub available: usize,
}

/// Why [`CellKey::decrypt_into`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// The cell is not one of this key's.
    #[error(transparent)]
    InvalidCell(#[from] InvalidCell),
    /// The cell is authentic, the caller's buffer is too small.
    #[error(transparent)]
    BufferTooSmall(#[from] BufferTooSmall),
}

#[cfg(test)]
mod tests;
