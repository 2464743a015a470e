//! What happens in the CEK cache, told to `tracing` if the cargo feature of that name is on.
//!
//! Names that the server sent are recorded by `Debug`, so that they cannot forge a line of a log. No
//! envelope and no key is recorded.

use std::time::Duration;

use super::{KeyStoreError, cache::CacheKey};

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $key:expr, $($field:tt)*) => {
        tracing::$level!(
            target: "always_encrypted::keystore",
            provider = ?$key.provider_name,
            key_path = ?$key.key_path,
            $($field)*
        )
    };
}

/// Evaluates its arguments nowhere, and lets them count as used.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $key:expr, $($name:ident = ?$value:expr,)* $message:literal) => {
        let _ = || {
            let _ = ($key, $(&$value,)*);
        };
    };
}

pub(super) fn hit(key: &CacheKey) {
    event!(trace, key, "column encryption key found in the cache");
}

pub(super) fn miss(key: &CacheKey) {
    event!(debug, key, "column encryption key not in the cache");
}

pub(super) fn refresh(key: &CacheKey) {
    event!(debug, key, "column encryption key renewed ahead of its expiry");
}

/// A call to a provider has ended.
pub(super) fn unwrapped(key: &CacheKey, took: Duration, error: Option<&KeyStoreError>) {
    match error {
        None => {
            event!(debug, key, took = ?took, "column encryption key unwrapped");
        }
        Some(error) => {
            event!(
                warn,
                key,
                took = ?took,
                error = ?error.to_string(),
                "column encryption key not unwrapped"
            );
        }
    }
}

pub(super) fn purge(entries: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "always_encrypted::keystore",
        entries,
        "column encryption keys purged from the cache"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = entries;
}
