//! The failures of a moment ago, so that a key store that is down is not asked by every query.
//!
//! A failure is no verdict: it is remembered for the pause and no longer, and only as many are. Nothing
//! that the server sent is kept but what the error tells of it.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{CacheKey, KeyStoreError};

/// How many are remembered; the server sends as many values as it likes. The error of each may tell a
/// key path, of which the registry takes 4000 characters and no more.
const LIMIT: usize = 256;

/// A value that failed, by its SHA-256: an envelope alone may have 64 kilobytes.
type FailedValue = [u8; 32];

#[derive(Default)]
pub(super) struct Failures {
    errors: HashMap<FailedValue, (Instant, KeyStoreError)>,
    /// The keys of `errors`, oldest first.
    order: VecDeque<FailedValue>,
}

impl Failures {
    pub(super) fn record(&mut self, key: &CacheKey, error: &KeyStoreError, pause: Duration) {
        self.forget_older_than(pause);
        if pause.is_zero() {
            return;
        }
        let value = digest(key);
        if self.errors.remove(&value).is_some() {
            self.order.retain(|known| *known != value);
        }
        while self.errors.len() >= LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.errors.remove(&oldest);
        }
        self.errors.insert(value, (Instant::now(), error.clone()));
        self.order.push_back(value);
    }

    /// How the key failed, if that is not longer ago than the pause.
    pub(super) fn recent(&mut self, key: &CacheKey, pause: Duration) -> Option<KeyStoreError> {
        self.forget_older_than(pause);
        if self.errors.is_empty() {
            return None;
        }
        self.errors.get(&digest(key)).map(|(_, error)| error.clone())
    }

    /// When the oldest is to be forgotten.
    pub(super) fn next_expiry(&self, pause: Duration) -> Option<Instant> {
        let (at, _) = self.errors.get(self.order.front()?)?;
        at.checked_add(pause)
    }

    pub(super) fn forget_older_than(&mut self, pause: Duration) {
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

/// Each part with its length before it, so that no two values run together to the same bytes.
fn digest(key: &CacheKey) -> FailedValue {
    let parts: [&[u8]; 4] = [
        key.provider_name.as_bytes(),
        key.key_path.as_bytes(),
        key.algorithm.as_bytes(),
        &key.envelope,
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
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

    #[tokio::test(start_paused = true)]
    async fn no_envelope_is_kept_for_the_sake_of_its_failure() {
        let (mut failures, key) = (Failures::default(), key(1));
        failures.record(&key, &KeyStoreError::other("down"), Duration::from_secs(1));
        assert_eq!(std::sync::Arc::strong_count(&key), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_of_one_value_is_not_that_of_another_whose_parts_run_together_alike() {
        let (mut failures, pause) = (Failures::default(), Duration::from_secs(1));
        let first = EncryptedCekValue { envelope: vec![], ..EncryptedCekValue::clone(&key(1)) };
        failures.record(&CacheKey::new(first.clone()), &KeyStoreError::other("down"), pause);
        for other in [
            EncryptedCekValue {
                provider_name: "storep".into(),
                key_path: "ath".into(),
                ..first.clone()
            },
            EncryptedCekValue {
                key_path: "pathRSA".into(),
                algorithm: "_OAEP".into(),
                ..first.clone()
            },
            EncryptedCekValue { envelope: vec![0], ..first.clone() },
        ] {
            assert!(failures.recent(&CacheKey::new(other), pause).is_none());
        }
        assert!(failures.recent(&CacheKey::new(first), pause).is_some());
    }
}
