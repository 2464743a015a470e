//! Queries made of queries: UNION and its kin, common table expressions, and views.

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    With,
};

use crate::error::{Result, SqlError};
use crate::sql::bind::{Binder, Operand};
use crate::sql::expr::higher;
use crate::sql::incomparable::require_distinguishable;
use crate::sql::scope::{Scope, ScopeColumn, ScopeTable};
use crate::sql::select::{Item, SelectPlan};
use crate::tds::token::ResultColumn;

/// A query with a name, that FROM may use: of WITH, or a view.
#[derive(Debug, Clone)]
pub(crate) struct NamedQuery {
    pub(crate) name: String,
    /// Names for its columns, if not their own.
    pub(crate) columns: Vec<String>,
    pub(crate) query: Query,
}

/// A common table expression that is in its own FROM: its first part, and how the second calls what there is so far.
#[derive(Debug)]
pub(crate) struct Recursive {
    name: String,
    /// SQLite's name for it.
    table: String,
    first: SelectPlan,
    alias: Option<String>,
}

/// Whether what stands for a common table expression is SQLite's name for itself, in [`Recursive`].
pub(crate) fn is_reference(sql: &str) -> bool {
    sql.starts_with("recursive_") && !sql.contains(' ')
}

impl NamedQuery {
    fn of(alias: &TableAlias, query: &Query) -> Self {
        Self {
            name: alias.name.value.clone(),
            columns: alias.columns.iter().map(|column| column.name.value.clone()).collect(),
            query: query.clone(),
        }
    }
}

