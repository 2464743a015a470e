use pkcs5::pbes2::{PBES2_OID, Parameters};
use x509_cert::der::Encode as _;

use super::{
    encode::{bag, content, oid},
    structure::{DATA, ENCRYPTED_DATA, SHROUDED_KEY_BAG},
    *,
};
use crate::keystore::key_file::{ReadingBudget, pem::rsa_key};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keystore/");
const PASSWORD: &str = "s3cret";

/// More than any file may spend.
const PLENTY: u64 = 1 << 40;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FIXTURES}{name}")).unwrap()
}

/// What opening comes to, and what it has spent.
fn spent(bytes: &[u8], passwords: &FilePasswords) -> (Result<Opened, KeyFileProblem>, u64) {
    let mut reading = ReadingBudget::of(PLENTY);
    let opened = open(Path::new("a.pfx"), bytes, passwords, &mut reading.file());
    (opened, PLENTY - reading.left())
}

fn problem(bytes: &[u8], password: &str) -> Option<KeyFileProblem> {
    spent(bytes, &FilePasswords::same(password)).0.err()
}

/// That it opens and holds the key of `pair` with its certificate.
fn assert_holds_the_pair(bytes: &[u8], passwords: &FilePasswords) {
    let opened = spent(bytes, passwords).0.expect("it opens");
    assert_eq!((opened.keys.len(), opened.certificates.len()), (1, 1));
    let key = rsa_key(opened.keys[0].pkcs8.as_ref().unwrap()).expect("a key");
    let certified = super::super::CertifiedKey::of(&opened.certificates[0]).unwrap();
    assert!(certified.matches(&key));
}

#[test]
fn a_file_whose_password_is_null_opens_without_one_as_one_whose_password_is_empty_does() {
    let null = fixture("null-password.pfx");
    for bytes in [null.clone(), without_mac(&null)] {
        assert_holds_the_pair(&bytes, &FilePasswords::none());
        assert_holds_the_pair(&bytes, &FilePasswords::same(""));
        assert_eq!(problem(&bytes, "x"), Some(KeyFileProblem::WrongPassword));
    }
    let sealed = fixture("modern.pfx");
    for bytes in [sealed.clone(), without_mac(&sealed)] {
        let without = spent(&bytes, &FilePasswords::none()).0.err();
        assert_eq!(without, Some(KeyFileProblem::NoPassword));
        assert_eq!(problem(&bytes, ""), Some(KeyFileProblem::WrongPassword));
    }
}

/// A part of a file as it lies there.
fn part(bytes: &[u8], number: usize) -> Vec<u8> {
    let safe = Pfx::parse(bytes).map(|pfx| pfx.safe.to_vec()).unwrap();
    let parts = structure::sequence(&safe, |list| {
        use x509_cert::der::{Decode as _, Reader as _, asn1::AnyRef};
        let mut parts = Vec::new();
        while !list.is_finished() {
            parts.push(AnyRef::decode(list)?.to_der()?);
        }
        Ok(parts)
    });
    parts.unwrap().swap_remove(number)
}

#[test]
fn a_part_under_another_password_than_the_rest_does_not_open() {
    // The certificate of one file beside the key of another.
    let null = fixture("null-password.pfx");
    let other = fixture("legacy.pfx");
    let mixed = pfx(&[&part(&null, 0), &part(&other, 1)]);
    assert_eq!(problem(&mixed, ""), Some(KeyFileProblem::WrongPassword));
    assert_eq!(problem(&mixed, PASSWORD), Some(KeyFileProblem::WrongPassword));
    let whole = pfx(&[&part(&null, 0), &part(&null, 1)]);
    assert_holds_the_pair(&whole, &FilePasswords::none());
}

