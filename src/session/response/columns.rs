//! The columns of a result set: what they are on the wire, how the application sees them, and their
//! keys.

use std::sync::Arc;

use super::{Progress, SessionError, Shown, malformed, shown::Named};
use crate::{
    crypto::CellKey,
    keystore::EncryptedCekValue,
    tds::{ColMetadata, Malformed, ValueEncoding, ValueRange, WipedBuffer, token_id, write_null},
};

/// The longest that NULL is on the wire, whatever it came as.
const MOST_OF_NULL: usize = 8;

/// The columns of the result set that is passing.
#[derive(Default)]
pub(super) struct Columns {
    metadata: ColMetadata,
    encodings: Vec<ValueEncoding>,
    shown: Vec<Option<Shown>>,
    keys: Vec<Option<Arc<CellKey>>>,
    /// The keys that columns are encrypted under, each once, with these columns in their order.
    by_cek: Vec<(usize, Vec<usize>)>,
}

impl Columns {
    pub(super) fn of(metadata: ColMetadata) -> Result<Self, Malformed> {
        let columns = metadata.columns.iter();
        let encodings = columns.clone().map(|c| c.type_info.encoding()).collect();
        let shown = columns.map(|c| c.crypto.as_ref().map(Shown::of).transpose());
        let shown: Vec<Option<Shown>> = shown.collect::<Result<_, _>>()?;
        let keys = vec![None; metadata.ceks.len()];
        let cek_of = |(index, shown): (usize, &Option<Shown>)| {
            shown.as_ref().map(|shown| (usize::from(shown.crypto.cek_ordinal), index))
        };
        let mut encrypted: Vec<_> = shown.iter().enumerate().filter_map(cek_of).collect();
        encrypted.sort_unstable();
        let by_cek = encrypted.chunk_by(|a, b| a.0 == b.0);
        let by_cek = by_cek.filter_map(|columns| {
            Some((columns.first()?.0, columns.iter().map(|(_, index)| *index).collect()))
        });
        let by_cek = by_cek.collect();
        Ok(Self { metadata, encodings, shown, keys, by_cek })
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
        !self.by_cek.is_empty()
    }

    /// The keys that columns are encrypted under, each once, with these columns in their order: no
    /// column is under two keys.
    pub(super) fn by_cek(&self) -> &[(usize, Vec<usize>)] {
        &self.by_cek
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

    /// Appends a value of a row that is not a cell: positions count from the front of `bytes`.
    pub(super) fn write_stored(
        &self,
        index: usize,
        value: ValueRange,
        bytes: &[u8],
        out: &mut WipedBuffer,
    ) -> Result<(), SessionError> {
        match (self.shown(index), value) {
            (_, ValueRange::NullByBitmap) => {}
            (None, ValueRange::Null) => write_null(self.encoding(index), out.spare(MOST_OF_NULL)),
            (None, ValueRange::At { start, end }) => {
                out.extend(bytes.get(start..end).unwrap_or_default());
            }
            (Some(shown), ValueRange::Null) => {
                write_null(shown.type_info.encoding(), out.spare(MOST_OF_NULL));
            }
            (Some(_), ValueRange::At { .. }) => {
                return Err(malformed("row: its key was not asked for"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::Reader;

    /// COLMETADATA of columns encrypted under the keys of these ordinals; `None` is a plain one.
    fn columns(ceks: u16, of: &[Option<u16>]) -> Columns {
        let mut bytes = vec![token_id::COLMETADATA];
        bytes.extend((of.len() as u16).to_le_bytes());
        bytes.extend(ceks.to_le_bytes());
        bytes.extend(vec![0; usize::from(ceks) * 21]);
        for cek in of {
            bytes.extend([0; 4]);
            bytes.extend(if cek.is_some() { [0, 0x08] } else { [0; 2] });
            bytes.extend([0xA5, 0x40, 0x1F]);
            if let Some(cek) = cek {
                bytes.extend(cek.to_le_bytes());
                bytes.extend([0, 0, 0, 0, 0x26, 4, 2, 1, 1]);
            }
            bytes.push(0);
        }
        Columns::of(ColMetadata::read(&mut Reader::new(&bytes)).unwrap()).unwrap()
    }

    #[test]
    fn however_many_keys_there_are_each_value_is_looked_at_under_its_own_only() {
        let of = [Some(2), None, Some(0), Some(2), None, Some(0)];
        assert_eq!(columns(3, &of).by_cek(), [(0, vec![2, 5]), (2, vec![0, 3])]);
        let of: Vec<_> = (0..4000).map(Some).collect();
        let columns = columns(4000, &of);
        assert_eq!(columns.by_cek().iter().map(|(_, columns)| columns.len()).sum::<usize>(), 4000);
    }
}
