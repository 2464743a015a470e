//! Writing a PKCS#12 file of one key.

use pkcs5::pbes2::{PBES2_OID, Parameters};
use rand::TryRng;
use x509_cert::der::{Encode as _, asn1::ObjectIdentifier};
use zeroize::Zeroizing;

use super::{
    super::{CmkCertificate, encryption::Password},
    mac,
    structure::{
        CERT_BAG, DATA, ENCRYPTED_DATA, FRIENDLY_NAME, SHROUDED_KEY_BAG, X509_CERTIFICATE,
    },
};
use crate::{
    crypto::{CmkError, CmkPrivateKey},
    keystore::KeyStoreError,
};

/// Rounds of PBKDF2 for the cipher and of the older derivation for the MAC: Java's default.
const ITERATIONS: u32 = 10_000;

const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
/// `[0]`, of one value in it or of bytes.
const EXPLICIT: u8 = 0xa0;
const IMPLICIT: u8 = 0x80;

/// AES-256 and HMAC-SHA-256, as Windows since Server 2019, OpenSSL and Java read it. `alias` is the
/// key's friendly name.
pub(in crate::keystore) fn encode(
    alias: &str,
    key: &CmkPrivateKey,
    certificate: &CmkCertificate,
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
    let password = Password::new(password);
    let id = certificate.thumbprint();
    let attributes = attributes(alias, id.as_bytes());
    let (algorithm, encrypted) = encrypt(&password, &key.to_pkcs8_der()?)?;
    let key = der_value(SEQUENCE, &[&algorithm, &der_value(OCTET_STRING, &[&encrypted])]);
    let key = content(DATA, &octets_of_bag(SHROUDED_KEY_BAG, &key, &attributes));

    let certificate = der_value(OCTET_STRING, &[certificate.as_der()]);
    let certificate =
        der_value(SEQUENCE, &[&oid(X509_CERTIFICATE), &der_value(EXPLICIT, &[&certificate])]);
    let bags = der_value(SEQUENCE, &[&bag(CERT_BAG, &certificate, &attributes)]);
    let (algorithm, encrypted) = encrypt(&password, &bags)?;
    let info = [oid(DATA), algorithm, der_value(IMPLICIT, &[&encrypted])].concat();
    let info = der_value(SEQUENCE, &[&info]);
    let version = der_value(INTEGER, &[&[0]]);
    let certificate = content(ENCRYPTED_DATA, &der_value(SEQUENCE, &[&version, &info]));

    let safe = der_value(SEQUENCE, &[&certificate, &key]);
    let mac = mac_data(&password, &safe)?;
    let version = der_value(INTEGER, &[&[3]]);
    let safe = content(DATA, &der_value(OCTET_STRING, &[&safe]));
    Ok(Zeroizing::new(der_value(SEQUENCE, &[&version, &safe, &mac])))
}

/// An AlgorithmIdentifier, and what is encrypted by it.
fn encrypt(password: &Password, data: &[u8]) -> Result<(Vec<u8>, Vec<u8>), KeyStoreError> {
    let failed = |e: &dyn std::fmt::Display| KeyStoreError::Certificate { message: e.to_string() };
    let (salt, iv) = (random::<16>()?, random()?);
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv)
        .map_err(|e| failed(&e))?;
    let encrypted = parameters.encrypt(password.utf8(), data).map_err(|e| failed(&e))?;
    let parameters = parameters.to_der().map_err(|e| failed(&e))?;
    Ok((der_value(SEQUENCE, &[&oid(PBES2_OID), &parameters]), encrypted))
}

pub(super) fn mac_data(password: &Password, safe: &[u8]) -> Result<Vec<u8>, KeyStoreError> {
    let salt = random::<16>()?;
    let tag = mac::sha256(password, &salt, ITERATIONS, safe);
    let algorithm = der_value(SEQUENCE, &[&oid(mac::SHA256), &der_value(NULL, &[])]);
    let digest = der_value(SEQUENCE, &[&algorithm, &der_value(OCTET_STRING, &[&tag])]);
    let rounds = der_value(INTEGER, &[&ITERATIONS.to_be_bytes()[2..]]);
    Ok(der_value(SEQUENCE, &[&digest, &der_value(OCTET_STRING, &[&salt]), &rounds]))
}

/// The name of a key and what tells which certificate is its own, in the order of their encoding.
fn attributes(alias: &str, id: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = alias.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute = |kind, tag, value: &[u8]| {
        let values = der_value(SET, &[&der_value(tag, &[value])]);
        der_value(SEQUENCE, &[&oid(kind), &values])
    };
    let mut both =
        [attribute(FRIENDLY_NAME, BMP_STRING, &name), attribute(LOCAL_KEY_ID, OCTET_STRING, id)];
    both.sort_unstable();
    der_value(SET, &[&both.concat()])
}

pub(super) fn bag(kind: ObjectIdentifier, value: &[u8], attributes: &[u8]) -> Vec<u8> {
    der_value(SEQUENCE, &[&oid(kind), &der_value(EXPLICIT, &[value]), attributes])
}

fn octets_of_bag(kind: ObjectIdentifier, value: &[u8], attributes: &[u8]) -> Vec<u8> {
    let bags = der_value(SEQUENCE, &[&bag(kind, value, attributes)]);
    der_value(OCTET_STRING, &[&bags])
}

/// A ContentInfo.
pub(super) fn content(kind: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der_value(SEQUENCE, &[&oid(kind), &der_value(EXPLICIT, &[value])])
}

pub(super) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    der_value(OBJECT_IDENTIFIER, &[oid.as_bytes()])
}

fn random<const N: usize>() -> Result<[u8; N], KeyStoreError> {
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|_| CmkError::Rsa)?;
    Ok(bytes)
}

/// A value in DER.
pub(in crate::keystore) fn der_value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut value = vec![tag];
    match u8::try_from(content.len()) {
        Ok(len @ 0..=0x7f) => value.push(len),
        _ => {
            let len = content.len().to_be_bytes();
            let len: Vec<u8> = len.into_iter().skip_while(|byte| *byte == 0).collect();
            value.push(0x80 | len.len() as u8);
            value.extend_from_slice(&len);
        }
    }
    value.extend_from_slice(&content);
    value
}
