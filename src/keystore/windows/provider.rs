//! The provider: which key a path names, and what Windows does with it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    key_path::ProviderAndKey,
    native::{Failure, Key},
};
use crate::{
    crypto::{CmkPublicKey, InvalidEnvelope},
    keystore::{
        BoxFuture, CertificateKeyPath, KeyStoreError, MSSQL_CERTIFICATE_STORE, MSSQL_CNG_STORE,
        MSSQL_CSP_PROVIDER, StoreLocation,
        key_finder::{KeyFinder, provider_by_key},
        local_key::blocking,
        master_key::MasterKey,
    },
};

/// Column master keys that Windows keeps: in a certificate store, a CNG key storage provider or a
/// cryptographic service provider (CSP). Hardware modules come with one of the last two.
///
/// | made by | provider name | key path |
/// |---|---|---|
/// | [`certificates`](Self::certificates) | `MSSQL_CERTIFICATE_STORE` | `CurrentUser/My/<thumbprint>`, `LocalMachine/My/<thumbprint>`; without a location, the local machine |
/// | [`cng`](Self::cng) | `MSSQL_CNG_STORE` | `<key storage provider>/<key name>` |
/// | [`csp`](Self::csp) | `MSSQL_CSP_PROVIDER` | `<CSP>/<container>` |
///
/// Names and paths are SqlClient's, so a database that its tools set up is read as it is. The private
/// key does not leave Windows: it is asked to decrypt and to sign, nothing else.
///
/// # Set-up and permissions
///
/// The account of the process needs read access to the private key: in the certificate dialog, *All
/// Tasks, Manage Private Keys*. Certificates of `CurrentUser` are those of that account, which for a
/// service is not yours. Expiry and chain are not checked, as in SqlClient.
///
/// # What it does not do
///
/// * Ask a person: a key that wants a PIN or a confirmation at each use fails at once.
/// * CMK metadata signatures with CNG and CSP keys, as in SqlClient.
///
/// # How far it was tested
///
/// It is compiled and linted for `x86_64-pc-windows-gnu`. It has not been run on Windows.
#[derive(Clone, Debug)]
pub struct WindowsKeyStore {
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificates,
    Cng,
    Csp,
}

impl Kind {
    fn provider_name(self) -> &'static str {
        match self {
            Self::Certificates => MSSQL_CERTIFICATE_STORE,
            Self::Cng => MSSQL_CNG_STORE,
            Self::Csp => MSSQL_CSP_PROVIDER,
        }
    }
}

impl WindowsKeyStore {
    /// Certificates with private keys in the stores `My` of the user and of the machine.
    #[must_use]
    pub fn certificates() -> Self {
        Self { kind: Kind::Certificates }
    }

    /// Keys of CNG key storage providers, such as `Microsoft Software Key Storage Provider`.
    #[must_use]
    pub fn cng() -> Self {
        Self { kind: Kind::Cng }
    }

    /// Keys in containers of CSPs, such as `Microsoft Enhanced RSA and AES Cryptographic Provider`.
    #[must_use]
    pub fn csp() -> Self {
        Self { kind: Kind::Csp }
    }

    fn parse(&self, key_path: &str) -> Result<Named, KeyStoreError> {
        let invalid =
            |reason: String| KeyStoreError::InvalidKeyPath { key_path: key_path.into(), reason };
        if self.kind == Kind::Certificates {
            let path = key_path
                .parse()
                .map_err(|e: crate::keystore::CertificateKeyPathError| invalid(e.to_string()))?;
            return Ok(Named::Certificate(path));
        }
        let path = ProviderAndKey::parse(key_path).map_err(|reason| invalid(reason.into()))?;
        Ok(if self.kind == Kind::Cng { Named::Cng(path) } else { Named::Csp(path) })
    }
}

/// What a key path names.
enum Named {
    Certificate(CertificateKeyPath),
    Cng(ProviderAndKey),
    Csp(ProviderAndKey),
}

impl Named {
    fn open(&self) -> Result<Key, Failure> {
        match self {
            Self::Certificate(path) => {
                let location = path.location.unwrap_or(StoreLocation::LocalMachine);
                Key::of_certificate(location, &path.thumbprint)
            }
            Self::Cng(path) => Key::of_cng(&path.provider, &path.key),
            Self::Csp(path) => Key::of_csp(&path.provider, &path.key),
        }
    }
}

/// A key of Windows, open for one operation.
pub(in crate::keystore) struct WindowsKey {
    provider: &'static str,
    path: String,
    key: Arc<Key>,
    public: Arc<CmkPublicKey>,
}

impl MasterKey for WindowsKey {
    fn public_key(&self) -> Arc<CmkPublicKey> {
        self.public.clone()
    }

    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>> {
        let (provider, path, key) = (self.provider, self.path.clone(), self.key.clone());
        let ciphertext = ciphertext.to_vec();
        Box::pin(blocking(provider, move || {
            key.decrypt(&ciphertext).map_err(|failure| error(provider, &path, failure))
        }))
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        let (provider, path, key) = (self.provider, self.path.clone(), self.key.clone());
        let digest = Sha256::digest(message).into();
        Box::pin(blocking(provider, move || {
            key.sign(&digest).map_err(|failure| error(provider, &path, failure))
        }))
    }
}

fn error(provider: &str, key_path: &str, failure: Failure) -> KeyStoreError {
    match failure {
        Failure::NotFound => KeyStoreError::KeyNotFound {
            provider: provider.into(),
            key_path: key_path.into(),
            looked_in: match provider {
                MSSQL_CERTIFICATE_STORE => "the certificate store that it names".into(),
                MSSQL_CNG_STORE => "the key storage provider that it names".into(),
                _ => "the cryptographic service provider that it names".into(),
            },
            skipped: Arc::default(),
        },
        Failure::BadCiphertext => InvalidEnvelope::Ciphertext.into(),
        Failure::Code(call, code) => {
            KeyStoreError::OperatingSystem { provider: provider.into(), call, code }
        }
    }
}

impl KeyFinder for WindowsKeyStore {
    type Key<'s> = WindowsKey;

    fn provider_name(&self) -> &str {
        self.kind.provider_name()
    }

    async fn key(&self, key_path: &str) -> Result<WindowsKey, KeyStoreError> {
        let named = self.parse(key_path)?;
        let (provider, path) = (self.kind.provider_name(), key_path.to_owned());
        blocking(provider, move || {
            let failed = |failure| error(provider, &path, failure);
            let key = named.open().map_err(failed)?;
            let (modulus, exponent) = key.public().map_err(failed)?;
            let public = CmkPublicKey::from_components(&modulus, &exponent)?;
            Ok(WindowsKey { provider, path, key: Arc::new(key), public: Arc::new(public) })
        })
        .await
    }

    /// SqlClient's CNG and CSP providers have no such signatures either.
    fn check_definition(&self, _allow_enclave_computations: bool) -> Result<(), KeyStoreError> {
        if self.kind == Kind::Certificates {
            return Ok(());
        }
        Err(KeyStoreError::NotOffered {
            provider: self.kind.provider_name().into(),
            operation: "sign or verify definitions of master keys",
        })
    }
}

provider_by_key!(WindowsKeyStore);
