//! Runs bound statements on SQLite: rows to tokens, counts, and SQLite's constraint errors as SQL Server's.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Row, Statement};
use sqlparser::ast::{Query, Statement as SqlStatement};

use crate::catalogue::{Catalogue, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::functions::Identity;
use crate::exec::parameters::{Argument, Parameters};
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::bind::{Bind, Binder};
use crate::sql::dml::WritePlan;
use crate::sql::row_plan;
use crate::sql::select::{FIRST_ROW_VALUE, PerRow, SelectPlan};
use crate::tds::token::{
    self, CMD_DELETE, CMD_INSERT, CMD_MERGE, CMD_SELECT, CMD_UPDATE, CekEntry, ResultColumn,
    TOKEN_NBCROW, TOKEN_ROW,
};
use crate::tds::type_info::write_value;
use crate::types::{SqlType, Value, storage};

/// What a write has done.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) count: u64,
    /// ROW tokens of OUTPUT.
    pub(crate) rows: Vec<u8>,
    pub(crate) identity: Option<i64>,
}

impl Session {
    pub(crate) fn run_query(
        &mut self,
        query: &Query,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        if !self.options.format_only {
            self.begin_if_implicit(response)?;
        }
        let types = parameters.types();
        let mut binder = Binder::new(&self.catalogue, &types, &self.values, false);
        let plan = binder.query(query)?;
        let binds = std::mem::take(&mut binder.binds);
        if !plan.assigned.is_empty() {
            return self.assign_selected(&plan, &binds, parameters, response);
        }
        if let Some(capture) = &mut self.capture {
            let mut statement = self.connection.prepare(&plan.sql)?;
            bind(&mut statement, &binds, parameters)?;
            return capture.take(&plan, &mut statement);
        }
        let table = self.cek_table(&plan.columns)?;
        let mut statement = self.connection.prepare(&plan.sql)?;
        bind(&mut statement, &binds, parameters)?;
        response.token(|out| token::col_metadata(out, &plan.columns, table.as_deref()));
        let mut rows = statement.raw_query();
        let mut count = 0u64;
        let mut buffer = Vec::new();
        while self.options.takes_row(count)
            && let Some(row) = rows.next()?
        {
            buffer.clear();
            write_row(&mut buffer, &values(row, plan.columns.len())?, &plan.columns)?;
            response.token(|out| out.extend_from_slice(&buffer));
            count = count.saturating_add(1);
            response.flow()?;
        }
        self.values.row_count = i64::try_from(count).unwrap_or(i64::MAX);
        response.done(CMD_SELECT, Some(count));
        Ok(())
    }

