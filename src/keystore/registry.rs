//! The key stores of one connector: providers by name, and the way from the values of a CEK to a
//! key for cells.

use std::{collections::HashMap, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;

use super::{
    CekCacheStatistics, CekError, EncryptedCekValue, FailedCekValue, KeyStoreError,
    KeyStoreProvider,
    cache::{CacheKey, CekCache},
};
use crate::crypto::{Cek, CellKey};

/// How long an opened key stays in the cache unless told otherwise: two hours, as in SqlClient.
pub const DEFAULT_CEK_CACHE_TTL: Duration = Duration::from_secs(2 * 60 * 60);

/// How many opened keys the cache holds unless told otherwise. One takes about two kilobytes.
pub const DEFAULT_CEK_CACHE_CAPACITY: usize = 1024;

/// The key stores of one connector and the cache of the keys that they opened.
///
/// Share it behind an [`Arc`] among the connections that act for the same party. Two parties with
/// different rights to keys need one each: what one opened, the other would get from the cache.
pub struct KeyStores {
    /// By name in lower case.
    providers: HashMap<String, Arc<dyn KeyStoreProvider>>,
    /// The names as the providers give them, for messages.
    names: Vec<String>,
    cache: CekCache,
}

impl KeyStores {
    /// Begins with no providers and the default cache.
    #[must_use]
    pub fn builder() -> KeyStoresBuilder {
        KeyStoresBuilder {
            providers: Vec::new(),
            ttl: DEFAULT_CEK_CACHE_TTL,
            capacity: DEFAULT_CEK_CACHE_CAPACITY,
        }
    }

    /// The key for cells of a column encryption key, from the first of its `values` that opens.
    ///
    /// A value that is in the cache is taken before any other is tried, so that a key with one
    /// unreachable value costs a failed call only when the other expires. The key paths are used as
    /// they come: whether this server may name them is to be decided before.
    ///
    /// # Errors
    ///
    /// [`CekError::NoValues`] for an empty list; [`CekError::NoneOpened`] with the reason for each
    /// value otherwise. Failures are not cached; the next call tries again.
    pub async fn cell_key(&self, values: &[EncryptedCekValue]) -> Result<Arc<CellKey>, CekError> {
        if values.is_empty() {
            return Err(CekError::NoValues);
        }
        let keys: Vec<CacheKey> = values.iter().map(cache_key).collect();
        if let Some(found) = keys.iter().find_map(|key| self.cache.get(key)) {
            return Ok(found);
        }
        let mut attempts = Vec::new();
        for (value, key) in values.iter().zip(&keys) {
            match self.open(value, key).await {
                Ok(opened) => return Ok(opened),
                Err(error) => attempts.push(FailedCekValue {
                    provider: value.provider_name.clone(),
                    key_path: value.key_path.clone(),
                    error,
                }),
            }
        }
        Err(CekError::NoneOpened { attempts })
    }

    /// The provider of that name, whatever the case.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<Arc<dyn KeyStoreProvider>> {
        self.providers.get(&fold(name)).cloned()
    }

    /// Forgets every opened key. Keys that statements in progress still hold go when those end.
    pub fn purge(&self) {
        self.cache.purge();
    }

    /// What the cache did so far.
    #[must_use]
    pub fn statistics(&self) -> CekCacheStatistics {
        self.cache.statistics()
    }

    async fn open(
        &self,
        value: &EncryptedCekValue,
        key: &CacheKey,
    ) -> Result<Arc<CellKey>, KeyStoreError> {
        let Some(provider) = self.providers.get(&key.provider_name) else {
            return Err(KeyStoreError::UnknownProvider {
                provider: value.provider_name.clone(),
                registered: self.names.clone(),
            });
        };
        self.cache.get_or_open(key, || unwrap_cek(&**provider, value)).await
    }
}

/// Calls the provider so that its panic is an error: the waiters get it, and nothing stays locked.
async fn unwrap_cek(
    provider: &dyn KeyStoreProvider,
    value: &EncryptedCekValue,
) -> Result<Cek, KeyStoreError> {
    let call =
        async { provider.unwrap_cek(&value.key_path, &value.algorithm, &value.envelope).await };
    // Nothing of ours is seen half-changed after a panic; what the provider's own state is worth
    // is the provider's affair.
    AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(KeyStoreError::Panicked { provider: value.provider_name.clone() }))
}

fn cache_key(value: &EncryptedCekValue) -> CacheKey {
    Arc::new(EncryptedCekValue { provider_name: fold(&value.provider_name), ..value.clone() })
}

/// Provider names compare as in SqlClient: without regard to ASCII case.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl fmt::Debug for KeyStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStores")
            .field("providers", &self.names)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

/// Collects providers and the measures of the cache.
pub struct KeyStoresBuilder {
    providers: Vec<Arc<dyn KeyStoreProvider>>,
    ttl: Duration,
    capacity: usize,
}

impl KeyStoresBuilder {
    /// Adds a provider under the name that it gives.
    #[must_use]
    pub fn provider(self, provider: impl KeyStoreProvider) -> Self {
        self.provider_arc(Arc::new(provider))
    }

    /// Adds a provider that is shared with something else.
    #[must_use]
    pub fn provider_arc(mut self, provider: Arc<dyn KeyStoreProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// How long an opened key stays in the cache, counted from its opening, however often it is
    /// used. Default [`DEFAULT_CEK_CACHE_TTL`]; zero caches nothing.
    ///
    /// When the time is up the key is dropped, and wiped once no statement in progress holds it.
    #[must_use]
    pub fn cek_cache_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How many opened keys the cache holds before the oldest goes. Default
    /// [`DEFAULT_CEK_CACHE_CAPACITY`]; zero caches nothing.
    #[must_use]
    pub fn cek_cache_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Checks the names and builds.
    ///
    /// # Errors
    ///
    /// A provider without a name, or two with the same, whatever the case.
    pub fn build(self) -> Result<KeyStores, BuildError> {
        let mut providers = HashMap::new();
        let mut names = Vec::new();
        for provider in self.providers {
            let name = provider.name().to_owned();
            if name.is_empty() {
                return Err(BuildError::NamelessProvider);
            }
            if providers.insert(fold(&name), provider).is_some() {
                return Err(BuildError::DuplicateProvider { name });
            }
            names.push(name);
        }
        Ok(KeyStores { providers, names, cache: CekCache::new(self.ttl, self.capacity) })
    }
}

impl fmt::Debug for KeyStoresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoresBuilder")
            .field("providers", &self.providers.iter().map(|p| p.name()).collect::<Vec<_>>())
            .field("cek_cache_ttl", &self.ttl)
            .field("cek_cache_capacity", &self.capacity)
            .finish()
    }
}

/// Providers that do not go together. The program that registers them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two providers have the same name.
    #[error(
        "two key store providers are named {name:?} (case does not count); give one another name"
    )]
    DuplicateProvider {
        /// The second one's name.
        name: String,
    },
    /// A provider has an empty name, which no column master key can carry.
    #[error("a key store provider has an empty name; name it as the column master keys do")]
    NamelessProvider,
}

#[cfg(test)]
mod tests;
