use proptest::prelude::*;

use super::*;

const OUT_OF_RANGE: Result<&str, Refusal> = Err(Refusal::Lossy(Loss::Range));
const DIGITS: Result<&str, Refusal> = Err(Refusal::Lossy(Loss::Digits));

/// The data of a number that is given as the type's name and a decimal.
fn data(declaration: &str, value: &str) -> Vec<u8> {
    let digits = |scale: usize| {
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        format!("{whole}{fraction:0<scale$}").parse::<i128>().unwrap()
    };
    let integer = |len: usize| digits(0).to_le_bytes()[..len].to_vec();
    match conversion_type(declaration).sql_type {
        SqlType::Bit | SqlType::TinyInt => integer(1),
        SqlType::SmallInt => integer(2),
        SqlType::Int => integer(4),
        SqlType::BigInt => integer(8),
        SqlType::Real => value.parse::<f32>().unwrap().to_le_bytes().to_vec(),
        SqlType::Float => value.parse::<f64>().unwrap().to_le_bytes().to_vec(),
        SqlType::SmallMoney => digits(4).to_le_bytes()[..4].to_vec(),
        SqlType::Money => i64::try_from(digits(4)).unwrap().rotate_left(32).to_le_bytes().to_vec(),
        sql_type @ (SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. }) => {
            let value = digits(scale.into());
            let mut data = vec![u8::from(value >= 0)];
            data.extend_from_slice(&value.unsigned_abs().to_le_bytes());
            data.truncate(sql_type.data_len(0));
            data
        }
        other => panic!("{other} is no number"),
    }
}

