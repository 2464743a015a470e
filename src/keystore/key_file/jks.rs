//! JKS, the older key store format of Java.
//!
//! # Layout
//!
//! Big-endian. Texts are modified UTF-8 after their length in two bytes, byte strings follow theirs
//! in four.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | magic, `0xFEEDFEED` |
//! | 4 | version, 1 or 2 |
//! | 4 | number of entries |
//! | … | entries |
//! | 20 | SHA-1 of the password in UTF-16BE, `Mighty Aphrodite` and all of the above |
//!
//! An entry has a tag (4 bytes: 1 a private key, 2 a trusted certificate), its alias, and the
//! milliseconds of its making (8 bytes). A private key goes on with the protected key and a number of
//! certificates (4 bytes), of which each has, in version 2, its type as text before its bytes; a
//! trusted certificate goes on with one of those.
//!
//! A protected key is a PKCS#8 `EncryptedPrivateKeyInfo` of Sun's own algorithm,
//! 1.3.6.1.4.1.42.2.17.1.1. In it are a salt of 20 bytes, the key under a stream made of SHA-1 of
//! password and salt, then of password and the digest before, and SHA-1 of password and key.
//!
//! Source: `JavaKeyStore` and `KeyProtector` in `sun.security.provider` of OpenJDK.

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use x509_cert::{
    der::{
        self, Decode, Reader as _, SliceReader,
        asn1::{ObjectIdentifier, OctetStringRef},
    },
    spki::AlgorithmIdentifierRef,
};
use zeroize::Zeroizing;

use super::{
    CertifiedKey,
    pem::{MAX_ITEMS, malformed_key, rsa_key, too_many_items},
};
use crate::{crypto::CmkPrivateKey, keystore::KeyFileProblem};

pub(in crate::keystore) const MAGIC: [u8; 4] = [0xFE, 0xED, 0xFE, 0xED];

/// What the format's makers put between the password and the data, in place of a MAC.
const WHITENER: &[u8] = b"Mighty Aphrodite";

const DIGEST: usize = 20;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
const KEY_PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// A private key of a key store.
pub(in crate::keystore) struct KeyEntry {
    pub(in crate::keystore) alias: String,
    pub(in crate::keystore) key: Result<CmkPrivateKey, KeyFileProblem>,
    /// The key's own certificate.
    pub(in crate::keystore) certificate: Option<Vec<u8>>,
}

/// Reads a key store and unlocks its keys, all with one password, as the JDBC driver does. Trusted
/// certificates are passed over.
pub(in crate::keystore) fn read(
    bytes: &[u8],
    password: &str,
) -> Result<Vec<KeyEntry>, KeyFileProblem> {
    let Some((data, digest)) = bytes.split_last_chunk::<DIGEST>() else {
        return Err(malformed("it ends early"));
    };
    let entries = entries(data)?;
    if entries.len() > MAX_ITEMS {
        return Err(too_many_items());
    }
    let password = utf16(password);
    let mut hash = Sha1::new();
    hash.update(password.as_slice());
    hash.update(WHITENER);
    hash.update(data);
    if !bool::from(hash.finalize().as_slice().ct_eq(digest)) {
        return Err(KeyFileProblem::WrongPassword);
    }
    Ok(entries.into_iter().map(|entry| entry.unlock(&password)).collect())
}

/// A private key before it is unlocked.
struct ProtectedEntry<'a> {
    alias: String,
    protected: &'a [u8],
    certificate: Option<&'a [u8]>,
}

fn entries(data: &[u8]) -> Result<Vec<ProtectedEntry<'_>>, KeyFileProblem> {
    let mut rest = Reader(data);
    if *rest.array::<4>()? != MAGIC {
        return Err(malformed("it does not begin as one"));
    }
    let version = rest.u32()?;
    if version != 1 && version != 2 {
        return Err(malformed("its version is neither 1 nor 2"));
    }
    // Neither number is believed: each round takes some of the bytes that there are.
    let mut found = Vec::new();
    for _ in 0..rest.u32()? {
        let tag = rest.u32()?;
        let alias = modified_utf8(rest.text()?);
        rest.array::<8>()?;
        match tag {
            PRIVATE_KEY => {
                let protected = rest.bytes()?;
                let mut certificate = None;
                for _ in 0..rest.u32()? {
                    let next = rest.certificate(version)?;
                    certificate.get_or_insert(next);
                }
                found.push(ProtectedEntry { alias, protected, certificate });
            }
            TRUSTED_CERTIFICATE => drop(rest.certificate(version)?),
            _ => return Err(malformed("an entry is of an unknown kind")),
        }
    }
    if rest.0.is_empty() { Ok(found) } else { Err(malformed("bytes follow the last entry")) }
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], KeyFileProblem> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, KeyFileProblem> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], KeyFileProblem> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<&'a [u8], KeyFileProblem> {
        let len = usize::try_from(self.u32()?).map_err(|_| malformed("it ends early"))?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a [u8], KeyFileProblem> {
        let len = u16::from_be_bytes(*self.array()?);
        self.take(len.into())
    }

    fn certificate(&mut self, version: u32) -> Result<&'a [u8], KeyFileProblem> {
        if version == 2 {
            self.text()?;
        }
        self.bytes()
    }
}

