//! A result set: its metadata, its rows and its totals.

use super::{
    Discard, MAX_TOKEN, Progress, Response, RowProgress, SessionError, Shown, malformed, too_long,
};
use crate::tds::{
    AltMetadata, ColMetadata, Malformed, Reader, ValueEncoding, ValueRange, alt_row_id, token_id,
    value_data_in_place, write_null, write_value,
};

impl Response {
    pub(super) fn col_metadata(&mut self) -> Result<bool, SessionError> {
        let mut reader = Reader::new(self.inbox.as_slice());
        let read = ColMetadata::read(&mut reader);
        let Some(metadata) = self.arrived(read)? else { return Ok(false) };
        let len = reader.position();
        let metadata = if self.ciphertext { metadata.as_stored() } else { metadata };
        self.encodings.clear();
        self.encodings.extend(metadata.columns.iter().map(|c| c.type_info.encoding()));
        self.shown = metadata
            .columns
            .iter()
            .map(|c| c.crypto.as_ref().map(Shown::of).transpose())
            .collect::<Result<_, _>>()
            .map_err(SessionError::ServerMalformed)?;
        self.keys = vec![None; metadata.ceks.len()];
        self.metadata = metadata;
        self.totals.clear();
        self.scanner.reset();
        if self.discarding == Discard::Nothing {
            let mut out = Vec::new();
            let mut shown = self.shown.iter().flatten();
            self.metadata.write_decrypted(
                |crypto| {
                    let of = shown.next();
                    of.map_or_else(|| crypto.base_type.clone(), |s| s.type_info.clone())
                },
                &mut out,
            );
            self.outbox.extend(&out);
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
            self.outbox.extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            self.started = true;
        }
        self.inbox.consume(len);
    }

    pub(super) fn row(&mut self) -> Result<RowProgress, SessionError> {
        if self.metadata.columns.is_empty() {
            return Err(malformed("row without columns"));
        }
        let row = self.inbox.as_slice();
        let scanned = self.scanner.advance(&self.encodings, row);
        let Some(len) = scanned.map_err(SessionError::ServerMalformed)? else {
            return Ok(RowProgress::Bytes);
        };
        if self.discarding == Discard::Nothing {
            if let Some(progress) = self.missing_key() {
                return Ok(RowProgress::Key(progress));
            }
            if self.shown.iter().any(Option::is_some) {
                self.decrypt_row(len)?;
            } else {
                self.outbox.extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            }
            self.started = true;
        }
        self.inbox.consume(len);
        self.scanner.reset();
        Ok(RowProgress::Done)
    }

    /// A key that the row needs and that nobody has asked for. Columns that are NULL need none, so
    /// one key that is not to be had does not take other columns with it.
    fn missing_key(&self) -> Option<Progress> {
        let columns = self.metadata.columns.iter().zip(&self.shown).zip(self.scanner.values());
        for ((column, shown), value) in columns {
            let (Some(shown), ValueRange::At { .. }) = (shown, value) else { continue };
            let cek = usize::from(shown.crypto.cek_ordinal);
            if !self.keys.get(cek).is_some_and(Option::is_some) {
                return Some(Progress::Key { cek, column: column.name.clone() });
            }
        }
        None
    }

    /// Writes the row with its cells decrypted, or nothing of it. The cells are decrypted where they
    /// have arrived.
    fn decrypt_row(&mut self, len: usize) -> Result<(), SessionError> {
        let written = self.outbox.len();
        let decrypted = self.write_decrypted_row(len);
        if decrypted.is_err() {
            self.outbox.truncate(written);
        }
        decrypted
    }

    fn write_decrypted_row(&mut self, len: usize) -> Result<(), SessionError> {
        let row = self.inbox.as_mut_slice().get_mut(..len).unwrap_or_default();
        let bitmap = match row.first() {
            Some(&token_id::NBCROW) => self.encodings.len().div_ceil(8),
            _ => 0,
        };
        // A decrypted row is shorter than the encrypted one: every cell has 49 bytes and more to
        // lose, and only fixed-length strings and the length fields to gain. UTF-8 becomes UTF-16.
        let shown = || self.shown.iter().flatten();
        let padding: usize = shown().map(Shown::most_padding).sum();
        let doubled = 1 + usize::from(shown().any(|s| s.transcode));
        let out = self.outbox.spare(doubled * (len + padding));
        out.extend_from_slice(row.get(..1 + bitmap).unwrap_or_default());
        for (index, value) in self.scanner.values().iter().enumerate() {
            let shown = self.shown.get(index).and_then(Option::as_ref);
            match (shown, *value) {
                (_, ValueRange::NullByBitmap) => {}
                (Some(shown), ValueRange::Null) => {
                    write_value(shown.type_info.encoding(), None, out)
                        .map_err(SessionError::ServerMalformed)?;
                }
                (None, ValueRange::Null) => {
                    let encoding = self.encodings.get(index).copied();
                    let encoding = encoding.unwrap_or(ValueEncoding::ByteLen);
                    write_null(encoding, out);
                }
                (None, ValueRange::At { start, end }) => {
                    out.extend_from_slice(row.get(start..end).unwrap_or_default());
                }
                (Some(shown), ValueRange::At { start, end }) => {
                    let encoded = row.get_mut(start..end).unwrap_or_default();
                    let encoding = self.encodings.get(index).copied();
                    let encoding = encoding.unwrap_or(ValueEncoding::UShortLen);
                    let cell = value_data_in_place(encoding, encoded)
                        .map_err(SessionError::ServerMalformed)?;
                    let cek = usize::from(shown.crypto.cek_ordinal);
                    let Some(Some(key)) = self.keys.get(cek) else {
                        return Err(malformed("row: its key was not asked for"));
                    };
                    let name = self.metadata.columns.get(index).map(|c| c.name.as_str());
                    let values = self.metadata.ceks.get(cek).map(|c| c.values.as_slice());
                    let named = (name.unwrap_or_default(), values.unwrap_or_default());
                    shown.decrypt(key, cell, named, &mut self.scratch, out)?;
                }
            }
        }
        Ok(())
    }
}
