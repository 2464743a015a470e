//! Writes that go row by row: MERGE, and UPDATE whose OUTPUT shows what was there before.
//!
//! A plan is made of queries, all of which are asked before anything is written. Their rows say which row of the table
//! is meant, what is to be done with it, and the values for that.

use sqlparser::ast::{
    Expr, OutputClause, SelectItem, SelectItemQualifiedWildcardKind, Statement, Update,
    Value as Literal, ValueWithSpan,
};

use crate::catalogue::{Column, Encryption, Table};
use crate::error::{Result, SqlError};
use crate::sql::bind::{Bind, Binder, Operand, Source};
use crate::sql::dml::{ROW_VERSION, is_identity, update_from};
use crate::sql::dml_from::joined_name;
use crate::sql::names;
use crate::tds::token::ResultColumn;
use crate::types::{Length, SqlType};

#[derive(Debug, Clone)]
pub(crate) struct RowPlan {
    pub(crate) object_id: i64,
    pub(crate) parts: Vec<Part>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) output: Option<RowOutput>,
    /// A row that is met twice is an error, and not met once.
    pub(crate) strict: bool,
}

/// A query. Its columns: the row's number, the number of the action or NULL for none, values for OUTPUT, values for
/// the actions.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) sql: String,
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Delete,
    Update,
    Insert,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Delete => "DELETE",
            Verb::Update => "UPDATE",
            Verb::Insert => "INSERT",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) verb: Verb,
    /// Its parameters are the values of the query's columns from `first` on and, last, the row's number.
    pub(crate) sql: String,
    pub(crate) first: usize,
    pub(crate) values: usize,
}

/// OUTPUT: what it is made of, column by column.
#[derive(Debug, Clone)]
pub(crate) struct RowOutput {
    pub(crate) columns: Vec<ResultColumn>,
    pub(crate) shown: Vec<Shown>,
    /// SQLite's names of the table's columns, which [`Shown`] counts.
    pub(crate) names: Vec<String>,
    /// Values of the query, as SQLite has them where they are in view.
    sources: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Action,
    Inserted(usize),
    Deleted(usize),
    Source(usize),
}

/// An action before it is known where its values are.
pub(crate) struct Clause {
    /// None is always.
    pub(crate) condition: Option<String>,
    pub(crate) verb: Verb,
    /// SQLite's names of columns, and their values.
    pub(crate) values: Vec<(String, String)>,
}

/// The first two columns of a [`Part`].
const BEFORE_OUTPUT: usize = 2;

impl RowOutput {
    /// How many values of the query it shows.
    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }
}

/// A query and its actions. `row` is the row's number, `from` what follows FROM.
pub(crate) fn part(
    table: &Table,
    (row, from): (&str, &str),
    clauses: Vec<Clause>,
    output: Option<&RowOutput>,
    sources_in_view: bool,
) -> Part {
    let mut which = "CASE".to_owned();
    for (i, clause) in clauses.iter().enumerate() {
        let condition = clause.condition.as_deref().unwrap_or("true");
        which.push_str(&format!(" WHEN {condition} THEN {i}"));
    }
    which.push_str(" END");
    let mut columns = vec![row.to_owned(), which.clone()];
    for source in output.map(|output| output.sources.as_slice()).unwrap_or_default() {
        columns.push(if sources_in_view { source.clone() } else { "NULL".to_owned() });
    }
    let mut first = BEFORE_OUTPUT.saturating_add(output.map_or(0, RowOutput::sources));
    let mut actions = Vec::new();
    for (i, clause) in clauses.into_iter().enumerate() {
        let mut written = Vec::new();
        let mut values = 0usize;
        for (name, value) in clause.values {
            // What has an effect of its own happens where the row is written.
            let value = if value == ROW_VERSION || is_identity(&value) {
                value
            } else {
                // A value that is not needed might not even be possible.
                columns.push(format!("CASE WHEN ({which}) = {i} THEN {value} END"));
                values = values.saturating_add(1);
                format!("?{values}")
            };
            written.push((name, value));
        }
        let sql = statement(table, clause.verb, &written, values.saturating_add(1));
        actions.push(Action { verb: clause.verb, sql, first, values });
        first = first.saturating_add(values);
    }
    Part { sql: format!("SELECT {} FROM {from}", columns.join(", ")), actions }
}

fn statement(table: &Table, verb: Verb, written: &[(String, String)], row: usize) -> String {
    let name = table.sqlite_name();
    let list = |show: &dyn Fn(&(String, String)) -> String| {
        written.iter().map(show).collect::<Vec<_>>().join(", ")
    };
    match verb {
        Verb::Delete => format!("DELETE FROM {name} WHERE rowid = ?{row}"),
        Verb::Update => {
            let sets = list(&|(column, value)| format!("{column} = {value}"));
            format!("UPDATE {name} SET {sets} WHERE rowid = ?{row}")
        }
        Verb::Insert => {
            let (columns, values) = (list(&|pair| pair.0.clone()), list(&|pair| pair.1.clone()));
            format!("INSERT INTO {name} ({columns}) VALUES ({values})")
        }
    }
}

/// Whether a statement is written row by row.
pub(crate) fn by_rows(statement: &Statement) -> bool {
    match statement {
        Statement::Merge(_) => true,
        Statement::Update(update) => needs_rows(update.output.as_ref()),
        _ => false,
    }
}

/// Whether OUTPUT shows what SQLite's RETURNING does not know.
fn needs_rows(output: Option<&OutputClause>) -> bool {
    let Some(OutputClause::Output { select_items, into_table: None, .. }) = output else {
        return false;
    };
    let inserted = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts))
        | SelectItem::ExprWithAlias { expr: Expr::CompoundIdentifier(parts), .. } => {
            parts.first().is_some_and(|part| part.value.eq_ignore_ascii_case("inserted"))
        }
        _ => false,
    };
    !select_items.iter().all(inserted)
}

