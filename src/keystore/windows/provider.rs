//! The provider: which key a path names, and the four operations with it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    key_path::ProviderAndKey,
    native::{Failure, Key},
};
use crate::{
    crypto::{Cek, CmkPublicKey, InvalidEnvelope},
    keystore::{
        BoxFuture, CertificateKeyPath, KeyStoreError, KeyStoreProvider, MSSQL_CERTIFICATE_STORE,
        MSSQL_CNG_STORE, MSSQL_CSP_PROVIDER, StoreLocation,
        local_key::{blocking, check_algorithm},
        remote_key::{self, RemoteKey},
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

    async fn open(&self, key_path: &str) -> Result<WindowsKey, KeyStoreError> {
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

    /// SqlClient's CNG and CSP providers have no such signatures either.
    async fn open_to_sign(&self, key_path: &str) -> Result<WindowsKey, KeyStoreError> {
        if self.kind == Kind::Certificates {
            return self.open(key_path).await;
        }
        Err(KeyStoreError::NotOffered {
            provider: self.name().into(),
            operation: "sign or verify definitions of master keys",
        })
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
struct WindowsKey {
    provider: &'static str,
    path: String,
    key: Arc<Key>,
    public: Arc<CmkPublicKey>,
}

impl RemoteKey for WindowsKey {
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

impl KeyStoreProvider for WindowsKeyStore {
    fn name(&self) -> &str {
        self.kind.provider_name()
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        Box::pin(async move {
            check_algorithm(algorithm)?;
            remote_key::unwrap(self.name(), &self.open(key_path).await?, envelope).await
        })
    }

    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            check_algorithm(algorithm)?;
            remote_key::wrap(self.name(), &self.open(key_path).await?, key_path, cek).await
        })
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move {
            let key = self.open_to_sign(key_path).await?;
            let allow = allow_enclave_computations;
            remote_key::sign_metadata(self.name(), &key, key_path, allow).await
        })
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow_enclave_computations: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(async move {
            let key = self.open_to_sign(key_path).await?;
            let allow = allow_enclave_computations;
            remote_key::verify_metadata(self.name(), &key, key_path, allow, signature).await
        })
    }
}
