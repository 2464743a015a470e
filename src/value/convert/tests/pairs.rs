//! What holds for every pair of types.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::value::Length;

/// One of each type and of each width, the impossible ones included.
fn all_types() -> Vec<ConversionType> {
    let mut types = vec![
        SqlType::Bit,
        SqlType::TinyInt,
        SqlType::SmallInt,
        SqlType::Int,
        SqlType::BigInt,
        SqlType::Real,
        SqlType::Float,
        SqlType::Money,
        SqlType::SmallMoney,
        SqlType::Date,
        SqlType::DateTime,
        SqlType::SmallDateTime,
        SqlType::UniqueIdentifier,
        SqlType::Binary(16),
        SqlType::VarBinary(Length::Bounded(4)),
        SqlType::VarBinary(Length::Max),
        SqlType::NChar(4),
        SqlType::NVarChar(Length::Bounded(40)),
        SqlType::NVarChar(Length::Max),
    ];
    for (precision, scale) in
        [(0, 0), (5, 5), (9, 0), (19, 4), (38, 0), (38, 38), (38, 255), (255, 0)]
    {
        types.push(SqlType::Decimal { precision, scale });
        types.push(SqlType::Numeric { precision, scale });
    }
    for scale in [0, 3, 5, 7, 8, 255] {
        types.push(SqlType::Time { scale });
        types.push(SqlType::DateTime2 { scale });
        types.push(SqlType::DateTimeOffset { scale });
    }
    let mut types: Vec<_> =
        types.into_iter().map(|sql_type| ConversionType { sql_type, code_page: None }).collect();
    for sql_type in
        [SqlType::Char(4), SqlType::VarChar(Length::Bounded(40)), SqlType::VarChar(Length::Max)]
    {
        types.push(ConversionType { sql_type, code_page: None });
        for number in [437, 850, 874, 932, 936, 949, 950, 1252, 1255, 65001] {
            types.push(ConversionType { sql_type, code_page: CodePage::from_number(number) });
        }
    }
    types
}

/// Bytes that are something of each type now and then.
fn any_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..=20),
        vec(0..3u8, 0..=20),
        vec(0x20..0x7Fu8, 0..=20),
        "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}".prop_map(|text| utf16(&text)),
        "[a-zé€日本한ภ]{0,20}".prop_map(|text| utf16(&text)),
        "[a-zé€日本한ภ]{0,20}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_data_of_any_type_panic_and_what_comes_out_is_a_value_of_the_target(data in any_data()) {
        let types = all_types();
        for &from in &types {
            for &to in &types {
                let Ok(out) = converted(from, &data, to) else { continue };
                let mut normal_form = Vec::new();
                prop_assert_eq!(normalize(to.sql_type, &out, &mut normal_form), Ok(()));
                // A value of the target stays what it is.
                prop_assert_eq!(converted(to, &out, to), Ok(out), "{:?} {:?}", from, to);
            }
        }
    }

    #[test]
    fn text_and_identifiers_come_back_as_they_were(data in any_data()) {
        let types = all_types();
        for &from in types.iter().filter(|t| t.sql_type.is_unicode()) {
            for &to in types.iter().filter(|t| t.sql_type.is_string() || t.sql_type.is_binary()) {
                let Ok(there) = converted(from, &data, to) else { continue };
                prop_assert_eq!(converted(to, &there, from), Ok(data.clone()), "{:?} {:?}", from, to);
            }
        }
        let identifier = conversion_type("uniqueidentifier");
        for &to in types.iter().filter(|t| t.sql_type.is_string()) {
            let Ok(there) = converted(identifier, &data, to) else { continue };
            prop_assert_eq!(converted(to, &there, identifier), Ok(data.clone()), "{:?}", to);
        }
    }
}

#[test]
fn data_cut_short_anywhere_are_refused_or_another_value() {
    for from in all_types() {
        for len in 0..=20 {
            for byte in [0x00, 0x01, 0xFF] {
                for to in all_types() {
                    let _ = converted(from, &vec![byte; len], to);
                }
            }
        }
    }
}
