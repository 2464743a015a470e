//! A key store whose master keys are in Azure Key Vault or Managed HSM.
//!
//! Owns the requests to vaults and what is known of their keys. What a public key can do is done
//! here, so a vault is asked for a key once, and then to unwrap or to sign.

mod builder;
mod call;
mod error;
mod key_path;
mod transport;
mod vault;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::{credentials::TokenCredential, http::Transport};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    BoxFuture, KeyStoreError, KeyStoreProvider,
    key_finder::check_algorithm,
    master_key::{self, MasterKey},
};
use crate::crypto::{Cek, CmkError, CmkPublicKey, Envelope, InvalidEnvelope, MIN_MODULUS_BITS};

pub use builder::AzureKeyVaultBuilder;
use call::Call;
pub use error::{AzureKeyVaultError, AzureKeyVaultProblem, VaultOperation};
use key_path::TrustedVaults;
pub use key_path::{AZURE_KEY_VAULT_DOMAINS, AzureKeyPath, AzureKeyPathError};
use vault::{FetchedKey, Vault};

/// The name of SqlClient's provider for Azure Key Vault.
pub const AZURE_KEY_VAULT: &str = "AZURE_KEY_VAULT";

/// How long a call of the provider may take by default, its requests, pauses and retries together:
/// less than the 30 seconds for which tiberius waits for an answer.
pub const DEFAULT_VAULT_CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the public half of a key is believed by default.
pub const DEFAULT_VAULT_KEY_TTL: Duration = Duration::from_secs(60 * 60);

/// The vault's name for the algorithm, which SqlClient takes in place of the server's, too.
const RSA_OAEP_IN_VAULTS: &str = "RSA-OAEP";

/// An envelope that is not of the current version has the key asked for anew, unless the answer would
/// be younger than this.
const FRESH: Duration = Duration::from_secs(30);

/// Vaults are named by the server; a program has a handful.
const MOST_VAULTS: usize = 16;

/// Column master keys in Azure Key Vault and Managed HSM, as SqlClient's, JDBC's and ODBC's provider of
/// this name keeps them. A database that was set up with any of them, or with SQL Server Management
/// Studio, works unchanged.
///
/// It needs the cargo feature `azure-key-vault`. The private key never leaves the vault: the vault
/// unwraps column encryption keys and signs envelopes. Signatures are checked here, with the public
/// half, so one unwrapped key costs one request, beside one per hour for the public half, however many
/// ask for it at once.
///
/// It was run against a stand-in of the vault's REST interface, over HTTPS, that checks what the
/// service is documented to check; never against the live service.
///
/// # Credentials
///
/// Any [`TokenCredential`] of `azure_core` 1 will do: those of the crate `azure_identity` (managed
/// identity, workload identity, client secret or certificate, developer tools), or your own.
///
/// ```no_run
/// use always_encrypted::keystore::{AzureKeyVault, KeyStores};
/// # mod azure_identity {
/// #     use azure_core::credentials::TokenCredential;
/// #     pub struct ManagedIdentityCredential;
/// #     impl ManagedIdentityCredential {
/// #         pub fn new(_: Option<()>) -> azure_core::Result<std::sync::Arc<dyn TokenCredential>> {
/// #             unimplemented!()
/// #         }
/// #     }
/// # }
/// use azure_identity::ManagedIdentityCredential;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let credential = ManagedIdentityCredential::new(None)?;
/// let keys = KeyStores::builder().provider(AzureKeyVault::new(credential)?).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Key paths
///
/// `https://<vault>/keys/<name>/<version>`, such as
/// `https://contoso.vault.azure.net/keys/cmk/0123456789abcdef0123456789abcdef`. **Name the version.**
/// A path without one means whichever version is current. An envelope does not say which version made
/// it, so after a rotation in the vault the old ones do not open any more, here as in SqlClient and
/// JDBC; here the error says so ([`AzureKeyVaultProblem::Rotated`]). To rotate, create a version,
/// define a second column master key with its path, and have each column encryption key encrypted
/// by both for as long as it takes.
///
/// The path comes from the server, and a token is sent where it says. So a path is taken apart
/// strictly (no ports, user names, escapes, or letters beyond ASCII), and its host must lie beneath
/// one of [`AZURE_KEY_VAULT_DOMAINS`]. A server that is not to be believed could still name another
/// customer's vault: [`AzureKeyVaultBuilder::vaults`] says which there are, and so does
/// [`policy::TrustedKeyPaths`](crate::policy::TrustedKeyPaths).
///
/// # Setting up
///
/// ```text
/// az keyvault create --name contoso --resource-group rg --enable-rbac-authorization true
/// az keyvault key create --vault-name contoso --name cmk --kty RSA --size 2048
/// az role assignment create --role "Key Vault Crypto User" --assignee <identity> \
///     --scope $(az keyvault show --name contoso --query id --output tsv)
/// az keyvault key show --vault-name contoso --name cmk --query key.kid --output tsv
/// ```
///
/// The last one prints the path for `KEY_PATH` of `CREATE COLUMN MASTER KEY`, as
/// [`create_cmk`](Self::create_cmk) returns it.
///
/// | who | key permissions | role |
/// |---|---|---|
/// | applications | get, unwrapKey | Key Vault Crypto User |
/// | who creates or rotates column encryption keys | and sign | Key Vault Crypto User |
/// | who creates master keys | and create | Key Vault Crypto Officer |
///
/// Other drivers need verify and wrapKey, too, which this one does for itself.
///
/// # What can go wrong
///
/// | | what happens |
/// |---|---|
/// | 429, 5xx, no connection | up to five more tries, with growing pauses or those that the vault asks for, within the time limit; then [`KeyStoreError::Unavailable`] |
/// | 429 that asks for a longer pause than there is time | [`KeyStoreError::Unavailable`] at once |
/// | no result in time | [`KeyStoreError::Unavailable`]; see [`AzureKeyVaultBuilder::call_timeout`] |
/// | 401 | a new token, once; then [`AzureKeyVaultProblem::Unauthenticated`] |
/// | 403 | [`Forbidden`](AzureKeyVaultProblem::Forbidden), [`Firewall`](AzureKeyVaultProblem::Firewall), [`Disabled`](AzureKeyVaultProblem::Disabled), [`OutsideValidity`](AzureKeyVaultProblem::OutsideValidity) or [`OperationNotPermitted`](AzureKeyVaultProblem::OperationNotPermitted) |
/// | 404 | [`AzureKeyVaultProblem::NotFound`] |
/// | a key that has expired | still unwraps, and does not sign: what is encrypted stays readable |
///
/// No failure is cached. Vaults limit requests (2,000 in 10 seconds for a vault's HSM keys of 2048
/// bits): the CEK cache of [`KeyStores`](super::KeyStores) keeps well below that.
///
/// An unwrapped key comes as JSON through the HTTP client's buffers, which nobody wipes; what this
/// crate makes of it is wiped.
pub struct AzureKeyVault {
    credential: Arc<dyn TokenCredential>,
    transport: Transport,
    trusted: TrustedVaults,
    call_timeout: Duration,
    key_ttl: Duration,
    /// By host.
    vaults: Mutex<HashMap<String, Arc<Vault>>>,
}