#[test]
fn a_key_with_a_password_of_its_own_is_named_where_the_mac_shows_that_the_files_is_right() {
    let sealed = |parts: &[&[u8]]| {
        let safe = der_value(0x30, parts);
        let mac = encode::mac_data(&Password::new("the file's"), &safe).unwrap();
        let safe = content(DATA, &der_value(0x04, &[&safe]));
        der_value(0x30, &[&[0x02, 0x01, 0x03], &safe, &mac])
    };
    let legacy = fixture("legacy.pfx");
    let (certificate, key) = (part(&legacy, 0), part(&legacy, 1));
    let file = sealed(&[&key]);
    let opened = spent(&file, &FilePasswords::same("the file's")).0.expect("the MAC fits");
    let refused = opened.keys[0].pkcs8.as_ref().unwrap_err();
    assert_eq!(*refused, KeyFileProblem::KeyPassword);
    assert!(refused.to_string().contains("exporting the key again"), "{refused}");
    let both = sealed(&[&certificate, &key]);
    assert_eq!(problem(&both, "the file's"), Some(KeyFileProblem::KeyPassword));
    for file in [file, both] {
        assert_eq!(problem(&file, PASSWORD), Some(KeyFileProblem::WrongPassword));
    }
}

#[test]
fn either_form_of_no_password_may_cost_what_a_file_may() {
    let open = |bytes: &[u8], passwords: &FilePasswords, left: u64, reading: u64| {
        let mut reading = ReadingBudget::of(reading);
        let opened = open(Path::new("a.pfx"), bytes, passwords, &mut reading.file_of(left));
        opened.err()
    };
    let visible_cost = |bytes: &[u8]| {
        let pfx = Pfx::parse(bytes).unwrap();
        pfx.visible_cost(&pfx.parts().unwrap()).unwrap()
    };
    let (none, empty) = (FilePasswords::none(), FilePasswords::same(""));
    let null = fixture("null-password.pfx");
    let cost = visible_cost(&null);
    assert_eq!(open(&null, &none, cost, PLENTY), None);
    assert_eq!(open(&null, &empty, cost, PLENTY), None);
    assert_eq!(open(&null, &none, cost - 1, PLENTY), Some(KeyFileProblem::TooCostly));
    // What a reading may cost is not doubled.
    assert_eq!(open(&null, &none, cost, cost), Some(KeyFileProblem::ReadingTooCostly));
    let sealed = fixture("modern.pfx");
    let cost = visible_cost(&sealed);
    assert_eq!(open(&sealed, &none, cost, PLENTY), Some(KeyFileProblem::NoPassword));
    assert_eq!(open(&sealed, &empty, cost, PLENTY), Some(KeyFileProblem::WrongPassword));
}

/// A file of these parts, without a MAC.
fn pfx(parts: &[&[u8]]) -> Vec<u8> {
    let safe = der_value(0x04, &[&der_value(0x30, parts)]);
    der_value(0x30, &[&[0x02, 0x01, 0x03], &content(DATA, &safe)])
}

#[test]
fn files_of_openssl_with_a_pbmac1_open_and_only_with_their_password() {
    for name in ["pbmac1.pfx", "pbmac1-sha512.pfx"] {
        let bytes = fixture(name);
        assert_holds_the_pair(&bytes, &FilePasswords::same(PASSWORD));
        assert_eq!(problem(&bytes, "wrong"), Some(KeyFileProblem::WrongPassword), "{name}");
        let without = spent(&bytes, &FilePasswords::none()).0.err();
        assert_eq!(without, Some(KeyFileProblem::NoPassword), "{name}");
        let at = bytes.len() / 2;
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(problem(&changed, PASSWORD).is_some(), "{name}");
    }
}

#[test]
fn the_files_of_rfc_9579_end_as_its_appendix_says() {
    for number in 1..=3 {
        let bytes = fixture(&format!("rfc9579/a{number}.p12"));
        let opened = spent(&bytes, &FilePasswords::same("1234")).0.expect("it opens");
        assert_eq!((opened.keys.len(), opened.certificates.len()), (1, 1), "A.{number}");
    }
    // A wrong number of iterations, a wrong salt.
    for number in [4, 5] {
        let bytes = fixture(&format!("rfc9579/a{number}.p12"));
        assert_eq!(problem(&bytes, "1234"), Some(KeyFileProblem::WrongPassword), "A.{number}");
    }
    // No length of the key.
    let refused = problem(&fixture("rfc9579/a6.p12"), "1234").unwrap();
    assert!(matches!(refused, KeyFileProblem::Malformed { .. }), "{refused}");
    assert!(refused.to_string().contains("20 to 64 bytes"), "{refused}");
}

