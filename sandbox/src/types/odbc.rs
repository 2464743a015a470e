//! What ODBC says of a type, as the catalogue procedures (sp_columns and its kin) give it to drivers.

use crate::types::{Length, SqlType};

/// Numbers of ODBC's types.
const SQL_DATETIME: i64 = 9;
const SQL_TYPE_TIMESTAMP: i64 = 93;
const SQL_TIMESTAMP: i64 = 11;
const SQL_TYPE_DATE: i64 = 91;
const SQL_SS_TIME2: i64 = -154;
const SQL_SS_TIMESTAMPOFFSET: i64 = -155;

/// A type in ODBC's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Description {
    /// As of ODBC 3, and as of 2.
    data_type: (i64, i64),
    precision: i64,
    length: i64,
    scale: Option<i64>,
    radix: Option<i64>,
    /// Of dates and times, the code within SQL_DATETIME.
    datetime_sub: Option<i64>,
    /// Of strings and binaries.
    octets: Option<i64>,
}

fn plain(data_type: i64, precision: i64, length: i64) -> Description {
    Description {
        data_type: (data_type, data_type),
        precision,
        length,
        scale: None,
        radix: None,
        datetime_sub: None,
        octets: None,
    }
}

fn exact(data_type: i64, precision: u8, length: i64, scale: u8) -> Description {
    let (scale, radix) = (Some(i64::from(scale)), Some(10));
    Description { scale, radix, ..plain(data_type, i64::from(precision), length) }
}

fn string(data_type: i64, characters: i64, octets: i64) -> Description {
    Description { octets: Some(octets), ..plain(data_type, characters, octets) }
}

fn temporal(
    data_type: (i64, i64),
    precision: i64,
    length: i64,
    scale: u8,
    sub: i64,
) -> Description {
    let fraction = if scale == 0 { 0 } else { i64::from(scale).saturating_add(1) };
    Description {
        data_type,
        scale: Some(i64::from(scale)),
        datetime_sub: Some(sub),
        ..plain(data_type.0, precision.saturating_add(fraction), length)
    }
}

fn describe(ty: SqlType) -> Description {
    use SqlType::*;
    const TIMESTAMP: (i64, i64) = (SQL_TYPE_TIMESTAMP, SQL_TIMESTAMP);
    let most = i64::from(i32::MAX);
    match ty {
        Bit => plain(-7, 1, 1),
        TinyInt => exact(-6, 3, 1, 0),
        SmallInt => exact(5, 5, 2, 0),
        Int => exact(4, 10, 4, 0),
        BigInt => exact(-5, 19, 8, 0),
        Real => Description { radix: Some(2), ..plain(7, 24, 4) },
        Float => Description { radix: Some(2), ..plain(6, 53, 8) },
        Decimal { precision, scale, named_numeric } => {
            let data_type = if named_numeric { 2 } else { 3 };
            exact(data_type, precision, i64::from(precision).saturating_add(2), scale)
        }
        Money => exact(3, 19, 21, 4),
        SmallMoney => exact(3, 10, 12, 4),
        Date => temporal((SQL_TYPE_DATE, SQL_DATETIME), 10, 6, 0, 1),
        Time(scale) => temporal((SQL_SS_TIME2, SQL_SS_TIME2), 8, 10, scale, 0),
        DateTime => temporal(TIMESTAMP, 19, 16, 3, 3),
        SmallDateTime => temporal(TIMESTAMP, 16, 16, 0, 3),
        DateTime2(scale) => temporal(TIMESTAMP, 19, 16, scale, 3),
        DateTimeOffset(scale) => {
            temporal((SQL_SS_TIMESTAMPOFFSET, SQL_SS_TIMESTAMPOFFSET), 26, 20, scale, 0)
        }
        Char(n) => string(1, n.into(), n.into()),
        VarChar(Length::N(n)) => string(12, n.into(), n.into()),
        VarChar(Length::Max) => string(12, most, most),
        NChar(n) => string(-8, n.into(), i64::from(n).saturating_mul(2)),
        NVarChar(Length::N(n)) => string(-9, n.into(), i64::from(n).saturating_mul(2)),
        NVarChar(Length::Max) => string(-9, most / 2, most - 1),
        Binary(n) => string(-2, n.into(), n.into()),
        VarBinary(Length::N(n)) => string(-3, n.into(), n.into()),
        VarBinary(Length::Max) => string(-3, most, most),
        UniqueIdentifier => plain(-11, 36, 16),
        Text => string(-1, most, most),
        NText => string(-10, most / 2, most - 1),
        Image => string(-4, most, most),
        Xml => string(-152, 0, 0),
        Variant => plain(-150, 8000, 8000),
        RowVersion => string(-2, 8, 8),
    }
}

