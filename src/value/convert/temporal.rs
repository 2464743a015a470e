//! Dates and times.

use zeroize::Zeroizing;

use super::{ConversionError, Loss, NORMAL_FORM, Pair};
use crate::value::{
    SqlType,
    normal_form::{DATETIME_TICKS_PER_DAY, MINUTES_PER_DAY},
};

/// Days from 0001-01-01 to 1900-01-01, where `datetime` and `smalldatetime` begin to count.
const DAY_1900: i64 = 693_595;
/// Thirds of 100 ns: the unit in which both `time(7)` and 1/300 s are whole.
const THIRDS_PER_TICK: u64 = 3;
const THIRDS_PER_DATETIME_TICK: u64 = 100_000;
const THIRDS_PER_MINUTE: u64 = 60 * 300 * THIRDS_PER_DATETIME_TICK;
/// Ticks of 1/300 s in a minute.
const DATETIME_TICKS_PER_MINUTE: u64 = 60 * 300;

/// A date and a time of day.
struct Moment {
    /// Since 0001-01-01.
    day: i64,
    /// Since midnight, in thirds of 100 ns.
    thirds: u64,
}

pub(super) fn convert(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let (from, to) = (pair.from.sql_type, pair.to.sql_type);
    let normal_form = pair.normal_form(data)?;
    match (from, to) {
        (SqlType::Time { .. }, SqlType::Time { scale }) => {
            let ticks = cut(little_endian(&normal_form), scale);
            pair.write(ticks.to_le_bytes().get(..5).unwrap_or_default(), out)
        }
        (SqlType::Time { .. }, _) | (_, SqlType::Time { .. }) => Err(pair.unsupported()),
        (SqlType::DateTimeOffset { .. }, SqlType::DateTimeOffset { scale }) => {
            let (moment, offset) = normal_form.split_at_checked(8).unwrap_or_default();
            write(pair, &read(from, moment), scale, offset, out)
        }
        (SqlType::DateTimeOffset { .. }, _) => {
            let (moment, offset) = normal_form.split_at_checked(8).unwrap_or_default();
            if offset != [0, 0] {
                return Err(pair.lossy(Loss::Offset));
            }
            write_moment(pair, &read(from, moment), out)
        }
        _ => write_moment(pair, &read(from, &normal_form), out),
    }
}

/// Of a normal form with a date and without an offset.
fn read(sql_type: SqlType, normal_form: &[u8]) -> Moment {
    let first_len = match sql_type {
        SqlType::Date => 0,
        SqlType::DateTime => 4,
        SqlType::SmallDateTime => 2,
        _ => 5,
    };
    let (first, second) = normal_form.split_at_checked(first_len).unwrap_or_default();
    match sql_type {
        SqlType::DateTime => Moment {
            // The one number with a sign.
            day: DAY_1900 + i64::from(first.try_into().map_or(0, i32::from_le_bytes)),
            thirds: little_endian(second) * THIRDS_PER_DATETIME_TICK,
        },
        SqlType::SmallDateTime => Moment {
            day: DAY_1900 + little_endian(first).cast_signed(),
            thirds: little_endian(second) * THIRDS_PER_MINUTE,
        },
        _ => Moment {
            day: little_endian(second).cast_signed(),
            thirds: little_endian(first) * THIRDS_PER_TICK,
        },
    }
}

/// Of a target with a date; an offset is zero.
fn write_moment(pair: Pair, moment: &Moment, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    match pair.to.sql_type {
        SqlType::Date if moment.thirds != 0 => Err(pair.lossy(Loss::TimeOfDay)),
        SqlType::Date => pair.write(moment.day.to_le_bytes().get(..3).unwrap_or_default(), out),
        SqlType::DateTime => write_datetime(pair, moment, out),
        SqlType::SmallDateTime => write_smalldatetime(pair, moment, out),
        SqlType::DateTime2 { scale } => write(pair, moment, scale, &[], out),
        SqlType::DateTimeOffset { scale } => write(pair, moment, scale, &[0, 0], out),
        _ => Err(pair.unsupported()),
    }
}

/// A `datetime2`, or with its offset a `datetimeoffset`.
fn write(
    pair: Pair,
    moment: &Moment,
    scale: u8,
    offset: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ConversionError> {
    let time = moment.ticks(scale).to_le_bytes();
    let day = moment.day.to_le_bytes();
    let mut normal_form = Zeroizing::new(Vec::with_capacity(NORMAL_FORM));
    normal_form.extend(time.into_iter().take(5).chain(day.into_iter().take(3)));
    normal_form.extend_from_slice(offset);
    pair.write(&normal_form, out)
}

fn write_datetime(pair: Pair, moment: &Moment, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let (mut day, mut ticks) = (moment.day - DAY_1900, moment.datetime_ticks());
    if ticks >= u64::from(DATETIME_TICKS_PER_DAY) {
        (day, ticks) = (day + 1, 0);
    }
    // Before 1753-01-01 and after 9999-12-31 it is out of range, which `write` sees.
    let [day @ .., _, _, _, _] = day.to_le_bytes();
    let [ticks @ .., _, _, _, _] = ticks.to_le_bytes();
    pair.write([day, ticks].as_flattened(), out)
}

/// SqlClient adds half a minute to the `datetime` and cuts off the seconds: 29.999 s round up, 29.998
/// do not.
fn write_smalldatetime(
    pair: Pair,
    moment: &Moment,
    out: &mut Vec<u8>,
) -> Result<(), ConversionError> {
    let ticks = moment.datetime_ticks() + DATETIME_TICKS_PER_MINUTE / 2;
    let mut minutes = ticks / DATETIME_TICKS_PER_MINUTE;
    let mut day = moment.day - DAY_1900;
    if day < 0 {
        return Err(pair.lossy(Loss::Range));
    }
    if minutes >= u64::from(MINUTES_PER_DAY) {
        (day, minutes) = (day + 1, 0);
    }
    let day = u16::try_from(day).map_err(|_| pair.lossy(Loss::Range))?;
    let [minutes @ .., _, _, _, _, _, _] = minutes.to_le_bytes();
    pair.write([day.to_le_bytes(), minutes].as_flattened(), out)
}

impl Moment {
    /// The time of day in units of 100 ns, without digits that the scale does not have.
    fn ticks(&self, scale: u8) -> u64 {
        if self.thirds.is_multiple_of(THIRDS_PER_TICK) {
            return cut(self.thirds / THIRDS_PER_TICK, scale);
        }
        // Of a `datetime`. The last tick of a day is .996 s and two thirds: no scale from 3 on rounds
        // it to the next day.
        let unit = THIRDS_PER_TICK * ticks_per_unit(scale.max(3));
        let rounded = (self.thirds + unit / 2) / unit * unit;
        cut(rounded / THIRDS_PER_TICK, scale)
    }

    /// The time of day in units of 1/300 s. The same as SqlDateTime's milliseconds × 0.3 + 0.5,
    /// without the floating point.
    fn datetime_ticks(&self) -> u64 {
        (self.thirds + THIRDS_PER_DATETIME_TICK / 2) / THIRDS_PER_DATETIME_TICK
    }
}

/// Units of 100 ns without the digits beyond a scale.
fn cut(ticks: u64, scale: u8) -> u64 {
    let unit = ticks_per_unit(scale);
    ticks / unit * unit
}

/// A scale above 7 is for [`Pair::write`] to refuse.
fn ticks_per_unit(scale: u8) -> u64 {
    10u64.pow(7u8.saturating_sub(scale).into())
}

/// An unsigned number of up to eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |high, &byte| high << 8 | u64::from(byte))
}
