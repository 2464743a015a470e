//! A cell that arrives in chunks, hashed as they come.

use std::{
    fmt,
    ops::{Deref, Range},
};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    CellKey, InvalidCell,
    hmac::Stream,
    layout::{CIPHERTEXT, IV, TAG, VERSION, VERSION_LEN, is_shaped, iv_of, unpad},
};

/// Decrypts one cell that arrives in chunks, such as a value of `varbinary(max)`.
///
/// Each chunk is hashed when it comes, so that at the end only the tag remains to be compared and the
/// cell to be decrypted, in the buffer that it was gathered in. No plaintext exists before all of the
/// cell is there and its tag has been found right.
///
/// ```
/// # use always_encrypted::crypto::{Cek, CellDecryptor, CellKey, EncryptionType};
/// let key = CellKey::new(&Cek::generate()?);
/// let cell = key.encrypt(b"a long value", EncryptionType::Randomized)?;
/// let mut decryptor = CellDecryptor::new(&key, cell.len());
/// for chunk in cell.chunks(10) {
///     decryptor.update(chunk);
/// }
/// assert_eq!(&*decryptor.finish()?, b"a long value");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CellDecryptor<'k> {
    key: &'k CellKey,
    /// Ciphertext until the end, so it may grow and leave copies behind.
    cell: Vec<u8>,
    mac: Stream,
}

impl<'k> CellDecryptor<'k> {
    /// `expected_len` is how long the cell may become, as far as it is known: the buffer has that
    /// capacity at first, and grows if more comes.
    #[must_use]
    pub fn new(key: &'k CellKey, expected_len: usize) -> Self {
        let mut mac = key.macs().tag.stream();
        mac.update(&[VERSION]);
        Self { key, cell: Vec::with_capacity(expected_len), mac }
    }

    /// Takes the next bytes of the cell.
    pub fn update(&mut self, chunk: &[u8]) {
        let from = self.cell.len().max(IV);
        self.cell.extend_from_slice(chunk);
        self.mac.update(self.cell.get(from..).unwrap_or_default());
    }

    /// Verifies the whole cell and decrypts it.
    pub fn finish(mut self) -> Result<DecryptedCell, InvalidCell> {
        self.mac.update(&[VERSION_LEN]);
        let tag = self.mac.finish(&self.key.macs().tag);
        if !is_shaped(&self.cell) || !bool::from(tag.ct_eq(&self.cell[TAG..IV])) {
            return Err(InvalidCell);
        }
        let iv = iv_of(&self.cell);
        let mut cell = Zeroizing::new(self.cell);
        let ciphertext = &mut cell[CIPHERTEXT..];
        self.key.decrypt_blocks(&iv, ciphertext);
        let len = unpad(ciphertext)?;
        Ok(DecryptedCell { cell, plaintext: CIPHERTEXT..CIPHERTEXT + len })
    }
}

impl fmt::Debug for CellDecryptor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellDecryptor").field("arrived", &self.cell.len()).finish_non_exhaustive()
    }
}

/// The plaintext of a cell where the cell was, wiped on drop.
pub struct DecryptedCell {
    cell: Zeroizing<Vec<u8>>,
    plaintext: Range<usize>,
}

impl Deref for DecryptedCell {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.cell.get(self.plaintext.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for DecryptedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptedCell(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn decrypt<'a>(
        key: &CellKey,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<DecryptedCell, InvalidCell> {
        let mut decryptor = CellDecryptor::new(key, 0);
        for chunk in chunks {
            decryptor.update(chunk);
        }
        decryptor.finish()
    }

    #[test]
    fn however_a_cell_is_cut_its_plaintext_comes_back() {
        let key = CellKey::new(&Cek::from([5; 32]));
        for len in [0, 1, 15, 16, 47, 48, 100, 1000] {
            let plaintext: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let cell = key.encrypt(&plaintext, EncryptionType::Randomized).unwrap();
            for size in 1..=cell.len() {
                assert_eq!(&*decrypt(&key, cell.chunks(size)).unwrap(), plaintext, "{size}");
            }
            for at in 0..=cell.len() {
                let (a, b) = cell.split_at(at);
                assert_eq!(&*decrypt(&key, [a, &[], b]).unwrap(), plaintext, "cut at {at}");
            }
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
        let mut decryptor = CellDecryptor::new(&key, cell.len());
        decryptor.update(&cell);
        assert_eq!(format!("{decryptor:?}"), "CellDecryptor { arrived: 65, .. }");
        assert_eq!(format!("{:?}", decryptor.finish().unwrap()), "DecryptedCell(..)");
    }
}
