//! A key store that is a directory of certificates with their private keys.
//!
//! Owns the files: which there are, what is in them, and the key of a key path. Serves what Windows
//! keeps in its certificate stores to hosts that have none.

mod contents;
mod create;
mod key_path;
mod scan;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync, time::Instant};

use super::{
    FilePasswords, KeyFileWarning, KeyStoreError, MSSQL_CERTIFICATE_STORE, UnusableKeyFile,
    key_file::{ReadingBudget, Warnings},
    key_finder::{KeyFinder, provider_by_key},
    local_key::{self, LocalKey},
};
use crate::crypto::CmkPrivateKey;

pub use create::{NewCmk, NewKeyFile};
pub use key_path::{
    CertificateKeyPath, CertificateKeyPathError, InvalidThumbprint, StoreLocation, Thumbprint,
};

/// How many readings unknown key paths may cause in a row, and how soon after that each next one.
const READINGS_IN_A_ROW: u32 = 8;
const READING_INTERVAL: Duration = Duration::from_secs(1);

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
/// PKCS#12 may be encrypted by PBES2 or by its own 3DES and RC2-40, with a MAC of SHA-1 or SHA-2, by
/// RFC 7292 or RFC 9579 (PBMAC1), or without one. Keys are RSA keys of 2048 bits or more, in PKCS#8,
/// encrypted PKCS#8 (PBES2 of AES or 3DES, PBKDF2 or scrypt; PKCS#12's 3DES and RC2-40) or PKCS#1. What
/// is protected otherwise, such as by MD5 and DES, is named with the way out
/// ([`KeyFileProblem::UnsupportedEncryption`](super::KeyFileProblem::UnsupportedEncryption)). A key serves under a certificate if it is the certificate's; chain and
/// usages are not checked, and neither is expiry, as in Microsoft's drivers. Subdirectories and
/// other files are not looked at. Files are at most 1 MiB, and there are at most 4096 of them; keys have
/// at most 8192 bits. All files of a stem have at most 256 keys and certificates, and derivations worth
/// four million rounds of PBKDF2 for a block of its output. One reading of the directory does sixteen
/// times as much, about a minute's work, parsing keys and finding their certificates not counted; what is
/// left then is for the next reading
/// ([`KeyFileProblem::ReadingTooCostly`](super::KeyFileProblem::ReadingTooCostly)).
///
/// A PKCS#12 file without a password has the empty one or null, which in that format are two; where
/// none is configured, or the empty one, both are tried, as Windows, .NET and OpenSSL do. .NET's
/// `Export(X509ContentType.Pfx)` writes null. Each attempt may cost what a file may. A file without MAC
/// is read, as by those: nothing but its permissions says who made it then.
///
/// # Who uses it, and how it is set up
///
/// Services on Linux and in containers whose database was set up from Windows: export the
/// certificate there with `Export-PfxCertificate`, mount it into a directory of its own that belongs
/// to the service's account (mode 0700, files 0600 or 0400), and give its password as a file beside
/// it ([`FilePasswords::in_file`]). Those who begin without Windows let
/// [`create_cmk`](Self::create_cmk) make a key.
///
/// # Key paths
///
/// `CurrentUser/My/<thumbprint>`, `LocalMachine/My/<thumbprint>`, `My/<thumbprint>` or
/// `<thumbprint>`; case does not count, and neither does the location: one directory serves both.
/// Any other path is one if it is [mapped](Self::with_alias) to a certificate. So keys of SqlClient's
/// CNG and CSP providers are served, once they are exported as certificates:
///
/// ```
/// # use always_encrypted::keystore::{CertificateDirectory, MSSQL_CNG_STORE, StoreLocation};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let store = CertificateDirectory::open(dir.path()).await?;
/// # let thumbprint = store.create_cmk(StoreLocation::CurrentUser, "CNG").await?.thumbprint;
/// let store = CertificateDirectory::open(dir.path())
///     .await?
///     .named(MSSQL_CNG_STORE)
///     .with_alias("Microsoft Software Key Storage Provider/MyKey", thumbprint);
/// # Ok(())
/// # }
/// ```
///
/// Under [`MSSQL_CNG_STORE`](super::MSSQL_CNG_STORE) and
/// [`MSSQL_CSP_PROVIDER`](super::MSSQL_CSP_PROVIDER) envelopes are written with the signature that
/// those providers of SqlClient make
/// ([`SignatureForm::OverDigest`](crate::crypto::SignatureForm::OverDigest)), and read with both.
///
/// # Permissions
///
/// Keys are only as safe as their files. A key or password file that every account can read, or that
/// others can write, is a [warning](Self::warnings) for the program to show; so are an expired
/// certificate, one that two files hold, and a PKCS#12 file without MAC although there is a password
/// for it: the password says nothing of who made that file. A link that leads out of the directory is not followed:
/// whoever may place one could otherwise have any file of the account's read and named.
///
/// # Changes
///
/// The directory is read when it is opened, and again whenever a thumbprint is asked for that is not
/// there, so new certificates need no restart. Since the server decides how often that happens, such
/// readings are limited to one a second after the first few, and a file that has not changed is not
/// unlocked again, whether it gave a key or not. A file that was removed serves until the next
/// reading, or until [`rescan`](Self::rescan).
///
/// # What can go wrong
///
/// A file that gives no key does not stop the others; it is [named](Self::skipped), with the reason
/// and the remedy ([`KeyFileProblem`](super::KeyFileProblem)), when a key is not found. A certificate
/// whose key is of no use is told from one that is not there.
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
    /// Other key paths than thumbprints, in lower case.
    aliases: HashMap<String, Thumbprint>,
    files: Arc<Files>,
}

