//! TYPE_INFO and how values of a type lie on the wire (MS-TDS 2.2.5.4 to 2.2.5.6).

mod declaration;

use super::{ClrType, Malformed, Reader};
use crate::value::{Length, SqlType};

/// Type tokens, by their MS-TDS names.
pub(crate) mod id {
    #![allow(missing_docs)]
    pub const NULLTYPE: u8 = 0x1F;
    pub const IMAGETYPE: u8 = 0x22;
    pub const TEXTTYPE: u8 = 0x23;
    pub const GUIDTYPE: u8 = 0x24;
    pub const VARBINARYTYPE: u8 = 0x25;
    pub const INTNTYPE: u8 = 0x26;
    pub const VARCHARTYPE: u8 = 0x27;
    pub const DATENTYPE: u8 = 0x28;
    pub const TIMENTYPE: u8 = 0x29;
    pub const DATETIME2NTYPE: u8 = 0x2A;
    pub const DATETIMEOFFSETNTYPE: u8 = 0x2B;
    pub const BINARYTYPE: u8 = 0x2D;
    pub const CHARTYPE: u8 = 0x2F;
    pub const INT1TYPE: u8 = 0x30;
    pub const BITTYPE: u8 = 0x32;
    pub const INT2TYPE: u8 = 0x34;
    pub const DECIMALTYPE: u8 = 0x37;
    pub const INT4TYPE: u8 = 0x38;
    pub const DATETIM4TYPE: u8 = 0x3A;
    pub const FLT4TYPE: u8 = 0x3B;
    pub const MONEYTYPE: u8 = 0x3C;
    pub const DATETIMETYPE: u8 = 0x3D;
    pub const FLT8TYPE: u8 = 0x3E;
    pub const NUMERICTYPE: u8 = 0x3F;
    pub const SSVARIANTTYPE: u8 = 0x62;
    pub const NTEXTTYPE: u8 = 0x63;
    pub const BITNTYPE: u8 = 0x68;
    pub const DECIMALNTYPE: u8 = 0x6A;
    pub const NUMERICNTYPE: u8 = 0x6C;
    pub const FLTNTYPE: u8 = 0x6D;
    pub const MONEYNTYPE: u8 = 0x6E;
    pub const DATETIMNTYPE: u8 = 0x6F;
    pub const MONEY4TYPE: u8 = 0x7A;
    pub const INT8TYPE: u8 = 0x7F;
    pub const BIGVARBINTYPE: u8 = 0xA5;
    pub const BIGVARCHRTYPE: u8 = 0xA7;
    pub const BIGBINARYTYPE: u8 = 0xAD;
    pub const BIGCHARTYPE: u8 = 0xAF;
    pub const NVARCHARTYPE: u8 = 0xE7;
    pub const NCHARTYPE: u8 = 0xEF;
    pub const UDTTYPE: u8 = 0xF0;
    pub const XMLTYPE: u8 = 0xF1;
    pub const JSONTYPE: u8 = 0xF4;
    pub const VECTORTYPE: u8 = 0xF5;
}

/// A length field of 0xFFFF stands for `(max)`, and the values are partially length-prefixed.
const MAX_LEN: u16 = 0xFFFF;

/// How a value of a type is laid out in a row or a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueEncoding {
    /// That many bytes and no length; no NULL unless the length is 0.
    Fixed(usize),
    /// One byte of length; 0 is NULL.
    ByteLen,
    /// Two bytes of length; 0xFFFF is NULL.
    UShortLen,
    /// Four bytes of length; 0 is NULL (sql_variant).
    LongLen,
    /// A text pointer, a timestamp, four bytes of length; a pointer of length 0 is NULL.
    TextPointer,
    /// Partially length-prefixed: eight bytes of total length, chunks with four bytes of length
    /// each, a chunk of length 0 at the end; a total of all ones is NULL.
    Plp,
}

/// One TYPE_INFO: its bytes, and what has been read of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    bytes: Vec<u8>,
    /// The declared length in bytes, where the type has one.
    max_len: Option<u32>,
    precision: u8,
    scale: u8,
    collation: Option<[u8; 5]>,
    encoding: ValueEncoding,
}

