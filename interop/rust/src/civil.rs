//! Types, dates and times of day as text.

use crate::cases::Result;

/// Days from 0001-01-01, where `date` counts from, to 1900-01-01, where `datetime` does.
pub const DAYS_TO_1900: i64 = 693_595;
const DAYS_IN_400_YEARS: i64 = 146_097;

/// `decimal(18,4)` as `("decimal", [18, 4])`; `max` is 0.
pub fn split_type(sql_type: &str) -> (&str, Vec<u16>) {
    match sql_type.split_once('(') {
        None => (sql_type, Vec::new()),
        Some((name, rest)) => {
            let numbers = rest.trim_end_matches(')').split(',');
            (name, numbers.map(|n| n.trim().parse().unwrap_or(0)).collect())
        }
    }
}

/// Days since 0001-01-01 of the Gregorian calendar, which goes back to then.
pub fn days(text: &str) -> Result<i64> {
    let mut parts = text.split('-').map(str::parse::<i64>);
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(format!("not a date: {text}").into());
    };
    let (year, month, day) = (year?, month?, day?);
    // Years begin in March, so that the leap day ends them.
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Ok(365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 306)
}

pub fn show_date(days: i64) -> String {
    let days = days + 306;
    let (era, day) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Units of `10^-scale` seconds since midnight, and the scale.
pub fn clock(text: &str) -> Result<(u64, u8)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = u8::try_from(fraction.len())?;
    let mut seconds = 0;
    let mut count = 0;
    for part in whole.split(':') {
        seconds = seconds * 60 + part.parse::<u64>()?;
        count += 1;
    }
    if count == 2 {
        seconds *= 60;
    }
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse()? };
    Ok((seconds * 10u64.pow(scale.into()) + fraction, scale))
}

pub fn show_clock(units: u64, scale: u8) -> String {
    let unit = 10u64.pow(scale.into());
    let (seconds, fraction) = (units / unit, units % unit);
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match scale {
        0 => whole,
        scale => format!("{whole}.{fraction:0width$}", width = usize::from(scale)),
    }
}
