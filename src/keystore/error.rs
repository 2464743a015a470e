//! What can go wrong between an encrypted CEK and its key, and whose fault it is.

use std::{error::Error, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use crate::crypto::{CmkError, InvalidCekLength, InvalidEnvelope};

/// How many skipped files or registered names a message lists before it counts the rest.
const LISTED: usize = 8;

/// A key store that could not do what it was asked.
///
/// No variant holds a secret. Key paths and names that the server sent, and names of files, are shown
/// escaped, so that they cannot forge lines in a log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyStoreError {
    /// The column master key names a key store that this connector does not have. The database's
    /// administrator or the connector's configuration is at fault.
    #[error(
        "no key store provider is registered as {provider:?} (registered: {}); register one under \
         that name, any provider may take it",
        listed(registered)
    )]
    UnknownProvider {
        /// The name that the server sent.
        provider: String,
        /// The names that there are.
        registered: Vec<String>,
    },
    /// The key store has no key at this path. Install the key on this host.
    #[error(
        "{provider}: no column master key at path {key_path:?}; looked in {looked_in}{}; put the \
         certificate with its private key there",
        skipped_files(skipped)
    )]
    KeyNotFound {
        /// The key store.
        provider: String,
        /// The path that was asked for.
        key_path: String,
        /// Where the key store looked, in words.
        looked_in: String,
        /// Files that were there but could not be used, one of which may be the one you meant.
        skipped: Arc<[UnusableKeyFile]>,
    },
    /// The path is not one that this key store understands. Whoever defined the column master key
    /// is at fault.
    #[error("key path {key_path:?} is not valid: {reason}")]
    InvalidKeyPath {
        /// The path.
        key_path: String,
        /// What is wrong with it, and what it should look like.
        reason: String,
    },
    /// The path is longer than any that SQL Server stores (`KEY_PATH` of `CREATE COLUMN MASTER KEY` is
    /// an `nvarchar(4000)`). The server is at fault. No key store was asked.
    #[error(
        "a key path has at most {limit} characters, not {found}; SQL Server stores no longer one"
    )]
    KeyPathTooLong {
        /// How many UTF-16 code units it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The key's file is there and cannot be used.
    #[error(transparent)]
    UnusableKeyFile(#[from] UnusableKeyFile),
    /// A file or directory could not be read or written.
    #[error("{path:?}: {message}; check that it exists and that this account has access")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },
    /// The directory has more key files than a scan reads.
    #[error(
        "{path:?}: more than {limit} certificate and key files; give keys a directory of their own"
    )]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
        /// How many files a scan reads.
        limit: usize,
    },
    /// The CEK is wrapped by an algorithm that nobody defined. The server is at fault.
    #[error("column encryption keys are wrapped by RSA_OAEP; {found:?} is not supported")]
    UnsupportedAlgorithm {
        /// The algorithm's name as the server sent it.
        found: String,
    },
    /// The envelope does not open. Whoever wrote it into the database, or serves it, is at fault.
    #[error(transparent)]
    InvalidEnvelope(#[from] InvalidEnvelope),
    /// The master key does not serve as one, or its operation failed.
    #[error(transparent)]
    Cmk(#[from] CmkError),
    /// A certificate for a new master key could not be made.
    #[error("the certificate could not be made: {message}")]
    Certificate {
        /// What is in the way.
        message: String,
    },
    /// The key store is out of reach for now. Trying again later may help.
    #[error("{provider} is unavailable: {message}; try again later")]
    Unavailable {
        /// The key store.
        provider: String,
        /// What is in the way.
        message: String,
    },
    /// The provider panicked: a bug in it. Nothing was cached.
    #[error("the key store provider {provider:?} panicked; this is a bug in that provider")]
    Panicked {
        /// The key store.
        provider: String,
    },
    /// The operating system's key store refused.
    #[error("{provider}: {call} failed with {code:#010x}{}", advice(*code))]
    OperatingSystem {
        /// The key store.
        provider: String,
        /// The function of the operating system.
        call: &'static str,
        /// Its error code: an `HRESULT` or a Win32 error.
        code: u32,
    },
    /// The server may not name this master key. No key store was asked.
    #[error(transparent)]
    UntrustedKeyPath(#[from] UntrustedKeyPath),
    /// The provider did not answer in time, and its call was given up.
    #[error(
        "the key store provider {provider:?} did not answer within {limit:?}; see that the key store \
         can be reached, or raise KeyStoresBuilder::call_time_limit"
    )]
    TimedOut {
        /// The key store.
        provider: String,
        /// How long it was given.
        limit: Duration,
    },
    /// What the key store opened is no column encryption key. Whoever wrapped it, or the provider, is
    /// at fault.
    #[error(transparent)]
    InvalidCek(#[from] InvalidCekLength),
    /// The provider has no such operation.
    #[error("the key store provider {provider:?} cannot {operation}")]
    NotOffered {
        /// The key store.
        provider: String,
        /// What it was asked to do.
        operation: &'static str,
    },
    /// A new master key of a size that not every driver opens, or none.
    #[error("a new master key has 2048, 3072 or 4096 bits, not {bits}")]
    KeySize {
        /// The size that was asked for.
        bits: usize,
    },
    /// This provider signs the definitions of master keys for enclave computations only.
    #[error(
        "{provider} signs no definition of a master key without enclave computations; leave \
         ENCLAVE_COMPUTATIONS out of it"
    )]
    NoMetadataSignature {
        /// The key store.
        provider: String,
    },
    /// A PKCS#11 token, or a key in it, does not serve.
    #[cfg(feature = "pkcs11")]
    #[error(transparent)]
    Pkcs11(#[from] super::Pkcs11Error),
    /// A key in Azure Key Vault did not serve.
    #[cfg(feature = "azure-key-vault")]
    #[error(transparent)]
    AzureKeyVault(#[from] super::AzureKeyVaultError),
    /// What a provider from elsewhere reports.
    #[error(transparent)]
    Other(Arc<dyn Error + Send + Sync>),
}

impl KeyStoreError {
    /// Carries an error of a provider of your own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
    }

    pub(super) fn io(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Io { path: path.into(), kind: error.kind(), message: error.to_string() }
    }
}

