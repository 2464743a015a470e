//! sql_variant: what it can hold, and how SQLite keeps it.
//!
//! A blob: a byte with the length of the type's text, the text, a byte with the kind of the value behind it (as SQLite
//! keeps values of that type), and the value.

use rusqlite::types::{Value as Stored, ValueRef};

use crate::error::{Result, SqlError};
use crate::types::{Length, SqlType, Value, parse, storage};

const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Whether a sql_variant can hold values of the type.
pub(crate) fn holds(ty: SqlType) -> bool {
    use SqlType::*;
    !matches!(
        ty,
        VarChar(Length::Max)
            | NVarChar(Length::Max)
            | VarBinary(Length::Max)
            | Text
            | NText
            | Image
            | Xml
            | RowVersion
            | Variant
    )
}

pub(crate) fn store(ty: SqlType, value: &Value) -> Stored {
    let name = ty.to_string();
    let mut blob = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
    blob.extend_from_slice(name.as_bytes());
    match storage::store(value) {
        Stored::Null => return Stored::Null,
        Stored::Integer(n) => {
            blob.push(INTEGER);
            blob.extend_from_slice(&n.to_le_bytes());
        }
        Stored::Real(x) => {
            blob.push(REAL);
            blob.extend_from_slice(&x.to_le_bytes());
        }
        Stored::Text(text) => {
            blob.push(TEXT);
            blob.extend_from_slice(text.as_bytes());
        }
        Stored::Blob(bytes) => {
            blob.push(BLOB);
            blob.extend_from_slice(&bytes);
        }
    }
    Stored::Blob(blob)
}

pub(crate) fn load(blob: &[u8]) -> Result<Value> {
    let damaged = || SqlError::new(596, "The sandbox's storage holds no sql_variant.");
    let (length, rest) = blob.split_first().ok_or_else(damaged)?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(damaged)?;
    let (kind, bytes) = rest.split_first().ok_or_else(damaged)?;
    let name = std::str::from_utf8(name).map_err(|_| damaged())?;
    let declared = parse::declarations(&format!("@v {name}"))?;
    let ty = declared.first().ok_or_else(damaged)?.ty;
    let eight = || <[u8; 8]>::try_from(bytes).map_err(|_| damaged());
    let stored = match *kind {
        INTEGER => ValueRef::Integer(i64::from_le_bytes(eight()?)),
        REAL => ValueRef::Real(f64::from_le_bytes(eight()?)),
        TEXT => ValueRef::Text(bytes),
        BLOB => ValueRef::Blob(bytes),
        _ => return Err(damaged()),
    };
    Ok(Value::Variant(Box::new((ty, storage::load(stored, ty)?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::decimal::Decimal;

    #[test]
    fn what_is_stored_is_loaded_with_its_type() {
        let numeric = SqlType::Decimal { precision: 9, scale: 2, named_numeric: true };
        for (ty, value) in [
            (SqlType::Int, Value::Integer(-5)),
            (SqlType::Float, Value::Float(0.5)),
            (numeric, Value::Decimal(Decimal::new(1050, 2))),
            (SqlType::NVarChar(Length::N(7)), Value::Text("a\u{1f600}".to_owned())),
            (SqlType::Binary(2), Value::Bytes(vec![0, 1])),
        ] {
            let Stored::Blob(blob) = store(ty, &value) else { panic!("{ty} is a blob") };
            assert_eq!(load(&blob).unwrap(), Value::Variant(Box::new((ty, value))));
            for end in 0..blob.len() {
                let _ = load(&blob[..end]);
            }
        }
    }
}
