use EncryptionType::{Deterministic, Randomized};
use proptest::prelude::*;

use super::{super::Cek, *};
use crate::crypto::{BufferTooSmall, Implementation, PLAINTEXT_OFFSET};

fn keys() -> Vec<CellKey> {
    let cek = Cek::from(std::array::from_fn(|i| i as u8));
    [Implementation::Portable, Implementation::detect()].map(|i| CellKey::with(&cek, i)).into()
}

fn plaintexts(lengths: &[usize]) -> Vec<Vec<u8>> {
    let byte = |n: usize, i: usize| (i.wrapping_mul(31) ^ n.wrapping_mul(97)) as u8;
    lengths.iter().enumerate().map(|(n, &len)| (0..len).map(|i| byte(n, i)).collect()).collect()
}

fn encrypt(key: &CellKey, plaintexts: &[Vec<u8>], encryption_type: EncryptionType) -> Vec<Vec<u8>> {
    let mut cells: Vec<Vec<u8>> =
        plaintexts.iter().map(|p| vec![0; encrypted_len(p.len())]).collect();
    let mut batch: Vec<_> =
        plaintexts.iter().zip(&mut cells).map(|(p, c)| CellToEncrypt::new(p, c)).collect();
    key.encrypt_batch(&mut batch, encryption_type);
    for (cell, plaintext) in batch.iter().zip(plaintexts) {
        assert_eq!(cell.written(), Ok(encrypted_len(plaintext.len())));
    }
    drop(batch);
    cells
}

/// The same from plaintexts that lie where their cells will be.
fn encrypt_in_place(key: &CellKey, plaintexts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let laid_out = |p: &Vec<u8>| {
        let mut cell = vec![0xA5; encrypted_len(p.len())];
        cell[PLAINTEXT_OFFSET..][..p.len()].copy_from_slice(p);
        cell
    };
    let mut cells: Vec<Vec<u8>> = plaintexts.iter().map(laid_out).collect();
    let in_place = plaintexts.iter().zip(&mut cells);
    let mut batch: Vec<_> = in_place.map(|(p, c)| CellToEncrypt::in_place(p.len(), c)).collect();
    key.encrypt_batch(&mut batch, Deterministic);
    assert!(batch.iter().all(|cell| cell.written().is_ok_and(|len| len > 0)));
    drop(batch);
    cells
}

/// A batch makes the cells of single calls, and reads what it made.
fn check(key: &CellKey, lengths: &[usize]) {
    let plaintexts = plaintexts(lengths);
    let cells = encrypt(key, &plaintexts, Deterministic);
    for (cell, plaintext) in cells.iter().zip(&plaintexts) {
        assert!(*cell == key.encrypt(plaintext, Deterministic).unwrap(), "{}", plaintext.len());
    }
    assert!(encrypt_in_place(key, &plaintexts) == cells);
    let mut cells = encrypt(key, &plaintexts, Randomized);
    for (cell, plaintext) in cells.iter().zip(&plaintexts) {
        assert_eq!(key.decrypt(cell).unwrap().as_slice(), plaintext);
    }
    let mut batch: Vec<_> = cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
    key.decrypt_batch(&mut batch);
    for (cell, plaintext) in batch.iter().zip(&plaintexts) {
        assert_eq!(cell.plaintext(), Ok(plaintext.as_slice()));
    }
}

#[test]
fn a_batch_of_any_size_makes_the_cells_of_single_calls() {
    for key in keys() {
        for size in (0..20).chain([WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 3]) {
            check(&key, &vec![50; size]);
            check(&key, &(0..size).map(|n| n * 37 % 200).collect::<Vec<_>>());
        }
        check(&key, &[100_000, 0, 1, 5000, 15, 16, 17, 4999, 70_000]);
    }
}

