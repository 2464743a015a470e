//! The column master key: an RSA private key that is held in this process, or the public half of
//! one that stays in its key store.

use std::{borrow::Cow, fmt};

use rsa::{
    BoxedUint, PrivateKey, PublicKey,
    pkcs1::{DecodeRsaPrivateKey, RsaPrivateKeyRef},
    pkcs8::{
        DecodePrivateKey, EncodePrivateKey, LineEnding, PrivateKeyInfoRef, SecretDocument,
        der::Decode,
    },
    traits::PublicKeyParts,
};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Cek, random::SystemRng};

/// The shortest modulus that a column master key may have, in bits.
pub const MIN_MODULUS_BITS: usize = 2048;

/// The longest modulus of a key that is read, in bits, private or public. What an operation costs
/// grows with the cube of it.
const MAX_MODULUS_BITS: usize = 8192;

/// An RSA private key that acts as column master key.
///
/// It does the four things a key store does: unwrap and wrap CEKs (through
/// [`Envelope`](super::Envelope)), sign and verify. Private-key operations are blinded. Each takes
/// milliseconds, so keep them off an async executor's threads.
pub struct CmkPrivateKey {
    key: PrivateKey,
}

impl CmkPrivateKey {
    /// Makes a new key of `bits` bits. Takes seconds in an unoptimised build.
    pub fn generate(bits: usize) -> Result<Self, CmkError> {
        if bits < MIN_MODULUS_BITS {
            return Err(CmkError::ModulusTooSmall { bits });
        }
        if bits > MAX_MODULUS_BITS {
            return Err(CmkError::ModulusTooLarge { bits });
        }
        let key = PrivateKey::new(&mut SystemRng, bits).map_err(|_| CmkError::Rsa)?;
        Ok(Self { key })
    }

    /// Reads a PKCS#8 `PrivateKeyInfo` in DER, of a key of 2048 to 8192 bits.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, CmkError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| CmkError::NotAnRsaKey)?;
        check_modulus_len(info.private_key.as_bytes())?;
        Self::checked(PrivateKey::from_pkcs8_der(der).map_err(|_| CmkError::NotAnRsaKey)?)
    }

    /// Reads a PKCS#1 `RSAPrivateKey` in DER, of 2048 to 8192 bits.
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, CmkError> {
        check_modulus_len(der)?;
        Self::checked(PrivateKey::from_pkcs1_der(der).map_err(|_| CmkError::NotAnRsaKey)?)
    }

    /// Reads PEM: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, CmkError> {
        let (label, der) = SecretDocument::from_pem(pem).map_err(|_| CmkError::NotAnRsaKey)?;
        match label {
            "PRIVATE KEY" => Self::from_pkcs8_der(der.as_bytes()),
            "RSA PRIVATE KEY" => Self::from_pkcs1_der(der.as_bytes()),
            _ => Err(CmkError::NotAnRsaKey),
        }
    }

    /// Writes the key as PKCS#8 PEM, unencrypted. Protect the file that it goes to.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, CmkError> {
        self.key.to_pkcs8_pem(LineEnding::LF).map_err(|_| CmkError::Rsa)
    }

    /// The same in DER.
    pub(crate) fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, CmkError> {
        self.key.to_pkcs8_der().map(|der| der.to_bytes()).map_err(|_| CmkError::Rsa)
    }

    fn checked(key: PrivateKey) -> Result<Self, CmkError> {
        let bits = key.n().bit_width_vartime() as usize;
        if bits < MIN_MODULUS_BITS {
            return Err(CmkError::ModulusTooSmall { bits });
        }
        Ok(Self { key })
    }

    /// The length of the modulus in bytes: that of a wrapped CEK and of a signature.
    #[must_use]
    pub fn modulus_len(&self) -> usize {
        self.key.size()
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> CmkPublicKey {
        CmkPublicKey { key: self.key.to_public_key() }
    }

    /// The key itself, for whoever needs to tell keys apart or write a certificate.
    pub(crate) fn rsa(&self) -> &PrivateKey {
        &self.key
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CmkError> {
        self.key
            .pkcs1v15_sign_with_rng::<Sha256, _>(&mut SystemRng, message)
            .map_err(|_| CmkError::Rsa)
    }

    /// Signs `message` in that form.
    pub fn sign_as(&self, form: SignatureForm, message: &[u8]) -> Result<Vec<u8>, CmkError> {
        self.sign(&form.message(message))
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        is_signature(self.key.as_public_key(), message, signature)
    }

    /// Undoes [`CmkPublicKey::oaep_encrypt`]. With an explicit generator, because without one `rsa`
    /// would not blind.
    pub(crate) fn oaep_decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.key
            .oaep_decrypt_with_rng::<Sha1, _>(&mut SystemRng, ciphertext)
            .ok()
            .map(Zeroizing::new)
    }
}

