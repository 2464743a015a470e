//! Integers, floating point, decimals and money.

use std::ops::RangeInclusive;

use super::exactly;
use crate::value::{
    SqlType, ValueError,
    sql_type::{MAX_PRECISION, magnitude_width},
};

/// The bytes of a decimal's magnitude in normal form: four words of 32 bits.
const MAGNITUDE: usize = 16;

pub(super) fn normalize_bit(
    sql_type: SqlType,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let [bit] = exactly(sql_type, data)?;
    out.extend_from_slice(&i64::from(bit != 0).to_le_bytes());
    Ok(())
}

pub(super) fn normalize_integer(
    sql_type: SqlType,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let value = if let Ok(bytes) = data.try_into() {
        // The one unsigned width: tinyint.
        i64::from(u8::from_le_bytes(bytes))
    } else if let Ok(bytes) = data.try_into() {
        i64::from(i16::from_le_bytes(bytes))
    } else if let Ok(bytes) = data.try_into() {
        i64::from(i32::from_le_bytes(bytes))
    } else {
        i64::from_le_bytes(exactly(sql_type, data)?)
    };
    if !integer_range(sql_type).contains(&value) {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

/// SqlClient cuts off what the column's type does not hold; a cell that needs it was not made for
/// this column.
pub(super) fn denormalize_integer(
    sql_type: SqlType,
    normal_form: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let value = read_integer(sql_type, normal_form)?;
    if sql_type == SqlType::Bit {
        out.push(u8::from(value != 0));
        return Ok(());
    }
    if !integer_range(sql_type).contains(&value) {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend(value.to_le_bytes().into_iter().take(sql_type.data_len(normal_form.len())));
    Ok(())
}

/// Eight bytes, or what go-mssqldb writes: the width of the type.
fn read_integer(sql_type: SqlType, bytes: &[u8]) -> Result<i64, ValueError> {
    match (sql_type, bytes) {
        (SqlType::Bit | SqlType::TinyInt, &[a]) => Ok(i64::from(a)),
        (SqlType::SmallInt, &[a, b]) => Ok(i64::from(i16::from_le_bytes([a, b]))),
        (SqlType::Int, &[a, b, c, d]) => Ok(i64::from(i32::from_le_bytes([a, b, c, d]))),
        _ => Ok(i64::from_le_bytes(exactly(sql_type, bytes)?)),
    }
}

fn integer_range(sql_type: SqlType) -> RangeInclusive<i64> {
    match sql_type {
        SqlType::TinyInt => 0..=0xFF,
        SqlType::SmallInt => i16::MIN.into()..=i16::MAX.into(),
        SqlType::Int => i32::MIN.into()..=i32::MAX.into(),
        _ => i64::MIN..=i64::MAX,
    }
}

pub(super) fn normalize_float(
    sql_type: SqlType,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let finite = match sql_type {
        SqlType::Real => f32::from_le_bytes(exactly(sql_type, data)?).is_finite(),
        _ => f64::from_le_bytes(exactly(sql_type, data)?).is_finite(),
    };
    if !finite {
        return Err(ValueError::NotFinite { sql_type });
    }
    out.extend_from_slice(data);
    Ok(())
}

pub(super) fn normalize_decimal(
    sql_type: SqlType,
    precision: u8,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let limit = decimal_limit(sql_type, precision)?;
    if !matches!(data.len(), 5 | 9 | 13 | 17) {
        return Err(ValueError::WrongLength { sql_type, len: data.len() });
    }
    let (sign, magnitude) = read_decimal(sql_type, limit, data)?;
    out.push(sign);
    out.extend_from_slice(&magnitude.to_le_bytes());
    Ok(())
}

/// Takes whatever whole bytes of magnitude there are: SqlClient writes 16, JDBC 15.
pub(super) fn denormalize_decimal(
    sql_type: SqlType,
    precision: u8,
    normal_form: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let limit = decimal_limit(sql_type, precision)?;
    let (sign, magnitude) = read_decimal(sql_type, limit, normal_form)?;
    out.push(sign);
    out.extend(magnitude.to_le_bytes().into_iter().take(magnitude_width(precision)));
    Ok(())
}

/// The smallest magnitude that has more digits than the precision.
fn decimal_limit(sql_type: SqlType, precision: u8) -> Result<u128, ValueError> {
    match precision {
        1..=MAX_PRECISION => Ok(10u128.pow(precision.into())),
        _ => Err(ValueError::InvalidType { sql_type }),
    }
}

/// Sign and magnitude, which is below `limit`. Zero is not negative.
fn read_decimal(sql_type: SqlType, limit: u128, bytes: &[u8]) -> Result<(u8, u128), ValueError> {
    let wrong_length = ValueError::WrongLength { sql_type, len: bytes.len() };
    let (&sign, words) = bytes.split_first().ok_or(wrong_length)?;
    if words.len() > MAGNITUDE {
        return Err(wrong_length);
    }
    if sign > 1 {
        return Err(ValueError::InvalidSign { sql_type });
    }
    let magnitude = words.iter().rev().fold(0, |high: u128, &byte| high << 8 | u128::from(byte));
    if magnitude >= limit {
        return Err(ValueError::OutOfRange { sql_type });
    }
    Ok((if magnitude == 0 { 1 } else { sign }, magnitude))
}

pub(super) fn normalize_money(
    sql_type: SqlType,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let value = match data.try_into() {
        Ok(bytes) => i32::from_le_bytes(bytes).into(),
        Err(_) => read_money(exactly(sql_type, data)?),
    };
    if sql_type == SqlType::SmallMoney && i32::try_from(value).is_err() {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend_from_slice(&value.rotate_left(32).to_le_bytes());
    Ok(())
}

pub(super) fn denormalize_smallmoney(
    sql_type: SqlType,
    normal_form: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let value = i32::try_from(read_money(exactly(sql_type, normal_form)?))
        .map_err(|_| ValueError::OutOfRange { sql_type })?;
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

/// The two halves are little-endian each, but the high one comes first.
fn read_money(bytes: [u8; 8]) -> i64 {
    i64::from_le_bytes(bytes).rotate_left(32)
}
