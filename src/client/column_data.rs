//! Between tiberius' values and the data of [`SqlType`]s, for code that encrypts without a wire.
//!
//! A value becomes what tiberius would send of it, and data become what tiberius would read of them,
//! so that the explicit API and the stream give an application the same values.

use std::borrow::Cow;

use tiberius::{
    ColumnData, Uuid,
    numeric::Numeric,
    time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time},
};
use zeroize::{Zeroize, Zeroizing};

use crate::value::{
    ConversionError, ConversionType, Length, SqlType, ValueError, convert, converted_len,
};

/// The decimal digits that `decimal` has at most.
const MAX_DIGITS: u8 = 38;
/// `money` counts in units of 10⁻⁴.
const MONEY_SCALE: u8 = 4;
/// Text is converted by way of this.
const UTF_16: ConversionType =
    ConversionType { sql_type: SqlType::NVarChar(Length::Max), code_page: None };

/// A value's type, and its data as the type lays them out.
pub(super) struct TypedData {
    pub(super) sql_type: SqlType,
    pub(super) data: Zeroizing<Vec<u8>>,
}

/// Why a value of tiberius' has no data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsendable {
    /// No column of its type can be encrypted.
    Xml,
    /// It is not a value of the type that tiberius sends it as.
    Value(ValueError),
}

/// Why data are no value of tiberius'.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They are not a value of their type.
    Value(ValueError),
    /// They are not text in the code page of their column.
    Text(ConversionError),
    /// They hold half of a surrogate pair, which a Rust string cannot.
    LoneSurrogate,
}