impl TypeInfo {
    /// Reads a TYPE_INFO.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "TYPE_INFO";
        use ValueEncoding as E;
        let start = reader.position();
        let id = reader.u8(WHAT)?;
        let (mut max_len, mut precision, mut scale, mut collation) = (None, 0, 0, None);
        let encoding = match id {
            id::NULLTYPE => E::Fixed(0),
            id::INT1TYPE | id::BITTYPE => E::Fixed(1),
            id::INT2TYPE => E::Fixed(2),
            id::INT4TYPE | id::DATETIM4TYPE | id::FLT4TYPE | id::MONEY4TYPE => E::Fixed(4),
            id::MONEYTYPE | id::DATETIMETYPE | id::FLT8TYPE | id::INT8TYPE => E::Fixed(8),
            id::GUIDTYPE
            | id::INTNTYPE
            | id::BITNTYPE
            | id::FLTNTYPE
            | id::MONEYNTYPE
            | id::DATETIMNTYPE
            | id::BINARYTYPE
            | id::VARBINARYTYPE => {
                max_len = Some(u32::from(reader.u8(WHAT)?));
                E::ByteLen
            }
            id::CHARTYPE | id::VARCHARTYPE => {
                max_len = Some(u32::from(reader.u8(WHAT)?));
                collation = Some(reader.bytes(WHAT)?);
                E::ByteLen
            }
            id::DECIMALTYPE | id::NUMERICTYPE | id::DECIMALNTYPE | id::NUMERICNTYPE => {
                max_len = Some(u32::from(reader.u8(WHAT)?));
                precision = reader.u8(WHAT)?;
                scale = reader.u8(WHAT)?;
                E::ByteLen
            }
            id::DATENTYPE => E::ByteLen,
            id::TIMENTYPE | id::DATETIME2NTYPE | id::DATETIMEOFFSETNTYPE => {
                scale = reader.u8(WHAT)?;
                if scale > 7 {
                    return Err(Malformed::of("scale of a time type"));
                }
                E::ByteLen
            }
            id::BIGVARBINTYPE | id::BIGBINARYTYPE => {
                let len = reader.u16(WHAT)?;
                max_len = Some(u32::from(len));
                if len == MAX_LEN { E::Plp } else { E::UShortLen }
            }
            id::BIGVARCHRTYPE | id::BIGCHARTYPE | id::NVARCHARTYPE | id::NCHARTYPE => {
                let len = reader.u16(WHAT)?;
                max_len = Some(u32::from(len));
                collation = Some(reader.bytes(WHAT)?);
                if len == MAX_LEN { E::Plp } else { E::UShortLen }
            }
            id::IMAGETYPE => {
                max_len = Some(reader.u32(WHAT)?);
                E::TextPointer
            }
            id::TEXTTYPE | id::NTEXTTYPE => {
                max_len = Some(reader.u32(WHAT)?);
                collation = Some(reader.bytes(WHAT)?);
                E::TextPointer
            }
            id::SSVARIANTTYPE => {
                max_len = Some(reader.u32(WHAT)?);
                E::LongLen
            }
            id::XMLTYPE => {
                if reader.u8(WHAT)? != 0 {
                    reader.skip_b_varchar(WHAT)?;
                    reader.skip_b_varchar(WHAT)?;
                    reader.skip_us_varchar(WHAT)?;
                }
                E::Plp
            }
            id::UDTTYPE => {
                reader.u16(WHAT)?;
                for _ in 0..3 {
                    reader.skip_b_varchar(WHAT)?;
                }
                reader.skip_us_varchar(WHAT)?;
                E::Plp
            }
            id::JSONTYPE => E::Plp,
            id::VECTORTYPE => {
                max_len = Some(u32::from(reader.u16(WHAT)?));
                reader.u8(WHAT)?;
                E::UShortLen
            }
            _ => return Err(Malformed::of("type token")),
        };
        let bytes = reader.since(start).to_vec();
        Ok(Self { bytes, max_len, precision, scale, collation, encoding })
    }

    /// Reads a TYPE_INFO of a request, where a CLR type has its three names and nothing else
    /// (UDT_INFO_IN_RPC, MS-TDS 2.2.5.5.2).
    pub(super) fn read_in_request(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.peek() != Some(id::UDTTYPE) {
            return Self::read(reader);
        }
        let start = reader.position();
        ClrType::read(reader)?;
        let bytes = reader.since(start).to_vec();
        let encoding = ValueEncoding::Plp;
        Ok(Self { bytes, max_len: None, precision: 0, scale: 0, collation: None, encoding })
    }

    /// The TYPE_INFO that a parameter or column of a type has. Nullable, with the given collation
    /// for character types; the lengths of n-types are in bytes, as SqlClient and ODBC write them.
    #[must_use]
    pub fn of(sql_type: SqlType, collation: [u8; 5]) -> Self {
        use SqlType as T;
        let bytes = match sql_type {
            T::Bit => vec![id::BITNTYPE, 1],
            T::TinyInt => vec![id::INTNTYPE, 1],
            T::SmallInt => vec![id::INTNTYPE, 2],
            T::Int => vec![id::INTNTYPE, 4],
            T::BigInt => vec![id::INTNTYPE, 8],
            T::Real => vec![id::FLTNTYPE, 4],
            T::Float => vec![id::FLTNTYPE, 8],
            // SqlClient, JDBC and ODBC all say 17 bytes whatever the precision.
            T::Decimal { precision, scale } => vec![id::DECIMALNTYPE, 17, precision, scale],
            T::Numeric { precision, scale } => vec![id::NUMERICNTYPE, 17, precision, scale],
            T::Money => vec![id::MONEYNTYPE, 8],
            T::SmallMoney => vec![id::MONEYNTYPE, 4],
            T::Date => vec![id::DATENTYPE],
            T::Time { scale } => vec![id::TIMENTYPE, scale],
            T::DateTime => vec![id::DATETIMNTYPE, 8],
            T::SmallDateTime => vec![id::DATETIMNTYPE, 4],
            T::DateTime2 { scale } => vec![id::DATETIME2NTYPE, scale],
            T::DateTimeOffset { scale } => vec![id::DATETIMEOFFSETNTYPE, scale],
            T::UniqueIdentifier => vec![id::GUIDTYPE, 16],
            T::Binary(n) => with_length(id::BIGBINARYTYPE, Length::Bounded(n), 1, None),
            T::VarBinary(len) => with_length(id::BIGVARBINTYPE, len, 1, None),
            T::Char(n) => with_length(id::BIGCHARTYPE, Length::Bounded(n), 1, Some(collation)),
            T::VarChar(len) => with_length(id::BIGVARCHRTYPE, len, 1, Some(collation)),
            T::NChar(n) => with_length(id::NCHARTYPE, Length::Bounded(n), 2, Some(collation)),
            T::NVarChar(len) => with_length(id::NVARCHARTYPE, len, 2, Some(collation)),
        };
        let read = Self::read(&mut Reader::new(&bytes));
        // What is written here is what is read above; the test over all types holds the two
        // together.
        read.unwrap_or(Self {
            bytes,
            max_len: None,
            precision: 0,
            scale: 0,
            collation: None,
            encoding: ValueEncoding::ByteLen,
        })
    }

    /// What stands for the type of a table-valued parameter: none that [`Self::sql_type`] knows.
    pub(super) fn table_valued() -> Self {
        Self {
            bytes: vec![super::table_value::TVPTYPE],
            max_len: None,
            precision: 0,
            scale: 0,
            collation: None,
            encoding: ValueEncoding::Fixed(0),
        }
    }

    /// The bytes as they were read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The type token.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// How values of the type are laid out.
    #[must_use]
    pub fn encoding(&self) -> ValueEncoding {
        self.encoding
    }

    /// The collation of a character type.
    #[must_use]
    pub fn collation(&self) -> Option<[u8; 5]> {
        self.collation
    }

    /// Whether the type is varbinary, the only one that carries cells.
    #[must_use]
    pub fn is_varbinary(&self) -> bool {
        self.id() == id::BIGVARBINTYPE
    }

    /// Whether the type tells nothing, as an untyped NULL's.
    #[must_use]
    pub fn is_untyped(&self) -> bool {
        self.id() == id::NULLTYPE
    }

    /// Whether COLMETADATA gives a table name after the type (text, ntext, image).
    #[must_use]
    pub fn has_table_name(&self) -> bool {
        matches!(self.id(), id::TEXTTYPE | id::NTEXTTYPE | id::IMAGETYPE)
    }

    /// The SQL type, if it is one that can be encrypted.
    #[must_use]
    pub fn sql_type(&self) -> Option<SqlType> {
        use SqlType as T;
        let (precision, scale) = (self.precision, self.scale);
        Some(match (self.id(), self.max_len) {
            (id::BITTYPE | id::BITNTYPE, _) => T::Bit,
            (id::INT1TYPE, _) | (id::INTNTYPE, Some(1)) => T::TinyInt,
            (id::INT2TYPE, _) | (id::INTNTYPE, Some(2)) => T::SmallInt,
            (id::INT4TYPE, _) | (id::INTNTYPE, Some(4)) => T::Int,
            (id::INT8TYPE, _) | (id::INTNTYPE, Some(8)) => T::BigInt,
            (id::FLT4TYPE, _) | (id::FLTNTYPE, Some(4)) => T::Real,
            (id::FLT8TYPE, _) | (id::FLTNTYPE, Some(8)) => T::Float,
            (id::MONEY4TYPE, _) | (id::MONEYNTYPE, Some(4)) => T::SmallMoney,
            (id::MONEYTYPE, _) | (id::MONEYNTYPE, Some(8)) => T::Money,
            (id::DATETIM4TYPE, _) | (id::DATETIMNTYPE, Some(4)) => T::SmallDateTime,
            (id::DATETIMETYPE, _) | (id::DATETIMNTYPE, Some(8)) => T::DateTime,
            (id::DECIMALNTYPE | id::DECIMALTYPE, _) => T::Decimal { precision, scale },
            (id::NUMERICNTYPE | id::NUMERICTYPE, _) => T::Numeric { precision, scale },
            (id::DATENTYPE, _) => T::Date,
            (id::TIMENTYPE, _) => T::Time { scale },
            (id::DATETIME2NTYPE, _) => T::DateTime2 { scale },
            (id::DATETIMEOFFSETNTYPE, _) => T::DateTimeOffset { scale },
            (id::GUIDTYPE, _) => T::UniqueIdentifier,
            (id::BIGBINARYTYPE, Some(len)) => T::Binary(u16::try_from(len).ok()?),
            (id::BIGVARBINTYPE, Some(len)) => T::VarBinary(length(len, 1)?),
            (id::BIGCHARTYPE, Some(len)) => T::Char(u16::try_from(len).ok()?),
            (id::BIGVARCHRTYPE, Some(len)) => T::VarChar(length(len, 1)?),
            (id::NCHARTYPE, Some(len)) => T::NChar(u16::try_from(len / 2).ok()?),
            (id::NVARCHARTYPE, Some(len)) => T::NVarChar(length(len, 2)?),
            _ => return None,
        })
    }
}