    /// `SELECT @x = ...`: the last row stays, and without a row everything stays as it was.
    fn assign_selected(
        &mut self,
        plan: &SelectPlan,
        binds: &[Bind],
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        if self.options.format_only {
            return Ok(());
        }
        if let Some(per_row) = &plan.per_row {
            let count = self.assign_each(plan, per_row, binds, parameters)?;
            self.assigned(count, response);
            return Ok(());
        }
        let mut statement = self.connection.prepare(&self.limited(&plan.sql))?;
        bind(&mut statement, binds, parameters)?;
        let mut rows = statement.raw_query();
        let mut count = 0u64;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let mut values = Vec::new();
            for (i, column) in plan.columns.iter().enumerate() {
                let value = storage::load(row.get_ref(i)?, column.wire_type())?;
                values.push(match plan.encryption_of(i) {
                    None => Argument::Plain(value),
                    Some(encryption) => Argument::cell(value, encryption),
                });
            }
            last = Some(values);
            count = count.saturating_add(1);
        }
        drop(rows);
        drop(statement);
        for (target, value) in plan.assigned.iter().zip(last.into_iter().flatten()) {
            parameters.set(*target, value);
        }
        self.assigned(count, response);
        Ok(())
    }

    /// `SELECT @x = @x + ...`: row by row.
    fn assign_each(
        &self,
        plan: &SelectPlan,
        per_row: &PerRow,
        binds: &[Bind],
        parameters: &mut Parameters,
    ) -> Result<u64> {
        let mut source = self.connection.prepare(&self.limited(&plan.sql))?;
        bind(&mut source, binds, parameters)?;
        let mut values = self.connection.prepare(&per_row.sql)?;
        let mut rows = source.raw_query();
        let mut count = 0u64;
        while let Some(row) = rows.next()? {
            bind(&mut values, binds, parameters)?;
            for i in 0..per_row.columns {
                let value: Stored = row.get(i)?;
                values.raw_bind_parameter(FIRST_ROW_VALUE.saturating_add(i), value)?;
            }
            let mut row_values = Vec::new();
            let mut one = values.raw_query();
            if let Some(row) = one.next()? {
                for (i, column) in plan.columns.iter().enumerate() {
                    row_values.push(storage::load(row.get_ref(i)?, column.ty)?);
                }
            }
            for (target, value) in plan.assigned.iter().zip(row_values) {
                parameters.set(*target, Argument::Plain(value));
            }
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    fn assigned(&mut self, count: u64, response: &mut Response) {
        self.values.row_count = i64::try_from(count).unwrap_or(i64::MAX);
        if !self.no_count {
            response.done(CMD_SELECT, Some(count));
        }
    }

    /// The CEKs of a result, or None on connections without Always Encrypted.
    pub(crate) fn cek_table(&self, columns: &[ResultColumn]) -> Result<Option<Vec<CekEntry>>> {
        if !self.column_encryption {
            return Ok(None);
        }
        let mut ids: Vec<i32> = Vec::new();
        for crypto in columns.iter().filter_map(|column| column.crypto) {
            if !ids.contains(&crypto.cek_id) {
                ids.push(crypto.cek_id);
            }
        }
        ids.into_iter().map(|id| self.catalogue.cek_entry(id)).collect::<Result<Vec<_>>>().map(Some)
    }

    pub(crate) fn run_write(
        &mut self,
        statement: &SqlStatement,
        parameters: &Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        self.require_no_row_limit()?;
        let types = parameters.types();
        let catalogue = std::sync::Arc::clone(&self.catalogue);
        let values = self.values.clone();
        let mut binder = Binder::new(&catalogue, &types, &values, false);
        if row_plan::by_rows(statement) {
            let plan = binder.rows(statement)?;
            let columns = plan.output.as_ref().map(|output| output.columns.as_slice());
            let command =
                if matches!(statement, SqlStatement::Merge(_)) { CMD_MERGE } else { CMD_UPDATE };
            return self.write_and_show(columns, command, response, |session| {
                session.write_rows(&plan, parameters, &catalogue)
            });
        }
        let (plan, command) = match statement {
            SqlStatement::Insert(insert) => (binder.insert(insert)?, CMD_INSERT),
            SqlStatement::Update(update) => (binder.update(update)?, CMD_UPDATE),
            SqlStatement::Delete(delete) => (binder.delete(delete)?, CMD_DELETE),
            _ => return Err(SqlError::unsupported("this statement").into()),
        };
        self.write_and_show(plan.output.as_deref(), command, response, |session| {
            session.write_plan(&plan, parameters, &catalogue)
        })
    }

    /// Writes, and sends what OUTPUT shows.
    fn write_and_show(
        &mut self,
        output: Option<&[ResultColumn]>,
        command: u16,
        response: &mut Response,
        work: impl FnOnce(&mut Self) -> Result<Written>,
    ) -> Outcome<()> {
        if self.capture.is_some() && output.is_some() {
            return Err(SqlError::unsupported("OUTPUT within INSERT ... EXEC").into());
        }
        let cek_table = self.cek_table(output.unwrap_or_default())?;
        let written = self.write(response, work)?;
        if let Some(columns) = output {
            response.token(|out| {
                token::col_metadata(out, columns, cek_table.as_deref());
                out.extend_from_slice(&written.rows);
            });
        }
        if written.identity.is_some() {
            self.values.scope_identity = written.identity;
        }
        self.values.row_count = i64::try_from(written.count).unwrap_or(i64::MAX);
        if !self.no_count || output.is_some() {
            response.done(command, Some(written.count));
        }
        Ok(())
    }

    pub(crate) fn write_plan(
        &mut self,
        plan: &WritePlan,
        parameters: &Parameters,
        catalogue: &Catalogue,
    ) -> Result<Written> {
        let lost = || SqlError::new(596, "A table was dropped while it was written to.");
        let table = catalogue
            .tables
            .iter()
            .find(|table| table.object_id == plan.object_id)
            .ok_or_else(lost)?;
        self.load_identity(table)?;
        if plan.verb() == "UPDATE" {
            self.before_update(catalogue, table, 0)?;
        }
        let mut written = Written::default();
        for (sql, binds) in &plan.statements {
            let mut statement = self.connection.prepare_cached(sql)?;
            bind(&mut statement, binds, parameters)?;
            let count = match &plan.output {
                None => statement.raw_execute().map_err(|error| constraint(error, table))?,
                Some(columns) => {
                    let mut rows = statement.raw_query();
                    let mut count = 0usize;
                    while let Some(row) = rows.next().map_err(|error| constraint(error, table))? {
                        write_row(&mut written.rows, &values(row, columns.len())?, columns)?;
                        count = count.saturating_add(1);
                    }
                    count
                }
            };
            written.count = written.count.saturating_add(u64::try_from(count).unwrap_or(0));
        }
        self.enforce(catalogue, table, plan.verb(), 0)?;
        self.save_row_version(table)?;
        written.identity = self.save_identity(table)?;
        Ok(written)
    }

    pub(crate) fn load_identity(&mut self, table: &Table) -> Result<()> {
        let Some((column, (seed, increment))) =
            table.columns.iter().find_map(|c| Some((c, c.identity?)))
        else {
            return Ok(());
        };
        let last = store::identity_last(&self.connection, table.object_id)?;
        let identity = Identity { last, seed, increment, ty: column.ty };
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.next.insert(table.object_id, identity);
        Ok(())
    }

    /// Keeps the last row version that was used, if the table has any.
    pub(crate) fn save_row_version(&self, table: &Table) -> Result<()> {
        if table.columns.iter().any(|column| column.ty == SqlType::RowVersion) {
            let version = self.database.row_version.load(Ordering::SeqCst);
            store::set_row_version(&self.connection, version)?;
        }
        Ok(())
    }

    /// Keeps the last identity value that the statement gave out.
    pub(crate) fn save_identity(&mut self, table: &Table) -> Result<Option<i64>> {
        let identity = {
            let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
            identities.next.remove(&table.object_id)
        };
        let Some(last) = identity.and_then(|identity| identity.last) else {
            return Ok(None);
        };
        if store::identity_last(&self.connection, table.object_id)? == Some(last) {
            return Ok(None);
        }
        store::set_identity_last(&self.connection, table.object_id, last)?;
        Ok(Some(last))
    }

    /// The first row of a query of this program's own making.
    pub(crate) fn single_row(
        &self,
        sql: &str,
        binds: &[Bind],
        parameters: &Parameters,
        types: &[SqlType],
    ) -> Result<Vec<Value>> {
        let mut statement = self.connection.prepare(sql)?;
        bind(&mut statement, binds, parameters)?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else {
            return Ok(Vec::new());
        };
        types.iter().enumerate().map(|(i, ty)| storage::load(row.get_ref(i)?, *ty)).collect()
    }
}

pub(crate) fn bind(
    statement: &mut Statement<'_>,
    binds: &[Bind],
    parameters: &Parameters,
) -> Result<()> {
    // A constant that was bound and then not used has no place in the statement.
    let count = statement.parameter_count();
    for (i, bind) in binds.iter().take(count).enumerate() {
        let at = i.saturating_add(1);
        match bind {
            Bind::Constant(value) => statement.raw_bind_parameter(at, value)?,
            Bind::Parameter(index) => {
                statement.raw_bind_parameter(at, parameters.stored(*index))?
            }
        }
    }
    Ok(())
}

fn values<'r>(row: &'r Row<'_>, count: usize) -> Result<Vec<ValueRef<'r>>> {
    Ok((0..count).map(|i| row.get_ref(i)).collect::<rusqlite::Result<_>>()?)
}

/// ROW, or NBCROW where its bitmap takes less room than the NULLs would.
pub(crate) fn write_row(
    out: &mut Vec<u8>,
    row: &[ValueRef<'_>],
    columns: &[ResultColumn],
) -> Result<()> {
    let mut bitmap = vec![0u8; columns.len().div_ceil(8)];
    let mut nulls = Vec::new();
    for ((i, (column, value)), at) in columns.iter().zip(row).enumerate().zip(0u32..) {
        if *value == ValueRef::Null {
            write_value(&mut nulls, &Value::Null, column.wire_type(), &column.collation)?;
            if let Some(byte) = bitmap.get_mut(i / 8) {
                *byte |= 1 << (at % 8);
            }
        }
    }
    let with_bitmap = nulls.len() > bitmap.len();
    if with_bitmap {
        out.push(TOKEN_NBCROW);
        out.extend_from_slice(&bitmap);
    } else {
        out.push(TOKEN_ROW);
    }
    for (column, value) in columns.iter().zip(row) {
        let ty = column.wire_type();
        if with_bitmap && *value == ValueRef::Null {
            continue;
        }
        write_value(out, &storage::load(*value, ty)?, ty, &column.collation)?;
    }
    Ok(())
}

/// SQLite names the columns `tN.cM`.
pub(crate) fn constraint(error: rusqlite::Error, table: &Table) -> SqlError {
    let text = error.to_string();
    let column = |part: &str| {
        let id = part.rsplit_once(".c").and_then(|(_, id)| id.trim().parse::<i64>().ok());
        table
            .columns
            .iter()
            .find(|column| Some(column.id) == id)
            .map_or("?", |column| column.name.as_str())
            .to_owned()
    };
    let full_name = format!("{}.{}", table.schema, table.name);
    if let Some((_, at)) = text.split_once("NOT NULL constraint failed: ") {
        let column = column(at);
        return SqlError::new(
            515,
            format!(
                "Cannot insert the value NULL into column '{column}', table '{}.{full_name}'; column does not allow \
                 nulls. INSERT fails.",
                crate::catalogue::DATABASE_NAME
            ),
        );
    }
    if let Some((_, at)) = text.split_once("UNIQUE constraint failed: ") {
        let columns: Vec<String> = at.split(',').map(column).collect();
        return SqlError::new(
            2627,
            format!(
                "Violation of PRIMARY KEY or UNIQUE KEY constraint on ({}). Cannot insert duplicate key in object \
                 '{full_name}'.",
                columns.join(", ")
            ),
        )
        .class(14);
    }
    error.into()
}
