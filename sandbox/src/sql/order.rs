//! What comes last in a query: ORDER BY, TOP, OFFSET and FETCH.

use sqlparser::ast::{
    Expr, Fetch, LimitClause, OrderBy, OrderByKind, OrderBySort, Query, Top, TopQuantity,
    Value as Literal, ValueWithSpan,
};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Source};
use crate::sql::incomparable::require_sortable;
use crate::sql::select::Item;
use crate::types::{SqlType, Value};

impl Binder<'_> {
    pub(super) fn order_by(&mut self, order: &OrderBy, items: &[Item]) -> Result<String> {
        let OrderByKind::Expressions(exprs) = &order.kind else {
            return Err(SqlError::unsupported("ORDER BY ALL"));
        };
        let mut parts = Vec::new();
        for part in exprs {
            let operand = match &part.expr {
                Expr::Value(ValueWithSpan { value: Literal::Number(text, _), .. }) => {
                    let at = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                    let item = at.and_then(|at| items.get(at)).ok_or_else(|| {
                        SqlError::new(
                            108,
                            format!("The ORDER BY position number {text} is out of range of the number of items in the select list."),
                        )
                    })?;
                    item.operand.clone()
                }
                Expr::Identifier(ident) => {
                    match items.iter().find(|i| i.name.eq_ignore_ascii_case(&ident.value)) {
                        Some(item) => item.operand.clone(),
                        None => self.scalar(&part.expr)?,
                    }
                }
                expr => self.scalar(expr)?,
            };
            self.require_plain(&[&operand])?;
            require_sortable(&operand)?;
            let direction = match part.options.sort {
                None | Some(OrderBySort::Asc) => "",
                Some(OrderBySort::Desc) => " DESC",
                Some(_) => return Err(SqlError::unsupported("ORDER BY USING")),
            };
            if part.options.nulls_first.is_some() || part.with_fill.is_some() {
                return Err(SqlError::syntax("NULLS"));
            }
            parts.push(format!("{}{direction}", operand.collated()));
        }
        Ok(format!(" ORDER BY {}", parts.join(", ")))
    }

    /// ORDER BY and OFFSET of a query that is not a single SELECT.
    pub(crate) fn tail(&mut self, query: &Query, items: &[Item]) -> Result<String> {
        let mut sql = match &query.order_by {
            Some(order) => self.order_by(order, items)?,
            None => String::new(),
        };
        sql.push_str(&self.limit(None, Some(query))?);
        Ok(sql)
    }

    pub(super) fn limit(&mut self, top: Option<&Top>, query: Option<&Query>) -> Result<String> {
        let offset = match query.and_then(|query| query.limit_clause.as_ref()) {
            None => None,
            Some(LimitClause::LimitOffset { limit: None, offset: Some(offset), limit_by })
                if limit_by.is_empty() =>
            {
                Some(&offset.value)
            }
            Some(_) => return Err(SqlError::syntax("LIMIT")),
        };
        let count = match (top, query.and_then(|query| query.fetch.as_ref())) {
            (None, None) => None,
            (Some(Top { with_ties: false, percent: false, quantity: Some(quantity) }), None) => {
                Some(match quantity {
                    TopQuantity::Constant(n) => {
                        let n = i64::try_from(*n).unwrap_or(i64::MAX);
                        self.constant(&Value::Integer(n))
                    }
                    TopQuantity::Expr(expr) => self.row_count(expr)?,
                })
            }
            (None, Some(Fetch { with_ties: false, percent: false, quantity: Some(quantity) }))
                if offset.is_some() =>
            {
                Some(self.row_count(quantity)?)
            }
            _ => return Err(SqlError::unsupported("TOP or FETCH in this form")),
        };
        if offset.is_some() && query.is_none_or(|query| query.order_by.is_none()) {
            return Err(SqlError::syntax("OFFSET"));
        }
        let offset = offset.map(|expr| self.row_count(expr)).transpose()?;
        Ok(match (count, offset) {
            (None, None) => String::new(),
            (Some(count), None) => format!(" LIMIT {count}"),
            (count, Some(offset)) => {
                format!(" LIMIT {} OFFSET {offset}", count.unwrap_or_else(|| "-1".to_owned()))
            }
        })
    }

    fn row_count(&mut self, expr: &Expr) -> Result<String> {
        let operand = self.scalar(expr)?;
        self.suggest_type(&operand, Some(SqlType::BigInt));
        self.require_plain(&[&operand])?;
        if matches!(operand.source, Source::Column(_)) {
            return Err(SqlError::unsupported("TOP of a column"));
        }
        let count = self.convert(&operand, SqlType::BigInt, true)?;
        // To SQLite a negative number is no limit at all.
        Ok(format!("tds_row_count({count})"))
    }
}
