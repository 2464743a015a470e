//! Conversions between types, with SQL Server's ranges and errors.

use crate::error::{Result, SqlError};
use crate::types::decimal::Decimal;
use crate::types::temporal::{self, END_OF_TIME, TICKS_PER_DAY, TICKS_PER_MINUTE};
use crate::types::text::{self, utf16_len};
use crate::types::{Collation, Family, Length, SqlType, Value, variant};

/// What becomes of a string or binary that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// INSERT and UPDATE: error 2628.
    Refuse,
    /// CAST, and parameters: cut off.
    CutOff,
}

/// `value`, which is of type `from`, as a value of type `to`.
pub(crate) fn convert(value: Value, from: SqlType, to: SqlType, excess: Excess) -> Result<Value> {
    if value.is_null() {
        return Ok(value);
    }
    if let (Value::Variant(inner), false) = (&value, to == SqlType::Variant) {
        let (ty, value) = inner.as_ref();
        return convert(value.clone(), *ty, to, excess);
    }
    match to.family() {
        Family::Integer => integer(value, from, to),
        Family::Float => float(value, from, to),
        Family::Decimal => decimal(value, from, to),
        Family::Date => datetime_ticks(value, from, to)
            .map(|ticks| Value::Date(ticks.div_euclid(TICKS_PER_DAY))),
        Family::Time => time(value, from, to),
        Family::DateTime => datetime(value, from, to),
        Family::Offset => offset(value, from, to),
        Family::Text => fit_text(show(value, from, to)?, to, excess),
        Family::Bytes => fit_bytes(bytes(value, from, to)?, to, excess),
        Family::Guid => guid(value, from, to),
        Family::Xml => xml(value, from, to),
        Family::Variant => match value {
            Value::Variant(_) => Ok(value),
            value if variant::holds(from) => Ok(Value::Variant(Box::new((from, value)))),
            _ => Err(clash(from, to)),
        },
    }
}

fn clash(from: SqlType, to: SqlType) -> SqlError {
    SqlError::type_clash(from.name(), to.name())
}

fn integer(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let n: i128 = match value {
        Value::Integer(n) => i128::from(n),
        Value::Decimal(d) => d.truncate(),
        Value::Float(x) if x.is_finite() && x.abs() < 1e19 => x.trunc() as i128,
        Value::Float(_) => return Err(SqlError::overflow(to.name())),
        Value::Text(text) => text.trim().parse().map_err(|_| {
            let from = from.name();
            SqlError::new(
                245,
                format!(
                    "Conversion failed when converting the {from} value '{text}' to data type {to}."
                ),
            )
        })?,
        Value::Bytes(bytes) => {
            bytes.iter().rev().take(8).rev().fold(0i128, |n, byte| (n << 8) | i128::from(*byte))
        }
        _ => return Err(clash(from, to)),
    };
    if to == SqlType::Bit {
        return Ok(Value::Integer(i64::from(n != 0)));
    }
    let n = if matches!(from.family(), Family::Bytes) { wrap(n, to) } else { n };
    let range = match to {
        SqlType::TinyInt => 0..=255,
        SqlType::SmallInt => i128::from(i16::MIN)..=i128::from(i16::MAX),
        SqlType::Int => i128::from(i32::MIN)..=i128::from(i32::MAX),
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    };
    match i64::try_from(n) {
        Ok(narrow) if range.contains(&n) => Ok(Value::Integer(narrow)),
        _ if matches!(to, SqlType::TinyInt | SqlType::SmallInt) => Err(SqlError::new(
            220,
            format!("Arithmetic overflow error for data type {to}, value = {n}."),
        )),
        _ => Err(SqlError::overflow(to.name())),
    }
}

/// Binary to integer keeps the low bytes, as two's complement.
fn wrap(n: i128, to: SqlType) -> i128 {
    match to {
        SqlType::TinyInt => n & 0xFF,
        SqlType::SmallInt => i128::from(n as i16),
        SqlType::Int => i128::from(n as i32),
        _ => i128::from(n as i64),
    }
}

