//! INSERT, UPDATE and DELETE.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, ObjectName, OutputClause,
    SelectItem, SetExpr, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

use crate::catalogue::{Column, Encryption, Table};
use crate::error::{Result, SqlError};
use crate::sql::batch;
use crate::sql::bind::{Bind, Binder, Operand, require_implicit};
use crate::sql::encryption::Target;
use crate::sql::names;
use crate::sql::scope::{Scope, ScopeTable, check_hints, table_columns};
use crate::tds::token::ResultColumn;
use crate::types::{SqlType, Value};

/// A bound write. Several statements, for the rows of one INSERT, take effect together or not at all.
#[derive(Debug, Clone)]
pub(crate) struct WritePlan {
    pub(crate) object_id: i64,
    pub(crate) statements: Vec<(String, Vec<Bind>)>,
    /// Of OUTPUT.
    pub(crate) output: Option<Vec<ResultColumn>>,
}

impl WritePlan {
    /// As messages name the statement.
    pub(crate) fn verb(&self) -> &'static str {
        match self.statements.first().and_then(|(sql, _)| sql.split(' ').next()) {
            Some("INSERT") => "INSERT",
            Some("DELETE") => "DELETE",
            _ => "UPDATE",
        }
    }
}

/// The next row version, once for each row.
pub(crate) const ROW_VERSION: &str = "tds_row_version()";
/// The next value of an identity column.
const IDENTITY: &str = "tds_identity";

pub(crate) fn is_identity(value: &str) -> bool {
    value.starts_with(IDENTITY)
}

/// SQL Server's limit on a table value constructor.
const MAX_ROWS: usize = 1000;

