//! ALTMETADATA and the head of ALTROW: totals, as COMPUTE BY asked for them up to SQL Server 2008 R2
//! (MS-TDS 2.2.7.1 and 2.2.7.2).
//!
//! ```text
//! 0x88 | Count u16 | Id u16 | ByCols u8 | ByCols × ColNum u16 | Count × Column
//! Column      Op u8 | Operand u16 | UserType u32 | Flags u16 | TYPE_INFO | [TableName]
//!             | Name B_VARCHAR
//! 0xD3 | Id u16 | Count × value
//! ```
//!
//! There is neither a CEK table nor CryptoMetadata: nothing of a total is ever encrypted.

use super::{
    Malformed, Reader, ValueEncoding,
    col_metadata::{Column, F_ENCRYPTED, MAX_COLUMNS},
    token_id,
};

const WHAT: &str = "ALTMETADATA";

/// An ALTMETADATA token: which rows it describes, and how their values lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltMetadata {
    /// What its rows are known by.
    pub id: u16,
    /// Their values.
    pub encodings: Vec<ValueEncoding>,
}

impl AltMetadata {
    /// Reads the token, from its token byte on.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u8(WHAT)? != token_id::ALTMETADATA {
            return Err(Malformed::of(WHAT));
        }
        let count = reader.u16(WHAT)?;
        if count == 0 || count > MAX_COLUMNS {
            return Err(Malformed::of("ALTMETADATA: no such number of columns"));
        }
        let id = reader.u16(WHAT)?;
        let by_columns = reader.u8(WHAT)?;
        reader.take(2 * usize::from(by_columns), WHAT)?;
        let mut encodings = Vec::new();
        for _ in 0..count {
            reader.u8(WHAT)?;
            reader.u16(WHAT)?;
            let column = Column::read(reader, None)?;
            if column.flags & F_ENCRYPTED != 0 {
                return Err(Malformed::of("ALTMETADATA: an encrypted column"));
            }
            encodings.push(column.type_info.encoding());
        }
        Ok(Self { id, encodings })
    }
}

/// The id of the ALTROW at the front of `bytes`, once it has arrived.
#[must_use]
pub fn alt_row_id(bytes: &[u8]) -> Option<u16> {
    bytes.get(1..)?.first_chunk().map(|&id| u16::from_le_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `COMPUTE SUM(a), MAX(t) BY b, c` over an int and a text.
    fn token() -> Vec<u8> {
        let mut out = vec![0x88, 2, 0, 7, 0, 2, 2, 0, 3, 0];
        out.extend([0x4D, 1, 0, 0, 0, 0, 0, 1, 0, 0x26, 4, 1, b's', 0]);
        out.extend([
            0x52, 4, 0, 0, 0, 0, 0, 1, 0, 0x23, 0xFF, 0xFF, 0xFF, 0x7F, 9, 4, 0xD0, 0, 0x34,
        ]);
        out.extend([2, 1, 0, b'd', 0, 1, 0, b't', 0, 0]);
        out
    }

    #[test]
    fn totals_are_read_and_every_truncation_wants_more() {
        let token = token();
        let longer = [&token[..], &[0xD3]].concat();
        let mut reader = Reader::new(&longer);
        let read = AltMetadata::read(&mut reader).unwrap();
        let encodings = vec![ValueEncoding::ByteLen, ValueEncoding::TextPointer];
        assert_eq!(read, AltMetadata { id: 7, encodings });
        assert_eq!(reader.remaining(), 1);
        for len in 0..token.len() {
            let error = AltMetadata::read(&mut Reader::new(&token[..len])).unwrap_err();
            assert!(error.incomplete, "{len} bytes: {error}");
        }
    }

    #[test]
    fn totals_that_there_cannot_be_are_refused() {
        let mut encrypted = token();
        encrypted[18] |= 0x08;
        let mut untyped = token();
        untyped[19] = 0x1F;
        let counts = [[0, 0], [1, 0x10], [0xFF, 0xFF]].map(|[low, high]| {
            let mut bytes = token();
            bytes[1..3].copy_from_slice(&[low, high]);
            bytes
        });
        for bytes in [encrypted, untyped].into_iter().chain(counts) {
            let error = AltMetadata::read(&mut Reader::new(&bytes)).unwrap_err();
            assert!(!error.incomplete, "{error}");
        }
    }

    #[test]
    fn the_id_of_a_row_shows_once_it_is_there() {
        assert_eq!(alt_row_id(&[0xD3, 7]), None);
        assert_eq!(alt_row_id(&[0xD3, 7, 1]), Some(0x107));
    }
}
