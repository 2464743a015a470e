//! The rows of a packet: their cells are decrypted together, key by key, then the rows are written
//! one after the other.
//!
//! Whatever becomes of a row does not depend on those that it arrived with.

use super::{
    Columns, Discard, Response, RowProgress, Scratch, SessionError, long_row::LONG, malformed,
};
use crate::{
    crypto::{CellKey, CellToDecrypt, InvalidCell},
    tds::{Malformed, ValueRange, WipedBuffer, token_id, value_data_in_place},
};

/// So many values are found before their rows are written.
const ENOUGH: usize = 4096;

/// Whole rows at the front of the inbox. The vectors are used again for the next ones.
#[derive(Default)]
pub(super) struct Rows {
    /// Where each row ends.
    ends: Vec<usize>,
    /// Row by row, positions counted from the front of the inbox.
    values: Vec<Found>,
    /// Which of the values are cells of the key at hand.
    at: Vec<usize>,
    /// Empty between two keys.
    cells: Vec<CellToDecrypt<'static>>,
}

/// A value of a row.
#[derive(Clone, Copy)]
enum Found {
    /// As it came.
    Stored(ValueRange),
    /// The plaintext of a cell.
    Clear {
        start: usize,
        end: usize,
    },
    /// A cell that is none of its key's.
    Invalid,
    Malformed(Malformed),
}

impl Rows {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.values.clear();
    }

    fn push(&mut self, len: usize, values: &[ValueRange]) {
        let before = self.len();
        self.values.extend(values.iter().map(|value| match *value {
            ValueRange::At { start, end } => {
                Found::Stored(ValueRange::At { start: before + start, end: before + end })
            }
            null => Found::Stored(null),
        }));
        self.ends.push(before + len);
    }

    /// Decrypts all cells where they lie. Each is visited under its own key only: a result set may
    /// have as many keys as columns.
    fn decrypt(&mut self, columns: &Columns, bytes: &mut [u8]) {
        for (cek, of_cek) in columns.by_cek() {
            if let Some(key) = columns.key(*cek) {
                self.decrypt_under(key, of_cek, columns, bytes);
            }
        }
    }

    /// Decrypts those of some columns, which are `key`'s.
    fn decrypt_under(
        &mut self,
        key: &CellKey,
        of_key: &[usize],
        columns: &Columns,
        mut bytes: &mut [u8],
    ) {
        let mut cells = emptied(std::mem::take(&mut self.cells));
        self.at.clear();
        let mut before = 0;
        let rows = (0..self.values.len()).step_by(columns.len().max(1));
        for (row, index) in rows.flat_map(|row| of_key.iter().map(move |index| (row, *index))) {
            let at = row + index;
            let Some(found) = self.values.get_mut(at) else { continue };
            let Found::Stored(ValueRange::At { start, end }) = *found else { continue };
            let (value, rest) =
                std::mem::take(&mut bytes).split_at_mut_checked(end - before).unwrap_or_default();
            (bytes, before) = (rest, end);
            let value = value.len().checked_sub(end - start).and_then(|at| value.get_mut(at..));
            let value = value.unwrap_or_default();
            match value_data_in_place(columns.encoding(index), value) {
                Ok(data) => {
                    *found = Found::Clear { start: start + data.start, end: start + data.end };
                    self.at.push(at);
                    cells.push(CellToDecrypt::new(value.get_mut(data).unwrap_or_default()));
                }
                Err(error) => *found = Found::Malformed(error),
            }
        }
        key.decrypt_batch(&mut cells);
        for (at, cell) in self.at.iter().zip(&cells) {
            let Some(found) = self.values.get_mut(*at) else { continue };
            *found = match (*found, cell.range()) {
                (Found::Clear { start, .. }, Ok(range)) => {
                    Found::Clear { start: start + range.start, end: start + range.end }
                }
                _ => Found::Invalid,
            };
        }
        self.cells = emptied(cells);
    }
}

/// The vector without its borrowers, to be used for others. Nothing is allocated.
fn emptied<'a>(mut cells: Vec<CellToDecrypt<'_>>) -> Vec<CellToDecrypt<'a>> {
    cells.clear();
    cells.into_iter().map_while(|_| None).collect()
}