impl Binder<'_> {
    /// OUTPUT of such a write. What is neither `$action` nor of `inserted` or `deleted` is of the query.
    pub(crate) fn row_output(
        &mut self,
        table: &Table,
        output: Option<&OutputClause>,
    ) -> Result<Option<RowOutput>> {
        let items = match output {
            None => return Ok(None),
            Some(OutputClause::Output { select_items, into_table: None, .. }) => select_items,
            Some(_) => return Err(SqlError::unsupported("OUTPUT INTO")),
        };
        self.require("SELECT", table.object_id, &table.schema, &table.name)?;
        let names = table.columns.iter().map(Column::sqlite_name).collect();
        let mut out =
            RowOutput { columns: Vec::new(), shown: Vec::new(), names, sources: Vec::new() };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.output_item(table, expr, None, &mut out)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.output_item(table, expr, Some(&alias.value), &mut out)?;
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let prefix = names::last(name)?;
                    let pseudo = pseudo_table(&prefix)
                        .ok_or_else(|| SqlError::unsupported(format!("OUTPUT {prefix}.*")))?;
                    for (at, column) in table.columns.iter().enumerate() {
                        out.shown.push(pseudo(at));
                        out.columns.push(shown_column(table, column, None));
                    }
                }
                other => return Err(SqlError::unsupported(format!("OUTPUT {other}"))),
            }
        }
        Ok(Some(out))
    }

    fn output_item(
        &mut self,
        table: &Table,
        expr: &Expr,
        alias: Option<&str>,
        out: &mut RowOutput,
    ) -> Result<()> {
        if is_action(expr) {
            out.shown.push(Shown::Action);
            let ty = SqlType::NVarChar(Length::N(10));
            out.columns.push(ResultColumn::plain(alias.unwrap_or("$action"), ty));
            return Ok(());
        }
        if let Expr::CompoundIdentifier(parts) = expr
            && let [prefix, name] = parts.as_slice()
            && let Some(pseudo) = pseudo_table(&prefix.value)
        {
            let found = (0usize..)
                .zip(&table.columns)
                .find(|(_, column)| column.name.eq_ignore_ascii_case(&name.value));
            let (at, column) = found.ok_or_else(|| SqlError::invalid_column(&name.value))?;
            out.shown.push(pseudo(at));
            out.columns.push(shown_column(table, column, alias));
            return Ok(());
        }
        let operand: Operand = self.scalar(expr)?;
        let name = match (&operand.source, alias) {
            (_, Some(alias)) => alias,
            (Source::Column(name), None) => name,
            _ => "",
        };
        out.shown.push(Shown::Source(out.sources.len()));
        out.columns.push(ResultColumn {
            collation: operand.collation.clone().unwrap_or_default(),
            crypto: operand.encryption.map(Encryption::on_wire),
            ..ResultColumn::plain(name, operand.ty.unwrap_or(SqlType::Int))
        });
        out.sources.push(operand.sql);
        Ok(())
    }

    pub(crate) fn rows(&mut self, statement: &Statement) -> Result<RowPlan> {
        match statement {
            Statement::Merge(merge) => self.merge(merge),
            Statement::Update(update) => self.update_rows(update),
            _ => Err(SqlError::unsupported("this statement")),
        }
    }

    /// `UPDATE ... OUTPUT deleted.x`.
    fn update_rows(&mut self, update: &Update) -> Result<RowPlan> {
        let (table, alias, mut from) = match update_from(update)? {
            Some(from) => self.joined_target(joined_name(update)?, from)?,
            None => {
                let (table, alias) = self.write_target(&update.table.relation)?;
                let from = format!("{} AS {alias}", table.sqlite_name());
                (table, alias, from)
            }
        };
        let output = self.row_output(&table, update.output.as_ref())?;
        let values = self.assignments(&table, &update.assignments)?;
        if let Some(condition) = &update.selection {
            from.push_str(&format!(" WHERE {}", self.condition(condition)?));
        }
        self.scopes.pop();
        self.require_write("UPDATE", &table)?;
        let clause = Clause { condition: None, verb: Verb::Update, values };
        let row = format!("{alias}.rowid");
        let part = part(&table, (&row, &from), vec![clause], output.as_ref(), true);
        Ok(RowPlan {
            object_id: table.object_id,
            parts: vec![part],
            binds: std::mem::take(&mut self.binds),
            output,
            strict: false,
        })
    }
}

fn is_action(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value: Literal::Placeholder(text), .. }) => {
            text.eq_ignore_ascii_case("$action")
        }
        Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case("$action"),
        _ => false,
    }
}

fn pseudo_table(name: &str) -> Option<fn(usize) -> Shown> {
    if name.eq_ignore_ascii_case("inserted") {
        Some(Shown::Inserted)
    } else if name.eq_ignore_ascii_case("deleted") {
        Some(Shown::Deleted)
    } else {
        None
    }
}

fn shown_column(table: &Table, column: &Column, alias: Option<&str>) -> ResultColumn {
    ResultColumn {
        name: alias.unwrap_or(&column.name).to_owned(),
        ty: column.ty,
        collation: column.collation(),
        // There may be nothing that was inserted, or deleted.
        nullable: true,
        identity: false,
        updateable: false,
        crypto: column.encryption.map(Encryption::on_wire),
        table: column.ty.is_legacy().then(|| [table.schema.clone(), table.name.clone()]),
    }
}