/// A file with nothing in it under a PBMAC1 of that many rounds and bytes of key, SHA-1 throughout, and
/// the MAC that comes of `key`.
fn with_pbmac1(rounds: u32, key_len: u16, key: &[u8]) -> Vec<u8> {
    use hmac::{KeyInit as _, Mac as _};
    // Numbers in DER are as short as can be.
    let integer = |number: u32| {
        let long = u64::from(number).to_be_bytes();
        let skipped = long.windows(2).take_while(|w| w[0] == 0 && w[1] < 0x80).count();
        der_value(0x02, &[&long[skipped..]])
    };
    let oid = |text: &str| oid(x509_cert::der::asn1::ObjectIdentifier::new_unwrap(text));
    let salt = der_value(0x04, &[&[7; 16]]);
    let pbkdf2 = der_value(0x30, &[&salt, &integer(rounds), &integer(key_len.into())]);
    let pbkdf2 = der_value(0x30, &[&oid("1.2.840.113549.1.5.12"), &pbkdf2]);
    let hmac = der_value(0x30, &[&oid("1.2.840.113549.2.7")]);
    let pbmac1 = der_value(0x30, &[&pbkdf2, &hmac]);
    let algorithm = der_value(0x30, &[&oid("1.2.840.113549.1.5.14"), &pbmac1]);
    let safe = der_value(0x30, &[]);
    let mac = hmac::SimpleHmac::<sha1::Sha1>::new_from_slice(key).unwrap().chain_update(&safe);
    let digest = der_value(0x04, &[&mac.finalize().into_bytes()]);
    let digest = der_value(0x30, &[&algorithm, &digest]);
    let mac = der_value(0x30, &[&digest, &der_value(0x04, &[&[]])]);
    let safe = content(DATA, &der_value(0x04, &[&safe]));
    der_value(0x30, &[&[0x02, 0x01, 0x03], &safe, &mac])
}

#[test]
fn a_mac_whose_key_can_be_guessed_is_refused() {
    let right = |len: usize| {
        let mut key = vec![0; len];
        pbkdf2::pbkdf2_hmac::<sha1::Sha1>(PASSWORD.as_bytes(), &[7; 16], 1, &mut key);
        key
    };
    for len in [20, 64] {
        let file = with_pbmac1(1, len, &right(len.into()));
        assert_eq!(problem(&file, PASSWORD), None, "{len}");
        assert_eq!(problem(&file, "wrong"), Some(KeyFileProblem::WrongPassword), "{len}");
    }
    for len in [0, 1, 19, 65, u16::MAX] {
        let refused = problem(&with_pbmac1(1, len, &right(len.into())), PASSWORD);
        assert!(matches!(refused, Some(KeyFileProblem::Malformed { .. })), "{len}: {refused:?}");
    }
}

#[test]
fn a_pbmac1_costs_its_rounds_for_each_block_and_is_bounded_like_any_other() {
    let (outcome, cost) = spent(&with_pbmac1(3000, 64, &[]), &FilePasswords::same(PASSWORD));
    assert_eq!((outcome.err(), cost), (Some(KeyFileProblem::WrongPassword), 4 * 3000));
    for rounds in [1_000_001, u32::MAX] {
        let (outcome, cost) = spent(&with_pbmac1(rounds, 20, &[]), &FilePasswords::same(PASSWORD));
        assert_eq!((outcome.err(), cost), (Some(KeyFileProblem::TooCostly), 0));
    }
}

/// PBES2 of so many rounds, and what is encrypted by it.
fn encrypted(rounds: u32, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let parameters =
        Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &[7; 16], [7; 16]).unwrap();
    // The cost stands in the file; only what is to open has to have been paid.
    let data = if rounds == 1 { parameters.encrypt(PASSWORD, data).unwrap() } else { vec![0; 32] };
    (der_value(0x30, &[&oid(PBES2_OID), &parameters.to_der().unwrap()]), data)
}

