//! TYPE_INFO and the values that follow it, both directions (MS-TDS 2.2.5.4 to 2.2.5.6).

use crate::error::{Result, SqlError};
use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::tds::{large, variant};
use crate::types::decimal::Decimal;
use crate::types::sql_type::{decimal_width, time_width};
use crate::types::temporal::{
    self, DATETIME_TICKS, DAY_1900, MAX_DAY, TICKS_PER_DAY, TICKS_PER_MINUTE,
};
use crate::types::{Collation, Family, Length, SqlType, Value, text};

/// Table-valued parameters: whose values have columns and rows of their own.
pub(crate) const TVPTYPE: u8 = 0xF3;
pub(crate) const NULLTYPE: u8 = 0x1F;
pub(crate) const IMAGETYPE: u8 = 0x22;
pub(crate) const TEXTTYPE: u8 = 0x23;
pub(crate) const GUIDTYPE: u8 = 0x24;
pub(crate) const INTNTYPE: u8 = 0x26;
pub(crate) const DATENTYPE: u8 = 0x28;
pub(crate) const TIMENTYPE: u8 = 0x29;
pub(crate) const DATETIME2NTYPE: u8 = 0x2A;
pub(crate) const DATETIMEOFFSETNTYPE: u8 = 0x2B;
pub(crate) const INT1TYPE: u8 = 0x30;
pub(crate) const BITTYPE: u8 = 0x32;
pub(crate) const INT2TYPE: u8 = 0x34;
pub(crate) const INT4TYPE: u8 = 0x38;
pub(crate) const DATETIM4TYPE: u8 = 0x3A;
pub(crate) const FLT4TYPE: u8 = 0x3B;
pub(crate) const MONEYTYPE: u8 = 0x3C;
pub(crate) const DATETIMETYPE: u8 = 0x3D;
pub(crate) const FLT8TYPE: u8 = 0x3E;
pub(crate) const SSVARIANTTYPE: u8 = 0x62;
pub(crate) const NTEXTTYPE: u8 = 0x63;
pub(crate) const BITNTYPE: u8 = 0x68;
pub(crate) const DECIMALNTYPE: u8 = 0x6A;
pub(crate) const NUMERICNTYPE: u8 = 0x6C;
pub(crate) const FLTNTYPE: u8 = 0x6D;
pub(crate) const MONEYNTYPE: u8 = 0x6E;
pub(crate) const DATETIMNTYPE: u8 = 0x6F;
pub(crate) const MONEY4TYPE: u8 = 0x7A;
pub(crate) const INT8TYPE: u8 = 0x7F;
pub(crate) const BIGVARBINTYPE: u8 = 0xA5;
pub(crate) const BIGVARCHRTYPE: u8 = 0xA7;
pub(crate) const BIGBINARYTYPE: u8 = 0xAD;
pub(crate) const BIGCHARTYPE: u8 = 0xAF;
pub(crate) const NVARCHARTYPE: u8 = 0xE7;
pub(crate) const NCHARTYPE: u8 = 0xEF;
pub(crate) const UDTTYPE: u8 = 0xF0;
pub(crate) const XMLTYPE: u8 = 0xF1;
pub(crate) const JSONTYPE: u8 = 0xF4;
pub(crate) const VECTORTYPE: u8 = 0xF5;

const PLP: u16 = 0xFFFF;
pub(super) const PLP_NULL: u64 = 0xFFFF_FFFF_FFFF_FFFF;
const PLP_UNKNOWN: u64 = 0xFFFF_FFFF_FFFF_FFFE;
const CHARBIN_NULL: u16 = 0xFFFF;
/// A large value leaves in chunks of at most this, so that clients meet more than one.
const PLP_CHUNK: usize = 32 * 1024;

/// A TYPE_INFO that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeInfo {
    pub(crate) token: u8,
    /// Of variable-length types; 0xFFFF is PLP.
    pub(crate) length: u32,
    pub(crate) precision: u8,
    pub(crate) scale: u8,
    pub(crate) collation: [u8; 5],
}

