//! A key store that is a Java key store: a JKS or PKCS#12 file whose keys are found by alias.
//!
//! Owns the file: whether it has changed, and the key of an alias. Serves what Microsoft's JDBC
//! driver keeps in it.

mod entries;

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    CmkCertificate, FilePasswords, KeyFileProblem, KeyFileWarning, KeyStoreError,
    MSSQL_JAVA_KEYSTORE, UnusableKeyFile,
    key_file::{Found, Links, OpenFile, PasswordState, Stamp, Warnings, exposure, pkcs12, write},
    key_finder::{KeyFinder, provider_by_key},
    local_key::{self, LocalKey},
};
use crate::crypto::CmkPrivateKey;

use entries::Entries;

/// How long the certificate of a new key is valid. Nobody who uses the key checks it.
const VALIDITY: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Column master keys in a Java key store, as the JDBC driver's
/// `SQLServerColumnEncryptionJavaKeyStoreProvider` uses them. Its name is `MSSQL_JAVA_KEYSTORE`.
///
/// # Who uses it, and how it is set up
///
/// Services that share encrypted columns with Java applications: they get a copy of the key store
/// file that those have, or the same mount.
///
/// ```text
/// keytool -genkeypair -alias messages -keyalg RSA -keysize 2048 -dname CN=messages -validity 3650 \
///     -storetype PKCS12 -keystore keys.p12 -storepass …
/// ```
///
/// ```sql
/// CREATE COLUMN MASTER KEY Messages
///     WITH (KEY_STORE_PROVIDER_NAME = 'MSSQL_JAVA_KEYSTORE', KEY_PATH = 'messages')
/// ```
///
/// JKS and PKCS#12 are told apart by their first bytes; JCEKS is not read, which JDBC does not
/// either. As there, one password opens the store and each key in it. Whoever has no `keytool` lets
/// [`create`](Self::create) write a PKCS#12 file.
///
/// # Key paths
///
/// The alias of a key, whose case does not count, as for Java. Envelopes carry it in lower case, as
/// JDBC writes them.
///
/// # Signatures
///
/// Envelopes have the usual one. Definitions of master keys are signed as JDBC signs them
/// ([`SignatureForm::OverDigest`](crate::crypto::SignatureForm::OverDigest)), and both forms are
/// believed. Like JDBC it signs none that does not allow enclave computations, and holds none of
/// those for true.
///
/// # Permissions
///
/// Give the file mode 0600 or 0400: JKS protects its keys by nothing but one round of SHA-1 over
/// password and salt, so whoever reads the file may well guess the password. A PKCS#12 file without MAC
/// is read, as by Java, but its password says nothing of who made it. What is unwise is a
/// [warning](Self::warnings).
///
/// # Changes
///
/// The file's size, times and inode are looked at whenever a key is asked for. If they have changed,
/// it is read again; if not, it is not, whether it could be read or not.
///
/// # What can go wrong
///
/// A file that cannot be read or opened is [`KeyStoreError::UnusableKeyFile`] with the reason and the
/// remedy, and so is a key that is of no use (its own password, not RSA, too short), which does not
/// keep others from serving. An alias that is not there is [`KeyStoreError::KeyNotFound`], with the
/// aliases that are.
pub struct JavaKeyStore {
    source: Arc<Source>,
}

/// Where the keys come from.
struct Source {
    /// `None` for a key store that was handed over.
    file: Option<File>,
    /// Whose turn it is to look at the file, and to read it. Waited for in async code: the blocking
    /// pool is everybody's, and one slow reading should not fill it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Never held while the file is read.
    loaded: Mutex<Loaded>,
    warnings: Warnings,
}

struct File {
    path: PathBuf,
    passwords: FilePasswords,
}

/// What was read of the file, and what would have to change for it to be read again.
struct Loaded {
    stamp: Option<Stamp>,
    passwords: PasswordState,
    outcome: Result<Arc<Entries>, KeyFileProblem>,
    /// How often it has been read.
    #[cfg_attr(not(test), allow(dead_code))]
    times: u64,
}

