use proptest::prelude::*;

use super::*;

const OUT_OF_RANGE: Result<&str, Refusal> = Err(Refusal::Lossy(Loss::Range));
const TIME_OF_DAY: Result<&str, Refusal> = Err(Refusal::Lossy(Loss::TimeOfDay));
const OFFSET: Result<&str, Refusal> = Err(Refusal::Lossy(Loss::Offset));
const UNSUPPORTED: Result<&str, Refusal> = Err(Refusal::Unsupported);

/// Days from 0001-01-01 in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 307
}

/// The data of a date, a time, both, or both and an offset in minutes: `2024-03-15`, `13:14:15.12`,
/// `2024-03-15 13:14 +330`. A `datetime` is given its ticks of 1/300 s: `2024-03-15 300`.
fn data(declaration: &str, value: &str) -> Vec<u8> {
    let mut parts = value.split(' ');
    let mut next = || parts.next().unwrap();
    let date = |text: &str| {
        let numbers: Vec<i64> = text.split('-').map(|n| n.parse().unwrap()).collect();
        days(numbers[0], numbers[1], numbers[2])
    };
    let time = |text: &str, scale: u8| {
        let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds = clock.split(':').fold(0, |sum, n| sum * 60 + n.parse::<u64>().unwrap());
        let fraction: u64 = format!("{fraction:0<7}").parse().unwrap();
        (seconds * 10_000_000 + fraction) / 10u64.pow(7 - u32::from(scale))
    };
    let width = |scale: u8| SqlType::Time { scale }.data_len(0);
    match conversion_type(declaration).sql_type {
        SqlType::Date => date(next()).to_le_bytes()[..3].to_vec(),
        SqlType::Time { scale } => time(next(), scale).to_le_bytes()[..width(scale)].to_vec(),
        SqlType::DateTime2 { scale } => {
            let day = date(next()).to_le_bytes();
            [&time(next(), scale).to_le_bytes()[..width(scale)], &day[..3]].concat()
        }
        SqlType::DateTimeOffset { scale } => {
            let day = date(next()).to_le_bytes();
            let time = time(next(), scale).to_le_bytes();
            let offset: i16 = next().parse().unwrap();
            [&time[..width(scale)], &day[..3], &offset.to_le_bytes()].concat()
        }
        SqlType::DateTime => {
            let day = (date(next()) - days(1900, 1, 1)).to_le_bytes();
            let ticks: u32 = next().parse().unwrap();
            [&day[..4], &ticks.to_le_bytes()].concat()
        }
        SqlType::SmallDateTime => {
            let day = (date(next()) - days(1900, 1, 1)).to_le_bytes();
            let minutes = time(next(), 0) / 60;
            [&day[..2], &minutes.to_le_bytes()[..2]].concat()
        }
        other => panic!("{other} is no date or time"),
    }
}

#[test]
fn the_calendar_of_these_tests_is_right() {
    assert_eq!(days(1, 1, 1), 0);
    assert_eq!(days(1900, 1, 1), 693_595);
    assert_eq!(days(2024, 3, 15), 0x000B_468F);
    assert_eq!(days(9999, 12, 31), 3_652_058);
}

