//! Where the fields of a cell lie, a cell in the making, and the padding taken off again.

use std::ops::Range;

use zeroize::Zeroize;

use super::{BufferTooSmall, InvalidCell};

/// The one version of the cell format there is.
pub(super) const VERSION: u8 = 0x01;
/// The last byte under the MAC: the length of the version field.
pub(super) const VERSION_LEN: u8 = 0x01;

pub(super) const BLOCK: usize = 16;
pub(super) const TAG: usize = 1;
pub(super) const IV: usize = TAG + 32;
pub(super) const CIPHERTEXT: usize = IV + BLOCK;
/// The shortest cell there is: an empty plaintext still has one block of padding.
pub(super) const MIN_CELL: usize = CIPHERTEXT + BLOCK;

/// Where in a cell its plaintext is put to be encrypted, in bytes: see
/// [`CellKey::encrypt_in_place`](super::CellKey::encrypt_in_place).
pub const PLAINTEXT_OFFSET: usize = CIPHERTEXT;

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

/// How many blocks of ciphertext a cell has.
pub(super) const fn blocks_in(cell_len: usize) -> usize {
    cell_len.saturating_sub(CIPHERTEXT) / BLOCK
}

/// Whether length and version are a cell's. The tag is not looked at.
pub(super) fn is_shaped(cell: &[u8]) -> bool {
    cell.len() >= MIN_CELL && (cell.len() - CIPHERTEXT).is_multiple_of(BLOCK) && cell[0] == VERSION
}

/// The length of the cell, if `out` has room for it.
pub(super) fn room_for(plaintext_len: usize, out: &[u8]) -> Result<usize, BufferTooSmall> {
    let (needed, available) = (encrypted_len(plaintext_len), out.len());
    if available < needed { Err(BufferTooSmall { needed, available }) } else { Ok(needed) }
}

/// A cell in the making: version and padded plaintext in their places. IV and tag are still to come,
/// and the plaintext is still to be encrypted where it lies.
pub(super) struct Draft<'a> {
    /// As long as the cell.
    pub(super) cell: &'a mut [u8],
    pub(super) plaintext_len: usize,
}

impl<'a> Draft<'a> {
    /// `out` has been measured by [`room_for`].
    pub(super) fn lay_out(plaintext: &[u8], out: &'a mut [u8]) -> Self {
        out[CIPHERTEXT..CIPHERTEXT + plaintext.len()].copy_from_slice(plaintext);
        Self::around(plaintext.len(), out)
    }

    /// The plaintext is in its place already.
    pub(super) fn around(plaintext_len: usize, out: &'a mut [u8]) -> Self {
        let cell = &mut out[..encrypted_len(plaintext_len)];
        cell[0] = VERSION;
        let padding = &mut cell[CIPHERTEXT + plaintext_len..];
        // 1..=16 bytes, each its own count.
        let pad = padding.len() as u8;
        padding.fill(pad);
        Self { cell, plaintext_len }
    }

    pub(super) fn set_iv(&mut self, iv: &[u8]) {
        self.cell[IV..CIPHERTEXT].copy_from_slice(iv);
    }

    pub(super) fn iv(&self) -> [u8; BLOCK] {
        iv_of(self.cell)
    }

    pub(super) fn plaintext(&self) -> &[u8] {
        &self.cell[CIPHERTEXT..CIPHERTEXT + self.plaintext_len]
    }

    pub(super) fn blocks(&self) -> &[[u8; BLOCK]] {
        self.cell[CIPHERTEXT..].as_chunks().0
    }

    pub(super) fn blocks_mut(&mut self) -> &mut [[u8; BLOCK]] {
        self.cell[CIPHERTEXT..].as_chunks_mut().0
    }

    pub(super) fn set_tag(&mut self, tag: &[u8; 32]) {
        self.cell[TAG..IV].copy_from_slice(tag);
    }
}

/// A cell that is to become its plaintext where it lies, and what came of it.
pub(super) struct Opening<'a> {
    /// [`is_shaped`] is true of it.
    pub(super) cell: &'a mut [u8],
    pub(super) result: Result<Range<usize>, InvalidCell>,
}

pub(super) fn iv_of(cell: &[u8]) -> [u8; BLOCK] {
    let mut iv = [0; BLOCK];
    iv.copy_from_slice(&cell[IV..CIPHERTEXT]);
    iv
}

/// The length of the plaintext without its PKCS#7 padding. Wipes the buffer if there is none.
///
/// Only authenticated bytes come here, so its timing tells nobody anything.
pub(super) fn unpad(padded: &mut [u8]) -> Result<usize, InvalidCell> {
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
    padded[len..].fill(0);
    Ok(len)
}