/// A column master key that the server named and this client does not trust: see
/// [`TrustedKeyPaths`](crate::policy::TrustedKeyPaths). Either the list lacks the key, or the server
/// has named one of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} names the column master key {key_path:?} of the key store {provider:?}, which this client \
     does not trust; if the key is yours, add it: TrustedKeyPaths::at_server({:?}, \
     [({provider:?}, {key_path:?})])",
    server_in_words(server), .server.as_deref().unwrap_or("...")
)]
pub struct UntrustedKeyPath {
    /// The server, as the connection's settings name it.
    pub server: Option<String>,
    /// The key store that it named.
    pub provider: String,
    /// The path that it named.
    pub key_path: String,
}

fn server_in_words(server: &Option<String>) -> String {
    server.as_ref().map_or_else(|| "the server".to_owned(), |name| format!("the server {name:?}"))
}

/// A file of a certificate directory that gives no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?}: {problem}")]
pub struct UnusableKeyFile {
    /// The file, or the first file of a certificate and key that belong together.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: KeyFileProblem,
}

/// Why a file gives no key. The host's administrator can mend each of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// The password does not open it, or the file is damaged; the two cannot be told apart.
    #[error("the password does not open it, or it is damaged")]
    WrongPassword,
    /// It needs a password and none was configured for it.
    #[error("it needs a password and none is configured")]
    NoPassword,
    /// The file that holds the password could not be read.
    #[error("its password file cannot be read: {message}")]
    PasswordFile {
        /// The operating system's words.
        message: String,
    },
    /// There is a certificate and no private key to it.
    #[error(
        "it holds no private key; export the certificate with its private key, or put the key \
         beside it as a file of the same name that ends in .key"
    )]
    NoPrivateKey,
    /// There is a private key and no certificate, so it has no thumbprint to be found by.
    #[error("it holds no certificate, and keys are found by their certificate's thumbprint")]
    NoCertificate,
    /// The private key belongs to another certificate.
    #[error("the private key belongs to another certificate")]
    KeyMismatch,
    /// The key is not RSA; column master keys are.
    #[error("its key is not an RSA key; column master keys are RSA keys of 2048 bits or more")]
    NotRsa,
    /// The RSA key cannot serve as column master key.
    #[error(transparent)]
    Key(CmkError),
    /// The key is encrypted in OpenSSL's old PEM form, which derives its key with one round of MD5.
    #[error(
        "its key is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED); convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    OldEncryptedPem,
    /// It is larger than any such file.
    #[error("it is larger than {limit} bytes, which no certificate with its key is")]
    TooLarge {
        /// The largest file that is read.
        limit: u64,
    },
    /// It could not be read.
    #[error("it cannot be read: {message}")]
    Unreadable {
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },
    /// It is not what its name says, or uses an encoding that is not supported.
    #[error("it is not {expected} that can be read here{}", detail(message))]
    Malformed {
        /// What was expected there.
        expected: &'static str,
        /// The parser's words, if it has any.
        message: String,
    },
    /// It is a link that leads out of its directory, and is not followed.
    #[error(
        "it is a link to {target:?}, outside of the directory; put the file itself into the directory"
    )]
    LinkOutside {
        /// Where it leads.
        target: PathBuf,
    },
    /// Deriving the key from the password would take more time or memory than any tool asks for.
    #[error(
        "its key derivation asks for more work than is done for a key file; encrypt it anew, such \
         as with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    TooCostly,
    /// The key files of a directory ask together for more work than one reading of it does; those
    /// that were left out are for the next reading.
    #[error(
        "it was not opened: the files before it ask for as much key derivation as one reading of the \
         directory does, and it waits for the next; see that they are yours, and encrypt those anew \
         that ask for most, such as with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    ReadingTooCostly,
    /// It is encrypted, or has its MAC made, by an algorithm that is not supported: one that is broken,
    /// or that nothing is known to write.
    #[error(
        "it is protected by {algorithm}, which is not supported; protect it anew by PBES2, a key with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc`, a PKCS#12 file by exporting it with AES-256"
    )]
    UnsupportedEncryption {
        /// The algorithm's name, or its object identifier.
        algorithm: String,
    },
    /// The password is the file's, and does not open this key in it, or what the key lies in.
    #[error(
        "the file's password does not open this key in it; give both the same, in a JKS file with \
         `keytool -keypasswd`, in a PKCS#12 file by exporting the key again"
    )]
    KeyPassword,
}

