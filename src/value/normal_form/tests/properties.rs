//! What holds for every value of every type.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::value::Length;

fn any_length(limit: u16) -> impl Strategy<Value = Length> {
    prop_oneof![(1..=limit).prop_map(Length::Bounded), Just(Length::Max)]
}

/// Every type, the impossible ones included.
fn any_type() -> impl Strategy<Value = SqlType> {
    prop_oneof![
        proptest::sample::select(vec![
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
        ]),
        (0..=255u8, any::<u8>())
            .prop_map(|(precision, scale)| SqlType::Decimal { precision, scale }),
        (1..=38u8, any::<u8>())
            .prop_map(|(precision, scale)| SqlType::Numeric { precision, scale }),
        (0..=9u8).prop_map(|scale| SqlType::Time { scale }),
        (0..=9u8).prop_map(|scale| SqlType::DateTime2 { scale }),
        (0..=9u8).prop_map(|scale| SqlType::DateTimeOffset { scale }),
        (0..40u16).prop_map(SqlType::Char),
        (0..40u16).prop_map(SqlType::NChar),
        (0..40u16).prop_map(SqlType::Binary),
        any_length(40).prop_map(SqlType::VarChar),
        any_length(40).prop_map(SqlType::NVarChar),
        any_length(40).prop_map(SqlType::VarBinary),
    ]
}

fn any_integer() -> impl Strategy<Value = (SqlType, Vec<u8>)> {
    prop_oneof![
        any::<bool>().prop_map(|v| (SqlType::Bit, vec![v.into()])),
        any::<u8>().prop_map(|v| (SqlType::TinyInt, vec![v])),
        any::<i16>().prop_map(|v| (SqlType::SmallInt, v.to_le_bytes().to_vec())),
        any::<i32>().prop_map(|v| (SqlType::Int, v.to_le_bytes().to_vec())),
        any::<i64>().prop_map(|v| (SqlType::BigInt, v.to_le_bytes().to_vec())),
    ]
}

fn any_other_number() -> impl Strategy<Value = (SqlType, Vec<u8>)> {
    let decimal = (1..=38u8).prop_flat_map(|precision| {
        let sql_type = SqlType::Decimal { precision, scale: precision / 2 };
        (any::<bool>(), 0..10u128.pow(precision.into())).prop_map(move |(positive, magnitude)| {
            let sign = u8::from(positive || magnitude == 0);
            let mut data = [&[sign], magnitude.to_le_bytes().as_slice()].concat();
            data.truncate(sql_type.data_len(17));
            (sql_type, data)
        })
    });
    prop_oneof![
        any::<f32>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| (SqlType::Real, v.to_le_bytes().to_vec())),
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| (SqlType::Float, v.to_le_bytes().to_vec())),
        any::<[u8; 8]>().prop_map(|v| (SqlType::Money, v.to_vec())),
        any::<[u8; 4]>().prop_map(|v| (SqlType::SmallMoney, v.to_vec())),
        decimal,
    ]
}

fn any_time() -> impl Strategy<Value = (SqlType, Vec<u8>)> {
    let scaled = (0..=7u8, 0..3u8).prop_flat_map(|(scale, kind)| {
        let day = 86_400 * 10u64.pow(scale.into());
        // A day off either end, so that no offset leads out of the calendar.
        (0..day, 1..3_652_058u32, -840..=840i16).prop_map(move |(time, date, offset)| {
            let mut data = time.to_le_bytes()[..SqlType::Time { scale }.data_len(5)].to_vec();
            let sql_type = match kind {
                0 => SqlType::Time { scale },
                1 => SqlType::DateTime2 { scale },
                _ => SqlType::DateTimeOffset { scale },
            };
            if kind > 0 {
                data.extend_from_slice(&date.to_le_bytes()[..3]);
            }
            if kind > 1 {
                data.extend_from_slice(&offset.to_le_bytes());
            }
            (sql_type, data)
        })
    });
    prop_oneof![
        4 => scaled,
        1 => (0..=3_652_058u32).prop_map(|v| (SqlType::Date, v.to_le_bytes()[..3].to_vec())),
        1 => (-53_690..=2_958_463i32, 0..25_920_000u32).prop_map(|(day, ticks)| {
            (SqlType::DateTime, [day.to_le_bytes(), ticks.to_le_bytes()].concat())
        }),
        1 => (any::<u16>(), 0..1_440u16).prop_map(|(day, minutes)| {
            (SqlType::SmallDateTime, [day.to_le_bytes(), minutes.to_le_bytes()].concat())
        }),
    ]
}