/// `unit` is the bytes of one of the length's characters.
fn with_length(id: u8, length: Length, unit: u16, collation: Option<[u8; 5]>) -> Vec<u8> {
    let len = match length {
        Length::Bounded(n) => n.saturating_mul(unit),
        Length::Max => MAX_LEN,
    };
    let [low, high] = len.to_le_bytes();
    let mut bytes = vec![id, low, high];
    bytes.extend(collation.into_iter().flatten());
    bytes
}

fn length(bytes: u32, unit: u32) -> Option<Length> {
    if bytes == u32::from(MAX_LEN) {
        return Some(Length::Max);
    }
    u16::try_from(bytes / unit).ok().map(Length::Bounded)
}

/// Whether a collation's code page is UTF-8 (fUTF8, MS-TDS 2.2.5.1.2: bit 26 of the first four
/// bytes).
#[must_use]
pub fn collation_is_utf8(collation: [u8; 5]) -> bool {
    collation[3] & 0x04 != 0
}

/// Appends one value with the length that its encoding wants; `None` is NULL.
///
/// Fails if the value is too long for its length field, or is NULL where the encoding has none.
pub fn write_value(
    encoding: ValueEncoding,
    data: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let too_long = Malformed::of("value: longer than its type's length field");
    match (encoding, data) {
        (ValueEncoding::Fixed(len), Some(data)) if data.len() == len => out.extend_from_slice(data),
        (ValueEncoding::Fixed(0), None) => {}
        (ValueEncoding::Fixed(_) | ValueEncoding::TextPointer, _) => {
            return Err(Malformed::of("value: not one of its fixed-length type"));
        }
        (ValueEncoding::ByteLen, None) => out.push(0),
        (ValueEncoding::ByteLen, Some(data)) => {
            out.push(u8::try_from(data.len()).map_err(|_| too_long)?);
            out.extend_from_slice(data);
        }
        (ValueEncoding::UShortLen, None) => out.extend_from_slice(&[0xFF; 2]),
        (ValueEncoding::UShortLen, Some(data)) => {
            let len = u16::try_from(data.len()).ok().filter(|&n| n != MAX_LEN);
            out.extend_from_slice(&len.ok_or(too_long)?.to_le_bytes());
            out.extend_from_slice(data);
        }
        (ValueEncoding::LongLen, None) => out.extend_from_slice(&[0; 4]),
        (ValueEncoding::LongLen, Some(data)) => {
            out.extend_from_slice(&u32::try_from(data.len()).map_err(|_| too_long)?.to_le_bytes());
            out.extend_from_slice(data);
        }
        (ValueEncoding::Plp, None) => out.extend_from_slice(&[0xFF; 8]),
        (ValueEncoding::Plp, Some(data)) => write_plp(data, out)?,
    }
    Ok(())
}