#[test]
fn a_number_becomes_another_type_if_nothing_of_it_is_lost() {
    const MAX_38: &str = "99999999999999999999999999999999999999";
    for (from, value, to, expected) in [
        // Integers.
        ("int", "255", "tinyint", Ok("255")),
        ("int", "256", "tinyint", OUT_OF_RANGE),
        ("int", "-1", "tinyint", OUT_OF_RANGE),
        ("bigint", "-32768", "smallint", Ok("-32768")),
        ("bigint", "-32769", "smallint", OUT_OF_RANGE),
        ("bigint", "2147483647", "int", Ok("2147483647")),
        ("bigint", "2147483648", "int", OUT_OF_RANGE),
        ("tinyint", "200", "bigint", Ok("200")),
        ("smallint", "-200", "bigint", Ok("-200")),
        ("bit", "1", "int", Ok("1")),
        ("int", "1", "bit", Ok("1")),
        ("int", "0", "bit", Ok("0")),
        ("int", "2", "bit", OUT_OF_RANGE),
        ("int", "-1", "bit", OUT_OF_RANGE),
        // Decimals.
        ("int", "-5", "decimal(3,2)", Ok("-5.00")),
        ("int", "10", "decimal(3,2)", OUT_OF_RANGE),
        ("numeric(38,2)", "1.50", "decimal(18,1)", Ok("1.5")),
        ("numeric(38,2)", "1.51", "decimal(18,1)", DIGITS),
        ("numeric(5,1)", "-1.5", "decimal(38,10)", Ok("-1.5")),
        ("numeric(5,1)", "999.9", "decimal(4,2)", OUT_OF_RANGE),
        ("decimal(38,0)", MAX_38, "numeric(38,0)", Ok(MAX_38)),
        ("decimal(38,0)", MAX_38, "numeric(38,1)", OUT_OF_RANGE),
        ("decimal(38,0)", MAX_38, "numeric(37,0)", OUT_OF_RANGE),
        ("decimal(38,38)", "0.00000000000000000000000000000000000001", "decimal(38,37)", DIGITS),
        ("decimal(5,2)", "7.00", "int", Ok("7")),
        ("decimal(5,2)", "7.01", "int", DIGITS),
        ("decimal(38,0)", "9223372036854775807", "bigint", Ok("9223372036854775807")),
        ("decimal(38,0)", "9223372036854775808", "bigint", OUT_OF_RANGE),
        ("decimal(38,0)", "-9223372036854775808", "bigint", Ok("-9223372036854775808")),
        ("decimal(38,0)", "-9223372036854775809", "bigint", OUT_OF_RANGE),
        ("decimal(38,0)", MAX_38, "int", OUT_OF_RANGE),
        ("decimal(3,1)", "1.0", "bit", Ok("1")),
        // Money.
        ("money", "12.34", "decimal(18,2)", Ok("12.34")),
        ("money", "12.345", "decimal(18,2)", DIGITS),
        ("decimal(18,4)", "-12.3456", "money", Ok("-12.3456")),
        ("decimal(18,5)", "12.34567", "money", DIGITS),
        ("decimal(38,0)", "922337203685477", "money", Ok("922337203685477")),
        ("decimal(38,0)", "922337203685478", "money", OUT_OF_RANGE),
        ("money", "214748.3647", "smallmoney", Ok("214748.3647")),
        ("money", "214748.3648", "smallmoney", OUT_OF_RANGE),
        ("smallmoney", "-214748.3648", "money", Ok("-214748.3648")),
        ("bigint", "5", "smallmoney", Ok("5")),
        ("money", "5", "tinyint", Ok("5")),
        // From floats: the shortest decimal.
        ("float", "1.1", "decimal(18,4)", Ok("1.1")),
        ("float", "0.1", "money", Ok("0.1")),
        ("float", "-1.23456", "money", DIGITS),
        ("float", "1.5", "int", DIGITS),
        ("float", "3", "int", Ok("3")),
        ("float", "-0", "decimal(5,2)", Ok("0")),
        ("real", "1.1", "decimal(18,4)", Ok("1.1")),
        ("real", "16777217", "int", Ok("16777216")),
        ("float", "1e-300", "decimal(38,38)", DIGITS),
        ("float", "1e-38", "decimal(38,38)", Ok("0.00000000000000000000000000000000000001")),
        ("float", "1e300", "decimal(38,0)", OUT_OF_RANGE),
        ("float", "1.1e38", "decimal(38,0)", OUT_OF_RANGE),
        ("float", "1e19", "bigint", OUT_OF_RANGE),
        // A whole float is exactly what it is: 2^60.
        ("float", "1152921504606846976", "bigint", Ok("1152921504606846976")),
        ("float", "1e23", "decimal(38,0)", Ok("99999999999999991611392")),
        ("float", "-9223372036854775808", "bigint", Ok("-9223372036854775808")),
        ("float", "9223372036854775808", "bigint", OUT_OF_RANGE),
        // To floats.
        ("decimal(18,4)", "1.1", "float", Ok("1.1")),
        ("decimal(18,4)", "1.1", "real", Ok("1.1")),
        ("money", "-0.0001", "float", Ok("-0.0001")),
        ("bit", "1", "real", Ok("1")),
        ("int", "16777216", "real", Ok("16777216")),
        ("int", "16777217", "real", DIGITS),
        ("bigint", "9007199254740992", "float", Ok("9007199254740992")),
        ("bigint", "9007199254740993", "float", DIGITS),
        ("bigint", "9223372036854775807", "float", DIGITS),
        ("bigint", "-9223372036854775808", "float", Ok("-9223372036854775808")),
        ("decimal(38,20)", "1.10000000000000000001", "float", DIGITS),
        ("decimal(38,20)", "1.1", "float", Ok("1.1")),
        ("decimal(38,0)", MAX_38, "float", DIGITS),
        ("decimal(18,9)", "0.123456789", "real", DIGITS),
        // Between floats.
        ("real", "0.1", "float", Ok("0.10000000149011612")),
        ("float", "0.5", "real", Ok("0.5")),
        ("float", "-0", "real", Ok("-0")),
        ("float", "0.1", "real", DIGITS),
        ("float", "1e39", "real", DIGITS),
        ("float", "1e-46", "real", DIGITS),
        // The same type.
        ("int", "-5", "int", Ok("-5")),
        ("float", "0.1", "float", Ok("0.1")),
        ("decimal(5,2)", "-1.5", "decimal(5,2)", Ok("-1.5")),
    ] {
        let result = converted(conversion_type(from), &data(from, value), conversion_type(to));
        let expected = expected.map(|value| data(to, value));
        assert_eq!(result.map_err(refusal), expected, "{from} {value} {to}");
    }
}

