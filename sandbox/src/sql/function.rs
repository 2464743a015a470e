//! Functions, aggregates and global variables.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand};
use crate::sql::incomparable::{require_distinguishable, require_string};
use crate::sql::names;
use crate::types::temporal::now_utc;
use crate::types::{Family, Length, SqlType, Value};

/// What `SELECT @@VERSION` says.
const VERSION: &str = "Microsoft SQL Server 2022 stand-in (always-encrypted-sandbox) - 16.0.4100.0";

pub(super) const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));

impl Binder<'_> {
    pub(crate) fn function(&mut self, function: &Function) -> Result<Operand> {
        let name = names::last(&function.name)?.to_ascii_uppercase();
        if let Some(operand) = self.ranking(&name, function)? {
            return Ok(operand);
        }
        let ordered = name == "STRING_AGG";
        let odd = function.filter.is_some()
            || function.over.is_some()
            || (!ordered && !function.within_group.is_empty())
            || function.null_treatment.is_some();
        if odd {
            return Err(SqlError::unsupported(format!("{name} with OVER, FILTER or WITHIN GROUP")));
        }
        let (distinct, arguments) = arguments(&name, &function.args)?;
        if ordered {
            return self.string_agg(function, &arguments);
        }
        if let "COUNT" | "COUNT_BIG" | "MIN" | "MAX" | "SUM" | "AVG" = name.as_str() {
            return self.aggregate(&name, distinct, &arguments);
        }
        if distinct {
            return Err(SqlError::syntax("DISTINCT"));
        }
        let mut exprs = Vec::new();
        for argument in arguments {
            match argument {
                FunctionArgExpr::Expr(expr) => exprs.push(expr),
                _ => return Err(SqlError::syntax("*")),
            }
        }
        if let Some(operand) = self.clock(&name, exprs.len()) {
            return Ok(operand);
        }
        match self.metadata_function(&name, &exprs)? {
            Some(operand) => Ok(operand),
            None => self.value_function(&name, &exprs),
        }
    }

    /// Binds what an aggregate is of: any column, and no aggregate.
    pub(super) fn inside_aggregate(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Result<Operand>,
    ) -> Result<Operand> {
        if !self.aggregates_allowed {
            return Err(misplaced());
        }
        self.saw_aggregate = true;
        let grouping = self.grouping.take();
        self.aggregates_allowed = false;
        let operand = bind(self);
        self.aggregates_allowed = true;
        self.grouping = grouping;
        operand
    }

    fn aggregate(
        &mut self,
        name: &str,
        distinct: bool,
        arguments: &[&FunctionArgExpr],
    ) -> Result<Operand> {
        if !self.aggregates_allowed {
            return Err(misplaced());
        }
        self.saw_aggregate = true;
        let count_type = if name == "COUNT_BIG" { SqlType::BigInt } else { SqlType::Int };
        if let ("COUNT" | "COUNT_BIG", [FunctionArgExpr::Wildcard], false) =
            (name, arguments, distinct)
        {
            return Ok(Operand::expression("count(*)".to_owned(), count_type));
        }
        let [FunctionArgExpr::Expr(expr)] = arguments else {
            return Err(SqlError::syntax(name));
        };
        let operand = self.inside_aggregate(|binder| binder.scalar(expr))?;
        let modifier = if distinct { "DISTINCT " } else { "" };
        if name.starts_with("COUNT") {
            if distinct {
                self.require_groupable(&operand)?;
                require_distinguishable(&operand)?;
            }
            return Ok(Operand::expression(
                format!("count({modifier}{})", operand.collated()),
                count_type,
            ));
        }
        self.require_plain(&[&operand])?;
        let ty = operand.ty.unwrap_or(SqlType::Int);
        let bad = || {
            let lower = name.to_ascii_lowercase();
            SqlError::new(
                8117,
                format!("Operand data type {} is invalid for {lower} operator.", ty.name()),
            )
        };
        if matches!(name, "MIN" | "MAX") {
            if ty == SqlType::Bit || ty.is_legacy() || ty == SqlType::Xml {
                return Err(bad());
            }
            if ty == SqlType::Variant {
                return Err(SqlError::unsupported("the order of sql_variant"));
            }
            let sql = format!("{}({})", name.to_ascii_lowercase(), operand.collated());
            return Ok(Operand::expression(sql, ty).with_collation(operand.collation));
        }
        if !ty.is_numeric() || ty == SqlType::Bit {
            return Err(bad());
        }
        let result = match (ty, name) {
            (SqlType::TinyInt | SqlType::SmallInt, _) => SqlType::Int,
            (SqlType::Real, _) => SqlType::Float,
            (SqlType::SmallMoney, _) => SqlType::Money,
            (SqlType::Decimal { scale, .. }, "SUM") => {
                SqlType::Decimal { precision: 38, scale, named_numeric: true }
            }
            (SqlType::Decimal { scale, .. }, _) => {
                SqlType::Decimal { precision: 38, scale: scale.max(6), named_numeric: true }
            }
            (ty, _) => ty,
        };
        let average = u8::from(name == "AVG");
        Ok(Operand::expression(
            format!("tds_sum({modifier}{}, '{ty}', '{result}', {average})", operand.sql),
            result,
        ))
    }

    /// The functions of the clock. All of one statement see the same instant only by chance, as in SQL Server.
    fn clock(&mut self, name: &str, arguments: usize) -> Option<Operand> {
        if arguments != 0 {
            return None;
        }
        let now = now_utc();
        Some(match name {
            "GETDATE" | "GETUTCDATE" | "CURRENT_TIMESTAMP" => {
                let rounded = crate::types::temporal::round_to_datetime(now);
                self.literal(&Value::DateTime(rounded), SqlType::DateTime)
            }
            "SYSDATETIME" | "SYSUTCDATETIME" => {
                self.literal(&Value::DateTime(now), SqlType::DateTime2(7))
            }
            "SYSDATETIMEOFFSET" => {
                self.literal(&Value::Offset { utc: now, minutes: 0 }, SqlType::DateTimeOffset(7))
            }
            "NEWID" => Operand::expression("randomblob(16)".to_owned(), SqlType::UniqueIdentifier),
            _ => return None,
        })
    }

    fn value_function(&mut self, name: &str, arguments: &[&Expr]) -> Result<Operand> {
        let mut operands = Vec::new();
        for argument in arguments {
            operands.push(self.scalar(argument)?);
        }
        let all: Vec<&Operand> = operands.iter().collect();
        let text = |operand: &Operand| operand.ty.filter(|ty| ty.family() == Family::Text);
        if let "LEN" | "UPPER" | "LOWER" | "LTRIM" | "RTRIM" | "TRIM" | "QUOTENAME" = name {
            for (position, operand) in (1usize..).zip(&operands) {
                require_string(name, position, operand)?;
            }
        }
        match (name, operands.as_slice()) {
            ("ISNULL", [first, second]) => {
                self.require_plain(&all)?;
                let ty = first.ty.or(second.ty).unwrap_or(SqlType::Int);
                let (a, b) = (self.convert(first, ty, true)?, self.convert(second, ty, true)?);
                Ok(Operand::expression(format!("coalesce({a}, {b})"), ty)
                    .with_collation(first.collation.clone()))
            }
            ("COALESCE", [_, _, ..]) => {
                let (ty, collation) = self.common_type(&operands)?;
                let parts = operands
                    .iter()
                    .map(|o| self.convert(o, ty, true))
                    .collect::<Result<Vec<_>>>()?
                    .join(", ");
                Ok(Operand::expression(format!("coalesce({parts})"), ty).with_collation(collation))
            }
            ("LEN", [value]) if text(value).is_some() => {
                self.require_plain(&all)?;
                Ok(Operand::expression(format!("tds_len({})", value.sql), SqlType::Int))
            }
            ("UPPER" | "LOWER" | "LTRIM" | "RTRIM" | "TRIM", [value]) => {
                self.require_plain(&all)?;
                let Some(ty) = text(value) else {
                    return Err(SqlError::unsupported(format!("{name} of anything but a string")));
                };
                let ty = match ty {
                    SqlType::Char(n) => SqlType::VarChar(Length::N(n)),
                    SqlType::NChar(n) => SqlType::NVarChar(Length::N(n)),
                    ty => ty,
                };
                let sql = format!("tds_text('{name}', {})", value.sql);
                Ok(Operand::expression(sql, ty).with_collation(value.collation.clone()))
            }
            ("QUOTENAME", [value]) if text(value).is_some() => {
                self.require_plain(&all)?;
                let sql = format!("('[' || replace({}, ']', ']]') || ']')", value.sql);
                Ok(Operand::expression(sql, SqlType::NVarChar(Length::N(258))))
            }
            _ => Err(SqlError::new(
                195,
                format!("'{name}' is not a built-in function that the sandbox supports."),
            )
            .class(15)),
        }
    }

    /// `@@VERSION` and its kin.
    pub(crate) fn global(&mut self, name: &str) -> Result<Operand> {
        let integer = |binder: &mut Self, n: i64, ty| Ok(binder.literal(&Value::Integer(n), ty));
        match name.to_ascii_uppercase().as_str() {
            "@@VERSION" => {
                Ok(self
                    .literal(&Value::Text(VERSION.to_owned()), SqlType::NVarChar(Length::N(300))))
            }
            "@@SERVERNAME" => Ok(self.literal(&Value::Text("sandbox".to_owned()), SYSNAME)),
            "@@LANGUAGE" => Ok(self.literal(&Value::Text("us_english".to_owned()), SYSNAME)),
            "@@ROWCOUNT" => integer(self, self.session.row_count, SqlType::Int),
            "@@TRANCOUNT" => integer(self, self.session.transaction_count, SqlType::Int),
            "@@SPID" => integer(self, self.session.spid, SqlType::SmallInt),
            "@@ERROR" => integer(self, self.session.error, SqlType::Int),
            "@@MAX_PRECISION" => integer(self, 38, SqlType::TinyInt),
            "@@IDENTITY" => self.scope_identity(),
            other => Err(SqlError::unsupported(format!("the global variable {other}"))),
        }
    }
}

/// 147.
fn misplaced() -> SqlError {
    SqlError::new(
        147,
        "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a \
         select list, and the column being aggregated is an outer reference.",
    )
}

fn arguments<'a>(
    name: &str,
    arguments: &'a FunctionArguments,
) -> Result<(bool, Vec<&'a FunctionArgExpr>)> {
    let list = match arguments {
        FunctionArguments::None => return Ok((false, Vec::new())),
        FunctionArguments::List(list) if list.clauses.is_empty() => list,
        _ => return Err(SqlError::unsupported(format!("these arguments of {name}"))),
    };
    let mut exprs = Vec::new();
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(expr) => exprs.push(expr),
            _ => return Err(SqlError::unsupported(format!("named arguments of {name}"))),
        }
    }
    Ok((list.duplicate_treatment == Some(DuplicateTreatment::Distinct), exprs))
}
