//! Column encryption keys made, and wrapped by one master key or another. What comes back has been
//! opened again: a value that does not open would lock its columns.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::{
    crypto::{Cek, RandomFailed},
    keystore::{KeyStoreError, KeyStoreProvider, RSA_OAEP},
};

/// A column master key: a key store, and where in it.
#[derive(Clone, Copy)]
pub struct MasterKey<'a> {
    /// The key store.
    pub provider: &'a dyn KeyStoreProvider,
    /// The path of the key, as `CREATE COLUMN MASTER KEY` has it.
    pub key_path: &'a str,
}

impl<'a> MasterKey<'a> {
    /// The key at `key_path` of a key store.
    pub fn new(provider: &'a dyn KeyStoreProvider, key_path: &'a str) -> Self {
        Self { provider, key_path }
    }

    async fn open(self, envelope: &[u8]) -> Result<Cek, KeyMakingError> {
        let opened = self.provider.unwrap_cek(self.key_path, RSA_OAEP, envelope).await;
        opened.map_err(|source| self.failed("opening a column encryption key", source))
    }

    /// Wraps a key, and opens what came of it.
    async fn wrap(self, cek: &Cek) -> Result<Vec<u8>, KeyMakingError> {
        let envelope = self
            .provider
            .wrap_cek(self.key_path, RSA_OAEP, cek)
            .await
            .map_err(|source| self.failed("wrapping a column encryption key", source))?;
        let back = self.open(&envelope).await?;
        if bool::from(back.expose().ct_eq(cek.expose())) {
            Ok(envelope)
        } else {
            Err(KeyMakingError::AnotherKey {
                provider: self.provider.name().to_owned(),
                key_path: self.key_path.to_owned(),
            })
        }
    }

    fn failed(self, what: &'static str, source: KeyStoreError) -> KeyMakingError {
        KeyMakingError::KeyStore {
            what,
            provider: self.provider.name().to_owned(),
            key_path: self.key_path.to_owned(),
            source,
        }
    }
}

impl fmt::Debug for MasterKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("provider", &self.provider.name())
            .field("key_path", &self.key_path)
            .finish()
    }
}

/// Makes a column encryption key and wraps it. The key itself is wiped; only the envelope comes back,
/// for [`create_column_encryption_key`](super::create_column_encryption_key).
///
/// # Errors
///
/// There is no randomness, the key store fails, or what it wrapped does not open to the same key.
pub async fn wrap_new_cek(master_key: MasterKey<'_>) -> Result<Vec<u8>, KeyMakingError> {
    master_key.wrap(&Cek::generate()?).await
}

/// Wraps the key in an envelope under another master key, for
/// [`add_column_encryption_key_value`](super::add_column_encryption_key_value). The cells stay as they
/// are: this changes who can open their key, and is how a master key is rotated.
///
/// # Errors
///
/// The old value does not open, the new key store fails, or what it wrapped does not open to the same
/// key.
pub async fn rewrap_cek(
    envelope: &[u8],
    old: MasterKey<'_>,
    new: MasterKey<'_>,
) -> Result<Vec<u8>, KeyMakingError> {
    let cek = old.open(envelope).await?;
    new.wrap(&cek).await
}

/// Signs the definition of a master key that may be used inside of enclaves, for
/// [`create_column_master_key_for_enclaves`](super::create_column_master_key_for_enclaves).
///
/// # Errors
///
/// The key store fails, or does not recognise its own signature.
pub async fn sign_master_key(master_key: MasterKey<'_>) -> Result<Vec<u8>, KeyMakingError> {
    let MasterKey { provider, key_path } = master_key;
    let failed = |source| master_key.failed("signing a master key's definition", source);
    let signature = provider.sign_cmk_metadata(key_path, true).await.map_err(failed)?;
    if provider.verify_cmk_metadata(key_path, true, &signature).await.map_err(failed)? {
        Ok(signature)
    } else {
        Err(KeyMakingError::Signature {
            provider: provider.name().to_owned(),
            key_path: key_path.to_owned(),
        })
    }
}

