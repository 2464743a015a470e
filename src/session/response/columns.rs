//! The columns of a result set: what they are on the wire, how the application sees them, and their
//! keys.

use std::sync::Arc;

use super::{Progress, SessionError, Shown, malformed, shown::Named};
use crate::{
    crypto::CellKey,
    keystore::EncryptedCekValue,
    tds::{ColMetadata, Malformed, ValueEncoding, ValueRange, token_id, write_null},
};

/// The columns of the result set that is passing.
#[derive(Default)]
pub(super) struct Columns {
    metadata: ColMetadata,
    encodings: Vec<ValueEncoding>,
    shown: Vec<Option<Shown>>,
    keys: Vec<Option<Arc<CellKey>>>,
    ceks_in_use: Vec<usize>,
    /// How much longer than it came a row can go out, beside being doubled.
    padding: usize,
    /// Whether text can become twice as long.
    doubled: bool,
}

impl Columns {
    pub(super) fn of(metadata: ColMetadata) -> Result<Self, Malformed> {
        let columns = metadata.columns.iter();
        let encodings = columns.clone().map(|c| c.type_info.encoding()).collect();
        let shown = columns.map(|c| c.crypto.as_ref().map(Shown::of).transpose());
        let shown: Vec<Option<Shown>> = shown.collect::<Result<_, _>>()?;
        let keys = vec![None; metadata.ceks.len()];
        let padding = shown.iter().flatten().map(Shown::most_padding).sum();
        let doubled = shown.iter().flatten().any(|s| s.transcode);
        let ceks = shown.iter().flatten().map(|s| usize::from(s.crypto.cek_ordinal));
        let mut ceks_in_use: Vec<usize> = ceks.collect();
        ceks_in_use.sort_unstable();
        ceks_in_use.dedup();
        Ok(Self { metadata, encodings, shown, keys, ceks_in_use, padding, doubled })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.encodings.is_empty()
    }

    pub(super) fn encodings(&self) -> &[ValueEncoding] {
        &self.encodings
    }

    pub(super) fn len(&self) -> usize {
        self.encodings.len()
    }

    pub(super) fn encoding(&self, index: usize) -> ValueEncoding {
        self.encodings.get(index).copied().unwrap_or(ValueEncoding::ByteLen)
    }

    pub(super) fn any_encrypted(&self) -> bool {
        !self.ceks_in_use.is_empty()
    }

    /// The keys that columns are encrypted under, each once.
    pub(super) fn ceks_in_use(&self) -> &[usize] {
        &self.ceks_in_use
    }

    /// The key that a column is encrypted under.
    pub(super) fn cek_of(&self, index: usize) -> Option<usize> {
        self.shown(index).map(|shown| usize::from(shown.crypto.cek_ordinal))
    }

    /// How the application sees a column; `None` if it is not encrypted.
    pub(super) fn shown(&self, index: usize) -> Option<&Shown> {
        self.shown.get(index).and_then(Option::as_ref)
    }

    /// COLMETADATA for the application.
    pub(super) fn write_metadata(&self, out: &mut Vec<u8>) {
        let mut shown = self.shown.iter().flatten();
        self.metadata.write_decrypted(
            |crypto| {
                let of = shown.next();
                of.map_or_else(|| crypto.base_type.clone(), |s| s.type_info.clone())
            },
            out,
        );
    }

    pub(super) fn cek_values(&self, cek: usize) -> &[EncryptedCekValue] {
        self.metadata.ceks.get(cek).map_or(&[], |c| c.values.as_slice())
    }

    pub(super) fn set_key(&mut self, cek: usize, key: Arc<CellKey>) {
        if let Some(slot) = self.keys.get_mut(cek) {
            *slot = Some(key);
        }
    }

    pub(super) fn key(&self, cek: usize) -> Option<&Arc<CellKey>> {
        self.keys.get(cek).and_then(Option::as_ref)
    }

    /// A key that a row needs and that nobody has asked for. Columns that are NULL need none, so
    /// one key that is not to be had does not take other columns with it.
    pub(super) fn missing_key(&self, values: &[ValueRange]) -> Option<Progress> {
        let mut values = values.iter().enumerate();
        values.find_map(|(index, value)| self.key_missing_for(index, *value))
    }

    /// The key of one value, if it needs one that is not there.
    pub(super) fn key_missing_for(&self, index: usize, value: ValueRange) -> Option<Progress> {
        let ValueRange::At { .. } = value else { return None };
        let shown = self.shown(index)?;
        let cek = usize::from(shown.crypto.cek_ordinal);
        match self.key(cek) {
            Some(_) => None,
            None => {
                let column = self.named(index, shown).column.to_owned();
                Some(Progress::Key { cek, column })
            }
        }
    }

    /// What an error about a column says of it.
    pub(super) fn named<'a>(&'a self, index: usize, shown: &Shown) -> Named<'a> {
        Named {
            column: self.metadata.columns.get(index).map_or("", |c| c.name.as_str()),
            values: self.cek_values(usize::from(shown.crypto.cek_ordinal)),
        }
    }

    /// How many bytes of a row stand in front of its values: the token and, for an NBCROW, the
    /// bitmap.
    pub(super) fn row_head_len(&self, row: &[u8]) -> usize {
        match row.first() {
            Some(&token_id::NBCROW) => 1 + self.len().div_ceil(8),
            _ => 1,
        }
    }

    /// The most bytes that `len` bytes of a row can become. A decrypted row is shorter than the
    /// encrypted one: every cell has 49 bytes and more to lose, and only fixed-length strings and the
    /// length fields to gain. UTF-8 becomes UTF-16.
    pub(super) fn most_written(&self, len: usize) -> usize {
        (1 + usize::from(self.doubled)) * (len + self.padding)
    }

    /// Appends a value of a row that is not a cell: positions count from the front of `bytes`.
    pub(super) fn write_stored(
        &self,
        index: usize,
        value: ValueRange,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        match (self.shown(index), value) {
            (_, ValueRange::NullByBitmap) => {}
            (None, ValueRange::Null) => write_null(self.encoding(index), out),
            (None, ValueRange::At { start, end }) => {
                out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
            }
            (Some(shown), ValueRange::Null) => write_null(shown.type_info.encoding(), out),
            (Some(_), ValueRange::At { .. }) => {
                return Err(malformed("row: its key was not asked for"));
            }
        }
        Ok(())
    }
}
