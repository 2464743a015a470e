//! The encrypted output parameters of the request that is under way.

use std::sync::Arc;

use crate::{crypto::CellKey, keystore::EncryptedCekValue};

/// One of them.
pub(super) struct Output {
    pub(super) name: String,
    /// The key, if it was to be had.
    pub(super) key: Option<Arc<CellKey>>,
    pub(super) values: Vec<EncryptedCekValue>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Outputs(pub(super) Vec<Output>);

impl Outputs {
    /// The encrypted output of a name. Without a name it can only be told if it is the only one
    /// without.
    pub(super) fn get(&self, name: &str) -> Option<&Output> {
        let bare = |n: &str| n.strip_prefix('@').unwrap_or(n).to_owned();
        let mut found = self.0.iter().filter(|o| bare(&o.name) == bare(name));
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }
}
