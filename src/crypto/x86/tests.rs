//! The kernels against the portable code. Vacuous on a processor without them, which the first test
//! says aloud.

use EncryptionType::{Deterministic, Randomized};

use super::super::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation, InvalidCell,
    encrypted_len,
};

/// The same key twice: by the kernels and in safe Rust.
fn keys() -> [CellKey; 2] {
    let cek = Cek::from(std::array::from_fn(|i| (i * 5) as u8));
    [Implementation::X86, Implementation::Portable].map(|i| CellKey::with(&cek, i))
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(151) >> 1 ^ len) as u8).collect()
}

#[test]
fn a_key_takes_the_kernels_where_the_processor_has_them() {
    let [kernels, portable] = keys();
    assert_eq!(portable.implementation(), Implementation::Portable);
    if super::is_available() {
        assert_eq!(kernels.implementation(), Implementation::X86);
    } else {
        eprintln!("no AES-NI or no SHA-NI here: the kernels are not tested");
        assert_eq!(kernels.implementation(), Implementation::Portable);
    }
    assert_eq!(CellKey::new(&Cek::from([1; 32])).implementation(), kernels.implementation());
}

#[test]
fn every_length_makes_the_portable_cell_and_reads_it() {
    let [kernels, portable] = keys();
    for len in 0..=4096 {
        let plaintext = plaintext(len);
        let cell = kernels.encrypt(&plaintext, Deterministic).unwrap();
        assert!(cell == portable.encrypt(&plaintext, Deterministic).unwrap(), "{len} bytes");
        let cell = kernels.encrypt(&plaintext, Randomized).unwrap();
        assert!(*portable.decrypt(&cell).unwrap() == plaintext, "{len} bytes");
        let mut cell = portable.encrypt(&plaintext, Randomized).unwrap();
        assert!(*kernels.decrypt(&cell).unwrap() == plaintext, "{len} bytes");
        let range = kernels.decrypt_in_place(&mut cell).unwrap();
        assert!(cell[range] == plaintext, "{len} bytes");
    }
}

#[test]
fn every_alignment_makes_the_same_cell_and_touches_nothing_beside_it() {
    let [kernels, portable] = keys();
    const BESIDE: u8 = 0xEE;
    for len in [0, 1, 15, 16, 47, 63, 64, 111, 112, 200, 1000] {
        let expected = portable.encrypt(&plaintext(len), Deterministic).unwrap();
        for from in 0..16 {
            for to in 0..16 {
                let mut source = vec![0; from];
                source.extend(plaintext(len));
                let mut out = vec![BESIDE; to + expected.len() + 16];
                let (cell, after) = out[to..].split_at_mut(expected.len());
                kernels.encrypt_into(&source[from..], Deterministic, cell).unwrap();
                assert_eq!(cell, expected);
                let range = kernels.decrypt_in_place(cell).unwrap();
                assert_eq!(cell[range], source[from..]);
                assert!(after.iter().all(|&b| b == BESIDE));
                assert!(out[..to].iter().all(|&b| b == BESIDE));
            }
        }
    }
}

#[test]
fn a_change_in_any_field_is_refused_and_writes_nothing() {
    let [kernels, portable] = keys();
    for len in [0, 31, 64, 130, 1000] {
        let good = portable.encrypt(&plaintext(len), Randomized).unwrap();
        for at in (0..good.len()).filter(|at| at % 7 == 0 || *at < 66 || at + 20 > good.len()) {
            for bit in [0, 7] {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let mut out = vec![0xEE; bad.len()];
                assert!(kernels.decrypt_into(&bad, &mut out).is_err(), "{len}, {at}");
                assert!(out.iter().all(|&b| b == 0xEE));
                let tampered = bad.clone();
                assert_eq!(kernels.decrypt_in_place(&mut bad), Err(InvalidCell));
                assert_eq!(bad, tampered);
            }
        }
    }
}

/// Four side by side, of which some are longer than the others in all ways that matter: blocks of
/// ciphertext, blocks of the MAC, blocks of the hash that makes the IV.
#[test]
fn ragged_neighbours_make_the_portable_cells() {
    let [kernels, portable] = keys();
    // Miri takes a thousand times as long.
    let (bases, steps): (&[usize], &[usize]) = if cfg!(miri) {
        (&[0, 100], &[0, 9, 64])
    } else {
        (&[0, 7, 40, 48, 55, 100, 120, 300], &[0, 1, 8, 9, 15, 16, 17, 55, 56, 63, 64, 65])
    };
    for &base in bases {
        for a in steps {
            for b in steps {
                let plaintexts = [base, base + a, base + b, base + 16].map(plaintext);
                let mut cells = plaintexts.each_ref().map(|p| vec![0; encrypted_len(p.len())]);
                let mut batch: Vec<_> = plaintexts
                    .iter()
                    .zip(&mut cells)
                    .map(|(p, c)| CellToEncrypt::new(p, c))
                    .collect();
                kernels.encrypt_batch(&mut batch, Deterministic);
                drop(batch);
                for (cell, plaintext) in cells.iter().zip(&plaintexts) {
                    assert_eq!(*cell, portable.encrypt(plaintext, Deterministic).unwrap());
                }
                let mut batch = cells.each_mut().map(|cell| CellToDecrypt::new(cell));
                kernels.decrypt_batch(&mut batch);
                for (cell, plaintext) in batch.iter().zip(&plaintexts) {
                    assert_eq!(cell.plaintext(), Ok(plaintext.as_slice()));
                }
            }
        }
    }
}
