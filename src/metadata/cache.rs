//! What the server has said, kept for a while, so that a repeated statement costs no round trip.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use super::{CatalogueObject, Described, ObjectKind, ObjectName, expiring::Expiring};

/// SqlClient keeps 2,000 descriptions for ten hours.
const CAPACITY: usize = 2000;
const TTL: Duration = Duration::from_secs(10 * 60 * 60);

/// What a description depends on. One cache serves the connections of one connector, that is one
/// server and one login, and with the database the login's default schema is given.
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

/// An object of the catalogue, as seen from a database.
type ObjectKey = (String, ObjectName, ObjectKind);

/// Descriptions of statements and types of columns. It reads no clock: whoever asks says what time
/// it is.
pub struct MetadataCache {
    descriptions: Expiring<DescribeKey, Arc<Described>>,
    objects: Expiring<ObjectKey, Arc<CatalogueObject>>,
    /// Counts how often everything has been forgotten.
    generation: AtomicU64,
    /// Statements that somebody is asking about, and who waits for the answer.
    asking: Mutex<HashMap<DescribeKey, Vec<Waker>>>,
}

/// Who asks the server about a statement.
#[derive(Debug)]
pub enum Claim {
    /// Nobody needs to: it is known.
    Known(Arc<Described>),
    /// Whoever holds the ticket.
    Yours(Ticket),
    /// Another connection, already. [`MetadataCache::is_settled`] says when it has.
    Busy,
}

/// The right and duty to ask about a statement. When it is dropped, those who wait go on.
pub struct Ticket {
    cache: Arc<MetadataCache>,
    /// `None` if nobody waits for it.
    key: Option<DescribeKey>,
}

impl Default for MetadataCache {
    fn default() -> Self {
        Self::new(CAPACITY, TTL)
    }
}

impl MetadataCache {
    /// A cache of `capacity` descriptions and as many tables that are believed for `ttl`; zero of
    /// either keeps none.
    #[must_use]
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            descriptions: Expiring::new(capacity, ttl),
            objects: Expiring::new(capacity, ttl),
            generation: AtomicU64::new(0),
            asking: Mutex::default(),
        }
    }

    /// Says which state the cache is in. What the server is asked in one is not kept in another.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// How long what is kept is believed.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.descriptions.ttl()
    }

    /// The description of a statement, if it is known and not too old.
    #[must_use]
    pub fn get(&self, key: &DescribeKey, now: Instant) -> Option<Arc<Described>> {
        self.descriptions.get(key, now)
    }

    /// The description of a statement, or the right to ask for it. Of many connections that need
    /// one at the same time, one asks.
    #[must_use]
    pub fn claim(self: &Arc<Self>, key: &DescribeKey, now: Instant) -> Claim {
        let mut asking = self.lock_asking();
        if let Some(described) = self.descriptions.get(key, now) {
            return Claim::Known(described);
        }
        if asking.contains_key(key) {
            return Claim::Busy;
        }
        // Where nothing is kept there is nothing to wait for.
        let awaited = self.descriptions.keeps();
        if awaited {
            asking.insert(key.clone(), Vec::new());
        }
        Claim::Yours(Ticket { cache: self.clone(), key: awaited.then(|| key.clone()) })
    }

    /// Whether nobody is asking about a statement any more. If somebody is, `waker` is woken at the
    /// end of it.
    pub fn is_settled(&self, key: &DescribeKey, waker: &Waker) -> bool {
        let mut asking = self.lock_asking();
        let Some(waiting) = asking.get_mut(key) else { return true };
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        false
    }

    /// Keeps a description, unless everything has been forgotten since the
    /// [generation](Self::generation) in which the server was asked.
    pub fn insert(
        &self,
        key: DescribeKey,
        described: Arc<Described>,
        (generation, now): (u64, Instant),
    ) {
        let holds = || generation == self.generation();
        self.descriptions.insert_if(key, described, now, holds);
    }

    /// Forgets a description that has turned out wrong.
    pub fn remove(&self, key: &DescribeKey) {
        self.descriptions.remove(key);
    }

    /// The columns of a table, if they are known and not too old.
    #[must_use]
    pub fn object(
        &self,
        database: &str,
        name: &ObjectName,
        kind: ObjectKind,
        now: Instant,
    ) -> Option<Arc<CatalogueObject>> {
        self.objects.get(&object_key(database, name, kind), now)
    }

    /// Keeps the columns of a table, on the same condition. A temporary one is another for every connection, and what is
    /// not there may be created at any time, so neither is kept.
    pub fn insert_object(
        &self,
        database: &str,
        name: &ObjectName,
        kind: ObjectKind,
        object: Arc<CatalogueObject>,
        (generation, now): (u64, Instant),
    ) {
        if !object.is_unknown() && !name.name.starts_with('#') {
            let holds = || generation == self.generation();
            self.objects.insert_if(object_key(database, name, kind), object, now, holds);
        }
    }

    /// Forgets the columns of a table.
    pub fn remove_object(&self, database: &str, name: &ObjectName, kind: ObjectKind) {
        self.objects.remove(&object_key(database, name, kind));
    }

    /// Forgets everything: the schema of some database has changed.
    pub fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.descriptions.retain(|_| false);
        self.objects.retain(|_| false);
    }

    /// How many descriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.descriptions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock_asking(&self) -> MutexGuard<'_, HashMap<DescribeKey, Vec<Waker>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names are taken as the statement has them: in another case, or with the default schema
