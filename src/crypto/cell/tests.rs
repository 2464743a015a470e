use EncryptionType::{Deterministic, Randomized};

use super::{
    super::layout::{IV, TAG, VERSION, VERSION_LEN},
    *,
};

fn key() -> CellKey {
    CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn derived_keys_are_those_of_the_worked_example() {
    let cek = Cek::from(std::array::from_fn(|i| i as u8));
    for (purpose, expected) in [
        ("encryption", "6c0021c6bdb86ca2bc0f82429c9d3233c7c9b85c2bba43cbb2c8aea6fa83011f"),
        ("MAC", "a9351df2fd2a875799d79b04e6112871ed4627a836b32ca105f518a3e63a164f"),
        ("IV", "7b1ee9e7322448db999d5fc92947b36d7c034921ecc5f98e088fc87b8174b12e"),
    ] {
        assert_eq!(derive(&cek, purpose).to_vec(), hex(expected), "{purpose}");
    }
}

#[test]
fn a_deterministic_bigint_makes_the_cell_of_the_worked_example() {
    let cell = hex("0147e1496aee833195b3fced2c63aa530a9c65a0ac19adda01b230c744a6a656dd\
         3b2d8193feaad0d945f30572dfe639acdea01ea792e024edfae1b02545456a76");
    assert_eq!(key().encrypt(&42i64.to_le_bytes(), Deterministic).unwrap(), cell);
    assert_eq!(key().decrypt(&cell).unwrap().as_slice(), 42i64.to_le_bytes());
}

#[test]
fn a_deterministic_empty_value_makes_the_cell_of_the_worked_example() {
    let cell = hex("0177f124d7cc3e4b8360945c87434117cb2372e3c72c063c548dd9537e10d15fbf\
         4f2ce12b2fc16eb4c53285fb6533d858277adb37b0f6491be453528fc2a1607a");
    assert_eq!(key().encrypt(b"", Deterministic).unwrap(), cell);
    assert!(key().decrypt(&cell).unwrap().is_empty());
}

#[test]
fn every_length_comes_back_by_every_call() {
    let key = key();
    // Miri takes a thousand times as long; `kernels_tests` gives it the lengths that matter.
    for len in (0..300).step_by(if cfg!(miri) { 100 } else { 1 }) {
        let plaintext: Vec<u8> = (0..len).map(|i| (i * 13 + len) as u8).collect();
        for encryption_type in [Deterministic, Randomized] {
            let mut cell = key.encrypt(&plaintext, encryption_type).unwrap();
            assert_eq!(cell.len(), encrypted_len(len));
            assert_eq!(key.decrypt(&cell).unwrap().as_slice(), plaintext);
            let mut out = vec![0xEE; cell.len()];
            let n = key.decrypt_into(&cell, &mut out).unwrap();
            assert_eq!(&out[..n], plaintext);
            let range = key.decrypt_in_place(&mut cell).unwrap();
            assert_eq!(&cell[range], plaintext);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_one_and_the_same_error_and_releases_nothing() {
    let key = key();
    let cell = key.encrypt(b"a message of some length", Randomized).unwrap();
    for bit in (0..cell.len() * 8).step_by(if cfg!(miri) { 67 } else { 1 }) {
        let mut bad = cell.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut out = [0xEE; 64];
        assert_eq!(key.decrypt_into(&bad, &mut out), Err(InvalidCell.into()), "bit {bit}");
        assert_eq!(out, [0xEE; 64], "bit {bit} wrote to the buffer");
        assert_eq!(key.decrypt_in_place(&mut bad), Err(InvalidCell), "bit {bit}");
        assert_eq!(key.decrypt(&bad), Err(InvalidCell), "bit {bit}");
    }
}

#[test]
fn a_truncated_or_extended_cell_is_refused_at_every_length() {
    let key = key();
    let cell = key.encrypt(&[7; 40], Deterministic).unwrap();
    for len in (0..cell.len()).step_by(if cfg!(miri) { 8 } else { 1 }) {
        assert_eq!(key.decrypt(&cell[..len]), Err(InvalidCell), "{len} bytes");
    }
    for extra in 1..40 {
        let mut long = cell.clone();
        long.resize(cell.len() + extra, 0);
        assert_eq!(key.decrypt(&long), Err(InvalidCell), "{extra} more bytes");
    }
}

#[test]
fn a_cell_of_another_key_is_refused() {
    let other = CellKey::new(&Cek::from([9; 32]));
    assert_eq!(key().decrypt(&other.encrypt(b"x", Deterministic).unwrap()), Err(InvalidCell));
}

#[test]
fn an_authentic_cell_with_bad_padding_is_refused_and_wiped() {
    // Only a holder of the key can make one: encrypt a full block and take its padding block away.
    let key = key();
    let whole = key.encrypt(&[0x41; 16], Randomized).unwrap();
    let mut cell = whole[..whole.len() - 16].to_vec();
    let tag = key.macs.tag.mac([VERSION], &cell[IV..], [VERSION_LEN]);
    cell[TAG..IV].copy_from_slice(&tag);
    let mut out = [0xEE; 16];
    assert_eq!(key.decrypt_into(&cell, &mut out), Err(InvalidCell.into()));
    assert_eq!(out, [0; 16]);
    assert_eq!(key.decrypt_in_place(&mut cell), Err(InvalidCell));
    assert_eq!(cell[CIPHERTEXT..], [0; 16]);
}

#[test]
fn equal_values_make_equal_cells_only_when_deterministic() {
    let key = key();
    assert_eq!(
        key.encrypt(b"v", Deterministic).unwrap(),
        key.encrypt(b"v", Deterministic).unwrap()
    );
    assert_ne!(key.encrypt(b"v", Randomized).unwrap(), key.encrypt(b"v", Randomized).unwrap());
}

#[test]
fn a_short_buffer_is_an_error_that_says_how_long_it_must_be() {
    let key = key();
    let mut out = [0; 64];
    let err = key.encrypt_into(b"", Deterministic, &mut out).unwrap_err();
    assert_eq!(err, BufferTooSmall { needed: 65, available: 64 }.into());
    let cell = key.encrypt(&[1; 20], Deterministic).unwrap();
    let err = key.decrypt_into(&cell, &mut out[..31]).unwrap_err();
    assert_eq!(err, DecryptError::BufferTooSmall(BufferTooSmall { needed: 32, available: 31 }));
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", key()), "CellKey(..)");
    assert_eq!(format!("{:?}", Cek::from([1; 32])), "Cek(..)");
}

#[test]
fn cell_keys_cross_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<CellKey>();
}
