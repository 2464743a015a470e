//! New master keys in a directory.

use std::{path::Path, time::Duration};

use super::{StoreLocation, Thumbprint};
use crate::{
    crypto::CmkPrivateKey,
    keystore::{
        CmkCertificate, FilePasswords, KeyFileProblem, KeyStoreError, UnusableKeyFile,
        key_file::{pkcs12, write},
    },
};

/// The modulus of new keys unless told otherwise, in bits: what SQL Server Management Studio makes,
/// so that every driver opens it.
const BITS: usize = 2048;

/// How long the certificates of new keys are valid. Nobody who uses the key checks it.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A master key that [`CertificateDirectory::create_cmk_as`](super::CertificateDirectory::create_cmk_as)
/// is to make.
///
/// ```
/// use always_encrypted::keystore::{NewCmk, NewKeyFile, StoreLocation};
///
/// let new = NewCmk::new("Messages 2026")
///     .location(StoreLocation::LocalMachine)
///     .bits(4096)
///     .file(NewKeyFile::Pfx);
/// ```
#[derive(Clone, Debug)]
pub struct NewCmk {
    common_name: String,
    pub(super) location: StoreLocation,
    pub(super) bits: usize,
    valid_for: Duration,
    file: NewKeyFile,
}

/// The files of a new master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NewKeyFile {
    /// `<thumbprint>.crt` and `<thumbprint>.key`, unencrypted.
    PemPair,
    /// `<thumbprint>.pfx`, encrypted by AES-256 with HMAC-SHA-256 under the directory's password for
    /// it: the form of OpenSSL 3 and keytool, and of Windows since Windows 10 1709 and Server 2019.
    Pfx,
}

impl NewCmk {
    /// 2048 bits, for `CurrentUser`, valid for ten years, as a pair of PEM files. The common name is
    /// that of [`CmkCertificate::self_signed`].
    pub fn new(common_name: impl Into<String>) -> Self {
        Self {
            common_name: common_name.into(),
            location: StoreLocation::CurrentUser,
            bits: BITS,
            valid_for: VALIDITY,
            file: NewKeyFile::PemPair,
        }
    }

    /// The location in the key path.
    #[must_use]
    pub fn location(mut self, location: StoreLocation) -> Self {
        self.location = location;
        self
    }

    /// The length of the modulus: 2048, 3072 or 4096 bits.
    #[must_use]
    pub fn bits(mut self, bits: usize) -> Self {
        self.bits = bits;
        self
    }

    /// How long the certificate is valid.
    #[must_use]
    pub fn valid_for(mut self, valid_for: Duration) -> Self {
        self.valid_for = valid_for;
        self
    }

    /// What it is written to.
    #[must_use]
    pub fn file(mut self, file: NewKeyFile) -> Self {
        self.file = file;
        self
    }

    pub(super) fn check_bits(&self) -> Result<(), KeyStoreError> {
        match self.bits {
            2048 | 3072 | 4096 => Ok(()),
            bits => Err(KeyStoreError::KeySize { bits }),
        }
    }

    pub(super) fn write(
        &self,
        dir: &Path,
        passwords: &FilePasswords,
        key: &CmkPrivateKey,
    ) -> Result<Thumbprint, KeyStoreError> {
        let certificate = CmkCertificate::self_signed(key, &self.common_name, self.valid_for)?;
        let thumbprint = certificate.thumbprint();
        match self.file {
            NewKeyFile::PemPair => write::pem_pair(dir, key, &certificate)?,
            NewKeyFile::Pfx => {
                let path = dir.join(format!("{thumbprint}.pfx"));
                let password =
                    passwords.of(&path).and_then(|p| p.ok_or(KeyFileProblem::NoPassword));
                let password =
                    password.map_err(|problem| UnusableKeyFile { path: path.clone(), problem })?;
                let bytes = pkcs12::encode(&self.common_name, key, &certificate, &password)?;
                write::new_file(&path, &bytes)?;
            }
        }
        Ok(thumbprint)
    }
}
