//! The cache of opened column encryption keys: bounded, timed, one call per key at a time.
//!
//! Owns the opened keys and the calls in flight. It knows nothing of providers: whoever asks brings
//! the call that opens the key.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{EncryptedCekValue, KeyStoreError};
use crate::crypto::{Cek, CellKey};

/// What a key is cached under: all that decides how it is opened, the provider's name folded.
///
/// The envelope is part of it, so that a value that the server swaps is never answered with the key
/// of another, and so is the path: a cache by path alone would mix up the keys of one master key.
pub(super) type CacheKey = Arc<EncryptedCekValue>;

type Outcome = Result<Arc<CellKey>, KeyStoreError>;

/// Opened keys, for the time and up to the number that were configured.
pub(super) struct CekCache {
    /// Shared with the timers that wipe expired keys.
    state: Arc<Mutex<State>>,
    ttl: Duration,
    capacity: usize,
    hits: AtomicU64,
    misses: AtomicU64,
    unwraps: AtomicU64,
}

#[derive(Default)]
struct State {
    entries: HashMap<CacheKey, Entry>,
    /// The keys of `entries`, oldest first. All live equally long, so this is also the order in
    /// which they expire.
    order: VecDeque<CacheKey>,
    flights: HashMap<CacheKey, Boarding>,
}

struct Entry {
    opened: Instant,
    key: Arc<CellKey>,
}

/// A call in flight and how many callers take part in it.
struct Boarding {
    flight: Arc<Flight>,
    passengers: usize,
}

/// Whoever holds the lock makes the call; the others wait for the lock and find the outcome. If the
/// holder is cancelled there is no outcome, and the next in line makes the call.
type Flight = tokio::sync::Mutex<Option<Outcome>>;

/// A look at the cache.
enum Lookup<'a> {
    Hit(Arc<CellKey>),
    Miss(Passenger<'a>),
}

/// One caller's part in a flight, given up on drop, so that cancelled callers leave nothing behind.
struct Passenger<'a> {
    cache: &'a CekCache,
    key: CacheKey,
    flight: Arc<Flight>,
}

/// What the CEK cache of a connector did since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CekCacheStatistics {
    /// How often a key came from the cache.
    pub hits: u64,
    /// How often a key was not in the cache. Callers that waited for another's call count too.
    pub misses: u64,
    /// How many calls to a provider's `unwrap_cek` were begun, the failed ones included.
    pub unwraps: u64,
    /// How many keys the cache holds now, expired ones not counted.
    pub entries: usize,
}

