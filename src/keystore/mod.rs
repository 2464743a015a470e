//! Key stores: where column master keys live and how column encryption keys are opened with them.
//!
//! This layer owns the [`KeyStoreProvider`] trait, the registry and CEK cache of one connector
//! ([`KeyStores`]), and the providers. It leaves the cryptography to [`crate::crypto`] and the
//! question which key paths a server may name to the session above.
//!
//! # Providers
//!
//! | provider | name | keys |
//! |---|---|---|
//! | [`CertificateDirectory`] | `MSSQL_CERTIFICATE_STORE`, or another | PFX and PEM files in a directory, by thumbprint |
//! | `JavaKeyStore`, feature `java-keystore` | `MSSQL_JAVA_KEYSTORE` | a JKS or PKCS#12 file, by alias |
//! | [`InMemoryKeyStore`] | your own | keys that the program hands over |
//! | [`FnKeyStore`] | your own | wherever your closures find them |
//! | [`KeyStoreProvider`] | your own | the trait behind them; [`other_vaults`] says what AWS KMS and HashiCorp Vault can do for it |
//! | `Pkcs11KeyStore`, feature `pkcs11` | `PKCS11`, or your own | RSA keys in an HSM, by `pkcs11:` URI or label |
//! | `AzureKeyVault`, feature `azure-key-vault` | `AZURE_KEY_VAULT` | keys in Azure Key Vault and Managed HSM, which do not leave it |
//! | `WindowsKeyStore`, feature `windows-key-stores`, on Windows | `MSSQL_CERTIFICATE_STORE`, `MSSQL_CNG_STORE`, `MSSQL_CSP_PROVIDER` | what Windows keeps, which does not leave it |
//!
//! SQL Server names a provider in every column master key; the registry finds it by that name,
//! without regard to ASCII case. Any name may be registered, `MSSQL_…` too, so that a database that
//! was set up on Windows works unchanged where there is no Windows certificate store. Three names also
//! decide which signatures are made and read, because Microsoft's providers of those names differ
//! ([`SignatureForm`](crate::crypto::SignatureForm)): `MSSQL_CNG_STORE` and `MSSQL_CSP_PROVIDER` in
//! envelopes, `MSSQL_JAVA_KEYSTORE` in definitions of master keys.
//!
//! # From the server's words to a key for cells
//!
//! ```
//! use always_encrypted::{
//!     crypto::{Cek, CmkPrivateKey},
//!     keystore::{EncryptedCekValue, InMemoryKeyStore, KeyStoreProvider, KeyStores, RSA_OAEP},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cmk = CmkPrivateKey::generate(2048)?;
//! let store = InMemoryKeyStore::new("MY_STORE").with_key("keys/1", cmk);
//! let envelope = store.wrap_cek("keys/1", RSA_OAEP, &Cek::generate()?).await?;
//!
//! let key_stores = KeyStores::builder().provider(store).build()?;
//! let value = EncryptedCekValue {
//!     envelope,
//!     provider_name: "MY_STORE".into(),
//!     key_path: "keys/1".into(),
//!     algorithm: RSA_OAEP.into(),
//! };
//! let first = key_stores.cell_key(&[value.clone()]).await?;
//! let second = key_stores.cell_key(&[value]).await?;
//! assert!(std::sync::Arc::ptr_eq(&first, &second));
//! assert_eq!(key_stores.statistics().unwraps, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`KeyStores`] says what happens when a key store is slow or down, and how long keys stay.
//!
//! # To watch it
//!
//! [`KeyStores::statistics`] counts. With the cargo feature `tracing` there are events of the target
//! `always_encrypted::keystore`, with the provider and the path of the key, escaped, and never a key
//! or an envelope:
//!
//! | event | level | also says |
//! |---|---|---|
//! | found in the cache | trace | |
//! | not in the cache | debug | |
//! | unwrapped | debug | how long the call took |
//! | not unwrapped | warn | how long the call took, the error |
//! | renewed ahead of its expiry | debug | that the call has been begun |
//! | purged | debug | how many keys |

#[cfg(feature = "azure-key-vault")]
mod azure_key_vault;
mod cache;
mod certificate_directory;
mod closures;
mod error;
mod events;
mod flight;
#[cfg(feature = "java-keystore")]
mod java_key_store;
mod key_file;
mod key_finder;
mod local_key;
mod master_key;
mod memory;
pub mod other_vaults;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod registry;
mod signature_forms;
mod signatures;
#[cfg(any(test, all(windows, feature = "windows-key-stores")))]
mod windows;

use std::pin::Pin;