impl JavaKeyStore {
    /// Reads the key store at `path`.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError::UnusableKeyFile`] if it cannot be read or opened. What is wrong with single
    /// keys is no error here; see [`skipped`](Self::skipped).
    pub async fn open(
        path: impl Into<PathBuf>,
        passwords: FilePasswords,
    ) -> Result<Self, KeyStoreError> {
        let file = File { path: path.into(), passwords };
        let source = local_key::blocking(MSSQL_JAVA_KEYSTORE, move || {
            let (loaded, warnings) = file.load(Stamp::of(&file.path), 0);
            let source = Source {
                file: Some(file),
                turn: Arc::default(),
                loaded: Mutex::new(loaded),
                warnings: Warnings::default(),
            };
            source.warnings.replace(warnings);
            source.entries()?;
            Ok(Arc::new(source))
        });
        Ok(Self { source: source.await? })
    }

    /// Takes a key store that is in memory, out of a secret manager for example.
    ///
    /// Derives keys and checks RSA keys: some hundred milliseconds that do not belong on an
    /// executor's thread.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8], password: &str) -> Result<Self, KeyStoreError> {
        let path = PathBuf::from("key store in memory");
        let entries = guarded(|| Entries::read(&path, bytes, &FilePasswords::same(password)))
            .map_err(|problem| UnusableKeyFile { path, problem })?;
        let (warnings, mut found) = (Warnings::default(), Found::default());
        found.extend(entries.warnings());
        warnings.replace(found);
        let loaded = Loaded {
            stamp: None,
            passwords: PasswordState::Fixed,
            outcome: Ok(Arc::new(entries)),
            times: 1,
        };
        let (turn, loaded) = (Arc::default(), Mutex::new(loaded));
        Ok(Self { source: Arc::new(Source { file: None, turn, loaded, warnings }) })
    }

    /// Makes a new master key of 2048, 3072 or 4096 bits under `alias`, with a self-signed
    /// certificate valid for ten years, in a new PKCS#12 file at `path`, and opens it.
    ///
    /// The file is made whole or not at all, for its owner only (mode 0600), and never over another.
    /// Its password is what `passwords` says for it.
    ///
    /// # Errors
    ///
    /// An alias that no certificate's common name can be, another size, no password, a file that is
    /// there or cannot be made.
    pub async fn create(
        path: impl Into<PathBuf>,
        passwords: FilePasswords,
        alias: &str,
        bits: usize,
    ) -> Result<Self, KeyStoreError> {
        if !matches!(bits, 2048 | 3072 | 4096) {
            return Err(KeyStoreError::KeySize { bits });
        }
        let (path, alias) = (path.into(), alias.to_lowercase());
        let (file, with) = (path.clone(), passwords.clone());
        local_key::blocking(MSSQL_JAVA_KEYSTORE, move || {
            let password = with.of(&file).and_then(|p| p.ok_or(KeyFileProblem::NoPassword));
            let password =
                password.map_err(|problem| UnusableKeyFile { path: file.clone(), problem })?;
            let key = CmkPrivateKey::generate(bits)?;
            let certificate = CmkCertificate::self_signed(&key, &alias, VALIDITY)?;
            write::new_file(&file, &pkcs12::encode(&alias, &key, &certificate, &password)?)
        })
        .await?;
        Self::open(path, passwords).await
    }

    /// The aliases that have a usable key, as of the last reading.
    #[must_use]
    pub fn aliases(&self) -> Vec<String> {
        self.source.last().map(|entries| entries.aliases()).unwrap_or_default()
    }

    /// The aliases whose key is of no use, and why, as of the last reading.
    #[must_use]
    pub fn skipped(&self) -> Vec<(String, KeyFileProblem)> {
        self.source.last().map(|entries| entries.skipped()).unwrap_or_default()
    }

    /// What is unwise about the file, as of the last reading: the keys serve all the same.
    #[must_use]
    pub fn warnings(&self) -> Arc<[KeyFileWarning]> {
        self.source.warnings.current()
    }

    /// Calls `hook` for each [warning](Self::warnings) that there is, and for each new one after a
    /// reading. It is called on a thread that may block, but holds up who asked for a key.
    #[must_use]
    pub fn on_warning(self, hook: impl Fn(&KeyFileWarning) + Send + Sync + 'static) -> Self {
        self.source.warnings.on_warning(Arc::new(hook));
        self
    }
}