impl Binder<'_> {
    /// Brings the queries of WITH into view, for as long as the caller keeps them there.
    pub(crate) fn with(&mut self, with: &With) -> Result<()> {
        for table in &with.cte_tables {
            if with.recursive || table.from.is_some() || table.materialized.is_some() {
                return Err(SqlError::syntax("WITH"));
            }
            self.named.push(NamedQuery::of(&table.alias, &table.query));
        }
        Ok(())
    }

    /// A query of WITH by its name. It sees those before it, and nothing around it.
    pub(crate) fn common_table(
        &mut self,
        name: &str,
    ) -> Result<Option<(SelectPlan, Vec<ScopeColumn>, String)>> {
        if let Some(found) = self.self_reference(name)? {
            return Ok(Some(found));
        }
        if self.being_named.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(SqlError::unsupported("recursive common table expressions"));
        }
        let Some(at) = self.named.iter().rposition(|known| known.name.eq_ignore_ascii_case(name))
        else {
            return Ok(None);
        };
        let later = self.named.split_off(at);
        let found = match later.first() {
            Some(named) => self.named_query(&named.clone(), true),
            None => Err(SqlError::syntax("WITH")),
        };
        self.named.extend(later);
        found.map(Some)
    }

    /// A query out of all context, with the columns by which it is known and its alias.
    pub(crate) fn named_query(
        &mut self,
        named: &NamedQuery,
        common_table: bool,
    ) -> Result<(SelectPlan, Vec<ScopeColumn>, String)> {
        let scopes = std::mem::take(&mut self.scopes);
        let before = if common_table { None } else { Some(std::mem::take(&mut self.named)) };
        if common_table {
            self.being_named.push(named.name.clone());
        }
        let recursive = if common_table { self.recursive_query(named) } else { Ok(None) };
        let plan = match recursive {
            Ok(Some(plan)) => Ok(plan),
            Ok(None) => self.subquery(&named.query),
            Err(error) => Err(error),
        };
        if common_table {
            self.being_named.pop();
        }
        if let Some(before) = before {
            self.named = before;
        }
        self.scopes = scopes;
        let mut plan = plan?;
        rename(&mut plan, &named.name, &named.columns)?;
        let alias = self.alias();
        let columns = plan.scope_columns(&alias)?;
        Ok((plan, columns, alias))
    }

    /// A derived table under the names of its alias.
    pub(crate) fn derived_table(
        &mut self,
        query: &Query,
        alias: &TableAlias,
    ) -> Result<SelectPlan> {
        let names: Vec<String> =
            alias.columns.iter().map(|column| column.name.value.clone()).collect();
        let mut plan = match query.body.as_ref() {
            SetExpr::Values(values) => {
                let rows: Vec<&[Expr]> =
                    values.rows.iter().map(|row| row.content.as_slice()).collect();
                let width = rows.first().map_or(0, |row| row.len());
                if rows.iter().any(|row| row.len() != width) {
                    let text = "The number of columns for each row in a table value constructor must be the same.";
                    return Err(SqlError::new(10709, text).class(15));
                }
                let shown =
                    if names.is_empty() { vec![String::new(); width] } else { names.clone() };
                if shown.len() != width {
                    return Err(column_list(&alias.name.value));
                }
                self.in_new_scope(|binder| binder.values_rows(&rows, &shown))?
            }
            _ => self.subquery(query)?,
        };
        rename(&mut plan, &alias.name.value, &names)?;
        Ok(plan)
    }

    /// Halves of the rows, so that many of them are not nested as deep: SQLite bounds the depth.
    fn values_rows(&mut self, rows: &[&[Expr]], names: &[String]) -> Result<SelectPlan> {
        match rows {
            [row] => self.values_row(row, names),
            rows => {
                let (first, second) = rows.split_at(rows.len() / 2);
                let first = self.values_rows(first, names)?;
                let second = self.values_rows(second, names)?;
                self.combine(SetOperator::Union, SetQuantifier::All, &first, &second)
            }
        }
    }

    /// The innermost expression of that name, if its second part is being bound.
    fn self_reference(
        &mut self,
        name: &str,
    ) -> Result<Option<(SelectPlan, Vec<ScopeColumn>, String)>> {
        let found = self.recursive.iter().rposition(|known| known.name.eq_ignore_ascii_case(name));
        let Some(at) = found else { return Ok(None) };
        let alias = self.alias();
        let Some(entry) = self.recursive.get_mut(at) else { return Ok(None) };
        if entry.alias.replace(alias.clone()).is_some() {
            let text = format!(
                "Recursive member of a common table expression '{name}' has multiple recursive references."
            );
            return Err(SqlError::new(253, text));
        }
        let plan = entry.first.clone().wrapped(entry.table.clone());
        let columns = plan.scope_columns(&alias)?;
        Ok(Some((plan, columns, alias)))
    }

    /// `anchor UNION ALL SELECT ... FROM itself`; None if the query is not of that kind.
    fn recursive_query(&mut self, named: &NamedQuery) -> Result<Option<SelectPlan>> {
        let SetExpr::SetOperation { left, op, set_quantifier, right } = named.query.body.as_ref()
        else {
            return Ok(None);
        };
        let SetExpr::Select(second) = right.as_ref() else { return Ok(None) };
        let all = (*op, *set_quantifier) == (SetOperator::Union, SetQuantifier::All);
        let plain = named.query.order_by.is_none() && named.query.limit_clause.is_none();
        if !(all && plain && names_itself(second, &named.name)) {
            return Ok(None);
        }
        let mut first = self.set_operand(left)?;
        for column in &mut first.columns {
            // What the second part may give.
            column.nullable = true;
        }
        if !named.columns.is_empty() && named.columns.len() == first.columns.len() {
            for (column, name) in first.columns.iter_mut().zip(&named.columns) {
                name.clone_into(&mut column.name);
            }
        }
        let table = format!("recursive_{}", self.alias());
        let (name, known) = (named.name.clone(), first.clone());
        self.recursive.push(Recursive { name, table: table.clone(), first: known, alias: None });
        let bound = self.in_new_scope(|binder| binder.select(second, None));
        let entry = self.recursive.pop();
        let bound = bound?;
        let alias = entry.and_then(|entry| entry.alias);
        let (Some(alias), Some(rest)) = (alias, bound.sql.strip_prefix("SELECT ")) else {
            return Err(SqlError::unsupported("this recursive common table expression"));
        };
        if rest.starts_with("DISTINCT ") || rest.contains(" GROUP BY ") {
            let text = format!(
                "DISTINCT operator is not allowed in the recursive part of a recursive common table expression '{}'.",
                named.name
            );
            return Err(SqlError::new(460, text));
        }
        if bound.columns.len() != first.columns.len() {
            return Err(SqlError::new(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of \
                 expressions in their target lists.",
            ));
        }
        for (i, (a, b)) in first.columns.iter().zip(&bound.columns).enumerate() {
            let same = a.ty == b.ty || bound.is_untyped(i);
            if !same || first.encryption_of(i) != bound.encryption_of(i) {
                return Err(SqlError::new(
                    240,
                    format!(
                        "Types don't match between the anchor and the recursive part in column \"{}\" of recursive query \
                         \"{}\".",
                        a.name, named.name
                    ),
                ));
            }
        }
        let list: Vec<String> = (0..first.columns.len()).map(|i| format!("r{i}")).collect();
        let list = list.join(", ");
        let sql = format!(
            "WITH RECURSIVE {table}(depth, {list}) AS (SELECT 0, {list} FROM ({}) UNION ALL SELECT \
             tds_recursion({alias}.depth), {rest}) SELECT {list} FROM {table}",
            first.sql
        );
        Ok(Some(first.wrapped(sql)))
    }

    /// UNION, EXCEPT and INTERSECT, with the ORDER BY and OFFSET of the query that they are.
    pub(crate) fn set_operation(&mut self, body: &SetExpr, query: &Query) -> Result<SelectPlan> {
        let plan = self.set_operand(body)?;
        let alias = self.alias();
        let items: Vec<Item> = plan
            .scope_operands(&alias)
            .into_iter()
            .zip(&plan.columns)
            .map(|(operand, column)| {
                Item::plain(
                    column.name.clone(),
                    operand.with_collation(column.ty.is_text().then(|| column.collation.clone())),
                )
            })
            .collect();
        self.scopes.push(Scope::default());
        let tail = self.tail(query, &items);
        self.scopes.pop();
        let columns: Vec<String> =
            (0..items.len()).map(|i| format!("{alias}.r{i} AS r{i}")).collect();
        let sql = format!("SELECT {} FROM ({}) AS {alias}{}", columns.join(", "), plan.sql, tail?);
        Ok(plan.wrapped(sql))
    }

    fn set_operand(&mut self, body: &SetExpr) -> Result<SelectPlan> {
        match body {
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let left = self.deeper(|binder| binder.set_operand(left))?;
                let right = self.deeper(|binder| binder.set_operand(right))?;
                self.combine(*op, *set_quantifier, &left, &right)
            }
            SetExpr::Select(select) => {
                let plan = self.in_new_scope(|binder| binder.select(select, None))?;
                if plan.assigned.is_empty() { Ok(plan) } else { Err(SqlError::syntax("=")) }
            }
            SetExpr::Query(query) => self.subquery(query),
            _ => Err(SqlError::unsupported("this kind of query")),
        }
    }

    fn combine(
        &mut self,
        op: SetOperator,
        quantifier: SetQuantifier,
        left: &SelectPlan,
        right: &SelectPlan,
    ) -> Result<SelectPlan> {
        let (symbol, distinct) = match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => ("UNION ALL", false),
            (SetOperator::Union, SetQuantifier::None) => ("UNION", true),
            (SetOperator::Except, SetQuantifier::None) => ("EXCEPT", true),
            (SetOperator::Intersect, SetQuantifier::None) => ("INTERSECT", true),
            (op, _) => return Err(SqlError::syntax(&op.to_string())),
        };
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::new(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of \
                 expressions in their target lists.",
            ));
        }
        let (a, b) = (self.alias(), self.alias());
        let mut columns = Vec::new();
        let (mut from_left, mut from_right) = (Vec::new(), Vec::new());
        let sides = left.scope_operands(&a).into_iter().zip(right.scope_operands(&b));
        for (i, (l, r)) in sides.enumerate() {
            let column = self.combined(left, right, i, (&l, &r), distinct)?;
            let convert = |side: &Operand| match side.encryption {
                Some(_) => Ok(side.sql.clone()),
                // NULL is NULL, whatever the other side is encrypted with.
                None if column.crypto.is_some() => Ok("NULL".to_owned()),
                None => self.convert(side, column.ty, true),
            };
            let collation = column.ty.is_text().then(|| column.collation.clone());
            let first = Operand {
                encryption: l.encryption.or(r.encryption),
                ..Operand::expression(convert(&l)?, column.ty)
            };
            from_left.push(format!("{} AS r{i}", first.with_collation(collation).collated()));
            from_right.push(format!("{} AS r{i}", convert(&r)?));
            columns.push(column);
        }
        let sql = format!(
            "SELECT {} FROM ({}) AS {a} {symbol} SELECT {} FROM ({}) AS {b}",
            from_left.join(", "),
            left.sql,
            from_right.join(", "),
            right.sql
        );
        // A compound on one side must stay one: SQLite knows no parentheses here.
        let whole = self.alias();
        let names: Vec<String> =
            (0..columns.len()).map(|i| format!("{whole}.r{i} AS r{i}")).collect();
        let sql = format!("SELECT {} FROM ({sql}) AS {whole}", names.join(", "));
        Ok(SelectPlan::combined(sql, columns, left, right))
    }

    /// The column that two make.
    fn combined(
        &mut self,
        left: &SelectPlan,
        right: &SelectPlan,
        i: usize,
        (l, r): (&Operand, &Operand),
        distinct: bool,
    ) -> Result<ResultColumn> {
        let missing = || SqlError::syntax("UNION");
        let (a, b) =
            (left.columns.get(i).ok_or_else(missing)?, right.columns.get(i).ok_or_else(missing)?);
        let untyped = left.is_untyped(i) || right.is_untyped(i);
        if !untyped && (l.encryption != r.encryption || (l.encryption.is_some() && a.ty != b.ty)) {
            let scheme = self.catalogue.describe_encryption(l.encryption);
            return Err(self.scheme_mismatch(&[r, l], &scheme));
        }
        if distinct {
            self.require_groupable(l)?;
            require_distinguishable(l)?;
            require_distinguishable(r)?;
        }
        let ty = match (left.is_untyped(i), right.is_untyped(i)) {
            (true, false) => b.ty,
            (false, true) => a.ty,
            _ if l.encryption.or(r.encryption).is_some() => a.ty,
            _ => higher(a.ty, b.ty),
        };
        let collation = if a.ty.is_text() { &a.collation } else { &b.collation };
        Ok(ResultColumn {
            name: a.name.clone(),
            ty,
            collation: collation.clone(),
            nullable: a.nullable || b.nullable,
            identity: false,
            updateable: false,
            crypto: a.crypto.or(b.crypto),
            table: None,
        })
    }
}

fn rename(plan: &mut SelectPlan, name: &str, columns: &[String]) -> Result<()> {
    if columns.is_empty() {
        return Ok(());
    }
    if columns.len() != plan.columns.len() {
        return Err(column_list(name));
    }
    for (column, name) in plan.columns.iter_mut().zip(columns) {
        name.clone_into(&mut column.name);
    }
    Ok(())
}

fn column_list(name: &str) -> SqlError {
    let text = format!("'{name}' has more columns than were specified in the column list.");
    SqlError::new(8158, text)
}

/// Whether FROM has the name, in a join or by itself.
fn names_itself(select: &Select, name: &str) -> bool {
    let is = |factor: &TableFactor| matches!(factor, TableFactor::Table { name: ObjectName(parts), .. } if matches!(parts.as_slice(), [part] if part.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(name))));
    select
        .from
        .iter()
        .any(|from| is(&from.relation) || from.joins.iter().any(|join| is(&join.relation)))
}

/// Of a view or a common table expression.
pub(crate) fn derived(name: String, columns: Vec<ScopeColumn>) -> ScopeTable {
    ScopeTable { name, schema: None, columns, object_id: None }
}
