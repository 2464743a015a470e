//! One call to a key store, and those who wait for what comes of it.
//!
//! The outcome is there for all at once, so that a waiter that is not polled any more holds up nobody;
//! nor does a caller that is not: the others wait for it as long as a call may take, and no longer.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::KeyStoreError;

pub(super) struct Flight<T> {
    phase: Mutex<Phase<T>>,
    changed: Notify,
}

enum Phase<T> {
    /// Nobody is making the call: not yet, or whoever did was cancelled.
    Free,
    CalledSince(Instant),
    Landed(Result<T, KeyStoreError>),
}

/// What a part in the flight comes to.
pub(super) enum Turn<T> {
    /// The call is to be made by whoever gets this.
    Yours(Call<T>),
    Landed(Result<T, KeyStoreError>),
    /// The one who makes the call has not ended it in time: it is not being polled.
    Overdue,
}

/// The right to make the call, which passes to another if it is dropped without an outcome.
pub(super) struct Call<T>(Arc<Flight<T>>);

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self { phase: Mutex::new(Phase::Free), changed: Notify::new() }
    }
}

impl<T: Clone> Flight<T> {
    /// Waits until there is an outcome or nobody else makes the call. Nobody's call is waited for
    /// longer than `patience`, counted from its beginning.
    pub(super) async fn turn(self: &Arc<Self>, patience: Duration) -> Turn<T> {
        loop {
            // Made before the look at the phase, so that no change in between goes unnoticed.
            let changed = self.changed.notified();
            let since = match &mut *self.phase() {
                Phase::Landed(outcome) => return Turn::Landed(outcome.clone()),
                Phase::CalledSince(since) => *since,
                free @ Phase::Free => {
                    *free = Phase::CalledSince(Instant::now());
                    return Turn::Yours(Call(Arc::clone(self)));
                }
            };
            match since.checked_add(patience) {
                // Only a runtime has a clock that wakes us.
                Some(end) if Handle::try_current().is_ok() => {
                    let silent = timeout_at(end, changed).await.is_err();
                    if silent && self.is_called_since(since) {
                        return Turn::Overdue;
                    }
                }
                _ => changed.await,
            }
        }
    }
}

impl<T> Flight<T> {
    fn is_called_since(&self, since: Instant) -> bool {
        matches!(&*self.phase(), Phase::CalledSince(begun) if *begun == since)
    }

    fn enter(&self, phase: Phase<T>) {
        let left = mem::replace(&mut *self.phase(), phase);
        drop(left);
        self.changed.notify_waiters();
    }

    /// Nothing under this lock panics.
    fn phase(&self) -> MutexGuard<'_, Phase<T>> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Call<T> {
    pub(super) fn landed(self, outcome: Result<T, KeyStoreError>) {
        self.0.enter(Phase::Landed(outcome));
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        if !matches!(*self.0.phase(), Phase::Landed(_)) {
            self.0.enter(Phase::Free);
        }
    }
}
