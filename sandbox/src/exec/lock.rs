//! Writers take turns. A session holds the lock for a transaction or, outside of one, for a statement; readers never
//! need it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct WriteLock {
    held: Mutex<bool>,
    freed: Condvar,
}

/// How often a waiting session looks whether its client has given up.
const LOOK: Duration = Duration::from_millis(20);

impl WriteLock {
    /// False if `cancelled` was set before the lock was free.
    pub(crate) fn acquire(&self, cancelled: &AtomicBool) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held {
            if cancelled.load(Ordering::SeqCst) {
                return false;
            }
            held = self.freed.wait_timeout(held, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *held = true;
        true
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.freed.notify_one();
    }
}