#[test]
fn a_time_becomes_another_type_as_sqlclient_does_it() {
    for (from, value, to, expected) in [
        // Scales: digits are cut off, never rounded.
        ("time(7)", "23:59:59.9999999", "time(0)", Ok("23:59:59")),
        ("time(7)", "13:14:15.1239999", "time(3)", Ok("13:14:15.123")),
        ("time(3)", "13:14:15.123", "time(7)", Ok("13:14:15.123")),
        (
            "datetime2(7)",
            "2024-03-15 13:14:15.1239999",
            "datetime2(3)",
            Ok("2024-03-15 13:14:15.123"),
        ),
        ("datetime2(0)", "2024-03-15 13:14:15", "datetime2(7)", Ok("2024-03-15 13:14:15")),
        (
            "datetimeoffset(7)",
            "2024-03-15 13:14:15.9 -330",
            "datetimeoffset(0)",
            Ok("2024-03-15 13:14:15 -330"),
        ),
        // Dates.
        ("date", "0001-01-01", "datetime2(7)", Ok("0001-01-01 00:00:00")),
        ("date", "2024-03-15", "datetimeoffset(2)", Ok("2024-03-15 00:00:00 0")),
        ("date", "2024-03-15", "datetime", Ok("2024-03-15 0")),
        ("date", "1753-01-01", "datetime", Ok("1753-01-01 0")),
        ("date", "1752-12-31", "datetime", OUT_OF_RANGE),
        ("date", "2079-06-06", "smalldatetime", Ok("2079-06-06 00:00:00")),
        ("date", "2079-06-07", "smalldatetime", OUT_OF_RANGE),
        ("date", "1899-12-31", "smalldatetime", OUT_OF_RANGE),
        ("datetime2(7)", "2024-03-15 00:00:00", "date", Ok("2024-03-15")),
        ("datetime2(7)", "2024-03-15 00:00:00.0000001", "date", TIME_OF_DAY),
        ("datetime", "1753-01-01 0", "date", Ok("1753-01-01")),
        ("datetime", "2024-03-15 1", "date", TIME_OF_DAY),
        ("smalldatetime", "2024-03-15 00:00:00", "date", Ok("2024-03-15")),
        ("smalldatetime", "2024-03-15 00:01:00", "date", TIME_OF_DAY),
        // To datetime: rounded to 1/300 s, with carry.
        ("datetime2(7)", "2024-03-15 00:00:01", "datetime", Ok("2024-03-15 300")),
        ("datetime2(7)", "2024-03-15 00:00:00.0016666", "datetime", Ok("2024-03-15 0")),
        ("datetime2(7)", "2024-03-15 00:00:00.0016667", "datetime", Ok("2024-03-15 1")),
        ("datetime2(3)", "2024-03-15 00:00:00.005", "datetime", Ok("2024-03-15 2")),
        ("datetime2(7)", "2024-03-15 23:59:59.9983333", "datetime", Ok("2024-03-15 25919999")),
        ("datetime2(7)", "2024-03-15 23:59:59.9983334", "datetime", Ok("2024-03-16 0")),
        ("datetime2(7)", "9999-12-31 23:59:59.9999999", "datetime", OUT_OF_RANGE),
        ("datetime2(7)", "1752-12-31 23:59:59.9999999", "datetime", Ok("1753-01-01 0")),
        ("smalldatetime", "2024-03-15 13:14:00", "datetime", Ok("2024-03-15 14292000")),
        // To smalldatetime: rounded to minutes, with carry.
        ("datetime2(7)", "2024-03-15 13:14:29.998", "smalldatetime", Ok("2024-03-15 13:14:00")),
        ("datetime2(7)", "2024-03-15 13:14:29.999", "smalldatetime", Ok("2024-03-15 13:15:00")),
        ("datetime", "2024-03-15 8999", "smalldatetime", Ok("2024-03-15 00:00:00")),
        ("datetime", "2024-03-15 9000", "smalldatetime", Ok("2024-03-15 00:01:00")),
        ("datetime2(0)", "2024-03-15 23:59:30", "smalldatetime", Ok("2024-03-16 00:00:00")),
        ("datetime2(0)", "2079-06-06 23:59:29", "smalldatetime", Ok("2079-06-06 23:59:00")),
        ("datetime2(0)", "2079-06-06 23:59:30", "smalldatetime", OUT_OF_RANGE),
        ("datetime2(0)", "1899-12-31 23:59:59", "smalldatetime", OUT_OF_RANGE),
        ("datetime", "1800-01-01 0", "smalldatetime", OUT_OF_RANGE),
        // From datetime and smalldatetime.
        ("datetime", "2024-03-15 1", "datetime2(7)", Ok("2024-03-15 00:00:00.0033333")),
        ("datetime", "2024-03-15 2", "datetime2(7)", Ok("2024-03-15 00:00:00.0066667")),
        ("datetime", "2024-03-15 3", "datetime2(7)", Ok("2024-03-15 00:00:00.01")),
        ("datetime", "2024-03-15 2", "datetime2(4)", Ok("2024-03-15 00:00:00.0067")),
        ("datetime", "2024-03-15 2", "datetime2(3)", Ok("2024-03-15 00:00:00.007")),
        ("datetime", "2024-03-15 2", "datetime2(2)", Ok("2024-03-15 00:00:00.00")),
        ("datetime", "1753-01-01 25919999", "datetime2(7)", Ok("1753-01-01 23:59:59.9966667")),
        ("datetime", "1753-01-01 25919999", "datetime2(3)", Ok("1753-01-01 23:59:59.997")),
        ("datetime", "1753-01-01 25919999", "datetime2(0)", Ok("1753-01-01 23:59:59")),
        ("datetime", "2024-03-15 2", "datetimeoffset(3)", Ok("2024-03-15 00:00:00.007 0")),
        ("smalldatetime", "2024-03-15 13:14:00", "datetime2(7)", Ok("2024-03-15 13:14:00")),
        ("smalldatetime", "2079-06-06 23:59:00", "datetimeoffset(0)", Ok("2079-06-06 23:59:00 0")),
        // Offsets.
        (
            "datetime2(7)",
            "2024-03-15 13:14:15.1234567",
            "datetimeoffset(7)",
            Ok("2024-03-15 13:14:15.1234567 0"),
        ),
        ("datetimeoffset(7)", "2024-03-15 13:14:15 0", "datetime2(0)", Ok("2024-03-15 13:14:15")),
        ("datetimeoffset(7)", "2024-03-15 13:14:15 60", "datetime2(0)", OFFSET),
        ("datetimeoffset(7)", "2024-03-15 00:00:00 -60", "date", OFFSET),
        ("datetimeoffset(7)", "2024-03-15 00:00:00 0", "date", Ok("2024-03-15")),
        ("datetimeoffset(7)", "2024-03-15 00:00:01 0", "datetime", Ok("2024-03-15 300")),
        ("datetimeoffset(7)", "2024-03-15 00:00:31 0", "smalldatetime", Ok("2024-03-15 00:01:00")),
        // The same type.
        (
            "datetimeoffset(3)",
            "2024-03-15 13:14:15.123 840",
            "datetimeoffset(3)",
            Ok("2024-03-15 13:14:15.123 840"),
        ),
        ("datetime", "2024-03-15 299", "datetime", Ok("2024-03-15 299")),
        ("date", "9999-12-31", "date", Ok("9999-12-31")),
        // A time of day is no date.
        ("time(7)", "13:14:15", "datetime2(7)", UNSUPPORTED),
        ("time(7)", "13:14:15", "datetime", UNSUPPORTED),
        ("datetime2(7)", "2024-03-15 13:14:15", "time(7)", UNSUPPORTED),
        ("date", "2024-03-15", "time(0)", UNSUPPORTED),
    ] {
        let result = converted(conversion_type(from), &data(from, value), conversion_type(to));
        let expected = expected.map(|value| data(to, value));
        assert_eq!(result.map_err(refusal), expected, "{from} {value} {to}");
    }
}

