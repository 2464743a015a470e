//! Temporary tables and table variables: tables like any other, with negative ids, in a schema of the session's own that
//! nobody else can name. A table variable lives as long as its batch or procedure, a temporary table as long as the
//! procedure or text that made it, or else as the session.

use std::sync::PoisonError;

use sqlparser::ast::{ColumnDef, TableConstraint};

use crate::catalogue::{Catalogue, store};
use crate::error::{Result, SqlError};
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::names::QualifiedName;

/// What runs: a batch, a text or a procedure. Those of a client's own batch leave their temporary tables behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunScope {
    id: u32,
    batch: bool,
}

/// A table that will go away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temporary {
    object_id: i64,
    /// None is the session.
    scope: Option<u32>,
}

/// Tables and constraints of a session's own schemas.
pub(crate) fn own(catalogue: &Catalogue, session: &str) -> Vec<i64> {
    let mut ids: Vec<i64> = catalogue
        .tables
        .iter()
        .filter(|table| {
            table.object_id < 0 && table.schema.get(1..).is_some_and(|s| s.starts_with(session))
        })
        .map(|table| table.object_id)
        .collect();
    let of_own = catalogue.constraints.iter().filter(|known| ids.contains(&known.object_id));
    let constraints: Vec<i64> = of_own.map(|known| known.id).collect();
    ids.extend(constraints);
    ids
}

impl Session {
    pub(crate) fn enter_scope(&mut self, batch: bool) {
        self.next_scope = self.next_scope.wrapping_add(1);
        self.scopes.push(RunScope { id: self.next_scope, batch });
        self.values.scope = self.next_scope;
    }

    /// Drops what lived in the scope, and what could not be dropped before.
    pub(crate) fn leave_scope(&mut self, response: &Response) {
        self.scopes.pop();
        self.values.scope = self.scopes.last().map_or(0, |scope| scope.id);
        let scopes = &self.scopes;
        let lives = |temporary: &Temporary| {
            temporary.scope.is_none_or(|id| scopes.iter().any(|scope| scope.id == id))
        };
        let gone: Vec<i64> = self
            .temporary
            .iter()
            .filter(|temporary| !lives(temporary))
            .map(|temporary| temporary.object_id)
            .collect();
        self.drop_temporary(&gone, response);
    }

    /// Of RESETCONNECTION: the next user begins without any.
    pub(crate) fn drop_all_temporary(&mut self, response: &Response) {
        let all: Vec<i64> = self.temporary.iter().map(|temporary| temporary.object_id).collect();
        self.drop_temporary(&all, response);
    }

    fn drop_temporary(&mut self, ids: &[i64], response: &Response) {
        if ids.is_empty() || self.lock(response).is_err() {
            return;
        }
        let dropped = self.atomically(|session| ids.iter().try_for_each(|id| session.discard(*id)));
        if !self.in_transaction() {
            self.unlock();
        }
        if dropped.is_ok() {
            self.temporary.retain(|temporary| !ids.contains(&temporary.object_id));
            self.values.read_only.retain(|id| !ids.contains(id));
        }
    }

    /// It may be gone already, by DROP or with its transaction.
    fn discard(&mut self, object_id: i64) -> Result<()> {
        let name = crate::catalogue::sqlite_table(object_id);
        self.connection.execute(&format!("DROP TABLE IF EXISTS {name}"), [])?;
        store::delete_table(&self.connection, object_id)
    }

    /// Of a session that ends. If a writer is in the way, whoever makes the next temporary table does it.
    pub(crate) fn abandon_temporary(&mut self) {
        let ids: Vec<i64> = self.temporary.iter().map(|temporary| temporary.object_id).collect();
        self.temporary.clear();
        if !ids.is_empty() {
            let mut left = self.database.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            left.extend(ids);
        }
    }

    fn collect_abandoned(&mut self) -> Result<()> {
        let ids = {
            let mut left = self.database.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *left)
        };
        ids.iter().try_for_each(|id| self.discard(*id))
    }

    /// An id for a table of this name, and the scope in which it lives, if it is temporary.
    pub(crate) fn new_table_id(&mut self, name: &QualifiedName) -> Result<i64> {
        let id = store::next_object_id(&self.connection)?;
        let scope = match name.name.chars().next() {
            Some('#') => self.scopes.last().filter(|scope| !scope.batch).map(|scope| scope.id),
            Some('@') => self.scopes.last().map(|scope| scope.id),
            _ => return Ok(id),
        };
        self.collect_abandoned()?;
        let object_id = id.saturating_neg();
        self.temporary.push(Temporary { object_id, scope });
        Ok(object_id)
    }

    /// DECLARE @t TABLE.
    pub(crate) fn declare_table(
        &mut self,
        name: &str,
        columns: &[ColumnDef],
        constraints: &[TableConstraint],
        response: &mut Response,
    ) -> Outcome<()> {
        let name = QualifiedName { schema: "@".to_owned(), name: name.to_owned() };
        let name = self.values.locate(name);
        self.refresh()?;
        if self.catalogue.table(&name.schema, &name.name).is_some() {
            // In a loop it is declared once, and keeps its rows.
            if self.loops > 0 {
                return Ok(());
            }
            return Err(SqlError::new(
                134,
                format!(
                    "The variable name '{}' has already been declared. Variable names must be unique within a query batch \
                     or stored procedure.",
                    name.name
                ),
            )
            .class(15)
            .into());
        }
        self.write(response, |session| {
            session.refresh()?;
            session.make_table(name, columns, constraints)
        })
    }
}
