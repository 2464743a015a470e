//! The key stores of one connector: providers by name, and the way from the values of a CEK to a
//! key for cells.

use std::{
    collections::HashMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{runtime::Handle, task::JoinSet};

use super::{
    CekCacheStatistics, CekError, EncryptedCekValue, FailedCekValue, KeyStoreError,
    KeyStoreProvider, RSA_OAEP,
    cache::{CacheKey, CekCache, Measures},
    signatures::{SignatureCache, SignedDefinition},
};
use crate::crypto::{Cek, CellKey};

/// How long an opened key stays in the cache unless told otherwise: two hours, as in SqlClient.
pub const DEFAULT_CEK_CACHE_TTL: Duration = Duration::from_secs(2 * 60 * 60);

/// How many opened keys the cache holds unless told otherwise. One takes about two kilobytes.
pub const DEFAULT_CEK_CACHE_CAPACITY: usize = 1024;

/// How long a value that could not be opened is left alone unless told otherwise.
pub const DEFAULT_FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// How long a provider may take over one call unless told otherwise.
pub const DEFAULT_CALL_TIME_LIMIT: Duration = Duration::from_secs(60);

/// How many UTF-16 code units a key path may have: `KEY_PATH` of `CREATE COLUMN MASTER KEY` is an
/// `nvarchar(4000)`, and the protocol would carry more.
const LONGEST_KEY_PATH: usize = 4000;

/// Azure Key Vault's name for [`RSA_OAEP`], which its providers take as well.
const RSA_OAEP_IN_VAULTS: &str = "RSA-OAEP";

/// The key stores of one connector and the cache of the keys that they opened.
///
/// Share it behind an [`Arc`] among the connections that act for the same party. Two parties with
/// different rights to keys need one each: what one opened, the other would get from the cache.
/// Nothing that a key store opened is kept anywhere else.
///
/// # When a key store is slow, or down
///
/// Of many callers that need the same key, one calls the provider and the others wait for it. If that
/// one is cancelled, the next makes the call. If it is just not polled any more, pinned beside a
/// `select!` or on a runtime that idles, the others wait for it as long as a call may take and a second,
/// and then one of them calls in its place.
///
/// A call that does not end is given up after [`call_time_limit`](KeyStoresBuilder::call_time_limit).
/// A value that failed is left alone for [`failure_pause`](KeyStoresBuilder::failure_pause), a second:
/// whoever asks meanwhile gets the same error without a call, so that a vault that is down hears from
/// this process once a second for each value. It is no verdict: after the pause the value is tried
/// anew, and a key that has just been installed works within a second, or at once after
/// [`purge`](Self::purge).
///
/// A key that is used in the last tenth of its time in the cache is opened anew in the background,
/// once, while the old one goes on serving. If that fails, the old one serves until its time is up, and
/// the next use after the pause tries again.
pub struct KeyStores {
    /// By name in lower case.
    providers: HashMap<String, Arc<dyn KeyStoreProvider>>,
    /// The names as the providers give them, for messages.
    names: Vec<String>,
    call_time_limit: Duration,
    cache: Arc<CekCache>,
    signatures: SignatureCache,
    /// Keys that are being renewed. They are given up when this is dropped.
    refreshes: Mutex<JoinSet<()>>,
}

impl KeyStores {
    /// Begins with no providers and the default cache.
    #[must_use]
    pub fn builder() -> KeyStoresBuilder {
        KeyStoresBuilder {
            providers: Vec::new(),
            ttl: DEFAULT_CEK_CACHE_TTL,
            capacity: DEFAULT_CEK_CACHE_CAPACITY,
            failure_pause: DEFAULT_FAILURE_PAUSE,
            call_time_limit: DEFAULT_CALL_TIME_LIMIT,
        }
    }

    /// The key for cells of a column encryption key, from the first of its `values` that opens.
    ///
    /// A value that is in the cache is taken before any other is tried, so that a key with one
    /// unreachable value costs a failed call only when the other expires. The key paths are used as
    /// they come: whether this server may name them is to be decided before, and in which spelling,
    /// since two spellings of a path are two keys here, each with a call and a place in the cache.
    ///
    /// # Errors
    ///
    /// [`CekError::NoValues`] for an empty list; [`CekError::NoneOpened`] with the reason for each
    /// value otherwise. A value that failed is tried again after the pause.
    pub async fn cell_key(&self, values: &[EncryptedCekValue]) -> Result<Arc<CellKey>, CekError> {
        if values.is_empty() {
            return Err(CekError::NoValues);
        }
        let keys: Vec<CacheKey> = values.iter().map(cache_key).collect();
        for (value, key) in values.iter().zip(&keys) {
            if let Some(found) = self.cache.get(key) {
                if found.refresh {
                    self.refresh(value, key);
                }
                return Ok(found.key);
            }
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

    /// Whether the definition of a column master key is signed by that key: the signature is the one in
    /// `ENCLAVE_COMPUTATIONS` of `CREATE COLUMN MASTER KEY`, or `signature` in
    /// `sys.column_master_keys`. For tools that check a database; statements do not need it, since this
    /// crate gives no key to an enclave.
    ///
    /// That a signature holds is kept as long as a key is, under provider, path, flag and signature
    /// together. An empty signature holds for nothing, and nobody is asked. Whether the path is trusted
    /// is to be decided before.
    ///
    /// # Errors
    ///
    /// The question could not be answered: the provider is not registered, fails, panics or takes too
    /// long, or the path is longer than SQL Server stores. That is no verdict and is not kept.
    pub async fn verify_cmk_metadata(
        &self,
        provider_name: &str,
        key_path: &str,
        allow_enclave_computations: bool,
        signature: &[u8],
    ) -> Result<bool, KeyStoreError> {
        let provider = self.known_provider(provider_name)?;
        check_length(key_path)?;
        if signature.is_empty() {
            return Ok(false);
        }
        let definition = SignedDefinition {
            provider: fold(provider_name),
            key_path: key_path.to_owned(),
            allow_enclave_computations,
            signature: signature.to_vec(),
        };
        if self.signatures.holds(&definition) {
            return Ok(true);
        }
        let call = async {
            provider.verify_cmk_metadata(key_path, allow_enclave_computations, signature).await
        };
        let holds = bounded(call, provider_name, self.call_time_limit).await?;
        if holds {
            self.signatures.keep(definition);
        }
        Ok(holds)
    }

    fn known_provider(&self, name: &str) -> Result<&dyn KeyStoreProvider, KeyStoreError> {
        self.providers.get(&fold(name)).map(|provider| &**provider).ok_or_else(|| {
            KeyStoreError::UnknownProvider {
                provider: name.to_owned(),
                registered: self.names.clone(),
            }
        })
    }

    /// Forgets every opened key, every failure and every verdict on a signature. Keys that statements in
    /// progress still hold go when those end.
    pub fn purge(&self) {
        self.cache.purge();
        self.signatures.purge();
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
        let provider = self.known_provider(&value.provider_name)?;
        if known_algorithm(&value.algorithm).is_none() {
            return Err(KeyStoreError::UnsupportedAlgorithm { found: value.algorithm.clone() });
        }
        check_length(&value.key_path)?;
        let (name, limit) = (&value.provider_name, self.call_time_limit);
        self.cache.get_or_open(key, || unwrap_cek(provider, name, key, limit)).await
    }

    /// Has a key renewed in the background. Without a runtime it just expires.
    fn refresh(&self, value: &EncryptedCekValue, key: &CacheKey) {
        let (Ok(runtime), Some(provider)) =
            (Handle::try_current(), self.providers.get(&key.provider_name).cloned())
        else {
            return;
        };
        let (cache, key) = (Arc::clone(&self.cache), Arc::clone(key));
        let name = value.provider_name.clone();
        let limit = self.call_time_limit;
        let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        while refreshes.try_join_next().is_some() {}
        refreshes.spawn_on(
            async move { cache.refresh(&key, || unwrap_cek(&*provider, &name, &key, limit)).await },
            &runtime,
        );
    }
}

async fn unwrap_cek(
    provider: &dyn KeyStoreProvider,
    name: &str,
    value: &CacheKey,
    limit: Duration,
) -> Result<Cek, KeyStoreError> {
    let call =
        async { provider.unwrap_cek(&value.key_path, &value.algorithm, &value.envelope).await };
    bounded(call, name, limit).await
}

/// A call to a provider: its panic is an error, so that nothing stays locked, and so is its silence.
async fn bounded<T>(
    call: impl Future<Output = Result<T, KeyStoreError>>,
    provider: &str,
    limit: Duration,
) -> Result<T, KeyStoreError> {
    // Nothing of ours is seen half-changed after a panic; what the provider's own state is worth
    // is the provider's affair.
    let call = AssertUnwindSafe(call).catch_unwind();
    // Only a runtime has a clock that wakes us.
    let outcome = if Handle::try_current().is_ok() {
        match tokio::time::timeout(limit, call).await {
            Ok(outcome) => outcome,
            Err(_) => return Err(KeyStoreError::TimedOut { provider: provider.into(), limit }),
        }
    } else {
        call.await
    };
    outcome.unwrap_or_else(|_| Err(KeyStoreError::Panicked { provider: provider.into() }))
}

fn cache_key(value: &EncryptedCekValue) -> CacheKey {
    Arc::new(EncryptedCekValue {
        envelope: value.envelope.clone(),
        provider_name: fold(&value.provider_name),
        key_path: value.key_path.clone(),
        algorithm: known_algorithm(&value.algorithm).unwrap_or(&value.algorithm).to_owned(),
    })
}

fn check_length(key_path: &str) -> Result<(), KeyStoreError> {
    match key_path.encode_utf16().count() {
        0..=LONGEST_KEY_PATH => Ok(()),
        found => Err(KeyStoreError::KeyPathTooLong { found, limit: LONGEST_KEY_PATH }),
    }
}

/// The one spelling of an algorithm, so that a server cannot have one key opened and cached in each.
fn known_algorithm(name: &str) -> Option<&'static str> {
    [RSA_OAEP, RSA_OAEP_IN_VAULTS].into_iter().find(|known| known.eq_ignore_ascii_case(name))
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
    failure_pause: Duration,
    call_time_limit: Duration,
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
    /// used. Default [`DEFAULT_CEK_CACHE_TTL`]; zero caches nothing. In the last tenth of it a use
    /// has the key opened anew.
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

    /// How long a value that could not be opened is not asked for again; whoever asks gets the same
    /// error. Default [`DEFAULT_FAILURE_PAUSE`]; with zero every caller makes a call of its own.
    #[must_use]
    pub fn failure_pause(mut self, pause: Duration) -> Self {
        self.failure_pause = pause;
        self
    }

    /// How long a provider may take over one call before its future is dropped and the call counts as
    /// failed. Default [`DEFAULT_CALL_TIME_LIMIT`]. Zero is refused by [`build`](Self::build), since no
    /// call could succeed in it; who wants no limit says [`Duration::MAX`].
    ///
    /// A provider that blocks the thread it is polled on cannot be interrupted, by this or anything.
    #[must_use]
    pub fn call_time_limit(mut self, limit: Duration) -> Self {
        self.call_time_limit = limit;
        self
    }

    /// Checks the names and builds.
    ///
    /// # Errors
    ///
    /// A provider without a name, or two with the same, whatever the case; a time limit of zero.
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
        let Self { ttl, capacity, failure_pause, call_time_limit, .. } = self;
        if call_time_limit.is_zero() {
            return Err(BuildError::NoTimeForCalls);
        }
        let measures = Measures { ttl, capacity, failure_pause, call_time_limit };
        Ok(KeyStores {
            providers,
            names,
            call_time_limit,
            cache: Arc::new(CekCache::new(measures)),
            signatures: SignatureCache::new(ttl),
            refreshes: Mutex::default(),
        })
    }
}

impl fmt::Debug for KeyStoresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoresBuilder")
            .field("providers", &self.providers.iter().map(|p| p.name()).collect::<Vec<_>>())
            .field("cek_cache_ttl", &self.ttl)
            .field("cek_cache_capacity", &self.capacity)
            .field("failure_pause", &self.failure_pause)
            .field("call_time_limit", &self.call_time_limit)
            .finish()
    }
}

/// Providers that do not go together, or settings that none can serve under. The program that registers
/// them is at fault.
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
    /// The time limit of calls is zero, in which none can succeed.
    #[error(
        "KeyStoresBuilder::call_time_limit is zero, in which no key store can answer; give it some \
         time, or Duration::MAX for no limit"
    )]
    NoTimeForCalls,
}

#[cfg(test)]
mod tests;
