//! INSERT BULK, and the load that follows it in a message of its own: all rows of a load or none.

use rusqlite::types::Value as Stored;

use crate::catalogue::{Column, Table, store};
use crate::error::{Result, SqlError};
use crate::exec::parameters::{checked_scheme, is_cell};
use crate::exec::query::constraint;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::bind::{Bind, Binder, Operand, Source};
use crate::sql::bulk::InsertBulk;
use crate::sql::encryption::Target;
use crate::tds::bulk::{BulkColumn, BulkLoad};
use crate::tds::cursor::Malformed;
use crate::tds::token::CMD_BULK_INSERT;
use crate::types::convert::{Excess, convert};
use crate::types::{Family, SqlType, Value, storage};

/// What INSERT BULK has announced.
#[derive(Debug, Clone)]
pub(crate) struct PendingLoad {
    object_id: i64,
    column_ids: Vec<i64>,
    allow_encrypted: bool,
    keep_nulls: bool,
}

impl Session {
    /// INSERT BULK: checks what can be checked before the data is there.
    pub(crate) fn insert_bulk(
        &mut self,
        insert: &InsertBulk,
        response: &mut Response,
    ) -> Outcome<()> {
        let name = self.name(&insert.table)?;
        let table = self
            .catalogue
            .table(&name.schema, &name.name)
            .ok_or_else(|| SqlError::invalid_object(&name.name))?;
        self.access().require_object("INSERT", table.object_id, &table.schema, &table.name)?;
        let mut column_ids = Vec::new();
        for (name, data_type) in &insert.columns {
            let column = table.column(name).ok_or_else(|| SqlError::invalid_column(name))?;
            let declared = SqlType::from_ast(data_type)?;
            let allowed = self.column_encryption || insert.allow_encrypted_value_modifications;
            if column.encryption.is_some() && !(allowed && declared.family() == Family::Bytes) {
                return Err(self.plaintext(column, declared).into());
            }
            if column.ty == SqlType::RowVersion {
                return Err(SqlError::unsupported("loading a timestamp column").into());
            }
            if column_ids.contains(&column.id) {
                return Err(SqlError::new(
                    264,
                    format!("The column name '{name}' is specified more than once in the column list of INSERT BULK."),
                )
                .into());
            }
            column_ids.push(column.id);
        }
        self.bulk = Some(PendingLoad {
            object_id: table.object_id,
            column_ids,
            allow_encrypted: insert.allow_encrypted_value_modifications,
            keep_nulls: insert.keep_nulls,
        });
        response.done(0, None);
        Ok(())
    }

    /// 206, as for a parameter.
    fn plaintext(&self, column: &Column, declared: SqlType) -> SqlError {
        let values = &self.values;
        let mut binder = Binder::new(&self.catalogue, &[], values, false);
        let operand =
            Operand { source: Source::Literal, ..Operand::expression(String::new(), declared) };
        match binder.check_assignment(&Target::from(column), &operand) {
            Err(error) => error,
            Ok(()) => SqlError::type_clash(declared.name(), column.ty.name()),
        }
    }

    /// The message that follows INSERT BULK.
    pub(crate) fn bulk_load(
        &mut self,
        pending: Option<PendingLoad>,
        payload: &[u8],
        response: &mut Response,
    ) -> Outcome<()> {
        let pending = pending.ok_or_else(|| incorrect("A bulk load without INSERT BULK."))?;
        let mut load = BulkLoad::read(payload, self.column_encryption).map_err(malformed)?;
        self.refresh()?;
        let count = self.write(response, |session| {
            session.refresh()?;
            session.load_rows(&pending, &mut load)
        })?;
        self.values.row_count = i64::try_from(count).unwrap_or(i64::MAX);
        response.done(CMD_BULK_INSERT, Some(count));
        Ok(())
    }

