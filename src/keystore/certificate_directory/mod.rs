//! A key store that is a directory of certificates with their private keys.
//!
//! Owns the files: which there are, what is in them, and the key of a key path. Serves what Windows
//! keeps in its certificate stores to hosts that have none.

mod certificate;
mod create;
mod key_file;
mod key_path;
mod passwords;
mod scan;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{BoxFuture, KeyStoreError, KeyStoreProvider, UnusableKeyFile, local_key};
use crate::crypto::{Cek, CmkPrivateKey, Envelope};

pub use certificate::CmkCertificate;
pub use key_path::{
    CertificateKeyPath, CertificateKeyPathError, InvalidThumbprint, StoreLocation, Thumbprint,
};
pub use passwords::FilePasswords;

/// The name of SqlClient's provider for the certificate stores of Windows.
pub const MSSQL_CERTIFICATE_STORE: &str = "MSSQL_CERTIFICATE_STORE";

/// The modulus of keys that [`CertificateDirectory::create_cmk`] makes, in bits: what SQL Server
/// Management Studio makes, so that every driver opens it.
const NEW_KEY_BITS: usize = 2048;

/// How long the certificates of new keys are valid. Nobody who uses the key checks it.
const NEW_CERTIFICATE_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Column master keys in a directory of certificates with their private keys.
///
/// It answers to `MSSQL_CERTIFICATE_STORE` unless [named](Self::named) otherwise, so that a database
/// whose keys were made in a Windows certificate store is read on a host without one: export the
/// certificate with its private key into the directory, and the key path stays as it is.
///
/// # Files
///
/// | extension | content |
/// |---|---|
/// | `.pfx`, `.p12` | PKCS#12: certificates and their keys, as Windows, OpenSSL and Java export them |
/// | `.pem`, `.crt`, `.cer`, `.key` | PEM or DER; all files of one stem belong together, and hold a certificate and its key |
///
/// Keys are RSA keys of 2048 bits or more, in PKCS#8, encrypted PKCS#8 (PBES2) or PKCS#1. A key
/// serves under a certificate if it is the certificate's; expiry, chain and usages are not checked,
/// as in Microsoft's drivers. Subdirectories and other files are not looked at. Files are at most
/// 1 MiB, and there are at most 4096 of them.
///
/// # Key paths
///
/// `CurrentUser/My/<thumbprint>`, `LocalMachine/My/<thumbprint>`, `My/<thumbprint>` or
/// `<thumbprint>`; case does not count, and neither does the location: one directory serves both.
///
/// # Changes
///
/// The directory is read when it is opened, and again whenever a thumbprint is asked for that is not
/// there, so new certificates need no restart. A file that was removed serves until the next
/// reading, or until [`rescan`](Self::rescan). A file that gives no key does not stop the others; it
/// is named, with the reason, when a key is not found.
///
/// # Example
///
/// ```
/// use always_encrypted::{
///     crypto::Cek,
///     keystore::{CertificateDirectory, KeyStoreProvider, RSA_OAEP, StoreLocation},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = CertificateDirectory::open(dir.path()).await?;
/// let key_path = store.create_cmk(StoreLocation::CurrentUser, "My master key").await?.to_string();
/// let envelope = store.wrap_cek(&key_path, RSA_OAEP, &Cek::generate()?).await?;
/// assert!(store.unwrap_cek(&key_path, RSA_OAEP, &envelope).await.is_ok());
/// # Ok(())
/// # }
/// ```
pub struct CertificateDirectory {
    name: String,
    files: Arc<Files>,
}

/// What the calls on the blocking pool share.
struct Files {
    dir: PathBuf,
    passwords: FilePasswords,
    index: RwLock<Arc<scan::Index>>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// Held while the directory is read: which reading, counted from 1, made the index.
    current: Mutex<u64>,
}

impl CertificateDirectory {
    /// Reads `dir`, whose files need no password.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or has too many files. What is wrong with single files is no
    /// error here; see [`skipped`](Self::skipped).
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, KeyStoreError> {
        Self::open_with(dir, FilePasswords::none()).await
    }

    /// Reads `dir` with passwords.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). A wrong password is no error here either.
    pub async fn open_with(
        dir: impl Into<PathBuf>,
        passwords: FilePasswords,
    ) -> Result<Self, KeyStoreError> {
        let files = Arc::new(Files {
            dir: dir.into(),
            passwords,
            index: RwLock::default(),
            begun: AtomicU64::new(0),
            current: Mutex::new(0),
        });
        let store = Self { name: MSSQL_CERTIFICATE_STORE.into(), files };
        store.rescan().await?;
        Ok(store)
    }

    /// Answers to another name. The name is part of CMK metadata signatures.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Reads the directory again: forgets keys whose files are gone, finds new ones.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); what was known before stays then.
    pub async fn rescan(&self) -> Result<(), KeyStoreError> {
        let files = Arc::clone(&self.files);
        local_key::blocking(&self.name, move || files.rescan()).await
    }

    /// The certificates that have a usable key, as of the last reading.
    #[must_use]
    pub fn thumbprints(&self) -> Vec<Thumbprint> {
        self.files.index().thumbprints()
    }

    /// The files that gave no key at the last reading, and why.
    #[must_use]
    pub fn skipped(&self) -> Arc<[UnusableKeyFile]> {
        self.files.index().skipped()
    }

