//! The payload of a message in pieces, so that a long value in it is neither moved nor copied.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    crypto::{CellKey, VerifiedCell},
    tds::WipedBuffer,
};

/// From this length on, bytes are left where they are and others go into a piece of their own.
const PIECE: usize = 64 * 1024;

/// Bytes in their order. What leaves it is wiped.
#[derive(Default)]
pub(super) struct Payload {
    pieces: VecDeque<Piece>,
    /// How long they are together. It is asked for at every packet, and there may be as many pieces.
    in_pieces: usize,
    /// What comes after them.
    tail: WipedBuffer,
}

enum Piece {
    Bytes(WipedBuffer),
    /// A long cell: what is to come is its plaintext, and is ciphertext until it is taken.
    Cell(VerifiedCell<Arc<CellKey>>),
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.in_pieces + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes behind the last long cell, to be gone on with.
    pub(super) fn tail(&mut self) -> &mut WipedBuffer {
        &mut self.tail
    }

    /// Appends bytes. What is there already is not moved for them if it is long.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// Where up to `most` bytes may be appended. What is there already is not moved for them if it is
    /// long.
    pub(super) fn room(&mut self, most: usize) -> &mut Vec<u8> {
        if self.tail.len() + most > PIECE {
            self.close_tail();
            self.tail.spare(most.max(PIECE));
        }
        self.tail.spare(most)
    }

    /// Appends the plaintext of a cell.
    pub(super) fn push_cell(&mut self, cell: VerifiedCell<Arc<CellKey>>) {
        self.close_tail();
        self.in_pieces += cell.len();
        self.pieces.push_back(Piece::Cell(cell));
    }

    /// Appends all of another.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.close_tail();
        self.pieces.append(&mut other.pieces);
        self.in_pieces += std::mem::take(&mut other.in_pieces);
        self.tail = std::mem::take(&mut other.tail);
    }

    /// Puts bytes in front.
    pub(super) fn prepend(&mut self, bytes: Vec<u8>) {
        self.in_pieces += bytes.len();
        self.pieces.push_front(Piece::Bytes(bytes.into()));
    }

    /// All of it in one piece. What has been moved there is wiped and given back as it goes.
    pub(super) fn join(mut self) -> WipedBuffer {
        if self.pieces.is_empty() {
            return self.tail;
        }
        let len = self.len();
        let mut whole = WipedBuffer::default();
        whole.spare(len);
        self.take_into(len, &mut whole);
        whole
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.in_pieces += self.tail.len();
            self.pieces.push_back(Piece::Bytes(std::mem::take(&mut self.tail)));
        }
    }

    /// Moves the first `len` bytes, or all there are, to the end of `out`.
    pub(super) fn take_into(&mut self, mut len: usize, out: &mut WipedBuffer) {
        while let (true, Some(piece)) = (len > 0, self.pieces.front_mut()) {
            match piece {
                Piece::Bytes(bytes) if bytes.is_empty() => {
                    self.pieces.pop_front();
                }
                Piece::Bytes(bytes) => {
                    let taken = take_front(bytes, len, out);
                    len -= taken;
                    self.in_pieces -= taken;
                }
                Piece::Cell(cell) => match cell.next_piece() {
                    Some(mut plaintext) => {
                        let bytes = std::mem::take(&mut *plaintext).into();
                        self.pieces.push_front(Piece::Bytes(bytes));
                    }
                    None => {
                        self.pieces.pop_front();
                    }
                },
            }
        }
        take_front(&mut self.tail, len, out);
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(WipedBuffer::from(bytes))
    }
}

impl From<WipedBuffer> for Payload {
    fn from(tail: WipedBuffer) -> Self {
        Self { tail, ..Self::default() }
    }
}

fn take_front(from: &mut WipedBuffer, len: usize, out: &mut WipedBuffer) -> usize {
    let taken = from.as_slice().get(..len).unwrap_or(from.as_slice());
    out.extend(taken);
    let len = taken.len();
    from.consume(len);
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Cek, CellDecryptor, EncryptionType};

    #[test]
    fn bytes_and_cells_come_out_in_their_order_however_they_are_taken() {
        let key = Arc::new(CellKey::new(&Cek::from([3; 32])));
        let long: Vec<u8> = (0..200_000u32).map(|i| ((i * 7) >> 2) as u8).collect();
        for size in [1000, 4096, 70_000, 1_000_000] {
            let mut decryptor = CellDecryptor::new(key.clone());
            decryptor.update(&key.encrypt(&long, EncryptionType::Randomized).unwrap());
            let mut payload = Payload::default();
            payload.tail().extend(b"head");
            payload.push_cell(decryptor.finish().unwrap());
            let mut row = Payload::from(b"behind".to_vec());
            row.push_cell({
                let mut empty = CellDecryptor::new(key.clone());
                empty.update(&key.encrypt(b"", EncryptionType::Randomized).unwrap());
                empty.finish().unwrap()
            });
            row.tail().extend(b"tail");
            payload.append(&mut row);
            payload.prepend(b"first".to_vec());
            let expected = [b"firsthead", &long[..], b"behindtail"].concat();
            assert_eq!(payload.len(), expected.len());
            let (mut out, mut sizes) = (WipedBuffer::default(), Vec::new());
            while !payload.is_empty() {
                let before = out.len();
                let left = payload.len();
                payload.take_into(size, &mut out);
                assert_eq!(payload.len(), left - (out.len() - before));
                sizes.push(out.len() - before);
            }
            assert!(out.as_slice() == expected, "{size}");
            assert!(sizes.iter().rev().skip(1).all(|taken| *taken == size));
        }
    }
}