/// written out, a table is asked for once more.
fn object_key(database: &str, name: &ObjectName, kind: ObjectKind) -> ObjectKey {
    (database.to_owned(), name.clone(), kind)
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        let waiting = self.cache.lock_asking().remove(key);
        for waker in waiting.unwrap_or_default() {
            waker.wake();
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MetadataCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataCache").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    fn key(n: usize) -> DescribeKey {
        DescribeKey {
            database: "db".into(),
            statement: format!("select {n}"),
            declarations: String::new(),
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_same_text_in_another_database_is_another_statement() {
        let (cache, now) = (MetadataCache::default(), Instant::now());
        cache.insert(key(1), Arc::default(), (0, now));
        let other = DescribeKey { database: "other".into(), ..key(1) };
        assert!(cache.get(&key(1), now).is_some());
        assert!(cache.get(&other, now).is_none());
    }

    #[test]
    fn of_many_that_need_a_description_one_asks_and_the_others_are_woken() {
        let (cache, now) = (Arc::new(MetadataCache::default()), Instant::now());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let Claim::Yours(ticket) = cache.claim(&key(1), now) else { panic!() };
        assert!(matches!(cache.claim(&key(1), now), Claim::Busy));
        assert!(matches!(cache.claim(&key(2), now), Claim::Yours(_)));
        assert!(!cache.is_settled(&key(1), &waker));
        assert!(!cache.is_settled(&key(1), &waker));
        cache.insert(key(1), Arc::default(), (0, now));
        drop(ticket);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(cache.is_settled(&key(1), &waker));
        assert!(matches!(cache.claim(&key(1), now), Claim::Known(_)));
    }

    #[test]
    fn what_was_asked_before_everything_was_forgotten_is_not_kept() {
        let (cache, now) = (MetadataCache::default(), Instant::now());
        let asked_in = cache.generation();
        cache.clear();
        cache.insert(key(1), Arc::default(), (asked_in, now));
        assert!(cache.get(&key(1), now).is_none());
        cache.insert(key(1), Arc::default(), (cache.generation(), now));
        assert!(cache.get(&key(1), now).is_some());
    }

    #[test]
    fn where_nothing_is_kept_nobody_waits() {
        let cache = Arc::new(MetadataCache::new(0, TTL));
        let first = cache.claim(&key(1), Instant::now());
        assert!(matches!(cache.claim(&key(1), Instant::now()), Claim::Yours(_)));
        drop(first);
    }

    #[test]
    fn whoever_gives_up_asking_leaves_it_to_the_next() {
        let (cache, now) = (Arc::new(MetadataCache::default()), Instant::now());
        drop(cache.claim(&key(1), now));
        assert!(matches!(cache.claim(&key(1), now), Claim::Yours(_)));
    }
}
