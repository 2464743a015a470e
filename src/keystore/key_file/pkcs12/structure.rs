//! What a PKCS#12 file is made of, RFC 7292 sections 4 and 5.
//!
//! ```text
//! PFX ::= SEQUENCE {
//!     version   INTEGER {v3(3)},
//!     authSafe  ContentInfo,          -- data: DER of SEQUENCE OF ContentInfo
//!     macData   MacData OPTIONAL }
//! ```
//!
//! Each ContentInfo within is data, the DER of a SEQUENCE OF SafeBag, or encryptedData, the same
//! encrypted. Nothing is decrypted here.

use x509_cert::{
    der::{
        self, Decode, Reader as _, SliceReader, Tag, TagNumber, Tagged as _,
        asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
    },
    spki::AlgorithmIdentifierRef,
};

use super::{super::encryption::Scheme, Mac};
use crate::keystore::KeyFileProblem;

pub(super) const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
pub(super) const ENCRYPTED_DATA: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const ENVELOPED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");

const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
pub(super) const SHROUDED_KEY_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
pub(super) const CERT_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const SAFE_CONTENTS_BAG: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.6");
pub(super) const X509_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
pub(super) const FRIENDLY_NAME: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.20");

/// How deep bags may lie in bags. Nobody is known to write any.
const MAX_DEPTH: usize = 4;

/// A file, taken apart as far as it goes without a password.
pub(super) struct Pfx<'a> {
    /// What the MAC is over.
    pub(super) safe: &'a [u8],
    pub(super) mac: Option<Mac<'a>>,
}

/// A part of the file.
pub(super) enum Part<'a> {
    Plain(Vec<Bag<'a>>),
    Encrypted { scheme: Scheme<'a>, data: &'a [u8] },
}

/// One thing in a part. Lists of revoked certificates and secrets of other kinds are passed over.
pub(super) enum Bag<'a> {
    Key { name: Option<String>, pkcs8: &'a [u8] },
    ShroudedKey { name: Option<String>, scheme: Result<Scheme<'a>, KeyFileProblem>, data: &'a [u8] },
    Certificate(&'a [u8]),
}

impl<'a> Pfx<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, KeyFileProblem> {
        let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
            let version = u8::decode(parts)?;
            let content = content_info(parts)?;
            Ok((version, content, Option::<AnyRef<'a>>::decode(parts)?))
        };
        let (version, (kind, content), mac) = sequence(bytes, read).map_err(|e| malformed(&e))?;
        if version != 3 {
            return Err(malformed(&"its version is not 3"));
        }
        let safe = octets(kind, content)?;
        Ok(Self { safe, mac: mac.map(Mac::parse).transpose()? })
    }

    pub(super) fn parts(&self) -> Result<Vec<Part<'a>>, KeyFileProblem> {
        let infos = sequence(self.safe, |list| {
            let mut infos = Vec::new();
            while !list.is_finished() {
                infos.push(content_info(list)?);
            }
            Ok(infos)
        });
        infos.map_err(|e| malformed(&e))?.into_iter().map(part).collect()
    }
}

fn part<'a>((kind, content): (ObjectIdentifier, AnyRef<'a>)) -> Result<Part<'a>, KeyFileProblem> {
    if kind != ENCRYPTED_DATA {
        return Ok(Part::Plain(bags(octets(kind, content)?)?));
    }
    let read = |parts: &mut SliceReader<'a>| -> der::Result<_> {
        u8::decode(parts)?;
        let encrypted = parts.sequence(|info| -> der::Result<_> {
            <ObjectIdentifier>::decode(info)?;
            let algorithm = AlgorithmIdentifierRef::decode(info)?;
            Ok((algorithm, tagged(info, false)?.value()))
        })?;
        // Attributes, which nothing here depends on.
        Option::<AnyRef<'a>>::decode(parts)?;
        Ok(encrypted)
    };
    let (algorithm, data) = content.sequence(read).map_err(|e: der::Error| malformed(&e))?;
    Ok(Part::Encrypted { scheme: Scheme::of(algorithm)?, data })
}

/// `ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT ANY }`.
fn content_info<'a>(reader: &mut SliceReader<'a>) -> der::Result<(ObjectIdentifier, AnyRef<'a>)> {
    reader.sequence(|info| Ok((ObjectIdentifier::decode(info)?, explicit(info)?)))
}

/// The bytes in a ContentInfo of the type data.
fn octets<'a>(kind: ObjectIdentifier, content: AnyRef<'a>) -> Result<&'a [u8], KeyFileProblem> {
    match kind {
        DATA => content
            .decode_as::<&OctetStringRef>()
            .map(OctetStringRef::as_bytes)
            .map_err(|e| malformed(&e)),
        SIGNED_DATA | ENVELOPED_DATA => Err(malformed(
            &"it is secured by a certificate and not by a password; export it with a password",
        )),
        _ => Err(malformed(&"a part of it is of an unknown kind")),
    }
}

