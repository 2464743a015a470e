//! Dates and times.

use super::exactly;
use crate::value::{SqlType, ValueError, sql_type::time_width};

/// Units of 100 ns in a day.
const TICKS_PER_DAY: u64 = 864_000_000_000;
const TICKS_PER_MINUTE: i64 = 600_000_000;
/// Days from 0001-01-01 to 9999-12-31, the last day there is.
const LAST_DAY: u64 = 3_652_058;
/// The furthest from UTC, in minutes: 14 hours.
const MAX_OFFSET: i16 = 840;
/// Days from 1900-01-01 to the first and last day of `datetime`: 1753-01-01 and 9999-12-31.
const FIRST_DATETIME_DAY: i32 = -53_690;
const LAST_DATETIME_DAY: i32 = 2_958_463;
/// Units of 1/300 s in a day.
pub(in crate::value) const DATETIME_TICKS_PER_DAY: u32 = 300 * 86_400;
pub(in crate::value) const MINUTES_PER_DAY: u16 = 1_440;
/// The bytes of a time of day in normal form, whatever its scale.
const NORMAL_TIME: usize = 5;

/// Whether [`rescale_time`] lost anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescaled {
    /// The time is the same.
    Exact,
    /// Digits other than zero were cut off.
    Truncated,
}

