//! The settings of [`AzureKeyVault`].

use super::*;
use super::{key_path::parse_host, transport::Https};

/// Settings of an [`AzureKeyVault`]: see [`AzureKeyVault::builder`].
#[must_use]
pub struct AzureKeyVaultBuilder {
    /// Its `Debug` is its own affair, so ours leaves it out.
    credential: Arc<dyn TokenCredential>,
    domains: Vec<String>,
    vaults: Vec<String>,
    roots: Vec<String>,
    addresses: Vec<(String, SocketAddr)>,
    call_timeout: Duration,
    key_ttl: Duration,
    transport: Option<Transport>,
}

impl AzureKeyVaultBuilder {
    pub(super) fn new(credential: Arc<dyn TokenCredential>) -> Self {
        Self {
            credential,
            domains: AZURE_KEY_VAULT_DOMAINS.map(str::to_owned).to_vec(),
            vaults: Vec::new(),
            roots: Vec::new(),
            addresses: Vec::new(),
            call_timeout: DEFAULT_VAULT_CALL_TIMEOUT,
            key_ttl: DEFAULT_VAULT_KEY_TTL,
            transport: None,
        }
    }

    /// Asks these vaults only, each a host name such as `contoso.vault.azure.net`. Key paths of others
    /// are refused. The names may lie beneath any domain.
    pub fn vaults(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.vaults.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Takes hosts beneath `domain` for vaults, too: a cloud that is not among
    /// [`AZURE_KEY_VAULT_DOMAINS`], such as an Azure Stack Hub of your own
    /// (`vault.region.example.com`).
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domains.push(domain.into());
        self
    }

    /// Trusts the certificates in `pem` beside those of the operating system: the authority of an
    /// Azure Stack Hub, or of a proxy that opens TLS.
    pub fn root_certificate(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Connects to `address` for the vault at `host`, as a line in `/etc/hosts` would have it: a
    /// private endpoint whose DNS zone this host does not see. Proxies of the environment are then
    /// not used. The certificate must still be the host's.
    pub fn address(mut self, host: impl Into<String>, address: SocketAddr) -> Self {
        self.addresses.push((host.into().to_ascii_lowercase(), address));
        self
    }

    /// How long a call may take, its requests, pauses and retries together; 20 seconds unless set.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// How long the public half of a key is believed, and with it which version a path without one
    /// means; an hour unless set.
    pub fn key_ttl(mut self, ttl: Duration) -> Self {
        self.key_ttl = ttl;
        self
    }

    /// In place of HTTPS, where time is to pass as the test says, and for the fuzz target.
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Reads the operating system's certificates; sends nothing.
    ///
    /// # Errors
    ///
    /// A vault, domain or certificate that is none, or an operating system without any trusted
    /// certificate.
    pub fn build(self) -> Result<AzureKeyVault, KeyStoreError> {
        let host = |name: &String| {
            parse_host(name).map_err(|e| KeyStoreError::InvalidKeyPath {
                key_path: name.clone(),
                reason: e.to_string(),
            })
        };
        let hosts = |names: &[String]| names.iter().map(host).collect::<Result<Vec<_>, _>>();
        let trusted = if self.vaults.is_empty() {
            TrustedVaults::Beneath(hosts(&self.domains)?)
        } else {
            TrustedVaults::Named(hosts(&self.vaults)?)
        };
        let transport = match self.transport {
            Some(transport) => transport,
            None => Transport::new(Arc::new(Https::new(&self.roots, &self.addresses)?)),
        };
        Ok(AzureKeyVault {
            credential: self.credential,
            transport,
            trusted,
            call_timeout: self.call_timeout,
            key_ttl: self.key_ttl,
            vaults: Mutex::default(),
        })
    }
}

impl fmt::Debug for AzureKeyVaultBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKeyVaultBuilder")
            .field("domains", &self.domains)
            .field("vaults", &self.vaults)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
