//! Conditions. T-SQL has no boolean type, so a condition is a kind of its own and becomes SQLite's text at once.

use sqlparser::ast::{BinaryOperator, Expr, InTarget, UnaryOperator};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand};
use crate::sql::expr::{higher, unsupported};
use crate::sql::incomparable::{require_comparable, require_string};
use crate::types::{Collation, Family, SqlType};

impl Binder<'_> {
    pub(crate) fn condition(&mut self, expr: &Expr) -> Result<String> {
        self.deeper(|binder| binder.condition_here(expr))
    }

    fn condition_here(&mut self, expr: &Expr) -> Result<String> {
        match expr {
            Expr::Nested(inner) => Ok(format!("({})", self.condition(inner)?)),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                Ok(format!("NOT ({})", self.condition(expr)?))
            }
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Ok(format!("({} AND {})", self.condition(left)?, self.condition(right)?))
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Ok(format!("({} OR {})", self.condition(left)?, self.condition(right)?))
            }
            Expr::BinaryOp { left, op, right } => {
                let left = self.scalar(left)?;
                let right = self.scalar(right)?;
                self.comparison(op, &left, &right)
            }
            Expr::Between { expr, negated, low, high } => {
                let value = self.scalar(expr)?;
                let low = self.scalar(low)?;
                let high = self.scalar(high)?;
                let from = self.comparison(&BinaryOperator::GtEq, &value, &low)?;
                let to = self.comparison(&BinaryOperator::LtEq, &value, &high)?;
                Ok(format!("{}({from} AND {to})", not(*negated)))
            }
            Expr::IsNull(inner) => Ok(format!("{} IS NULL", self.nullness(inner)?)),
            Expr::IsNotNull(inner) => Ok(format!("{} IS NOT NULL", self.nullness(inner)?)),
            Expr::In { expr, target, negated, .. } => self.membership(expr, target, *negated),
            Expr::Exists { subquery, negated } => {
                let plan = self.subquery(subquery)?;
                Ok(format!("{}EXISTS ({})", not(*negated), plan.sql))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let value = self.scalar(expr)?;
                let pattern = self.scalar(pattern)?;
                let escape =
                    escape_char.as_deref().map(|escape| self.scalar(escape)).transpose()?;
                let sql = self.like(&value, &pattern, escape.as_ref())?;
                Ok(format!("{}{sql}", not(*negated)))
            }
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Function(_) => {
                let near: String = expr.to_string().chars().take(40).collect();
                Err(SqlError::new(
                    4145,
                    format!(
                        "An expression of non-boolean type specified in a context where a condition is expected, \
                         near '{near}'."
                    ),
                )
                .class(15))
            }
            other => Err(unsupported(other)),
        }
    }

    fn nullness(&mut self, expr: &Expr) -> Result<String> {
        Ok(self.scalar(expr)?.sql)
    }

    pub(crate) fn comparison(
        &mut self,
        op: &BinaryOperator,
        left: &Operand,
        right: &Operand,
    ) -> Result<String> {
        let (symbol, equality) = match op {
            BinaryOperator::Eq => ("=", true),
            BinaryOperator::NotEq => ("<>", true),
            BinaryOperator::Lt => ("<", false),
            BinaryOperator::LtEq => ("<=", false),
            BinaryOperator::Gt => (">", false),
            BinaryOperator::GtEq => (">=", false),
            _ => {
                return Err(SqlError::unsupported(format!("the operator {op} in a condition")));
            }
        };
        self.suggest_type(left, right.ty);
        self.suggest_type(right, left.ty);
        if equality {
            if self.check_equality(left, right)? {
                return Ok(format!("{} {symbol} {}", left.sql, right.sql));
            }
        } else {
            self.require_plain(&[left, right])?;
        }
        require_comparable(op, left, right)?;
        let (a, b) = self.comparable(left, right)?;
        Ok(format!("{a} {symbol} {b}"))
    }

    /// Both sides in one representation; the left one carries the collation.
    fn comparable(&mut self, left: &Operand, right: &Operand) -> Result<(String, String)> {
        let (Some(a), Some(b)) = (left.ty, right.ty) else {
            return Ok((left.sql.clone(), right.sql.clone()));
        };
        let collation = self.comparison_collation(left, right)?;
        if a.family() == Family::Bytes && b.family() == Family::Bytes && !same_width(a, b) {
            // The shorter one counts as if it had zeros behind it.
            return Ok((format!("tds_trim({})", left.sql), format!("tds_trim({})", right.sql)));
        }
        if a.family() == b.family() {
            let left = left.clone().with_collation(collation);
            return Ok((left.collated(), right.sql.clone()));
        }
        let common = higher(a, b);
        // Text is compared as the other type; a length that is too short must not cut anything off.
        let left_sql = self.convert(left, common, true)?;
        let right_sql = self.convert(right, common, true)?;
        let left = Operand::expression(left_sql, common).with_collation(collation);
        Ok((left.collated(), right_sql))
    }

    fn comparison_collation(&self, left: &Operand, right: &Operand) -> Result<Option<Collation>> {
        let text = |operand: &Operand| operand.ty.is_some_and(|ty| ty.family() == Family::Text);
        if !text(left) || !text(right) {
            return Ok(None);
        }
        match (&left.collation, &right.collation) {
            (Some(a), Some(b)) if a != b => Err(SqlError::new(
                468,
                format!(
                    "Cannot resolve the collation conflict between \"{}\" and \"{}\" in the equal to operation.",
                    b.name, a.name
                ),
            )),
            (a, b) => Ok(a.clone().or_else(|| b.clone())),
        }
    }

    fn membership(&mut self, expr: &Expr, target: &InTarget, negated: bool) -> Result<String> {
        let value = self.scalar(expr)?;
        match target {
            InTarget::List(list) => {
                let mut parts = Vec::new();
                for item in list {
                    let item = self.scalar(item)?;
                    parts.push(self.comparison(&BinaryOperator::Eq, &value, &item)?);
                }
                Ok(format!("{}({})", not(negated), balanced(&parts)))
            }
            InTarget::Subquery(query) => {
                let plan = self.subquery(query)?;
                let column = plan.single_column()?;
                let inner = self.alias();
                let item = Operand {
                    encryption: plan.encryption_of(0),
                    collation: column.ty.is_text().then(|| column.collation.clone()),
                    ..Operand::expression(format!("{inner}.r0"), column.ty)
                };
                let (left, right) = if self.check_equality(&value, &item)? {
                    (value.sql.clone(), item.sql.clone())
                } else {
                    require_comparable(&BinaryOperator::Eq, &value, &item)?;
                    self.comparable(&value, &item)?
                };
                Ok(format!(
                    "{}({left} IN (SELECT {right} FROM ({}) AS {inner}))",
                    not(negated),
                    plan.sql
                ))
            }
            _ => Err(unsupported(expr)),
        }
    }

    fn like(
        &mut self,
        value: &Operand,
        pattern: &Operand,
        escape: Option<&Operand>,
    ) -> Result<String> {
        let mut all = vec![value, pattern];
        all.extend(escape);
        self.suggest_type(pattern, value.ty);
        self.require_plain(&all)?;
        for (position, operand) in (1usize..).zip(&all) {
            require_string("like", position, operand)?;
        }
        let is_text = |operand: &&Operand| operand.ty.is_none_or(|ty| ty.family() == Family::Text);
        if !all.iter().all(is_text) {
            return Err(SqlError::unsupported("LIKE on anything but strings"));
        }
        let order = self.comparison_collation(value, pattern)?.unwrap_or_default().sqlite_name();
        let escape = escape.map_or("NULL", |escape| escape.sql.as_str());
        Ok(format!("tds_like({}, {}, {escape}, '{order}')", value.sql, pattern.sql))
    }
}

fn same_width(a: SqlType, b: SqlType) -> bool {
    matches!((a, b), (SqlType::Binary(a), SqlType::Binary(b)) if a == b)
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// `a OR b OR ...` as a tree of little depth: SQLite bounds the depth of expressions.
fn balanced(parts: &[String]) -> String {
    match parts {
        [] => "0".to_owned(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} OR {})", balanced(left), balanced(right))
        }
    }
}