proptest! {
    #[test]
    fn datetime_is_rounded_as_sqldatetime_rounds(ticks in 0u64..864_000_000_000) {
        let sqldatetime = (ticks as f64 / 10_000.0 * 0.3 + 0.5) as i64;
        let datetime2 = [&ticks.to_le_bytes()[..5], &days(2024, 3, 15).to_le_bytes()[..3]].concat();
        let out = converted(
            conversion_type("datetime2(7)"),
            &datetime2,
            conversion_type("datetime"),
        ).unwrap();
        let expected = if sqldatetime == 300 * 86_400 { 0 } else { sqldatetime };
        prop_assert_eq!(&out[4..], &expected.to_le_bytes()[..4]);
    }

    #[test]
    fn what_is_stored_finer_reads_back_as_it_was(
        day in 693_595i64..=693_595 + 65_535,
        ticks in 0u32..300 * 86_400,
        minutes in 0u16..1_440,
    ) {
        let day_1900 = day - 693_595;
        let datetime = [&day_1900.to_le_bytes()[..4], &ticks.to_le_bytes()].concat();
        let smalldatetime = [&day_1900.to_le_bytes()[..2], &minutes.to_le_bytes()].concat();
        for (from, data, finer) in [
            ("datetime", &datetime, "datetime2(7)"),
            ("datetime", &datetime, "datetime2(3)"),
            ("datetime", &datetime, "datetimeoffset(5)"),
            ("smalldatetime", &smalldatetime, "datetime"),
            ("smalldatetime", &smalldatetime, "datetime2(0)"),
            ("smalldatetime", &smalldatetime, "datetimeoffset(0)"),
        ] {
            let (from, finer) = (conversion_type(from), conversion_type(finer));
            let there = converted(from, data, finer).unwrap();
            prop_assert_eq!(&converted(finer, &there, from), &Ok(data.clone()), "{:?}", finer);
        }
    }
}