/// Refuses a key that is too long before anything is computed with it. What does not parse is left to
/// whoever reads the key.
fn check_modulus_len(pkcs1: &[u8]) -> Result<(), CmkError> {
    let Ok(key) = RsaPrivateKeyRef::from_der(pkcs1) else { return Ok(()) };
    let modulus = key.modulus.as_bytes();
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (8 * modulus.len()).saturating_sub(leading);
    if bits > MAX_MODULUS_BITS { Err(CmkError::ModulusTooLarge { bits }) } else { Ok(()) }
}

/// Whether `signature` is RSASSA-PKCS1-v1_5 with SHA-256 over `message`.
pub(super) fn is_signature(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    key.pkcs1v15_verify::<Sha256>(message, signature).is_ok()
}

impl fmt::Debug for CmkPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CmkPrivateKey({} bits, ..)", self.key.n().bit_width_vartime())
    }
}

/// What a signature of a master key is over. Providers of Microsoft's drivers differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureForm {
    /// The message: RSASSA-PKCS1-v1_5 with its SHA-256, as nearly all do.
    OverMessage,
    /// The message's SHA-256, taken for the message, so that what RSA signs is the SHA-256 of a
    /// SHA-256.
    ///
    /// Envelopes of SqlClient's CNG and CSP providers and CMK metadata of JDBC's Java key store
    /// provider are signed so: each hashes and then calls what hashes again.
    OverDigest,
}

impl SignatureForm {
    /// What a store's own "sign with SHA-256" is given, so that a signature over `message` comes out
    /// in this form.
    #[must_use]
    pub fn message(self, message: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::OverMessage => Cow::Borrowed(message),
            Self::OverDigest => Cow::Owned(Sha256::digest(message).to_vec()),
        }
    }
}

/// The public half of a column master key whose private half does not leave its key store: a token,
/// a vault, an operating system's store.
///
/// It checks what that key signed and wraps CEKs for it, so that a key store is asked for no more
/// than what only it can do.
#[derive(Clone, PartialEq, Eq)]
pub struct CmkPublicKey {
    key: PublicKey,
}

impl CmkPublicKey {
    /// Takes a modulus and a public exponent, both big-endian: `CKA_MODULUS` and
    /// `CKA_PUBLIC_EXPONENT` of PKCS#11, `n` and `e` of a JSON Web Key.
    pub fn from_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, CmkError> {
        let modulus = BoxedUint::from_be_slice_vartime(modulus);
        let bits = modulus.bit_width_vartime() as usize;
        if bits < MIN_MODULUS_BITS {
            return Err(CmkError::ModulusTooSmall { bits });
        }
        let exponent = BoxedUint::from_be_slice_vartime(exponent);
        let key = PublicKey::new(modulus, exponent).map_err(|_| CmkError::NotAnRsaPublicKey)?;
        Ok(Self { key })
    }

    /// The length of the modulus in bytes: that of a wrapped CEK and of a signature.
    #[must_use]
    pub fn modulus_len(&self) -> usize {
        self.key.size()
    }

