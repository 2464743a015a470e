//! Finding the values of a row while the row is still arriving.

use std::ops::Range;

use super::{Malformed, ValueEncoding};

/// Where a value's bytes lie, counted from the row's token byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRange {
    /// NULL.
    Null,
    /// NULL by the bitmap of an NBCROW: nothing is on the wire for it.
    NullByBitmap,
    /// The encoded value stands at `start..end` with its length fields.
    At {
        /// The first byte of the value's encoding.
        start: usize,
        /// The byte after it.
        end: usize,
    },
}

/// Walks a ROW, NBCROW or ALTROW token once, however often it is called while bytes arrive.
///
/// A value of many chunks is walked chunk by chunk, so the work is linear in the row's length, and
/// what a length field claims is never allocated, only waited for.
#[derive(Debug, Default)]
pub struct RowScanner {
    position: usize,
    in_chunks: bool,
    values: Vec<ValueRange>,
    value_start: usize,
}

/// MS-TDS 2.2.7.19, 2.2.7.17 and 2.2.7.2.
const ROW: u8 = 0xD1;
const NBCROW: u8 = 0xD2;
const ALTROW: u8 = 0xD3;

impl RowScanner {
    /// Forgets the last row; keeps the allocation.
    pub fn reset(&mut self) {
        self.position = 0;
        self.in_chunks = false;
        self.values.clear();
        self.value_start = 0;
    }

    /// The values of the row, once [`Self::advance`] has found its end.
    #[must_use]
    pub fn values(&self) -> &[ValueRange] {
        &self.values
    }

    /// Goes on with `row`, the bytes from the token byte on that have arrived. Returns the row's
    /// length once all of it is there.
    pub fn advance(
        &mut self,
        columns: &[ValueEncoding],
        row: &[u8],
    ) -> Result<Option<usize>, Malformed> {
        let (bitmap, id) = match row.first() {
            None => return Ok(None),
            Some(&ROW) => (0, 0),
            Some(&NBCROW) => (columns.len().div_ceil(8), 0),
            Some(&ALTROW) => (0, 2),
            Some(_) => return Err(Malformed::of("ROW")),
        };
        if row.len() <= bitmap + id {
            return Ok(None);
        }
        if self.position == 0 {
            self.position = 1 + bitmap + id;
            self.value_start = self.position;
        }
        while let Some(&encoding) = columns.get(self.values.len()) {
            let index = self.values.len();
            let is_null = bitmap > 0 && (row[1 + index / 8] >> (index % 8)) & 1 == 1;
            let value = if is_null {
                ValueRange::NullByBitmap
            } else {
                match self.value(encoding, row)? {
                    Some(value) => value,
                    None => return Ok(None),
                }
            };
            self.values.push(value);
            self.value_start = self.position;
        }
        Ok(Some(self.position))
    }

    /// The length of one value that stands at the front of `bytes` by itself, and what it is.
    pub(crate) fn advance_value(
        &mut self,
        encoding: ValueEncoding,
        bytes: &[u8],
    ) -> Result<Option<(usize, ValueRange)>, Malformed> {
        self.reset();
        let value = self.value(encoding, bytes)?;
        Ok(value.map(|value| (self.position, value)))
    }

