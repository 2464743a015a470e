//! The MAC of a PKCS#12 file: RFC 7292's, and PBMAC1 of RFC 9579, which RFC 9879 has replaced without
//! a change to it.
//!
//! ```text
//! MacData ::= SEQUENCE {
//!     mac         SEQUENCE { algorithm AlgorithmIdentifier, digest OCTET STRING },
//!     macSalt     OCTET STRING,
//!     iterations  INTEGER DEFAULT 1 }
//! PBMAC1-params ::= SEQUENCE { keyDerivationFunc, messageAuthScheme AlgorithmIdentifier }
//! PBKDF2-params ::= SEQUENCE {
//!     salt OCTET STRING, iterationCount INTEGER, keyLength INTEGER OPTIONAL,
//!     prf AlgorithmIdentifier DEFAULT hmacWithSHA1 }
//! ```
//!
//! With PBMAC1 the salt and the iterations of MacData mean nothing.

use hmac::{KeyInit as _, Mac as _, SimpleHmac};
use pkcs5::pbes2::PBKDF2_OID;
use sha1::Sha1;
use sha2::{
    Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256,
    digest::{Digest, block_api::BlockSizeUser},
};
use x509_cert::{
    der::{
        self, Decode, Reader as _, SliceReader,
        asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
    },
    spki::AlgorithmIdentifierRef,
};
use zeroize::Zeroizing;

use super::{
    super::{
        budget::{self, FileBudget},
        encryption::{Password, unsupported},
    },
    kdf::{self, Purpose},
    structure::malformed,
};
use crate::keystore::KeyFileProblem;

const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");
pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// The lengths of a key for PBMAC1, in bytes. Under a key of one byte whoever changes the file guesses
/// the MAC; longer than any hash none is written.
const MIN_KEY: u16 = 20;
const MAX_KEY: u16 = 64;

/// The MAC of a file and how it is made.
pub(super) struct Mac<'a> {
    tag: &'a [u8],
    salt: &'a [u8],
    rounds: u32,
    method: Method,
}

#[derive(Clone, Copy)]
enum Method {
    Pkcs12(Hash),
    Pbmac1 { prf: Hash, key_len: u16, mac: Hash },
}

#[derive(Clone, Copy)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512In224,
    Sha512In256,
}

/// Calls a function that is generic over the hash.
macro_rules! with_hash {
    ($hash:expr, $function:ident($($argument:expr),*)) => {
        match $hash {
            Hash::Sha1 => $function::<Sha1>($($argument),*),
            Hash::Sha224 => $function::<Sha224>($($argument),*),
            Hash::Sha256 => $function::<Sha256>($($argument),*),
            Hash::Sha384 => $function::<Sha384>($($argument),*),
            Hash::Sha512 => $function::<Sha512>($($argument),*),
            Hash::Sha512In224 => $function::<Sha512_224>($($argument),*),
            Hash::Sha512In256 => $function::<Sha512_256>($($argument),*),
        }
    };
}

