//! What a vault can refuse, and what there is to do about it.

use std::{error::Error as StdError, fmt, iter::successors};

/// A key in Azure Key Vault that did not serve.
///
/// What may pass by itself (the vault cannot be reached, is overloaded, or took too long) is
/// [`KeyStoreError::Unavailable`](crate::keystore::KeyStoreError::Unavailable) instead. The service's
/// own words are shown escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct AzureKeyVaultError {
    /// The key's path, its version included as far as it is known.
    pub key: String,
    /// What is in the way.
    pub problem: AzureKeyVaultProblem,
}

/// Why a key in Azure Key Vault did not serve. Whoever administers the vault or the program's
/// identity can mend each of them, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureKeyVaultProblem {
    /// The credential gave no token. Mend the program's identity, or how the program signs in.
    #[error("the credential gave no token for the vault: {message}")]
    NoToken {
        /// The credential's words.
        message: String,
    },
    /// The vault refused the token, and a new one too.
    #[error(
        "the vault refused the credential's token, and a new one too (401: {message}); check that \
         the credential signs in to the tenant that the vault belongs to"
    )]
    Unauthenticated {
        /// The service's words.
        message: String,
    },
    /// There is no trusted TLS connection to the vault.
    #[error(
        "no trusted TLS connection to the vault: {message}; if a proxy opens TLS on the way, put its \
         certificate among those of the operating system, or give it to the builder"
    )]
    Tls {
        /// What rustls says.
        message: String,
    },
    /// The identity lacks a permission.
    #[error(
        "the program's identity may not {operation} (403{}: {message}); opening column encryption \
         keys needs the key permissions get and unwrapKey, creating them sign, too: the role \"Key \
         Vault Crypto User\" (\"Managed HSM Crypto User\" in an HSM), or \"Key Vault Crypto \
         Officer\" to create keys",
        and_code(code)
    )]
    Forbidden {
        /// What was asked for.
        operation: VaultOperation,
        /// The service's code, such as `ForbiddenByRbac`.
        code: Option<String>,
        /// The service's words.
        message: String,
    },
    /// The vault does not let this host's address in.
    #[error(
        "the vault's firewall does not let this host in (403, {code}: {message}); allow its \
         address or network, or use the vault's private endpoint"
    )]
    Firewall {
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// There is no such key, or no such version of it.
    #[error(
        "the vault has no such key or no such version of it (404: {message}); if it was deleted, \
         `az keyvault key recover` brings it back within the vault's retention period"
    )]
    NotFound {
        /// The service's words.
        message: String,
    },
    /// The key is disabled.
    #[error(
        "the key is disabled; `az keyvault key set-attributes --enabled true` enables it, which \
         whoever disabled it may not want"
    )]
    Disabled,
    /// The key is not valid at this time. Keys beyond their dates still unwrap; they do not sign.
    #[error("the key is not valid yet or has expired, and so does not {operation}")]
    OutsideValidity {
        /// What was asked for.
        operation: VaultOperation,
    },
    /// The key's own list of operations lacks this one.
    #[error(
        "the key's permitted operations do not include {operation}; `az keyvault key \
         set-attributes --ops` sets them"
    )]
    OperationNotPermitted {
        /// What was asked for.
        operation: VaultOperation,
    },
    /// It is another kind of key. Whoever defined the column master key is at fault.
    #[error("it is a key of type {kty}; column master keys are RSA or RSA-HSM")]
    NotRsa {
        /// The type.
        kty: String,
    },
    /// The envelope is not of the key's current version, and the path names no version.
    ///
    /// Either the key was rotated in the vault, or somebody changed the envelope; the two cannot be
    /// told apart, for an envelope does not say which version made it.
    #[error(
        "the path names no version, and the encrypted value of the column encryption key was not \
         made by the current one, {current}; if the key was rotated in the vault, define the column \
         master key with the path of the version that made it, and rotate it in the database, too; \
         key paths should name a version"
    )]
    Rotated {
        /// The current version.
        current: String,
    },
    /// The vault refused for another reason.
    #[error("the vault refused to {operation} ({status}{}: {message})", and_code(code))]
    Refused {
        /// What was asked for.
        operation: VaultOperation,
        /// The HTTP status.
        status: u16,
        /// The service's code.
        code: Option<String>,
        /// The service's words.
        message: String,
    },
    /// The vault's answer makes no sense. The service, or what stands between, is at fault.
    #[error("the answer to {operation} makes no sense: {message}")]
    UnexpectedAnswer {
        /// What was asked for.
        operation: VaultOperation,
        /// What is wrong with it.
        message: String,
    },
}

impl AzureKeyVaultProblem {
    pub(super) fn is_rotation(&self) -> bool {
        matches!(self, Self::Rotated { .. })
    }
}

/// An operation of a vault, by the name that permissions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultOperation {
    /// Read the public half of a key.
    Get,
    /// Open a wrapped key.
    UnwrapKey,
    /// Sign a digest.
    Sign,
    /// Create a key.
    Create,
}

impl fmt::Display for VaultOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::UnwrapKey => "unwrapKey",
            Self::Sign => "sign",
            Self::Create => "create",
        })
    }
}

fn and_code(code: &Option<String>) -> String {
    code.as_ref().map(|code| format!(", {code}")).unwrap_or_default()
}

/// What azure_core's retries wrap around an error, and says nothing of it.
const OF_RETRIES: [&str; 2] = [
    "non-transport error occurred which will not be retried",
    "retry policy expired and the request will no longer be retried",
];

/// An error and what is behind it, in one line.
pub(super) fn reasons(error: &azure_core::Error) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for error in chain(error) {
        let reason = error.to_string();
        let said = reasons.last().is_some_and(|last| last.contains(&reason));
        if !said && !OF_RETRIES.contains(&reason.as_str()) {
            reasons.push(reason);
        }
    }
    words(&reasons.join(": "))
}

/// What is behind an error, if it is a `T`.
pub(super) fn behind<T: StdError + 'static>(error: &azure_core::Error) -> Option<&T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain(error: &azure_core::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    successors(Some(error as &(dyn StdError + 'static)), |&error| error.source())
}

/// Words from outside in one line of a length that a person reads.
pub(super) fn words(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut out = String::new();
    for c in text.trim().chars() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        if c.is_control() { out.push(' ') } else { out.push(c) }
    }
    out
}
