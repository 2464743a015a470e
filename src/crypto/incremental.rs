//! A cell that arrives in chunks: hashed as they come, decrypted as its plaintext is taken.

use std::{borrow::Borrow, collections::VecDeque, fmt};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{
    CellKey, InvalidCell,
    hmac::Stream,
    layout::{BLOCK, CIPHERTEXT, IV, TAG, VERSION, VERSION_LEN, unpad},
};

/// How much ciphertext lies in one piece. Full pieces are never moved, so a cell is there once, however
/// long it gets.
const PIECE: usize = 64 * 1024;

/// Decrypts one cell that arrives in chunks, such as a value of `varbinary(max)`.
///
/// Each chunk is hashed when it comes, so that at the end only the tag remains to be compared. No
/// plaintext exists before all of the cell is there and its tag has been found right; then it is
/// made piece by piece, as it is taken, where the ciphertext lies. So a long cell is in memory once,
/// and little of it in the clear.
///
/// ```
/// # use always_encrypted::crypto::{Cek, CellDecryptor, CellKey, EncryptionType};
/// let key = CellKey::new(&Cek::generate()?);
/// let cell = key.encrypt(b"a long value", EncryptionType::Randomized)?;
/// let mut decryptor = CellDecryptor::new(&key);
/// for chunk in cell.chunks(10) {
///     decryptor.update(chunk);
/// }
/// let mut verified = decryptor.finish()?;
/// assert_eq!(verified.len(), 12);
/// let mut plaintext = Vec::with_capacity(12);
/// while let Some(piece) = verified.next_piece() {
///     plaintext.extend_from_slice(&piece);
/// }
/// assert_eq!(plaintext, b"a long value");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CellDecryptor<K> {
    key: K,
    /// Version, tag and IV.
    head: Vec<u8>,
    /// All but the last are full.
    pieces: VecDeque<Vec<u8>>,
    len: usize,
    mac: Stream,
}

impl<K: Borrow<CellKey>> CellDecryptor<K> {
    /// For a cell of `key`, which may be borrowed, shared or owned.
    #[must_use]
    pub fn new(key: K) -> Self {
        let mut mac = key.borrow().macs().tag.stream();
        mac.update(&[VERSION]);
        let head = Vec::with_capacity(CIPHERTEXT);
        Self { key, head, pieces: VecDeque::new(), len: 0, mac }
    }

    /// Takes the next bytes of the cell.
    pub fn update(&mut self, chunk: &[u8]) {
        let (head, mut rest) = chunk.split_at(chunk.len().min(CIPHERTEXT - self.head.len()));
        let hashed = self.head.len().max(IV);
        self.head.extend_from_slice(head);
        self.mac.update(self.head.get(hashed..).unwrap_or_default());
        self.mac.update(rest);
        self.len += rest.len();
        while !rest.is_empty() {
            let room = self.pieces.back().map_or(0, |piece| PIECE - piece.len());
            if room == 0 {
                // Most cells are short, and the first piece grows with its own; a copy that it leaves
                // is ciphertext.
                let capacity = if self.pieces.is_empty() { 0 } else { PIECE };
                self.pieces.push_back(Vec::with_capacity(capacity));
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(room));
            if let Some(piece) = self.pieces.back_mut() {
                piece.extend_from_slice(now);
            }
            rest = later;
        }
    }

    /// Verifies the whole cell: its tag, then the padding of its last block.
    pub fn finish(mut self) -> Result<VerifiedCell<K>, InvalidCell> {
        self.mac.update(&[VERSION_LEN]);
        let tag = self.mac.finish(&self.key.borrow().macs().tag);
        let shaped = self.head.len() == CIPHERTEXT
            && self.head.first() == Some(&VERSION)
            && self.len >= BLOCK
            && self.len.is_multiple_of(BLOCK);
        if !shaped || !bool::from(tag.ct_eq(&self.head[TAG..IV])) {
            return Err(InvalidCell);
        }
        let mut iv = [0; BLOCK];
        iv.copy_from_slice(&self.head[IV..]);
        let mut blocks =
            self.pieces.iter().rev().flat_map(|piece| piece.as_chunks().0.iter().rev());
        let mut last = blocks.next().copied().unwrap_or_default();
        let before = blocks.next().unwrap_or(&iv);
        self.key.borrow().decrypt_blocks(before, &mut last);
        let unpadded = unpad(&mut last);
        last.zeroize();
        let len = self.len - BLOCK + unpadded?;
        Ok(VerifiedCell { key: self.key, iv, pieces: self.pieces, len })
    }
}

impl<K> fmt::Debug for CellDecryptor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.head.len() + self.len;
        f.debug_struct("CellDecryptor").field("arrived", &arrived).finish_non_exhaustive()
    }
}

/// A whole cell whose tag and padding are right. Its plaintext is made as it is taken.
pub struct VerifiedCell<K> {
    key: K,
    /// What the next piece begins with: the cell's IV, or the last block of the piece before it.
    iv: [u8; BLOCK],
    pieces: VecDeque<Vec<u8>>,
    len: usize,
}

