//! The CEK envelope: how a CEK lies in the database (`ENCRYPTED_VALUE = 0x01…`).
//!
//! # Layout
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, `0x01` |
//! | 2 | length of the key path in bytes, little-endian |
//! | 2 | length of the ciphertext in bytes, little-endian; the CMK's modulus length |
//! | … | key path, UTF-16LE; information only, nobody compares it |
//! | k | RSAES-OAEP (SHA-1) of the CEK |
//! | k | RSASSA-PKCS1-v1_5 (SHA-256) by the same key over everything before it; see [`SignatureForm`] |
//!
//! Source: `SqlColumnEncryptionCertificateStoreProvider` of Microsoft.Data.SqlClient, and envelopes
//! written by SQL Server Management Studio and the JDBC driver.

use super::{Cek, CmkError, CmkPrivateKey, CmkPublicKey, SignatureForm};

const VERSION: u8 = 0x01;
const HEADER: usize = 5;

/// An envelope taken apart, not yet believed.
///
/// The server hands it over, so every length in it may lie; parsing checks them against what is
/// there. [`Envelope::unwrap_with`] then checks them against the key, and the signature before the
/// private key touches the ciphertext, so that nobody can use us as a decryption oracle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    signed: &'a [u8],
    key_path: &'a [u8],
    ciphertext: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an envelope apart.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, InvalidEnvelope> {
        let Some((&version, rest)) = bytes.split_first() else {
            return Err(InvalidEnvelope::Empty);
        };
        if version != VERSION {
            return Err(InvalidEnvelope::Version { found: version });
        }
        let truncated = InvalidEnvelope::Truncated { len: bytes.len() };
        let [p0, p1, c0, c1, ..] = *rest else {
            return Err(truncated);
        };
        let path_len = usize::from(u16::from_le_bytes([p0, p1]));
        let ciphertext_len = usize::from(u16::from_le_bytes([c0, c1]));
        let body = &bytes[HEADER..];
        let Some((key_path, body)) = body.split_at_checked(path_len) else {
            return Err(truncated);
        };
        let Some((ciphertext, signature)) = body.split_at_checked(ciphertext_len) else {
            return Err(truncated);
        };
        let signed = &bytes[..bytes.len() - signature.len()];
        Ok(Self { signed, key_path, ciphertext, signature })
    }

    /// The key path that the envelope was made for, as its maker wrote it. Never to be trusted.
    #[must_use]
    pub fn key_path(&self) -> String {
        let (units, _) = self.key_path.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|&u| u16::from_le_bytes(u)).collect();
        String::from_utf16_lossy(&units)
    }

    /// The bytes under the signature: everything before it.
    #[must_use]
    pub fn signed_bytes(&self) -> &'a [u8] {
        self.signed
    }

    /// The CEK under RSAES-OAEP.
    #[must_use]
    pub fn ciphertext(&self) -> &'a [u8] {
        self.ciphertext
    }

    /// The signature over [`Self::signed_bytes`].
    #[must_use]
    pub fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// Whether the two lengths are those that a key with a modulus of `modulus_len` bytes makes.
    pub fn check_lengths(&self, modulus_len: usize) -> Result<(), InvalidEnvelope> {
        if self.ciphertext.len() != modulus_len {
            return Err(InvalidEnvelope::CiphertextLength {
                found: self.ciphertext.len(),
                expected: modulus_len,
            });
        }
        if self.signature.len() != modulus_len {
            return Err(InvalidEnvelope::SignatureLength {
                found: self.signature.len(),
                expected: modulus_len,
            });
        }
        Ok(())
    }

    /// Checks lengths and signature, then decrypts the CEK, in that order.
    pub fn unwrap_with(&self, cmk: &CmkPrivateKey) -> Result<Cek, InvalidEnvelope> {
        self.unwrap_signed_as(&[SignatureForm::OverMessage], cmk)
    }

    /// As [`unwrap_with`](Self::unwrap_with), for a signature in any of `forms`.
    pub fn unwrap_signed_as(
        &self,
        forms: &[SignatureForm],
        cmk: &CmkPrivateKey,
    ) -> Result<Cek, InvalidEnvelope> {
        self.verify_as(forms, &cmk.public_key())?;
        let cek = cmk.oaep_decrypt(self.ciphertext).ok_or(InvalidEnvelope::Ciphertext)?;
        Self::cek(&cek)
    }

    /// Checks lengths and signature: what comes before a key store is asked to decrypt
    /// [`Self::ciphertext`] with a key that does not leave it.
    pub fn verify(&self, cmk: &CmkPublicKey) -> Result<(), InvalidEnvelope> {
        self.verify_as(&[SignatureForm::OverMessage], cmk)
    }

    fn verify_as(
        &self,
        forms: &[SignatureForm],
        cmk: &CmkPublicKey,
    ) -> Result<(), InvalidEnvelope> {
        self.check_lengths(cmk.modulus_len())?;
        if forms.iter().any(|form| cmk.verify_as(*form, self.signed, self.signature)) {
            Ok(())
        } else {
            Err(InvalidEnvelope::Signature)
        }
    }

    /// The CEK in what a key store decrypted, which must have its length.
    pub fn cek(decrypted: &[u8]) -> Result<Cek, InvalidEnvelope> {
        Cek::try_from(decrypted).map_err(|e| InvalidEnvelope::CekLength { found: e.found })
    }

    /// Wraps `cek` for `cmk`. `key_path` is written as given.
    pub fn wrap(cek: &Cek, key_path: &str, cmk: &CmkPrivateKey) -> Result<Vec<u8>, CmkError> {
        Self::wrap_signed_as(SignatureForm::OverMessage, cek, key_path, cmk)
    }

    /// As [`wrap`](Self::wrap), with a signature in that form.
    pub fn wrap_signed_as(
        form: SignatureForm,
        cek: &Cek,
        key_path: &str,
        cmk: &CmkPrivateKey,
    ) -> Result<Vec<u8>, CmkError> {
        let mut out = Self::wrap_unsigned(cek, key_path, &cmk.public_key())?;
        let signature = cmk.sign_as(form, &out)?;
        out.extend_from_slice(&signature);
        Ok(out)
    }

    /// An envelope without its signature, which is made over all of it and follows it: for a key
    /// that does not leave its key store.
    pub fn wrap_unsigned(
        cek: &Cek,
        key_path: &str,
        cmk: &CmkPublicKey,
    ) -> Result<Vec<u8>, CmkError> {
        let path: Vec<u8> = key_path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        // Both lengths are u16 on paper. SqlClient allows a path of 32,767 characters; an RSA key
        // of 65,536 bytes does not exist.
        let path_len = u16::try_from(path.len()).map_err(|_| CmkError::KeyPathTooLong)?;
        let ciphertext = cmk.oaep_encrypt(cek)?;
        let ciphertext_len = u16::try_from(ciphertext.len()).map_err(|_| CmkError::Rsa)?;
        let mut out = Vec::with_capacity(HEADER + path.len() + 2 * ciphertext.len());
        out.push(VERSION);
        out.extend_from_slice(&path_len.to_le_bytes());
        out.extend_from_slice(&ciphertext_len.to_le_bytes());
        out.extend_from_slice(&path);
        out.extend_from_slice(&ciphertext);
        Ok(out)
    }
}

