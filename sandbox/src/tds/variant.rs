//! sql_variant on the wire (MS-TDS 2.2.5.5.4): the base type's token, its properties, and the value without a length.

use crate::error::{Result, SqlError};
use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::tds::type_info::{
    BIGBINARYTYPE, BIGCHARTYPE, BIGVARBINTYPE, BIGVARCHRTYPE, BITTYPE, DATENTYPE, DATETIM4TYPE,
    DATETIME2NTYPE, DATETIMEOFFSETNTYPE, DATETIMETYPE, DECIMALNTYPE, FLT4TYPE, FLT8TYPE, GUIDTYPE,
    INT1TYPE, INT2TYPE, INT4TYPE, INT8TYPE, MONEY4TYPE, MONEYTYPE, NCHARTYPE, NUMERICNTYPE,
    NVARCHARTYPE, SSVARIANTTYPE, TIMENTYPE, TypeInfo, encode_short,
};
use crate::types::{Collation, Length, SqlType, Value, text, variant};

/// What a column or parameter of the type is said to be long: 8000 bytes of value, 9 of what is before it.
const MAX_LENGTH: u32 = 8009;
const MAX_VALUE: u16 = 8000;

pub(super) fn write_type_info(out: &mut Vec<u8>) {
    out.push(SSVARIANTTYPE);
    out.extend_from_slice(&MAX_LENGTH.to_le_bytes());
}

/// The value behind its length.
pub(super) fn read(bytes: &[u8]) -> Read<Value> {
    let mut cursor = Cursor::new(bytes);
    let token = cursor.u8()?;
    let properties = cursor.u8()?;
    let mut info = TypeInfo { token, length: 0, precision: 0, scale: 0, collation: [0; 5] };
    match (token, properties) {
        (INT1TYPE | BITTYPE, 0) => info.length = 1,
        (INT2TYPE, 0) => info.length = 2,
        (INT4TYPE | DATETIM4TYPE | FLT4TYPE | MONEY4TYPE, 0) => info.length = 4,
        (MONEYTYPE | DATETIMETYPE | FLT8TYPE | INT8TYPE, 0) => info.length = 8,
        (GUIDTYPE, 0) => info.length = 16,
        (DATENTYPE, 0) => {}
        (TIMENTYPE | DATETIME2NTYPE | DATETIMEOFFSETNTYPE, 1) => info.scale = cursor.u8()?,
        (DECIMALNTYPE | NUMERICNTYPE, 2) => {
            info.precision = cursor.u8()?;
            info.scale = cursor.u8()?;
        }
        (BIGVARBINTYPE | BIGBINARYTYPE, 2) => info.length = u32::from(cursor.u16()?),
        (BIGVARCHRTYPE | BIGCHARTYPE | NVARCHARTYPE | NCHARTYPE, 7) => {
            info.collation = cursor.array()?;
            info.length = u32::from(cursor.u16()?);
        }
        _ => {
            return Err(Malformed(format!(
                "A sql_variant of data type {token:#04x} with {properties} bytes of properties."
            )));
        }
    }
    let ty = info.sql_type()?.filter(|ty| variant::holds(*ty));
    let ty =
        ty.ok_or_else(|| Malformed("A sql_variant holds no value of that type.".to_owned()))?;
    let rest = cursor.rest();
    if rest.len() > usize::from(MAX_VALUE) {
        return Err(Malformed("A sql_variant holds at most 8000 bytes.".to_owned()));
    }
    Ok(Value::Variant(Box::new((ty, info.decode(ty, rest)?))))
}