impl Response {
    /// The rows at the front of the inbox, as many as are whole and have their keys.
    pub(super) fn rows(&mut self) -> Result<RowProgress, SessionError> {
        if self.columns.is_empty() {
            return Err(malformed("row without columns"));
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        let found = self.find(&mut rows);
        let written = match rows.len() {
            0 => found,
            // What is behind them is looked at again.
            _ => self.pass_rows(&mut rows).map(|()| RowProgress::Done),
        };
        self.rows = rows;
        written
    }

    /// Walks the rows until one is not whole, lacks its key, or is none.
    fn find(&mut self, rows: &mut Rows) -> Result<RowProgress, SessionError> {
        let wanted = self.discarding == Discard::Nothing;
        let is_row = |row: &[u8]| matches!(row.first(), Some(&(token_id::ROW | token_id::NBCROW)));
        loop {
            let row = self.inbox.as_slice().get(rows.len()..).unwrap_or_default();
            if !is_row(row) || rows.values.len() >= ENOUGH {
                return Ok(RowProgress::Done);
            }
            let scanned = self.scanner.advance(self.columns.encodings(), row);
            if scanned.is_err() {
                // Those before it are passed on first, then it is met again.
                self.scanner.reset();
            }
            let Some(len) = scanned.map_err(SessionError::ServerMalformed)? else {
                if rows.len() == 0 && row.len() >= LONG {
                    self.begin_long_row();
                    return self.long_row();
                }
                return Ok(RowProgress::Bytes);
            };
            if wanted && let Some(progress) = self.columns.missing_key(self.scanner.values()) {
                return Ok(RowProgress::Key(progress));
            }
            rows.push(len, self.scanner.values());
            self.scanner.reset();
        }
    }

    fn pass_rows(&mut self, rows: &mut Rows) -> Result<(), SessionError> {
        let passed = if self.discarding != Discard::Nothing {
            Ok(())
        } else if self.columns.any_encrypted() {
            self.started = true;
            rows.decrypt(&self.columns, self.inbox.as_mut_slice());
            self.write_rows(rows)
        } else {
            self.started = true;
            let bytes = self.inbox.as_slice().get(..rows.len()).unwrap_or_default();
            self.outbox.tail().extend(bytes);
            Ok(())
        };
        // Nothing behind a row that has failed is passed on.
        self.inbox.consume(rows.len());
        passed
    }

    /// Writes row after row, up to the first that cannot be; nothing of that.
    fn write_rows(&mut self, rows: &Rows) -> Result<(), SessionError> {
        let bytes = self.inbox.as_slice();
        let out = self.outbox.tail();
        out.spare(bytes.len());
        let (mut start, mut values) = (0, rows.values.chunks(self.columns.len()));
        for &end in &rows.ends {
            let written = out.len();
            let of = Row { columns: &self.columns, bytes, start };
            let passed = of.write(values.next().unwrap_or_default(), &mut self.scratch, out);
            if passed.is_err() {
                out.truncate(written);
                return passed;
            }
            start = end;
        }
        Ok(())
    }
}

/// A row that is to be written.
struct Row<'a> {
    columns: &'a Columns,
    bytes: &'a [u8],
    start: usize,
}

impl Row<'_> {
    fn write(
        &self,
        values: &[Found],
        clear: &mut Scratch,
        out: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        let head = self.bytes.get(self.start..).unwrap_or_default();
        let head = head.get(..self.columns.row_head_len(head)).unwrap_or_default();
        out.extend(head);
        for (index, found) in values.iter().enumerate() {
            match (*found, self.columns.shown(index)) {
                (Found::Clear { start, end }, Some(shown)) => {
                    let normal_form = self.bytes.get(start..end).unwrap_or_default();
                    let column = self.columns.named(index, shown).column;
                    shown.write(normal_form, column, clear, out)?;
                }
                (Found::Invalid, Some(shown)) => {
                    return Err(self.columns.named(index, shown).invalid(InvalidCell));
                }
                (Found::Malformed(error), _) => return Err(SessionError::ServerMalformed(error)),
                (Found::Stored(value), _) => {
                    self.columns.write_stored(index, value, self.bytes, out)?;
                }
                (Found::Clear { .. } | Found::Invalid, None) => {}
            }
        }
        Ok(())
    }
}