impl AzureKeyVault {
    /// A provider for the vaults of all clouds, with the defaults of [`AzureKeyVaultBuilder`].
    ///
    /// # Errors
    ///
    /// The operating system has no trusted certificates.
    pub fn new(credential: Arc<dyn TokenCredential>) -> Result<Self, KeyStoreError> {
        Self::builder(credential).build()
    }

    /// A provider with settings of its own.
    pub fn builder(credential: Arc<dyn TokenCredential>) -> AzureKeyVaultBuilder {
        AzureKeyVaultBuilder::new(credential)
    }

    /// Creates an RSA key of `bits` bits in the vault at `host` (`contoso.vault.azure.net`) and returns
    /// its path, with its version. `hsm` has it made and kept in hardware, which takes a premium
    /// vault or a Managed HSM.
    ///
    /// If there is a key of that name, this makes a new version of it.
    ///
    /// # Errors
    ///
    /// A host or name that is none, fewer than 2048 bits, or what [`AzureKeyVault`] lists.
    pub async fn create_cmk(
        &self,
        host: &str,
        name: &str,
        bits: usize,
        hsm: bool,
    ) -> Result<AzureKeyPath, KeyStoreError> {
        if bits < MIN_MODULUS_BITS {
            return Err(CmkError::ModulusTooSmall { bits }.into());
        }
        let bits = i32::try_from(bits).map_err(|_| CmkError::NotAnRsaPublicKey)?;
        let invalid = |reason: String| KeyStoreError::InvalidKeyPath {
            key_path: format!("https://{host}/keys/{name}"),
            reason,
        };
        let path = AzureKeyPath::of(host, name).map_err(|e| invalid(e.to_string()))?;
        self.trusted.check(path.host()).map_err(invalid)?;
        let (vault, call) = (self.vault(path.host())?, Call::new(self.call_timeout));
        let key = call.limit(vault.create(&path, bits, hsm, &call)).await?;
        Ok(key.path.clone())
    }

    /// Takes the path apart and finds its vault, before any request.
    fn locate(&self, key_path: &str) -> Result<(AzureKeyPath, Arc<Vault>), KeyStoreError> {
        let invalid =
            |reason: String| KeyStoreError::InvalidKeyPath { key_path: key_path.into(), reason };
        let path: AzureKeyPath =
            key_path.parse().map_err(|e: AzureKeyPathError| invalid(e.to_string()))?;
        self.trusted.check(path.host()).map_err(invalid)?;
        let vault = self.vault(path.host())?;
        Ok((path, vault))
    }

