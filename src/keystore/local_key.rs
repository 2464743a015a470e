//! The four operations of a key store whose keys are in this process, on the blocking pool.
//!
//! RSA takes milliseconds, so none of it may run on an executor's thread.

use std::sync::Arc;

use super::{KeyStoreError, MSSQL_CNG_STORE, MSSQL_CSP_PROVIDER, MSSQL_JAVA_KEYSTORE, RSA_OAEP};
use crate::crypto::{
    Cek, CmkPrivateKey, Envelope,
    SignatureForm::{self, OverDigest, OverMessage},
    cmk_metadata_message,
};

/// Which signatures go with a provider's name: what Microsoft's provider of that name makes is made
/// here too, and what other tools may have made is read.
struct Signatures {
    /// The form that is written, and those that are read.
    envelope: (SignatureForm, &'static [SignatureForm]),
    metadata: (SignatureForm, &'static [SignatureForm]),
}

impl Signatures {
    /// Two names, and whoever serves them, are SqlClient's CNG and CSP providers; one is JDBC's.
    fn of(provider: &str) -> Self {
        let is = |name: &str| provider.eq_ignore_ascii_case(name);
        let plain = (OverMessage, [OverMessage].as_slice());
        let hashed = (OverDigest, [OverMessage, OverDigest].as_slice());
        if is(MSSQL_CNG_STORE) || is(MSSQL_CSP_PROVIDER) {
            Self { envelope: hashed, metadata: plain }
        } else if is(MSSQL_JAVA_KEYSTORE) {
            Self { envelope: plain, metadata: hashed }
        } else {
            Self { envelope: plain, metadata: plain }
        }
    }
}

/// Refuses every algorithm but RSA_OAEP, as each provider of SqlClient does for itself.
pub(super) fn check_algorithm(algorithm: &str) -> Result<(), KeyStoreError> {
    if algorithm.eq_ignore_ascii_case(RSA_OAEP) {
        Ok(())
    } else {
        Err(KeyStoreError::UnsupportedAlgorithm { found: algorithm.into() })
    }
}

pub(super) async fn unwrap(
    provider: &str,
    key: Arc<CmkPrivateKey>,
    envelope: &[u8],
) -> Result<Cek, KeyStoreError> {
    let envelope = envelope.to_vec();
    let (_, forms) = Signatures::of(provider).envelope;
    let work = move || Ok(Envelope::parse(&envelope)?.unwrap_signed_as(forms, &key)?);
    blocking(provider, work).await
}

/// `key_path` goes into the envelope as given: SqlClient 7 does not fold its case either.
pub(super) async fn wrap(
    provider: &str,
    key: Arc<CmkPrivateKey>,
    key_path: &str,
    cek: &Cek,
) -> Result<Vec<u8>, KeyStoreError> {
    let (key_path, cek) = (key_path.to_owned(), cek.clone());
    let (form, _) = Signatures::of(provider).envelope;
    blocking(provider, move || Ok(Envelope::wrap_signed_as(form, &cek, &key_path, &key)?)).await
}

pub(super) async fn sign_metadata(
    provider: &str,
    key: Arc<CmkPrivateKey>,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Result<Vec<u8>, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let (form, _) = Signatures::of(provider).metadata;
    blocking(provider, move || Ok(key.sign_as(form, &message)?)).await
}

pub(super) async fn verify_metadata(
    provider: &str,
    key: Arc<CmkPrivateKey>,
    key_path: &str,
    allow_enclave_computations: bool,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let signature = signature.to_vec();
    let (_, forms) = Signatures::of(provider).metadata;
    let public = key.public_key();
    let verify = move || Ok(forms.iter().any(|f| public.verify_as(*f, &message, &signature)));
    blocking(provider, verify).await
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    provider: &str,
    work: impl FnOnce() -> Result<T, KeyStoreError> + Send + 'static,
) -> Result<T, KeyStoreError> {
    let unavailable = |message: &str| KeyStoreError::Unavailable {
        provider: provider.into(),
        message: message.into(),
    };
    let runtime = tokio::runtime::Handle::try_current()
        .map_err(|_| unavailable("there is no tokio runtime to do the RSA work on"))?;
    match runtime.spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => Err(KeyStoreError::Panicked { provider: provider.into() }),
        Err(_) => Err(unavailable("the tokio runtime is shutting down")),
    }
}