    /// Walks one value from `self.position` on.
    fn value(
        &mut self,
        encoding: ValueEncoding,
        row: &[u8],
    ) -> Result<Option<ValueRange>, Malformed> {
        let rest = row.get(self.position..).unwrap_or_default();
        let (prefix, len, null) = match encoding {
            ValueEncoding::Fixed(len) => (0, len, len == 0),
            ValueEncoding::ByteLen => match rest.first() {
                None => return Ok(None),
                Some(&len) => (1, usize::from(len), len == 0),
            },
            ValueEncoding::UShortLen => match rest.first_chunk() {
                None => return Ok(None),
                Some(&[0xFF, 0xFF]) => (2, 0, true),
                Some(&len) => (2, usize::from(u16::from_le_bytes(len)), false),
            },
            ValueEncoding::LongLen => match rest.first_chunk() {
                None => return Ok(None),
                Some(&len) => {
                    let len = u32::from_le_bytes(len) as usize;
                    (4, len, len == 0)
                }
            },
            ValueEncoding::TextPointer => match text_pointer(rest)? {
                None => return Ok(None),
                Some(found) => found,
            },
            ValueEncoding::Plp => return self.chunks(row),
        };
        // Lengths are at most u32, so on 64-bit targets nothing overflows; elsewhere it is caught.
        let Some(end) = prefix.checked_add(len).and_then(|n| n.checked_add(self.position)) else {
            return Err(Malformed::of("length of a value"));
        };
        if end > row.len() {
            return Ok(None);
        }
        let start = self.position;
        self.position = end;
        Ok(Some(if null { ValueRange::Null } else { ValueRange::At { start, end } }))
    }

    fn chunks(&mut self, row: &[u8]) -> Result<Option<ValueRange>, Malformed> {
        if !self.in_chunks {
            let rest = row.get(self.position..).unwrap_or_default();
            let Some(&total) = rest.first_chunk::<8>() else { return Ok(None) };
            self.position += 8;
            if total == [0xFF; 8] {
                return Ok(Some(ValueRange::Null));
            }
            self.in_chunks = true;
        }
        loop {
            let rest = row.get(self.position..).unwrap_or_default();
            let Some(&len) = rest.first_chunk::<4>() else { return Ok(None) };
            let len = u32::from_le_bytes(len) as usize;
            if len == 0 {
                self.position += 4;
                self.in_chunks = false;
                return Ok(Some(ValueRange::At { start: self.value_start, end: self.position }));
            }
            if rest.len() - 4 < len {
                return Ok(None);
            }
            self.position += 4 + len;
        }
    }
}

/// Prefix, length and NULL-ness of a text, ntext or image value.
fn text_pointer(rest: &[u8]) -> Result<Option<(usize, usize, bool)>, Malformed> {
    let Some(&pointer) = rest.first() else { return Ok(None) };
    if pointer == 0 {
        return Ok(Some((1, 0, true)));
    }
    let prefix = 1 + usize::from(pointer) + 8;
    let Some(len) = rest.get(prefix..prefix + 4).and_then(<[u8]>::first_chunk::<4>) else {
        return Ok(None);
    };
    Ok(Some((prefix + 4, u32::from_le_bytes(*len) as usize, false)))
}

/// The length of the data of an encoded value that has been walked before.
pub(crate) fn value_data_len(encoding: ValueEncoding, encoded: &[u8]) -> usize {
    let prefix = match encoding {
        ValueEncoding::Fixed(_) | ValueEncoding::TextPointer => 0,
        ValueEncoding::ByteLen => 1,
        ValueEncoding::UShortLen => 2,
        ValueEncoding::LongLen => 4,
        ValueEncoding::Plp => {
            let (mut rest, mut total) = (encoded.get(8..).unwrap_or_default(), 0usize);
            while let Some((len, tail)) = rest.split_first_chunk::<4>() {
                let len = (u32::from_le_bytes(*len) as usize).min(tail.len());
                total += len;
                rest = &tail[len..];
            }
            return total;
        }
    };
    encoded.len().saturating_sub(prefix)
}

/// The data of an encoded value without its length fields.
pub(crate) fn value_data_of(encoding: ValueEncoding, encoded: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut data = Vec::new();
    value_data(encoding, encoded, &mut data)?;
    Ok(data)
}