#[test]
fn negative_zero_is_zero() {
    for (from, zero, to) in [
        ("decimal(5,2)", "0000000000", "decimal(9,2)"),
        ("decimal(5,2)", "0000000000", "decimal(5,2)"),
        ("float", "0000000000000080", "decimal(9,2)"),
    ] {
        let result = converted(conversion_type(from), &hex(zero), conversion_type(to));
        assert_eq!(result, Ok(hex("0100000000")), "{from} {to}");
    }
}

#[test]
fn what_is_not_finite_is_refused() {
    for value in ["nan", "inf", "-inf"] {
        for from in ["float", "real"] {
            for to in ["float", "real", "decimal(38,0)", "int", "money", "bit"] {
                let from = conversion_type(from);
                let data = data(&from.sql_type.to_string(), value);
                let not_finite = ValueError::NotFinite { sql_type: from.sql_type };
                let result = converted(from, &data, conversion_type(to));
                assert_eq!(result.map_err(refusal), Err(Refusal::Value(not_finite)), "{to}");
            }
        }
    }
}

const NUMBERS: [&str; 16] = [
    "bit",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "real",
    "float",
    "money",
    "smallmoney",
    "decimal(1,0)",
    "decimal(9,9)",
    "decimal(19,4)",
    "numeric(28,10)",
    "decimal(38,0)",
    "numeric(38,19)",
    "numeric(38,38)",
];

/// Data that are a number, most of them short, so that many fit elsewhere.
fn any_number() -> impl Strategy<Value = (ConversionType, Vec<u8>)> {
    let declaration = proptest::sample::select(&NUMBERS[..]);
    let digits = prop_oneof![-300i64..300, any::<i32>().prop_map(i64::from), any::<i64>()];
    (declaration, digits, 0u32..20, any::<bool>()).prop_filter_map(
        "in range",
        |(declaration, digits, exponent, binary)| {
            let number = conversion_type(declaration);
            let sql_type = number.sql_type;
            let float = digits as f64;
            let divisor = if binary { 2.0f64 } else { 10.0 }.powi(exponent.try_into().unwrap());
            let data = match sql_type {
                SqlType::Real => ((float / divisor) as f32).to_le_bytes().to_vec(),
                SqlType::Float => (float / divisor).to_le_bytes().to_vec(),
                SqlType::Decimal { .. } | SqlType::Numeric { .. } => {
                    let magnitude = u128::from(digits.unsigned_abs());
                    let magnitude = magnitude.saturating_mul(10u128.pow(exponent));
                    let sign = u8::from(digits >= 0);
                    let mut data = [&[sign], magnitude.to_le_bytes().as_slice()].concat();
                    data.truncate(sql_type.data_len(0));
                    data
                }
                SqlType::Money => digits.rotate_left(32).to_le_bytes().to_vec(),
                _ => digits.to_le_bytes()[..sql_type.data_len(0)].to_vec(),
            };
            let normal = converted(number, &data, number).ok()?;
            Some((number, normal))
        },
    )
}

proptest! {
    #[test]
    fn there_and_back_is_the_same_number((from, data) in any_number()) {
        for to in NUMBERS {
            let to = conversion_type(to);
            if let Ok(there) = converted(from, &data, to) {
                match converted(to, &there, from) {
                    Ok(back) => prop_assert_eq!(&back, &data, "{:?} {:?}", from, to),
                    Err(error) => prop_assert!(false, "{} and not back: {}", to.sql_type, error),
                }
            }
        }
    }

    #[test]
    fn a_bound_float_keeps_its_digits(digits in -999_999_999i64..=999_999_999, scale in 0usize..=9) {
        let text = format!("{digits}e-{scale}");
        let value: f64 = text.parse().unwrap();
        let out = converted(
            conversion_type("float"),
            &value.to_le_bytes(),
            conversion_type("decimal(38,9)"),
        ).unwrap();
        let magnitude = u128::from_le_bytes(out[1..].try_into().unwrap());
        prop_assert_eq!(magnitude, u128::from(digits.unsigned_abs()) * 10u128.pow(9 - scale as u32));
        prop_assert_eq!(out[0], u8::from(digits >= 0));
    }
}
