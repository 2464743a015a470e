//! The key path of a master key in Azure Key Vault, and the vaults that a path may name.
//!
//! The path comes from the database server and decides where a token goes, so nothing here is
//! lenient: what a URL parser would repair, decode or ignore is refused.

use std::{fmt, str::FromStr};

/// The domains of Azure Key Vault and Managed HSM in all clouds: Azure, China, US Government, the
/// former German cloud, and the sovereign clouds of France and Germany.
///
/// Source: the lists of Microsoft.Data.SqlClient's and the JDBC driver's providers.
pub const AZURE_KEY_VAULT_DOMAINS: [&str; 12] = [
    "vault.azure.net",
    "vault.azure.cn",
    "vault.usgovcloudapi.net",
    "vault.microsoftazure.de",
    "vault.sovcloud-api.fr",
    "vault.sovcloud-api.de",
    "managedhsm.azure.net",
    "managedhsm.azure.cn",
    "managedhsm.usgovcloudapi.net",
    "managedhsm.microsoftazure.de",
    "managedhsm.sovcloud-api.fr",
    "managedhsm.sovcloud-api.de",
];

/// The longest names of a DNS host, of a key, and of a version with room to spare (there are 32 hex
/// digits in it).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 127;
const MAX_VERSION: usize = 64;

/// A key path in its parts: `https://<host>/keys/<name>`, or `https://<host>/keys/<name>/<version>`.
///
/// Case does not count, neither to Azure nor here; all parts are kept in lower case. Reading one does
/// not say that the host is a vault: [`AzureKeyVault`](super::AzureKeyVault) does, when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AzureKeyPath {
    host: String,
    name: String,
    version: Option<String>,
}

/// Why a key path is none of Azure Key Vault's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureKeyPathError {
    /// It is no `https` URL.
    #[error("it does not begin with https://; {EXPECTED}")]
    NotHttps,
    /// The host is no plain DNS name.
    #[error(
        "its host is not a plain DNS name (no port, user name, escapes, trailing dot or letters \
         beyond ASCII); {EXPECTED}"
    )]
    InvalidHost,
    /// What follows the host is no key.
    #[error("what follows its host is not /keys/<name> or /keys/<name>/<version>; {EXPECTED}")]
    NotAKey,
    /// The name has characters that a key cannot have, or too many.
    #[error("the name of a key has 1 to {MAX_NAME} letters, digits and hyphens; {EXPECTED}")]
    InvalidName,
    /// The version has characters that no version has, or too many.
    #[error("the version of a key has letters and digits only; {EXPECTED}")]
    InvalidVersion,
}

const EXPECTED: &str = "a path looks like https://contoso.vault.azure.net/keys/name/version";

impl AzureKeyPath {
    /// The vault's or HSM's host name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the key, unless the path means whichever is current.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The same key in this version.
    pub(super) fn with_version(&self, version: &str) -> Self {
        Self { version: Some(version.to_ascii_lowercase()), ..self.clone() }
    }

    /// The path of a key that is yet to be.
    pub(super) fn of(host: &str, name: &str) -> Result<Self, AzureKeyPathError> {
        let host = parse_host(host)?;
        Ok(Self { host, name: parse_name(name)?, version: None })
    }
}

impl FromStr for AzureKeyPath {
    type Err = AzureKeyPathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let rest = match path.split_at_checked("https://".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https://") => rest,
            _ => return Err(AzureKeyPathError::NotHttps),
        };
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let host = parse_host(host)?;
        // SqlClient does not mind one slash at the end.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut segments = rest.split('/');
        match segments.next() {
            Some(keys) if keys.eq_ignore_ascii_case("keys") => {}
            _ => return Err(AzureKeyPathError::NotAKey),
        }
        let name = parse_name(segments.next().ok_or(AzureKeyPathError::NotAKey)?)?;
        let version = segments.next().map(parse_version).transpose()?;
        match segments.next() {
            None => Ok(Self { host, name, version }),
            Some(_) => Err(AzureKeyPathError::NotAKey),
        }
    }
}

impl fmt::Display for AzureKeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/keys/{}", self.host, self.name)?;
        match &self.version {
            Some(version) => write!(f, "/{version}"),
            None => Ok(()),
        }
    }
}

/// Two labels at least, so that no address and no single name passes.
pub(super) fn parse_host(host: &str) -> Result<String, AzureKeyPathError> {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
            // What letters beyond ASCII become; no vault has them.
            && !label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
    };
    // A last label of digits would make an IPv4 address of it.
    let last_is_name =
        host.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()));
    let is_name = host.len() <= MAX_HOST && host.contains('.') && host.split('.').all(is_label);
    if is_name && last_is_name {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(AzureKeyPathError::InvalidHost)
    }
}

fn parse_name(name: &str) -> Result<String, AzureKeyPathError> {
    let fits = (1..=MAX_NAME).contains(&name.len());
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(AzureKeyPathError::InvalidName)
    }
}

fn parse_version(version: &str) -> Result<String, AzureKeyPathError> {
    let fits = (1..=MAX_VERSION).contains(&version.len());
    if fits && version.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(version.to_ascii_lowercase())
    } else {
        Err(AzureKeyPathError::InvalidVersion)
    }
}

/// The vaults that may be asked.
#[derive(Debug)]
pub(super) enum TrustedVaults {
    /// Every host beneath one of these domains.
    Beneath(Vec<String>),
    /// These hosts.
    Named(Vec<String>),
}

impl TrustedVaults {
    /// Says in words why not, if the host is not one of them.
    pub(super) fn check(&self, host: &str) -> Result<(), String> {
        match self {
            Self::Beneath(domains) if domains.iter().any(|domain| is_beneath(host, domain)) => {
                Ok(())
            }
            Self::Beneath(domains) => Err(format!(
                "{host} is no vault of Azure's, so no token goes there; vaults lie beneath {}, and \
                 AzureKeyVaultBuilder::domain adds a domain",
                domains.join(", ")
            )),
            Self::Named(hosts) if hosts.iter().any(|named| named == host) => Ok(()),
            Self::Named(hosts) => Err(format!(
                "this program asks no vault but {}, and {host} is another",
                hosts.join(", ")
            )),
        }
    }
}

/// With a dot between: `evilvault.azure.net` does not lie beneath `vault.azure.net`.
fn is_beneath(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).is_some_and(|s| !s.is_empty())
}

#[cfg(test)]
mod tests;