    fn vault(&self, host: &str) -> Result<Arc<Vault>, KeyStoreError> {
        let mut vaults = self.vaults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = vaults.get(host) {
            return Ok(Arc::clone(vault));
        }
        if vaults.len() >= MOST_VAULTS {
            // Nothing is lost but a few requests, and no honest server gets here.
            vaults.clear();
        }
        let credential = Arc::clone(&self.credential);
        let vault = Vault::new(host, credential, self.transport.clone(), self.key_ttl)?;
        let vault = Arc::new(vault);
        vaults.insert(host.to_owned(), Arc::clone(&vault));
        Ok(vault)
    }

    /// Runs `work` with the key at `key_path`, within the time limit. A path without a version means
    /// the version of an hour ago at worst, or if `current`, that of a moment ago.
    async fn with_key<T>(
        &self,
        key_path: &str,
        current: bool,
        work: impl AsyncFnOnce(VaultKey<'_>) -> Result<T, KeyStoreError>,
    ) -> Result<T, KeyStoreError> {
        let (path, vault) = self.locate(key_path)?;
        let call = Call::new(self.call_timeout);
        let all = async {
            let fresh = current && path.version().is_none();
            let max_age = if fresh { FRESH } else { self.key_ttl };
            let key = vault.key(&path, max_age, &call).await?;
            work(VaultKey { vault: &vault, path: &path, key, call: &call }).await
        };
        let outcome = call.limit(all).await;
        match &outcome {
            // The key itself is in order.
            Err(KeyStoreError::AzureKeyVault(error)) if error.problem.is_rotation() => {}
            // It may have been deleted, disabled or made anew.
            Err(KeyStoreError::AzureKeyVault(_)) => vault.forget(&path),
            _ => {}
        }
        outcome
    }
}

/// A key of a vault for the length of a call.
struct VaultKey<'a> {
    vault: &'a Vault,
    /// As the server named it.
    path: &'a AzureKeyPath,
    key: Arc<FetchedKey>,
    call: &'a Call,
}

impl VaultKey<'_> {
    /// Unwraps, and if the envelope is not this key's, says why that may be.
    async fn unwrap(&mut self, envelope: &[u8]) -> Result<Cek, KeyStoreError> {
        let outcome = master_key::unwrap(AZURE_KEY_VAULT, self, envelope).await;
        if !(self.path.version().is_none() && outcome.as_ref().is_err_and(is_another_keys)) {
            return outcome;
        }
        // What we hold may be the version before the one that made the envelope.
        if self.key.age() >= FRESH {
            let key = self.vault.key(self.path, FRESH, self.call).await?;
            if key.version != self.key.version {
                self.key = key;
                let outcome = master_key::unwrap(AZURE_KEY_VAULT, self, envelope).await;
                if !outcome.as_ref().is_err_and(is_another_keys) {
                    return outcome;
                }
            }
        }
        Err(AzureKeyVaultProblem::Rotated { current: self.key.version.clone() }.of(self.path))
    }
}

fn is_another_keys(error: &KeyStoreError) -> bool {
    matches!(
        error,
        KeyStoreError::InvalidEnvelope(
            InvalidEnvelope::Signature | InvalidEnvelope::CiphertextLength { .. }
        )
    )
}

impl MasterKey for VaultKey<'_> {
    fn public_key(&self) -> Arc<CmkPublicKey> {
        Arc::clone(&self.key.public)
    }

    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>> {
        Box::pin(self.vault.unwrap_key(&self.key, ciphertext, self.call))
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(
            async move { self.vault.sign(&self.key, &Sha256::digest(message), self.call).await },
        )
    }
}

fn check_vault_algorithm(algorithm: &str) -> Result<(), KeyStoreError> {
    if algorithm.eq_ignore_ascii_case(RSA_OAEP_IN_VAULTS) {
        return Ok(());
    }
    check_algorithm(algorithm)
}

impl KeyStoreProvider for AzureKeyVault {
    fn name(&self) -> &str {
        AZURE_KEY_VAULT
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        Box::pin(async move {
            check_vault_algorithm(algorithm)?;
            // Nonsense should not cost the vault a request.
            Envelope::parse(envelope)?;
            self.with_key(key_path, false, async |mut key| key.unwrap(envelope).await).await
        })
    }

    /// Writes the path in lower case into the envelope, as SqlClient's provider does.
    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            check_vault_algorithm(algorithm)?;
            let written = key_path.to_lowercase();
            self.with_key(key_path, true, async |key| {
                master_key::wrap(AZURE_KEY_VAULT, &key, &written, cek).await
            })
            .await
        })
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(self.with_key(key_path, true, async move |key| {
            let allow = allow_enclave_computations;
            master_key::sign_metadata(AZURE_KEY_VAULT, &key, key_path, allow).await
        }))
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(self.with_key(key_path, true, async move |key| {
            let allow = allow_enclave_computations;
            master_key::verify_metadata(AZURE_KEY_VAULT, &key, key_path, allow, signature).await
        }))
    }
}

impl fmt::Debug for AzureKeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKeyVault").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