/// What the calls on the blocking pool share.
struct Files {
    dir: PathBuf,
    passwords: FilePasswords,
    index: RwLock<Arc<scan::Index>>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// Held while the directory is read: which reading, counted from 1, made the index. Callers wait
    /// for it in async code: the blocking pool is everybody's, and a server that names unknown keys
    /// could otherwise fill it with those who wait for one slow reading.
    current: Arc<sync::Mutex<u64>>,
    /// How many readings unknown key paths may still cause.
    allowance: Mutex<Allowance>,
    warnings: Warnings,
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
            current: Arc::default(),
            allowance: Mutex::new(Allowance { left: READINGS_IN_A_ROW, counted: Instant::now() }),
            warnings: Warnings::default(),
        });
        let name = MSSQL_CERTIFICATE_STORE.into();
        let store = Self { name, aliases: HashMap::new(), files };
        store.rescan().await?;
        Ok(store)
    }

    /// Answers to another name. The name is part of CMK metadata signatures.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Serves the certificate under `key_path` too, whatever that looks like. ASCII case does not
    /// count.
    #[must_use]
    pub fn with_alias(mut self, key_path: impl Into<String>, thumbprint: Thumbprint) -> Self {
        self.aliases.insert(key_path.into().to_ascii_lowercase(), thumbprint);
        self
    }

    /// Calls `hook` for each [warning](Self::warnings) that there is, and for each new one after a
    /// reading. It is called on a thread that may block, but holds up who asked for a key.
    #[must_use]
    pub fn on_warning(self, hook: impl Fn(&KeyFileWarning) + Send + Sync + 'static) -> Self {
        self.files.warnings.on_warning(Arc::new(hook));
        self
    }

    /// Reads the directory again: forgets keys whose files are gone, finds new ones.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); what was known before stays then.
    pub async fn rescan(&self) -> Result<(), KeyStoreError> {
        self.files.rescan_unless_newer_than(&self.name, u64::MAX).await
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

    /// What is unwise about the files, as of the last reading: the keys serve all the same. At most
    /// 256, and one that says how many more there are.
    #[must_use]
    pub fn warnings(&self) -> Arc<[KeyFileWarning]> {
        self.files.warnings.current()
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
        self.create_cmk_as(NewCmk::new(common_name).location(location)).await
    }

    /// Makes a new master key and writes it into the directory as `new` says: of other sizes, as a
    /// PFX file.
    ///
    /// Files are made whole or not at all, for their owner only (mode 0600), and never over others.
    /// A PFX file gets the password that the directory has for it, so that the key serves at once.
    ///
    /// # Errors
    ///
    /// As [`create_cmk`](Self::create_cmk); [`KeyStoreError::KeySize`] for other sizes than 2048,
    /// 3072 and 4096 bits; [`KeyStoreError::UnusableKeyFile`] for a PFX file if there is no password
    /// for it.
    pub async fn create_cmk_as(&self, new: NewCmk) -> Result<CertificateKeyPath, KeyStoreError> {
        new.check_bits()?;
        let make = {
            let bits = new.bits;
            move || Ok(Arc::new(CmkPrivateKey::generate(bits)?))
        };
        self.write_cmk(new, make).await
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
        self.write_cmk(NewCmk::new(common_name).location(location), || Ok(key)).await
    }

    async fn write_cmk(
        &self,
        new: NewCmk,
        make: impl FnOnce() -> Result<Arc<CmkPrivateKey>, KeyStoreError> + Send + 'static,
    ) -> Result<CertificateKeyPath, KeyStoreError> {
        let files = Arc::clone(&self.files);
        let location = new.location;
        let write = move || new.write(&files.dir, &files.passwords, &*make()?);
        let thumbprint = local_key::blocking(&self.name, write).await?;
        self.rescan().await?;
        Ok(CertificateKeyPath { location: Some(location), thumbprint })
    }

    fn thumbprint(&self, key_path: &str) -> Result<Thumbprint, KeyStoreError> {
        if let Some(thumbprint) = self.aliases.get(&key_path.to_ascii_lowercase()) {
            return Ok(*thumbprint);
        }
        key_path.parse().map(|path: CertificateKeyPath| path.thumbprint).map_err(|e| {
            let reason = format!("{e}; other paths are to be mapped to a certificate first");
            KeyStoreError::InvalidKeyPath { key_path: key_path.into(), reason }
        })
    }
}