/// The type that the wire had in the days of DB-Library: one for columns that take NULL, one for those that do not.
fn ss_data_type(ty: SqlType, nullable: bool) -> i64 {
    use SqlType::*;
    let (null, not_null) = match ty {
        Bit => (50, 50),
        TinyInt => (38, 48),
        SmallInt => (38, 52),
        Int => (38, 56),
        BigInt => (108, 63),
        Real => (109, 59),
        Float => (109, 62),
        Decimal { named_numeric: true, .. } => (108, 63),
        Decimal { .. } => (106, 55),
        Money => (110, 60),
        SmallMoney => (110, 122),
        DateTime => (111, 61),
        SmallDateTime => (111, 58),
        Date | Time(_) | DateTime2(_) | DateTimeOffset(_) => (0, 0),
        Char(_) | NChar(_) => (39, 47),
        VarChar(_) | NVarChar(_) => (39, 39),
        Binary(_) => (37, 45),
        VarBinary(_) | UniqueIdentifier => (37, 37),
        Text | NText => (35, 35),
        Image => (34, 34),
        Xml => (0, 0),
        Variant => (39, 39),
        RowVersion => (37, 45),
    };
    if nullable { null } else { not_null }
}

/// A property of a type, by the name of the column that shows it.
pub(crate) fn property(ty: SqlType, name: &str, nullable: bool) -> Option<i64> {
    let described = describe(ty);
    let in_datetime = described.datetime_sub.is_some_and(|sub| sub != 0);
    match name {
        "DATA_TYPE" => Some(described.data_type.0),
        "DATA_TYPE2" => Some(described.data_type.1),
        "PRECISION" => Some(described.precision),
        "LENGTH" => Some(described.length),
        "SCALE" => described.scale,
        "RADIX" => described.radix,
        "SQL_DATA_TYPE" if in_datetime => Some(SQL_DATETIME),
        "SQL_DATA_TYPE" => Some(described.data_type.0),
        "SQL_DATETIME_SUB" => described.datetime_sub,
        "CHAR_OCTET_LENGTH" => described.octets,
        "SS_DATA_TYPE" => Some(ss_data_type(ty, nullable)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_numbers_that_odbc_gives_them() {
        let numbers = |ty| {
            ["DATA_TYPE", "PRECISION", "LENGTH", "SCALE", "SQL_DATA_TYPE"]
                .map(|name| property(ty, name, true))
        };
        assert_eq!(numbers(SqlType::Int), [4, 10, 4, 0, 4].map(Some));
        let decimal = SqlType::Decimal { precision: 9, scale: 2, named_numeric: false };
        assert_eq!(numbers(decimal), [3, 9, 11, 2, 3].map(Some));
        assert_eq!(numbers(SqlType::DateTime), [93, 23, 16, 3, 9].map(Some));
        assert_eq!(numbers(SqlType::DateTime2(7)), [93, 27, 16, 7, 9].map(Some));
        assert_eq!(numbers(SqlType::Time(0)), [-154, 8, 10, 0, -154].map(Some));
        let text = SqlType::NVarChar(Length::N(20));
        assert_eq!(numbers(text), [Some(-9), Some(20), Some(40), None, Some(-9)]);
        assert_eq!(property(text, "nonsense", true), None);
    }
}
