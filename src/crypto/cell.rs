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

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
use super::native;
use super::{
    Cek, Implementation, IvSource, RandomFailed,
    hmac::HmacSha256Key,
    layout::{BLOCK, CIPHERTEXT, Draft, Opening, encrypted_len, is_shaped, iv_of, room_for, unpad},
    portable,
};

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
/// Build it once per CEK (about two microseconds) and share it; it is `Send + Sync`, holds about a
/// kilobyte, allocates nothing per cell and is wiped on drop.
///
/// Random IVs come from a generator of the calling thread unless [`CellKey::with_ivs_from`] says
/// otherwise. A process that forks and encrypts in both halves must see to it that they do not draw
/// the same: [`reseed_ivs`](super::reseed_ivs).
pub struct CellKey {
    kernels: Kernels,
    macs: CellMacs,
    ivs: IvSource,
}

/// The HMAC states of a key.
pub(super) struct CellMacs {
    /// For the tag of a cell.
    pub(super) tag: HmacSha256Key,
    /// For the IV of a deterministic cell.
    pub(super) iv: HmacSha256Key,
}

/// The AES schedules of a key, as whoever works with them has them.
enum Kernels {
    Portable(portable::Kernels),
    #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
    Native(native::Kernels),
}

impl CellKey {
    /// Derives the cell keys of a CEK.
    #[must_use]
    pub fn new(cek: &Cek) -> Self {
        Self::with(cek, Implementation::detect())
    }

    /// A key that works with `implementation`, or with [`Implementation::Portable`] where that does
    /// not run. For tests that hold one against the other.
    #[doc(hidden)]
    #[must_use]
    pub fn with(cek: &Cek, implementation: Implementation) -> Self {
        let encryption_key = derive(cek, "encryption");
        let kernels = match implementation {
            #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
            native::IMPLEMENTATION => native::Kernels::new(&encryption_key).map(Kernels::Native),
            _ => None,
        };
        Self {
            kernels: kernels
                .unwrap_or_else(|| Kernels::Portable(portable::Kernels::new(&encryption_key))),
            macs: CellMacs {
                tag: HmacSha256Key::new(&derive(cek, "MAC")),
                iv: HmacSha256Key::new(&derive(cek, "IV")),
            },
            ivs: IvSource::default(),
        }
    }

    /// The same key with its random IVs from `source`.
    #[must_use]
    pub fn with_ivs_from(mut self, source: IvSource) -> Self {
        self.ivs = source;
        self
    }

    /// What the key works with.
    #[must_use]
    pub fn implementation(&self) -> Implementation {
        match &self.kernels {
            Kernels::Portable(_) => Implementation::Portable,
            #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Kernels::Native(_) => native::IMPLEMENTATION,
        }
    }

    /// Encrypts `plaintext` into the front of `out` and returns the cell's length.
    ///
    /// `out` needs room for [`encrypted_len`]`(plaintext.len())` bytes. On a failure it holds no
    /// cell and nothing of the plaintext.
    pub fn encrypt_into(
        &self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &mut [u8],
    ) -> Result<usize, EncryptError> {
        let len = room_for(plaintext.len(), out)?;
        let mut iv = [[0; BLOCK]];
        if encryption_type == EncryptionType::Randomized {
            self.fill_ivs(&mut iv)?;
        }
        let mut draft = Draft::lay_out(plaintext, out);
        draft.set_iv(&iv[0]);
        self.seal(&mut [draft], encryption_type);
        Ok(len)
    }