/// The bags of a part.
pub(super) fn bags(bytes: &[u8]) -> Result<Vec<Bag<'_>>, KeyFileProblem> {
    let mut found = Vec::new();
    add_bags(bytes, MAX_DEPTH, &mut found).map_err(|e| malformed(&e))?;
    Ok(found)
}

fn add_bags<'a>(bytes: &'a [u8], depth: usize, found: &mut Vec<Bag<'a>>) -> der::Result<()> {
    sequence(bytes, |list| {
        while !list.is_finished() {
            let read = |bag: &mut SliceReader<'a>| -> der::Result<_> {
                let kind = ObjectIdentifier::decode(bag)?;
                let value = tagged(bag, true)?.value();
                Ok((kind, value, Option::<AnyRef<'a>>::decode(bag)?))
            };
            let (kind, value, attributes) = list.sequence(read)?;
            let name = || attributes.and_then(|set| friendly_name(set).ok().flatten());
            match kind {
                KEY_BAG => found.push(Bag::Key { name: name(), pkcs8: value }),
                SHROUDED_KEY_BAG => {
                    let (algorithm, data) = encrypted_key(value)?;
                    let scheme = Scheme::of(algorithm);
                    found.push(Bag::ShroudedKey { name: name(), scheme, data });
                }
                CERT_BAG => found.extend(certificate(value)?.map(Bag::Certificate)),
                SAFE_CONTENTS_BAG if depth > 0 => add_bags(value, depth - 1, found)?,
                SAFE_CONTENTS_BAG => return Err(Tag::Sequence.value_error().into()),
                _ => {}
            }
        }
        Ok(())
    })
}

/// `EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING }` of PKCS#8.
pub(in crate::keystore::key_file) fn encrypted_key(
    der: &[u8],
) -> der::Result<(AlgorithmIdentifierRef<'_>, &[u8])> {
    sequence(der, |parts| {
        let algorithm = AlgorithmIdentifierRef::decode(parts)?;
        Ok((algorithm, <&OctetStringRef>::decode(parts)?.as_bytes()))
    })
}

/// `CertBag ::= SEQUENCE { certId, certValue [0] EXPLICIT OCTET STRING }`; `None` for other kinds of
/// certificate than X.509.
fn certificate(der: &[u8]) -> der::Result<Option<&[u8]>> {
    sequence(der, |parts| {
        let kind = ObjectIdentifier::decode(parts)?;
        let value = explicit(parts)?;
        if kind != X509_CERTIFICATE {
            return Ok(None);
        }
        Ok(Some(value.decode_as::<&OctetStringRef>()?.as_bytes()))
    })
}

/// The name in a bag's attributes: `SET OF SEQUENCE { attrId, SET OF value }`, in UTF-16.
fn friendly_name(attributes: AnyRef<'_>) -> der::Result<Option<String>> {
    attributes.tag().assert_eq(Tag::Set)?;
    let mut list = SliceReader::new(attributes.value())?;
    while !list.is_finished() {
        let read = |parts: &mut SliceReader<'_>| -> der::Result<_> {
            Ok((ObjectIdentifier::decode(parts)?, AnyRef::decode(parts)?.value().to_vec()))
        };
        let (kind, values) = list.sequence(read)?;
        if kind == FRIENDLY_NAME {
            let name = AnyRef::decode(&mut SliceReader::new(&values)?)?;
            name.tag().assert_eq(Tag::BmpString)?;
            let units =
                name.value().chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            return Ok(Some(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()));
        }
    }
    Ok(None)
}

/// Reads a SEQUENCE and nothing behind it.
pub(super) fn sequence<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut SliceReader<'a>) -> der::Result<T>,
) -> der::Result<T> {
    let mut reader = SliceReader::new(bytes)?;
    let value = reader.sequence(read)?;
    reader.finish()?;
    Ok(value)
}

/// What stands under the tag [0], which is constructed or not.
fn tagged<'a>(reader: &mut SliceReader<'a>, constructed: bool) -> der::Result<AnyRef<'a>> {
    let value = AnyRef::decode(reader)?;
    value.tag().assert_eq(Tag::ContextSpecific { constructed, number: TagNumber(0) })?;
    Ok(value)
}

/// The value in `[0] EXPLICIT`.
fn explicit<'a>(reader: &mut SliceReader<'a>) -> der::Result<AnyRef<'a>> {
    AnyRef::from_der(tagged(reader, true)?.value())
}

pub(super) fn malformed(error: &impl std::fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Malformed { expected: "a PKCS#12 file", message: error.to_string() }
}
