use tiberius::xml::XmlData;

use super::*;
use crate::value::{CodePage, normalize};

fn type_of(declaration: &str) -> ConversionType {
    let sql_type = SqlType::parse_declaration(declaration).unwrap();
    ConversionType { sql_type, code_page: CodePage::from_number(1252) }
}

fn string(text: &str) -> ColumnData<'static> {
    ColumnData::String(Some(Cow::Owned(text.to_owned())))
}

fn binary(bytes: &[u8]) -> ColumnData<'static> {
    ColumnData::Binary(Some(Cow::Owned(bytes.to_vec())))
}

fn decimal(value: i128, scale: u8) -> ColumnData<'static> {
    ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)))
}

fn at(days: u32, increments: u64, scale: u8) -> DateTime2 {
    DateTime2::new(Date::new(days), Time::new(increments, scale))
}

/// 38 nines.
const LARGEST: i128 = 10i128.pow(38) - 1;
const LAST_DAY: u32 = 3_652_058;

/// Every type that can be encrypted with its least and greatest values: the declaration, the data as
/// MS-TDS lays them out, and what tiberius reads of them.
fn values() -> Vec<(&'static str, Vec<u8>, ColumnData<'static>)> {
    let magnitude =
        |sign: u8, value: u128, width: usize| [&[sign], &value.to_le_bytes()[..width]].concat();
    let halves = |units: i64| {
        let [a, b, c, d, e, f, g, h] = units.to_le_bytes();
        vec![e, f, g, h, a, b, c, d]
    };
    let last_day = &LAST_DAY.to_le_bytes()[..3];
    let last_tick = &863_999_999_999u64.to_le_bytes()[..5];
    let uuid: [u8; 16] = std::array::from_fn(|n| n as u8);
    vec![
        ("bit", vec![0], ColumnData::Bit(Some(false))),
        ("bit", vec![1], ColumnData::Bit(Some(true))),
        ("tinyint", vec![0], ColumnData::U8(Some(0))),
        ("tinyint", vec![255], ColumnData::U8(Some(255))),
        ("smallint", vec![0, 0x80], ColumnData::I16(Some(i16::MIN))),
        ("smallint", vec![0xFF, 0x7F], ColumnData::I16(Some(i16::MAX))),
        ("int", vec![0, 0, 0, 0x80], ColumnData::I32(Some(i32::MIN))),
        ("int", vec![0xFE, 0xFF, 0xFF, 0xFF], ColumnData::I32(Some(-2))),
        ("bigint", i64::MIN.to_le_bytes().to_vec(), ColumnData::I64(Some(i64::MIN))),
        ("bigint", i64::MAX.to_le_bytes().to_vec(), ColumnData::I64(Some(i64::MAX))),
        ("real", vec![0, 0, 0x80, 0xBF], ColumnData::F32(Some(-1.0))),
        ("real", f32::MAX.to_le_bytes().to_vec(), ColumnData::F32(Some(f32::MAX))),
        ("float", f64::MIN.to_le_bytes().to_vec(), ColumnData::F64(Some(f64::MIN))),
        ("float(53)", vec![0, 0, 0, 0, 0, 0, 0xF8, 0x3F], ColumnData::F64(Some(1.5))),
        ("decimal(9,2)", vec![0, 0x39, 0x30, 0, 0], decimal(-12_345, 2)),
        ("decimal(9,9)", magnitude(1, 999_999_999, 4), decimal(999_999_999, 9)),
        ("decimal(19,0)", magnitude(1, 10u128.pow(19) - 1, 8), decimal(10i128.pow(19) - 1, 0)),
        ("numeric(28,4)", magnitude(0, 10u128.pow(28) - 1, 12), decimal(1 - 10i128.pow(28), 4)),
        ("numeric(38,38)", magnitude(1, LARGEST as u128, 16), decimal(LARGEST, 38)),
        ("decimal(38,0)", magnitude(0, LARGEST as u128, 16), decimal(-LARGEST, 0)),
        ("decimal(18,4)", magnitude(1, 0, 8), decimal(0, 4)),
        ("date", vec![0, 0, 0], ColumnData::Date(Some(Date::new(0)))),
        ("date", last_day.to_vec(), ColumnData::Date(Some(Date::new(LAST_DAY)))),
        (
            "datetime",
            [(-53_690i32).to_le_bytes(), [0; 4]].concat(),
            ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
        ),
        (
            "datetime",
            [2_958_463i32.to_le_bytes(), 25_919_999u32.to_le_bytes()].concat(),
            ColumnData::DateTime(Some(DateTime::new(2_958_463, 25_919_999))),
        ),
        ("smalldatetime", vec![0; 4], ColumnData::SmallDateTime(Some(SmallDateTime::new(0, 0)))),
        (
            "smalldatetime",
            vec![0xFF, 0xFF, 0x9F, 0x05],
            ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1_439))),
        ),
        ("time(0)", vec![0x7F, 0x51, 1], ColumnData::Time(Some(Time::new(86_399, 0)))),
        ("time(3)", vec![1, 0, 0, 0], ColumnData::Time(Some(Time::new(1, 3)))),
        ("time", last_tick.to_vec(), ColumnData::Time(Some(Time::new(863_999_999_999, 7)))),
        ("datetime2(2)", vec![0; 6], ColumnData::DateTime2(Some(at(0, 0, 2)))),
        (
            "datetime2",
            [last_tick, last_day].concat(),
            ColumnData::DateTime2(Some(at(LAST_DAY, 863_999_999_999, 7))),
        ),
        (
            "datetimeoffset(4)",
            [&[1, 0, 0, 0], last_day, &(-840i16).to_le_bytes()].concat(),
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(at(LAST_DAY, 1, 4), -840))),
        ),
        (
            "datetimeoffset",
            [&[0; 5], &[1, 0, 0][..], &840i16.to_le_bytes()].concat(),
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(at(1, 0, 7), 840))),
        ),
        ("char(3)", b"\x80 1".to_vec(), string("\u{20ac} 1")),
        ("varchar(20)", vec![], string("")),
        ("varchar(max)", vec![b'v'; 9_000], string(&"v".repeat(9_000))),
        ("nchar(2)", vec![0x3D, 0xD8, 0x4D, 0xDC], string("\u{1f44d}")),
        ("nvarchar(1)", vec![0x42, 0x04], string("\u{442}")),
        ("nvarchar(max)", [b'n', 0].repeat(5_000), string(&"n".repeat(5_000))),
        ("binary(2)", vec![0, 0xFF], binary(&[0, 0xFF])),
        ("varbinary(8000)", vec![], binary(&[])),
        ("varbinary(max)", vec![7; 8_001], binary(&[7; 8_001])),
        (
            "uniqueidentifier",
            vec![3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
            ColumnData::Guid(Some(Uuid::from_bytes(uuid))),
        ),
        // Those that tiberius reads as a float.
        ("money", halves(-1), ColumnData::F64(Some(-0.0001))),
        ("money", halves(12_345_678), ColumnData::F64(Some(1234.5678))),
        ("smallmoney", i32::MIN.to_le_bytes().to_vec(), ColumnData::F64(Some(-214748.3648))),
    ]
}