/// Why a key was not made or wrapped. Nothing has been changed anywhere.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyMakingError {
    /// There is no randomness for a new key.
    #[error(transparent)]
    Random(#[from] RandomFailed),
    /// A key store could not do its part.
    #[error("{what} with the master key {key_path:?} of {provider:?}: {source}")]
    KeyStore {
        /// What was being done.
        what: &'static str,
        /// The key store.
        provider: String,
        /// The path of the master key.
        key_path: String,
        /// Why not.
        #[source]
        source: KeyStoreError,
    },
    /// The key store wraps a key and opens another: its columns would be lost. A bug of the provider.
    #[error(
        "what {provider:?} wrapped with the master key {key_path:?} opens to another key; do not use \
         this key store"
    )]
    AnotherKey {
        /// The key store.
        provider: String,
        /// The path of the master key.
        key_path: String,
    },
    /// The key store does not recognise the signature that it has just made. A bug of the provider.
    #[error(
        "{provider:?} does not recognise its own signature of the master key {key_path:?}; do not use \
         this key store"
    )]
    Signature {
        /// The key store.
        provider: String,
        /// The path of the master key.
        key_path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::CmkPrivateKey,
        keystore::{FnKeyStore, InMemoryKeyStore},
    };

    fn store(name: &str) -> InMemoryKeyStore {
        let pem = include_str!("../../tests/fixtures/keystore/pair.key");
        InMemoryKeyStore::new(name).with_key("k/1", CmkPrivateKey::from_pem(pem).unwrap())
    }

    #[tokio::test]
    async fn a_rewrapped_key_is_the_same_key_under_the_other_path() {
        let (old, new) = (store("OLD"), store("NEW"));
        let (old, new) = (MasterKey::new(&old, "k/1"), MasterKey::new(&new, "k/1"));
        let first = wrap_new_cek(old).await.unwrap();
        let second = rewrap_cek(&first, old, new).await.unwrap();
        assert_ne!(first, second);
        let (a, b) = (old.open(&first).await.unwrap(), new.open(&second).await.unwrap());
        assert_eq!(a.expose(), b.expose());
        assert_ne!(
            wrap_new_cek(old).await.unwrap(),
            first,
            "two new keys are two keys, and padding is random"
        );
    }

    #[tokio::test]
    async fn a_changed_value_is_not_rewrapped_and_the_error_says_which_key_refused() {
        let store = store("STORE");
        let key = MasterKey::new(&store, "k/1");
        let mut envelope = wrap_new_cek(key).await.unwrap();
        *envelope.last_mut().unwrap() ^= 1;
        let error = rewrap_cek(&envelope, key, MasterKey::new(&store, "k/2")).await.unwrap_err();
        assert!(matches!(&error, KeyMakingError::KeyStore { key_path, .. } if key_path == "k/1"));
        let error = rewrap_cek(&envelope, MasterKey::new(&store, "k/\n2"), key).await.unwrap_err();
        assert!(error.to_string().contains(r#""k/\n2""#), "{error}");
    }

    #[tokio::test]
    async fn a_key_store_that_opens_another_key_than_it_wrapped_is_found_out() {
        let liar = FnKeyStore::new("LIAR")
            .wrap_with(|_path, cek| async move { Ok(cek.expose().to_vec()) })
            .unwrap_with(|_path, _envelope| async { Ok(Cek::from([7; 32])) })
            .sign_with(|_path, _allow| async { Ok(vec![1]) })
            .verify_with(|_path, _allow, _signature| async { Ok(false) });
        let key = MasterKey::new(&liar, "k/1");
        let error = wrap_new_cek(key).await.unwrap_err();
        assert!(matches!(error, KeyMakingError::AnotherKey { .. }), "{error}");
        let error = sign_master_key(key).await.unwrap_err();
        assert!(matches!(error, KeyMakingError::Signature { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_signed_definition_is_recognised() {
        let store = store("STORE");
        let signature = sign_master_key(MasterKey::new(&store, "k/1")).await.unwrap();
        assert!(store.verify_cmk_metadata("K/1", true, &signature).await.is_err(), "another path");
        assert!(store.verify_cmk_metadata("k/1", true, &signature).await.unwrap());
    }
}