/// Readings that unknown key paths may cause: a few in a row, then one in an interval.
struct Allowance {
    left: u32,
    /// Up to when time has been turned into readings.
    counted: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        let earned = (passed / READING_INTERVAL.as_secs_f64()) as u32;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(READINGS_IN_A_ROW);
            self.counted = now;
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

impl Files {
    fn index(&self) -> Arc<scan::Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn may_read(&self) -> bool {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }

    /// Waits for the reading that is under way, if there is one: it may find what is missing.
    async fn await_reading(&self) {
        drop(self.current.lock().await);
    }

    /// Reads the directory, unless the index comes from a reading that began after the first
    /// `begun` ones: many callers that miss at once are served by one reading.
    async fn rescan_unless_newer_than(
        self: &Arc<Self>,
        provider: &str,
        begun: u64,
    ) -> Result<(), KeyStoreError> {
        let mut current = Arc::clone(&self.current).lock_owned().await;
        if *current > begun {
            return Ok(());
        }
        let files = Arc::clone(self);
        // The guard goes along, so that a caller who gives up does not let a second reading begin.
        local_key::blocking(provider, move || files.read(&mut current)).await
    }

    /// Reads the directory, and notes in `current` which reading that was. A panic of the reading
    /// changes nothing: the index is put in place whole. It is there before anybody is told of
    /// warnings, so that keys do not wait for that, and are there if the program's hook panics.
    fn read(&self, current: &mut u64) -> Result<(), KeyStoreError> {
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut index =
            scan::Index::read(&self.dir, &self.passwords, &self.index(), ReadingBudget::default())?;
        let warnings = index.take_warnings();
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
        *current = this;
        self.warnings.replace(warnings);
        Ok(())
    }
}

impl KeyFinder for CertificateDirectory {
    type Key<'s> = LocalKey<'s>;

    fn provider_name(&self) -> &str {
        &self.name
    }

    /// Reads the directory again if the key is not known.
    async fn key(&self, key_path: &str) -> Result<LocalKey<'_>, KeyStoreError> {
        let thumbprint = self.thumbprint(key_path)?;
        let found = |key| Ok(LocalKey { provider: &self.name, key });
        // Before the look: a reading that begins after this one saw all that we could be missing.
        let begun = self.files.begun.load(Ordering::SeqCst);
        if let Some(key) = self.files.index().key(&thumbprint) {
            return found(key);
        }
        if self.files.may_read() {
            self.files.rescan_unless_newer_than(&self.name, begun).await?;
        } else {
            self.files.await_reading().await;
        }
        let index = self.files.index();
        if let Some(key) = index.key(&thumbprint) {
            return found(key);
        }
        if let Some(file) = index.unusable(&thumbprint) {
            return Err(file.into());
        }
        let keys = index.thumbprints().len();
        Err(KeyStoreError::KeyNotFound {
            provider: self.name.clone(),
            key_path: key_path.into(),
            looked_in: format!("{:?} (usable keys there: {keys})", self.files.dir),
            skipped: index.skipped(),
        })
    }
}

provider_by_key!(CertificateDirectory);

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