/// Appends what stands in front of a value of `len` bytes of a string or binary type.
pub(crate) fn write_value_head(
    encoding: ValueEncoding,
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let too_long = Malformed::of("value: longer than its type's length field");
    match encoding {
        ValueEncoding::UShortLen => {
            let len = u16::try_from(len).ok().filter(|&n| n != MAX_LEN).ok_or(too_long)?;
            out.extend_from_slice(&len.to_le_bytes());
        }
        ValueEncoding::Plp => {
            let len = u32::try_from(len).map_err(|_| too_long)?;
            out.extend_from_slice(&u64::from(len).to_le_bytes());
            if len > 0 {
                out.extend_from_slice(&len.to_le_bytes());
            }
        }
        _ => return Err(Malformed::of("value: not of a string or binary type")),
    }
    Ok(())
}

/// Appends what stands behind it.
pub(crate) fn write_value_tail(encoding: ValueEncoding, out: &mut Vec<u8>) {
    if encoding == ValueEncoding::Plp {
        out.extend_from_slice(&[0; 4]);
    }
}

/// Appends NULL. Encodings without a NULL have none to write.
pub(crate) fn write_null(encoding: ValueEncoding, out: &mut Vec<u8>) {
    match encoding {
        ValueEncoding::Fixed(_) => {}
        ValueEncoding::ByteLen | ValueEncoding::TextPointer => out.push(0),
        ValueEncoding::UShortLen => out.extend_from_slice(&[0xFF; 2]),
        ValueEncoding::LongLen => out.extend_from_slice(&[0; 4]),
        ValueEncoding::Plp => out.extend_from_slice(&[0xFF; 8]),
    }
}