impl TypeInfo {
    /// Of a NULL that has no type.
    pub(crate) fn null() -> Self {
        Self { token: NULLTYPE, length: 0, precision: 0, scale: 0, collation: [0; 5] }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Read<Self> {
        let token = cursor.u8()?;
        let mut info = Self { token, length: 0, precision: 0, scale: 0, collation: [0; 5] };
        match token {
            NULLTYPE | DATENTYPE => {}
            INT1TYPE | BITTYPE => info.length = 1,
            INT2TYPE => info.length = 2,
            INT4TYPE | DATETIM4TYPE | FLT4TYPE | MONEY4TYPE => info.length = 4,
            MONEYTYPE | DATETIMETYPE | FLT8TYPE | INT8TYPE => info.length = 8,
            GUIDTYPE | INTNTYPE | BITNTYPE | FLTNTYPE | MONEYNTYPE | DATETIMNTYPE => {
                info.length = u32::from(cursor.u8()?);
            }
            DECIMALNTYPE | NUMERICNTYPE => {
                info.length = u32::from(cursor.u8()?);
                info.precision = cursor.u8()?;
                info.scale = cursor.u8()?;
            }
            TIMENTYPE | DATETIME2NTYPE | DATETIMEOFFSETNTYPE => info.scale = cursor.u8()?,
            BIGVARBINTYPE | BIGBINARYTYPE => info.length = u32::from(cursor.u16()?),
            BIGVARCHRTYPE | BIGCHARTYPE | NVARCHARTYPE | NCHARTYPE => {
                info.length = u32::from(cursor.u16()?);
                info.collation = cursor.array()?;
            }
            IMAGETYPE | SSVARIANTTYPE => info.length = cursor.u32()?,
            TEXTTYPE | NTEXTTYPE => {
                info.length = cursor.u32()?;
                info.collation = cursor.array()?;
            }
            XMLTYPE => {
                info.length = u32::from(PLP);
                if cursor.u8()? != 0 {
                    return Err(Malformed(
                        "The sandbox has no collections of XML schemas.".to_owned(),
                    ));
                }
            }
            UDTTYPE | JSONTYPE | VECTORTYPE => {
                return Err(Malformed(format!(
                    "The sandbox does not support data type {token:#04x}."
                )));
            }
            other => return Err(Malformed(format!("Data type {other:#04x} is unknown."))),
        }
        Ok(info)
    }

    /// The type as T-SQL would declare it, or None for an untyped NULL.
    pub(crate) fn sql_type(&self) -> Read<Option<SqlType>> {
        let odd = || {
            Malformed(format!(
                "Data type {:#04x} has a length of {} bytes.",
                self.token, self.length
            ))
        };
        let max = self.length == u32::from(PLP);
        let bytes = u16::try_from(self.length).unwrap_or(u16::MAX).clamp(1, 8000);
        let characters = (bytes / 2).clamp(1, 4000);
        let scale = if self.scale <= 7 { Ok(self.scale) } else { Err(odd()) };
        Ok(Some(match (self.token, self.length) {
            (NULLTYPE, _) => return Ok(None),
            (BITTYPE, _) | (BITNTYPE, 1) => SqlType::Bit,
            (INT1TYPE, _) | (INTNTYPE, 1) => SqlType::TinyInt,
            (INT2TYPE, _) | (INTNTYPE, 2) => SqlType::SmallInt,
            (INT4TYPE, _) | (INTNTYPE, 4) => SqlType::Int,
            (INT8TYPE, _) | (INTNTYPE, 8) => SqlType::BigInt,
            (FLT4TYPE, _) | (FLTNTYPE, 4) => SqlType::Real,
            (FLT8TYPE, _) | (FLTNTYPE, 8) => SqlType::Float,
            (MONEY4TYPE, _) | (MONEYNTYPE, 4) => SqlType::SmallMoney,
            (MONEYTYPE, _) | (MONEYNTYPE, 8) => SqlType::Money,
            (DATETIM4TYPE, _) | (DATETIMNTYPE, 4) => SqlType::SmallDateTime,
            (DATETIMETYPE, _) | (DATETIMNTYPE, 8) => SqlType::DateTime,
            (GUIDTYPE, 16) => SqlType::UniqueIdentifier,
            (DECIMALNTYPE | NUMERICNTYPE, _)
                if self.precision <= 38 && self.scale <= self.precision =>
            {
                SqlType::Decimal {
                    precision: self.precision.max(1),
                    scale: self.scale,
                    named_numeric: self.token == NUMERICNTYPE,
                }
            }
            (DATENTYPE, _) => SqlType::Date,
            (TIMENTYPE, _) => SqlType::Time(scale?),
            (DATETIME2NTYPE, _) => SqlType::DateTime2(scale?),
            (DATETIMEOFFSETNTYPE, _) => SqlType::DateTimeOffset(scale?),
            (BIGVARBINTYPE, _) if max => SqlType::VarBinary(Length::Max),
            (BIGVARCHRTYPE, _) if max => SqlType::VarChar(Length::Max),
            (NVARCHARTYPE, _) if max => SqlType::NVarChar(Length::Max),
            (BIGVARBINTYPE, 0..=8000) => SqlType::VarBinary(Length::N(bytes)),
            (BIGBINARYTYPE, 0..=8000) => SqlType::Binary(bytes),
            (BIGVARCHRTYPE, 0..=8000) => SqlType::VarChar(Length::N(bytes)),
            (BIGCHARTYPE, 0..=8000) => SqlType::Char(bytes),
            (NVARCHARTYPE, 0..=8000) => SqlType::NVarChar(Length::N(characters)),
            (NCHARTYPE, 0..=8000) => SqlType::NChar(characters),
            (IMAGETYPE, _) => SqlType::Image,
            (TEXTTYPE, _) => SqlType::Text,
            (NTEXTTYPE, _) => SqlType::NText,
            (XMLTYPE, _) => SqlType::Xml,
            (SSVARIANTTYPE, _) => SqlType::Variant,
            _ => return Err(odd()),
        }))
    }

    /// The bytes of a value, None for NULL.
    pub(crate) fn read_value(&self, cursor: &mut Cursor<'_>) -> Read<Option<Vec<u8>>> {
        match self.token {
            NULLTYPE => Ok(None),
            INT1TYPE | BITTYPE | INT2TYPE | INT4TYPE | DATETIM4TYPE | FLT4TYPE | MONEY4TYPE
            | MONEYTYPE | DATETIMETYPE | FLT8TYPE | INT8TYPE => {
                cursor.bytes_u32(self.length).map(|bytes| Some(bytes.to_vec()))
            }
            XMLTYPE => read_plp(cursor),
            BIGVARBINTYPE | BIGVARCHRTYPE | NVARCHARTYPE if self.length == u32::from(PLP) => {
                read_plp(cursor)
            }
            SSVARIANTTYPE => match cursor.u32()? {
                0 => Ok(None),
                length => cursor.bytes_u32(length).map(|bytes| Some(bytes.to_vec())),
            },
            BIGVARBINTYPE | BIGVARCHRTYPE | NVARCHARTYPE | BIGBINARYTYPE | BIGCHARTYPE
            | NCHARTYPE => {
                let length = cursor.u16()?;
                if length == CHARBIN_NULL {
                    return Ok(None);
                }
                if u32::from(length) > self.length {
                    return Err(Malformed(format!(
                        "A value of {length} bytes in a type of {}.",
                        self.length
                    )));
                }
                cursor.bytes(usize::from(length)).map(|bytes| Some(bytes.to_vec()))
            }
            IMAGETYPE | TEXTTYPE | NTEXTTYPE => match cursor.u32()? {
                u32::MAX => Ok(None),
                length => cursor.bytes_u32(length).map(|bytes| Some(bytes.to_vec())),
            },
            _ => match cursor.u8()? {
                0 => Ok(None),
                length => cursor.bytes(usize::from(length)).map(|bytes| Some(bytes.to_vec())),
            },
        }
    }

    /// Decodes what [`read_value`](Self::read_value) gave.
    pub(crate) fn decode(&self, ty: SqlType, bytes: &[u8]) -> Read<Value> {
        use SqlType::*;
        let bad =
            || Malformed(format!("The supplied value is not a valid instance of data type {ty}."));
        let mut cursor = Cursor::new(bytes);
        let value = match ty {
            Bit | TinyInt => Value::Integer(i64::from(cursor.u8()?)),
            SmallInt => Value::Integer(i64::from(i16::from_le_bytes(cursor.array()?))),
            Int => Value::Integer(i64::from(i32::from_le_bytes(cursor.array()?))),
            BigInt => Value::Integer(i64::from_le_bytes(cursor.array()?)),
            Real => Value::Float(f64::from(f32::from_le_bytes(cursor.array()?))),
            Float => Value::Float(f64::from_le_bytes(cursor.array()?)),
            Decimal { scale, .. } => decode_decimal(&mut cursor, scale).ok_or_else(bad)?,
            Money => {
                let high = i32::from_le_bytes(cursor.array()?);
                let low = cursor.u32()?;
                Value::Decimal(crate::types::decimal::Decimal::new(
                    (i128::from(high) << 32) | i128::from(low),
                    4,
                ))
            }
            SmallMoney => Value::Decimal(crate::types::decimal::Decimal::new(
                i128::from(i32::from_le_bytes(cursor.array()?)),
                4,
            )),
            Date => Value::Date(read_day(&mut cursor)?),
            Time(scale) => Value::Time(read_time(&mut cursor, scale)?),
            DateTime2(scale) => {
                let time = read_time(&mut cursor, scale)?;
                Value::DateTime(read_day(&mut cursor)? * TICKS_PER_DAY + time)
            }
            DateTimeOffset(scale) => {
                let time = read_time(&mut cursor, scale)?;
                let utc = read_day(&mut cursor)? * TICKS_PER_DAY + time;
                let minutes = i16::from_le_bytes(cursor.array()?);
                if !(-14 * 60..=14 * 60).contains(&minutes) {
                    return Err(bad());
                }
                Value::Offset { utc, minutes }
            }
            DateTime => {
                let day = DAY_1900 + i64::from(i32::from_le_bytes(cursor.array()?));
                let units = i64::from(cursor.u32()?);
                if !(temporal::DAY_1753..=MAX_DAY).contains(&day)
                    || units >= 86_400 * DATETIME_TICKS
                {
                    return Err(bad());
                }
                Value::DateTime(day * TICKS_PER_DAY + temporal::from_datetime_units(units))
            }
            SmallDateTime => {
                let day = DAY_1900 + i64::from(cursor.u16()?);
                let minutes = i64::from(cursor.u16()?);
                if minutes >= 24 * 60 {
                    return Err(bad());
                }
                Value::DateTime(day * TICKS_PER_DAY + minutes * TICKS_PER_MINUTE)
            }
            Char(_) | VarChar(_) | Text => {
                let page = Collation::of_wire(self.collation);
                return Ok(Value::Text(page.decode(bytes)));
            }
            NChar(_) | NVarChar(_) | NText | Xml => {
                if !bytes.len().is_multiple_of(2) {
                    return Err(bad());
                }
                return Ok(Value::Text(text::from_utf16le(bytes)));
            }
            Binary(_) | VarBinary(_) | Image | RowVersion => {
                return Ok(Value::Bytes(bytes.to_vec()));
            }
            Variant => return variant::read(bytes),
            UniqueIdentifier => Value::Guid(cursor.array()?),
        };
        let finite = !matches!(value, Value::Float(x) if !x.is_finite());
        if cursor.is_empty() && finite { Ok(value) } else { Err(bad()) }
    }

    /// Whether the plaintext type of a cipher trailer agrees with the declaration. Drivers differ in whether the
    /// length of nvarchar counts bytes, in decimal or numeric, in the width of decimals, and in the collation. JDBC
    /// says binary for varbinary, with lengths that binary does not have, and gives the NULL of a uniqueidentifier
    /// one byte: of strings and binaries only the family counts here, the declaration has the length.
    pub(crate) fn agrees_with(&self, declared: SqlType) -> bool {
        match declared {
            SqlType::Char(_) | SqlType::VarChar(_) => {
                matches!(self.token, BIGCHARTYPE | BIGVARCHRTYPE)
            }
            SqlType::NChar(_) | SqlType::NVarChar(_) => {
                matches!(self.token, NCHARTYPE | NVARCHARTYPE)
            }
            SqlType::Binary(_) | SqlType::VarBinary(_) => {
                matches!(self.token, BIGBINARYTYPE | BIGVARBINTYPE)
            }
            SqlType::UniqueIdentifier => self.token == GUIDTYPE,
            SqlType::Decimal { precision, scale, .. } => {
                matches!(self.sql_type(), Ok(Some(SqlType::Decimal { precision: p, scale: s, .. })) if (p, s) == (precision, scale))
            }
            _ => self.sql_type().is_ok_and(|ty| ty == Some(declared)),
        }
    }
}

fn read_plp(cursor: &mut Cursor<'_>) -> Read<Option<Vec<u8>>> {
    let total = cursor.u64()?;
    if total == PLP_NULL {
        return Ok(None);
    }
    // The total is a hint and not believed: memory grows with what is there.
    let mut value = Vec::new();
    loop {
        let length = cursor.u32()?;
        if length == 0 {
            break;
        }
        value.extend_from_slice(cursor.bytes_u32(length)?);
    }
    let promised = usize::try_from(total).ok();
    if total != PLP_UNKNOWN && total != 0 && promised != Some(value.len()) {
        return Err(Malformed(format!(
            "A value of {} bytes was announced as {total}.",
            value.len()
        )));
    }
    Ok(Some(value))
}

fn decode_decimal(cursor: &mut Cursor<'_>, scale: u8) -> Option<Value> {
    let sign = cursor.u8().ok()?;
    let magnitude = cursor.bytes(cursor.rest().len()).ok()?;
    if magnitude.is_empty() || magnitude.len() > 16 {
        return None;
    }
    let unsigned = magnitude.iter().rev().fold(0u128, |n, byte| (n << 8) | u128::from(*byte));
    let unscaled = i128::try_from(unsigned).ok()?;
    let decimal = Decimal::new(if sign == 0 { -unscaled } else { unscaled }, scale);
    decimal.fits(crate::types::decimal::MAX_DIGITS).then_some(Value::Decimal(decimal))
}

fn read_day(cursor: &mut Cursor<'_>) -> Read<i64> {
    let [a, b, c] = cursor.array()?;
    let day = i64::from(u32::from_le_bytes([a, b, c, 0]));
    if day <= MAX_DAY { Ok(day) } else { Err(Malformed("A date after 9999-12-31.".to_owned())) }
}

fn read_time(cursor: &mut Cursor<'_>, scale: u8) -> Read<i64> {
    let bytes = cursor.bytes(usize::from(time_width(scale)))?;
    let units = bytes.iter().rev().fold(0i64, |n, byte| (n << 8) | i64::from(*byte));
    let ticks = units.saturating_mul(10i64.pow(7u32.saturating_sub(u32::from(scale))));
    if ticks < TICKS_PER_DAY {
        Ok(ticks)
    } else {
        Err(Malformed("A time after the end of its day.".to_owned()))
    }
}

/// Appends the TYPE_INFO of a column of type `ty`.
pub(crate) fn write_type_info(out: &mut Vec<u8>, ty: SqlType, collation: &Collation) {
    use SqlType::*;
    let sized = |out: &mut Vec<u8>, token: u8, length: u16, with_collation: bool| {
        out.push(token);
        out.extend_from_slice(&length.to_le_bytes());
        if with_collation {
            out.extend_from_slice(&collation.wire());
        }
    };
    let bytes = |n: Length| match n {
        Length::N(n) => n,
        Length::Max => PLP,
    };
    let characters = |n: Length| match n {
        Length::N(n) => n.saturating_mul(2),
        Length::Max => PLP,
    };
    match ty {
        Bit => out.extend_from_slice(&[BITNTYPE, 1]),
        TinyInt => out.extend_from_slice(&[INTNTYPE, 1]),
        SmallInt => out.extend_from_slice(&[INTNTYPE, 2]),
        Int => out.extend_from_slice(&[INTNTYPE, 4]),
        BigInt => out.extend_from_slice(&[INTNTYPE, 8]),
        Real => out.extend_from_slice(&[FLTNTYPE, 4]),
        Float => out.extend_from_slice(&[FLTNTYPE, 8]),
        Decimal { precision, scale, named_numeric } => {
            let token = if named_numeric { NUMERICNTYPE } else { DECIMALNTYPE };
            out.extend_from_slice(&[token, decimal_width(precision), precision, scale]);
        }
        Money => out.extend_from_slice(&[MONEYNTYPE, 8]),
        SmallMoney => out.extend_from_slice(&[MONEYNTYPE, 4]),
        Date => out.push(DATENTYPE),
        Time(scale) => out.extend_from_slice(&[TIMENTYPE, scale]),
        DateTime2(scale) => out.extend_from_slice(&[DATETIME2NTYPE, scale]),
        DateTimeOffset(scale) => out.extend_from_slice(&[DATETIMEOFFSETNTYPE, scale]),
        DateTime => out.extend_from_slice(&[DATETIMNTYPE, 8]),
        SmallDateTime => out.extend_from_slice(&[DATETIMNTYPE, 4]),
        Char(n) => sized(out, BIGCHARTYPE, n, true),
        VarChar(n) => sized(out, BIGVARCHRTYPE, bytes(n), true),
        NChar(n) => sized(out, NCHARTYPE, characters(Length::N(n)), true),
        NVarChar(n) => sized(out, NVARCHARTYPE, characters(n), true),
        Binary(n) => sized(out, BIGBINARYTYPE, n, false),
        VarBinary(n) => sized(out, BIGVARBINTYPE, bytes(n), false),
        UniqueIdentifier => out.extend_from_slice(&[GUIDTYPE, 16]),
        Text | NText | Image => large::write_type_info(out, ty, collation),
        Xml => out.extend_from_slice(&[XMLTYPE, 0]),
        Variant => variant::write_type_info(out),
        RowVersion => sized(out, BIGBINARYTYPE, 8, false),
    }
}

/// Appends a value in the form that [`write_type_info`] announced.
pub(crate) fn write_value(
    out: &mut Vec<u8>,
    value: &Value,
    ty: SqlType,
    collation: &Collation,
) -> Result<()> {
    let max = matches!(
        ty,
        SqlType::VarChar(Length::Max)
            | SqlType::NVarChar(Length::Max)
            | SqlType::VarBinary(Length::Max)
            | SqlType::Xml
    );
    let wide = ty.is_wide() || ty == SqlType::Xml;
    let long;
    let bytes: Option<&[u8]> = match value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(bytes),
        Value::Variant(inner) => return variant::write(out, inner.0, &inner.1, collation),
        Value::Text(text) => {
            long = if wide { text::to_utf16le(text) } else { collation.encode(text) };
            Some(&long)
        }
        other => {
            let encoded = encode_short(other, ty)?;
            out.push(u8::try_from(encoded.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&encoded);
            return Ok(());
        }
    };
    let short = !matches!(ty.family(), Family::Text | Family::Bytes | Family::Xml);
    match bytes {
        bytes if ty.is_legacy() => large::write_value(out, bytes),
        None if ty == SqlType::Variant => out.extend_from_slice(&0u32.to_le_bytes()),
        None if short => out.push(0),
        None if max => out.extend_from_slice(&PLP_NULL.to_le_bytes()),
        None => out.extend_from_slice(&CHARBIN_NULL.to_le_bytes()),
        Some(bytes) if max => write_plp(out, bytes),
        Some(bytes) => {
            let length = u16::try_from(bytes.len()).ok().filter(|length| *length <= 8000);
            let length = length
                .ok_or_else(|| SqlError::new(596, "A stored value is longer than its column."))?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

fn write_plp(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(PLP_UNKNOWN).to_le_bytes());
    for chunk in bytes.chunks(PLP_CHUNK) {
        out.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(&0u32.to_le_bytes());
}

/// The bytes of a value whose length is a single byte on the wire.
pub(super) fn encode_short(value: &Value, ty: SqlType) -> Result<Vec<u8>> {
    let misfit = || SqlError::new(596, format!("A stored value is not a {ty}."));
    let (_, scale) = ty.precision_scale();
    Ok(match (value, ty) {
        (Value::Integer(n), _) => {
            let width = usize::try_from(ty.max_length()).unwrap_or(8);
            n.to_le_bytes().get(..width).ok_or_else(misfit)?.to_vec()
        }
        (Value::Float(x), SqlType::Real) => (*x as f32).to_le_bytes().to_vec(),
        (Value::Float(x), _) => x.to_le_bytes().to_vec(),
        (Value::Decimal(d), SqlType::Money) => {
            let n =
                i64::try_from(d.rescale(4).ok_or_else(misfit)?.unscaled).map_err(|_| misfit())?;
            let bytes = n.to_le_bytes();
            let (low, high) = bytes.split_at(4);
            [high, low].concat()
        }
        (Value::Decimal(d), SqlType::SmallMoney) => {
            let n =
                i32::try_from(d.rescale(4).ok_or_else(misfit)?.unscaled).map_err(|_| misfit())?;
            n.to_le_bytes().to_vec()
        }
        (Value::Decimal(d), SqlType::Decimal { precision, scale, .. }) => {
            let unscaled = d.rescale(scale).ok_or_else(misfit)?.unscaled;
            let width = usize::from(decimal_width(precision));
            let mut bytes = vec![u8::from(unscaled >= 0)];
            bytes.extend_from_slice(
                unscaled.unsigned_abs().to_le_bytes().get(..width - 1).ok_or_else(misfit)?,
            );
            bytes
        }
        (Value::Date(day), _) => day_bytes(*day),
        (Value::Time(ticks), _) => time_bytes(*ticks, scale),
        (Value::DateTime(ticks), SqlType::DateTime) => {
            let day =
                i32::try_from(ticks.div_euclid(TICKS_PER_DAY) - DAY_1900).map_err(|_| misfit())?;
            let units = (ticks.rem_euclid(TICKS_PER_DAY) * DATETIME_TICKS
                + temporal::TICKS_PER_SECOND / 2)
                / temporal::TICKS_PER_SECOND;
            let units = u32::try_from(units).map_err(|_| misfit())?;
            [day.to_le_bytes(), units.to_le_bytes()].concat()
        }
        (Value::DateTime(ticks), SqlType::SmallDateTime) => {
            let day =
                u16::try_from(ticks.div_euclid(TICKS_PER_DAY) - DAY_1900).map_err(|_| misfit())?;
            let minutes = u16::try_from(ticks.rem_euclid(TICKS_PER_DAY) / TICKS_PER_MINUTE)
                .map_err(|_| misfit())?;
            [day.to_le_bytes(), minutes.to_le_bytes()].concat()
        }
        (Value::DateTime(ticks), _) => datetime2_bytes(*ticks, scale),
        (Value::Offset { utc, minutes }, _) => {
            let mut bytes = datetime2_bytes(*utc, scale);
            bytes.extend_from_slice(&minutes.to_le_bytes());
            bytes
        }
        (Value::Guid(wire), _) => wire.to_vec(),
        _ => return Err(misfit()),
    })
}

fn day_bytes(day: i64) -> Vec<u8> {
    day.to_le_bytes().into_iter().take(3).collect()
}

fn time_bytes(ticks: i64, scale: u8) -> Vec<u8> {
    let units = ticks / 10i64.pow(7u32.saturating_sub(u32::from(scale)));
    units.to_le_bytes().into_iter().take(usize::from(time_width(scale))).collect()
}

fn datetime2_bytes(ticks: i64, scale: u8) -> Vec<u8> {
    let mut bytes = time_bytes(ticks.rem_euclid(TICKS_PER_DAY), scale);
    bytes.extend(day_bytes(ticks.div_euclid(TICKS_PER_DAY)));
    bytes
}
