//! PEM and DER: certificates, and private keys in PKCS#8, encrypted PKCS#8 and PKCS#1.

use std::path::Path;

use rsa::pkcs8::PrivateKeyInfoRef;
use x509_cert::der::{Decode, oid::db::rfc5912::RSA_ENCRYPTION, pem};
use zeroize::Zeroizing;

use super::{
    CertifiedKey, FileBudget, FilePasswords,
    encryption::{Password, Scheme},
    pkcs12::encrypted_key,
};
use crate::{
    crypto::{CmkError, CmkPrivateKey},
    keystore::KeyFileProblem,
};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// How many keys and certificates a file may hold. Each is looked at, and each certificate compared
/// with each key.
pub(in crate::keystore) const MAX_ITEMS: usize = 256;

/// One thing in a PEM or DER file.
pub(in crate::keystore) enum Item {
    Certificate(Vec<u8>),
    Key(EncodedKey),
}

/// A private key as it lies in the file.
pub(in crate::keystore) enum EncodedKey {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
    EncryptedPkcs8(Zeroizing<Vec<u8>>),
    /// One that is not supported, and why.
    Unusable(KeyFileProblem),
}

impl EncodedKey {
    /// Opens it, unless what there is to be opened beside it costs too much, which is `affordable`.
    pub(in crate::keystore) fn open(
        self,
        path: &Path,
        passwords: &FilePasswords,
        affordable: &Result<(), KeyFileProblem>,
        budget: &mut FileBudget<'_>,
    ) -> Result<CmkPrivateKey, KeyFileProblem> {
        match self {
            Self::Pkcs8(der) => rsa_key(&der),
            Self::Pkcs1(der) => CmkPrivateKey::from_pkcs1_der(&der).map_err(unfit),
            Self::EncryptedPkcs8(der) => {
                let password = passwords.of(path)?.ok_or(KeyFileProblem::NoPassword)?;
                let (algorithm, data) = encrypted_key(&der).map_err(|e| malformed_key(&e))?;
                let scheme = Scheme::of(algorithm)?;
                // Of this key alone first, so that the one that is at fault says so.
                scheme.cost()?;
                affordable.clone()?;
                let opened = scheme.decrypt(&Password::new(&password), data, budget)?;
                // What comes out under a wrong password may happen to be padded well.
                PrivateKeyInfoRef::from_der(&opened).map_err(|_| KeyFileProblem::WrongPassword)?;
                rsa_key(&opened)
            }
            Self::Unusable(problem) => Err(problem),
        }
    }
}

/// What opening the keys among them costs. One that is too costly by itself is not opened.
pub(in crate::keystore) fn cost_of(items: &[Item]) -> u64 {
    let cost = |item: &Item| match item {
        Item::Key(EncodedKey::EncryptedPkcs8(der)) => {
            let (algorithm, _) = encrypted_key(der).ok()?;
            Scheme::of(algorithm).and_then(|scheme| scheme.cost()).ok()
        }
        _ => None,
    };
    items.iter().filter_map(cost).fold(0, u64::saturating_add)
}

/// What is wrong with a file of more than [`MAX_ITEMS`].
pub(in crate::keystore) fn too_many_items() -> KeyFileProblem {
    KeyFileProblem::Malformed {
        expected: "a key file",
        message: format!("it holds more than {MAX_ITEMS} keys and certificates"),
    }
}

/// Takes a file apart: PEM with any number of blocks and any text between them, or one DER value.
/// Stops at one item more than a file may hold.
pub(in crate::keystore) fn items(bytes: &[u8]) -> Vec<Item> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(BEGIN) => {
            blocks(text).filter_map(item).take(MAX_ITEMS + 1).collect()
        }
        _ => der_item(bytes).into_iter().collect(),
    }
}

/// The PEM blocks of a text, from `-----BEGIN` to the end of the `-----END` line.
fn blocks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let block = &text[text.find(BEGIN)?..];
        let end = block.find(END)? + END.len();
        let end = end + block[end..].find(DASHES)? + DASHES.len();
        let (block, rest) = block.split_at(end);
        text = rest;
        Some(block)
    })
}

/// What a PEM block holds; `None` for what has nothing to do with keys, such as parameters.
fn item(block: &str) -> Option<Item> {
    let label = block.strip_prefix(BEGIN)?.split_once(DASHES)?.0;
    if label.ends_with("PRIVATE KEY") && block.contains("Proc-Type:") {
        return Some(Item::Key(EncodedKey::Unusable(KeyFileProblem::OldEncryptedPem)));
    }
    let key = |wrap: fn(Zeroizing<Vec<u8>>) -> EncodedKey| {
        Some(Item::Key(match decoded(block) {
            Ok(der) => wrap(der),
            Err(e) => EncodedKey::Unusable(malformed_key(&e)),
        }))
    };
    match label {
        // A certificate that does not decode becomes one that does not parse.
        "CERTIFICATE" | "X509 CERTIFICATE" => {
            Some(Item::Certificate(decoded(block).unwrap_or_default().to_vec()))
        }
        "PRIVATE KEY" => key(EncodedKey::Pkcs8),
        "RSA PRIVATE KEY" => key(EncodedKey::Pkcs1),
        "ENCRYPTED PRIVATE KEY" => key(EncodedKey::EncryptedPkcs8),
        _ if label.ends_with("PRIVATE KEY") => {
            Some(Item::Key(EncodedKey::Unusable(KeyFileProblem::NotRsa)))
        }
        _ => None,
    }
}

/// The bytes of a PEM block.
fn decoded(block: &str) -> Result<Zeroizing<Vec<u8>>, pem::Error> {
    pem::decode_vec(block.as_bytes()).map(|(_, der)| Zeroizing::new(der))
}

/// What a file without PEM holds, found by trying.
fn der_item(bytes: &[u8]) -> Option<Item> {
    if CertifiedKey::of(bytes).is_ok() {
        Some(Item::Certificate(bytes.to_vec()))
    } else if PrivateKeyInfoRef::from_der(bytes).is_ok() {
        Some(Item::Key(EncodedKey::Pkcs8(bytes.to_vec().into())))
    } else if encrypted_key(bytes).is_ok() {
        Some(Item::Key(EncodedKey::EncryptedPkcs8(bytes.to_vec().into())))
    } else if !matches!(CmkPrivateKey::from_pkcs1_der(bytes), Err(CmkError::NotAnRsaKey)) {
        Some(Item::Key(EncodedKey::Pkcs1(bytes.to_vec().into())))
    } else {
        None
    }
}

/// Reads an unencrypted PKCS#8 key, telling a key of another kind from a damaged one.
pub(in crate::keystore) fn rsa_key(pkcs8: &[u8]) -> Result<CmkPrivateKey, KeyFileProblem> {
    let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|e| malformed_key(&e))?;
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Err(KeyFileProblem::NotRsa);
    }
    CmkPrivateKey::from_pkcs8_der(pkcs8).map_err(unfit)
}

fn unfit(error: CmkError) -> KeyFileProblem {
    match error {
        CmkError::NotAnRsaKey => malformed_key(&"the numbers make no RSA key"),
        other => KeyFileProblem::Key(other),
    }
}

pub(super) fn malformed_key(error: &impl std::fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Malformed { expected: "a private key", message: error.to_string() }
}
