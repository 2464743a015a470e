//! Dates and times: the calendar, rounding to a scale, and the texts that T-SQL reads and writes.

pub(crate) const TICKS_PER_SECOND: i64 = 10_000_000;
pub(crate) const TICKS_PER_MINUTE: i64 = 60 * TICKS_PER_SECOND;
pub(crate) const TICKS_PER_DAY: i64 = 24 * 60 * TICKS_PER_MINUTE;
/// 9999-12-31.
pub(crate) const MAX_DAY: i64 = 3_652_058;
/// One past the last tick of datetime2.
pub(crate) const END_OF_TIME: i64 = (MAX_DAY + 1) * TICKS_PER_DAY;
/// 1900-01-01, day 0 of datetime and smalldatetime.
pub(crate) const DAY_1900: i64 = 693_595;
/// 1753-01-01, the first day of datetime.
pub(crate) const DAY_1753: i64 = 639_905;
/// 1970-01-01.
pub(crate) const DAY_1970: i64 = 719_162;
/// 2079-06-06, the last day of smalldatetime.
pub(crate) const DAY_SMALL_MAX: i64 = DAY_1900 + 65_535;
/// Ticks of datetime in a second.
pub(crate) const DATETIME_TICKS: i64 = 300;

/// Days since 0001-01-01 of a proleptic Gregorian date.
pub(crate) fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
    {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    // March 1 of year 0 is day 0 of this count, and lies 306 days before 0001-01-01.
    Some(
        shifted_year * 365 + shifted_year / 4 - shifted_year / 100
            + shifted_year / 400
            + day_of_year
            - 306,
    )
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day number in range.
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    let days = day.clamp(0, MAX_DAY) + 306;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Ticks rounded half up to `scale` digits of a second.
pub(crate) fn round_to_scale(ticks: i64, scale: u8) -> i64 {
    let unit = 10i64.pow(7u32.saturating_sub(u32::from(scale)));
    ticks.saturating_add(unit / 2) / unit * unit
}

/// Ticks rounded to the 1/300 second of datetime.
pub(crate) fn round_to_datetime(ticks: i64) -> i64 {
    let day = ticks.div_euclid(TICKS_PER_DAY);
    let units = (ticks.rem_euclid(TICKS_PER_DAY) * DATETIME_TICKS + TICKS_PER_SECOND / 2)
        / TICKS_PER_SECOND;
    day * TICKS_PER_DAY + from_datetime_units(units)
}

/// 100 ns ticks of a count of 1/300 seconds.
pub(crate) fn from_datetime_units(units: i64) -> i64 {
    units.saturating_mul(TICKS_PER_SECOND).saturating_add(DATETIME_TICKS / 2) / DATETIME_TICKS
}

/// The clock, as UTC ticks.
pub(crate) fn now_utc() -> i64 {
    let since_1970 =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let ticks = i64::try_from(since_1970.as_nanos() / 100).unwrap_or(0);
    DAY_1970 * TICKS_PER_DAY + ticks
}

/// What a text may denote. A part that is missing is the start of the day, or 1900-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) day: i64,
    pub(crate) time: i64,
    pub(crate) offset: Option<i16>,
}

/// The ISO forms: `yyyy-mm-dd`, `yyyymmdd`, a time after a blank or T, `Z` or `+hh:mm` at the end.
pub(crate) fn parse(text: &str) -> Option<Parsed> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Parsed { day: DAY_1900, time: 0, offset: None });
    }
    let split = text.find(['T', 't', ' ']);
    let (date, rest) = match split {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.trim()),
        None if text.contains(':') => ("", text),
        None => (text, ""),
    };
    let (date, rest) = if date.contains(':') { ("", text) } else { (date, rest) };
    let day = if date.is_empty() { DAY_1900 } else { parse_date(date)? };
    let (clock, offset) = split_offset(rest)?;
    let time = if clock.is_empty() { 0 } else { parse_clock(clock)? };
    Some(Parsed { day, time, offset })
}