fn float(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let x = match value {
        Value::Integer(n) => n as f64,
        Value::Decimal(d) => d.to_f64(),
        Value::Float(x) => x,
        Value::Text(text) => {
            text.trim().parse().map_err(|_| SqlError::conversion_failed(from.name(), to.name()))?
        }
        _ => return Err(clash(from, to)),
    };
    let x = if to == SqlType::Real { f64::from(x as f32) } else { x };
    if x.is_finite() { Ok(Value::Float(x)) } else { Err(SqlError::overflow(to.name())) }
}

fn decimal(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let d = match value {
        Value::Integer(n) => Decimal::new(i128::from(n), 0),
        Value::Decimal(d) => d,
        Value::Float(x) => {
            Decimal::parse(&format!("{x:.15}")).ok_or_else(|| SqlError::overflow(to.name()))?
        }
        Value::Text(text) => Decimal::parse(&text)
            .ok_or_else(|| SqlError::conversion_failed(from.name(), to.name()))?,
        _ => return Err(clash(from, to)),
    };
    let (precision, scale) = to.precision_scale();
    let overflow = || {
        SqlError::overflow(if matches!(to, SqlType::Decimal { .. }) {
            "numeric"
        } else {
            to.name()
        })
    };
    let d = d.rescale(scale).ok_or_else(overflow)?;
    let fits = match to {
        SqlType::Money => i64::try_from(d.unscaled).is_ok(),
        SqlType::SmallMoney => i32::try_from(d.unscaled).is_ok(),
        _ => d.fits(precision),
    };
    if fits { Ok(Value::Decimal(d)) } else { Err(overflow()) }
}

fn read_temporal(text: &str) -> Result<temporal::Parsed> {
    temporal::parse(text).ok_or_else(|| {
        SqlError::new(
            241,
            "Conversion failed when converting date and/or time from character string.",
        )
    })
}

/// Local ticks since 0001-01-01; a time alone is on 1900-01-01.
fn datetime_ticks(value: Value, from: SqlType, to: SqlType) -> Result<i64> {
    Ok(match value {
        Value::Date(day) => day.saturating_mul(TICKS_PER_DAY),
        Value::Time(ticks) => temporal::DAY_1900 * TICKS_PER_DAY + ticks,
        Value::DateTime(ticks) => ticks,
        Value::Offset { utc, minutes } => utc.saturating_add(i64::from(minutes) * TICKS_PER_MINUTE),
        Value::Text(text) => {
            let parsed = read_temporal(&text)?;
            parsed.day * TICKS_PER_DAY + parsed.time
        }
        _ => return Err(clash(from, to)),
    })
}

fn time(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let (_, scale) = to.precision_scale();
    if matches!(value, Value::Date(_)) {
        return Err(clash(from, to));
    }
    let ticks = datetime_ticks(value, from, to)?.rem_euclid(TICKS_PER_DAY);
    // A time that would round up to midnight stays the last one of its day.
    let rounded = temporal::round_to_scale(ticks, scale);
    let unit = 10i64.pow(7u32.saturating_sub(u32::from(scale)));
    Ok(Value::Time(if rounded >= TICKS_PER_DAY { TICKS_PER_DAY - unit } else { rounded }))
}

fn datetime(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let ticks = datetime_ticks(value, from, to)?;
    let rounded = match to {
        SqlType::DateTime => temporal::round_to_datetime(ticks),
        SqlType::SmallDateTime => {
            ticks.saturating_add(TICKS_PER_MINUTE / 2) / TICKS_PER_MINUTE * TICKS_PER_MINUTE
        }
        _ => temporal::round_to_scale(ticks, to.precision_scale().1),
    };
    let first = match to {
        SqlType::DateTime => temporal::DAY_1753 * TICKS_PER_DAY,
        SqlType::SmallDateTime => temporal::DAY_1900 * TICKS_PER_DAY,
        _ => 0,
    };
    let end = if to == SqlType::SmallDateTime {
        (temporal::DAY_SMALL_MAX + 1) * TICKS_PER_DAY
    } else {
        END_OF_TIME
    };
    if (first..end).contains(&rounded) {
        return Ok(Value::DateTime(rounded));
    }
    let (from, to) = (from.name(), to.name());
    Err(SqlError::new(
        242,
        format!(
            "The conversion of a {from} data type to a {to} data type resulted in an out-of-range value."
        ),
    ))
}

