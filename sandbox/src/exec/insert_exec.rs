//! INSERT ... EXEC: what a procedure or a text would send to the client goes to a table.

use std::sync::Arc;

use rusqlite::Statement as SqliteStatement;

use crate::error::SqlError;
use crate::exec::parameters::Parameters;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::bind::Binder;
use crate::sql::insert_exec::InsertExec;
use crate::sql::select::SelectPlan;
use crate::tds::token::CMD_INSERT;
use crate::types::{SqlType, Value, storage};

/// Rows that are on their way to a table.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    rows: Vec<Vec<(Value, SqlType)>>,
}

impl Captured {
    /// Takes the rows of a query.
    pub(crate) fn take(
        &mut self,
        plan: &SelectPlan,
        statement: &mut SqliteStatement<'_>,
    ) -> Outcome<()> {
        if plan.columns.iter().any(|column| column.crypto.is_some()) {
            return Err(SqlError::unsupported("encrypted columns in INSERT ... EXEC").into());
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut values = Vec::new();
            for (i, column) in plan.columns.iter().enumerate() {
                values.push((storage::load(row.get_ref(i)?, column.ty)?, column.ty));
            }
            self.rows.push(values);
        }
        Ok(())
    }
}

impl Session {
    pub(crate) fn insert_exec(
        &mut self,
        insert: &InsertExec,
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        if self.capture.is_some() {
            let text = "An INSERT EXEC statement cannot be nested.";
            return Err(SqlError::new(8164, text).into());
        }
        self.require_no_row_limit()?;
        self.capture = Some(Captured::default());
        let muted = response.mute(true);
        let outcome =
            self.run_statement(&insert.exec, parameters, response, depth.saturating_add(1));
        response.mute(muted);
        let captured = self.capture.take().unwrap_or_default();
        match outcome {
            Ok(true) => {}
            // The error has been sent; nothing is inserted.
            Ok(false) => return Ok(false),
            Err(stop) => return Err(stop),
        }
        self.refresh()?;
        let catalogue = Arc::clone(&self.catalogue);
        let values = self.values.clone();
        let plan = Binder::new(&catalogue, &[], &values, false).insert_rows(
            &insert.table,
            &insert.columns,
            &captured.rows,
        )?;
        let written = self.write(response, |session| {
            session.write_plan(&plan, &Parameters::default(), &catalogue)
        })?;
        if written.identity.is_some() {
            self.values.scope_identity = written.identity;
        }
        self.values.row_count = i64::try_from(written.count).unwrap_or(i64::MAX);
        if !self.no_count {
            response.done(CMD_INSERT, Some(written.count));
        }
        Ok(true)
    }
}
