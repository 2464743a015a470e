//! The failures of a moment ago, so that a key store that is down is not asked by every query.
//!
//! A failure is no verdict: it is remembered for the pause and no longer, and only as many are.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{CacheKey, KeyStoreError};

/// How many are remembered. An envelope may have 64 kilobytes, and the server sends as many as it
/// likes.
const LIMIT: usize = 256;

#[derive(Default)]
pub(super) struct Failures {
    errors: HashMap<CacheKey, (Instant, KeyStoreError)>,
    /// The keys of `errors`, oldest first.
    order: VecDeque<CacheKey>,
}

impl Failures {
    pub(super) fn record(&mut self, key: &CacheKey, error: &KeyStoreError, pause: Duration) {
        self.forget_older_than(pause);
        if pause.is_zero() {
            return;
        }
        if self.errors.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
        while self.errors.len() >= LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.errors.remove(&oldest);
        }
        self.errors.insert(CacheKey::clone(key), (Instant::now(), error.clone()));
        self.order.push_back(CacheKey::clone(key));
    }

    /// How the key failed, if that is not longer ago than the pause.
    pub(super) fn recent(&mut self, key: &CacheKey, pause: Duration) -> Option<KeyStoreError> {
        self.forget_older_than(pause);
        self.errors.get(key).map(|(_, error)| error.clone())
    }

    fn forget_older_than(&mut self, pause: Duration) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front()
            && self
                .errors
                .get(oldest)
                .is_none_or(|(at, _)| now.saturating_duration_since(*at) >= pause)
        {
            if let Some(key) = self.order.pop_front() {
                self.errors.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::EncryptedCekValue;

    fn key(n: usize) -> CacheKey {
        CacheKey::new(EncryptedCekValue {
            envelope: n.to_le_bytes().to_vec(),
            provider_name: "store".into(),
            key_path: "path".into(),
            algorithm: "RSA_OAEP".into(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sends_ever_new_keys_does_not_fill_the_memory() {
        let mut failures = Failures::default();
        let (error, pause) = (KeyStoreError::other("down"), Duration::from_secs(1));
        for n in 0..10 * LIMIT {
            failures.record(&key(n), &error, pause);
            failures.record(&key(n), &error, pause);
        }
        assert_eq!((failures.errors.len(), failures.order.len()), (LIMIT, LIMIT));
        assert!(failures.recent(&key(0), pause).is_none());
        assert!(failures.recent(&key(10 * LIMIT - 1), pause).is_some());
        tokio::time::advance(pause).await;
        assert!(failures.recent(&key(10 * LIMIT - 1), pause).is_none());
        assert!(failures.errors.is_empty() && failures.order.is_empty());
    }
}