fn offset(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let (utc, minutes) = match value {
        Value::Offset { utc, minutes } => (utc, minutes),
        Value::Text(text) => {
            let parsed = read_temporal(&text)?;
            let minutes = parsed.offset.unwrap_or(0);
            (
                parsed.day * TICKS_PER_DAY + parsed.time - i64::from(minutes) * TICKS_PER_MINUTE,
                minutes,
            )
        }
        other => (datetime_ticks(other, from, to)?, 0),
    };
    let utc = temporal::round_to_scale(utc, to.precision_scale().1);
    if (0..END_OF_TIME).contains(&utc) {
        Ok(Value::Offset { utc, minutes })
    } else {
        Err(SqlError::new(517, "Adding a value to a 'datetimeoffset' column caused an overflow."))
    }
}

/// The text of a value, as CAST to varchar gives it.
fn show(value: Value, from: SqlType, to: SqlType) -> Result<String> {
    Ok(match value {
        Value::Text(text) => text,
        Value::Integer(n) => n.to_string(),
        Value::Decimal(d) if from.name().ends_with("money") => {
            d.rescale(2).unwrap_or(d).to_string()
        }
        Value::Decimal(d) => d.to_string(),
        Value::Date(day) => temporal::show_date(day),
        Value::Time(ticks) => temporal::show_time(ticks, from.precision_scale().1),
        Value::DateTime(ticks) if matches!(from, SqlType::DateTime2(_)) => {
            let (day, time) = (ticks.div_euclid(TICKS_PER_DAY), ticks.rem_euclid(TICKS_PER_DAY));
            format!(
                "{} {}",
                temporal::show_date(day),
                temporal::show_time(time, from.precision_scale().1)
            )
        }
        Value::Offset { utc, minutes } => {
            let local = utc.saturating_add(i64::from(minutes) * TICKS_PER_MINUTE);
            let (day, time) = (local.div_euclid(TICKS_PER_DAY), local.rem_euclid(TICKS_PER_DAY));
            let clock = temporal::show_time(time, from.precision_scale().1);
            format!("{} {clock} {}", temporal::show_date(day), temporal::show_offset(minutes))
        }
        Value::Guid(wire) => show_guid(wire),
        Value::Bytes(bytes) if to.is_wide() => text::from_utf16le(&bytes),
        Value::Bytes(bytes) => Collation::default().decode(&bytes),
        // The texts of these depend on styles and language settings that are not implemented.
        Value::Float(_) | Value::DateTime(_) => {
            return Err(SqlError::unsupported(format!(
                "the conversion of {} to {}",
                from.name(),
                to.name()
            )));
        }
        Value::Variant(_) => return Err(clash(from, to)),
        Value::Null => String::new(),
    })
}

fn show_guid(wire: [u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (i, at) in ORDER.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02X}", wire.get(at).copied().unwrap_or_default()));
    }
    text
}

fn read_guid(text: &str) -> Option<[u8; 16]> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let dashes = text.match_indices('-').map(|(at, _)| at).eq([8, 13, 18, 23]);
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    if !dashes || digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut wire = [0u8; 16];
    for (pair, at) in digits.chunks_exact(2).zip(ORDER) {
        *wire.get_mut(at)? = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(wire)
}

fn guid(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    match value {
        Value::Guid(_) => Ok(value),
        Value::Text(text) => read_guid(&text).map(Value::Guid).ok_or_else(|| {
            SqlError::new(
                8169,
                "Conversion failed when converting from a character string to uniqueidentifier.",
            )
        }),
        Value::Bytes(bytes) => match <[u8; 16]>::try_from(bytes.as_slice()) {
            Ok(wire) => Ok(Value::Guid(wire)),
            Err(_) => Err(clash(from, to)),
        },
        _ => Err(clash(from, to)),
    }
}

/// Text is kept as it is but for the declaration, which SQL Server drops, and is not parsed: what is not well formed
/// would be an error there.
fn xml(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
    let text = match value {
        Value::Text(text) => text,
        Value::Bytes(bytes) => match bytes.as_slice() {
            [0xFF, 0xFE, wide @ ..] => text::from_utf16le(wide),
            narrow => {
                String::from_utf8_lossy(narrow.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(narrow))
                    .into_owned()
            }
        },
        _ => return Err(clash(from, to)),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let rest = match text.strip_prefix("<?xml ").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest.trim_start(),
        None => text,
    };
    Ok(Value::Text(rest.to_owned()))
}

