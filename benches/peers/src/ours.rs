//! The implementation that is compared with all others: it comes first in every table, and all
//! ratios are against it.

use std::hint::black_box;

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation,
};

use crate::{
    contender::{Contender, Operation, Peer},
    layout::encrypted_len,
};

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

/// The same in safe code only: what runs on processors without the instructions.
pub struct Portable(Single);

impl Portable {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self(Single(CellKey::with(&Cek::from(*cek), Implementation::Portable)))
    }
}

impl Peer for Portable {
    const NAME: &'static str = "always-encrypted, safe code";
    type Bytes<'a> = &'a [u8];

    fn encrypt<'a>(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &'a mut [u8],
    ) -> &'a [u8] {
        self.0.encrypt(plaintext, encryption_type, out)
    }

    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        self.0.decrypt(cell, out)
    }
}

/// Many cells per call, each into a buffer of its own. Decryption happens in place, so copying the
/// cells there is in its time.
pub struct Batch {
    key: CellKey,
    /// Kept from run to run: of long cells a run has time for few, and memory that the operating
    /// system has to find for each of them costs as much as they do.
    out: Vec<Vec<u8>>,
}

/// The name under which the verdict looks for it.
pub const BATCH: &str = "always-encrypted, batches of 64";
const CELLS_PER_CALL: usize = 64;

impl Batch {
    pub fn new(cek: &[u8; 32]) -> Self {
        Self { key: CellKey::new(&Cek::from(*cek)), out: Vec::new() }
    }

    fn encrypt(&self, inputs: &[&Vec<u8>], encryption_type: EncryptionType, out: &mut [Vec<u8>]) {
        let pairs = inputs.iter().zip(out);
        let mut cells: Vec<_> =
            pairs.map(|(p, out)| CellToEncrypt::new(black_box(p), out)).collect();
        self.key.encrypt_batch(black_box(&mut cells), encryption_type);
        assert!(cells.iter().all(|cell| cell.written().is_ok()), "{BATCH} refused a plaintext");
    }

    fn decrypt(&self, inputs: &[&Vec<u8>], out: &mut [Vec<u8>]) {
        for (input, out) in inputs.iter().zip(out.iter_mut()) {
            out[..input.len()].copy_from_slice(black_box(input));
        }
        let pairs = inputs.iter().zip(out);
        let mut cells: Vec<_> =
            pairs.map(|(input, out)| CellToDecrypt::new(&mut out[..input.len()])).collect();
        self.key.decrypt_batch(black_box(&mut cells));
        assert!(cells.iter().all(|cell| cell.plaintext().is_ok()), "{BATCH} refused a good cell");
    }
}

impl Contender for Batch {
    fn name(&self) -> &'static str {
        BATCH
    }

    fn cell(&mut self, plaintext: &[u8], encryption_type: EncryptionType) -> Vec<u8> {
        let mut out = [vec![0; encrypted_len(plaintext.len())]];
        self.encrypt(&[&plaintext.to_vec()], encryption_type, &mut out);
        let [cell] = out;
        cell
    }

    fn plaintext(&mut self, cell: &[u8]) -> Option<Vec<u8>> {
        let mut cell = cell.to_vec();
        let mut batch = [CellToDecrypt::new(&mut cell)];
        self.key.decrypt_batch(&mut batch);
        batch[0].plaintext().ok().map(<[u8]>::to_vec)
    }

    fn run(&mut self, operation: Operation, inputs: &[Vec<u8>], cells: usize) {
        let longest = inputs.iter().map(Vec::len).max().unwrap_or(0);
        let room = encrypted_len(longest);
        let mut out = std::mem::take(&mut self.out);
        out.retain(|buffer| buffer.len() == room);
        out.resize(out.len().max(CELLS_PER_CALL.min(cells)), vec![0; room]);
        let endless: Vec<&Vec<u8>> =
            inputs.iter().cycle().take(inputs.len() + CELLS_PER_CALL).collect();
        let (mut done, mut at) = (0, 0);
        while done < cells {
            let group = &endless[at..at + CELLS_PER_CALL.min(cells - done)];
            match operation {
                Operation::Decrypt => self.decrypt(group, &mut out),
                Operation::Deterministic => {
                    self.encrypt(group, EncryptionType::Deterministic, &mut out);
                }
                Operation::Randomized => self.encrypt(group, EncryptionType::Randomized, &mut out),
            }
            black_box(&mut out);
            done += group.len();
            at = (at + group.len()) % inputs.len();
        }
        self.out = out;
    }
}
