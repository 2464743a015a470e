//! The first value beyond every limit, and every length that a type does not have.

use super::*;

/// Declaration and data one beyond a limit.
const OUT_OF_RANGE_DATA: &[(&str, &str)] = &[
    ("tinyint", "0001"),
    ("tinyint", "ffff"),
    ("smallint", "00800000"),
    ("smallint", "ff7fffff"),
    ("int", "0000008000000000"),
    ("int", "ffffff7fffffffff"),
    ("decimal(9,0)", "0100ca9a3b"),
    ("decimal(5,2)", "00a0860100"),
    ("smallmoney", "0000000000000080"),
    ("smallmoney", "ffffffffffffff7f"),
    ("date", "dbb937"),
    ("time(0)", "805101"),
    ("time(7)", "00c0692ac9"),
    ("datetime2(7)", "00c0692ac9000000"),
    ("datetime2(7)", "0000000000dbb937"),
    ("datetimeoffset(7)", "0788f2da408f460b4903"),
    ("datetimeoffset(7)", "0788f2da408f460bb7fc"),
    ("datetimeoffset(7)", "0788f2da408f460b0080"),
    ("datetime", "452effff00000000"),
    ("datetime", "80242d0000000000"),
    ("datetime", "0000000000828b01"),
    ("smalldatetime", "0000a005"),
];

/// Declaration and normal form one beyond a limit.
const OUT_OF_RANGE_NORMAL_FORMS: &[(&str, &str)] = &[
    ("tinyint", "0001000000000000"),
    ("tinyint", "ffffffffffffffff"),
    ("smallint", "0080000000000000"),
    ("smallint", "ff7fffffffffffff"),
    ("int", "0000008000000000"),
    ("int", "ffffff7fffffffff"),
    ("decimal(9,0)", "0100ca9a3b000000000000000000000000"),
    ("decimal(38,0)", "01ffffffffffffffffffffffffffffffff"),
    ("smallmoney", "0000000000000080"),
    ("smallmoney", "ffffffffffffff7f"),
    ("date", "ffffff"),
    ("time(0)", "00c0692ac9"),
    ("time(7)", "ffffffffff"),
    ("datetime2(3)", "00c0692ac9000000"),
    ("datetime2(3)", "0000000000dbb937"),
    ("datetimeoffset(3)", "0000000000dbb9370000"),
    ("datetimeoffset(3)", "00000000008f460b4903"),
    ("datetime", "452effff00000000"),
    ("datetime", "ffffff7f00000000"),
    ("datetime", "00000000ffffffff"),
    ("smalldatetime", "0000ffff"),
];

#[test]
fn a_value_beyond_its_types_range_is_refused_and_never_cut_off() {
    for &(declaration, data) in OUT_OF_RANGE_DATA {
        let sql_type = sql_type(declaration);
        let expected = Err(ValueError::OutOfRange { sql_type });
        assert_eq!(normalized(sql_type, &hex(data)), expected, "{data} as {declaration}");
    }
    for &(declaration, normal_form) in OUT_OF_RANGE_NORMAL_FORMS {
        let sql_type = sql_type(declaration);
        let expected = Err(ValueError::OutOfRange { sql_type });
        let result = denormalized(sql_type, &hex(normal_form));
        assert_eq!(result, expected, "{normal_form} as {declaration}");
    }
}

/// Declaration, the lengths its data may have, the lengths its normal form may have.
const LENGTHS: &[(&str, &[usize], &[usize])] = &[
    ("bit", &[1], &[1, 8]),
    ("tinyint", &[1, 2, 4, 8], &[1, 8]),
    ("smallint", &[1, 2, 4, 8], &[2, 8]),
    ("int", &[1, 2, 4, 8], &[4, 8]),
    ("bigint", &[1, 2, 4, 8], &[8]),
    ("real", &[4], &[4]),
    ("float", &[8], &[8]),
    (
        "decimal(18,4)",
        &[5, 9, 13, 17],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    ),
    (
        "numeric(38,0)",
        &[5, 9, 13, 17],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    ),
    ("money", &[4, 8], &[8]),
    ("smallmoney", &[4, 8], &[8]),
    ("date", &[3], &[3]),
    ("time(0)", &[3], &[3, 5]),
    ("time(1)", &[3], &[3, 5]),
    ("time(2)", &[3], &[3, 5]),
    ("time(3)", &[4], &[4, 5]),
    ("time(4)", &[4], &[4, 5]),
    ("time(5)", &[5], &[5]),
    ("time(6)", &[5], &[5]),
    ("time(7)", &[5], &[5]),
    ("datetime2(0)", &[6], &[6, 8]),
    ("datetime2(3)", &[7], &[7, 8]),
    ("datetime2(7)", &[8], &[8]),
    ("datetimeoffset(0)", &[8], &[8, 10]),
    ("datetimeoffset(3)", &[9], &[9, 10]),
    ("datetimeoffset(7)", &[10], &[10]),
    ("datetime", &[8], &[8]),
    ("smalldatetime", &[4], &[4]),
    ("uniqueidentifier", &[16], &[16]),
];