    /// Whether `signature` is RSASSA-PKCS1-v1_5 with SHA-256 by this key over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        is_signature(&self.key, message, signature)
    }

    /// Whether `signature` is this key's over `message` in that form.
    #[must_use]
    pub fn verify_as(&self, form: SignatureForm, message: &[u8], signature: &[u8]) -> bool {
        self.verify(&form.message(message), signature)
    }

    /// RSAES-OAEP with SHA-1 for hash and mask, no label: what the protocol fixes as `RSA_OAEP`.
    ///
    /// OAEP needs no collision resistance of its hash, so SHA-1's weakness does not touch it.
    pub(super) fn oaep_encrypt(&self, cek: &Cek) -> Result<Vec<u8>, CmkError> {
        self.key
            .oaep_encrypt_with_rng::<Sha1, _>(&mut SystemRng, cek.expose())
            .map_err(|_| CmkError::Rsa)
    }
}

impl fmt::Debug for CmkPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CmkPublicKey({} bits)", 8 * self.modulus_len())
    }
}

/// The bytes that a CMK metadata signature covers: provider name, key path and whether enclaves may
/// use the key, lower-cased as one string, in UTF-16.
///
/// Source: `SignColumnMasterKeyMetadata` of Microsoft.Data.SqlClient.
#[must_use]
pub fn cmk_metadata_message(
    provider_name: &str,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Vec<u8> {
    let flag = if allow_enclave_computations { "true" } else { "false" };
    let text = format!("{provider_name}{key_path}{flag}").to_lowercase();
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A key that cannot serve as column master key, or an operation of it that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmkError {
    /// The modulus is too short to protect anything.
    #[error("the RSA key has {bits} bits; a column master key needs at least {MIN_MODULUS_BITS}")]
    ModulusTooSmall {
        /// The length of the modulus.
        bits: usize,
    },
    /// The modulus is longer than that of any key in use, so that a single operation would hold this
    /// host up.
    #[error("the RSA key has {bits} bits; a column master key has at most {MAX_MODULUS_BITS}")]
    ModulusTooLarge {
        /// The length of the modulus.
        bits: usize,
    },
    /// The bytes are no RSA private key in a known encoding: an EC key, an encrypted key, a public
    /// key, or something else.
    #[error("not an unencrypted RSA private key in PKCS#8 or PKCS#1 form")]
    NotAnRsaKey,
    /// Modulus and exponent are no RSA public key, or one of a size that nobody uses.
    #[error("not an RSA public key of 2048 to 8192 bits with an odd exponent below 2^33")]
    NotAnRsaPublicKey,
    /// The key path does not fit the envelope, whose length field has 16 bits.
    #[error("the key path is longer than 32,767 characters")]
    KeyPathTooLong,
    /// The RSA operation itself failed, or the random number generator beneath it.
    #[error("the RSA operation failed")]
    Rsa,
}

#[cfg(test)]
mod tests {
    use rsa::{pkcs1::UintRef, pkcs8::der::asn1::OctetStringRef};

    use super::*;

    #[test]
    fn the_cmk_metadata_message_is_that_of_the_worked_example() {
        let message = cmk_metadata_message(
            "MSSQL_CERTIFICATE_STORE",
            "CurrentUser/My/B3C66FFBE1DB57419792E24AA970455BFAC30757",
            true,
        );
        assert_eq!(message.len(), 164);
        let digest: [u8; 32] = Sha256::digest(&message).into();
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "1e222bb04ba741315d21ddf713322afe6b8436db364b41a45593750ff8862575");
    }

    #[test]
    fn a_public_key_of_any_components_is_refused_with_its_reason() {
        let modulus = |bytes: usize, last: u8| {
            let mut modulus = vec![0xC3; bytes];
            modulus[bytes - 1] = last;
            modulus
        };
        let refused = |n: &[u8], e: &[u8]| CmkPublicKey::from_components(n, e).err();
        assert_eq!(refused(&[], &[1, 0, 1]), Some(CmkError::ModulusTooSmall { bits: 0 }));
        assert_eq!(
            refused(&modulus(128, 1), &[1, 0, 1]),
            Some(CmkError::ModulusTooSmall { bits: 1024 })
        );
        assert_eq!(refused(&modulus(256, 2), &[1, 0, 1]), Some(CmkError::NotAnRsaPublicKey));
        assert_eq!(refused(&modulus(256, 1), &[]), Some(CmkError::NotAnRsaPublicKey));
        assert_eq!(refused(&modulus(256, 1), &[2]), Some(CmkError::NotAnRsaPublicKey));
        assert_eq!(refused(&modulus(256, 1), &[0xFF; 9]), Some(CmkError::NotAnRsaPublicKey));
        assert_eq!(refused(&modulus(65536, 1), &[1, 0, 1]), Some(CmkError::NotAnRsaPublicKey));
        assert_eq!(refused(&modulus(256, 1), &[1, 0, 1]), None);
        // Leading zeros, as DER and some tokens have them, do not count.
        assert_eq!(
            CmkPublicKey::from_components(&[&[0][..], &modulus(256, 1)].concat(), &[0, 1, 0, 1]),
            CmkPublicKey::from_components(&modulus(256, 1), &[1, 0, 1])
        );
    }

    /// A private key of such a modulus, whose numbers make no key.
    fn pkcs1_of(modulus: &[u8]) -> SecretDocument {
        let number = |bytes| UintRef::new(bytes).unwrap();
        let small = number(&[3]);
        let key = RsaPrivateKeyRef {
            modulus: number(modulus),
            public_exponent: number(&[1, 0, 1]),
            private_exponent: number(modulus),
            prime1: small,
            prime2: small,
            exponent1: small,
            exponent2: small,
            coefficient: small,
            other_prime_infos: None,
        };
        SecretDocument::encode_msg(&key).unwrap()
    }

    #[test]
    fn a_key_that_would_hold_the_host_up_is_refused_by_its_length_in_every_encoding() {
        let refused = Some(CmkError::ModulusTooLarge { bits: 8193 });
        let long = pkcs1_of(&[&[1][..], &[0xC3; 1024]].concat());
        assert_eq!(CmkPrivateKey::from_pkcs1_der(long.as_bytes()).err(), refused);
        let info = PrivateKeyInfoRef::new(
            rsa::pkcs1::ALGORITHM_ID,
            OctetStringRef::new(long.as_bytes()).unwrap(),
        );
        let pkcs8 = SecretDocument::encode_msg(&info).unwrap();
        assert_eq!(CmkPrivateKey::from_pkcs8_der(pkcs8.as_bytes()).err(), refused);
        for (label, der) in [("RSA PRIVATE KEY", &long), ("PRIVATE KEY", &pkcs8)] {
            let pem = der.to_pem(label, LineEnding::LF).unwrap();
            assert_eq!(CmkPrivateKey::from_pem(&pem).err(), refused, "{label}");
            let pem = der.to_pem("EC PRIVATE KEY", LineEnding::LF).unwrap();
            assert_eq!(CmkPrivateKey::from_pem(&pem).err(), Some(CmkError::NotAnRsaKey));
        }
        // One of 8192 bits is looked at.
        let fitting = pkcs1_of(&[0xC3; 1024]);
        let error = CmkPrivateKey::from_pkcs1_der(fitting.as_bytes()).err();
        assert_eq!(error, Some(CmkError::NotAnRsaKey));
        assert_eq!(CmkPrivateKey::generate(8193).err(), refused);
    }

    #[test]
    fn a_short_key_is_refused_by_its_length() {
        assert_eq!(
            CmkPrivateKey::generate(1024).err(),
            Some(CmkError::ModulusTooSmall { bits: 1024 })
        );
    }
}
