//! The kernels of the processor against the portable code. Vacuous where it has none, which the first
//! test says aloud.
//!
//! Miri takes a thousand times as long. It gets the lengths at which something changes, and of the
//! portable code, whose AES it has to take gate by gate, short cells only.

use EncryptionType::{Deterministic, Randomized};

use super::{
    Cek, CellKey, CellToDecrypt, CellToEncrypt, EncryptionType, Implementation, InvalidCell,
    encrypted_len,
    native::{IMPLEMENTATION as KERNELS, is_available},
};

/// The same key twice: by the kernels and in safe Rust.
fn keys() -> [CellKey; 2] {
    let cek = Cek::from(std::array::from_fn(|i| (i * 5) as u8));
    [KERNELS, Implementation::Portable].map(|i| CellKey::with(&cek, i))
}

/// Lengths around the ends of blocks: of the cipher, of the MAC, of the hash that makes the IV.
const AT_BOUNDARIES: [usize; 19] =
    [0, 1, 15, 16, 17, 47, 48, 49, 63, 64, 65, 111, 112, 113, 127, 128, 129, 1000, 1024];

const LONG_FOR_MIRI: usize = 17;

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(151) >> 1 ^ len) as u8).collect()
}

fn assert_is_the_portable_cell(keys: &[CellKey; 2], cell: &[u8], plaintext: &[u8]) {
    let [kernels, portable] = keys;
    let len = plaintext.len();
    if cfg!(miri) && len > LONG_FOR_MIRI {
        assert!(*kernels.decrypt(cell).unwrap() == plaintext, "{len} bytes");
    } else {
        assert!(cell == portable.encrypt(plaintext, Deterministic).unwrap(), "{len} bytes");
    }
}

#[test]
fn a_key_takes_the_kernels_where_the_processor_has_them() {
    let [kernels, portable] = keys();
    assert_eq!(portable.implementation(), Implementation::Portable);
    let here = if is_available() { KERNELS } else { Implementation::Portable };
    #[cfg(target_arch = "x86_64")]
    let wide = if is_x86_feature_detected!("vaes") { ", and VAES" } else { ", without VAES" };
    #[cfg(not(target_arch = "x86_64"))]
    let wide = "";
    println!("tested against safe Rust: {here}{wide}");
    assert_eq!(kernels.implementation(), here);
    assert_eq!(CellKey::new(&Cek::from([1; 32])).implementation(), here);
}

#[test]
fn every_length_makes_the_portable_cell_and_reads_it() {
    let keys = keys();
    let [kernels, portable] = &keys;
    let lengths: Vec<_> = if cfg!(miri) { AT_BOUNDARIES.into() } else { (0..=4096).collect() };
    for len in lengths {
        let plaintext = plaintext(len);
        let mut cell = kernels.encrypt(&plaintext, Deterministic).unwrap();
        assert_is_the_portable_cell(&keys, &cell, &plaintext);
        let range = kernels.decrypt_in_place(&mut cell).unwrap();
        assert!(cell[range] == plaintext, "{len} bytes");
        if cfg!(miri) && len > LONG_FOR_MIRI {
            continue;
        }
        let cell = kernels.encrypt(&plaintext, Randomized).unwrap();
        assert!(*portable.decrypt(&cell).unwrap() == plaintext, "{len} bytes");
        let cell = portable.encrypt(&plaintext, Randomized).unwrap();
        assert!(*kernels.decrypt(&cell).unwrap() == plaintext, "{len} bytes");
    }
}

#[test]
fn every_alignment_makes_the_same_cell_and_touches_nothing_beside_it() {
    let [kernels, portable] = keys();
    const BESIDE: u8 = 0xEE;
    let lengths: &[usize] =
        if cfg!(miri) { &[47] } else { &[0, 1, 15, 16, 47, 63, 64, 111, 112, 200, 1000] };
    for &len in lengths {
        let expected = portable.encrypt(&plaintext(len), Deterministic).unwrap();
        for from in 0..16 {
            // Each alignment once is enough for Miri, which looks at what a pointer was made of.
            let ends = if cfg!(miri) { 15 - from..16 - from } else { 0..16 };
            for to in ends {
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
    let (lengths, every): (&[usize], usize) =
        if cfg!(miri) { (&[31], 16) } else { (&[0, 31, 64, 130, 1000], 1) };
    for &len in lengths {
        let good = portable.encrypt(&plaintext(len), Randomized).unwrap();
        let fields = (0..good.len()).filter(|at| at % 7 == 0 || *at < 66 || at + 20 > good.len());
        for at in fields.step_by(every) {
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

fn assert_batch_is_portable(keys: &[CellKey; 2], lengths: &[usize]) {
    let [kernels, _] = keys;
    let plaintexts: Vec<_> = lengths.iter().copied().map(plaintext).collect();
    let mut cells: Vec<_> = lengths.iter().map(|&len| vec![0; encrypted_len(len)]).collect();
    let mut batch: Vec<_> =
        plaintexts.iter().zip(&mut cells).map(|(p, c)| CellToEncrypt::new(p, c)).collect();
    kernels.encrypt_batch(&mut batch, Deterministic);
    drop(batch);
    for (cell, plaintext) in cells.iter().zip(&plaintexts) {
        assert_is_the_portable_cell(keys, cell, plaintext);
    }
    let mut batch: Vec<_> = cells.iter_mut().map(|cell| CellToDecrypt::new(cell)).collect();
    kernels.decrypt_batch(&mut batch);
    for (cell, plaintext) in batch.iter().zip(&plaintexts) {
        assert_eq!(cell.plaintext(), Ok(plaintext.as_slice()), "{lengths:?}");
    }
}

/// Four side by side, of which some are longer than the others in all ways that matter: blocks of
/// ciphertext, blocks of the MAC, blocks of the hash that makes the IV.
#[test]
fn ragged_neighbours_make_the_portable_cells() {
    let keys = keys();
    let (bases, steps): (&[usize], &[usize]) = if cfg!(miri) {
        (&[48], &[0, 9, 64])
    } else {
        (&[0, 7, 40, 48, 55, 100, 120, 300], &[0, 1, 8, 9, 15, 16, 17, 55, 56, 63, 64, 65])
    };
    for base in bases {
        for a in steps {
            for b in steps {
                assert_batch_is_portable(&keys, &[*base, base + a, base + b, base + 16]);
            }
        }
    }
}

#[test]
fn batches_of_one_to_nine_make_the_portable_cells() {
    let keys = keys();
    let bases = if cfg!(miri) { 30..31 } else { 0..200 };
    for size in 1..=9 {
        for base in bases.clone() {
            let lengths: Vec<_> = (0..size).map(|n| base + n * 37 % 41).collect();
            assert_batch_is_portable(&keys, &lengths);
        }
    }
}
