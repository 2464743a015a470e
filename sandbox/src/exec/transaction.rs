//! Transactions, as SQL Server counts them, on SQLite's one.

use crate::error::SqlError;
use crate::exec::options::Options;
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::tds::request::TransactionRequest;
use crate::tds::token::{
    self, ENV_BEGIN_TRANSACTION, ENV_COMMIT_TRANSACTION, ENV_ROLLBACK_TRANSACTION,
};

/// The open transaction of a session.
#[derive(Debug, Default)]
pub(crate) struct TransactionState {
    descriptor: u64,
    name: Option<String>,
    savepoints: Vec<String>,
    /// SET IMPLICIT_TRANSACTIONS ON.
    pub(crate) implicit: bool,
}

impl Session {
    pub(crate) fn in_transaction(&self) -> bool {
        self.values.transaction_count > 0
    }

    pub(crate) fn transaction_request(
        &mut self,
        request: TransactionRequest,
        response: &mut Response,
    ) -> Outcome<()> {
        match request {
            TransactionRequest::Begin => self.begin(None, response),
            TransactionRequest::Commit { then_begin } => {
                self.commit(response)?;
                if then_begin { self.begin(None, response) } else { Ok(()) }
            }
            TransactionRequest::Rollback { name, then_begin } => {
                self.rollback(Some(name).filter(|name| !name.is_empty()), response)?;
                if then_begin { self.begin(None, response) } else { Ok(()) }
            }
            TransactionRequest::Save { name } => self.save(&name),
            TransactionRequest::Other(kind) => {
                Err(SqlError::unsupported(format!("transaction manager request {kind}")).into())
            }
        }
    }

    pub(crate) fn begin(&mut self, name: Option<String>, response: &mut Response) -> Outcome<()> {
        if !self.in_transaction() {
            self.lock(response)?;
            if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
                self.unlock();
                return Err(error.into());
            }
            self.transaction.name = name;
            self.transaction.descriptor = self.transaction.descriptor.wrapping_add(1);
            let descriptor = self.descriptor();
            response.token(|out| token::env_bytes(out, ENV_BEGIN_TRANSACTION, &descriptor, &[]));
        }
        self.values.transaction_count = self.values.transaction_count.saturating_add(1);
        Ok(())
    }

    /// Unique among sessions, so that a client that mixes them up is seen in a capture.
    fn descriptor(&self) -> [u8; 8] {
        (self.transaction.descriptor << 16 | u64::from(self.spid)).to_le_bytes()
    }

    pub(crate) fn commit(&mut self, response: &mut Response) -> Outcome<()> {
        if !self.in_transaction() {
            return Err(SqlError::new(
                3902,
                "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            )
            .into());
        }
        if self.values.transaction_count == 1 {
            self.connection.execute_batch("COMMIT")?;
            self.end(ENV_COMMIT_TRANSACTION, response);
        } else {
            self.values.transaction_count -= 1;
        }
        Ok(())
    }

    pub(crate) fn rollback(
        &mut self,
        name: Option<String>,
        response: &mut Response,
    ) -> Outcome<()> {
        if !self.in_transaction() {
            return Err(SqlError::new(
                3903,
                "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            )
            .into());
        }
        if let Some(name) =
            name.filter(|name| !self.transaction.name.as_deref().is_some_and(|n| same(n, name)))
        {
            let Some(at) = self.transaction.savepoints.iter().rposition(|known| same(known, &name))
            else {
                return Err(SqlError::new(
                    6401,
                    format!("Cannot roll back {name}. No transaction or savepoint of that name was found."),
                )
                .into());
            };
            // Savepoints made after it are gone; it stays.
            self.transaction.savepoints.truncate(at.saturating_add(1));
            self.connection.execute_batch(&format!("ROLLBACK TO {}", savepoint(at)))?;
            return Ok(());
        }
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.end(ENV_ROLLBACK_TRANSACTION, response);
        Ok(())
    }

    pub(crate) fn save(&mut self, name: &str) -> Outcome<()> {
        if !self.in_transaction() {
            return Err(SqlError::new(
                628,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            )
            .into());
        }
        let at = self.transaction.savepoints.len();
        self.connection.execute_batch(&format!("SAVEPOINT {}", savepoint(at)))?;
        self.transaction.savepoints.push(name.to_owned());
        Ok(())
    }

    fn end(&mut self, change: u8, response: &mut Response) {
        let descriptor = self.descriptor();
        response.token(|out| token::env_bytes(out, change, &[], &descriptor));
        self.values.transaction_count = 0;
        self.transaction.savepoints.clear();
        self.transaction.name = None;
        self.unlock();
    }

    /// Before a statement that a transaction should cover.
    pub(crate) fn begin_if_implicit(&mut self, response: &mut Response) -> Outcome<()> {
        if self.transaction.implicit && !self.in_transaction() {
            self.begin(None, response)
        } else {
            Ok(())
        }
    }

    /// RESETCONNECTION: everything that the last user left.
    pub(crate) fn reset(&mut self, keep_transaction: bool, response: &mut Response) -> Outcome<()> {
        if self.in_transaction() && !keep_transaction {
            self.rollback(None, response)?;
        }
        self.transaction.implicit = false;
        self.no_count = false;
        self.options = Options::default();
        self.drop_all_temporary(response);
        Ok(())
    }

    /// Waits for the right to write.
    pub(crate) fn lock(&mut self, response: &Response) -> Outcome<()> {
        if !self.holds_lock {
            if !self.database.write_lock.acquire(response.cancelled()) {
                return Err(Stop::Cancelled);
            }
            self.holds_lock = true;
        }
        Ok(())
    }

    pub(crate) fn unlock(&mut self) {
        if std::mem::take(&mut self.holds_lock) {
            self.database.write_lock.release();
        }
    }

    /// Runs a write: under the lock, all of it or nothing of it.
    pub(crate) fn write<T>(
        &mut self,
        response: &mut Response,
        work: impl FnOnce(&mut Self) -> crate::error::Result<T>,
    ) -> Outcome<T> {
        self.begin_if_implicit(response)?;
        self.lock(response)?;
        let result = self.atomically(work);
        if !self.in_transaction() {
            self.unlock();
        }
        Ok(result?)
    }

    pub(crate) fn atomically<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> crate::error::Result<T>,
    ) -> crate::error::Result<T> {
        let open = if self.in_transaction() { "SAVEPOINT statement" } else { "BEGIN IMMEDIATE" };
        self.connection.execute_batch(open)?;
        let result = work(self);
        let close = match (&result, self.in_transaction()) {
            (Ok(_), true) => "RELEASE statement",
            (Ok(_), false) => "COMMIT",
            (Err(_), true) => "ROLLBACK TO statement; RELEASE statement",
            (Err(_), false) => "ROLLBACK",
        };
        let closed = self.connection.execute_batch(close);
        if closed.is_err() && !self.in_transaction() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let value = result?;
        closed?;
        Ok(value)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn savepoint(at: usize) -> String {
    format!("s{at}")
}
