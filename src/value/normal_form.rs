//! The dispatch by type. The layouts are documented in the module above, where the table is.

mod numeric;
mod temporal;
mod text;

pub(super) use temporal::{DATETIME_TICKS_PER_DAY, MINUTES_PER_DAY};
pub use temporal::{Rescaled, rescale_time};
pub(super) use text::check_length;
pub use text::find_lone_surrogate;

use super::{SqlType, ValueError};

/// Appends to `out` the normal form of a value, given its `data` as its type has it on the wire.
///
/// * Integers may come in any of INTN's widths (1 unsigned, 2, 4, 8 signed) if the value is in the
///   type's range; money likewise in MONEYN's (4, 8).
/// * Decimals may have a magnitude of 4, 8, 12 or 16 bytes at the type's scale. Negative zero
///   becomes zero, so that the two make equal cells.
/// * Times are at the type's scale; [`rescale_time`] first if they are not.
/// * Strings and binaries are checked against the type's length and taken as they are. Strings of
///   UTF-16 may hold lone surrogates; ask [`find_lone_surrogate`].
///
/// # Errors
///
/// The type does not have that value; see [`ValueError`]. Nothing has been appended then.
pub fn normalize(sql_type: SqlType, data: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    match sql_type {
        SqlType::Bit => numeric::normalize_bit(sql_type, data, out),
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            numeric::normalize_integer(sql_type, data, out)
        }
        SqlType::Real | SqlType::Float => numeric::normalize_float(sql_type, data, out),
        SqlType::Decimal { precision, .. } | SqlType::Numeric { precision, .. } => {
            numeric::normalize_decimal(sql_type, precision, data, out)
        }
        SqlType::Money | SqlType::SmallMoney => numeric::normalize_money(sql_type, data, out),
        SqlType::Date => temporal::copy_date(sql_type, data, out),
        SqlType::DateTime => temporal::copy_datetime(sql_type, data, out),
        SqlType::SmallDateTime => temporal::copy_smalldatetime(sql_type, data, out),
        SqlType::Time { scale }
        | SqlType::DateTime2 { scale }
        | SqlType::DateTimeOffset { scale } => temporal::normalize_time(sql_type, scale, data, out),
        SqlType::Char(_)
        | SqlType::VarChar(_)
        | SqlType::NChar(_)
        | SqlType::NVarChar(_)
        | SqlType::Binary(_)
        | SqlType::VarBinary(_) => text::copy(sql_type, data, out),
        SqlType::UniqueIdentifier => copy_exactly(16, sql_type, data, out),
    }
}

/// The normal form of a string or binary, which is its data: checked as by [`normalize`], and not
/// copied. `None` for other types.
///
/// # Errors
///
/// The type does not have that value; see [`ValueError`].
pub fn normalized_in_place(sql_type: SqlType, data: &[u8]) -> Result<Option<&[u8]>, ValueError> {
    if !sql_type.is_variable_length() {
        return Ok(None);
    }
    text::check_length(sql_type, data.len()).map(|()| Some(data))
}

/// Whether the data of a value are its normal form as it stands, given the length of that in bytes:
/// those of a string or binary that is not padded are, and no others.
///
/// # Errors
///
/// No normal form of the type is so long; see [`ValueError`].
pub fn is_own_normal_form(sql_type: SqlType, len: usize) -> Result<bool, ValueError> {
    match sql_type {
        SqlType::VarChar(_) | SqlType::NVarChar(_) | SqlType::VarBinary(_) => {
            text::check_length(sql_type, len).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// The data of a string or binary that is not padded, which are its normal form: checked as by
/// [`denormalize`], and not copied. `None` for other types.
///
/// # Errors
///
/// The bytes are not a normal form of the type; see [`ValueError`].
pub fn denormalized_in_place(
    sql_type: SqlType,
    normal_form: &[u8],
) -> Result<Option<&[u8]>, ValueError> {
    let is_its_own = is_own_normal_form(sql_type, normal_form.len())?;
    Ok(is_its_own.then_some(normal_form))
}

/// Appends to `out` the data, as the type has them on the wire, of a value in normal form.
///
/// Integers, decimals and times take the width of the type; `char(n)` and `nchar(n)` are padded
/// with blanks and `binary(n)` with zeros to `n`. Forms that other drivers write are taken where they
/// can be told from the normal form; see the [module's page](super).
///
/// # Errors
///
/// The bytes are not a normal form of the type; see [`ValueError`]. Nothing has been appended then.
pub fn denormalize(
    sql_type: SqlType,
    normal_form: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match sql_type {
        SqlType::Bit | SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            numeric::denormalize_integer(sql_type, normal_form, out)
        }
        SqlType::Real => copy_exactly(4, sql_type, normal_form, out),
        SqlType::Float => copy_exactly(8, sql_type, normal_form, out),
        SqlType::Decimal { precision, .. } | SqlType::Numeric { precision, .. } => {
            numeric::denormalize_decimal(sql_type, precision, normal_form, out)
        }
        SqlType::Money => copy_exactly(8, sql_type, normal_form, out),
        SqlType::SmallMoney => numeric::denormalize_smallmoney(sql_type, normal_form, out),
        SqlType::Date => temporal::copy_date(sql_type, normal_form, out),
        SqlType::DateTime => temporal::copy_datetime(sql_type, normal_form, out),
        SqlType::SmallDateTime => temporal::copy_smalldatetime(sql_type, normal_form, out),
        SqlType::Time { scale }
        | SqlType::DateTime2 { scale }
        | SqlType::DateTimeOffset { scale } => {
            temporal::denormalize_time(sql_type, scale, normal_form, out)
        }
        SqlType::Char(_) | SqlType::NChar(_) | SqlType::Binary(_) => {
            text::copy_padded(sql_type, normal_form, out)
        }
        SqlType::VarChar(_) | SqlType::NVarChar(_) | SqlType::VarBinary(_) => {
            text::copy(sql_type, normal_form, out)
        }
        SqlType::UniqueIdentifier => copy_exactly(16, sql_type, normal_form, out),
    }
}

/// For the types whose two forms are the same bytes, so many of them.
fn copy_exactly(
    len: usize,
    sql_type: SqlType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    if bytes.len() != len {
        return Err(ValueError::WrongLength { sql_type, len: bytes.len() });
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// The bytes as an array, if there are exactly as many as the type has.
fn exactly<const N: usize>(sql_type: SqlType, bytes: &[u8]) -> Result<[u8; N], ValueError> {
    bytes.try_into().map_err(|_| ValueError::WrongLength { sql_type, len: bytes.len() })
}

#[cfg(test)]
mod tests;
