//! A batch does to each cell what a single call does, whatever its neighbours are.
#![no_main]

use always_encrypted::crypto::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation, encrypted_len,
};
use libfuzzer_sys::fuzz_target;

/// Cuts the input into pieces; the byte before each says how long it is, in steps that lead to
/// lengths far apart.
fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((&head, rest)) = data.split_first() {
        let len = usize::from(head & 0x3F) << (head >> 6);
        let (piece, rest) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

fuzz_target!(|data: &[u8]| {
    let pieces = pieces(data);
    for implementation in [Implementation::Portable, Implementation::X86] {
        let key = CellKey::with(&Cek::from([3; 32]), implementation);
        let mut cells: Vec<Vec<u8>> =
            pieces.iter().map(|p| vec![0; encrypted_len(p.len())]).collect();
        let mut batch: Vec<_> =
            pieces.iter().zip(&mut cells).map(|(p, c)| CellToEncrypt::new(p, c)).collect();
        key.encrypt_batch(&mut batch, EncryptionType::Deterministic);
        assert!(batch.iter().zip(&pieces).all(|(c, p)| c.written() == Ok(encrypted_len(p.len()))));
        drop(batch);
        for (cell, piece) in cells.iter().zip(&pieces) {
            assert_eq!(*cell, key.encrypt(piece, EncryptionType::Deterministic).unwrap());
        }

        // Some are changed, and some places are taken by what the input says are cells.
        for (n, (cell, piece)) in cells.iter_mut().zip(&pieces).enumerate() {
            match piece.first() {
                Some(1) => *cell = piece.to_vec(),
                Some(&at) if at & 1 == 1 => {
                    let at = (n * 251 + usize::from(at)) % cell.len();
                    cell[at] ^= 1;
                }
                _ => {}
            }
        }
        let alone: Vec<_> = cells.iter().map(|cell| key.decrypt(cell)).collect();
        let before = cells.clone();
        let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
        key.decrypt_batch(&mut batch);
        let mut failed = Vec::new();
        for (cell, alone) in batch.iter().zip(&alone) {
            assert_eq!(cell.plaintext().ok(), alone.as_ref().ok().map(|p| p.as_slice()));
            failed.push(cell.plaintext().is_err());
        }
        drop(batch);
        for (at, _) in failed.iter().enumerate().filter(|(_, failed)| **failed) {
            assert_eq!(cells[at], before[at]);
        }
    }
});