/// None of the values of a column encryption key could be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CekError {
    /// The server named a key and sent no value of it. The server is at fault.
    #[error("the server sent no encrypted value of the column encryption key")]
    NoValues,
    /// Each value failed, for the reason that stands with it.
    #[error("the column encryption key could not be opened: {}", failures(.attempts))]
    NoneOpened {
        /// The values in the order in which they were tried; behind them those that are not trusted.
        attempts: Vec<FailedCekValue>,
    },
}

impl CekError {
    /// The same, with values that were not tried at all.
    pub(crate) fn and_refused(mut self, refused: Vec<FailedCekValue>) -> Self {
        if let Self::NoneOpened { attempts } = &mut self {
            attempts.extend(refused);
        }
        self
    }
}

/// One value of a column encryption key that did not open.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{provider:?} at {key_path:?}: {error}")]
pub struct FailedCekValue {
    /// The key store that the server named.
    pub provider: String,
    /// The path that the server named.
    pub key_path: String,
    /// Why it did not open.
    #[source]
    pub error: KeyStoreError,
}

/// A list in a message, cut to a length that a person reads.
struct Listed<'a, T>(&'a [T], &'static str);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().take(LISTED).enumerate() {
            if i > 0 {
                f.write_str(self.1)?;
            }
            write!(f, "{item}")?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, "{}and {more} more", self.1),
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { Listed(names, ", ").to_string() }
}

fn failures(attempts: &[FailedCekValue]) -> String {
    Listed(attempts, "; ").to_string()
}

fn skipped_files(skipped: &[UnusableKeyFile]) -> String {
    if skipped.is_empty() { String::new() } else { format!("; skipped {}", Listed(skipped, "; ")) }
}

/// What to do about the codes that operators meet: NTE_PERM, ERROR_ACCESS_DENIED, NTE_SILENT_CONTEXT,
/// NTE_UI_REQUIRED.
fn advice(code: u32) -> &'static str {
    match code {
        0x8009_0010 | 5 | 0x8007_0005 => "; give this account access to the private key",
        0x8009_0022 | 0x8009_002E => {
            "; the key asks a person to confirm its use, which a service cannot"
        }
        _ => "",
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_forges_no_line_of_a_log() {
        let path = || PathBuf::from("a.pfx\n12:00 INFO all is well \u{1b}[2K");
        let unusable =
            |problem| KeyStoreError::UnusableKeyFile(UnusableKeyFile { path: path(), problem });
        let skipped = UnusableKeyFile { path: path(), problem: KeyFileProblem::NotRsa };
        for error in [
            KeyStoreError::io(path(), &io::Error::from(io::ErrorKind::NotFound)),
            KeyStoreError::TooManyFiles { path: path(), limit: 1 },
            unusable(KeyFileProblem::NoPassword),
            unusable(KeyFileProblem::LinkOutside { target: path() }),
            KeyStoreError::KeyNotFound {
                provider: "STORE".into(),
                key_path: "k".into(),
                looked_in: "a folder".into(),
                skipped: Arc::new([skipped]),
            },
        ] {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(text.contains(r"a.pfx\n12:00"), "{text:?} does not tell the file");
        }
    }
}
