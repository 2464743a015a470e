//! The column master key: an RSA private key that is held in this process, or the public half of
//! one that stays in its key store.

use std::fmt;

use rand::rngs::SysRng;
use rsa::{
    BoxedUint, PrivateKey, PublicKey,
    pkcs1::DecodeRsaPrivateKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
    traits::PublicKeyParts,
};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Cek;

/// The shortest modulus that a column master key may have, in bits.
pub const MIN_MODULUS_BITS: usize = 2048;

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
        let key = PrivateKey::new(&mut SysRng, bits).map_err(|_| CmkError::Rsa)?;
        Ok(Self { key })
    }

    /// Reads a PKCS#8 `PrivateKeyInfo` in DER.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, CmkError> {
        Self::checked(PrivateKey::from_pkcs8_der(der).map_err(|_| CmkError::NotAnRsaKey)?)
    }

    /// Reads a PKCS#1 `RSAPrivateKey` in DER.
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, CmkError> {
        Self::checked(PrivateKey::from_pkcs1_der(der).map_err(|_| CmkError::NotAnRsaKey)?)
    }

    /// Reads PEM: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, CmkError> {
        let key = PrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| PrivateKey::from_pkcs1_pem(pem))
            .map_err(|_| CmkError::NotAnRsaKey)?;
        Self::checked(key)
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
            .pkcs1v15_sign_with_rng::<Sha256, _>(&mut SysRng, message)
            .map_err(|_| CmkError::Rsa)
    }

    /// Signs `message` in that form.
    pub fn sign_as(&self, form: SignatureForm, message: &[u8]) -> Result<Vec<u8>, CmkError> {
        match form {
            SignatureForm::OverMessage => self.sign(message),
            SignatureForm::OverDigest => self.sign(&Sha256::digest(message)),
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.as_public_key().pkcs1v15_verify::<Sha256>(message, signature).is_ok()
    }

    /// Undoes [`CmkPublicKey::oaep_encrypt`]. With an explicit generator, because without one `rsa`
    /// would not blind.
    pub(crate) fn oaep_decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.key.oaep_decrypt_with_rng::<Sha1, _>(&mut SysRng, ciphertext).ok().map(Zeroizing::new)
    }
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
        self.key.pkcs1v15_verify::<Sha256>(message, signature).is_ok()
    }

    /// Whether `signature` is this key's over `message` in that form.
    #[must_use]
    pub fn verify_as(&self, form: SignatureForm, message: &[u8], signature: &[u8]) -> bool {
        match form {
            SignatureForm::OverMessage => self.verify(message, signature),
            SignatureForm::OverDigest => self.verify(&Sha256::digest(message), signature),
        }
    }

    /// RSAES-OAEP with SHA-1 for hash and mask, no label: what the protocol fixes as `RSA_OAEP`.
    ///
    /// OAEP needs no collision resistance of its hash, so SHA-1's weakness does not touch it.
    pub(super) fn oaep_encrypt(&self, cek: &Cek) -> Result<Vec<u8>, CmkError> {
        self.key
            .oaep_encrypt_with_rng::<Sha1, _>(&mut SysRng, cek.expose())
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

    #[test]
    fn a_short_key_is_refused_by_its_length() {
        assert_eq!(
            CmkPrivateKey::generate(1024).err(),
            Some(CmkError::ModulusTooSmall { bits: 1024 })
        );
    }
}