pub(super) fn write(
    out: &mut Vec<u8>,
    ty: SqlType,
    value: &Value,
    collation: &Collation,
) -> Result<()> {
    use SqlType::*;
    let bounded = |length: Length, unit: u16| match length {
        Length::N(n) => n.saturating_mul(unit).min(MAX_VALUE),
        Length::Max => MAX_VALUE,
    };
    let (token, properties) = match ty {
        Bit => (BITTYPE, vec![]),
        TinyInt => (INT1TYPE, vec![]),
        SmallInt => (INT2TYPE, vec![]),
        Int => (INT4TYPE, vec![]),
        BigInt => (INT8TYPE, vec![]),
        Real => (FLT4TYPE, vec![]),
        Float => (FLT8TYPE, vec![]),
        Money => (MONEYTYPE, vec![]),
        SmallMoney => (MONEY4TYPE, vec![]),
        DateTime => (DATETIMETYPE, vec![]),
        SmallDateTime => (DATETIM4TYPE, vec![]),
        UniqueIdentifier => (GUIDTYPE, vec![]),
        Date => (DATENTYPE, vec![]),
        Time(scale) => (TIMENTYPE, vec![scale]),
        DateTime2(scale) => (DATETIME2NTYPE, vec![scale]),
        DateTimeOffset(scale) => (DATETIMEOFFSETNTYPE, vec![scale]),
        Decimal { precision, scale, named_numeric } => {
            (if named_numeric { NUMERICNTYPE } else { DECIMALNTYPE }, vec![precision, scale])
        }
        Binary(n) => (BIGBINARYTYPE, n.to_le_bytes().to_vec()),
        VarBinary(n) => (BIGVARBINTYPE, bounded(n, 1).to_le_bytes().to_vec()),
        Char(n) => (BIGCHARTYPE, of_text(collation, n)),
        VarChar(n) => (BIGVARCHRTYPE, of_text(collation, bounded(n, 1))),
        NChar(n) => (NCHARTYPE, of_text(collation, bounded(Length::N(n), 2))),
        NVarChar(n) => (NVARCHARTYPE, of_text(collation, bounded(n, 2))),
        Text | NText | Image | Xml | Variant | RowVersion => {
            return Err(SqlError::new(596, format!("A stored sql_variant is a {ty}.")));
        }
    };
    let bytes = match value {
        Value::Text(text) if ty.is_wide() => text::to_utf16le(text),
        Value::Text(text) => collation.encode(text),
        Value::Bytes(bytes) => bytes.clone(),
        other => encode_short(other, ty)?,
    };
    let length = properties.len().saturating_add(bytes.len()).saturating_add(2);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(MAX_LENGTH).to_le_bytes());
    out.push(token);
    out.push(u8::try_from(properties.len()).unwrap_or_default());
    out.extend_from_slice(&properties);
    out.extend_from_slice(&bytes);
    Ok(())
}

fn of_text(collation: &Collation, length: u16) -> Vec<u8> {
    let mut properties = collation.wire().to_vec();
    properties.extend_from_slice(&length.to_le_bytes());
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numeric = SqlType::Decimal { precision: 9, scale: 2, named_numeric: true };
        let decimal = crate::types::decimal::Decimal::new(-1050, 2);
        for (ty, value) in [
            (SqlType::Bit, Value::Integer(1)),
            (SqlType::Int, Value::Integer(-5)),
            (SqlType::Money, Value::Decimal(crate::types::decimal::Decimal::new(10_000, 4))),
            (numeric, Value::Decimal(decimal)),
            (SqlType::Time(3), Value::Time(10_000)),
            (SqlType::Date, Value::Date(738_000)),
            (SqlType::NVarChar(Length::N(7)), Value::Text("a\u{1f600}".to_owned())),
            (SqlType::VarChar(Length::N(7)), Value::Text("\u{e9}".to_owned())),
            (SqlType::VarBinary(Length::N(3)), Value::Bytes(vec![])),
            (SqlType::UniqueIdentifier, Value::Guid([7; 16])),
        ] {
            let mut out = Vec::new();
            write(&mut out, ty, &value, &Collation::default()).unwrap();
            let (length, body) = out.split_at(4);
            assert_eq!(length, u32::try_from(body.len()).unwrap().to_le_bytes());
            assert_eq!(read(body).unwrap(), Value::Variant(Box::new((ty, value))));
            for end in 0..body.len() {
                let _ = read(&body[..end]);
            }
        }
    }
}
