//! A master key whose private half is in this process.
//!
//! RSA takes milliseconds, so none of it may run on an executor's thread.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{BoxFuture, KeyStoreError, master_key::MasterKey};
use crate::crypto::{CmkPrivateKey, CmkPublicKey, InvalidEnvelope};

/// A key of the key store `provider`, for one operation.
pub(super) struct LocalKey<'s> {
    pub(super) provider: &'s str,
    pub(super) key: Arc<CmkPrivateKey>,
}

impl MasterKey for LocalKey<'_> {
    fn public_key(&self) -> Arc<CmkPublicKey> {
        Arc::new(self.key.public_key())
    }

    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>> {
        let (key, ciphertext) = (Arc::clone(&self.key), ciphertext.to_vec());
        Box::pin(blocking(self.provider, move || {
            key.oaep_decrypt(&ciphertext).ok_or_else(|| InvalidEnvelope::Ciphertext.into())
        }))
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        let (key, message) = (Arc::clone(&self.key), message.to_vec());
        Box::pin(blocking(self.provider, move || Ok(key.sign(&message)?)))
    }
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
