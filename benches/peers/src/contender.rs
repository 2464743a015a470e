//! What an implementation must offer to be compared, and the loops that are timed.
//!
//! A [`Peer`] does one cell at a time; every peer becomes a [`Contender`] through the loop below,
//! compiled once per peer so that no call through a table is timed. A contender that works on many
//! cells at once implements [`Contender`] itself.

use std::hint::black_box;

use always_encrypted::crypto::EncryptionType;

use crate::layout::encrypted_len;

/// An implementation of the cell cipher that takes one cell at a time.
pub trait Peer {
    const NAME: &'static str;
    /// What it gives back: a part of the caller's buffer, or a vector of its own.
    type Bytes<'a>: AsRef<[u8]>;

    /// Encrypts `plaintext`. `out` has room for the cell and 32 bytes more.
    fn encrypt<'a>(
        &mut self,
        plaintext: &[u8],
        encryption_type: EncryptionType,
        out: &'a mut [u8],
    ) -> Self::Bytes<'a>;

    /// Decrypts `cell`, or refuses it. `out` has room for the cell and 32 bytes more.
    fn decrypt<'a>(&mut self, cell: &[u8], out: &'a mut [u8]) -> Option<Self::Bytes<'a>>;
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Deterministic,
    Randomized,
    Decrypt,
}

impl Operation {
    pub const ALL: [Self; 3] = [Self::Deterministic, Self::Randomized, Self::Decrypt];

    pub fn title(self) -> &'static str {
        match self {
            Self::Deterministic => "encrypt, deterministic",
            Self::Randomized => "encrypt, randomized",
            Self::Decrypt => "decrypt",
        }
    }

    pub fn short(self) -> &'static str {
        match self {
            Self::Deterministic => "det",
            Self::Randomized => "rand",
            Self::Decrypt => "dec",
        }
    }
}

/// A row of the tables.
pub trait Contender {
    fn name(&self) -> &'static str;

    /// One cell, for the comparison of bytes.
    fn cell(&mut self, plaintext: &[u8], encryption_type: EncryptionType) -> Vec<u8>;

    /// One plaintext, for the comparison of bytes.
    fn plaintext(&mut self, cell: &[u8]) -> Option<Vec<u8>>;

    /// The timed loop: `cells` cells, taking `inputs` round and round. Inputs are plaintexts, or
    /// cells for [`Operation::Decrypt`].
    fn run(&mut self, operation: Operation, inputs: &[Vec<u8>], cells: usize);
}

impl<P: Peer> Contender for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn cell(&mut self, plaintext: &[u8], encryption_type: EncryptionType) -> Vec<u8> {
        let mut out = buffer_for(plaintext.len());
        self.encrypt(plaintext, encryption_type, &mut out).as_ref().to_vec()
    }

    fn plaintext(&mut self, cell: &[u8]) -> Option<Vec<u8>> {
        let mut out = buffer_for(cell.len());
        self.decrypt(cell, &mut out).map(|plaintext| plaintext.as_ref().to_vec())
    }

    fn run(&mut self, operation: Operation, inputs: &[Vec<u8>], cells: usize) {
        let mut out = buffer_for(inputs.iter().map(Vec::len).max().unwrap_or(0));
        let encryption_type = match operation {
            Operation::Decrypt => return decrypt_loop(self, inputs, cells, &mut out),
            Operation::Deterministic => EncryptionType::Deterministic,
            Operation::Randomized => EncryptionType::Randomized,
        };
        for input in inputs.iter().cycle().take(cells) {
            black_box(self.encrypt(black_box(input), encryption_type, black_box(&mut out)));
        }
    }
}

fn decrypt_loop<P: Peer>(peer: &mut P, inputs: &[Vec<u8>], cells: usize, out: &mut [u8]) {
    for input in inputs.iter().cycle().take(cells) {
        let plaintext = peer.decrypt(black_box(input), black_box(&mut *out));
        assert!(plaintext.is_some(), "{} refused a good cell", P::NAME);
        black_box(plaintext);
    }
}

fn buffer_for(len: usize) -> Vec<u8> {
    vec![0; encrypted_len(len) + 32]
}
