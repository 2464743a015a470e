//! What SQLite is taught: SQL Server's collations, conversions, arithmetic and aggregates.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value as Stored, ValueRef};

use crate::catalogue::Action;
use crate::catalogue::security::PERMISSIONS;
use crate::error::{Result, SqlError};
use crate::exec::like::like;
use crate::sql::names;
use crate::types::collation::{Order, compare};
use crate::types::convert::{Excess, convert};
use crate::types::decimal::Decimal;
use crate::types::{Collation, Family, SqlType, Value, odbc, parse, storage, text};

/// Identity values of the statement that is running: object id to (last value, seed, increment).
#[derive(Debug, Default)]
pub(crate) struct Identities {
    pub(crate) next: HashMap<i64, Identity>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) last: Option<i64>,
    pub(crate) seed: i64,
    pub(crate) increment: i64,
    pub(crate) ty: SqlType,
}

/// MAXRECURSION, if no OPTION says otherwise, which none can here.
const MAX_RECURSION: i64 = 100;

pub(crate) type SharedIdentities = Arc<Mutex<Identities>>;

const PURE: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DETERMINISTIC);

pub(crate) fn register(
    connection: &Connection,
    identities: SharedIdentities,
    row_version: Arc<AtomicI64>,
) -> Result<()> {
    // Not deterministic: each row has a version of its own.
    connection.create_scalar_function(
        "tds_row_version",
        0,
        FunctionFlags::SQLITE_UTF8,
        move |_| {
            let version = row_version.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            Ok(Stored::Blob(version.to_be_bytes().to_vec()))
        },
    )?;
    for (name, order) in [
        ("TDS_CI", Order::IgnoreCase),
        ("TDS_CS", Order::CaseSensitive),
        ("TDS_BIN", Order::Binary),
    ] {
        connection.create_collation(name, move |a: &str, b: &str| compare(order, a, b))?;
    }
    connection.create_collation("TDS_DECIMAL", |a: &str, b: &str| {
        match (storage::decimal(a), storage::decimal(b)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => a.cmp(b),
        }
    })?;
    connection.create_collation("TDS_OFFSET", |a: &str, b: &str| {
        storage::offset_ticks(a).cmp(storage::offset_ticks(b))
    })?;
    scalar(connection, "tds_convert", 4, |context| {
        let from = type_argument(context, 1)?;
        let to = type_argument(context, 2)?;
        let excess = if context.get::<i64>(3).map_err(SqlError::from)? == 0 {
            Excess::Refuse
        } else {
            Excess::CutOff
        };
        let value = storage::load(context.get_raw(0), from)?;
        convert(value, from, to, excess).map(|value| storage::store(&value))
    })?;
    scalar(connection, "tds_arithmetic", 6, |context| {
        let symbol: String = context.get(0).map_err(SqlError::from)?;
        let (a, b) = (type_argument(context, 2)?, type_argument(context, 4)?);
        let result = type_argument(context, 5)?;
        let left = convert(
            storage::load(context.get_raw(1), a)?,
            a,
            operand_type(a, result),
            Excess::CutOff,
        )?;
        let right = convert(
            storage::load(context.get_raw(3), b)?,
            b,
            operand_type(b, result),
            Excess::CutOff,
        )?;
        arithmetic(&symbol, left, right, result).map(|value| storage::store(&value))
    })?;
    scalar(connection, "tds_like", 4, |context| {
        let (ValueRef::Text(_), ValueRef::Text(_)) = (context.get_raw(0), context.get_raw(1))
        else {
            return Ok(Stored::Null);
        };
        let read = |at: usize| context.get::<Option<String>>(at).map_err(SqlError::from);
        let (value, pattern, escape) = (read(0)?, read(1)?, read(2)?);
        let order = match read(3)?.as_deref() {
            Some("TDS_CI") => Order::IgnoreCase,
            Some("TDS_CS") => Order::CaseSensitive,
            _ => Order::Binary,
        };
        let escape = escape.and_then(|text| text.chars().next());
        let matched = like(&value.unwrap_or_default(), &pattern.unwrap_or_default(), escape, order);
        Ok(Stored::Integer(i64::from(matched)))
    })?;
    text_functions(connection)?;
    scalar(connection, "tds_row_count", 1, |context| match context.get_raw(0) {
        ValueRef::Integer(n) if n >= 0 => Ok(Stored::Integer(n)),
        _ => Err(SqlError::new(
            1060,
            "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
        )),
    })?;
    connection.create_scalar_function(
        "tds_identity",
        1,
        FunctionFlags::SQLITE_UTF8,
        move |context| {
            let object_id: i64 = context.get(0)?;
            next_identity(&identities, object_id).map_err(|error| error.carried())
        },
    )?;
    connection.create_aggregate_function("tds_sum", 4, PURE, Sum)?;
    Ok(())
}

