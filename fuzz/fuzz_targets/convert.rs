//! Any bytes as a value of any type become a value of any other or an error. What they become has a
//! normal form, which comes back, and no buffer outgrows the room that was foretold.
#![no_main]

use always_encrypted::value::{
    CodePage, ConversionType, Length, SqlType, convert, converted_len, denormalize, normalize,
};
use libfuzzer_sys::fuzz_target;

/// A type with its parameters out of five bytes.
fn conversion_type(&[kind, a, b, high, page]: &[u8; 5]) -> ConversionType {
    use SqlType as T;
    let scale = a % 8;
    let (precision, digits) = (1 + a % 38, b % (1 + a % 38 + 1));
    let n = u16::from_le_bytes([b, high]);
    let length =
        |most: u16| if n == u16::MAX { Length::Max } else { Length::Bounded(1 + n % most) };
    let sql_type = match kind % 24 {
        0 => T::Bit,
        1 => T::TinyInt,
        2 => T::SmallInt,
        3 => T::Int,
        4 => T::BigInt,
        5 => T::Real,
        6 => T::Float,
        7 => T::Decimal { precision, scale: digits },
        8 => T::Numeric { precision, scale: digits },
        9 => T::Money,
        10 => T::SmallMoney,
        11 => T::Date,
        12 => T::Time { scale },
        13 => T::DateTime,
        14 => T::SmallDateTime,
        15 => T::DateTime2 { scale },
        16 => T::DateTimeOffset { scale },
        17 => T::UniqueIdentifier,
        18 => T::Binary(1 + n % 8000),
        19 => T::VarBinary(length(8000)),
        20 => T::Char(1 + n % 8000),
        21 => T::VarChar(length(8000)),
        22 => T::NChar(1 + n % 4000),
        _ => T::NVarChar(length(4000)),
    };
    let pages = [437, 850, 874, 932, 936, 949, 950, 1250, 1252, 1253, 1255, 1258, 65001];
    let page = pages.get(usize::from(page));
    ConversionType { sql_type, code_page: page.and_then(|&n| CodePage::from_number(n)) }
}

fuzz_target!(|data: &[u8]| {
    let Some((from, data)) = data.split_first_chunk() else { return };
    let Some((to, data)) = data.split_first_chunk() else { return };
    let (from, to) = (conversion_type(from), conversion_type(to));

    let mut out = Vec::with_capacity(converted_len(from, data.len(), to));
    let room = out.capacity();
    let converted = convert(from, data, to, &mut out);
    assert_eq!(out.capacity(), room, "a copy was left behind");
    if converted.is_err() {
        assert!(out.is_empty());
        return;
    }

    let mut normal_form = Vec::with_capacity(to.sql_type.normal_form_len(out.len()));
    let room = normal_form.capacity();
    normalize(to.sql_type, &out, &mut normal_form).expect("a value of its type");
    assert_eq!(normal_form.capacity(), room, "a copy was left behind");

    let mut back = Vec::with_capacity(to.sql_type.data_len(normal_form.len()));
    let room = back.capacity();
    denormalize(to.sql_type, &normal_form, &mut back).expect("a normal form");
    assert_eq!(back.capacity(), room, "a copy was left behind");
    // Fixed lengths are padded; the rest is the same value, and so is what is written of it.
    assert!(back.len() >= out.len());
    if !matches!(to.sql_type, SqlType::Char(_) | SqlType::NChar(_) | SqlType::Binary(_)) {
        let mut again = Vec::new();
        normalize(to.sql_type, &back, &mut again).expect("a value of its type");
        assert_eq!(again, normal_form);
    }
});