impl ProtectedEntry<'_> {
    fn unlock(self, password: &[u8]) -> KeyEntry {
        let key = unprotect(self.protected, password).and_then(|pkcs8| rsa_key(&pkcs8));
        let key = match (key, self.certificate.map(CertifiedKey::of)) {
            (Ok(key), Some(Ok(certified))) if !certified.matches(&key) => {
                Err(KeyFileProblem::KeyMismatch)
            }
            (key, _) => key,
        };
        KeyEntry { alias: self.alias, key, certificate: self.certificate.map(<[u8]>::to_vec) }
    }
}

/// Takes the key out of Sun's protection.
fn unprotect(info: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
    let info = protected_bytes(info)?;
    let (salt, rest) = info
        .split_first_chunk::<DIGEST>()
        .ok_or_else(|| malformed_key(&"the protected key ends early"))?;
    let (cipher, check) = rest
        .split_last_chunk::<DIGEST>()
        .ok_or_else(|| malformed_key(&"the protected key ends early"))?;
    let mut key = Zeroizing::new(cipher.to_vec());
    let mut stream = Zeroizing::new(*salt);
    for block in key.chunks_mut(DIGEST) {
        *stream = Sha1::new().chain_update(password).chain_update(*stream).finalize().into();
        block.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
    }
    let digest = Sha1::new().chain_update(password).chain_update(key.as_slice()).finalize();
    if bool::from(digest.as_slice().ct_eq(check)) {
        Ok(key)
    } else {
        Err(KeyFileProblem::KeyPassword)
    }
}

/// The protected bytes in an `EncryptedPrivateKeyInfo` of Sun's algorithm.
fn protected_bytes(info: &[u8]) -> Result<&[u8], KeyFileProblem> {
    let read = || -> der::Result<_> {
        let mut outer = SliceReader::new(info)?;
        let parts = outer.sequence(|parts| -> der::Result<_> {
            let algorithm = AlgorithmIdentifierRef::decode(parts)?;
            Ok((algorithm.oid, <&OctetStringRef>::decode(parts)?))
        })?;
        outer.finish().map(|()| parts)
    };
    let (algorithm, bytes) = read().map_err(|e| malformed_key(&e))?;
    if algorithm != KEY_PROTECTOR {
        return Err(malformed_key(&"it is protected by another algorithm than that of JKS"));
    }
    Ok(bytes.as_bytes())
}

/// The password as the format takes it.
fn utf16(password: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * password.len()));
    password.encode_utf16().for_each(|unit| bytes.extend_from_slice(&unit.to_be_bytes()));
    bytes
}

/// Java's UTF-8: of UTF-16 units, with two bytes for zero. What is none is shown as U+FFFD.
fn modified_utf8(bytes: &[u8]) -> String {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let low = |byte: &u8| u16::from(byte & 0x3f);
        let (unit, taken) = match (first >> 4, tail) {
            (0..=7, _) => (u16::from(first), 0),
            (12 | 13, [a, ..]) => (u16::from(first & 0x1f) << 6 | low(a), 1),
            (14, [a, b, ..]) => (u16::from(first & 0x0f) << 12 | low(a) << 6 | low(b), 2),
            _ => (0xfffd, 0),
        };
        units.push(unit);
        rest = tail.get(taken..).unwrap_or_default();
    }
    String::from_utf16_lossy(&units)
}

fn malformed(message: &str) -> KeyFileProblem {
    KeyFileProblem::Malformed { expected: "a Java key store", message: message.into() }
}