impl<K: Borrow<CellKey>> VerifiedCell<K> {
    /// How many bytes of plaintext have not been taken yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all of the plaintext has been taken, or there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next bytes of the plaintext, some 64 KiB where there are as many; `None` at its end.
    pub fn next_piece(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if self.is_empty() {
            return None;
        }
        let mut piece = Zeroizing::new(self.pieces.pop_front()?);
        let next = piece.last_chunk().copied().unwrap_or_default();
        self.key.borrow().decrypt_blocks(&self.iv, &mut piece);
        self.iv = next;
        piece.truncate(self.len);
        self.len -= piece.len();
        Some(piece)
    }
}

impl<K> fmt::Debug for VerifiedCell<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedCell(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn decrypt<'a>(
        key: &CellKey,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, InvalidCell> {
        let mut decryptor = CellDecryptor::new(key);
        for chunk in chunks {
            decryptor.update(chunk);
        }
        let mut cell = decryptor.finish()?;
        let (len, mut plaintext) = (cell.len(), Vec::new());
        while let Some(piece) = cell.next_piece() {
            assert!(!piece.is_empty());
            plaintext.extend_from_slice(&piece);
            assert_eq!(plaintext.len() + cell.len(), len);
        }
        Ok(plaintext)
    }

    #[test]
    fn however_a_cell_is_cut_its_plaintext_comes_back() {
        let key = CellKey::new(&Cek::from([5; 32]));
        for len in [0, 1, 15, 16, 47, 48, 100, 1000] {
            let plaintext: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let cell = key.encrypt(&plaintext, EncryptionType::Randomized).unwrap();
            for size in 1..=cell.len() {
                assert_eq!(decrypt(&key, cell.chunks(size)).unwrap(), plaintext, "{size}");
            }
            for at in 0..=cell.len() {
                let (a, b) = cell.split_at(at);
                assert_eq!(decrypt(&key, [a, &[], b]).unwrap(), plaintext, "cut at {at}");
            }
        }
    }

    #[test]
    fn a_cell_of_several_pieces_comes_back() {
        let key = CellKey::new(&Cek::from([5; 32]));
        for len in [PIECE - 17, PIECE - 16, PIECE - 1, PIECE, PIECE + 1, PIECE + 16, 3 * PIECE + 5]
        {
            let plaintext: Vec<u8> = (0..len).map(|i| ((i * 7) >> 3) as u8).collect();
            let cell = key.encrypt(&plaintext, EncryptionType::Randomized).unwrap();
            for size in [1000, 4096, PIECE, PIECE + 49, cell.len()] {
                assert!(decrypt(&key, cell.chunks(size)).unwrap() == plaintext, "{len}, {size}");
            }
        }
    }

    #[test]
    fn a_short_cell_takes_no_room_for_a_long_one() {
        let key = CellKey::new(&Cek::from([5; 32]));
        for len in [0, 100, 5000] {
            let cell = key.encrypt(&vec![7; len], EncryptionType::Randomized).unwrap();
            let mut decryptor = CellDecryptor::new(&key);
            cell.chunks(40).for_each(|chunk| decryptor.update(chunk));
            let capacity: usize = decryptor.pieces.iter().map(Vec::capacity).sum();
            assert!(capacity <= 2 * cell.len(), "{capacity} bytes for {}", cell.len());
        }
    }

    #[test]
    fn a_right_tag_over_wrong_padding_is_refused() {
        let key = CellKey::new(&Cek::from([5; 32]));
        for blocks in [1, 2, PIECE / BLOCK + 1] {
            // Every pad there is and is not: the last byte of the plaintext is what the cell before
            // it in the chain makes of it.
            let mut bad =
                key.encrypt(&vec![0; blocks * BLOCK - 1], EncryptionType::Randomized).unwrap();
            let at = bad.len() - BLOCK - 1;
            bad[at] ^= 0x80;
            let mut mac = key.macs().tag.stream();
            mac.update(&[VERSION]);
            mac.update(&bad[IV..]);
            mac.update(&[VERSION_LEN]);
            bad[TAG..IV].copy_from_slice(&mac.finish(&key.macs().tag));
            assert!(decrypt(&key, bad.chunks(1000)).is_err(), "{blocks}");
            assert!(key.decrypt_in_place(&mut bad).is_err(), "{blocks}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let key = CellKey::new(&Cek::from([5; 32]));
        let cell = key.encrypt(&[3; 100], EncryptionType::Deterministic).unwrap();
        for bit in 0..cell.len() * 8 {
            let mut bad = cell.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decrypt(&key, bad.chunks(33)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cell_that_ends_early_or_goes_on_is_refused() {
        let key = CellKey::new(&Cek::from([5; 32]));
        let cell = key.encrypt(&[3; 100], EncryptionType::Deterministic).unwrap();
        for len in 0..cell.len() {
            assert!(decrypt(&key, [&cell[..len]]).is_err(), "{len} bytes");
        }
        assert!(decrypt(&key, [&cell[..], &[0; 16]]).is_err());
    }

    #[test]
    fn debug_shows_no_plaintext() {
        let key = CellKey::new(&Cek::from([5; 32]));
        let cell = key.encrypt(b"secret", EncryptionType::Randomized).unwrap();
        let mut decryptor = CellDecryptor::new(&key);
        decryptor.update(&cell);
        assert_eq!(format!("{decryptor:?}"), "CellDecryptor { arrived: 65, .. }");
        assert_eq!(format!("{:?}", decryptor.finish().unwrap()), "VerifiedCell(..)");
    }
}