fn bytes(value: Value, from: SqlType, to: SqlType) -> Result<Vec<u8>> {
    Ok(match value {
        Value::Bytes(bytes) => bytes,
        Value::Guid(wire) => wire.to_vec(),
        Value::Integer(n) => {
            let width = usize::try_from(from.max_length()).unwrap_or(8).min(8);
            n.to_be_bytes().into_iter().skip(8 - width).collect()
        }
        Value::Text(text) if from.is_wide() || from == SqlType::Xml => text::to_utf16le(&text),
        Value::Text(text) => Collation::default().encode(&text),
        _ => return Err(clash(from, to)),
    })
}

fn truncated() -> SqlError {
    SqlError::new(2628, "String or binary data would be truncated.")
}

fn fit_text(mut value: String, to: SqlType, excess: Excess) -> Result<Value> {
    let (limit, pad, wide) = match to {
        SqlType::Char(n) => (Some(n), true, false),
        SqlType::VarChar(Length::N(n)) => (Some(n), false, false),
        SqlType::NChar(n) => (Some(n), true, true),
        SqlType::NVarChar(Length::N(n)) => (Some(n), false, true),
        _ => (None, false, to.is_wide()),
    };
    if !wide && !value.is_ascii() {
        // What the code page lacks is lost on the way in, as in SQL Server.
        let page = Collation::default();
        value = page.decode(&page.encode(&value));
    }
    let Some(limit) = limit.map(usize::from) else {
        return Ok(Value::Text(value));
    };
    let length = utf16_len(&value);
    if length > limit {
        let units = text::to_utf16(&value);
        let (kept, cut) = units.split_at(limit.min(units.len()));
        // Trailing blanks may always go.
        if excess == Excess::Refuse && cut.iter().any(|unit| *unit != 0x20) {
            return Err(truncated());
        }
        value = text::from_utf16(kept.iter().copied());
    } else if pad {
        value.extend(std::iter::repeat_n(' ', limit - length));
    }
    Ok(Value::Text(value))
}

fn fit_bytes(mut value: Vec<u8>, to: SqlType, excess: Excess) -> Result<Value> {
    let (limit, pad) = match to {
        SqlType::Binary(n) => (usize::from(n), true),
        SqlType::RowVersion => (8, true),
        SqlType::VarBinary(Length::N(n)) => (usize::from(n), false),
        _ => return Ok(Value::Bytes(value)),
    };
    if value.len() > limit && excess == Excess::Refuse {
        return Err(truncated());
    }
    value.truncate(limit);
    if pad {
        value.resize(limit, 0);
    }
    Ok(Value::Bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(value: Value, from: SqlType, to: SqlType) -> Result<Value> {
        convert(value, from, to, Excess::Refuse)
    }

    #[test]
    fn integers_out_of_range_are_refused() {
        let number = |to, n| assign(Value::Integer(n), SqlType::BigInt, to).map_err(|e| e.number);
        assert_eq!(number(SqlType::TinyInt, 256), Err(220));
        assert_eq!(number(SqlType::Int, 1 << 31), Err(8115));
        assert_eq!(number(SqlType::Bit, 7), Ok(Value::Integer(1)));
    }

    #[test]
    fn strings_too_long_are_refused_but_blanks_go() {
        let to = SqlType::NVarChar(Length::N(3));
        let text = |t: &str| {
            assign(Value::Text(t.into()), SqlType::NVarChar(Length::Max), to).map_err(|e| e.number)
        };
        assert_eq!(text("abc   "), Ok(Value::Text("abc".into())));
        assert_eq!(text("abcd"), Err(2628));
        assert_eq!(
            assign(Value::Text("a".into()), to, SqlType::NChar(3)).unwrap(),
            Value::Text("a  ".into())
        );
    }

    #[test]
    fn a_guid_reads_as_it_shows() {
        let text = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
        let wire = read_guid(text).unwrap();
        assert_eq!(wire[..4], [0xFF, 0x19, 0x96, 0x6F]);
        assert_eq!(show_guid(wire), text);
        assert!(read_guid("6F9619FF8B86-D011-B42D-00C04FC964FF-").is_none());
    }
}