    /// Makes a cell of the plaintext where it lies: `plaintext_len` bytes of `out` from
    /// [`PLAINTEXT_OFFSET`](super::PLAINTEXT_OFFSET) on. Returns the cell's length.
    ///
    /// The cell is that of [`Self::encrypt_into`], and `out` needs the same room. On a failure `out`
    /// has been wiped.
    ///
    /// ```
    /// # use always_encrypted::crypto::*;
    /// let key = CellKey::new(&Cek::generate()?);
    /// let mut cell = vec![0; encrypted_len(5)];
    /// cell[PLAINTEXT_OFFSET..][..5].copy_from_slice(b"hello");
    /// key.encrypt_in_place(5, EncryptionType::Randomized, &mut cell)?;
    /// assert_eq!(*key.decrypt(&cell)?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encrypt_in_place(
        &self,
        plaintext_len: usize,
        encryption_type: EncryptionType,
        out: &mut [u8],
    ) -> Result<usize, EncryptError> {
        let mut iv = [[0; BLOCK]];
        let room = room_for(plaintext_len, out).map_err(EncryptError::from);
        let ready = room.and_then(|len| {
            if encryption_type == EncryptionType::Randomized {
                self.fill_ivs(&mut iv)?;
            }
            Ok(len)
        });
        if ready.is_err() {
            out.zeroize();
            return ready;
        }
        let mut draft = Draft::around(plaintext_len, out);
        draft.set_iv(&iv[0]);
        self.seal(&mut [draft], encryption_type);
        ready
    }

    /// Encrypts `plaintext` into a new vector. Fails only if the operating system has no random bytes
    /// for an IV, or for the generator of IVs.
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
    ) -> Result<Vec<u8>, RandomFailed> {
        let mut cell = vec![0; encrypted_len(plaintext.len())];
        match self.encrypt_into(plaintext, encryption_type, &mut cell) {
            Err(EncryptError::RandomFailed(error)) => Err(error),
            written => {
                debug_assert_eq!(written, Ok(cell.len()));
                Ok(cell)
            }
        }
    }

    /// Decrypts `cell` into the front of `out` and returns the plaintext's length.
    ///
    /// `out` needs room for `cell.len() - 49` bytes, the ciphertext's length. On any failure `out`
    /// holds no plaintext.
    pub fn decrypt_into(&self, cell: &[u8], out: &mut [u8]) -> Result<usize, DecryptError> {
        self.authenticate(cell)?;
        let ciphertext = &cell[CIPHERTEXT..];
        let needed = ciphertext.len();
        let available = out.len();
        let Some(out) = out.get_mut(..needed) else {
            return Err(BufferTooSmall { needed, available }.into());
        };
        out.copy_from_slice(ciphertext);
        self.decrypt_blocks(&iv_of(cell), out);
        Ok(unpad(out)?)
    }

    /// Decrypts `cell` where it lies and returns where in it the plaintext is.
    ///
    /// On a failure of the tag the cell is left as it was; on any other failure it is wiped.
    pub fn decrypt_in_place(&self, cell: &mut [u8]) -> Result<Range<usize>, InvalidCell> {
        if !is_shaped(cell) {
            return Err(InvalidCell);
        }
        let mut opening = [Opening { cell, result: Err(InvalidCell) }];
        self.open(&mut opening);
        let [Opening { result, .. }] = opening;
        result
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

    /// Checks length, version and tag, which come before any decryption.
    fn authenticate(&self, cell: &[u8]) -> Result<(), InvalidCell> {
        let authentic = is_shaped(cell)
            && match &self.kernels {
                Kernels::Portable(kernels) => kernels.verify(&self.macs, cell),
                #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
                Kernels::Native(kernels) => kernels.verify(&self.macs, cell),
            };
        if authentic { Ok(()) } else { Err(InvalidCell) }
    }

    /// Decrypts authenticated ciphertext, whose length is a multiple of the block's.
    pub(super) fn decrypt_blocks(&self, iv: &[u8; BLOCK], ciphertext: &mut [u8]) {
        match &self.kernels {
            Kernels::Portable(kernels) => kernels.decrypt(iv, ciphertext),
            #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Kernels::Native(kernels) => kernels.decrypt(iv, ciphertext),
        }
    }

    /// Makes cells of drafts. A randomized one has its IV already.
    pub(super) fn seal(&self, drafts: &mut [Draft<'_>], encryption_type: EncryptionType) {
        match &self.kernels {
            Kernels::Portable(kernels) => kernels.seal(&self.macs, drafts, encryption_type),
            #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Kernels::Native(kernels) => kernels.seal(&self.macs, drafts, encryption_type),
        }
    }

    /// Verifies each cell and decrypts those that are authentic.
    pub(super) fn open(&self, cells: &mut [Opening<'_>]) {
        match &self.kernels {
            Kernels::Portable(kernels) => kernels.open(&self.macs, cells),
            #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
            Kernels::Native(kernels) => kernels.open(&self.macs, cells),
        }
    }

    pub(super) fn fill_ivs(&self, ivs: &mut [[u8; BLOCK]]) -> Result<(), RandomFailed> {
        self.ivs.fill(ivs)
    }

    pub(super) fn macs(&self) -> &CellMacs {
        &self.macs
    }
}

impl fmt::Debug for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CellKey(..)")
    }
}

/// HMAC-SHA-256 of the CEK over the text that names the derived key, in UTF-16.
fn derive(cek: &Cek, purpose: &str) -> Zeroizing<[u8; 32]> {
    let salt = format!(
        "Microsoft SQL Server cell {purpose} key with encryption algorithm:\
         AEAD_AES_256_CBC_HMAC_SHA256 and key length:256"
    );
    let salt: Vec<u8> = salt.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut mac =
        Hmac::<Sha256>::new_from_slice(cek.expose()).expect("HMAC takes keys of any length");
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

/// Why a cell could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The caller's buffer is too small.
    #[error(transparent)]
    BufferTooSmall(#[from] BufferTooSmall),
    /// There is no IV to be had. With [`IvSource::Thread`] only when its generator is to be seeded.
    #[error(transparent)]
    RandomFailed(#[from] RandomFailed),
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
