//! The totals of a result set (COMPUTE BY): how their rows lie. They pass as they come.

use std::collections::HashMap;

use super::SessionError;
use crate::tds::{AltMetadata, Malformed, ValueEncoding};

/// More columns than the totals of one result set have together.
const MOST_COLUMNS: usize = 4096;

/// What the rows of each id have for values.
#[derive(Default)]
pub(super) struct Totals(HashMap<u16, Vec<ValueEncoding>>);

impl Totals {
    /// Another result set begins.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Rows of that id follow.
    pub(super) fn expect(&mut self, metadata: AltMetadata) -> Result<(), SessionError> {
        self.0.insert(metadata.id, metadata.encodings);
        if self.0.values().map(Vec::len).sum::<usize>() > MOST_COLUMNS {
            let what = "ALTMETADATA: more columns than there can be";
            return Err(SessionError::ServerMalformed(Malformed::of(what)));
        }
        Ok(())
    }

    /// The values of the rows of that id.
    pub(super) fn of(&self, id: u16) -> Result<&[ValueEncoding], SessionError> {
        let unknown = Malformed::of("ALTROW: no ALTMETADATA has its id");
        self.0.get(&id).map(Vec::as_slice).ok_or(SessionError::ServerMalformed(unknown))
    }
}