/// A file with one encrypted part that opens at once, and in it `count` keys of so many rounds.
fn of_hidden_keys(count: usize, rounds: u32) -> Vec<u8> {
    let (algorithm, data) = encrypted(rounds, &[]);
    let key = der_value(0x30, &[&algorithm, &der_value(0x04, &[&data])]);
    let key = bag(SHROUDED_KEY_BAG, &key, &der_value(0x31, &[]));
    let (algorithm, data) = encrypted(1, &der_value(0x30, &[&key.repeat(count)]));
    let info = der_value(0x30, &[&oid(DATA), &algorithm, &der_value(0x80, &[&data])]);
    let part = content(ENCRYPTED_DATA, &der_value(0x30, &[&[0x02, 0x01, 0x00], &info]));
    pfx(&[&part])
}

#[test]
fn keys_in_an_encrypted_part_are_added_up_before_the_first_is_derived() {
    for (count, rounds) in [(5, 999_999), (256, 20_000), (2, u32::MAX / 50)] {
        let file = of_hidden_keys(count, rounds);
        let (outcome, cost) = spent(&file, &FilePasswords::same(PASSWORD));
        let expected = (Some(KeyFileProblem::TooCostly), 1);
        assert_eq!((outcome.err(), cost), expected, "{count} keys of {rounds} rounds");
    }
    // Thousands are too many already.
    let (outcome, cost) = spent(&of_hidden_keys(4000, 1000), &FilePasswords::same(PASSWORD));
    assert!(matches!(outcome.err(), Some(KeyFileProblem::Malformed { .. })));
    assert_eq!(cost, 1);
    let (outcome, cost) = spent(&of_hidden_keys(3, 100), &FilePasswords::same(PASSWORD));
    assert_eq!((outcome.err(), cost), (Some(KeyFileProblem::WrongPassword), 1 + 3 * 100));
}

#[test]
fn what_protects_a_key_by_an_algorithm_that_is_not_read_is_named_with_the_way_out() {
    use x509_cert::der::asn1::ObjectIdentifier;
    for (number, name) in [
        ("1.2.840.113549.1.5.3", "pbeWithMD5AndDES-CBC"),
        ("1.2.840.113549.1.12.1.1", "pbeWithSHAAnd128BitRC4"),
        ("1.2.3.4", "1.2.3.4"),
    ] {
        let parameters = der_value(0x30, &[&der_value(0x04, &[&[7; 8]]), &[0x02, 0x01, 0x01]]);
        let algorithm = der_value(0x30, &[&oid(ObjectIdentifier::new_unwrap(number)), &parameters]);
        let key = der_value(0x30, &[&algorithm, &der_value(0x04, &[&[0; 16]])]);
        let key = bag(SHROUDED_KEY_BAG, &key, &der_value(0x31, &[]));
        let part = content(DATA, &der_value(0x04, &[&der_value(0x30, &[&key])]));
        let opened = spent(&pfx(&[&part]), &FilePasswords::same(PASSWORD)).0.unwrap();
        let refused = opened.keys[0].pkcs8.as_ref().unwrap_err();
        let algorithm = name.to_owned();
        assert_eq!(*refused, KeyFileProblem::UnsupportedEncryption { algorithm });
        let text = refused.to_string();
        assert!(text.contains(name) && text.contains("openssl pkcs8 -topk8"), "{text}");
    }
}

#[test]
fn every_truncation_and_every_changed_byte_is_refused_under_either_mac() {
    for name in ["modern.pfx", "pbmac1.pfx", "null-password.pfx"] {
        let bytes = fixture(name);
        let password = if name.starts_with("null") { "" } else { PASSWORD };
        for at in (0..bytes.len()).step_by(11).chain(bytes.len() - 120..bytes.len()) {
            assert!(problem(&bytes[..at], password).is_some(), "{name}: {at} bytes");
            let mut changed = bytes.clone();
            changed[at] ^= 0x15;
            // The salt and the iterations beside a PBMAC1 mean nothing.
            if spent(&changed, &FilePasswords::same(password)).0.is_ok() {
                assert!(name == "pbmac1.pfx" && at > bytes.len() - 23, "{name}: byte {at}");
            }
        }
    }
}
