//! PKCS#12: files of Windows, OpenSSL and Java.

use std::path::Path;

use p12_keystore::{
    Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain,
    error::Error as Pkcs12Error,
};
use x509_cert::der::{self, Decode, Reader as _, SliceReader, asn1::AnyRef};
use zeroize::Zeroizing;

use super::{CmkCertificate, FilePasswords};
use crate::{
    crypto::CmkPrivateKey,
    keystore::{KeyFileProblem, KeyStoreError},
};

/// Rounds of PBKDF2 for the cipher and of the older derivation for the MAC: Java's default.
const ITERATIONS: u32 = 10_000;

/// Reads a PKCS#12 file: PBES2 as OpenSSL 3, Windows and Java write it, 3DES and RC2 as older ones
/// do, with a MAC or without. Its key derivations are limited to a million rounds.
///
/// The parser does not wipe its copy of the keys.
pub(in crate::keystore) fn open(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
) -> Result<Pkcs12Archive, KeyFileProblem> {
    let password = passwords.of(path)?;
    let given = password.is_some();
    // Without a password the empty one is tried: some files have just that.
    let password = password.unwrap_or_default();
    Pkcs12Archive::from_pkcs12(bytes, &password).map_err(|e| match e {
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
    })
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