impl std::fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("key_path", &self.key_path())
            .field("ciphertext_len", &self.ciphertext.len())
            .field("signature_len", &self.signature.len())
            .finish()
    }
}

/// An envelope that does not open. Whoever wrote it into the database, or serves it, is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEnvelope {
    /// There is nothing in it.
    #[error("the encrypted value of the column encryption key is empty")]
    Empty,
    /// Its version is not 1.
    #[error("the encrypted value of the column encryption key has version {found:#04x}, not 0x01")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// It ends before the lengths in it say.
    #[error(
        "the encrypted value of the column encryption key says it is longer than its {len} bytes"
    )]
    Truncated {
        /// How many bytes there are.
        len: usize,
    },
    /// The ciphertext is not as long as the master key's modulus.
    #[error(
        "the wrapped key has {found} bytes where this master key makes {expected}; \
         another master key wrapped it"
    )]
    CiphertextLength {
        /// The ciphertext's bytes.
        found: usize,
        /// The modulus's bytes.
        expected: usize,
    },
    /// The signature is not as long as the master key's modulus.
    #[error("the envelope's signature has {found} bytes where this master key makes {expected}")]
    SignatureLength {
        /// The signature's bytes.
        found: usize,
        /// The modulus's bytes.
        expected: usize,
    },
    /// The signature is not this master key's: another key wrapped it, or somebody changed it.
    #[error(
        "the envelope's signature is not this master key's; another key wrapped it or it was changed"
    )]
    Signature,
    /// The signature holds and the CEK still does not decrypt.
    #[error("the wrapped key does not decrypt under this master key")]
    Ciphertext,
    /// What came out is no CEK.
    #[error("the wrapped key has {found} bytes in the clear where a column encryption key has 32")]
    CekLength {
        /// The bytes that came out.
        found: usize,
    },
}

#[cfg(test)]
mod tests;
