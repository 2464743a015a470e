//! PEM and DER: certificates, and private keys in PKCS#8, encrypted PKCS#8 and PKCS#1.

use std::path::Path;

use pkcs5::{
    EncryptionScheme,
    pbes2::{Kdf, ScryptParams},
};
use rsa::pkcs8::{EncryptedPrivateKeyInfoRef, Error as Pkcs8Error, PrivateKeyInfoRef};
use x509_cert::der::{Decode, oid::db::rfc5912::RSA_ENCRYPTION, pem};
use zeroize::Zeroizing;

use super::{CertifiedKey, FilePasswords};
use crate::{
    crypto::{CmkError, CmkPrivateKey},
    keystore::KeyFileProblem,
};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// What the derivation of a key from a password may cost: rounds of PBKDF2, bytes of scrypt and its
/// parallel lanes. OpenSSL writes 2048 rounds, and 16 MiB in one lane.
const MAX_ROUNDS: u32 = 1_000_000;
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;
const MAX_SCRYPT_LANES: u16 = 16;

/// What all derivations of a file may cost together, in rounds of PBKDF2: some seconds. scrypt mixes
/// about so many bytes in the time of a round.
const MAX_WORK: u64 = 4 * MAX_ROUNDS as u64;
const SCRYPT_BYTES_PER_ROUND: u64 = 256;

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
    /// Opens it, if that and what else is to be opened, which is `work`, does not cost too much.
    pub(in crate::keystore) fn open(
        self,
        path: &Path,
        passwords: &FilePasswords,
        work: &Work,
    ) -> Result<CmkPrivateKey, KeyFileProblem> {
        match self {
            Self::Pkcs8(der) => rsa_key(&der),
            Self::Pkcs1(der) => CmkPrivateKey::from_pkcs1_der(&der).map_err(unfit),
            Self::EncryptedPkcs8(der) => {
                let password = passwords.of(path)?.ok_or(KeyFileProblem::NoPassword)?;
                let encrypted =
                    EncryptedPrivateKeyInfoRef::from_der(&der).map_err(|e| malformed_key(&e))?;
                check_cost(&encrypted.encryption_algorithm)?;
                work.check()?;
                let opened = encrypted.decrypt(password.as_bytes()).map_err(|e| match e {
                    Pkcs8Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed)
                    | Pkcs8Error::Asn1(_) => KeyFileProblem::WrongPassword,
                    other => malformed_key(&other),
                })?;
                rsa_key(opened.as_bytes())
            }
            Self::Unusable(problem) => Err(problem),
        }
    }
}

/// Refuses a derivation that would hold this host up.
pub(super) fn check_cost(scheme: &EncryptionScheme) -> Result<(), KeyFileProblem> {
    let fits = match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Pbkdf2(pbkdf2)) => pbkdf2.iteration_count <= MAX_ROUNDS,
        Some(Kdf::Scrypt(scrypt)) => {
            scrypt_memory(scrypt).is_some_and(|memory| memory <= MAX_SCRYPT_MEMORY)
                && scrypt.parallelization <= MAX_SCRYPT_LANES
        }
        // What is not known is not tried either.
        _ => true,
    };
    if fits { Ok(()) } else { Err(KeyFileProblem::TooCostly) }
}

fn scrypt_memory(scrypt: &ScryptParams) -> Option<u64> {
    u64::from(scrypt.block_size).checked_mul(128)?.checked_mul(scrypt.cost_parameter)
}

/// The derivations of a file, added up before any of them is begun.
#[derive(Default)]
pub(in crate::keystore) struct Work(u64);

impl Work {
    pub(in crate::keystore) fn add_all(&mut self, items: &[Item]) {
        for item in items {
            if let Item::Key(EncodedKey::EncryptedPkcs8(der)) = item
                && let Ok(encrypted) = EncryptedPrivateKeyInfoRef::from_der(der)
            {
                self.add(&encrypted.encryption_algorithm);
            }
        }
    }

    pub(super) fn add(&mut self, scheme: &EncryptionScheme) {
        self.add_rounds(match scheme.pbes2().map(|parameters| &parameters.kdf) {
            Some(Kdf::Pbkdf2(pbkdf2)) => pbkdf2.iteration_count.into(),
            Some(Kdf::Scrypt(scrypt)) => {
                let lanes = u64::from(scrypt.parallelization);
                let mixed = scrypt_memory(scrypt).and_then(|memory| memory.checked_mul(lanes));
                mixed.map_or(u64::MAX, |mixed| mixed / SCRYPT_BYTES_PER_ROUND)
            }
            _ => 0,
        });
    }

    pub(super) fn add_rounds(&mut self, rounds: u64) {
        self.0 = self.0.saturating_add(rounds);
    }

    /// [`KeyFileProblem::TooCostly`] if together they would hold this host up, although each by
    /// itself may not.
    pub(super) fn check(&self) -> Result<(), KeyFileProblem> {
        if self.0 <= MAX_WORK { Ok(()) } else { Err(KeyFileProblem::TooCostly) }
    }
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
    } else if EncryptedPrivateKeyInfoRef::from_der(bytes).is_ok() {
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
