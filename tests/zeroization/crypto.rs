//! Keys, cells and envelopes.

use super::*;

#[test]
fn a_cek_is_wiped_with_its_clones() {
    let count = key_findings_in(|| {
        let cek = Box::new(Cek::from(KEY));
        let clone = cek.clone();
        drop(cek);
        let ceks = vec![Cek::clone(&clone), Cek::try_from(&KEY[..]).unwrap()];
        println!("{ceks:?}");
        drop(ceks);
    });
    assert_eq!(count, 0);
}

#[test]
fn the_keys_of_cells_are_wiped() {
    let count = key_findings_in(|| {
        let key = std::sync::Arc::new(CellKey::new(&Cek::from(KEY)));
        let cell = key.encrypt(PLAINTEXT, EncryptionType::Deterministic).unwrap();
        assert_eq!(key.decrypt(&cell).unwrap().as_slice(), PLAINTEXT);
        drop(key);
    });
    assert_eq!(count, 0);
}

#[test]
fn what_the_cipher_returns_is_wiped() {
    let key = CellKey::new(&Cek::from(KEY));
    let block = &PLAINTEXT[..16];
    let padding = [0x2C; 16];
    let secrets = [PIECE, block, &padding];
    let count = findings_in(&secrets, || {
        for encryption_type in [EncryptionType::Deterministic, EncryptionType::Randomized] {
            let mut cell = key.encrypt(PLAINTEXT, encryption_type).unwrap();
            drop(key.decrypt(&cell).unwrap());
            cell[1] ^= 1;
            assert!(key.decrypt(&cell).is_err());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_plaintext_with_bad_padding_is_wiped() {
    // PaddingInconsistent of tests/vectors: 0x41, and padding that is none. The tag holds.
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/cell.json")).unwrap();
    let groups = document["testGroups"].as_array().unwrap();
    let tests = groups.iter().flat_map(|g| g["tests"].as_array().unwrap());
    let bad = tests.filter(|t| t["flags"].to_string().contains("\"PaddingInconsistent\""));
    let key = CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)));
    let mut cells = 0;
    for test in bad {
        let text = test["cell"].as_str().unwrap();
        let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        let cell: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        let count = findings_in(&[&[0x41; 8]], || assert!(key.decrypt(&cell).is_err()));
        assert_eq!(count, 0, "{}", test["comment"]);
        cells += 1;
    }
    assert!(cells >= 4);
}

#[test]
fn a_buffer_is_wiped_as_it_grows_moves_and_goes() {
    let count = findings_in(&[PIECE], || {
        let mut buffer = WipedBuffer::default();
        for round in 0..2000 {
            buffer.extend(PLAINTEXT);
            if round % 3 == 0 {
                buffer.consume(PLAINTEXT.len());
            }
            buffer.spare(PLAINTEXT.len()).extend_from_slice(PLAINTEXT);
        }
        buffer.truncate(PLAINTEXT.len() * 100);
        drop(buffer);
        let mut large = WipedBuffer::default();
        for _ in 0..40_000 {
            large.extend(PLAINTEXT);
        }
        large.clear();
    });
    assert_eq!(count, 0);
}

#[test]
fn opening_and_making_an_envelope_leaves_no_key() {
    let cmk = CmkPrivateKey::from_pem(include_str!("../fixtures/keystore/pair.key")).unwrap();
    let cek = Cek::from(KEY);
    let mut bytes = Vec::new();
    let count = key_findings_in(|| bytes = Envelope::wrap(&cek, PATH, &cmk).unwrap());
    assert_eq!(count, 0, "wrapping");
    let count = key_findings_in(|| {
        let opened = Envelope::parse(&bytes).unwrap().unwrap_with(&cmk).unwrap();
        assert_eq!(opened.expose(), &KEY);
    });
    assert_eq!(count, 0, "opening");
}

/// The private exponent in any form, and the primes as they are encoded. The primes as numbers are
/// left behind by `rsa` 0.10 and `crypto-bigint` 0.7 themselves, whenever they compute: how often is
/// printed, and SECURITY.md says so.
#[test]
fn a_master_key_leaves_neither_exponent_nor_encoding() {
    let pem = include_str!("../fixtures/keystore/pair.key");
    let private = rsa::PrivateKey::from_pkcs8_pem(pem).unwrap();
    let piece = |number: &rsa::BoxedUint| {
        let big_endian = number.to_be_bytes();
        big_endian[big_endian.len() / 2..][..16].to_vec()
    };
    let in_limbs = |piece: &[u8]| piece.iter().rev().copied().collect::<Vec<u8>>();
    let d = piece(private.d());
    let encoded: Vec<Vec<u8>> = private.primes().iter().map(|p| piece(p)).collect();
    let numbers: Vec<Vec<u8>> = encoded.iter().map(|p| in_limbs(p)).collect();
    // In the base64 of the file too, wherever its lines break.
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let lines = lines.skip(6).map(|line| line.as_bytes()[..line.len().min(16)].to_vec());
    let mut strict = vec![d.clone(), in_limbs(&d)];
    strict.extend(encoded);
    strict.extend(lines);

    let cek = Cek::from(KEY);
    let bytes = {
        let cmk = CmkPrivateKey::from_pem(pem).unwrap();
        Envelope::wrap(&cek, PATH, &cmk).unwrap()
    };
    for (secrets, is_strict) in [(strict, true), (numbers, false)] {
        let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let mut cmk = None;
        let reading = findings_in(&secrets, || cmk = Some(CmkPrivateKey::from_pem(pem).unwrap()));
        let cmk = cmk.unwrap();
        let signing = findings_in(&secrets, || drop(cmk.sign(b"message").unwrap()));
        let writing = findings_in(&secrets, || drop(cmk.to_pkcs8_pem().unwrap()));
        let opening = findings_in(&secrets, || {
            drop(Envelope::parse(&bytes).unwrap().unwrap_with(&cmk).unwrap());
        });
        let dropping = findings_in(&secrets, || drop(cmk));
        let all = [reading, signing, writing, opening, dropping];
        println!("reading, signing, writing, opening, dropping: {all:?}");
        assert!(!is_strict || all == [0; 5], "{all:?}");
    }
}