impl From<ValueError> for Unsendable {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

impl From<ValueError> for Unreadable {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// A value as tiberius would send it; `None` for NULL.
pub(super) fn typed_data(value: &ColumnData<'_>) -> Result<Option<TypedData>, Unsendable> {
    let (sql_type, data) = match value {
        ColumnData::Bit(v) => (SqlType::Bit, v.map(|v| bytes([u8::from(v)]))),
        ColumnData::U8(v) => (SqlType::TinyInt, v.map(|v| bytes([v]))),
        ColumnData::I16(v) => (SqlType::SmallInt, v.map(|v| bytes(v.to_le_bytes()))),
        ColumnData::I32(v) => (SqlType::Int, v.map(|v| bytes(v.to_le_bytes()))),
        ColumnData::I64(v) => (SqlType::BigInt, v.map(|v| bytes(v.to_le_bytes()))),
        ColumnData::F32(v) => (SqlType::Real, v.map(|v| bytes(v.to_le_bytes()))),
        ColumnData::F64(v) => (SqlType::Float, v.map(|v| bytes(v.to_le_bytes()))),
        ColumnData::Guid(v) => (SqlType::UniqueIdentifier, v.map(|v| bytes(v.to_bytes_le()))),
        ColumnData::String(v) => (SqlType::NVarChar(Length::Max), v.as_deref().map(utf16)),
        ColumnData::Binary(v) => (SqlType::VarBinary(Length::Max), v.as_deref().map(bytes)),
        ColumnData::Xml(None) => return Ok(None),
        ColumnData::Xml(Some(_)) => return Err(Unsendable::Xml),
        ColumnData::Numeric(None) => return Ok(None),
        ColumnData::Numeric(Some(v)) => return numeric_data(*v).map(Some),
        ColumnData::DateTime(v) => (SqlType::DateTime, v.map(datetime_data)),
        ColumnData::SmallDateTime(v) => (SqlType::SmallDateTime, v.map(smalldatetime_data)),
        ColumnData::Date(v) => {
            (SqlType::Date, v.map(|v| date_bytes(v, SqlType::Date).map(bytes)).transpose()?)
        }
        ColumnData::Time(None) | ColumnData::DateTime2(None) | ColumnData::DateTimeOffset(None) => {
            return Ok(None);
        }
        ColumnData::Time(Some(v)) => {
            let sql_type = SqlType::Time { scale: v.scale() };
            (sql_type, Some(temporal_data(*v, None, None, sql_type)?))
        }
        ColumnData::DateTime2(Some(v)) => {
            let sql_type = SqlType::DateTime2 { scale: v.time().scale() };
            (sql_type, Some(temporal_data(v.time(), Some(v.date()), None, sql_type)?))
        }
        ColumnData::DateTimeOffset(Some(v)) => {
            let (time, date) = (v.datetime2().time(), v.datetime2().date());
            let sql_type = SqlType::DateTimeOffset { scale: time.scale() };
            (sql_type, Some(temporal_data(time, Some(date), Some(v.offset()), sql_type)?))
        }
    };
    Ok(data.map(|data| TypedData { sql_type, data }))
}

fn bytes(data: impl AsRef<[u8]>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(data.as_ref().to_vec())
}

fn utf16(text: &str) -> Zeroizing<Vec<u8>> {
    let mut data = Zeroizing::new(Vec::with_capacity(2 * text.encode_utf16().count()));
    text.encode_utf16().for_each(|unit| data.extend_from_slice(&unit.to_le_bytes()));
    data
}

/// As tiberius, with as many digits as the value has; one with none before the point still has those
/// of its scale.
fn numeric_data(value: Numeric) -> Result<TypedData, Unsendable> {
    let magnitude = value.value().unsigned_abs();
    let digits = magnitude.checked_ilog10().map_or(1, |log| log as u8 + 1);
    let scale = value.scale();
    let precision = digits.max(scale);
    let sql_type = SqlType::Numeric { precision, scale };
    if precision > MAX_DIGITS {
        let sql_type = SqlType::Numeric { precision: MAX_DIGITS, scale };
        return Err(ValueError::OutOfRange { sql_type }.into());
    }
    let len = sql_type.data_len(sql_type.max_normal_form_len());
    let mut data = Zeroizing::new(Vec::with_capacity(len));
    data.push(u8::from(value.value() >= 0));
    data.extend(magnitude.to_le_bytes().into_iter().take(len - 1));
    Ok(TypedData { sql_type, data })
}

fn datetime_data(value: DateTime) -> Zeroizing<Vec<u8>> {
    let mut data = bytes([0; 8]);
    data[..4].copy_from_slice(&value.days().to_le_bytes());
    data[4..].copy_from_slice(&value.seconds_fragments().to_le_bytes());
    data
}

fn smalldatetime_data(value: SmallDateTime) -> Zeroizing<Vec<u8>> {
    let mut data = bytes([0; 4]);
    data[..2].copy_from_slice(&value.days().to_le_bytes());
    data[2..].copy_from_slice(&value.seconds_fragments().to_le_bytes());
    data
}

/// Three bytes. tiberius makes a `Date` of any day that chrono has.
fn date_bytes(date: Date, sql_type: SqlType) -> Result<[u8; 3], ValueError> {
    match date.days().to_le_bytes() {
        [a, b, c, 0] => Ok([a, b, c]),
        _ => Err(ValueError::OutOfRange { sql_type }),
    }
}

fn temporal_data(
    time: Time,
    date: Option<Date>,
    offset: Option<i16>,
    sql_type: SqlType,
) -> Result<Zeroizing<Vec<u8>>, ValueError> {
    let width = match time.scale() {
        0..=7 => SqlType::Time { scale: time.scale() }.data_len(5),
        _ => return Err(ValueError::InvalidType { sql_type }),
    };
    let mut data = Zeroizing::new(Vec::with_capacity(10));
    let increments = Zeroizing::new(time.increments().to_le_bytes());
    let (low, high) = increments.split_at(width);
    if high.iter().any(|&b| b != 0) {
        return Err(ValueError::OutOfRange { sql_type });
    }
    data.extend_from_slice(low);
    if let Some(date) = date {
        data.extend_from_slice(&date_bytes(date, sql_type)?);
    }
    if let Some(offset) = offset {
        data.extend_from_slice(&offset.to_le_bytes());
    }
    Ok(data)
}

/// Data as tiberius would read them from a column of the type.
pub(super) fn column_data(
    column: ConversionType,
    data: &[u8],
) -> Result<ColumnData<'static>, Unreadable> {
    let sql_type = column.sql_type;
    Ok(match sql_type {
        SqlType::Bit => {
            let [v] = exactly(sql_type, data)?;
            ColumnData::Bit(Some(v != 0))
        }
        SqlType::TinyInt => {
            let [v] = exactly(sql_type, data)?;
            ColumnData::U8(Some(v))
        }
        SqlType::SmallInt => ColumnData::I16(Some(i16::from_le_bytes(exactly(sql_type, data)?))),
        SqlType::Int => ColumnData::I32(Some(i32::from_le_bytes(exactly(sql_type, data)?))),
        SqlType::BigInt => ColumnData::I64(Some(i64::from_le_bytes(exactly(sql_type, data)?))),
        SqlType::Real => ColumnData::F32(Some(f32::from_le_bytes(exactly(sql_type, data)?))),
        SqlType::Float => ColumnData::F64(Some(f64::from_le_bytes(exactly(sql_type, data)?))),
        SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => {
            ColumnData::Numeric(Some(numeric(sql_type, scale, data)?))
        }
        SqlType::Money | SqlType::SmallMoney => {
            ColumnData::F64(Some(money_units(sql_type, data)? as f64 / 1e4))
        }
        SqlType::Date => ColumnData::Date(Some(date(exactly(sql_type, data)?))),
        SqlType::DateTime => {
            let [a, b, c, d, e, f, g, h] = exactly(sql_type, data)?;
            let (days, ticks) =
                (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            ColumnData::DateTime(Some(DateTime::new(days, ticks)))
        }
        SqlType::SmallDateTime => {
            let [a, b, c, d] = exactly(sql_type, data)?;
            let (days, minutes) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            ColumnData::SmallDateTime(Some(SmallDateTime::new(days, minutes)))
        }
        SqlType::Time { scale } => {
            let (time, rest) = time(sql_type, scale, data)?;
            let [] = exactly(sql_type, rest)?;
            ColumnData::Time(Some(time))
        }
        SqlType::DateTime2 { scale } => {
            let (time, rest) = time(sql_type, scale, data)?;
            let date = date(exactly(sql_type, rest)?);
            ColumnData::DateTime2(Some(DateTime2::new(date, time)))
        }
        SqlType::DateTimeOffset { scale } => {
            let (time, rest) = time(sql_type, scale, data)?;
            let [a, b, c, d, e] = exactly(sql_type, rest)?;
            let at = DateTime2::new(date([a, b, c]), time);
            let offset = i16::from_le_bytes([d, e]);
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(at, offset)))
        }
        SqlType::Char(_) | SqlType::VarChar(_) => {
            let len = converted_len(column, data.len(), UTF_16);
            let mut wide = Zeroizing::new(Vec::with_capacity(len));
            convert(column, data, UTF_16, &mut wide).map_err(Unreadable::Text)?;
            ColumnData::String(Some(Cow::Owned(text(&wide)?)))
        }
        SqlType::NChar(_) | SqlType::NVarChar(_) => ColumnData::String(Some(text(data)?.into())),
        SqlType::Binary(_) | SqlType::VarBinary(_) => {
            ColumnData::Binary(Some(Cow::Owned(data.to_vec())))
        }
        SqlType::UniqueIdentifier => {
            ColumnData::Guid(Some(Uuid::from_bytes_le(exactly(sql_type, data)?)))
        }
    })
}