fn scalar(
    connection: &Connection,
    name: &str,
    arguments: i32,
    function: impl Fn(&Context<'_>) -> Result<Stored> + Send + 'static,
) -> Result<()> {
    connection.create_scalar_function(name, arguments, PURE, move |context| {
        function(context).map_err(|error| error.carried())
    })?;
    Ok(())
}

fn text_functions(connection: &Connection) -> Result<()> {
    scalar(connection, "tds_len", 1, |context| {
        let value: Option<String> = context.get(0).map_err(SqlError::from)?;
        Ok(value.map_or(Stored::Null, |value| {
            let length = text::utf16_len(value.trim_end_matches(' '));
            Stored::Integer(i64::try_from(length).unwrap_or(i64::MAX))
        }))
    })?;
    scalar(connection, "tds_text", 2, |context| {
        let function: String = context.get(0).map_err(SqlError::from)?;
        let Some(value) = context.get::<Option<String>>(1).map_err(SqlError::from)? else {
            return Ok(Stored::Null);
        };
        Ok(Stored::Text(match function.as_str() {
            "UPPER" => value.to_uppercase(),
            "LOWER" => value.to_lowercase(),
            "LTRIM" => value.trim_start_matches(' ').to_owned(),
            "RTRIM" => value.trim_end_matches(' ').to_owned(),
            _ => value.trim_matches(' ').to_owned(),
        }))
    })?;
    scalar(connection, "tds_trim", 1, |context| {
        let value: Option<Vec<u8>> = context.get(0).map_err(SqlError::from)?;
        Ok(value.map_or(Stored::Null, |mut value| {
            let length =
                value.iter().rposition(|byte| *byte != 0).map_or(0, |at| at.saturating_add(1));
            value.truncate(length);
            Stored::Blob(value)
        }))
    })?;
    scalar(connection, "tds_name", 2, |context| {
        let text: Option<String> = context.get(0).map_err(SqlError::from)?;
        let Some((database, name)) = text.as_deref().and_then(names::in_text) else {
            return Ok(Stored::Null);
        };
        Ok(match context.get::<i64>(1).map_err(SqlError::from)? {
            1 => Stored::Text(name.name),
            2 => Stored::Text(name.schema),
            _ => database.map_or(Stored::Null, Stored::Text),
        })
    })?;
    scalar(connection, "tds_part", 2, |context| {
        let text: Option<String> = context.get(0).map_err(SqlError::from)?;
        let at: Option<i64> = context.get(1).map_err(SqlError::from)?;
        let parts = text.as_deref().and_then(names::split).unwrap_or_default();
        let from_end = at.and_then(|at| usize::try_from(at).ok()).and_then(|at| at.checked_sub(1));
        let part = from_end.and_then(|at| parts.into_iter().rev().nth(at));
        Ok(part.filter(|part| !part.is_empty()).map_or(Stored::Null, Stored::Text))
    })?;
    scalar(connection, "tds_collation_property", 2, |context| {
        let read = |at: usize| context.get::<Option<String>>(at).map_err(SqlError::from);
        let (Some(name), Some(property)) = (read(0)?, read(1)?) else {
            return Ok(Stored::Null);
        };
        match Collation::parse(&name) {
            Ok(collation) => {
                Ok(collation.property(&property).map_or(Stored::Null, Stored::Integer))
            }
            // Not a name of a collation. One that is, but not here, is refused.
            Err(error) if error.number == 448 => Ok(Stored::Null),
            Err(error) => Err(error),
        }
    })?;
    scalar(connection, "tds_type", 2, |context| {
        let property: String = context.get(0).map_err(SqlError::from)?;
        type_property(&property, type_argument(context, 1)?)
    })?;
    scalar(connection, "tds_odbc", 3, |context| {
        let property: String = context.get(0).map_err(SqlError::from)?;
        let nullable: bool = context.get(2).map_err(SqlError::from)?;
        let number = odbc::property(type_argument(context, 1)?, &property, nullable);
        Ok(number.map_or(Stored::Null, Stored::Integer))
    })?;
    scalar(connection, "tds_recursion", 1, |context| {
        let depth: i64 = context.get(0).map_err(SqlError::from)?;
        if depth >= MAX_RECURSION {
            let text = format!(
                "The statement terminated. The maximum recursion {MAX_RECURSION} has been exhausted before statement completion."
            );
            return Err(SqlError::new(530, text));
        }
        Ok(Stored::Integer(depth.saturating_add(1)))
    })?;
    scalar(connection, "tds_action", 2, |context| {
        let text: String = context.get(0).map_err(SqlError::from)?;
        let (delete, update) = Action::pair(&text);
        Ok(match context.get::<i64>(1).map_err(SqlError::from)? {
            0 => Stored::Integer(delete.number()),
            1 => Stored::Integer(update.number()),
            2 => Stored::Text(delete.name().to_owned()),
            _ => Stored::Text(update.name().to_owned()),
        })
    })?;
    scalar(connection, "tds_permission", 1, |context| {
        let name: String = context.get(0).map_err(SqlError::from)?;
        let known = PERMISSIONS.iter().find(|known| known.0 == name);
        Ok(Stored::Text(format!("{:<4}", known.map_or("", |known| known.1))))
    })
}

/// What catalogue views say of a type. `characters` and its followers are INFORMATION_SCHEMA's.
fn type_property(property: &str, ty: SqlType) -> Result<Stored> {
    let (precision, scale) = ty.precision_scale();
    let wide = ty.is_wide();
    let string = matches!(ty.family(), Family::Text | Family::Bytes | Family::Xml)
        && ty != SqlType::RowVersion;
    let longest = i64::from(i32::MAX);
    let exact = matches!(ty.family(), Family::Integer | Family::Decimal) && ty != SqlType::Bit;
    let float = ty.family() == Family::Float;
    let fraction = match ty {
        SqlType::Date | SqlType::SmallDateTime => Some(0),
        _ => matches!(ty.family(), Family::Time | Family::DateTime | Family::Offset)
            .then(|| i64::from(scale)),
    };
    let number = match property {
        "name" => return Ok(Stored::Text(ty.name().to_owned())),
        "system_type_id" => Some(i64::from(ty.system_type_id())),
        "max_length" => Some(ty.max_length()),
        "precision" => Some(i64::from(precision)),
        "scale" => Some(i64::from(scale)),
        "characters" if ty == SqlType::NText => Some(longest / 2),
        "octets" if ty == SqlType::NText => Some(longest - 1),
        "characters" | "octets" if ty.is_legacy() => Some(longest),
        "characters" | "octets" if ty == SqlType::Variant => Some(0),
        "characters" if string && wide && ty.max_length() > 0 => Some(ty.max_length() / 2),
        "characters" | "octets" if string => Some(ty.max_length()),
        "numeric_precision" if exact || float => Some(i64::from(precision)),
        "radix" if exact => Some(10),
        "radix" if float => Some(2),
        "numeric_scale" if exact => Some(i64::from(scale)),
        "fraction" => fraction,
        _ => None,
    };
    Ok(number.map_or(Stored::Null, Stored::Integer))
}

/// A type by its text. SQLite keeps what it parsed for arguments that are constant.
fn type_argument(context: &Context<'_>, at: usize) -> Result<SqlType> {
    let index = i32::try_from(at).unwrap_or(0);
    let ty = context.get_or_create_aux(index, |value| -> std::result::Result<SqlType, SqlError> {
        let lost = || SqlError::new(596, "A type was expected.");
        let text = value.as_str().map_err(|_| lost())?;
        Ok(parse::declarations(&format!("@t {text}"))?.first().ok_or_else(lost)?.ty)
    });
    ty.map(|ty| *ty).map_err(SqlError::from)
}

/// What an operand is converted to before arithmetic: exact numbers keep their own scale.
fn operand_type(operand: SqlType, result: SqlType) -> SqlType {
    match (operand.family(), result.family()) {
        (a, b) if a == b => operand,
        (Family::Integer, Family::Decimal) => {
            let (precision, scale) = operand.precision_scale();
            SqlType::Decimal { precision, scale, named_numeric: true }
        }
        _ => result,
    }
}

fn arithmetic(symbol: &str, left: Value, right: Value, result: SqlType) -> Result<Value> {
    let overflow = || {
        SqlError::overflow(if result.family() == Family::Decimal {
            "numeric"
        } else {
            result.name()
        })
    };
    let by_zero = || SqlError::new(8134, "Divide by zero error encountered.");
    let value = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Integer(a), Value::Integer(b)) => {
            if b == 0 && matches!(symbol, "/" | "%") {
                return Err(by_zero());
            }
            let n = match symbol {
                "+" => a.checked_add(b),
                "-" => a.checked_sub(b),
                "*" => a.checked_mul(b),
                "/" => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            return convert(
                Value::Integer(n.ok_or_else(overflow)?),
                SqlType::BigInt,
                result,
                Excess::Refuse,
            );
        }
        (Value::Float(a), Value::Float(b)) => {
            if b == 0.0 && matches!(symbol, "/" | "%") {
                return Err(by_zero());
            }
            Value::Float(match symbol {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                _ => a % b,
            })
        }
        (Value::Decimal(a), Value::Decimal(b)) => {
            if b.unscaled == 0 && matches!(symbol, "/" | "%") {
                return Err(by_zero());
            }
            let negated = Decimal::new(b.unscaled.saturating_neg(), b.scale);
            Value::Decimal(
                match symbol {
                    "+" => a.add(b),
                    "-" => a.add(negated),
                    "*" => a.mul(b),
                    "/" => a.div(b, result.precision_scale().1),
                    _ => return Err(SqlError::unsupported("the modulo of decimals")),
                }
                .ok_or_else(overflow)?,
            )
        }
        (Value::Text(a), Value::Text(b)) if symbol == "+" => {
            return convert(Value::Text(a + &b), result, result, Excess::CutOff);
        }
        _ => {
            return Err(SqlError::unsupported(format!("the operator {symbol} on these types")));
        }
    };
    convert(value, result, result, Excess::Refuse)
}

