//! Verdicts on the signatures of master key definitions, so that a key store is asked once for each.
//!
//! A verdict is kept under all that it is about, and an error is none: what could not be asked is asked
//! again.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many verdicts are kept. Definitions are few; this bounds what a server can have kept.
const CAPACITY: usize = 256;

/// What is signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SignedDefinition {
    /// In lower case.
    pub(super) provider: String,
    pub(super) key_path: String,
    pub(super) allow_enclave_computations: bool,
    pub(super) signature: Vec<u8>,
}

/// The definitions whose signature holds. That one does not hold is not kept: a server could fill the
/// memory with such, and nobody has a use for a fast refusal.
pub(super) struct SignatureCache {
    known: Mutex<Known>,
    ttl: Duration,
}

#[derive(Default)]
struct Known {
    valid: HashSet<Arc<SignedDefinition>>,
    /// The same, oldest first, with the time of the verdict.
    order: VecDeque<(Instant, Arc<SignedDefinition>)>,
}

impl SignatureCache {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { known: Mutex::default(), ttl }
    }

    pub(super) fn holds(&self, definition: &SignedDefinition) -> bool {
        self.known().valid.contains(definition)
    }

    pub(super) fn keep(&self, definition: SignedDefinition) {
        let mut known = self.known();
        if self.ttl.is_zero() || known.valid.contains(&definition) {
            return;
        }
        while known.order.len() >= CAPACITY {
            known.drop_oldest();
        }
        let definition = Arc::new(definition);
        known.valid.insert(Arc::clone(&definition));
        known.order.push_back((Instant::now(), definition));
    }

    pub(super) fn purge(&self) {
        *self.known() = Known::default();
    }

    /// What there is, without what is too old.
    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while known
            .order
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.ttl)
        {
            known.drop_oldest();
        }
        known
    }
}

impl Known {
    fn drop_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.pop_front() {
            self.valid.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(n: u16) -> SignedDefinition {
        SignedDefinition {
            provider: "store".into(),
            key_path: "k".into(),
            allow_enclave_computations: true,
            signature: n.to_le_bytes().to_vec(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn verdicts_are_bounded_and_timed() {
        let cache = SignatureCache::new(Duration::from_secs(10));
        for n in 0..=CAPACITY as u16 {
            cache.keep(definition(n));
            cache.keep(definition(n));
        }
        assert!(!cache.holds(&definition(0)) && cache.holds(&definition(1)));
        assert_eq!(cache.known().valid.len(), CAPACITY);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!cache.holds(&definition(1)));
    }

    #[test]
    fn another_provider_path_flag_or_signature_is_another_question() {
        let cache = SignatureCache::new(Duration::MAX);
        cache.keep(definition(1));
        for other in [
            SignedDefinition { provider: "other".into(), ..definition(1) },
            SignedDefinition { key_path: "K".into(), ..definition(1) },
            SignedDefinition { allow_enclave_computations: false, ..definition(1) },
            definition(2),
        ] {
            assert!(!cache.holds(&other), "{other:?}");
        }
        assert!(cache.holds(&definition(1)));
        cache.purge();
        assert!(!cache.holds(&definition(1)));
    }
}
