//! The four operations of a key store whose keys are in this process, on the blocking pool.
//!
//! RSA takes milliseconds, so none of it may run on an executor's thread.

use std::sync::Arc;

use super::{KeyStoreError, RSA_OAEP, signature_forms::SignatureForms};
use crate::crypto::{Cek, CmkPrivateKey, Envelope, cmk_metadata_message};

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
    let (_, forms) = SignatureForms::of(provider).envelope;
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
    let (form, _) = SignatureForms::of(provider).envelope;
    blocking(provider, move || Ok(Envelope::wrap_signed_as(form, &cek, &key_path, &key)?)).await
}

pub(super) async fn sign_metadata(
    provider: &str,
    key: Arc<CmkPrivateKey>,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Result<Vec<u8>, KeyStoreError> {
    let message = cmk_metadata_message(provider, key_path, allow_enclave_computations);
    let (form, _) = SignatureForms::of(provider).metadata;
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
    let (_, forms) = SignatureForms::of(provider).metadata;
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