#[test]
fn a_length_that_the_type_does_not_have_is_refused() {
    for &(declaration, data_lens, normal_form_lens) in LENGTHS {
        let sql_type = sql_type(declaration);
        for len in (0..40).chain([255, 256, 65_536]) {
            // Zeros are in every type's range.
            let zeros = vec![0; len];
            let wrong = ValueError::WrongLength { sql_type, len };
            let data = normalized(sql_type, &zeros);
            assert_eq!(data.err(), (!data_lens.contains(&len)).then_some(wrong), "{declaration}");
            let normal_form = denormalized(sql_type, &zeros);
            let expected = (!normal_form_lens.contains(&len)).then_some(wrong);
            assert_eq!(normal_form.err(), expected, "{declaration}");
        }
    }
}

#[test]
fn a_string_or_binary_longer_than_its_type_is_refused_and_never_cut_off() {
    for (declaration, len, reported) in [
        ("char(10)", 11, 11),
        ("varchar(10)", 11, 11),
        ("binary(10)", 11, 11),
        ("varbinary(10)", 11, 11),
        ("nchar(10)", 22, 11),
        ("nvarchar(10)", 22, 11),
        ("varchar(8000)", 8001, 8001),
        ("nvarchar(4000)", 8002, 4001),
    ] {
        let sql_type = sql_type(declaration);
        let expected = Err(ValueError::TooLong { sql_type, len: reported });
        assert_eq!(normalized(sql_type, &vec![b' '; len]), expected, "{declaration}");
        assert_eq!(denormalized(sql_type, &vec![b' '; len]), expected, "{declaration}");
    }
}

#[test]
fn max_types_take_more_than_any_bounded_type() {
    for declaration in ["varchar(max)", "nvarchar(max)", "varbinary(max)"] {
        let data = vec![b' '; 200_000];
        assert_eq!(normalized(sql_type(declaration), &data).as_ref(), Ok(&data));
        assert_eq!(denormalized(sql_type(declaration), &data).as_ref(), Ok(&data));
    }
}

#[test]
fn half_a_utf16_unit_is_refused() {
    for declaration in ["nchar(10)", "nvarchar(10)", "nvarchar(max)"] {
        let sql_type = sql_type(declaration);
        let expected = Err(ValueError::OddLength { sql_type, len: 3 });
        assert_eq!(normalized(sql_type, &[0x41, 0x00, 0x41]), expected, "{declaration}");
        assert_eq!(denormalized(sql_type, &[0x41, 0x00, 0x41]), expected, "{declaration}");
    }
}

#[test]
fn nan_and_infinity_are_not_written_but_read_if_another_driver_wrote_them() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let data = value.to_le_bytes();
        let refused = Err(ValueError::NotFinite { sql_type: SqlType::Real });
        assert_eq!(normalized(SqlType::Real, &data), refused);
        assert_eq!(denormalized(SqlType::Real, &data), Ok(data.to_vec()));
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let data = value.to_le_bytes();
        let refused = Err(ValueError::NotFinite { sql_type: SqlType::Float });
        assert_eq!(normalized(SqlType::Float, &data), refused);
        assert_eq!(denormalized(SqlType::Float, &data), Ok(data.to_vec()));
    }
    let smallest = f64::from_bits(1).to_le_bytes();
    assert_eq!(normalized(SqlType::Float, &smallest), Ok(smallest.to_vec()));
}

#[test]
fn every_precision_takes_as_many_nines_and_not_one_more() {
    for precision in 1..=38 {
        let width = match precision {
            1..=9 => 4,
            10..=19 => 8,
            20..=28 => 12,
            _ => 16,
        };
        let limit = 10u128.pow(u32::from(precision));
        let sql_type = SqlType::Decimal { precision, scale: 0 };
        for sign in [0, 1] {
            let nines = [&[sign], (limit - 1).to_le_bytes().as_slice()].concat();
            let data = nines[..=width].to_vec();
            assert_eq!(normalized(sql_type, &data).as_ref(), Ok(&nines), "{sql_type}");
            assert_eq!(denormalized(sql_type, &nines), Ok(data), "{sql_type}");

            let more = [&[sign], limit.to_le_bytes().as_slice()].concat();
            let expected = Err(ValueError::OutOfRange { sql_type });
            assert_eq!(normalized(sql_type, &more), expected, "{sql_type}");
            assert_eq!(denormalized(sql_type, &more), expected, "{sql_type}");
        }
    }
}

