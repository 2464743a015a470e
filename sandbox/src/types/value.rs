//! A value outside SQLite and off the wire.

use crate::types::SqlType;
use crate::types::decimal::Decimal;

/// One plaintext value. Which [`SqlType`](crate::types::SqlType) it has is known beside it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// bit to bigint.
    Integer(i64),
    /// real and float.
    Float(f64),
    /// decimal, and money with scale 4.
    Decimal(Decimal),
    /// Days since 0001-01-01.
    Date(i64),
    /// 100 ns ticks since midnight.
    Time(i64),
    /// 100 ns ticks since 0001-01-01: datetime2, datetime and smalldatetime.
    DateTime(i64),
    /// UTC ticks as above, and minutes east of UTC.
    Offset {
        utc: i64,
        minutes: i16,
    },
    /// As [`text`](crate::types::text) keeps it: strings, and xml.
    Text(String),
    Bytes(Vec<u8>),
    /// In the order of the wire.
    Guid([u8; 16]),
    /// sql_variant: a value that has its type with it, and is not NULL.
    Variant(Box<(SqlType, Value)>),
}

impl Value {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}
