//! What is in a certificate or key file: PKCS#12, PEM and DER.

use std::{path::Path, sync::Arc};

use p12_keystore::{Pkcs12Archive, error::Error as Pkcs12Error};
use rsa::pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use x509_cert::der::{Decode, oid::db::rfc5912::RSA_ENCRYPTION, pem};
use zeroize::Zeroizing;

use super::{
    FilePasswords, Thumbprint,
    certificate::CertifiedKey,
    scan::{Contents, Problem},
};
use crate::{
    crypto::{CmkError, CmkPrivateKey},
    keystore::{KeyFileProblem, UnusableKeyFile},
};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Reads a PKCS#12 file: PBES2 as OpenSSL 3 and Windows write it, 3DES and RC2 as older ones do.
///
/// The parser does not wipe its copy of the keys.
pub(super) fn pkcs12(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
) -> Result<Contents, KeyFileProblem> {
    let password = passwords.of(path)?;
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
        other => {
            KeyFileProblem::Malformed { expected: "a PKCS#12 file", message: other.to_string() }
        }
    })?;
    let certificates: Vec<&[u8]> = archive.certs.iter().map(|bag| bag.cert.as_der()).collect();
    let keys = archive.keys.iter().map(|bag| rsa_key(bag.key.as_der())).collect();
    Ok(pair_up(path, &certificates, keys))
}

/// Reads the files of one stem, which together hold a certificate and its key.
pub(super) fn certificate_and_key(
    files: &[(&Path, Zeroizing<Vec<u8>>)],
    passwords: &FilePasswords,
) -> Contents {
    let mut certificates = Vec::new();
    let mut keys = Vec::new();
    for (path, bytes) in files {
        for item in items(bytes) {
            match item {
                Item::Certificate(der) => certificates.push(der),
                Item::Key(key) => keys.push(key.open(path, passwords)),
            }
        }
    }
    let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let path = files.first().map_or(Path::new(""), |(path, _)| path);
    pair_up(path, &certificates, keys)
}

/// Gives each certificate its key. Certificates without are issuers' if others have theirs.
fn pair_up(
    path: &Path,
    certificates: &[&[u8]],
    keys: Vec<Result<CmkPrivateKey, KeyFileProblem>>,
) -> Contents {
    let mut contents = Contents::default();
    let mut problem = None;
    let mut usable = Vec::new();
    for key in keys {
        match key {
            Ok(key) => usable.push(Arc::new(key)),
            Err(e) => problem = problem.or(Some(e)),
        }
    }
    for der in certificates {
        match CertifiedKey::of(der) {
            Ok(certified) => {
                let key = usable.iter().find(|key| certified.matches(key));
                let pair = key.map(|key| (Thumbprint::of(der), Arc::clone(key)));
                contents.keys.extend(pair);
            }
            Err(e) => {
                problem = problem.or(Some(KeyFileProblem::Malformed {
                    expected: "a certificate",
                    message: e.to_string(),
                }));
            }
        }
    }
    if contents.keys.is_empty() {
        let problem = problem.unwrap_or(match (certificates, usable.as_slice()) {
            ([], []) => KeyFileProblem::Malformed {
                expected: "a certificate or a key",
                message: String::new(),
            },
            ([], _) => KeyFileProblem::NoCertificate,
            (_, []) => KeyFileProblem::NoPrivateKey,
            _ => KeyFileProblem::KeyMismatch,
        });
        contents.problem = Some(Problem {
            file: UnusableKeyFile { path: path.into(), problem },
            certificates: certificates.iter().map(|der| Thumbprint::of(der)).collect(),
        });
    }
    contents
}

/// One thing in a PEM or DER file.
enum Item {
    Certificate(Vec<u8>),
    Key(EncodedKey),
}

/// A private key as it lies in the file.
enum EncodedKey {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
    EncryptedPkcs8(Zeroizing<Vec<u8>>),
    /// One that is not supported, and why.
    Unusable(KeyFileProblem),
}

impl EncodedKey {
    fn open(self, path: &Path, passwords: &FilePasswords) -> Result<CmkPrivateKey, KeyFileProblem> {
        match self {
            Self::Pkcs8(der) => rsa_key(&der),
            Self::Pkcs1(der) => CmkPrivateKey::from_pkcs1_der(&der).map_err(unfit),
            Self::EncryptedPkcs8(der) => {
                let password = passwords.of(path)?.ok_or(KeyFileProblem::NoPassword)?;
                let encrypted =
                    EncryptedPrivateKeyInfoRef::from_der(&der).map_err(|e| malformed_key(&e))?;
                let opened = encrypted
                    .decrypt(password.as_bytes())
                    .map_err(|_| KeyFileProblem::WrongPassword)?;
                rsa_key(opened.as_bytes())
            }
            Self::Unusable(problem) => Err(problem),
        }
    }
}

/// Takes a file apart: PEM with any number of blocks and any text between them, or one DER value.
fn items(bytes: &[u8]) -> Vec<Item> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(BEGIN) => blocks(text).filter_map(item).collect(),
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
    } else if EncryptedPrivateKeyInfoRef::from_der(bytes).is_ok() {
        Some(Item::Key(EncodedKey::EncryptedPkcs8(bytes.to_vec().into())))
    } else if !matches!(CmkPrivateKey::from_pkcs1_der(bytes), Err(CmkError::NotAnRsaKey)) {
        Some(Item::Key(EncodedKey::Pkcs1(bytes.to_vec().into())))
    } else {
        None
    }
}

/// Reads an unencrypted PKCS#8 key, telling a key of another kind from a damaged one.
fn rsa_key(pkcs8: &[u8]) -> Result<CmkPrivateKey, KeyFileProblem> {
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

fn malformed_key(error: &impl std::fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Malformed { expected: "a private key", message: error.to_string() }
}
