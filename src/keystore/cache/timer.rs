//! The one task of a cache that drops what has expired, whether or not anybody comes back for it.
//!
//! It sleeps until the next expiry, and ends when there is none to wait for or the cache goes.

use std::sync::{Arc, Mutex, Weak};

use tokio::{
    runtime::{self, Handle},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{Measures, State, lock};

pub(super) struct Timer {
    task: AbortHandle,
    runtime: runtime::Id,
    /// When it looks next, at the latest.
    until: Instant,
}

impl Timer {
    /// Sees to it that somebody looks at the next expiry. Without a runtime, what has expired goes with
    /// the next look at the cache.
    pub(super) fn keep(state: &mut State, shared: &Arc<Mutex<State>>, measures: Measures) {
        let (Ok(runtime), Some(until)) = (Handle::try_current(), state.next_expiry(measures))
        else {
            return;
        };
        // One that runs elsewhere may be on a runtime that idles.
        let serves = |timer: &Timer| {
            timer.until <= until && timer.runtime == runtime.id() && !timer.task.is_finished()
        };
        if !state.timer.as_ref().is_some_and(serves) {
            let task = runtime.spawn(tick(Arc::downgrade(shared), measures)).abort_handle();
            state.timer = Some(Self { task, runtime: runtime.id(), until });
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Has no hold on the state while it sleeps. One that has been replaced may tick once more, which
/// changes nothing: there is one next expiry.
async fn tick(shared: Weak<Mutex<State>>, measures: Measures) {
    while let Some(until) = shared.upgrade().and_then(|shared| look(&shared, measures)) {
        sleep_until(until).await;
    }
}

/// Drops what has expired and tells when the next does.
fn look(shared: &Mutex<State>, measures: Measures) -> Option<Instant> {
    let mut state = lock(shared);
    state.drop_expired(measures);
    let next = state.next_expiry(measures);
    match (next, &mut state.timer) {
        (Some(next), Some(timer)) => timer.until = next,
        (Some(_), None) => {}
        (None, timer) => *timer = None,
    }
    next
}
