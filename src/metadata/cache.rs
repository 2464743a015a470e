//! Descriptions kept for a while, so that a repeated statement costs no round trip.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Description;

/// SqlClient keeps 2,000 descriptions for ten hours.
const CAPACITY: usize = 2000;
const TTL: Duration = Duration::from_secs(10 * 60 * 60);

/// What a description depends on. One cache serves the connections of one connector, that is one
/// server and one login.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DescribeKey {
    /// The current database.
    pub database: String,
    /// The statement's text.
    pub statement: String,
    /// The declarations of its parameters, the lengths of strings and binaries left out: they have
    /// no bearing on the encryption, and differ from value to value.
    pub declarations: String,
}

struct Entry {
    description: Arc<Description>,
    expires: Instant,
}

/// The cache. It reads no clock: whoever asks says what time it is.
pub struct DescribeCache {
    entries: Mutex<HashMap<DescribeKey, Entry>>,
    capacity: usize,
    ttl: Duration,
}

impl Default for DescribeCache {
    fn default() -> Self {
        Self::new(CAPACITY, TTL)
    }
}

impl DescribeCache {
    /// A cache of `capacity` descriptions that are believed for `ttl`; zero of either keeps none.
    #[must_use]
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        Self { entries: Mutex::default(), capacity, ttl }
    }

    /// The description of a statement, if it is known and not too old.
    #[must_use]
    pub fn get(&self, key: &DescribeKey, now: Instant) -> Option<Arc<Description>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get(key) {
            Some(entry) if entry.expires > now => Some(entry.description.clone()),
            Some(_) => {
                entries.remove(key);
                None
            }
            None => None,
        }
    }

    /// Keeps a description.
    pub fn insert(&self, key: DescribeKey, description: Arc<Description>, now: Instant) {
        if self.capacity == 0 || self.ttl.is_zero() {
            return;
        }
        let Some(expires) = now.checked_add(self.ttl) else { return };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            make_room(&mut entries, self.capacity, now);
        }
        entries.insert(key, Entry { description, expires });
    }

    /// Forgets a description that has turned out wrong.
    pub fn remove(&self, key: &DescribeKey) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// How many descriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Drops what has expired and then the oldest tenth, so that a full cache is not sorted at every
/// insertion.
fn make_room(entries: &mut HashMap<DescribeKey, Entry>, capacity: usize, now: Instant) {
    entries.retain(|_, entry| entry.expires > now);
    if entries.len() < capacity {
        return;
    }
    let mut ages: Vec<Instant> = entries.values().map(|e| e.expires).collect();
    let drop = (capacity / 10).max(1).min(ages.len());
    let (_, &mut cut, _) = ages.select_nth_unstable(drop - 1);
    let mut left = drop;
    entries.retain(|_, entry| {
        let goes = left > 0 && entry.expires <= cut;
        left -= usize::from(goes);
        !goes
    });
}

impl std::fmt::Debug for DescribeCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DescribeCache").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> DescribeKey {
        DescribeKey {
            database: "db".into(),
            statement: format!("select {n}"),
            declarations: String::new(),
        }
    }

    #[test]
    fn a_description_is_believed_until_its_time_is_up() {
        let (cache, start) = (DescribeCache::default(), Instant::now());
        cache.insert(key(1), Arc::default(), start);
        assert!(cache.get(&key(1), start + TTL - Duration::from_secs(1)).is_some());
        assert!(cache.get(&key(2), start).is_none());
        assert!(cache.get(&key(1), start + TTL).is_none());
        assert!(cache.is_empty());
    }

    #[test]
    fn the_same_text_in_another_database_is_another_statement() {
        let (cache, now) = (DescribeCache::default(), Instant::now());
        cache.insert(key(1), Arc::default(), now);
        let other = DescribeKey { database: "other".into(), ..key(1) };
        assert!(cache.get(&other, now).is_none());
    }

    #[test]
    fn the_cache_never_holds_more_than_its_capacity_and_drops_the_oldest() {
        let (cache, now) = (DescribeCache::new(20, TTL), Instant::now());
        for n in 0..100u32 {
            let now = now + Duration::from_millis(u64::from(n));
            cache.insert(key(n as usize), Arc::default(), now);
            assert!(cache.len() <= 20);
            assert!(cache.get(&key(n as usize), now).is_some());
        }
        assert!(cache.get(&key(0), now).is_none());
    }

    #[test]
    fn zero_keeps_nothing() {
        let now = Instant::now();
        for cache in [DescribeCache::new(0, TTL), DescribeCache::new(9, Duration::ZERO)] {
            cache.insert(key(1), Arc::default(), now);
            assert!(cache.is_empty());
        }
    }
}
