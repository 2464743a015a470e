//! A key store of keys that the program hands over.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    KeyStoreError,
    key_finder::{KeyFinder, provider_by_key},
    local_key::LocalKey,
};
use crate::crypto::CmkPrivateKey;

/// A key store in memory, under a name and with key paths of your choice.
///
/// For tests, and for keys that a program gets from somewhere else: a secret manager, an
/// environment variable. A key path is found exactly as it was given, case included.
///
/// ```
/// use always_encrypted::{crypto::CmkPrivateKey, keystore::InMemoryKeyStore};
///
/// let store = InMemoryKeyStore::new("MY_STORE")
///     .with_key("keys/2024", CmkPrivateKey::generate(2048)?)
///     .with_key("keys/2025", CmkPrivateKey::generate(2048)?);
/// # Ok::<(), always_encrypted::crypto::CmkError>(())
/// ```
pub struct InMemoryKeyStore {
    name: String,
    keys: HashMap<String, Arc<CmkPrivateKey>>,
}

impl InMemoryKeyStore {
    /// An empty key store of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), keys: HashMap::new() }
    }

    /// Puts `key` at `key_path`, in place of what was there.
    #[must_use]
    pub fn with_key(
        mut self,
        key_path: impl Into<String>,
        key: impl Into<Arc<CmkPrivateKey>>,
    ) -> Self {
        self.keys.insert(key_path.into(), key.into());
        self
    }
}

impl KeyFinder for InMemoryKeyStore {
    type Key<'s> = LocalKey<'s>;

    fn provider_name(&self) -> &str {
        &self.name
    }

    async fn key(&self, key_path: &str) -> Result<LocalKey<'_>, KeyStoreError> {
        let key = self.keys.get(key_path).cloned().ok_or_else(|| KeyStoreError::KeyNotFound {
            provider: self.name.clone(),
            key_path: key_path.into(),
            looked_in: match self.keys.len() {
                1 => "the memory of this process (1 key)".into(),
                n => format!("the memory of this process ({n} keys)"),
            },
            skipped: Arc::default(),
        })?;
        Ok(LocalKey { provider: &self.name, key })
    }
}

provider_by_key!(InMemoryKeyStore);

impl fmt::Debug for InMemoryKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryKeyStore")
            .field("name", &self.name)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::Cek,
        keystore::{KeyStoreProvider, RSA_OAEP},
    };

    fn store() -> InMemoryKeyStore {
        let pem = include_str!("../../tests/fixtures/keystore/pair.key");
        InMemoryKeyStore::new("MY_STORE").with_key("Keys/1", CmkPrivateKey::from_pem(pem).unwrap())
    }

    #[tokio::test]
    async fn a_wrapped_key_comes_back_and_the_algorithm_may_be_in_any_case() {
        let store = store();
        let cek = Cek::from([7; 32]);
        let envelope = store.wrap_cek("Keys/1", "rsa_oaep", &cek).await.unwrap();
        let back = store.unwrap_cek("Keys/1", RSA_OAEP, &envelope).await.unwrap();
        assert_eq!(back.expose(), cek.expose());
    }

    #[tokio::test]
    async fn a_path_in_another_case_is_another_path() {
        let error = store().sign_cmk_metadata("keys/1", true).await.unwrap_err();
        assert!(matches!(&error, KeyStoreError::KeyNotFound { .. }));
        let text = error.to_string();
        assert!(text.contains("MY_STORE") && text.contains("keys/1"), "{text}");
    }

    #[tokio::test]
    async fn another_algorithm_is_refused_before_the_key_is_looked_for() {
        let error = store().unwrap_cek("nowhere", "RSA1_5", &[]).await.unwrap_err();
        assert!(
            matches!(error, KeyStoreError::UnsupportedAlgorithm { found } if found == "RSA1_5")
        );
    }

    #[tokio::test]
    async fn a_metadata_signature_does_not_hold_for_the_other_flag() {
        let store = store();
        let signature = store.sign_cmk_metadata("Keys/1", true).await.unwrap();
        assert!(store.verify_cmk_metadata("Keys/1", true, &signature).await.unwrap());
        assert!(!store.verify_cmk_metadata("Keys/1", false, &signature).await.unwrap());
    }

    #[test]
    fn without_a_runtime_there_is_an_error_and_no_panic() {
        let store = store();
        let mut call = store.sign_cmk_metadata("Keys/1", true);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else {
            panic!("expected an error");
        };
        assert!(matches!(error, KeyStoreError::Unavailable { .. }));
    }
}
