//! ROW_NUMBER and its kin, and STRING_AGG, which are alike in that they bring an order of their own.

use sqlparser::ast::{Expr, Function, FunctionArgExpr, OrderByExpr, OrderBySort, WindowType};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand};
use crate::types::{Length, SqlType};

/// Functions that have no other window than this: a partition, and an order.
const RANKING: &[&str] = &["ROW_NUMBER", "RANK", "DENSE_RANK"];

impl Binder<'_> {
    /// A ranking function, if it is one.
    pub(crate) fn ranking(&mut self, name: &str, function: &Function) -> Result<Option<Operand>> {
        let (Some(window), true) = (&function.over, RANKING.contains(&name)) else {
            return Ok(None);
        };
        let WindowType::WindowSpec(spec) = window else {
            return Err(SqlError::unsupported("named windows"));
        };
        if !self.aggregates_allowed {
            let text = "Windowed functions can only appear in the SELECT or ORDER BY clauses.";
            return Err(SqlError::new(4108, text).class(15));
        }
        if spec.order_by.is_empty() {
            let text = format!("The function '{name}' must have an OVER clause with ORDER BY.");
            return Err(SqlError::new(4112, text).class(15));
        }
        if spec.window_frame.is_some() || spec.window_name.is_some() {
            let text = format!("The function '{name}' may not have a window frame.");
            return Err(SqlError::new(10752, text).class(15));
        }
        let mut parts = Vec::new();
        if !spec.partition_by.is_empty() {
            let mut keys = Vec::new();
            for expr in &spec.partition_by {
                let key = self.scalar(expr)?;
                self.require_groupable(&key)?;
                keys.push(key.collated());
            }
            parts.push(format!("PARTITION BY {}", keys.join(", ")));
        }
        parts.push(format!("ORDER BY {}", self.order_of(&spec.order_by)?));
        let sql = format!("{}() OVER ({})", name.to_ascii_lowercase(), parts.join(" "));
        Ok(Some(Operand::expression(sql, SqlType::BigInt)))
    }

    fn order_of(&mut self, order: &[OrderByExpr]) -> Result<String> {
        let mut keys = Vec::new();
        for part in order {
            let key = self.scalar(&part.expr)?;
            self.require_plain(&[&key])?;
            let direction = match part.options.sort {
                None | Some(OrderBySort::Asc) => "",
                Some(OrderBySort::Desc) => " DESC",
                Some(_) => return Err(SqlError::syntax("USING")),
            };
            if part.options.nulls_first.is_some() || part.with_fill.is_some() {
                return Err(SqlError::syntax("NULLS"));
            }
            keys.push(format!("{}{direction}", key.collated()));
        }
        Ok(keys.join(", "))
    }

    /// STRING_AGG, with WITHIN GROUP or without.
    pub(crate) fn string_agg(
        &mut self,
        function: &Function,
        arguments: &[&FunctionArgExpr],
    ) -> Result<Operand> {
        let [FunctionArgExpr::Expr(value), FunctionArgExpr::Expr(separator)] = arguments else {
            return Err(SqlError::syntax("STRING_AGG"));
        };
        self.inside_aggregate(|binder| {
            let value = binder.scalar(value)?;
            let separator = binder.separator(separator)?;
            binder.require_plain(&[&value, &separator])?;
            let result = match value.ty {
                Some(SqlType::VarChar(Length::Max)) => SqlType::VarChar(Length::Max),
                Some(SqlType::VarChar(_) | SqlType::Char(_)) => SqlType::VarChar(Length::N(8000)),
                Some(SqlType::NVarChar(Length::Max)) => SqlType::NVarChar(Length::Max),
                _ => SqlType::NVarChar(Length::N(4000)),
            };
            let values = binder.convert(&value, result, true)?;
            let between = binder.convert(&separator, result, true)?;
            let order = if function.within_group.is_empty() {
                String::new()
            } else {
                format!(" ORDER BY {}", binder.order_of(&function.within_group)?)
            };
            let sql = format!("group_concat({values}, {between}{order})");
            Ok(Operand::expression(sql, result).with_collation(value.collation))
        })
    }

    fn separator(&mut self, expr: &Expr) -> Result<Operand> {
        let separator = self.scalar(expr)?;
        if separator.ty.is_none_or(|ty| !ty.is_text()) {
            return Err(SqlError::new(
                8116,
                "Argument data type is invalid for argument 2 of string_agg function.",
            ));
        }
        Ok(separator)
    }
}
