//! How values lie in SQLite, so that its `=`, `<` and ORDER BY are SQL Server's.
//!
//! | family | in SQLite |
//! |---|---|
//! | bit to bigint, date, time, datetime, datetime2 | INTEGER (days, 100 ns ticks) |
//! | real, float | REAL |
//! | decimal, money | TEXT under the collation TDS_DECIMAL, which compares by value |
//! | datetimeoffset | TEXT, UTC ticks then offset, under TDS_OFFSET, which ignores the offset |
//! | strings | TEXT under the collation of the column |
//! | binary, and every encrypted column | BLOB |
//! | xml | TEXT |
//! | sql_variant | BLOB, as [`variant`] writes it |
//! | uniqueidentifier | BLOB, bytes in SQL Server's order of significance |

use rusqlite::types::{Value as Stored, ValueRef};

use crate::error::{Result, SqlError};
use crate::types::decimal::Decimal;
use crate::types::{Family, SqlType, Value, variant};

/// Wire positions of a uniqueidentifier's bytes, most significant first in comparisons.
const GUID_ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 6, 7, 4, 5, 0, 1, 2, 3];

/// The SQLite collation that values of a family need, strings aside.
pub(crate) fn collation(family: Family) -> Option<&'static str> {
    match family {
        Family::Decimal => Some("TDS_DECIMAL"),
        Family::Offset => Some("TDS_OFFSET"),
        _ => None,
    }
}

pub(crate) fn store(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Integer(n) | Value::Date(n) | Value::Time(n) | Value::DateTime(n) => {
            Stored::Integer(*n)
        }
        Value::Float(x) => Stored::Real(*x),
        Value::Decimal(d) => Stored::Text(d.to_string()),
        Value::Offset { utc, minutes } => Stored::Text(format!("{utc:019}{minutes:+05}")),
        Value::Text(text) => Stored::Text(text.clone()),
        Value::Bytes(bytes) => Stored::Blob(bytes.clone()),
        Value::Variant(inner) => variant::store(inner.0, &inner.1),
        Value::Guid(wire) => Stored::Blob(
            GUID_ORDER.iter().map(|&at| wire.get(at).copied().unwrap_or_default()).collect(),
        ),
    }
}

pub(crate) fn load(stored: ValueRef<'_>, ty: SqlType) -> Result<Value> {
    let value = match (stored, ty.family()) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(n), Family::Integer) => Value::Integer(n),
        (ValueRef::Integer(n), Family::Date) => Value::Date(n),
        (ValueRef::Integer(n), Family::Time) => Value::Time(n),
        (ValueRef::Integer(n), Family::DateTime) => Value::DateTime(n),
        (ValueRef::Real(x), Family::Float) => Value::Float(x),
        (ValueRef::Text(_), Family::Decimal) => {
            Value::Decimal(decimal(text(stored)?).ok_or_else(|| damaged(ty))?)
        }
        (ValueRef::Text(_), Family::Offset) => offset(text(stored)?).ok_or_else(|| damaged(ty))?,
        (ValueRef::Text(_), Family::Text | Family::Xml) => Value::Text(text(stored)?.to_owned()),
        (ValueRef::Blob(bytes), Family::Bytes) => Value::Bytes(bytes.to_vec()),
        (ValueRef::Blob(bytes), Family::Variant) => variant::load(bytes)?,
        (ValueRef::Blob(bytes), Family::Guid) => guid(bytes).ok_or_else(|| damaged(ty))?,
        _ => return Err(damaged(ty)),
    };
    Ok(value)
}

fn damaged(ty: SqlType) -> SqlError {
    SqlError::new(
        596,
        format!("The sandbox's storage holds something else where {ty} is expected."),
    )
}

fn text(stored: ValueRef<'_>) -> Result<&str> {
    stored
        .as_str()
        .map_err(|e| SqlError::new(596, format!("The sandbox's storage is damaged: {e}")))
}

pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    Decimal::parse(text)
}

/// The UTC ticks alone: what datetimeoffset values are compared by.
pub(crate) fn offset_ticks(text: &str) -> &str {
    text.get(..19).unwrap_or(text)
}

fn offset(text: &str) -> Option<Value> {
    Some(Value::Offset {
        utc: text.get(..19)?.parse().ok()?,
        minutes: text.get(19..)?.parse().ok()?,
    })
}

fn guid(bytes: &[u8]) -> Option<Value> {
    let mut wire = [0u8; 16];
    if bytes.len() != wire.len() {
        return None;
    }
    for (byte, at) in bytes.iter().zip(GUID_ORDER) {
        *wire.get_mut(at)? = *byte;
    }
    Some(Value::Guid(wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let cases = [
            (Value::Integer(-5), SqlType::Int),
            (Value::Decimal(Decimal::new(-1050, 2)), SqlType::Money),
            (
                Value::Offset { utc: 638_460_836_551_234_567, minutes: -330 },
                SqlType::DateTimeOffset(7),
            ),
            (
                Value::Guid(core::array::from_fn(|i| u8::try_from(i).unwrap())),
                SqlType::UniqueIdentifier,
            ),
            (Value::Null, SqlType::Date),
        ];
        for (value, ty) in cases {
            let stored = store(&value);
            assert_eq!(load(ValueRef::from(&stored), ty).unwrap(), value);
        }
    }

    #[test]
    fn the_last_six_bytes_of_a_guid_weigh_most() {
        let mut low = [0xFF; 16];
        low[10] = 1;
        let mut high = [0; 16];
        high[10] = 2;
        let (Stored::Blob(low), Stored::Blob(high)) =
            (store(&Value::Guid(low)), store(&Value::Guid(high)))
        else {
            panic!("a uniqueidentifier is a blob")
        };
        assert!(low < high);
    }
}
