//! A row that is longer than what is held of others: walked value by value, and its long values chunk
//! by chunk, so that each is there once and is never moved.
//!
//! Nothing of the row is passed on before all of it has arrived and every cell of it is right.

use std::sync::Arc;

use super::{Discard, Progress, Response, RowProgress, SessionError, malformed};
use crate::{
    crypto::{CellDecryptor, CellKey},
    session::payload::Payload,
    tds::{ValueEncoding, ValueRange, WipedBuffer, value_data_in_place},
};

/// A row of which so much has arrived and that is not whole is a long one.
pub(super) const LONG: usize = 64 * 1024;

/// The longest value of a (max) type has 2³¹ - 1 bytes; as a cell it is a little longer.
const MAX_VALUE: u64 = (1 << 31) + 64;

/// A long row on its way.
pub(super) struct LongRow {
    /// Of an NBCROW; empty for a ROW.
    bitmap: Vec<u8>,
    /// Which value is next.
    index: usize,
    /// What has arrived of that, if it is long.
    value: Option<LongValue>,
    /// What the application gets if the row turns out right.
    written: Payload,
}

/// A partially length-prefixed value of which all chunks but the last may be here.
struct LongValue {
    claimed: u64,
    len: u64,
    /// How much of the chunk under way is still to come.
    chunk: usize,
    kept: Kept,
}

enum Kept {
    /// As ciphertext until its end.
    Cell(CellDecryptor<Arc<CellKey>>),
    /// As it comes.
    Plain,
    /// Nobody wants the row any more.
    Nothing,
}

impl LongRow {
    fn is_null_by_bitmap(&self) -> bool {
        self.bitmap.get(self.index / 8).is_some_and(|byte| byte >> (self.index % 8) & 1 == 1)
    }
}

impl LongValue {
    /// Takes what has arrived of the chunks. Says whether the value is whole.
    fn take(
        &mut self,
        inbox: &mut WipedBuffer,
        written: &mut Payload,
    ) -> Result<bool, SessionError> {
        loop {
            if self.chunk == 0 {
                let Some(&head) = inbox.as_slice().first_chunk::<4>() else { return Ok(false) };
                if let Kept::Plain = self.kept {
                    written.extend(&head);
                }
                inbox.consume(head.len());
                self.chunk = u32::from_le_bytes(head) as usize;
                if self.chunk == 0 {
                    return Ok(true);
                }
            }
            let bytes = inbox.as_slice();
            let bytes = bytes.get(..self.chunk).unwrap_or(bytes);
            if bytes.is_empty() {
                return Ok(false);
            }
            match &mut self.kept {
                Kept::Cell(decryptor) => decryptor.update(bytes),
                Kept::Plain => written.extend(bytes),
                Kept::Nothing => {}
            }
            let len = bytes.len();
            self.chunk -= len;
            self.len += len as u64;
            inbox.consume(len);
            if self.len > MAX_VALUE {
                return Err(malformed("value: longer than any"));
            }
        }
    }
}

impl Response {
    /// The row at the front of the inbox is a long one from now on.
    pub(super) fn begin_long_row(&mut self) {
        let row = self.inbox.as_slice();
        let head = row.get(..self.columns.row_head_len(row)).unwrap_or_default();
        let mut written = Payload::default();
        written.extend(head);
        let bitmap = head.get(1..).unwrap_or_default().to_vec();
        let len = head.len();
        self.inbox.consume(len);
        self.scanner.reset();
        self.long_row = Some(LongRow { bitmap, index: 0, value: None, written });
    }

    /// Goes on with the long row.
    pub(super) fn long_row(&mut self) -> Result<RowProgress, SessionError> {
        let Some(mut row) = self.long_row.take() else { return Ok(RowProgress::Done) };
        let progress = self.walk(&mut row);
        // It has walked single values; the next row begins anew.
        self.scanner.reset();
        if !matches!(progress, Ok(RowProgress::Done)) {
            self.long_row = Some(row);
        } else if self.discarding == Discard::Nothing {
            self.outbox.append(&mut row.written);
            self.started = true;
        }
        progress
    }