#[test]
fn every_length_comes_back_among_neighbours_of_other_lengths() {
    for key in keys() {
        check(&key, &(0..1200).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn ragged_batches_make_the_cells_of_single_calls(
        lengths in prop::collection::vec(prop_oneof![0..40usize, 0..300usize, 0..5000usize], 0..40)
    ) {
        for key in keys() {
            check(&key, &lengths);
        }
    }
}

#[test]
fn one_bad_cell_fails_alone_and_is_left_as_it_was() {
    for key in keys() {
        // Short ones go side by side, long ones do not.
        for len in [0, 20, 64, 500] {
            let plaintexts = plaintexts(&[len; 13]);
            let good = encrypt(&key, &plaintexts, Randomized);
            for bad in 0..good.len() {
                for at in [0, 1, 32, 33, 48, 49, good[bad].len() - 1] {
                    let mut cells = good.clone();
                    cells[bad][at] ^= 0x80;
                    let tampered = cells[bad].clone();
                    let mut batch: Vec<_> =
                        cells.iter_mut().map(|c| CellToDecrypt::new(c)).collect();
                    key.decrypt_batch(&mut batch);
                    for (n, cell) in batch.iter().enumerate() {
                        let expected = (n != bad).then_some(plaintexts[n].as_slice());
                        assert_eq!(cell.plaintext().ok(), expected, "{len} bytes, {bad}, {at}");
                    }
                    drop(batch);
                    assert_eq!(cells[bad], tampered);
                }
            }
        }
    }
}

#[test]
fn what_is_no_cell_at_all_fails_alone() {
    for key in keys() {
        let good = key.encrypt(b"value", Deterministic).unwrap();
        for len in 0..good.len() {
            let mut cells = [good.clone(), good[..len].to_vec(), good.clone()];
            let mut batch = cells.each_mut().map(|cell| CellToDecrypt::new(cell));
            key.decrypt_batch(&mut batch);
            assert_eq!(batch.each_ref().map(|c| c.plaintext().is_ok()), [true, false, true]);
        }
    }
}

#[test]
fn a_short_buffer_fails_alone_and_stays_empty() {
    for key in keys() {
        let mut buffers = [vec![0; 65], vec![0; 64], vec![0; 65]];
        let mut batch = buffers.each_mut().map(|out| CellToEncrypt::new(b"value", out));
        key.encrypt_batch(&mut batch, Deterministic);
        let short = BufferTooSmall { needed: 65, available: 64 };
        assert_eq!(
            batch.each_ref().map(CellToEncrypt::written),
            [Ok(65), Err(short.into()), Ok(65)]
        );
        assert_eq!(buffers[1], [0; 64]);
    }
}

#[test]
fn no_two_cells_of_a_batch_share_an_iv() {
    for key in keys() {
        let size = if cfg!(miri) { 9 } else { 600 };
        let cells = encrypt(&key, &plaintexts(&vec![8; size]), Randomized);
        let ivs: std::collections::HashSet<_> = cells.iter().map(|c| &c[33..49]).collect();
        assert_eq!(ivs.len(), cells.len());
    }
}

#[test]
fn a_batch_that_has_run_can_run_again() {
    for key in keys() {
        let mut cell = key.encrypt(b"value", Deterministic).unwrap();
        let mut batch = [CellToDecrypt::new(&mut cell)];
        key.decrypt_batch(&mut batch);
        assert_eq!(batch[0].plaintext(), Ok(&b"value"[..]));
        // It is plaintext now, and no cell.
        key.decrypt_batch(&mut batch);
        assert_eq!(batch[0].plaintext(), Err(InvalidCell));
    }
}

#[test]
fn classes_rise_with_the_number_of_blocks() {
    let classes: Vec<u8> = (1..100_000).map(class_of).collect();
    assert!(classes.is_sorted());
    assert_eq!(class_of(63), 63);
    assert_eq!(class_of(64), 64);
    assert_eq!(usize::from(class_of(usize::MAX)), CLASSES - 1);
}

#[test]
fn a_plaintext_that_lies_where_there_is_no_room_for_its_cell_is_wiped() {
    for key in keys() {
        let mut short = [7; 60];
        let mut batch = [CellToEncrypt::in_place(5, &mut short)];
        key.encrypt_batch(&mut batch, Randomized);
        let error = BufferTooSmall { needed: 65, available: 60 };
        assert_eq!(batch[0].written(), Err(error.into()));
        assert_eq!(short, [0; 60]);
        short = [7; 60];
        assert_eq!(key.encrypt_in_place(5, Randomized, &mut short), Err(error.into()));
        assert_eq!(short, [0; 60]);
    }
}
