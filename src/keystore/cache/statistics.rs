//! What the cache has done, counted.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What the CEK cache of a connector did since it was built.
///
/// `failures` beside `unwraps` tells how a key store is doing, `unwrap_time_total / unwraps` how fast
/// it is. The events of the cargo feature `tracing` say which key it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CekCacheStatistics {
    /// How often a key came from the cache.
    pub hits: u64,
    /// How often a key was not in the cache. Callers that waited for another's call count too.
    pub misses: u64,
    /// How often a caller was given the failure of a moment ago instead of a call.
    pub held_back: u64,
    /// How many calls to a provider's `unwrap_cek` were begun, the failed ones included.
    pub unwraps: u64,
    /// How many of these calls failed, took too long or panicked. Cancelled ones do not count.
    pub failures: u64,
    /// How many times a key was to be renewed ahead of its expiry. Their calls are among `unwraps`.
    pub refreshes: u64,
    /// How long the calls that ended took together.
    pub unwrap_time_total: Duration,
    /// How long the longest of them took.
    pub unwrap_time_max: Duration,
    /// How many keys the cache holds now, expired ones not counted.
    pub entries: usize,
}

#[derive(Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    held_back: AtomicU64,
    unwraps: AtomicU64,
    failures: AtomicU64,
    refreshes: AtomicU64,
    /// In nanoseconds.
    unwrap_time_total: AtomicU64,
    /// In nanoseconds.
    unwrap_time_max: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn hit(&self) {
        count(&self.hits);
    }

    pub(super) fn miss(&self) {
        count(&self.misses);
    }

    pub(super) fn held_back(&self) {
        count(&self.held_back);
    }

    pub(super) fn refresh(&self) {
        count(&self.refreshes);
    }

    pub(super) fn unwrap_begun(&self) {
        count(&self.unwraps);
    }

    pub(super) fn unwrap_ended(&self, took: Duration, opened: bool) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.unwrap_time_total.fetch_add(nanos, Ordering::Relaxed);
        self.unwrap_time_max.fetch_max(nanos, Ordering::Relaxed);
        if !opened {
            count(&self.failures);
        }
    }

    pub(super) fn read(&self, entries: usize) -> CekCacheStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CekCacheStatistics {
            hits: read(&self.hits),
            misses: read(&self.misses),
            held_back: read(&self.held_back),
            unwraps: read(&self.unwraps),
            failures: read(&self.failures),
            refreshes: read(&self.refreshes),
            unwrap_time_total: Duration::from_nanos(read(&self.unwrap_time_total)),
            unwrap_time_max: Duration::from_nanos(read(&self.unwrap_time_max)),
            entries,
        }
    }
}