fn parse_date(text: &str) -> Option<i64> {
    let number = |part: &str| {
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let parts: Vec<&str> = text.split(['-', '/']).collect();
    match parts.as_slice() {
        [year, month, day] if year.len() == 4 => {
            day_number(number(year)?, number(month)?, number(day)?)
        }
        [whole] if whole.len() == 8 => day_number(
            number(whole.get(..4)?)?,
            number(whole.get(4..6)?)?,
            number(whole.get(6..)?)?,
        ),
        _ => None,
    }
}

fn split_offset(text: &str) -> Option<(&str, Option<i16>)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock.trim_end(), Some(0)));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some((text, None));
    };
    let negative = text.get(at..)?.starts_with('-');
    let (hours, minutes) = text.get(at + 1..)?.split_once(':')?;
    let minutes =
        hours.parse::<i16>().ok()?.checked_mul(60)?.checked_add(minutes.parse::<i16>().ok()?)?;
    if !(0..=14 * 60).contains(&minutes) {
        return None;
    }
    Some((text.get(..at)?.trim_end(), Some(if negative { -minutes } else { minutes })))
}

fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = match parts.next() {
        Some(part) => {
            let (seconds, fraction) = part.split_once('.').unwrap_or((part, ""));
            (seconds.parse::<i64>().ok()?, fraction)
        }
        None => (0, ""),
    };
    let in_range =
        (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..60).contains(&seconds);
    if parts.next().is_some()
        || !in_range
        || fraction.len() > 7
        || !fraction.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let ticks: i64 =
        if fraction.is_empty() { 0 } else { format!("{fraction:0<7}").parse().ok()? };
    Some((hours * 3600 + minutes * 60 + seconds) * TICKS_PER_SECOND + ticks)
}

/// `yyyy-mm-dd`.
pub(crate) fn show_date(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `hh:mm:ss[.fraction]`.
pub(crate) fn show_time(ticks: i64, scale: u8) -> String {
    let seconds = ticks / TICKS_PER_SECOND;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if scale == 0 {
        return clock;
    }
    let fraction = format!("{:07}", ticks % TICKS_PER_SECOND);
    format!("{clock}.{}", fraction.get(..usize::from(scale)).unwrap_or(&fraction))
}

/// ` +hh:mm`.
pub(crate) fn show_offset(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_agrees_with_known_days() {
        assert_eq!(day_number(1, 1, 1), Some(0));
        assert_eq!(day_number(1900, 1, 1), Some(DAY_1900));
        assert_eq!(day_number(1753, 1, 1), Some(DAY_1753));
        assert_eq!(day_number(1970, 1, 1), Some(DAY_1970));
        assert_eq!(day_number(9999, 12, 31), Some(MAX_DAY));
        assert_eq!(day_number(2024, 3, 15), Some(0x0B_46_8F));
        assert_eq!(day_number(2023, 2, 29), None);
        for day in (0..=MAX_DAY).step_by(97).chain([MAX_DAY]) {
            let (y, m, d) = civil(day);
            assert_eq!(day_number(y, m, d), Some(day));
        }
    }

    #[test]
    fn datetime_units_come_back() {
        for units in [0, 1, 2, 299, 14_294_937, 25_919_999] {
            assert_eq!(round_to_datetime(from_datetime_units(units)), from_datetime_units(units));
        }
    }

    #[test]
    fn iso_texts_are_read() {
        let parsed = parse("2024-03-15 13:14:15.1234567 +05:30").unwrap();
        assert_eq!(parsed.offset, Some(330));
        assert_eq!(show_date(parsed.day), "2024-03-15");
        assert_eq!(show_time(parsed.time, 7), "13:14:15.1234567");
        assert_eq!(parse("20240315").unwrap().time, 0);
        assert_eq!(parse("2024-03-15T13:14:15Z").unwrap().offset, Some(0));
        assert_eq!(parse("10:00").unwrap().day, DAY_1900);
        assert!(parse("15.03.2024").is_none());
        assert!(parse("2024-03-15 25:00").is_none());
    }
}