#[test]
fn every_scale_takes_the_last_unit_of_the_day_and_not_one_more() {
    for scale in 0..=7 {
        let width = match scale {
            0..=2 => 3,
            3..=4 => 4,
            _ => 5,
        };
        let sql_type = SqlType::Time { scale };
        let day = 86_400 * 10u64.pow(u32::from(scale));
        let ticks = (day - 1) * 10u64.pow(7 - u32::from(scale));
        let last = (day - 1).to_le_bytes()[..width].to_vec();
        let normal_form = ticks.to_le_bytes()[..5].to_vec();
        assert_eq!(normalized(sql_type, &last).as_ref(), Ok(&normal_form), "{sql_type}");
        assert_eq!(denormalized(sql_type, &normal_form), Ok(last), "{sql_type}");

        let expected = Err(ValueError::OutOfRange { sql_type });
        assert_eq!(normalized(sql_type, &day.to_le_bytes()[..width]), expected, "{sql_type}");
        let midnight = 864_000_000_000u64.to_le_bytes();
        assert_eq!(denormalized(sql_type, &midnight[..5]), expected, "{sql_type}");
    }
}

#[test]
fn a_local_time_outside_the_calendar_is_not_written_though_it_can_be_read() {
    let sql_type = sql_type("datetimeoffset(7)");
    for (data, fits) in [
        // One tick before the end of 9999-12-31 and at the start of 0001-01-01, in UTC.
        ("ffbf692ac9dab9370000", true),
        ("ffbf692ac9dab937ffff", true),
        ("ffbf692ac9dab9370100", false),
        ("00000000000000000000", true),
        ("00000000000000000100", true),
        ("0000000000000000ffff", false),
    ] {
        let data = hex(data);
        assert_eq!(normalized(sql_type, &data).is_ok(), fits);
        assert_eq!(denormalized(sql_type, &data).as_ref(), Ok(&data));
    }
}

#[test]
fn a_decimal_begins_with_a_sign() {
    let sql_type = sql_type("decimal(9,0)");
    let expected = Err(ValueError::InvalidSign { sql_type });
    assert_eq!(normalized(sql_type, &hex("0201000000")), expected);
    assert_eq!(denormalized(sql_type, &hex("ff01000000")), expected);
}

#[test]
fn a_type_that_cannot_be_is_an_error_and_no_panic() {
    for sql_type in [
        SqlType::Decimal { precision: 0, scale: 0 },
        SqlType::Numeric { precision: 39, scale: 0 },
        SqlType::Decimal { precision: 255, scale: 255 },
        SqlType::Time { scale: 8 },
        SqlType::DateTime2 { scale: 100 },
        SqlType::DateTimeOffset { scale: 255 },
    ] {
        let expected = Err(ValueError::InvalidType { sql_type });
        for len in 0..20 {
            assert_eq!(normalized(sql_type, &vec![0; len]), expected, "{sql_type}");
            assert_eq!(denormalized(sql_type, &vec![0; len]), expected, "{sql_type}");
        }
    }
}

#[test]
fn only_types_with_a_fraction_of_seconds_are_rescaled() {
    let mut out = Vec::new();
    let sql_type = SqlType::DateTime;
    let expected = Err(ValueError::NoTimeScale { sql_type });
    assert_eq!(rescale_time(sql_type, 7, &[0; 8], &mut out), expected);

    let from_8 = Err(ValueError::InvalidType { sql_type: SqlType::Time { scale: 8 } });
    assert_eq!(rescale_time(SqlType::Time { scale: 3 }, 8, &[0; 5], &mut out), from_8);
    assert_eq!(rescale_time(SqlType::Time { scale: 8 }, 3, &[0; 4], &mut out), from_8);

    let wrong_length =
        Err(ValueError::WrongLength { sql_type: SqlType::Time { scale: 7 }, len: 4 });
    assert_eq!(rescale_time(SqlType::Time { scale: 3 }, 7, &[0; 4], &mut out), wrong_length);
    assert!(out.is_empty());
}

#[test]
fn an_error_says_the_type_and_the_problem() {
    let message =
        |declaration, data: &[u8]| normalized(sql_type(declaration), data).unwrap_err().to_string();
    assert_eq!(
        message("nvarchar(3)", b"s\0e\0c\0r\0e\0t\0"),
        "a value of 6 UTF-16 code units is too long for type nvarchar(3)"
    );
    assert_eq!(
        message("varchar(3)", b"secret"),
        "a value of 6 bytes is too long for type varchar(3)"
    );
    assert_eq!(message("int", &[0; 3]), "a value of type int does not come in 3 bytes");
    assert_eq!(message("tinyint", &[0, 1]), "the value is out of range for type tinyint");
}