/// The data of an encoded value without its length fields, if they stand in one piece.
pub(crate) fn value_data_slice(encoding: ValueEncoding, encoded: &[u8]) -> Option<&[u8]> {
    match encoding {
        ValueEncoding::Fixed(_) => Some(encoded),
        ValueEncoding::ByteLen => encoded.get(1..),
        ValueEncoding::UShortLen => encoded.get(2..),
        ValueEncoding::LongLen => encoded.get(4..),
        ValueEncoding::TextPointer => None,
        ValueEncoding::Plp => {
            let (total, rest) = encoded.split_first_chunk::<8>()?;
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (data, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            let total = u64::from_le_bytes(*total);
            let adds_up = total == u64::MAX - 1 || total == data.len() as u64;
            // An empty value has no chunk but the last.
            let ends = if data.is_empty() { rest.is_empty() } else { rest == [0; 4] };
            (adds_up && ends).then_some(data)
        }
    }
}

/// The data of an encoded value without its length fields, appended to `out`.
pub(crate) fn value_data(
    encoding: ValueEncoding,
    encoded: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    const CUT: Malformed = Malformed::of("value");
    let data = match encoding {
        ValueEncoding::Fixed(_) => encoded,
        ValueEncoding::ByteLen => encoded.get(1..).ok_or(CUT)?,
        ValueEncoding::UShortLen => encoded.get(2..).ok_or(CUT)?,
        ValueEncoding::LongLen => encoded.get(4..).ok_or(CUT)?,
        ValueEncoding::TextPointer => {
            let (prefix, ..) = text_pointer(encoded)?.ok_or(CUT)?;
            encoded.get(prefix..).ok_or(CUT)?
        }
        ValueEncoding::Plp => {
            let total = encoded.first_chunk::<8>().map(|&n| u64::from_le_bytes(n)).ok_or(CUT)?;
            let before = out.len();
            out.reserve_exact(encoded.len().saturating_sub(12));
            let mut rest = encoded.get(8..).ok_or(CUT)?;
            while let Some((len, tail)) = rest.split_first_chunk::<4>() {
                let len = u32::from_le_bytes(*len) as usize;
                out.extend_from_slice(tail.get(..len).ok_or(CUT)?);
                rest = &tail[len..];
            }
            // All ones but the last bit: the sender did not know the length beforehand.
            if total != u64::MAX - 1 && total != (out.len() - before) as u64 {
                return Err(Malformed::of("value: its chunks do not add up to its length"));
            }
            return Ok(());
        }
    };
    out.extend_from_slice(data);
    Ok(())
}

/// Where the data of an encoded value are, without its length fields, once its chunks have been
/// brought together where they stand. What was behind them is left over.
pub(crate) fn value_data_in_place(
    encoding: ValueEncoding,
    encoded: &mut [u8],
) -> Result<Range<usize>, Malformed> {
    const CUT: Malformed = Malformed::of("value");
    let prefix = match encoding {
        ValueEncoding::Fixed(_) => 0,
        ValueEncoding::ByteLen => 1,
        ValueEncoding::UShortLen => 2,
        ValueEncoding::LongLen => 4,
        ValueEncoding::TextPointer => text_pointer(encoded)?.ok_or(CUT)?.0,
        ValueEncoding::Plp => {
            let total = encoded.first_chunk::<8>().map(|&n| u64::from_le_bytes(n)).ok_or(CUT)?;
            let (mut from, mut to) = (8, 8);
            while let Some(len) = encoded.get(from..).and_then(|rest| rest.first_chunk::<4>()) {
                let len = u32::from_le_bytes(*len) as usize;
                let end = (from + 4).checked_add(len).filter(|&end| end <= encoded.len());
                let end = end.ok_or(CUT)?;
                encoded.copy_within(from + 4..end, to);
                (from, to) = (end, to + len);
            }
            if total != u64::MAX - 1 && total != (to - 8) as u64 {
                return Err(Malformed::of("value: its chunks do not add up to its length"));
            }
            return Ok(8..to);
        }
    };
    if prefix > encoded.len() { Err(CUT) } else { Ok(prefix..encoded.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_brought_together_in_place_are_those_that_are_copied_out() {
        let chunks = |total: u64, chunks: &[&[u8]]| {
            let mut out = total.to_le_bytes().to_vec();
            for chunk in chunks {
                out.extend((chunk.len() as u32).to_le_bytes());
                out.extend_from_slice(chunk);
            }
            out.extend([0; 4]);
            out
        };
        let plp = ValueEncoding::Plp;
        let mut values = vec![
            (plp, chunks(5, &[b"ab", b"c", b"de"])),
            (plp, chunks(u64::MAX - 1, &[b"abcdefgh", b"i"])),
            (plp, chunks(0, &[])),
            (plp, chunks(3, &[b"abc"])),
            (plp, chunks(4, &[b"abc"])),
            (plp, chunks(6, &[b"ab", b"c", b"de"])),
            (ValueEncoding::UShortLen, b"\x03\0abc".to_vec()),
            (ValueEncoding::ByteLen, b"\x03abc".to_vec()),
            (ValueEncoding::Fixed(3), b"abc".to_vec()),
        ];
        for len in 0..20 {
            values.push((plp, chunks(5, &[b"ab", b"c", b"de"])[..len].to_vec()));
        }
        for (encoding, encoded) in values {
            let copied = value_data_of(encoding, &encoded);
            if let Some(slice) = value_data_slice(encoding, &encoded) {
                assert_eq!(Ok(slice), copied.as_deref());
            }
            let mut in_place = encoded.clone();
            let found = value_data_in_place(encoding, &mut in_place);
            let found = found.map(|data| in_place[data].to_vec());
            assert_eq!(found, copied, "{encoding:?} {encoded:?}");
        }
    }

    const COLUMNS: [ValueEncoding; 5] = [
        ValueEncoding::Fixed(4),
        ValueEncoding::ByteLen,
        ValueEncoding::UShortLen,
        ValueEncoding::Plp,
        ValueEncoding::TextPointer,
    ];

    fn row() -> Vec<u8> {
        let mut row = vec![ROW, 1, 2, 3, 4, 2, 8, 9, 3, 0, 5, 6, 7];
        row.extend_from_slice(&(u64::MAX - 1).to_le_bytes());
        row.extend_from_slice(&[2, 0, 0, 0, 0xA, 0xB, 1, 0, 0, 0, 0xC, 0, 0, 0, 0]);
        row.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x77]);
        row
    }

    #[test]
    fn a_row_is_found_however_it_arrives() {
        let row = row();
        let mut scanner = RowScanner::default();
        for len in 0..row.len() {
            assert_eq!(scanner.advance(&COLUMNS, &row[..len]), Ok(None), "{len} bytes");
        }
        let mut longer = row.clone();
        longer.push(0xFD);
        assert_eq!(scanner.advance(&COLUMNS, &longer), Ok(Some(row.len())));
        let mut whole = RowScanner::default();
        whole.advance(&COLUMNS, &row).unwrap();
        assert_eq!(scanner.values(), whole.values());
        let mut data = Vec::new();
        let ValueRange::At { start, end } = scanner.values()[3] else { panic!("NULL") };
        value_data(ValueEncoding::Plp, &row[start..end], &mut data).unwrap();
        assert_eq!(data, [0xA, 0xB, 0xC]);
    }

    #[test]
    fn the_bitmap_of_an_nbcrow_takes_values_away() {
        let row = [NBCROW, 0b0001_1101, 2, 8, 9];
        let mut scanner = RowScanner::default();
        assert_eq!(scanner.advance(&COLUMNS, &row), Ok(Some(row.len())));
        assert_eq!(scanner.values()[1], ValueRange::At { start: 2, end: 5 });
        assert_eq!(scanner.values()[4], ValueRange::NullByBitmap);
    }

    #[test]
    fn a_length_of_four_gigabytes_is_waited_for_not_allocated() {
        let mut row = vec![ROW];
        row.extend_from_slice(&u32::MAX.to_le_bytes());
        let mut scanner = RowScanner::default();
        assert_eq!(scanner.advance(&[ValueEncoding::LongLen], &row), Ok(None));
    }

    #[test]
    fn chunks_that_do_not_add_up_are_malformed() {
        let mut value = 5u64.to_le_bytes().to_vec();
        value.extend_from_slice(&[1, 0, 0, 0, 9, 0, 0, 0, 0]);
        assert!(value_data(ValueEncoding::Plp, &value, &mut Vec::new()).is_err());
    }
}