    /// Makes a new master key of 2048 bits with a self-signed certificate, valid for ten years, and
    /// writes both into the directory.
    ///
    /// Returns the key path for `CREATE COLUMN MASTER KEY`. `location` is what the path says; use
    /// [`StoreLocation::CurrentUser`] if SqlClient is to read it outside of Windows too. The key's
    /// file is unencrypted, and on Unix for its owner only (mode 0600). Back it up: without it, what
    /// it encrypts is lost.
    ///
    /// # Errors
    ///
    /// A name that a certificate cannot hold, or a directory that cannot be written.
    pub async fn create_cmk(
        &self,
        location: StoreLocation,
        common_name: &str,
    ) -> Result<CertificateKeyPath, KeyStoreError> {
        let make = || Ok(Arc::new(CmkPrivateKey::generate(NEW_KEY_BITS)?));
        self.write_cmk(location, common_name, make).await
    }

    /// Writes `key` into the directory as [`create_cmk`](Self::create_cmk) does with a new one.
    ///
    /// # Errors
    ///
    /// As [`create_cmk`](Self::create_cmk).
    pub async fn import_cmk(
        &self,
        location: StoreLocation,
        common_name: &str,
        key: Arc<CmkPrivateKey>,
    ) -> Result<CertificateKeyPath, KeyStoreError> {
        self.write_cmk(location, common_name, || Ok(key)).await
    }

    async fn write_cmk(
        &self,
        location: StoreLocation,
        common_name: &str,
        make: impl FnOnce() -> Result<Arc<CmkPrivateKey>, KeyStoreError> + Send + 'static,
    ) -> Result<CertificateKeyPath, KeyStoreError> {
        let (files, common_name) = (Arc::clone(&self.files), common_name.to_owned());
        let work = move || {
            let key = make()?;
            let certificate =
                CmkCertificate::self_signed(&key, &common_name, NEW_CERTIFICATE_VALIDITY)?;
            let thumbprint = create::write_pair(&files.dir, &key, &certificate)?;
            files.rescan()?;
            Ok(CertificateKeyPath { location: Some(location), thumbprint })
        };
        local_key::blocking(&self.name, work).await
    }

    /// Finds the key of a path. Reads the directory again if it is not known.
    async fn key(&self, key_path: &str) -> Result<Arc<CmkPrivateKey>, KeyStoreError> {
        let parsed: CertificateKeyPath =
            key_path.parse().map_err(|e: CertificateKeyPathError| {
                KeyStoreError::InvalidKeyPath { key_path: key_path.into(), reason: e.to_string() }
            })?;
        // Before the look: a reading that begins after this one saw all that we could be missing.
        let begun = self.files.begun.load(Ordering::SeqCst);
        if let Some(key) = self.files.index().key(&parsed.thumbprint) {
            return Ok(key);
        }
        let files = Arc::clone(&self.files);
        local_key::blocking(&self.name, move || files.rescan_unless_newer_than(begun)).await?;
        let index = self.files.index();
        if let Some(key) = index.key(&parsed.thumbprint) {
            return Ok(key);
        }
        if let Some(file) = index.unusable(&parsed.thumbprint) {
            return Err(file.into());
        }
        let keys = index.thumbprints().len();
        Err(KeyStoreError::KeyNotFound {
            provider: self.name.clone(),
            key_path: key_path.into(),
            looked_in: format!("{} (usable keys there: {keys})", self.files.dir.display()),
            skipped: index.skipped(),
        })
    }
}

impl Files {
    fn index(&self) -> Arc<scan::Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn rescan(&self) -> Result<(), KeyStoreError> {
        self.rescan_unless_newer_than(u64::MAX)
    }

    /// Reads the directory, unless the index comes from a reading that began after the first
    /// `begun` ones: many callers that miss at once are served by one reading.
    fn rescan_unless_newer_than(&self, begun: u64) -> Result<(), KeyStoreError> {
        // A panic under this lock changes nothing: the index is put in place whole.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if *current > begun {
            return Ok(());
        }
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let index = scan::Index::read(&self.dir, &self.passwords, &self.index())?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        *current = this;
        Ok(())
    }
}

impl KeyStoreProvider for CertificateDirectory {
    fn name(&self) -> &str {
        &self.name
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        Box::pin(async move {
            local_key::check_algorithm(algorithm)?;
            // Nonsense should not make us read the disk.
            Envelope::parse(envelope)?;
            local_key::unwrap(&self.name, self.key(key_path).await?, envelope).await
        })
    }

    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            local_key::check_algorithm(algorithm)?;
            local_key::wrap(&self.name, self.key(key_path).await?, key_path, cek).await
        })
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            let key = self.key(key_path).await?;
            local_key::sign_metadata(&self.name, key, key_path, allow_enclave_computations).await
        })
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(async move {
            let key = self.key(key_path).await?;
            let allow = allow_enclave_computations;
            local_key::verify_metadata(&self.name, key, key_path, allow, signature).await
        })
    }
}

impl fmt::Debug for CertificateDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir: &Path = &self.files.dir;
        f.debug_struct("CertificateDirectory")
            .field("name", &self.name)
            .field("dir", &dir)
            .field("thumbprints", &self.thumbprints())
            .field("skipped", &self.skipped().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
