//! Providers whose work is that of the key that they find.
//!
//! Owns what such a provider does around its key: the algorithm, the envelope's shape, the order in
//! which both are looked at. Which key a path names is the key store's, and what is done with the key
//! is [`super::master_key`]'s.

use std::borrow::Cow;

use super::{
    KeyStoreError, RSA_OAEP,
    master_key::{self, MasterKey},
};
use crate::crypto::{Cek, Envelope};

/// A key store that finds the key of a path. [`provider_by_key`] makes the provider of it.
pub(super) trait KeyFinder: Send + Sync + 'static {
    type Key<'s>: MasterKey;

    fn provider_name(&self) -> &str;

    fn key<'s>(
        &'s self,
        key_path: &'s str,
    ) -> impl Future<Output = Result<Self::Key<'s>, KeyStoreError>> + Send;

    /// How a new envelope carries the path: information only, but tools of Microsoft show it.
    fn written_path<'p>(&self, key_path: &'p str) -> Cow<'p, str> {
        Cow::Borrowed(key_path)
    }

    /// Whether such definitions of master keys have signatures here at all.
    fn check_definition(&self, _allow_enclave_computations: bool) -> Result<(), KeyStoreError> {
        Ok(())
    }
}

/// Implements [`KeyStoreProvider`](super::KeyStoreProvider) for a [`KeyFinder`]. Not a blanket
/// implementation, so that the documentation of the trait lists the key stores.
macro_rules! provider_by_key {
    ($store:ty) => {
        const _: () = {
            use $crate::{
                crypto::Cek,
                keystore::{BoxFuture, KeyStoreError, KeyStoreProvider, key_finder},
            };

            impl KeyStoreProvider for $store {
                fn name(&self) -> &str {
                    key_finder::KeyFinder::provider_name(self)
                }

                fn unwrap_cek<'a>(
                    &'a self,
                    key_path: &'a str,
                    algorithm: &'a str,
                    envelope: &'a [u8],
                ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
                    Box::pin(key_finder::unwrap(self, key_path, algorithm, envelope))
                }

                fn wrap_cek<'a>(
                    &'a self,
                    key_path: &'a str,
                    algorithm: &'a str,
                    cek: &'a Cek,
                ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
                    Box::pin(key_finder::wrap(self, key_path, algorithm, cek))
                }

                fn sign_cmk_metadata<'a>(
                    &'a self,
                    key_path: &'a str,
                    allow_enclave_computations: bool,
                ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
                    let allow = allow_enclave_computations;
                    Box::pin(key_finder::sign_metadata(self, key_path, allow))
                }

                fn verify_cmk_metadata<'a>(
                    &'a self,
                    key_path: &'a str,
                    allow_enclave_computations: bool,
                    signature: &'a [u8],
                ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
                    let allow = allow_enclave_computations;
                    Box::pin(key_finder::verify_metadata(self, key_path, allow, signature))
                }
            }
        };
    };
}
pub(super) use provider_by_key;

/// Refuses every algorithm but RSA_OAEP, as each provider of SqlClient does for itself.
pub(super) fn check_algorithm(algorithm: &str) -> Result<(), KeyStoreError> {
    if algorithm.eq_ignore_ascii_case(RSA_OAEP) {
        Ok(())
    } else {
        Err(KeyStoreError::UnsupportedAlgorithm { found: algorithm.into() })
    }
}

pub(super) async fn unwrap(
    store: &impl KeyFinder,
    key_path: &str,
    algorithm: &str,
    envelope: &[u8],
) -> Result<Cek, KeyStoreError> {
    check_algorithm(algorithm)?;
    // Nonsense should cost no file, token or vault a search.
    Envelope::parse(envelope)?;
    master_key::unwrap(store.provider_name(), &store.key(key_path).await?, envelope).await
}

pub(super) async fn wrap(
    store: &impl KeyFinder,
    key_path: &str,
    algorithm: &str,
    cek: &Cek,
) -> Result<Vec<u8>, KeyStoreError> {
    check_algorithm(algorithm)?;
    let key = store.key(key_path).await?;
    master_key::wrap(store.provider_name(), &key, &store.written_path(key_path), cek).await
}

pub(super) async fn sign_metadata(
    store: &impl KeyFinder,
    key_path: &str,
    allow_enclave_computations: bool,
) -> Result<Vec<u8>, KeyStoreError> {
    store.check_definition(allow_enclave_computations)?;
    let (provider, key) = (store.provider_name(), store.key(key_path).await?);
    master_key::sign_metadata(provider, &key, key_path, allow_enclave_computations).await
}

pub(super) async fn verify_metadata(
    store: &impl KeyFinder,
    key_path: &str,
    allow_enclave_computations: bool,
    signature: &[u8],
) -> Result<bool, KeyStoreError> {
    match store.check_definition(allow_enclave_computations) {
        // What is never signed has no signature that holds.
        Err(KeyStoreError::NoMetadataSignature { .. }) => return Ok(false),
        other => other?,
    }
    let (provider, key) = (store.provider_name(), store.key(key_path).await?);
    let allow = allow_enclave_computations;
    master_key::verify_metadata(provider, &key, key_path, allow, signature).await
}