impl CekCache {
    /// A `ttl` or a `capacity` of zero caches nothing; calls are still made one at a time per key.
    pub(super) fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            state: Arc::default(),
            ttl,
            capacity,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            unwraps: AtomicU64::new(0),
        }
    }

    /// The key, if it is in the cache.
    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<CellKey>> {
        let found = self.state().lookup(key, self.ttl)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// The key from the cache, or from `open`, or from the `open` of another caller that is already
    /// on its way. A failure goes to those who wait for it and is then forgotten.
    pub(super) async fn get_or_open<F>(&self, key: &CacheKey, open: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<Cek, KeyStoreError>>,
    {
        let passenger = match self.board(key) {
            Lookup::Hit(found) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(found);
            }
            Lookup::Miss(passenger) => passenger,
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let mut outcome = passenger.flight.lock().await;
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        self.unwraps.fetch_add(1, Ordering::Relaxed);
        let opened = open().await.map(|cek| Arc::new(CellKey::new(&cek)));
        *outcome = Some(opened.clone());
        self.land(&passenger, &opened);
        opened
    }

    /// Forgets every key. Calls in flight end as they would, but their keys are not cached.
    pub(super) fn purge(&self) {
        let mut state = self.state();
        state.entries.clear();
        state.order.clear();
        state.flights.clear();
    }

    pub(super) fn statistics(&self) -> CekCacheStatistics {
        let entries = {
            let mut state = self.state();
            state.drop_expired(self.ttl);
            state.entries.len()
        };
        CekCacheStatistics {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            unwraps: self.unwraps.load(Ordering::Relaxed),
            entries,
        }
    }

    /// Nothing under this lock panics halfway through a change, so a poisoned state is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Drops, and so wipes, what has just been cached when its time is up, whether or not anybody
    /// comes back for it.
    fn wipe_on_expiry(&self) {
        let (state, ttl) = (Arc::downgrade(&self.state), self.ttl);
        tokio::spawn(async move {
            tokio::time::sleep(ttl).await;
            if let Some(state) = state.upgrade() {
                lock(&state).drop_expired(ttl);
            }
        });
    }

    /// Finds the key or takes part in the flight for it, in one step.
    fn board(&self, key: &CacheKey) -> Lookup<'_> {
        let mut state = self.state();
        if let Some(found) = state.lookup(key, self.ttl) {
            return Lookup::Hit(found);
        }
        let boarding = state
            .flights
            .entry(Arc::clone(key))
            .or_insert_with(|| Boarding { flight: Arc::default(), passengers: 0 });
        boarding.passengers += 1;
        let flight = Arc::clone(&boarding.flight);
        Lookup::Miss(Passenger { cache: self, key: Arc::clone(key), flight })
    }

    /// Ends a flight and caches its key, unless a purge cancelled the flight meanwhile.
    fn land(&self, passenger: &Passenger<'_>, outcome: &Outcome) {
        let mut state = self.state();
        if !state.is_current(passenger) {
            return;
        }
        state.flights.remove(&passenger.key);
        if let Ok(key) = outcome {
            state.insert(&passenger.key, key, self.ttl, self.capacity);
            drop(state);
            if !self.ttl.is_zero() && tokio::runtime::Handle::try_current().is_ok() {
                self.wipe_on_expiry();
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn lookup(&mut self, key: &CacheKey, ttl: Duration) -> Option<Arc<CellKey>> {
        self.drop_expired(ttl);
        self.entries.get(key).map(|entry| Arc::clone(&entry.key))
    }

    fn insert(&mut self, key: &CacheKey, opened: &Arc<CellKey>, ttl: Duration, capacity: usize) {
        self.drop_expired(ttl);
        if ttl.is_zero() || capacity == 0 || self.entries.contains_key(key) {
            return;
        }
        while self.entries.len() >= capacity {
            self.drop_oldest();
        }
        let entry = Entry { opened: Instant::now(), key: Arc::clone(opened) };
        self.entries.insert(Arc::clone(key), entry);
        self.order.push_back(Arc::clone(key));
    }

    /// Dropping the last `Arc` of a [`CellKey`] wipes it.
    fn drop_expired(&mut self, ttl: Duration) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front().and_then(|key| self.entries.get(key)) {
            if now.saturating_duration_since(oldest.opened) < ttl {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        match self.order.pop_front() {
            Some(key) => drop(self.entries.remove(&key)),
            None => self.entries.clear(),
        }
    }

    fn is_current(&self, passenger: &Passenger<'_>) -> bool {
        self.flights
            .get(&passenger.key)
            .is_some_and(|boarding| Arc::ptr_eq(&boarding.flight, &passenger.flight))
    }
}

impl Drop for Passenger<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if !state.is_current(self) {
            return;
        }
        if let Some(boarding) = state.flights.get_mut(&self.key) {
            boarding.passengers -= 1;
            if boarding.passengers == 0 {
                state.flights.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> CacheKey {
        Arc::new(EncryptedCekValue {
            envelope: vec![n],
            provider_name: "store".into(),
            key_path: "path".into(),
            algorithm: "RSA_OAEP".into(),
        })
    }

    async fn open(cache: &CekCache, n: u8) -> Arc<CellKey> {
        cache.get_or_open(&key(n), || async move { Ok(Cek::from([n; 32])) }).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_used_all_the_time_still_expires() {
        let cache = CekCache::new(Duration::from_secs(100), 10);
        let opened = open(&cache, 1).await;
        for _ in 0..9 {
            tokio::time::advance(Duration::from_secs(11)).await;
            assert!(cache.get(&key(1)).is_some());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.get(&key(1)).is_none());
        assert_eq!(Arc::strong_count(&opened), 1, "the cache kept an expired key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_nobody_comes_back_for_is_wiped_when_its_time_is_up() {
        let cache = CekCache::new(Duration::from_secs(100), 10);
        let opened = Arc::downgrade(&open(&cache, 1).await);
        // The timer begins when its task does.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_secs(99)).await;
        assert!(opened.upgrade().is_some());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(opened.upgrade().is_none(), "nobody looked, and the key is still there");
    }

    #[tokio::test(start_paused = true)]
    async fn another_keys_insertion_drops_the_expired_ones() {
        let cache = CekCache::new(Duration::from_secs(100), 10);
        let opened = open(&cache, 1).await;
        tokio::time::advance(Duration::from_secs(100)).await;
        open(&cache, 2).await;
        assert_eq!(Arc::strong_count(&opened), 1);
        assert_eq!(cache.statistics().entries, 1);
    }

    #[tokio::test]
    async fn a_full_cache_lets_the_oldest_go() {
        let cache = CekCache::new(Duration::MAX, 2);
        for n in 1..=3 {
            open(&cache, n).await;
        }
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(2)).is_some() && cache.get(&key(3)).is_some());
    }

    #[tokio::test]
    async fn with_no_time_to_live_nothing_stays() {
        for cache in [CekCache::new(Duration::ZERO, 10), CekCache::new(Duration::MAX, 0)] {
            let opened = open(&cache, 1).await;
            assert_eq!(Arc::strong_count(&opened), 1);
            open(&cache, 1).await;
            assert_eq!(cache.statistics().unwraps, 2);
        }
    }

    #[tokio::test]
    async fn a_purge_keeps_a_call_in_flight_from_filling_the_cache_again() {
        let cache = CekCache::new(Duration::MAX, 10);
        let key = key(1);
        let opened = cache
            .get_or_open(&key, || async {
                cache.purge();
                Ok(Cek::from([1; 32]))
            })
            .await
            .unwrap();
        assert_eq!(Arc::strong_count(&opened), 1);
        assert!(cache.get(&key).is_none());
    }

    #[tokio::test]
    async fn cancelled_callers_leave_no_flight_behind() {
        let cache = CekCache::new(Duration::MAX, 10);
        for _ in 0..3 {
            let key = key(1);
            let never = cache.get_or_open(&key, std::future::pending);
            let also_never = cache.get_or_open(&key, std::future::pending);
            let both = async { tokio::join!(never, also_never) };
            assert!(tokio::time::timeout(Duration::from_millis(1), both).await.is_err());
            assert!(cache.state().flights.is_empty());
        }
    }
}