fn any_bytes() -> impl Strategy<Value = (SqlType, Vec<u8>)> {
    let units = || vec(any::<[u8; 2]>(), 0..60).prop_map(|units| units.concat());
    prop_oneof![
        any::<[u8; 16]>().prop_map(|v| (SqlType::UniqueIdentifier, v.to_vec())),
        vec(any::<u8>(), 0..60).prop_map(|v| (SqlType::VarChar(Length::Bounded(60)), v)),
        vec(any::<u8>(), 0..60).prop_map(|v| (SqlType::VarBinary(Length::Max), v)),
        units().prop_map(|v| (SqlType::NVarChar(Length::Bounded(60)), v)),
        units().prop_map(|v| (SqlType::NVarChar(Length::Max), v)),
        vec(any::<u8>(), 1..60).prop_map(|v| (SqlType::Char(v.len() as u16), v)),
        vec(any::<u8>(), 1..60).prop_map(|v| (SqlType::Binary(v.len() as u16), v)),
    ]
}

proptest! {
    #[test]
    fn a_valid_value_comes_back_as_it_was(
        (sql_type, data) in prop_oneof![any_integer(), any_other_number(), any_time(), any_bytes()],
    ) {
        let normal_form = normalized(sql_type, &data).unwrap();
        prop_assert_eq!(sql_type.normal_form_len(data.len()), normal_form.len());
        prop_assert_eq!(sql_type.data_len(normal_form.len()), data.len());
        prop_assert_eq!(denormalized(sql_type, &normal_form).unwrap(), data);
    }

    /// Writing what was read changes nothing more: one value, one normal form.
    #[test]
    fn no_bytes_make_a_panic_and_what_is_accepted_is_stable(
        sql_type in any_type(),
        bytes in vec(any::<u8>(), 0..20),
    ) {
        if let Ok(normal_form) = normalized(sql_type, &bytes) {
            let data = denormalized(sql_type, &normal_form).unwrap();
            if !matches!(sql_type, SqlType::Char(_) | SqlType::NChar(_) | SqlType::Binary(_)) {
                prop_assert_eq!(normalized(sql_type, &data).unwrap(), normal_form);
            }
        }
        if let Ok(data) = denormalized(sql_type, &bytes) {
            prop_assert_eq!(sql_type.data_len(bytes.len()), data.len());
        }
    }

    #[test]
    fn rescaling_there_and_back_is_exact_when_nothing_was_cut_off(
        (sql_type, data) in any_time(),
        to_scale in 0..=7u8,
    ) {
        let (from_scale, to_type) = match sql_type {
            SqlType::Time { scale } => (scale, SqlType::Time { scale: to_scale }),
            SqlType::DateTime2 { scale } => (scale, SqlType::DateTime2 { scale: to_scale }),
            SqlType::DateTimeOffset { scale } => (scale, SqlType::DateTimeOffset { scale: to_scale }),
            _ => return Ok(()),
        };
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let rescaled = rescale_time(to_type, from_scale, &data, &mut there).unwrap();
        rescale_time(sql_type, to_scale, &there, &mut back).unwrap();
        prop_assert_eq!(rescaled == Rescaled::Exact, back == data);
        // The way that a parameter of another scale takes is the same as the direct one.
        if rescaled == Rescaled::Exact {
            prop_assert_eq!(normalized(to_type, &there), normalized(sql_type, &data));
        }
    }
}
