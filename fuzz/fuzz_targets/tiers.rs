//! The kernels make the cells that safe Rust makes, and refuse what it refuses.
#![no_main]

use always_encrypted::crypto::{Cek, CellDecryptor, CellKey, EncryptionType, Implementation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((seed, data)) = data.split_first() else { return };
    let cek = Cek::from([*seed; 32]);
    let kernels = CellKey::with(&cek, Implementation::X86);
    let portable = CellKey::with(&cek, Implementation::Portable);

    let cell = kernels.encrypt(data, EncryptionType::Deterministic).unwrap();
    assert_eq!(cell, portable.encrypt(data, EncryptionType::Deterministic).unwrap());
    let random = kernels.encrypt(data, EncryptionType::Randomized).unwrap();
    assert_eq!(portable.decrypt(&random).unwrap().as_slice(), data);
    let random = portable.encrypt(data, EncryptionType::Randomized).unwrap();
    assert_eq!(kernels.decrypt(&random).unwrap().as_slice(), data);

    // The input as a cell, and a cell with a change where the input says.
    let sum = data.iter().fold(0usize, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()));
    let at = sum % cell.len();
    let mut changed = cell.clone();
    changed[at] ^= seed | 1;
    for bad in [data, &changed] {
        assert!(kernels.decrypt(bad).is_err() && portable.decrypt(bad).is_err());
        for key in [&kernels, &portable] {
            let mut in_place = bad.to_vec();
            assert!(key.decrypt_in_place(&mut in_place).is_err());
            assert_eq!(in_place, bad);
        }
    }

    let mut decryptor = CellDecryptor::new(&kernels);
    for chunk in cell.chunks(usize::from(*seed).max(1)) {
        decryptor.update(chunk);
    }
    let (mut verified, mut plaintext) = (decryptor.finish().unwrap(), Vec::new());
    while let Some(piece) = verified.next_piece() {
        plaintext.extend_from_slice(&piece);
    }
    assert_eq!(plaintext, data);
});
