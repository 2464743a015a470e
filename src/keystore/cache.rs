//! The cache of opened column encryption keys: bounded, timed, one call per key at a time.
//!
//! Owns the opened keys, the calls in flight and the failures of a moment ago. It knows nothing of
//! providers: whoever asks brings the call that opens the key.

mod failures;
mod statistics;
#[cfg(test)]
mod tests;
mod timer;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use self::{failures::Failures, statistics::Counters, timer::Timer};
use super::{
    EncryptedCekValue, KeyStoreError, events,
    flight::{self, Turn},
};
use crate::crypto::{Cek, CellKey};

pub use self::statistics::CekCacheStatistics;

/// A key that is used in the last tenth of its time is renewed ahead.
const REFRESH_SHARE: u32 = 10;
/// How soon a renewal that failed is tried again, at the earliest.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// How long a caller has, once its call has been given up, to tell those who wait for it.
const GRACE: Duration = Duration::from_secs(1);

/// What a key is cached under: all that decides how it is opened, the names of provider and algorithm
/// folded.
///
/// The envelope is part of it, so that a value that the server swaps is never answered with the key
/// of another, and so is the path: a cache by path alone would mix up the keys of one master key.
pub(super) type CacheKey = Arc<EncryptedCekValue>;

type Outcome = Result<Arc<CellKey>, KeyStoreError>;
type Flight = flight::Flight<Arc<CellKey>>;
type Call = flight::Call<Arc<CellKey>>;

/// The measures of a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measures {
    /// How long a key stays; zero caches nothing.
    pub(super) ttl: Duration,
    /// How many keys stay; zero caches nothing.
    pub(super) capacity: usize,
    /// How long a value that failed is not asked for again.
    pub(super) failure_pause: Duration,
    /// When those who make a call give it up; others wait for theirs a little longer than that.
    pub(super) call_time_limit: Duration,
}

/// Opened keys, for the time and up to the number that were configured.
pub(super) struct CekCache {
    /// Shared with the timer that wipes expired keys.
    state: Arc<Mutex<State>>,
    measures: Measures,
    counters: Counters,
}

#[derive(Default)]
struct State {
    entries: HashMap<CacheKey, Entry>,
    /// The keys of `entries`, oldest first. All live equally long, so this is also the order in
    /// which they expire.
    order: VecDeque<CacheKey>,
    flights: HashMap<CacheKey, Boarding>,
    failures: Failures,
    /// While there is something that will expire.
    timer: Option<Timer>,
}

struct Entry {
    opened: Instant,
    key: Arc<CellKey>,
    /// From when on a use has the key renewed. `None` while that is under way.
    refresh_from: Option<Instant>,
}

/// A call in flight and how many callers take part in it.
struct Boarding {
    flight: Arc<Flight>,
    passengers: usize,
}

/// A key that was in the cache.
pub(super) struct Found {
    pub(super) key: Arc<CellKey>,
    /// Its time is almost up, and the one who gets this is to have it renewed.
    pub(super) refresh: bool,
}

/// A look at the cache.
enum Lookup<'a> {
    Hit(Arc<CellKey>),
    FailedJustNow(KeyStoreError),
    Miss(Passenger<'a>),
}

/// One caller's part in a flight, given up on drop, so that cancelled callers leave nothing behind.
struct Passenger<'a> {
    cache: &'a CekCache,
    key: CacheKey,
    flight: Arc<Flight>,
}

impl CekCache {
    /// With a time or a capacity of zero, calls are still made one at a time per key.
    pub(super) fn new(measures: Measures) -> Self {
        Self { state: Arc::default(), measures, counters: Counters::default() }
    }

    /// The key, if it is in the cache.
    pub(super) fn get(&self, key: &CacheKey) -> Option<Found> {
        let found = self.state().find(key, self.measures)?;
        self.counters.hit();
        events::hit(key);
        Some(found)
    }