    fn load_rows(&mut self, pending: &PendingLoad, load: &mut BulkLoad<'_>) -> Result<u64> {
        let catalogue = std::sync::Arc::clone(&self.catalogue);
        let gone = || {
            SqlError::new(4891, "Insert bulk failed due to a schema change of the target table.")
        };
        let table = catalogue
            .tables
            .iter()
            .find(|table| table.object_id == pending.object_id)
            .ok_or_else(gone)?;
        let columns = pending
            .column_ids
            .iter()
            .map(|id| table.columns.iter().find(|column| column.id == *id).ok_or_else(gone))
            .collect::<Result<Vec<&Column>>>()?;
        if load.columns.len() != columns.len() {
            return Err(incorrect(format!(
                "{} columns where INSERT BULK named {}.",
                load.columns.len(),
                columns.len()
            )));
        }
        for (column, sent) in columns.iter().zip(&load.columns) {
            self.check_column(column, sent, pending.allow_encrypted)?;
        }
        let values = self.values.clone();
        let mut binder = Binder::new(&catalogue, &[], &values, false);
        let (sql, binds) = binder.bulk_row(table, &columns, pending.keep_nulls)?;
        self.load_identity(table)?;
        let mut count = 0u64;
        let mut last_identity = None;
        while let Some(row) = load.next_row().map_err(malformed)? {
            let mut stored = Vec::with_capacity(row.len());
            for ((column, sent), bytes) in columns.iter().zip(&load.columns).zip(row) {
                let value = stored_value(column, sent, bytes)?;
                if let (Some((_, step)), Stored::Integer(n)) = (column.identity, &value) {
                    last_identity = Some(furthest(last_identity, *n, step));
                }
                stored.push(value);
            }
            self.load_row(table, &sql, &binds, &stored)?;
            count = count.saturating_add(1);
        }
        self.enforce(&catalogue, table, "INSERT", 0)?;
        self.save_identity(table)?;
        self.save_row_version(table)?;
        if let Some(n) = last_identity {
            let step = table.columns.iter().find_map(|c| c.identity).map_or(1, |(_, step)| step);
            let before = store::identity_last(&self.connection, table.object_id)?;
            store::set_identity_last(&self.connection, table.object_id, furthest(before, n, step))?;
        }
        Ok(count)
    }

    fn load_row(&self, table: &Table, sql: &str, binds: &[Bind], row: &[Stored]) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for (at, bind) in (1usize..).zip(binds) {
            let value = match bind {
                Bind::Constant(value) => value,
                Bind::Parameter(index) => row.get(*index).unwrap_or(&Stored::Null),
            };
            statement.raw_bind_parameter(at, value)?;
        }
        statement.raw_execute().map(drop).map_err(|error| constraint(error, table))
    }

    /// What the load says of a column against what the column is.
    fn check_column(
        &self,
        column: &Column,
        sent: &BulkColumn,
        allow_encrypted: bool,
    ) -> Result<()> {
        let declared = sent.info.sql_type().map_err(malformed)?;
        match (column.encryption, &sent.cipher) {
            (None, None) => Ok(()),
            (wanted, Some(cipher)) => {
                let given = checked_scheme(cipher, column.ty, &sent.name, &self.catalogue)?;
                if wanted == Some(given) && declared.is_some_and(|ty| ty.family() == Family::Bytes)
                {
                    return Ok(());
                }
                let shown = self.catalogue.describe_encryption(Some(given));
                let expected = self.catalogue.describe_encryption(wanted);
                Err(SqlError::type_clash(
                    &format!("{} encrypted with {shown}", column.ty),
                    &format!("{} encrypted with {expected}", column.ty),
                ))
            }
            (Some(_), None)
                if allow_encrypted && declared.is_some_and(|ty| ty.family() == Family::Bytes) =>
            {
                Ok(())
            }
            (Some(_), None) => Err(self.plaintext(
                column,
                declared.unwrap_or(SqlType::VarBinary(crate::types::Length::Max)),
            )),
        }
    }
}

/// The later of two identity values.
fn furthest(before: Option<i64>, now: i64, step: i64) -> i64 {
    match before {
        Some(before) if step < 0 => before.min(now),
        Some(before) => before.max(now),
        None => now,
    }
}

fn stored_value(column: &Column, sent: &BulkColumn, bytes: Option<Vec<u8>>) -> Result<Stored> {
    let Some(bytes) = bytes else { return Ok(Stored::Null) };
    if column.encryption.is_some() {
        let fits = match &sent.cipher {
            Some(_) => is_cell(column.ty, &bytes),
            // Whoever may modify encrypted values may also ruin them, as long as they fit the column.
            None => column.ty.cell_length().is_none_or(|limit| bytes.len() <= usize::from(limit)),
        };
        return if fits { Ok(Stored::Blob(bytes)) } else { Err(invalid_length(column)) };
    }
    let Some(from) = sent.info.sql_type().map_err(malformed)? else { return Ok(Stored::Null) };
    let value = sent.info.decode(from, &bytes).map_err(malformed)?;
    let value = match value {
        Value::Null => Value::Null,
        value => convert(value, from, column.ty, Excess::Refuse)?,
    };
    Ok(storage::store(&value))
}

fn invalid_length(column: &Column) -> SqlError {
    SqlError::new(
        4815,
        format!("Received an invalid column length from the bcp client for colid {}.", column.id),
    )
}

fn incorrect(what: impl std::fmt::Display) -> SqlError {
    SqlError::new(
        4002,
        format!("The incoming tabular data stream (TDS) protocol stream is incorrect. {what}"),
    )
}

fn malformed(error: Malformed) -> SqlError {
    incorrect(error)
}