/// A `money` or `smallmoney` with all of its digits, which tiberius' `f64` does not have.
pub(super) fn money(sql_type: SqlType, data: &[u8]) -> Result<ColumnData<'static>, ValueError> {
    let units = money_units(sql_type, data)?;
    Ok(ColumnData::Numeric(Some(Numeric::new_with_scale(i128::from(units), MONEY_SCALE))))
}

/// MONEY has its high half first (MS-TDS 2.2.5.5.1.2).
fn money_units(sql_type: SqlType, data: &[u8]) -> Result<i64, ValueError> {
    match sql_type {
        SqlType::SmallMoney => Ok(i32::from_le_bytes(exactly(sql_type, data)?).into()),
        _ => {
            let [a, b, c, d, e, f, g, h] = exactly(sql_type, data)?;
            Ok(i64::from_le_bytes([e, f, g, h, a, b, c, d]))
        }
    }
}

fn exactly<const N: usize>(sql_type: SqlType, data: &[u8]) -> Result<[u8; N], ValueError> {
    data.try_into().map_err(|_| ValueError::WrongLength { sql_type, len: data.len() })
}

fn numeric(sql_type: SqlType, scale: u8, data: &[u8]) -> Result<Numeric, ValueError> {
    // `Numeric` panics at a larger one.
    if scale > MAX_DIGITS {
        return Err(ValueError::InvalidType { sql_type });
    }
    let (&sign, magnitude) =
        data.split_first().ok_or(ValueError::WrongLength { sql_type, len: 0 })?;
    let mut wide = [0; 16];
    let Some(low) = wide.get_mut(..magnitude.len()) else {
        return Err(ValueError::WrongLength { sql_type, len: data.len() });
    };
    low.copy_from_slice(magnitude);
    let magnitude = i128::try_from(u128::from_le_bytes(wide))
        .map_err(|_| ValueError::OutOfRange { sql_type })?;
    match sign {
        0x00 => Ok(Numeric::new_with_scale(-magnitude, scale)),
        0x01 => Ok(Numeric::new_with_scale(magnitude, scale)),
        _ => Err(ValueError::InvalidSign { sql_type }),
    }
}

fn date([a, b, c]: [u8; 3]) -> Date {
    Date::new(u32::from_le_bytes([a, b, c, 0]))
}

/// The time at the front, and what follows it.
fn time(sql_type: SqlType, scale: u8, data: &[u8]) -> Result<(Time, &[u8]), ValueError> {
    if scale > 7 {
        return Err(ValueError::InvalidType { sql_type });
    }
    let width = SqlType::Time { scale }.data_len(5);
    let Some((low, rest)) = data.split_at_checked(width) else {
        return Err(ValueError::WrongLength { sql_type, len: data.len() });
    };
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(low);
    Ok((Time::new(u64::from_le_bytes(wide), scale), rest))
}

/// UTF-16 as a string that did not grow on its way, for that would leave copies behind.
fn text(data: &[u8]) -> Result<String, Unreadable> {
    let (units, odd) = data.as_chunks::<2>();
    if !odd.is_empty() {
        let sql_type = SqlType::NVarChar(Length::Max);
        return Err(ValueError::OddLength { sql_type, len: data.len() }.into());
    }
    let chars = || char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)));
    let len = chars().map(|c| c.map_or(0, char::len_utf8)).sum();
    let mut text = String::with_capacity(len);
    for c in chars() {
        match c {
            Ok(c) => text.push(c),
            Err(_) => {
                text.zeroize();
                return Err(Unreadable::LoneSurrogate);
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