    /// The key from the cache, or from `open`, or from the `open` of another caller that is already
    /// on its way. A failure goes to those who wait for it and to those who come in the pause
    /// behind it, and is then forgotten.
    pub(super) async fn get_or_open<F>(&self, key: &CacheKey, open: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<Cek, KeyStoreError>>,
    {
        match self.board(key) {
            Lookup::Hit(found) => {
                self.counters.hit();
                events::hit(key);
                Ok(found)
            }
            Lookup::FailedJustNow(error) => {
                self.counters.held_back();
                Err(error)
            }
            Lookup::Miss(passenger) => {
                self.counters.miss();
                events::miss(key);
                self.fly(passenger, open).await
            }
        }
    }

    /// Opens a key anew while it is still in the cache; until that has happened the old one stays.
    pub(super) async fn refresh<F>(&self, key: &CacheKey, open: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Cek, KeyStoreError>>,
    {
        let passenger = self.take_part(&mut self.state(), key);
        self.counters.refresh();
        events::refresh(key);
        // Whether it worked shows at the next use, which finds a fresh key, the old one, or none.
        let _ = self.fly(passenger, open).await;
    }

    /// Makes the call, or waits for the one who does, or makes it in the place of one who does not
    /// come to an end.
    async fn fly<F>(&self, mut passenger: Passenger<'_>, open: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Result<Cek, KeyStoreError>>,
    {
        let patience = self.measures.call_time_limit.saturating_add(GRACE);
        loop {
            match passenger.flight.turn(patience).await {
                Turn::Landed(outcome) => return outcome,
                Turn::Yours(call) => return self.call(&passenger, call, open).await,
                Turn::Overdue => match self.rebook(&passenger) {
                    Lookup::Hit(found) => return Ok(found),
                    Lookup::FailedJustNow(error) => return Err(error),
                    Lookup::Miss(rebooked) => passenger = rebooked,
                },
            }
        }
    }

    async fn call<F>(
        &self,
        passenger: &Passenger<'_>,
        call: Call,
        open: impl FnOnce() -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<Cek, KeyStoreError>>,
    {
        let begun = Instant::now();
        self.counters.unwrap_begun();
        let opened = open().await.map(|cek| Arc::new(CellKey::new(&cek)));
        let took = begun.elapsed();
        self.counters.unwrap_ended(took, opened.is_ok());
        events::unwrapped(&passenger.key, took, opened.as_ref().err());
        self.land(passenger, &opened);
        call.landed(opened.clone());
        opened
    }

    /// Forgets every key and every failure. Calls in flight end as they would, but what comes of
    /// them is not kept.
    pub(super) fn purge(&self) {
        let mut state = self.state();
        let entries = state.entries.len();
        *state = State::default();
        drop(state);
        events::purge(entries);
    }

    pub(super) fn statistics(&self) -> CekCacheStatistics {
        let entries = {
            let mut state = self.state();
            state.drop_expired(self.measures);
            state.entries.len()
        };
        self.counters.read(entries)
    }

    /// Nothing under this lock panics halfway through a change, so a poisoned state is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Finds the key, or takes part in the flight for it, or learns why there is none, in one step.
    fn board(&self, key: &CacheKey) -> Lookup<'_> {
        let mut state = self.state();
        if let Some(found) = state.lookup(key, self.measures) {
            return Lookup::Hit(found);
        }
        // A call that is on its way knows more than one that has failed.
        if !state.flights.contains_key(key)
            && let Some(error) = state.failures.recent(key, self.measures.failure_pause)
        {
            return Lookup::FailedJustNow(error);
        }
        Lookup::Miss(self.take_part(&mut state, key))
    }

    /// Leaves a flight that does not come to an end for the one that takes its place. What comes of
    /// the old one is not kept, as after a purge.
    fn rebook(&self, passenger: &Passenger<'_>) -> Lookup<'_> {
        let mut state = self.state();
        if state.is_current(passenger) {
            state.flights.remove(&passenger.key);
            return Lookup::Miss(self.take_part(&mut state, &passenger.key));
        }
        drop(state);
        self.board(&passenger.key)
    }

    fn take_part(&self, state: &mut State, key: &CacheKey) -> Passenger<'_> {
        let boarding = state
            .flights
            .entry(Arc::clone(key))
            .or_insert_with(|| Boarding { flight: Arc::default(), passengers: 0 });
        boarding.passengers += 1;
        Passenger { cache: self, key: Arc::clone(key), flight: Arc::clone(&boarding.flight) }
    }

    /// Ends a flight and keeps what came of it, unless a purge has ended the flight meanwhile.
    fn land(&self, passenger: &Passenger<'_>, outcome: &Outcome) {
        let mut state = self.state();
        if !state.is_current(passenger) {
            return;
        }
        state.flights.remove(&passenger.key);
        match outcome {
            Ok(key) => state.insert(&passenger.key, key, self.measures),
            Err(error) => state.failed(&passenger.key, error, self.measures.failure_pause),
        }
        Timer::keep(&mut state, &self.state, self.measures);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn lookup(&mut self, key: &CacheKey, measures: Measures) -> Option<Arc<CellKey>> {
        self.drop_expired(measures);
        self.entries.get(key).map(|entry| Arc::clone(&entry.key))
    }

    /// The same, and says once when the key is to be renewed.
    fn find(&mut self, key: &CacheKey, measures: Measures) -> Option<Found> {
        self.drop_expired(measures);
        let entry = self.entries.get_mut(key)?;
        let refresh = entry.refresh_from.take_if(|from| *from <= Instant::now()).is_some();
        Some(Found { key: Arc::clone(&entry.key), refresh })
    }

    fn insert(&mut self, key: &CacheKey, opened: &Arc<CellKey>, measures: Measures) {
        let Measures { ttl, capacity, .. } = measures;
        self.drop_expired(measures);
        if ttl.is_zero() || capacity == 0 {
            return;
        }
        if self.entries.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
        while self.entries.len() >= capacity {
            self.drop_oldest();
        }
        let now = Instant::now();
        let entry = Entry {
            opened: now,
            key: Arc::clone(opened),
            refresh_from: now.checked_add(ttl - ttl / REFRESH_SHARE),
        };
        self.entries.insert(Arc::clone(key), entry);
        self.order.push_back(Arc::clone(key));
    }

    fn failed(&mut self, key: &CacheKey, error: &KeyStoreError, pause: Duration) {
        self.failures.record(key, error, pause);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.refresh_from = Instant::now().checked_add(pause.max(REFRESH_PAUSE));
        }
    }

    /// Dropping the last `Arc` of a [`CellKey`] wipes it.
    fn drop_expired(&mut self, measures: Measures) {
        self.failures.forget_older_than(measures.failure_pause);
        let now = Instant::now();
        while let Some(oldest) = self.order.front().and_then(|key| self.entries.get(key)) {
            if now.saturating_duration_since(oldest.opened) < measures.ttl {
                break;
            }
            self.drop_oldest();
        }
    }

    fn next_expiry(&self, measures: Measures) -> Option<Instant> {
        let oldest = self.order.front().and_then(|key| self.entries.get(key));
        let entry = oldest.and_then(|oldest| oldest.opened.checked_add(measures.ttl));
        let failure = self.failures.next_expiry(measures.failure_pause);
        entry.into_iter().chain(failure).min()
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