impl Binder<'_> {
    pub(crate) fn insert(&mut self, insert: &Insert) -> Result<WritePlan> {
        check_insert(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT into anything but a table"));
        };
        let table = self.table(&self.name(name)?)?.clone();
        self.require_write("INSERT", &table)?;
        let columns = insert_columns(&table, &insert.columns, insert.source.is_none())?;
        let (output, returning) = self.output(&table, insert.output.as_ref(), "inserted")?;
        let mut plan = WritePlan { object_id: table.object_id, statements: Vec::new(), output };
        let Some(source) = &insert.source else {
            return self.insert_defaults(plan, &table, &returning);
        };
        match source.body.as_ref() {
            SetExpr::Values(values) => {
                if values.rows.len() > MAX_ROWS {
                    return Err(SqlError::new(
                        10738,
                        format!(
                            "The number of row value expressions in the INSERT statement exceeds the maximum allowed \
                             number of {MAX_ROWS} row values."
                        ),
                    )
                    .class(15));
                }
                for row in &values.rows {
                    self.binds.clear();
                    let values = self.row(&columns, &row.content)?;
                    let sql = self.insert_sql(&table, &columns, values, &returning)?;
                    plan.statements.push((sql, std::mem::take(&mut self.binds)));
                }
            }
            _ => {
                let query = self.query(source)?;
                if query.columns.len() != columns.len() {
                    return Err(column_count(query.columns.len() < columns.len()));
                }
                let alias = self.alias();
                let sources = query.scope_operands(&alias);
                let mut values = Vec::new();
                for (column, operand) in columns.iter().zip(&sources) {
                    self.check_assignment(&Target::from(*column), operand)?;
                    values.push(self.assigned(column, operand)?);
                }
                let (names, values) = self.complete(&table, &columns, values)?;
                let sql = format!(
                    "INSERT INTO {} ({names}) SELECT {values} FROM ({}) AS {alias} WHERE true{returning}",
                    table.sqlite_name(),
                    query.sql
                );
                plan.statements.push((sql, std::mem::take(&mut self.binds)));
            }
        }
        Ok(plan)
    }

    /// Rows that another statement has given, with the types of their columns.
    pub(crate) fn insert_rows(
        &mut self,
        name: &ObjectName,
        columns: &[ObjectName],
        rows: &[Vec<(Value, SqlType)>],
    ) -> Result<WritePlan> {
        let table = self.table(&self.name(name)?)?.clone();
        self.require_write("INSERT", &table)?;
        self.insert_values(&table, columns, rows)
    }

    /// The same, into a table that has been found.
    pub(crate) fn insert_values(
        &mut self,
        table: &Table,
        columns: &[ObjectName],
        rows: &[Vec<(Value, SqlType)>],
    ) -> Result<WritePlan> {
        let columns = insert_columns(table, columns, false)?;
        let mut plan =
            WritePlan { object_id: table.object_id, statements: Vec::new(), output: None };
        for row in rows {
            if row.len() != columns.len() {
                return Err(SqlError::new(
                    213,
                    "Column name or number of supplied values does not match table definition.",
                ));
            }
            self.binds.clear();
            let mut values = Vec::new();
            for (column, (value, ty)) in columns.iter().zip(row) {
                let operand = self.literal(value, *ty);
                self.check_assignment(&Target::from(*column), &operand)?;
                values.push(self.assigned(column, &operand)?);
            }
            let sql = self.insert_sql(table, &columns, values, "")?;
            plan.statements.push((sql, std::mem::take(&mut self.binds)));
        }
        Ok(plan)
    }

    fn insert_defaults(
        &mut self,
        mut plan: WritePlan,
        table: &Table,
        returning: &str,
    ) -> Result<WritePlan> {
        let sql = self.insert_sql(table, &[], Vec::new(), returning)?;
        plan.statements.push((sql, std::mem::take(&mut self.binds)));
        Ok(plan)
    }

    fn insert_sql(
        &mut self,
        table: &Table,
        columns: &[&Column],
        values: Vec<String>,
        returning: &str,
    ) -> Result<String> {
        let (names, values) = self.complete(table, columns, values)?;
        Ok(format!("INSERT INTO {} ({names}) VALUES ({values}){returning}", table.sqlite_name()))
    }

    pub(crate) fn row(&mut self, columns: &[&Column], row: &[Expr]) -> Result<Vec<String>> {
        if row.len() != columns.len() {
            return Err(column_count(row.len() < columns.len()));
        }
        let mut values = Vec::new();
        for (column, expr) in columns.iter().zip(row) {
            values.push(self.value_for(column, expr)?);
        }
        Ok(values)
    }

    /// The value of one assignment, DEFAULT included.
    fn value_for(&mut self, column: &Column, expr: &Expr) -> Result<String> {
        if let Expr::Identifier(Ident { value, quote_style: None, .. }) = expr
            && value.eq_ignore_ascii_case("default")
        {
            return self.default_of(column);
        }
        let operand = self.scalar(expr)?;
        self.check_assignment(&Target::from(column), &operand)?;
        self.assigned(column, &operand)
    }

    pub(crate) fn assigned(&mut self, column: &Column, operand: &Operand) -> Result<String> {
        if column.ty == SqlType::RowVersion {
            return Err(SqlError::new(
                273,
                "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the \
                 timestamp column, or insert a DEFAULT into the timestamp column.",
            ));
        }
        if column.encryption.is_some() {
            Ok(operand.sql.clone())
        } else {
            require_implicit(operand, column.ty)?;
            self.convert(operand, column.ty, false)
        }
    }

    pub(crate) fn default_of(&mut self, column: &Column) -> Result<String> {
        if column.ty == SqlType::RowVersion {
            return Ok(ROW_VERSION.to_owned());
        }
        let Some(default) = &column.default else {
            return Ok("NULL".to_owned());
        };
        let expr = batch::parse_expression(default)?;
        let operand = self.scalar(&expr)?;
        self.convert(&operand, column.ty, false)
    }

    /// Adds what the column list leaves out: identities and defaults.
    pub(crate) fn complete(
        &mut self,
        table: &Table,
        columns: &[&Column],
        values: Vec<String>,
    ) -> Result<(String, String)> {
        let (names, values): (Vec<_>, Vec<_>) =
            self.completed(table, columns, values)?.into_iter().unzip();
        Ok((names.join(", "), values.join(", ")))
    }

    /// The same, column by column.
    pub(crate) fn completed(
        &mut self,
        table: &Table,
        columns: &[&Column],
        values: Vec<String>,
    ) -> Result<Vec<(String, String)>> {
        let names = columns.iter().map(|column| column.sqlite_name());
        let mut all: Vec<(String, String)> = names.zip(values).collect();
        for column in &table.columns {
            if columns.iter().any(|given| given.id == column.id) {
                continue;
            }
            let value = if column.identity.is_some() {
                format!("{IDENTITY}({})", table.object_id)
            } else {
                self.default_of(column)?
            };
            all.push((column.sqlite_name(), value));
        }
        Ok(all)
    }

    pub(crate) fn update(&mut self, update: &Update) -> Result<WritePlan> {
        if let Some(from) = update_from(update)? {
            return self.update_from(update, from);
        }
        let (table, alias) = self.write_target(&update.table.relation)?;
        let (output, returning) = self.output(&table, update.output.as_ref(), "inserted")?;
        let mut assignments = Vec::new();
        for (column, value) in self.assignments(&table, &update.assignments)? {
            assignments.push(format!("{column} = {value}"));
        }
        let mut sql =
            format!("UPDATE {} AS {alias} SET {}", table.sqlite_name(), assignments.join(", "));
        if let Some(condition) = &update.selection {
            sql.push_str(&format!(" WHERE {}", self.condition(condition)?));
        }
        self.scopes.pop();
        self.require_write("UPDATE", &table)?;
        sql.push_str(&returning);
        let statements = vec![(sql, std::mem::take(&mut self.binds))];
        Ok(WritePlan { object_id: table.object_id, statements, output })
    }

    /// SET: SQLite's names of the columns, and their values.
    pub(crate) fn assignments(
        &mut self,
        table: &Table,
        list: &[Assignment],
    ) -> Result<Vec<(String, String)>> {
        let mut assignments = Vec::new();
        for assignment in list {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(SqlError::syntax("("));
            };
            let name = names::last(name)?;
            let column = table.column(&name).ok_or_else(|| SqlError::invalid_column(&name))?;
            if column.identity.is_some() {
                return Err(SqlError::new(
                    8102,
                    format!("Cannot update identity column '{}'.", column.name),
                ));
            }
            if column.ty == SqlType::RowVersion {
                return Err(SqlError::new(272, "Cannot update a timestamp column."));
            }
            assignments.push((column.sqlite_name(), self.value_for(column, &assignment.value)?));
        }
        let versions = table.columns.iter().filter(|column| column.ty == SqlType::RowVersion);
        assignments.extend(versions.map(|column| (column.sqlite_name(), ROW_VERSION.to_owned())));
        Ok(assignments)
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<WritePlan> {
        let odd =
            delete.returning.is_some() || delete.limit.is_some() || !delete.order_by.is_empty();
        if odd {
            return Err(SqlError::unsupported("this form of DELETE"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        if let [target] = delete.tables.as_slice()
            && delete.using.is_none()
        {
            return self.delete_from(delete, target, from);
        }
        let [TableWithJoins { relation, joins }] = from.as_slice() else {
            return Err(SqlError::unsupported("DELETE from several tables"));
        };
        if !joins.is_empty() || delete.using.is_some() || !delete.tables.is_empty() {
            return Err(SqlError::unsupported("this form of DELETE"));
        }
        let (table, alias) = self.write_target(relation)?;
        let (output, returning) = self.output(&table, delete.output.as_ref(), "deleted")?;
        let mut sql = format!("DELETE FROM {} AS {alias}", table.sqlite_name());
        if let Some(condition) = &delete.selection {
            sql.push_str(&format!(" WHERE {}", self.condition(condition)?));
        }
        self.scopes.pop();
        self.require_write("DELETE", &table)?;
        sql.push_str(&returning);
        let statements = vec![(sql, std::mem::take(&mut self.binds))];
        Ok(WritePlan { object_id: table.object_id, statements, output })
    }

    /// The table of UPDATE or DELETE, in a scope of its own that the caller pops.
    pub(crate) fn write_target(&mut self, target: &TableFactor) -> Result<(Table, String)> {
        let TableFactor::Table { name, alias, with_hints, args: None, .. } = target else {
            return Err(SqlError::unsupported("this target of UPDATE or DELETE"));
        };
        check_hints(with_hints)?;
        let shown = alias.as_ref().map(|alias| alias.name.value.clone());
        let qualified = self.name(name)?;
        let table = self.table(&qualified)?.clone();
        let sqlite_alias = self.alias();
        let scope = ScopeTable {
            name: shown.unwrap_or_else(|| table.name.clone()),
            schema: Some(table.schema.clone()),
            columns: table_columns(&table, &sqlite_alias),
            object_id: Some(table.object_id),
        };
        self.scopes.push(Scope { tables: vec![scope] });
        Ok((table, sqlite_alias))
    }

    /// OUTPUT as SQLite's RETURNING: columns of `inserted` or `deleted`, whichever the statement has as its result.
    pub(crate) fn output(
        &mut self,
        table: &Table,
        output: Option<&OutputClause>,
        pseudo_table: &str,
    ) -> Result<(Option<Vec<ResultColumn>>, String)> {
        let items = match output {
            None => return Ok((None, String::new())),
            Some(OutputClause::Output { select_items, into_table: None, .. }) => select_items,
            Some(_) => return Err(SqlError::unsupported("OUTPUT INTO")),
        };
        self.require("SELECT", table.object_id, &table.schema, &table.name)?;
        let mut columns = Vec::new();
        let mut names = Vec::new();
        for item in items {
            let (expr, alias) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
                other => return Err(SqlError::unsupported(format!("OUTPUT {other}"))),
            };
            let Expr::CompoundIdentifier(parts) = expr else {
                return Err(SqlError::unsupported(format!("OUTPUT {expr}")));
            };
            let [prefix, name] = parts.as_slice() else {
                return Err(SqlError::unsupported(format!("OUTPUT {expr}")));
            };
            if !prefix.value.eq_ignore_ascii_case(pseudo_table) {
                return Err(SqlError::unsupported(format!("OUTPUT {expr}")));
            }
            let column =
                table.column(&name.value).ok_or_else(|| SqlError::invalid_column(&name.value))?;
            names.push(column.sqlite_name());
            columns.push(ResultColumn {
                name: alias.map_or_else(|| column.name.clone(), |alias| alias.value.clone()),
                ty: column.ty,
                collation: column.collation(),
                nullable: column.nullable,
                identity: column.identity.is_some(),
                updateable: false,
                crypto: column.encryption.map(Encryption::on_wire),
                table: column.ty.is_legacy().then(|| [table.schema.clone(), table.name.clone()]),
            });
        }
        Ok((Some(columns), format!(" RETURNING {}", names.join(", "))))
    }
}

fn column_count(too_few: bool) -> SqlError {
    if too_few {
        SqlError::new(
            109,
            "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of \
             values in the VALUES clause must match the number of columns specified in the INSERT statement.",
        )
    } else {
        SqlError::new(
            110,
            "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of \
             values in the VALUES clause must match the number of columns specified in the INSERT statement.",
        )
    }
    .class(15)
}

pub(crate) fn insert_columns<'t>(
    table: &'t Table,
    names: &[ObjectName],
    defaults_only: bool,
) -> Result<Vec<&'t Column>> {
    if names.is_empty() {
        return Ok(table
            .columns
            .iter()
            .filter(|column| !defaults_only && column.identity.is_none())
            .collect());
    }
    let mut columns: Vec<&Column> = Vec::new();
    for name in names {
        let name = names::last(name)?;
        let column = table.column(&name).ok_or_else(|| SqlError::invalid_column(&name))?;
        if column.identity.is_some() {
            return Err(SqlError::new(
                544,
                format!(
                    "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                    table.name
                ),
            ));
        }
        if columns.iter().any(|known| known.id == column.id) {
            return Err(SqlError::new(
                264,
                format!(
                    "The column name '{name}' is specified more than once in the SET clause or column list of an INSERT."
                ),
            ));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// FROM of an UPDATE that has nothing of other dialects.
pub(crate) fn update_from(update: &Update) -> Result<Option<&[TableWithJoins]>> {
    let odd = update.returning.is_some()
        || update.or.is_some()
        || update.limit.is_some()
        || !update.order_by.is_empty()
        || !update.table.joins.is_empty();
    if odd {
        return Err(SqlError::unsupported("this form of UPDATE"));
    }
    match &update.from {
        None => Ok(None),
        Some(UpdateTableFromKind::AfterSet(from)) => Ok(Some(from.as_slice())),
        Some(UpdateTableFromKind::BeforeSet(_)) => Err(SqlError::syntax("FROM")),
    }
}

fn check_insert(insert: &Insert) -> Result<()> {
    let odd = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.on.is_some()
        || insert.returning.is_some()
        || insert.replace_into
        || insert.table_alias.is_some();
    if odd { Err(SqlError::unsupported("this form of INSERT")) } else { Ok(()) }
}