/// Appends to `out` the `data` of a `time`, `datetime2` or `datetimeoffset` at `from_scale`,
/// brought to the scale of `sql_type`.
///
/// For drivers that send every time at scale 7 and a column that has less. Digits that the scale
/// does not have are cut off as in SqlClient (JDBC rounds); the result says whether any were other
/// than zero. A date and an offset after the time are copied.
///
/// # Errors
///
/// `sql_type` has no scale of time, one of the scales is above 7, or `data` are not a value of
/// `sql_type` at `from_scale`. Nothing has been appended then.
///
/// ```
/// use always_encrypted::value::{Rescaled, SqlType, rescale_time};
///
/// // 13:14:15.1234567
/// let mut out = Vec::new();
/// let rescaled =
///     rescale_time(SqlType::Time { scale: 3 }, 7, &[0x07, 0xc4, 0xaa, 0xf4, 0x6e], &mut out)?;
/// assert_eq!(rescaled, Rescaled::Truncated);
/// assert_eq!(out, 47_655_123u32.to_le_bytes());
/// # Ok::<(), always_encrypted::value::ValueError>(())
/// ```
pub fn rescale_time(
    sql_type: SqlType,
    from_scale: u8,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<Rescaled, ValueError> {
    let (to_scale, from_type) = match sql_type {
        SqlType::Time { scale } => (scale, SqlType::Time { scale: from_scale }),
        SqlType::DateTime2 { scale } => (scale, SqlType::DateTime2 { scale: from_scale }),
        SqlType::DateTimeOffset { scale } => (scale, SqlType::DateTimeOffset { scale: from_scale }),
        _ => return Err(ValueError::NoTimeScale { sql_type }),
    };
    let to = Unit::of(sql_type, to_scale)?;
    let from = Unit::of(from_type, from_scale)?;
    let value = TimeValue::read(from_type, from, data)?;
    value.write(to, out);
    Ok(if value.ticks.is_multiple_of(to.ticks) { Rescaled::Exact } else { Rescaled::Truncated })
}

pub(super) fn normalize_time(
    sql_type: SqlType,
    scale: u8,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let value = TimeValue::read(sql_type, Unit::of(sql_type, scale)?, data)?;
    // .NET's DateTimeOffset, and so SqlClient, cannot hold a local time outside the calendar: it
    // could neither write this value nor read it. What is in a table already can still be read.
    if !value.is_local_time_in_range() {
        return Err(ValueError::OutOfRange { sql_type });
    }
    value.write(Unit::NORMAL, out);
    Ok(())
}

pub(super) fn denormalize_time(
    sql_type: SqlType,
    scale: u8,
    normal_form: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let unit = Unit::of(sql_type, scale)?;
    // mssql-tds and go-mssqldb do not widen. Below scale 5 the length gives them away.
    let narrow = unit.width < NORMAL_TIME
        && normal_form.len() == sql_type.max_normal_form_len() - (NORMAL_TIME - unit.width);
    let written_in = if narrow { unit } else { Unit::NORMAL };
    let value = TimeValue::read(sql_type, written_in, normal_form)?;
    // Whoever widens has cut off to the scale before. Digits beyond it are units of another size,
    // and the time that they seem to tell is a wrong one.
    if !value.ticks.is_multiple_of(unit.ticks) {
        return Err(ValueError::BeyondScale { sql_type });
    }
    value.write(unit, out);
    Ok(())
}

/// The unit of a scale: how long it is in ticks of 100 ns, and in how many bytes a day is counted.
#[derive(Clone, Copy)]
struct Unit {
    ticks: u64,
    width: usize,
}

impl Unit {
    const NORMAL: Self = Self { ticks: 1, width: NORMAL_TIME };

    fn of(sql_type: SqlType, scale: u8) -> Result<Self, ValueError> {
        const TICKS: [u64; 8] = [10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        match TICKS.get(usize::from(scale)) {
            Some(&ticks) => Ok(Self { ticks, width: time_width(scale) }),
            None => Err(ValueError::InvalidType { sql_type }),
        }
    }
}

/// A `time`, `datetime2` or `datetimeoffset` in either form: they differ in the unit only.
struct TimeValue<'a> {
    /// Since midnight, in units of 100 ns.
    ticks: u64,
    /// Days since 0001-01-01 and minutes from UTC; 0 where the type has none.
    day: u64,
    offset: i16,
    /// The bytes of date and offset, which are the same in both forms.
    rest: &'a [u8],
}

impl<'a> TimeValue<'a> {
    fn read(sql_type: SqlType, unit: Unit, bytes: &'a [u8]) -> Result<Self, ValueError> {
        let wrong_length = ValueError::WrongLength { sql_type, len: bytes.len() };
        let (time, rest) = bytes.split_at_checked(unit.width).ok_or(wrong_length)?;
        let (day, offset) = match (sql_type, rest) {
            (SqlType::Time { .. }, []) => (0, 0),
            (SqlType::DateTime2 { .. }, &[a, b, c]) => (little_endian(&[a, b, c]), 0),
            (SqlType::DateTimeOffset { .. }, &[a, b, c, d, e]) => {
                (little_endian(&[a, b, c]), i16::from_le_bytes([d, e]))
            }
            _ => return Err(wrong_length),
        };
        // At most 40 bits of the smallest unit, or 24 of the largest: no overflow.
        let ticks = little_endian(time).saturating_mul(unit.ticks);
        if ticks >= TICKS_PER_DAY || day > LAST_DAY || !(-MAX_OFFSET..=MAX_OFFSET).contains(&offset)
        {
            return Err(ValueError::OutOfRange { sql_type });
        }
        Ok(Self { ticks, day, offset, rest })
    }

    fn write(&self, unit: Unit, out: &mut Vec<u8>) {
        out.extend((self.ticks / unit.ticks).to_le_bytes().into_iter().take(unit.width));
        out.extend_from_slice(self.rest);
    }

    /// `read` has bounded all three, so the sum is far inside an I64.
    fn is_local_time_in_range(&self) -> bool {
        let utc = self.day * TICKS_PER_DAY + self.ticks;
        let offset = i64::from(self.offset) * TICKS_PER_MINUTE;
        utc.checked_add_signed(offset).is_some_and(|local| local / TICKS_PER_DAY <= LAST_DAY)
    }
}

/// An unsigned number of up to eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |high, &byte| high << 8 | u64::from(byte))
}

pub(super) fn copy_date(
    sql_type: SqlType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let bytes: [u8; 3] = exactly(sql_type, bytes)?;
    if little_endian(&bytes) > LAST_DAY {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend_from_slice(&bytes);
    Ok(())
}

pub(super) fn copy_datetime(
    sql_type: SqlType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let bytes: [u8; 8] = exactly(sql_type, bytes)?;
    let [a, b, c, d, e, f, g, h] = bytes;
    let day = i32::from_le_bytes([a, b, c, d]);
    let ticks = u32::from_le_bytes([e, f, g, h]);
    if !(FIRST_DATETIME_DAY..=LAST_DATETIME_DAY).contains(&day) || ticks >= DATETIME_TICKS_PER_DAY {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Every day of 16 bits is in range: 1900-01-01 to 2079-06-06.
pub(super) fn copy_smalldatetime(
    sql_type: SqlType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let bytes: [u8; 4] = exactly(sql_type, bytes)?;
    let [_, _, minutes @ ..] = bytes;
    if u16::from_le_bytes(minutes) >= MINUTES_PER_DAY {
        return Err(ValueError::OutOfRange { sql_type });
    }
    out.extend_from_slice(&bytes);
    Ok(())
}