#[test]
fn every_type_is_read_as_tiberius_reads_it() {
    for (declaration, data, expected) in values() {
        let read = column_data(type_of(declaration), &data).unwrap();
        assert_eq!(read, expected, "{declaration}");
        if let (ColumnData::Time(Some(read)), ColumnData::Time(Some(expected))) = (read, expected) {
            // Equality of times is that of floats.
            assert_eq!(read.increments(), expected.increments(), "{declaration}");
        }
    }
}

#[test]
fn what_was_read_goes_back_to_the_same_data() {
    for (declaration, data, value) in values() {
        let column = type_of(declaration);
        let typed = typed_data(&value).unwrap().unwrap();
        let from = ConversionType { sql_type: typed.sql_type, code_page: None };
        let mut back = Vec::new();
        convert(from, &typed.data, column, &mut back)
            .unwrap_or_else(|e| panic!("{declaration} {value:?}: {e}"));
        let normal = |data: &[u8]| {
            let mut out = Vec::new();
            normalize(column.sql_type, data, &mut out).unwrap();
            out
        };
        assert_eq!(normal(&back), normal(&data), "{declaration}");
    }
}

#[test]
fn every_value_is_typed_as_tiberius_declares_it() {
    for (value, expected) in [
        (ColumnData::U8(Some(1)), "tinyint"),
        (ColumnData::F32(Some(1.0)), "real"),
        (string("x"), "nvarchar(max)"),
        (binary(b"x"), "varbinary(max)"),
        (decimal(0, 0), "numeric(1,0)"),
        (decimal(5, 2), "numeric(2,2)"),
        (decimal(-12_345, 2), "numeric(5,2)"),
        (decimal(LARGEST, 0), "numeric(38,0)"),
        (ColumnData::Time(Some(Time::new(0, 3))), "time(3)"),
        (ColumnData::DateTime2(Some(at(0, 0, 7))), "datetime2(7)"),
    ] {
        let typed = typed_data(&value).unwrap().unwrap();
        assert_eq!(typed.sql_type.to_string().replace("decimal", "numeric"), expected);
    }
}