use crate::crypto::Cek;
pub use crate::tds::EncryptedCekValue;

#[cfg(feature = "azure-key-vault")]
pub use azure_key_vault::{
    AZURE_KEY_VAULT, AZURE_KEY_VAULT_DOMAINS, AzureKeyPath, AzureKeyPathError, AzureKeyVault,
    AzureKeyVaultBuilder, AzureKeyVaultError, AzureKeyVaultProblem, DEFAULT_VAULT_CALL_TIMEOUT,
    DEFAULT_VAULT_KEY_TTL, VaultOperation,
};
pub use cache::CekCacheStatistics;
pub use certificate_directory::{
    CertificateDirectory, CertificateKeyPath, CertificateKeyPathError, InvalidThumbprint, NewCmk,
    NewKeyFile, StoreLocation, Thumbprint,
};
pub use closures::FnKeyStore;
pub use error::{
    CekError, FailedCekValue, KeyFileProblem, KeyStoreError, UntrustedKeyPath, UnusableKeyFile,
};
#[cfg(feature = "java-keystore")]
pub use java_key_store::JavaKeyStore;
pub use key_file::{CmkCertificate, FilePasswords, KeyFileWarning};
pub use memory::InMemoryKeyStore;
#[cfg(feature = "pkcs11")]
pub use pkcs11::{PKCS11, Pkcs11Error, Pkcs11KeyStore, Pkcs11KeyStoreBuilder, TokenPin};
pub use registry::{
    BuildError, DEFAULT_CALL_TIME_LIMIT, DEFAULT_CEK_CACHE_CAPACITY, DEFAULT_CEK_CACHE_TTL,
    DEFAULT_FAILURE_PAUSE, KeyStores, KeyStoresBuilder,
};

#[cfg(all(windows, feature = "windows-key-stores"))]
pub use windows::WindowsKeyStore;

/// The one algorithm that wraps column encryption keys: RSAES-OAEP with SHA-1. Its name is compared
/// without regard to case.
pub const RSA_OAEP: &str = "RSA_OAEP";

/// The name of SqlClient's provider for the certificate stores of Windows.
pub const MSSQL_CERTIFICATE_STORE: &str = "MSSQL_CERTIFICATE_STORE";

/// The name of SqlClient's provider for CNG, whose key paths are `<CNG provider>/<key>`. Here any
/// provider serves it that has the keys: [`CertificateDirectory::with_alias`], [`InMemoryKeyStore`].
pub const MSSQL_CNG_STORE: &str = "MSSQL_CNG_STORE";

/// The name of SqlClient's provider for CSPs, whose key paths are `<CSP>/<container>`. Here any
/// provider serves it that has the keys: [`CertificateDirectory::with_alias`], [`InMemoryKeyStore`].
pub const MSSQL_CSP_PROVIDER: &str = "MSSQL_CSP_PROVIDER";

/// The name of the JDBC driver's provider for Java key stores, whose key paths are aliases.
pub const MSSQL_JAVA_KEYSTORE: &str = "MSSQL_JAVA_KEYSTORE";

/// A boxed future, so that providers are trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that keeps column master keys and works with them without giving them out.
///
/// The key path and the envelope come from the database server, which is not trusted: check both
/// before anything expensive or secret touches them. [`Envelope`](crate::crypto::Envelope) does so
/// for envelopes. Neither may block the executor's threads.
///
/// Dropping a returned future cancels the call. The registry drops that of
/// [`unwrap_cek`](Self::unwrap_cek) after its time limit
/// ([`KeyStoresBuilder::call_time_limit`], a minute); a provider that goes over a network does well to
/// set shorter ones of its own, whose errors can say more. A panic is an error of that call alone.
pub trait KeyStoreProvider: Send + Sync + 'static {
    /// The name that column master keys carry, such as `MSSQL_CERTIFICATE_STORE`. It must not
    /// change while the provider is in use.
    fn name(&self) -> &str;

    /// Opens `envelope` with the master key at `key_path`, after checking its signature.
    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>>;

    /// Wraps `cek` with the master key at `key_path` and returns the envelope: what goes into
    /// `ENCRYPTED_VALUE = 0x…` of `CREATE COLUMN ENCRYPTION KEY`.
    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>>;

    /// Signs the definition of the master key at `key_path`: what goes into
    /// `ENCLAVE_COMPUTATIONS (SIGNATURE = 0x…)` of `CREATE COLUMN MASTER KEY`.
    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>>;

    /// Whether `signature` is that of the master key at `key_path` over its definition. An error
    /// means that the question could not be answered, not that the signature is wrong.
    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>>;
}
