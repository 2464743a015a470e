//! A bounded map whose entries are believed for a while.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// It reads no clock: whoever asks says what time it is.
pub(super) struct Expiring<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    capacity: usize,
    ttl: Duration,
}

struct Entry<V> {
    value: V,
    expires: Instant,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    /// At most `capacity` entries that are believed for `ttl`; zero of either keeps none.
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self { entries: Mutex::default(), capacity, ttl }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if it is there and not too old.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let mut entries = self.lock();
        match entries.get(key) {
            Some(entry) if entry.expires > now => Some(entry.value.clone()),
            Some(_) => {
                entries.remove(key);
                None
            }
            None => None,
        }
    }

    /// Whether anything is kept at all.
    pub(super) fn keeps(&self) -> bool {
        self.capacity > 0 && !self.ttl.is_zero()
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Keeps the value if the condition holds once nobody else can change anything.
    pub(super) fn insert_if(&self, key: K, value: V, now: Instant, holds: impl FnOnce() -> bool) {
        if !self.keeps() {
            return;
        }
        let Some(expires) = now.checked_add(self.ttl) else { return };
        let mut entries = self.lock();
        if !holds() {
            return;
        }
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            make_room(&mut entries, self.capacity, now);
        }
        entries.insert(key, Entry { value, expires });
    }

    pub(super) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Keeps the entries whose keys `keep` wants.
    pub(super) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| keep(key));
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// Drops what has expired and then the oldest tenth, so that a full map is not sorted at every
/// insertion.
fn make_room<K: Eq + Hash, V>(entries: &mut HashMap<K, Entry<V>>, capacity: usize, now: Instant) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);

    #[test]
    fn an_entry_is_believed_until_its_time_is_up() {
        let (map, start) = (Expiring::new(10, TTL), Instant::now());
        map.insert_if(1, 'z', start, || false);
        assert_eq!(map.get(&1, start), None);
        map.insert_if(1, 'a', start, || true);
        assert_eq!(map.get(&1, start + TTL - Duration::from_secs(1)), Some('a'));
        assert_eq!(map.get(&2, start), None);
        assert_eq!(map.get(&1, start + TTL), None);
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn it_never_holds_more_than_its_capacity_and_drops_the_oldest() {
        let (map, now) = (Expiring::new(20, TTL), Instant::now());
        for n in 0..100u32 {
            let now = now + Duration::from_millis(u64::from(n));
            map.insert_if(n, n, now, || true);
            assert!(map.len() <= 20);
            assert_eq!(map.get(&n, now), Some(n));
        }
        assert_eq!(map.get(&0, now), None);
    }

    #[test]
    fn zero_keeps_nothing() {
        let now = Instant::now();
        for map in [Expiring::new(0, TTL), Expiring::new(9, Duration::ZERO)] {
            map.insert_if(1, 1, now, || true);
            assert_eq!(map.len(), 0);
        }
    }
}