fn next_identity(identities: &SharedIdentities, object_id: i64) -> Result<i64> {
    let mut identities = identities.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = || SqlError::new(596, "An identity column has lost its state.");
    let identity = identities.next.get_mut(&object_id).ok_or_else(lost)?;
    let next = match identity.last {
        None => Some(identity.seed),
        Some(last) => last.checked_add(identity.increment),
    };
    let next = next.ok_or_else(|| SqlError::overflow(identity.ty.name()))?;
    convert(Value::Integer(next), SqlType::BigInt, identity.ty, Excess::Refuse).map_err(|_| {
        SqlError::new(
            8115,
            format!("Arithmetic overflow error converting IDENTITY to data type {}.", identity.ty),
        )
    })?;
    identity.last = Some(next);
    Ok(next)
}

/// SUM and AVG of numbers, exact where the numbers are.
struct Sum;

/// The types are: of the values, of the result; and whether it is AVG.
struct Total {
    sum: Value,
    count: i64,
    types: Option<(SqlType, SqlType, bool)>,
}

impl Aggregate<Total, Stored> for Sum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Total> {
        Ok(Total { sum: Value::Null, count: 0, types: None })
    }

    fn step(&self, context: &mut Context<'_>, total: &mut Total) -> rusqlite::Result<()> {
        let step = |total: &mut Total| -> Result<()> {
            let (ty, result, _) = match total.types {
                Some(types) => types,
                None => {
                    let average = context.get::<i64>(3).map_err(SqlError::from)? != 0;
                    *total.types.insert((
                        type_argument(context, 1)?,
                        type_argument(context, 2)?,
                        average,
                    ))
                }
            };
            let value = storage::load(context.get_raw(0), ty)?;
            if value.is_null() {
                return Ok(());
            }
            total.count = total.count.saturating_add(1);
            let wide = if ty.family() == Family::Integer { SqlType::BigInt } else { result };
            let value = convert(value, ty, wide, Excess::Refuse)?;
            let sum = std::mem::replace(&mut total.sum, Value::Null);
            total.sum = if sum.is_null() { value } else { arithmetic("+", sum, value, wide)? };
            Ok(())
        };
        step(total).map_err(|error| error.carried())
    }

    fn finalize(&self, _: &mut Context<'_>, total: Option<Total>) -> rusqlite::Result<Stored> {
        let Some(Total { sum, count, types: Some((ty, result, average)) }) = total else {
            return Ok(Stored::Null);
        };
        let finish = || -> Result<Value> {
            let wide = if ty.family() == Family::Integer { SqlType::BigInt } else { result };
            if average && !sum.is_null() {
                let divisor = convert(
                    Value::Integer(count),
                    SqlType::BigInt,
                    operand_type(SqlType::BigInt, wide),
                    Excess::Refuse,
                )?;
                return convert(arithmetic("/", sum, divisor, wide)?, wide, result, Excess::Refuse);
            }
            convert(sum, wide, result, Excess::Refuse)
        };
        finish().map(|value| storage::store(&value)).map_err(|error| error.carried())
    }
}