impl<'a> Mac<'a> {
    pub(super) fn parse(data: AnyRef<'a>) -> Result<Self, KeyFileProblem> {
        let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
            let (algorithm, tag) = parts.sequence(|info| -> der::Result<_> {
                let algorithm = AlgorithmIdentifierRef::decode(info)?;
                Ok((algorithm, <&OctetStringRef>::decode(info)?.as_bytes()))
            })?;
            let salt = <&OctetStringRef>::decode(parts)?.as_bytes();
            Ok((algorithm, tag, salt, Option::<u32>::decode(parts)?.unwrap_or(1)))
        };
        let (algorithm, tag, salt, rounds) = data.sequence(read).map_err(|e| malformed(&e))?;
        if algorithm.oid == PBMAC1 {
            return Self::pbmac1(algorithm, tag);
        }
        if algorithm.parameters.is_some_and(|parameters| !parameters.is_null()) {
            return Err(malformed(&"the hash of its MAC has parameters"));
        }
        let hash = Hash::of(algorithm.oid).ok_or_else(|| unsupported(algorithm.oid))?;
        Ok(Self { tag, salt, rounds, method: Method::Pkcs12(hash) })
    }

    fn pbmac1(
        algorithm: AlgorithmIdentifierRef<'a>,
        tag: &'a [u8],
    ) -> Result<Self, KeyFileProblem> {
        let broken = |e: der::Error| malformed(&e);
        let parameters =
            algorithm.parameters.ok_or_else(|| malformed(&"its MAC says too little"))?;
        let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
            Ok((AlgorithmIdentifierRef::decode(parts)?, AlgorithmIdentifierRef::decode(parts)?))
        };
        let (derivation, mac) = parameters.sequence(read).map_err(broken)?;
        if derivation.oid != PBKDF2_OID {
            return Err(unsupported(derivation.oid));
        }
        let parameters =
            derivation.parameters.ok_or_else(|| malformed(&"its MAC says too little"))?;
        let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
            let salt = <&OctetStringRef>::decode(parts)?.as_bytes();
            let rounds = u32::decode(parts)?;
            let key_len = Option::<u16>::decode(parts)?;
            Ok((salt, rounds, key_len, Option::<AlgorithmIdentifierRef<'a>>::decode(parts)?))
        };
        let (salt, rounds, key_len, prf) = parameters.sequence(read).map_err(broken)?;
        let hmac = |oid| Hash::of_hmac(oid).ok_or_else(|| unsupported(oid));
        let prf = prf.map_or(Ok(Hash::Sha1), |algorithm| hmac(algorithm.oid))?;
        let key_len = key_len
            .filter(|len| (MIN_KEY..=MAX_KEY).contains(len))
            .ok_or_else(|| malformed(&"the key of its MAC has no length of 20 to 64 bytes"))?;
        let method = Method::Pbmac1 { prf, key_len, mac: hmac(mac.oid)? };
        Ok(Self { tag, salt, rounds, method })
    }

    /// What deriving its key costs.
    pub(super) fn cost(&self) -> Result<u64, KeyFileProblem> {
        let blocks = match self.method {
            Method::Pkcs12(_) => 1,
            Method::Pbmac1 { prf, key_len, .. } => {
                usize::from(key_len).div_ceil(with_hash!(prf, output_size()))
            }
        };
        budget::cost(self.rounds, blocks)
    }

    /// Takes the cost out of `budget` and compares, in constant time and over all bytes.
    pub(super) fn verify(
        &self,
        password: &Password,
        message: &[u8],
        budget: &mut FileBudget<'_>,
    ) -> Result<(), KeyFileProblem> {
        budget.spend(self.cost()?)?;
        let (salt, rounds) = (self.salt, self.rounds);
        let (hash, key) = match self.method {
            Method::Pkcs12(hash) => {
                (hash, with_hash!(hash, pkcs12_key(password.utf16(), salt, rounds)))
            }
            Method::Pbmac1 { prf, key_len, mac } => {
                (mac, with_hash!(prf, pbkdf2_key(password.utf8(), salt, rounds, key_len.into())))
            }
        };
        if with_hash!(hash, is_mac(&key, message, self.tag)) {
            Ok(())
        } else {
            Err(KeyFileProblem::WrongPassword)
        }
    }
}

impl Hash {
    fn of(oid: ObjectIdentifier) -> Option<Self> {
        Some(match oid.to_string().as_str() {
            "1.3.14.3.2.26" => Self::Sha1,
            "2.16.840.1.101.3.4.2.1" => Self::Sha256,
            "2.16.840.1.101.3.4.2.2" => Self::Sha384,
            "2.16.840.1.101.3.4.2.3" => Self::Sha512,
            "2.16.840.1.101.3.4.2.4" => Self::Sha224,
            "2.16.840.1.101.3.4.2.5" => Self::Sha512In224,
            "2.16.840.1.101.3.4.2.6" => Self::Sha512In256,
            _ => return None,
        })
    }

    fn of_hmac(oid: ObjectIdentifier) -> Option<Self> {
        Some(match oid.to_string().as_str() {
            "1.2.840.113549.2.7" => Self::Sha1,
            "1.2.840.113549.2.8" => Self::Sha224,
            "1.2.840.113549.2.9" => Self::Sha256,
            "1.2.840.113549.2.10" => Self::Sha384,
            "1.2.840.113549.2.11" => Self::Sha512,
            "1.2.840.113549.2.12" => Self::Sha512In224,
            "1.2.840.113549.2.13" => Self::Sha512In256,
            _ => return None,
        })
    }
}

fn output_size<D: Digest>() -> usize {
    <D as Digest>::output_size()
}

fn pkcs12_key<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    rounds: u32,
) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; output_size::<D>()]);
    kdf::derive::<D>(password, salt, Purpose::Mac, rounds, &mut key);
    key
}

fn pbkdf2_key<D: hmac::EagerHash>(
    password: &[u8],
    salt: &[u8],
    rounds: u32,
    len: usize,
) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; len]);
    pbkdf2::pbkdf2_hmac::<D>(password, salt, rounds, &mut key);
    key
}

fn is_mac<D: Digest + BlockSizeUser>(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    SimpleHmac::<D>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok())
}

/// The MAC of a new file, by SHA-256.
pub(super) fn sha256(password: &Password, salt: &[u8], rounds: u32, message: &[u8]) -> Vec<u8> {
    let key = pkcs12_key::<Sha256>(password.utf16(), salt, rounds);
    let mac = SimpleHmac::<Sha256>::new_from_slice(&key);
    mac.map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec()).unwrap_or_default()
}
