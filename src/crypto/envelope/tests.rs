use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::*;

static CMK: LazyLock<CmkPrivateKey> = LazyLock::new(|| CmkPrivateKey::generate(2048).unwrap());
static OTHER: LazyLock<CmkPrivateKey> = LazyLock::new(|| CmkPrivateKey::generate(2048).unwrap());
const PATH: &str = "CurrentUser/My/0BE978BA00000000000000000000000000000000";

fn wrapped() -> Vec<u8> {
    Envelope::wrap(&Cek::from([5; 32]), PATH, &CMK).unwrap()
}

#[test]
fn a_wrapped_cek_opens_and_has_the_documented_layout() {
    let bytes = wrapped();
    assert_eq!(bytes.len(), 5 + 2 * PATH.len() + 2 * 256);
    assert_eq!(bytes[..5], [0x01, 0x6e, 0x00, 0x00, 0x01]);
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.key_path(), PATH);
    assert_eq!(envelope.unwrap_with(&CMK).unwrap().expose(), &[5; 32]);
}

#[test]
fn a_signature_over_the_digest_is_read_only_where_it_is_expected() {
    use SignatureForm::{OverDigest, OverMessage};
    let cek = Cek::from([5; 32]);
    let bytes = Envelope::wrap_signed_as(OverDigest, &cek, PATH, &CMK).unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.unwrap_with(&CMK).unwrap_err(), InvalidEnvelope::Signature);
    let digest = Sha256::digest(envelope.signed_bytes());
    assert!(CMK.verify(&digest, envelope.signature()));
    for bytes in [bytes.as_slice(), &wrapped()] {
        let envelope = Envelope::parse(bytes).unwrap();
        let opened = envelope.unwrap_signed_as(&[OverMessage, OverDigest], &CMK).unwrap();
        assert_eq!(opened.expose(), &[5; 32]);
        let refused = envelope.unwrap_signed_as(&[], &CMK).unwrap_err();
        assert_eq!(refused, InvalidEnvelope::Signature);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = wrapped();
    for len in 0..bytes.len() {
        let result = Envelope::parse(&bytes[..len]).and_then(|e| e.unwrap_with(&CMK));
        assert!(result.is_err(), "{len} bytes opened");
    }
}

#[test]
fn trailing_bytes_are_an_error() {
    let mut bytes = wrapped();
    bytes.push(0);
    let error = Envelope::parse(&bytes).unwrap().unwrap_with(&CMK).unwrap_err();
    assert_eq!(error, InvalidEnvelope::SignatureLength { found: 257, expected: 256 });
}

#[test]
fn a_version_other_than_one_is_named() {
    let mut bytes = wrapped();
    bytes[0] = 2;
    assert_eq!(Envelope::parse(&bytes), Err(InvalidEnvelope::Version { found: 2 }));
}

#[test]
fn lengths_that_lie_are_found_before_the_key_is_used() {
    let mut bytes = wrapped();
    bytes[1..3].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(Envelope::parse(&bytes), Err(InvalidEnvelope::Truncated { len: bytes.len() }));
    let mut bytes = wrapped();
    bytes[3..5].copy_from_slice(&255u16.to_le_bytes());
    let error = Envelope::parse(&bytes).unwrap().unwrap_with(&CMK).unwrap_err();
    assert_eq!(error, InvalidEnvelope::CiphertextLength { found: 255, expected: 256 });
}

#[test]
fn the_signature_covers_every_byte() {
    let bytes = wrapped();
    for at in 5..bytes.len() {
        // The private key is slow, so every 23rd byte stands for its neighbours.
        if at % 23 != 0 {
            continue;
        }
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let error = Envelope::parse(&bad).unwrap().unwrap_with(&CMK).unwrap_err();
        assert_eq!(error, InvalidEnvelope::Signature, "byte {at}");
    }
}

#[test]
fn the_envelope_of_another_master_key_is_refused_by_its_signature() {
    let bytes = wrapped();
    let error = Envelope::parse(&bytes).unwrap().unwrap_with(&OTHER).unwrap_err();
    assert_eq!(error, InvalidEnvelope::Signature);
}

#[test]
fn a_signed_envelope_around_something_else_than_a_cek_is_refused() {
    // Whoever holds the master key can sign anything; it must still be a CEK.
    let mut bytes = wrapped();
    bytes.truncate(bytes.len() - 256);
    let at = bytes.len() - 256;
    bytes[at..].fill(0);
    bytes[at + 10] = 1;
    let signature = CMK.sign(&bytes).unwrap();
    bytes.extend_from_slice(&signature);
    let error = Envelope::parse(&bytes).unwrap().unwrap_with(&CMK).unwrap_err();
    assert_eq!(error, InvalidEnvelope::Ciphertext);
}

#[test]
fn debug_shows_neither_ciphertext_nor_key() {
    let bytes = wrapped();
    let text = format!("{:?} {:?}", Envelope::parse(&bytes).unwrap(), *CMK);
    assert!(text.contains("ciphertext_len: 256") && text.contains("2048 bits, .."), "{text}");
}