    /// A value that is whole, of `len` bytes at the front of the inbox.
    fn write_value(
        &mut self,
        index: usize,
        value: ValueRange,
        len: usize,
        written: &mut Payload,
    ) -> Result<(), SessionError> {
        let out = written.tail();
        let bytes = self.inbox.as_mut_slice();
        let (Some(shown), ValueRange::At { .. }) = (self.columns.shown(index), value) else {
            return self.columns.write_stored(index, value, bytes, out);
        };
        let key = self.columns.key(usize::from(shown.crypto.cek_ordinal));
        let key = key.ok_or_else(|| malformed("row: its key was not asked for"))?;
        let encoded = bytes.get_mut(..len).unwrap_or_default();
        let data = value_data_in_place(self.columns.encoding(index), encoded);
        let data = data.map_err(SessionError::ServerMalformed)?;
        let cell = encoded.get_mut(data).unwrap_or_default();
        shown.decrypt(key, cell, self.columns.named(index, shown), &mut self.scratch, out)
    }

    fn walk(&mut self, row: &mut LongRow) -> Result<RowProgress, SessionError> {
        while let Some(&encoding) = self.columns.encodings().get(row.index) {
            let wanted = self.discarding == Discard::Nothing;
            if !wanted {
                row.written = Payload::default();
            }
            if let Some(value) = &mut row.value {
                if !wanted {
                    value.kept = Kept::Nothing;
                }
                if !value.take(&mut self.inbox, &mut row.written)? {
                    return Ok(RowProgress::Bytes);
                }
                row.index += 1;
                if let Some(value) = row.value.take() {
                    self.end_long_value(row.index - 1, value, &mut row.written)?;
                }
            } else if row.is_null_by_bitmap() {
                row.index += 1;
            } else {
                let bytes = self.inbox.as_slice();
                let scanned = self.scanner.advance_value(encoding, bytes);
                match scanned.map_err(SessionError::ServerMalformed)? {
                    Some((len, value)) => {
                        if wanted
                            && let Some(progress) = self.columns.key_missing_for(row.index, value)
                        {
                            return Ok(RowProgress::Key(progress));
                        }
                        let written = match wanted {
                            true => self.write_value(row.index, value, len, &mut row.written),
                            false => Ok(()),
                        };
                        self.inbox.consume(len);
                        row.index += 1;
                        written?;
                    }
                    None if encoding == ValueEncoding::Plp && bytes.len() >= 8 => {
                        if let Some(progress) = self.begin_long_value(row) {
                            return Ok(RowProgress::Key(progress));
                        }
                    }
                    None => return Ok(RowProgress::Bytes),
                }
            }
        }
        Ok(RowProgress::Done)
    }

    /// A value that is not NULL and not whole. Its key may have to be asked for first.
    fn begin_long_value(&mut self, row: &mut LongRow) -> Option<Progress> {
        let claimed = self.inbox.as_slice().first_chunk().copied().unwrap_or_default();
        let kept = match self.columns.shown(row.index) {
            _ if self.discarding != Discard::Nothing => Kept::Nothing,
            None => {
                row.written.extend(&claimed);
                Kept::Plain
            }
            Some(shown) => {
                let Some(key) = self.columns.key(usize::from(shown.crypto.cek_ordinal)) else {
                    let value = ValueRange::At { start: 0, end: claimed.len() };
                    return self.columns.key_missing_for(row.index, value);
                };
                Kept::Cell(CellDecryptor::new(key.clone()))
            }
        };
        self.inbox.consume(claimed.len());
        let claimed = u64::from_le_bytes(claimed);
        row.value = Some(LongValue { claimed, len: 0, chunk: 0, kept });
        None
    }

    fn end_long_value(
        &mut self,
        index: usize,
        value: LongValue,
        written: &mut Payload,
    ) -> Result<(), SessionError> {
        let Kept::Cell(decryptor) = value.kept else { return Ok(()) };
        // All ones but the last bit: the sender did not know the length beforehand.
        if value.claimed != u64::MAX - 1 && value.claimed != value.len {
            return Err(malformed("value: its chunks do not add up to its length"));
        }
        let Some(shown) = self.columns.shown(index) else { return Ok(()) };
        let named = self.columns.named(index, shown);
        let cell = decryptor.finish().map_err(|source| named.invalid(source))?;
        shown.write_cell(cell, named.column, &mut self.scratch, written)
    }
}
