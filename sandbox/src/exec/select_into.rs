//! SELECT ... INTO: a table made of the columns of a query, and its rows.

use sqlparser::ast::{Expr, ObjectName, Query, SetExpr};

use crate::catalogue::{Column, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::parameters::Parameters;
use crate::exec::query::bind;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::bind::Binder;
use crate::tds::token::CMD_SELECT;
use crate::types::SqlType;
use crate::types::temporal::now_utc;

/// The query without its INTO, and the name in it.
pub(crate) fn split(query: &Query) -> Result<Option<(Query, ObjectName)>> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Ok(None) };
    let Some(into) = &select.into else { return Ok(None) };
    let name = match into.targets.as_slice() {
        [Expr::Identifier(ident)] => ObjectName::from(vec![ident.clone()]),
        [Expr::CompoundIdentifier(parts)] => ObjectName::from(parts.clone()),
        _ => return Err(SqlError::syntax("INTO")),
    };
    if into.temporary || into.unlogged || into.table {
        return Err(SqlError::syntax("INTO"));
    }
    let mut rest = query.clone();
    if let SetExpr::Select(select) = rest.body.as_mut() {
        select.into = None;
    }
    Ok(Some((rest, name)))
}

impl Session {
    pub(crate) fn select_into(
        &mut self,
        query: &Query,
        name: &ObjectName,
        parameters: &Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        self.require_no_row_limit()?;
        let count =
            self.write(response, |session| session.make_from_query(query, name, parameters))?;
        self.values.row_count = i64::try_from(count).unwrap_or(i64::MAX);
        if !self.no_count {
            response.done(CMD_SELECT, u64::try_from(count).ok());
        }
        Ok(())
    }

    fn make_from_query(
        &mut self,
        query: &Query,
        name: &ObjectName,
        parameters: &Parameters,
    ) -> Result<usize> {
        self.refresh()?;
        let name = self.name(name)?;
        let types = parameters.types();
        let mut binder = Binder::new(&self.catalogue, &types, &self.values, false);
        let plan = binder.query(query)?;
        let binds = std::mem::take(&mut binder.binds);
        if !plan.assigned.is_empty() {
            return Err(SqlError::syntax("INTO"));
        }
        let mut columns: Vec<Column> = Vec::new();
        for (id, column) in (1i64..).zip(plan.scope_columns("q")?) {
            if columns.iter().any(|known| known.name.eq_ignore_ascii_case(&column.name)) {
                return Err(SqlError::new(
                    2705,
                    format!(
                        "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than \
                         once.",
                        column.name, name.name
                    ),
                ));
            }
            if column.ty == SqlType::RowVersion {
                return Err(SqlError::unsupported("SELECT ... INTO of a timestamp column"));
            }
            columns.push(Column {
                id,
                name: column.name,
                ty: column.ty,
                collation: column.ty.is_text().then(|| column.collation.unwrap_or_default()),
                nullable: column.nullable,
                identity: None,
                default: None,
                encryption: column.encryption,
            });
        }
        let list: Vec<String> = columns.iter().map(Column::sqlite_name).collect();
        let values: Vec<String> = (0..columns.len()).map(|i| format!("q.r{i}")).collect();
        let table = self.new_table(name, columns)?;
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM ({}) AS q",
            table.sqlite_name(),
            list.join(", "),
            values.join(", "),
            plan.sql
        );
        let mut statement = self.connection.prepare(&sql)?;
        bind(&mut statement, &binds, parameters)?;
        Ok(statement.raw_execute()?)
    }

    /// A table without rows or constraints, whose name must be free.
    pub(crate) fn new_table(
        &mut self,
        name: crate::sql::names::QualifiedName,
        columns: Vec<Column>,
    ) -> Result<Table> {
        self.require_schema(&name.schema)?;
        self.require_create("CREATE TABLE", &name.schema, None)?;
        if self.catalogue.is_object(&name) {
            return Err(SqlError::new(
                2714,
                format!("There is already an object named '{}' in the database.", name.name),
            ));
        }
        let object_id = self.new_table_id(&name)?;
        if object_id < 0 && columns.iter().any(|column| column.encryption.is_some()) {
            return Err(SqlError::unsupported(
                "encrypted columns of temporary tables, whose keys would have to be in tempdb",
            ));
        }
        let table = Table { object_id, schema: name.schema, name: name.name, columns };
        self.connection.execute_batch(&crate::exec::ddl::create_sql(&table))?;
        store::insert_table(&self.connection, &table, now_utc())?;
        self.refresh()?;
        Ok(table)
    }
}
