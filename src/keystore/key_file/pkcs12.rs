//! PKCS#12: files of Windows, OpenSSL and Java.

use std::path::Path;

use p12_keystore::{
    Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain,
    error::Error as Pkcs12Error,
};
use pkcs5::{EncryptionScheme, pbes2::PBES2_OID};
use x509_cert::{
    der::{self, Decode, Reader as _, SliceReader, Tagged as _, asn1::AnyRef},
    spki::AlgorithmIdentifierRef,
};
use zeroize::Zeroizing;

use super::{
    CmkCertificate, FilePasswords,
    pem::{MAX_ITEMS, Work, check_cost, too_many_items},
};
use crate::{
    crypto::CmkPrivateKey,
    keystore::{KeyFileProblem, KeyStoreError},
};

/// Rounds of PBKDF2 for the cipher and of the older derivation for the MAC: Java's default.
const ITERATIONS: u32 = 10_000;

/// Reads a PKCS#12 file: PBES2 as OpenSSL 3, Windows and Java write it, 3DES and RC2 as older ones
/// do, with a MAC or without. Its key derivations are limited to a million rounds each, and together
/// as those of PEM files.
///
/// The parser does not wipe its copy of the keys.
pub(in crate::keystore) fn open(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
) -> Result<Opened, KeyFileProblem> {
    let password = passwords.of(path)?;
    check_work(bytes)?;
    let given = password.is_some();
    // Without a password the empty one is tried: some files have just that.
    let password = password.unwrap_or_default();
    let archive = Pkcs12Archive::from_pkcs12(bytes, &password).map_err(|e| match e {
        // A password that was given and a file without one, or the other way round.
        Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError
            if !given =>
        {
            KeyFileProblem::NoPassword
        }
        Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError => {
            KeyFileProblem::WrongPassword
        }
        // What comes out under a wrong password may happen to be padded well.
        Pkcs12Error::DerError(_) | Pkcs12Error::InvalidPrivateKey | Pkcs12Error::X509Error(_)
            if has_no_mac(bytes) =>
        {
            KeyFileProblem::WrongPassword
        }
        other => {
            KeyFileProblem::Malformed { expected: "a PKCS#12 file", message: other.to_string() }
        }
    })?;
    if archive.keys.len() + archive.certs.len() > MAX_ITEMS {
        return Err(too_many_items());
    }
    Ok(Opened { archive, unauthenticated: given && has_no_mac(bytes) })
}

/// What a PKCS#12 file holds.
pub(in crate::keystore) struct Opened {
    pub(in crate::keystore) archive: Pkcs12Archive,
    /// There is a password and no MAC made with it: whoever wrote the file need not have known it.
    pub(in crate::keystore) unauthenticated: bool,
}

/// How deep the parts of a file lie in each other, with room.
const MAX_DEPTH: usize = 32;

/// The parts of PKCS#12's own encryption schemes, RFC 7292 appendix C: their object identifiers begin
/// so.
const PKCS12_PBE: &str = "1.2.840.113549.1.12.1.";

/// Refuses a file whose derivations would hold this host up together. What lies in an encrypted part
/// cannot be counted before that is opened; whoever made such a part knew the password.
fn check_work(bytes: &[u8]) -> Result<(), KeyFileProblem> {
    let mut work = Work::default();
    add_work(bytes, MAX_DEPTH, &mut work)?;
    work.check()
}

/// Finds every algorithm for an encryption by password, wherever in the file it stands.
fn add_work(bytes: &[u8], depth: usize, work: &mut Work) -> Result<(), KeyFileProblem> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    let Ok(mut reader) = SliceReader::new(bytes) else { return Ok(()) };
    while let Ok(value) = AnyRef::decode(&mut reader) {
        if let Ok(algorithm) = value.decode_as::<AlgorithmIdentifierRef<'_>>() {
            if algorithm.oid == PBES2_OID {
                if let Ok(scheme) = EncryptionScheme::try_from(algorithm) {
                    check_cost(&scheme)?;
                    work.add(&scheme);
                }
            } else if algorithm.oid.to_string().starts_with(PKCS12_PBE) {
                // A key and an IV are derived.
                work.add_rounds(2 * pkcs12_rounds(&algorithm).unwrap_or_default());
            }
        }
        // Parts stand in octet strings too.
        if value.tag().is_constructed() || value.tag() == der::Tag::OctetString {
            add_work(value.value(), depth, work)?;
        }
    }
    Ok(())
}

/// The rounds of one of PKCS#12's own schemes: behind the salt.
fn pkcs12_rounds(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<u64> {
    let mut parameters = SliceReader::new(algorithm.parameters?.value()).ok()?;
    AnyRef::decode(&mut parameters).ok()?;
    u32::decode(&mut parameters).ok().map(u64::from)
}

/// Whether it is a PKCS#12 file on the outside, and nothing in it tells a wrong password from damage.
fn has_no_mac(bytes: &[u8]) -> bool {
    let read = || -> der::Result<bool> {
        SliceReader::new(bytes)?.sequence(|parts| -> der::Result<bool> {
            u8::decode(parts)?;
            AnyRef::decode(parts)?;
            Ok(parts.is_finished())
        })
    };
    read().unwrap_or(false)
}

/// Writes a PKCS#12 file of one key: AES-256 and HMAC-SHA-256, as Windows since Server 2019, OpenSSL
/// and Java read it. `alias` is the key's friendly name.
pub(in crate::keystore) fn encode(
    alias: &str,
    key: &CmkPrivateKey,
    certificate: &CmkCertificate,
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
    let failed = |e: Pkcs12Error| KeyStoreError::Certificate { message: e.to_string() };
    let der = key.to_pkcs8_der()?;
    let chain = PrivateKeyChain::new(
        certificate.thumbprint().as_bytes().as_slice(),
        PrivateKey::from_der(&der).map_err(failed)?,
        [Certificate::from_der(certificate.as_der()).map_err(failed)?],
    );
    let mut store = KeyStore::new();
    store.add_entry(alias, KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_iterations(ITERATIONS);
    Ok(Zeroizing::new(writer.mac_iterations(ITERATIONS).write().map_err(failed)?))
}

/// A value in DER.
#[cfg(test)]
pub(in crate::keystore) fn der_value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u32::try_from(content.len()).unwrap().to_be_bytes();
    let short = len.iter().position(|&byte| byte != 0).unwrap_or(3);
    let mut value = vec![tag];
    if content.len() >= 0x80 {
        value.push(0x80 | (4 - short) as u8);
    }
    value.extend_from_slice(&len[short..]);
    value.extend_from_slice(&content);
    value
}

/// The same file without its MAC.
#[cfg(test)]
pub(in crate::keystore) fn without_mac(bytes: &[u8]) -> Vec<u8> {
    use x509_cert::der::Encode as _;
    let mut parts = SliceReader::new(AnyRef::from_der(bytes).unwrap().value()).unwrap();
    let version = AnyRef::decode(&mut parts).unwrap().to_der().unwrap();
    let safes = AnyRef::decode(&mut parts).unwrap().to_der().unwrap();
    der_value(0x30, &[&version, &safes])
}