#[test]
fn null_of_any_type_is_null() {
    for null in [
        ColumnData::Bit(None),
        ColumnData::U8(None),
        ColumnData::I16(None),
        ColumnData::I32(None),
        ColumnData::I64(None),
        ColumnData::F32(None),
        ColumnData::F64(None),
        ColumnData::String(None),
        ColumnData::Guid(None),
        ColumnData::Binary(None),
        ColumnData::Numeric(None),
        ColumnData::Xml(None),
        ColumnData::DateTime(None),
        ColumnData::SmallDateTime(None),
        ColumnData::Time(None),
        ColumnData::Date(None),
        ColumnData::DateTime2(None),
        ColumnData::DateTimeOffset(None),
    ] {
        assert!(typed_data(&null).unwrap().is_none(), "{null:?}");
    }
}

#[test]
fn a_value_that_its_own_type_does_not_have_is_an_error() {
    use chrono::NaiveDate;
    use tiberius::ToSql;

    let before_year_1 = NaiveDate::from_ymd_opt(-1, 1, 1).unwrap();
    let fault = |value: ColumnData<'_>| match typed_data(&value) {
        Err(fault) => fault,
        Ok(_) => panic!("{value:?} passed"),
    };
    let out_of_range = |declaration: &str| {
        Unsendable::Value(ValueError::OutOfRange { sql_type: type_of(declaration).sql_type })
    };
    assert_eq!(fault(before_year_1.to_sql()), out_of_range("date"));
    let at_midnight = before_year_1.and_hms_opt(0, 0, 0).unwrap();
    assert_eq!(fault(at_midnight.to_sql()), out_of_range("datetime2"));
    assert_eq!(fault(ColumnData::Time(Some(Time::new(1 << 24, 0)))), out_of_range("time(0)"));
    assert_eq!(fault(decimal(LARGEST + 1, 3)), out_of_range("numeric(38,3)"));
    let no_scale = SqlType::Time { scale: 200 };
    assert_eq!(
        fault(ColumnData::Time(Some(Time::new(1, 200)))),
        Unsendable::Value(ValueError::InvalidType { sql_type: no_scale })
    );
    let xml = ColumnData::Xml(Some(Cow::Owned(XmlData::new("<a/>"))));
    assert_eq!(fault(xml), Unsendable::Xml);
}

#[test]
fn money_has_all_of_its_digits_as_a_numeric() {
    let data = [0xFF, 0xFF, 0xFF, 0x7F, 0xFE, 0xFF, 0xFF, 0xFF];
    assert_eq!(money(SqlType::Money, &data), Ok(decimal(i128::from(i64::MAX - 1), 4)));
    let least = i32::MIN.to_le_bytes();
    assert_eq!(money(SqlType::SmallMoney, &least), Ok(decimal(i128::from(i32::MIN), 4)));
}

#[test]
fn data_of_another_length_are_an_error_and_no_panic() {
    for (declaration, data, _) in values() {
        let column = type_of(declaration);
        for len in (0..=data.len().min(20)).chain([17, 18, 40]) {
            let mut other = data.clone();
            other.resize(len, 0xFF);
            let read = column_data(column, &other);
            if !column.sql_type.is_variable_length() && len != data.len() {
                // Decimals have one of several widths, and more digits than their type fit.
                let decimal =
                    matches!(column.sql_type, SqlType::Decimal { .. } | SqlType::Numeric { .. });
                assert!(read.is_err() || decimal && len <= 17, "{declaration}, {len} bytes");
            }
        }
    }
    let bad_type = SqlType::Decimal { precision: 38, scale: 39 };
    let column = ConversionType { sql_type: bad_type, code_page: None };
    let expected = Unreadable::Value(ValueError::InvalidType { sql_type: bad_type });
    assert_eq!(column_data(column, &[1, 0, 0, 0, 0]), Err(expected));
}

#[test]
fn text_that_a_rust_string_cannot_hold_is_an_error() {
    let nvarchar = type_of("nvarchar(10)");
    assert_eq!(column_data(nvarchar, &[0x41, 0, 0x3D, 0xD8]), Err(Unreadable::LoneSurrogate));
    assert!(matches!(
        column_data(nvarchar, &[0x41, 0, 0x41]),
        Err(Unreadable::Value(ValueError::OddLength { .. }))
    ));
    let utf8 = ConversionType { code_page: Some(CodePage::UTF_8), ..type_of("varchar(10)") };
    assert!(matches!(column_data(utf8, &[0xC3]), Err(Unreadable::Text(_))));
    let unknown = ConversionType { code_page: None, ..utf8 };
    assert!(matches!(column_data(unknown, &[0xE9]), Err(Unreadable::Text(_))));
}
