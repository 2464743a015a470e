//! The text of a value, and the value as tiberius has it on the wire.

use std::borrow::Cow;

use tiberius::{
    ColumnData, FromSql, IntoSql, ToSql,
    numeric::Numeric,
    time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time},
};
use uuid::Uuid;

use crate::{
    cases::{Result, hex, unhex},
    civil::{DAYS_TO_1900, clock, days, show_clock, show_date, split_type},
};

/// A value that goes to tiberius as it is.
#[derive(Debug, Clone)]
pub struct Value(ColumnData<'static>);

impl ToSql for Value {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

impl IntoSql<'static> for Value {
    fn into_sql(self) -> ColumnData<'static> {
        self.0
    }
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(data: &'a ColumnData<'static>) -> tiberius::Result<Option<Self>> {
        Ok(Some(Self(data.clone())))
    }
}

impl Value {
    /// The text of a value of `sql_type`.
    pub fn print(&self, sql_type: &str) -> String {
        print(sql_type, &self.0)
    }
}

/// What a case says, or why tiberius cannot say it.
pub enum Writable {
    Value(Value),
    Skip(&'static str),
}

/// The value of a case for a bulk load into a column of `sql_type`, where tiberius itself asks for the
/// column's type.
pub fn parse_for_load(sql_type: &str, text: Option<&str>) -> Result<Writable> {
    let (name, numbers) = split_type(sql_type);
    let scale = numbers.last().copied().unwrap_or(0);
    Ok(match name {
        "decimal" | "numeric" => match text.map(numeric).transpose()? {
            None => Writable::Skip("tiberius declares a NULL as numeric"),
            Some(value) if u16::from(value.precision()) != numbers[0] => {
                Writable::Skip("tiberius declares numeric by the digits of the value")
            }
            Some(_) => return parse(sql_type, text),
        },
        "money" | "smallmoney" => Writable::Skip("tiberius sends no money"),
        "char" | "varchar" => Writable::Skip("tiberius sends text as nvarchar"),
        "time" | "datetime2" | "datetimeoffset" if scale != 7 => {
            Writable::Skip("tiberius declares times with scale 7")
        }
        _ => return parse(sql_type, text),
    })
}

/// The value of a case for a parameter that goes to a column of `sql_type`: what is natural in
/// tiberius, not always of the column's type.
pub fn parse(sql_type: &str, text: Option<&str>) -> Result<Writable> {
    let (name, _) = split_type(sql_type);
    let data = match name {
        "bit" => ColumnData::Bit(text.map(|t| t == "1")),
        "tinyint" => ColumnData::U8(text.map(str::parse).transpose()?),
        "smallint" => ColumnData::I16(text.map(str::parse).transpose()?),
        "int" => ColumnData::I32(text.map(str::parse).transpose()?),
        "bigint" => ColumnData::I64(text.map(str::parse).transpose()?),
        "real" => ColumnData::F32(text.map(real).transpose()?),
        "float" => ColumnData::F64(text.map(float).transpose()?),
        // tiberius has no money; a decimal has all of its digits.
        "decimal" | "numeric" | "money" | "smallmoney" => {
            ColumnData::Numeric(text.map(numeric).transpose()?)
        }
        "char" | "varchar" | "nvarchar" | "nchar" => {
            ColumnData::String(text.map(string).transpose()?.map(Cow::Owned))
        }
        "varbinary" | "binary" => ColumnData::Binary(text.map(bytes).transpose()?.map(Cow::Owned)),
        "uniqueidentifier" => ColumnData::Guid(text.map(Uuid::parse_str).transpose()?),
        "date" => ColumnData::Date(text.map(date).transpose()?),
        "time" => ColumnData::Time(text.map(time).transpose()?),
        "datetime2" => ColumnData::DateTime2(text.map(datetime2).transpose()?),
        "datetimeoffset" => ColumnData::DateTimeOffset(text.map(datetimeoffset).transpose()?),
        "datetime" => ColumnData::DateTime(text.map(datetime).transpose()?),
        "smalldatetime" => ColumnData::SmallDateTime(text.map(smalldatetime).transpose()?),
        other => return Err(format!("no such type: {other}").into()),
    };
    Ok(Writable::Value(Value(data)))
}

/// What an output parameter of `sql_type` is before the call: NULL, whose type the catalogue tells.
pub fn placeholder(sql_type: &str) -> Result<Writable> {
    parse(sql_type, None)
}

/// The text of what was read from a column of `sql_type`.
pub fn print(sql_type: &str, data: &ColumnData<'_>) -> String {
    let shown = match data {
        ColumnData::Bit(v) => v.map(|v| u8::from(v).to_string()),
        ColumnData::U8(v) => v.map(|v| v.to_string()),
        ColumnData::I16(v) => v.map(|v| v.to_string()),
        ColumnData::I32(v) => v.map(|v| v.to_string()),
        ColumnData::I64(v) => v.map(|v| v.to_string()),
        ColumnData::F32(v) => v.map(|v| format!("{:08x}", v.to_bits())),
        // So tiberius hands out money.
        ColumnData::F64(v) if sql_type.ends_with("money") => v.map(|v| format!("{v:.4}")),
        ColumnData::F64(v) => v.map(|v| format!("{:016x}", v.to_bits())),
        ColumnData::Numeric(v) => v.map(show_numeric),
        ColumnData::String(v) => v.as_ref().map(|v| format!("u:{}", hex(v.as_bytes()))),
        ColumnData::Binary(v) => v.as_ref().map(|v| format!("x:{}", hex(v))),
        ColumnData::Guid(v) => v.map(|v| v.to_string()),
        ColumnData::Date(v) => v.map(|v| show_date(i64::from(v.days()))),
        ColumnData::Time(v) => v.map(show_time),
        ColumnData::DateTime2(v) => v.map(|v| show_datetime2(v, 0)),
        ColumnData::DateTimeOffset(v) => v.map(|v| {
            let offset = v.offset();
            let sign = if offset < 0 { '-' } else { '+' };
            let minutes = offset.unsigned_abs();
            let local = show_datetime2(v.datetime2(), offset);
            format!("{local} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }),
        ColumnData::DateTime(v) => v.map(|v| {
            let milliseconds = (u64::from(v.seconds_fragments()) * 1000 + 150) / 300;
            let date = show_date(i64::from(v.days()) + DAYS_TO_1900);
            format!("{date} {}", show_clock(milliseconds, 3))
        }),
        ColumnData::SmallDateTime(v) => v.map(|v| {
            let minutes = v.seconds_fragments();
            let date = show_date(i64::from(v.days()) + DAYS_TO_1900);
            format!("{date} {:02}:{:02}", minutes / 60, minutes % 60)
        }),
        other => Some(format!("unexpected {other:?}")),
    };
    shown.unwrap_or_else(|| "NULL".to_owned())
}

fn real(text: &str) -> Result<f32> {
    Ok(f32::from_bits(u32::from_str_radix(text, 16)?))
}

fn float(text: &str) -> Result<f64> {
    Ok(f64::from_bits(u64::from_str_radix(text, 16)?))
}

fn numeric(text: &str) -> Result<Numeric> {
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let value: i128 = text.replace('.', "").parse()?;
    Ok(Numeric::new_with_scale(value, u8::try_from(scale)?))
}

fn show_numeric(value: Numeric) -> String {
    let scale = usize::from(value.scale());
    let digits = format!("{:0>width$}", value.value().unsigned_abs(), width = scale + 1);
    let sign = if value.value() < 0 { "-" } else { "" };
    match digits.split_at(digits.len() - scale) {
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

fn string(text: &str) -> Result<String> {
    let hex = text.strip_prefix("u:").ok_or("text does not begin with u:")?;
    Ok(String::from_utf8(unhex(hex)?)?)
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    unhex(text.strip_prefix("x:").ok_or("bytes do not begin with x:")?)
}

fn date(text: &str) -> Result<Date> {
    Ok(Date::new(u32::try_from(days(text)?)?))
}

fn time(text: &str) -> Result<Time> {
    let (units, scale) = clock(text)?;
    Ok(Time::new(units, scale))
}

fn show_time(time: Time) -> String {
    show_clock(time.increments(), time.scale())
}

fn datetime2(text: &str) -> Result<DateTime2> {
    let (day, clock) = text.split_once(' ').ok_or("no time of day")?;
    Ok(DateTime2::new(date(day)?, time(clock)?))
}

/// The date and time `minutes` later.
fn show_datetime2(value: DateTime2, minutes: i16) -> String {
    let scale = value.time().scale();
    let unit = 10i64.pow(scale.into());
    let day = 86_400 * unit;
    let units = i64::try_from(value.time().increments()).unwrap_or(0);
    let units = units + i64::from(minutes) * 60 * unit;
    let date = show_date(i64::from(value.date().days()) + units.div_euclid(day));
    format!("{date} {}", show_clock(units.rem_euclid(day).unsigned_abs(), scale))
}

/// On the wire it is the time in UTC.
fn datetimeoffset(text: &str) -> Result<DateTimeOffset> {
    let (local, offset) = text.rsplit_once(' ').ok_or("no offset")?;
    let (day, time_of_day) = local.split_once(' ').ok_or("no time of day")?;
    let (hours, minutes) = offset[1..].split_once(':').ok_or("no minutes of the offset")?;
    let minutes = hours.parse::<i16>()? * 60 + minutes.parse::<i16>()?;
    let offset = if offset.starts_with('-') { -minutes } else { minutes };
    let (units, scale) = clock(time_of_day)?;
    let unit = 10i64.pow(scale.into());
    let utc = i64::try_from(units)? - i64::from(offset) * 60 * unit;
    let days = days(day)? + utc.div_euclid(86_400 * unit);
    let utc = Time::new(utc.rem_euclid(86_400 * unit).unsigned_abs(), scale);
    Ok(DateTimeOffset::new(DateTime2::new(Date::new(u32::try_from(days)?), utc), offset))
}

fn datetime(text: &str) -> Result<DateTime> {
    let (day, time_of_day) = text.split_once(' ').ok_or("no time of day")?;
    let (milliseconds, _) = clock(time_of_day)?;
    let ticks = (milliseconds * 300 + 500) / 1000;
    Ok(DateTime::new(i32::try_from(days(day)? - DAYS_TO_1900)?, u32::try_from(ticks)?))
}

fn smalldatetime(text: &str) -> Result<SmallDateTime> {
    let (day, time_of_day) = text.split_once(' ').ok_or("no time of day")?;
    let (seconds, _) = clock(time_of_day)?;
    let days = u16::try_from(days(day)? - DAYS_TO_1900)?;
    Ok(SmallDateTime::new(days, u16::try_from(seconds / 60)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_that_can_be_written_is_printed_as_it_was_read() {
        for (sql_type, text) in [
            ("date", "0001-01-01"),
            ("date", "2024-02-29"),
            ("date", "9999-12-31"),
            ("time(7)", "23:59:59.9999999"),
            ("datetime2(7)", "1582-10-10 12:00:00.0000000"),
            ("datetimeoffset(7)", "2024-03-15 23:14:15.7654321 -08:00"),
            ("datetime", "9999-12-31 23:59:59.997"),
            ("smalldatetime", "2079-06-06 23:59"),
            ("numeric(3,2)", "-1.23"),
        ] {
            let Ok(Writable::Value(value)) = parse(sql_type, Some(text)) else {
                panic!("{sql_type} {text}");
            };
            assert_eq!(print(sql_type, &value.0), text);
        }
    }
}