/// Appends a partially length-prefixed value in one chunk.
pub fn write_plp(data: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let len = u32::try_from(data.len()).map_err(|_| Malformed::of("value: over 4 GiB"))?;
    out.extend_from_slice(&u64::from(len).to_le_bytes());
    if len > 0 {
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(data);
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encryptable_type_survives_its_type_info() {
        use SqlType as T;
        let lengths = [Length::Bounded(1), Length::Bounded(4000), Length::Max];
        let mut types = vec![
            T::Bit,
            T::TinyInt,
            T::SmallInt,
            T::Int,
            T::BigInt,
            T::Real,
            T::Float,
            T::Money,
            T::SmallMoney,
            T::Date,
            T::DateTime,
            T::SmallDateTime,
            T::UniqueIdentifier,
            T::Decimal { precision: 38, scale: 38 },
            T::Numeric { precision: 1, scale: 0 },
            T::Binary(8000),
            T::Char(8000),
            T::NChar(4000),
        ];
        types.extend((0..=7).flat_map(|scale| {
            [T::Time { scale }, T::DateTime2 { scale }, T::DateTimeOffset { scale }]
        }));
        types.extend(lengths.map(T::VarBinary));
        types.extend(lengths.map(T::VarChar));
        types.extend(lengths.map(T::NVarChar));
        for sql_type in types {
            let info = TypeInfo::of(sql_type, [9, 4, 0xD0, 0, 0x34]);
            assert_eq!(info.sql_type(), Some(sql_type));
            let read = TypeInfo::read(&mut Reader::new(info.as_bytes()));
            assert_eq!(read, Ok(info), "{sql_type}");
        }
    }

    #[test]
    fn every_type_token_cut_short_is_an_error() {
        for id in 0..=255u8 {
            let mut bytes = vec![id];
            bytes.extend_from_slice(&[0; 16]);
            let mut reader = Reader::new(&bytes);
            let Ok(info) = TypeInfo::read(&mut reader) else { continue };
            for len in 0..info.as_bytes().len() {
                assert!(TypeInfo::read(&mut Reader::new(&bytes[..len])).is_err(), "{id:#x} {len}");
            }
        }
    }
}
