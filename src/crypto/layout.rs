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
///
/// For a length that leaves no room for [`MAX_OVERHEAD`], and that no buffer has, it is `usize::MAX`.
#[must_use]
pub const fn encrypted_len(plaintext_len: usize) -> usize {
    let padded = (plaintext_len / BLOCK + 1).saturating_mul(BLOCK);
    padded.saturating_add(CIPHERTEXT)
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
        let cell = &mut out[..encrypted_len(plaintext.len())];
        cell[0] = VERSION;
        // All of the last block, which the plaintext then covers in part.
        let pad = BLOCK - plaintext.len() % BLOCK;
        if let Some(last) = cell.last_chunk_mut() {
            *last = [pad as u8; BLOCK];
        }
        cell[CIPHERTEXT..CIPHERTEXT + plaintext.len()].copy_from_slice(plaintext);
        Self { cell, plaintext_len: plaintext.len() }
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
    // Over all of them, so that which one is wrong takes no time of its own.
    if padded[len..].iter().fold(0, |sum, &b| sum | (usize::from(b) ^ pad)) != 0 {
        padded.zeroize();
        return Err(InvalidCell);
    }
    padded[len..].fill(0);
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length in numbers that do not overflow, from the table in `cell`.
    fn length_on_paper(plaintext_len: usize) -> u128 {
        let padding = 16 - plaintext_len as u128 % 16;
        1 + 32 + 16 + plaintext_len as u128 + padding
    }

    #[test]
    fn every_length_is_that_of_the_table() {
        for len in 0..200_000 {
            let cell_len = encrypted_len(len);
            assert_eq!(cell_len as u128, length_on_paper(len));
            assert!(cell_len - len <= MAX_OVERHEAD && cell_len >= MIN_CELL);
            assert_eq!(blocks_in(cell_len), len / 16 + 1);
        }
    }

    #[test]
    fn lengths_at_the_ends_of_numbers_do_not_wrap() {
        let ends = [u16::MAX as usize, i32::MAX as usize, u32::MAX as usize, isize::MAX as usize];
        for end in ends {
            for len in end - 100..=end + 100 {
                assert_eq!(encrypted_len(len) as u128, length_on_paper(len), "{len}");
            }
        }
        for len in usize::MAX - 200..=usize::MAX {
            let exact = length_on_paper(len);
            assert_eq!(encrypted_len(len) as u128, exact.min(usize::MAX as u128), "{len}");
            assert!(room_for(len, &[0; 100]).is_err());
        }
    }

    #[test]
    fn there_is_room_exactly_from_the_length_on() {
        let out = [0; 400];
        for len in 0..400 {
            for available in 0..out.len() {
                let enough = available >= encrypted_len(len);
                assert_eq!(room_for(len, &out[..available]).is_ok(), enough, "{len}, {available}");
            }
        }
    }

    #[test]
    fn the_lengths_of_cells_are_those_that_some_plaintext_makes() {
        let made: std::collections::HashSet<usize> = (0..70_000).map(encrypted_len).collect();
        let cell = vec![VERSION; 70_000];
        for len in 0..cell.len() {
            assert_eq!(is_shaped(&cell[..len]), made.contains(&len), "{len}");
            // Not below a cell either.
            assert_eq!(blocks_in(len), len.saturating_sub(49) / 16);
        }
        for version in (0..=u8::MAX).filter(|version| *version != VERSION) {
            assert!(!is_shaped(&[version; MIN_CELL]));
        }
    }

    /// Each padding, and each change to one of its bytes.
    #[test]
    fn padding_is_taken_off_if_every_byte_of_it_is_its_count() {
        for len in [16, 32, 48] {
            for pad in 0..=u8::MAX {
                let mut padded = vec![0xAA; len];
                let from = len.saturating_sub(pad.into());
                padded[from..].fill(pad);
                padded[len - 1] = pad;
                let valid = (1..=16).contains(&pad);
                let expected = if valid { Ok(from) } else { Err(InvalidCell) };
                assert_eq!(unpad(&mut padded.clone()), expected, "{len}, {pad}");
                for at in from..len - 1 {
                    let mut bad = padded.clone();
                    bad[at] ^= 0x40;
                    assert_eq!(unpad(&mut bad), Err(InvalidCell), "{len}, {pad}, {at}");
                    assert!(bad.iter().all(|&b| b == 0));
                }
            }
        }
        assert_eq!(unpad(&mut []), Err(InvalidCell));
    }

    #[test]
    fn a_draft_is_version_plaintext_and_padding_in_their_places() {
        let plaintext = [0xAA; 300];
        for len in 0..plaintext.len() {
            let mut out = [0xEE; 400];
            let draft = Draft::lay_out(&plaintext[..len], &mut out);
            assert_eq!(draft.plaintext(), &plaintext[..len]);
            assert_eq!(draft.blocks().len(), blocks_in(encrypted_len(len)));
            let end = encrypted_len(len);
            assert_eq!(out[0], VERSION);
            let pad = (end - CIPHERTEXT - len) as u8;
            assert!(out[CIPHERTEXT + len..end].iter().all(|&b| b == pad));
            assert!(out[TAG..CIPHERTEXT].iter().chain(&out[end..]).all(|&b| b == 0xEE));
        }
    }
}