impl File {
    /// Reads the file, which had that stamp before it was opened.
    fn load(&self, stamp: Option<Stamp>, times: u64) -> (Loaded, Found) {
        let passwords = self.passwords.state(&self.path);
        let mut warnings = Found::default();
        warnings.extend(self.passwords.exposure());
        let opened = OpenFile::at(&self.path, Links::Follow);
        let stamp = match &opened {
            Ok(file) => {
                warnings.extend(exposure(&self.path, file.metadata()));
                Some(Stamp::from(file.metadata()))
            }
            Err(_) => stamp,
        };
        let read = || Entries::read(&self.path, &opened?.read()?, &self.passwords);
        let outcome = guarded(read);
        if let Ok(entries) = &outcome {
            warnings.extend(entries.warnings());
        }
        (Loaded { stamp, passwords, outcome: outcome.map(Arc::new), times: times + 1 }, warnings)
    }
}

/// Reads a key store. As for certificates: the parsers are other people's.
fn guarded(
    read: impl FnOnce() -> Result<Entries, KeyFileProblem>,
) -> Result<Entries, KeyFileProblem> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let message = "the parser failed".into();
        Err(KeyFileProblem::Malformed { expected: "a Java key store", message })
    })
}

impl Source {
    fn path(&self) -> &Path {
        self.file.as_ref().map_or(Path::new("the memory of this process"), |file| &file.path)
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys as of the last reading, if it found any.
    fn last(&self) -> Option<Arc<Entries>> {
        self.loaded().outcome.clone().ok()
    }

    /// The keys, read anew if the file or the source of its password has changed. Whoever calls it
    /// has the turn, so that many that ask at once are served by one reading.
    fn entries(&self) -> Result<Arc<Entries>, KeyStoreError> {
        if let Some(file) = &self.file {
            let (known, passwords, failed, times) = {
                let loaded = self.loaded();
                let failed = loaded.outcome.as_ref().err().cloned();
                (loaded.stamp.clone(), loaded.passwords.clone(), failed, loaded.times)
            };
            let stamp = Stamp::of(&file.path);
            let retry = match failed {
                None => false,
                // Costs an open call only, and what is in the way may not show in the stamp.
                Some(KeyFileProblem::Unreadable { .. }) => true,
                Some(_) => passwords != file.passwords.state(&file.path),
            };
            if retry || stamp != known {
                let (read, warnings) = file.load(stamp, times);
                *self.loaded() = read;
                self.warnings.replace(warnings);
            }
        }
        let outcome = self.loaded().outcome.clone();
        outcome.map_err(|problem| UnusableKeyFile { path: self.path().into(), problem }.into())
    }
}

impl KeyFinder for JavaKeyStore {
    type Key<'s> = LocalKey<'s>;

    fn provider_name(&self) -> &str {
        MSSQL_JAVA_KEYSTORE
    }

    /// Looks whether the file has changed.
    async fn key(&self, key_path: &str) -> Result<LocalKey<'_>, KeyStoreError> {
        if key_path.trim().is_empty() {
            return Err(KeyStoreError::InvalidKeyPath {
                key_path: key_path.into(),
                reason: "it is empty; expected the alias of a key".into(),
            });
        }
        let source = Arc::clone(&self.source);
        let turn = Arc::clone(&source.turn).lock_owned().await;
        let entries = local_key::blocking(MSSQL_JAVA_KEYSTORE, move || {
            // Goes along, so that a caller who gives up does not let a second reading begin.
            let _turn = turn;
            source.entries()
        });
        let entries = entries.await?;
        match entries.key(key_path) {
            Some(Ok(key)) => Ok(LocalKey { provider: MSSQL_JAVA_KEYSTORE, key }),
            Some(Err(problem)) => {
                Err(UnusableKeyFile { path: self.source.path().into(), problem }.into())
            }
            None => Err(KeyStoreError::KeyNotFound {
                provider: MSSQL_JAVA_KEYSTORE.into(),
                key_path: key_path.into(),
                looked_in: format!("{:?} ({})", self.source.path(), entries.summary()),
                skipped: Arc::default(),
            }),
        }
    }

    fn written_path<'p>(&self, key_path: &'p str) -> Cow<'p, str> {
        key_path.to_lowercase().into()
    }

    fn check_definition(&self, allow_enclave_computations: bool) -> Result<(), KeyStoreError> {
        if allow_enclave_computations {
            return Ok(());
        }
        Err(KeyStoreError::NoMetadataSignature { provider: MSSQL_JAVA_KEYSTORE.into() })
    }
}

provider_by_key!(JavaKeyStore);

impl fmt::Debug for JavaKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JavaKeyStore")
            .field("path", &self.source.path())
            .field("aliases", &self.aliases())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
