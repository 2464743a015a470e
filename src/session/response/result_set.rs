//! A result set: its metadata and its totals.

use super::{Columns, Discard, MAX_TOKEN, Response, SessionError, too_long};
use crate::tds::{AltMetadata, ColMetadata, Malformed, Reader, alt_row_id};

impl Response {
    pub(super) fn col_metadata(&mut self) -> Result<bool, SessionError> {
        let mut reader = Reader::new(self.inbox.as_slice());
        let read = ColMetadata::read(&mut reader);
        let Some(metadata) = self.arrived(read)? else { return Ok(false) };
        let len = reader.position();
        let metadata = if self.ciphertext { metadata.as_stored() } else { metadata };
        self.columns = Columns::of(metadata).map_err(SessionError::ServerMalformed)?;
        self.totals.clear();
        self.scanner.reset();
        if self.discarding == Discard::Nothing {
            let mut out = Vec::new();
            self.columns.write_metadata(&mut out);
            self.outbox.tail().extend(&out);
            self.started = true;
        }
        self.inbox.consume(len);
        Ok(true)
    }

    /// Metadata, or `None` while they have not arrived in full.
    fn arrived<T>(&self, read: Result<T, Malformed>) -> Result<Option<T>, SessionError> {
        match read {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.incomplete && self.inbox.len() <= MAX_TOKEN => Ok(None),
            Err(error) if error.incomplete => Err(too_long()),
            Err(error) => Err(SessionError::ServerMalformed(error)),
        }
    }

    pub(super) fn alt_metadata(&mut self) -> Result<bool, SessionError> {
        let mut reader = Reader::new(self.inbox.as_slice());
        let read = AltMetadata::read(&mut reader);
        let Some(metadata) = self.arrived(read)? else { return Ok(false) };
        let len = reader.position();
        self.totals.expect(metadata)?;
        self.pass(len);
        Ok(true)
    }

    pub(super) fn alt_row(&mut self) -> Result<bool, SessionError> {
        let row = self.inbox.as_slice();
        let Some(id) = alt_row_id(row) else { return Ok(false) };
        let scanned = self.scanner.advance(self.totals.of(id)?, row);
        let Some(len) = scanned.map_err(SessionError::ServerMalformed)? else { return Ok(false) };
        self.pass(len);
        self.scanner.reset();
        Ok(true)
    }

    /// A structure in which nothing is encrypted.
    fn pass(&mut self, len: usize) {
        if self.discarding == Discard::Nothing {
            self.outbox.tail().extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            self.started = true;
        }
        self.inbox.consume(len);
    }
}
