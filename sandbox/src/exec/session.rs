//! One connection's session: its SQLite connection, its view of the catalogue, and the running of batches.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use sqlparser::ast::{Expr, Statement as SqlStatement};

use crate::catalogue::security::Access;
use crate::catalogue::{Catalogue, DATABASE_NAME, store};
use crate::error::{Result, SqlError};
use crate::exec::bulk::PendingLoad;
use crate::exec::database::Database;
use crate::exec::functions::SharedIdentities;
use crate::exec::insert_exec::Captured;
use crate::exec::options::Options;
use crate::exec::parameters::{Argument, Parameters};
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::select_into;
use crate::exec::temporary::{self, RunScope, Temporary};
use crate::exec::transaction::TransactionState;
use crate::server::Counters;
use crate::sql::batch::{self, Statement};
use crate::sql::bind::{Binder, Operand, SessionValues, require_implicit};
use crate::types::temporal::now_utc;
use crate::types::{SqlType, Value};

pub(crate) struct Session {
    /// Before the database: a temporary one is removed with its last user.
    pub(crate) connection: Connection,
    pub(crate) database: Arc<Database>,
    pub(crate) identities: SharedIdentities,
    pub(crate) catalogue: Arc<Catalogue>,
    generation: Option<i64>,
    pub(crate) values: SessionValues,
    pub(crate) transaction: TransactionState,
    pub(crate) no_count: bool,
    pub(crate) options: Options,
    pub(crate) holds_lock: bool,
    pub(crate) spid: u16,
    /// Always Encrypted was acknowledged on this connection.
    pub(crate) column_encryption: bool,
    /// Declarations and text of sp_prepare.
    pub(crate) prepared: HashMap<i32, (String, String)>,
    pub(crate) next_handle: i32,
    /// Of the batch that is running, for CREATE PROCEDURE to keep.
    text: String,
    /// Procedures that are running inside each other.
    pub(crate) nesting: usize,
    /// What runs, innermost last, and what goes away with it.
    pub(crate) scopes: Vec<RunScope>,
    pub(crate) next_scope: u32,
    pub(crate) temporary: Vec<Temporary>,
    /// Rows that go to a table and not to the client.
    pub(crate) capture: Option<Captured>,
    /// Loops that are running, and TRY blocks.
    pub(crate) loops: usize,
    pub(crate) tries: usize,
    /// The innermost procedure in which an error was raised.
    pub(crate) failed_in: Option<String>,
    /// Of INSERT BULK, until the next message.
    pub(crate) bulk: Option<PendingLoad>,
    pub(crate) counters: Arc<Counters>,
}

/// What the login has settled.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub(crate) column_encryption: bool,
    pub(crate) user: String,
    pub(crate) administrator: bool,
}

/// Errors after which a batch goes on with its next statement.
const STATEMENT_ERRORS: &[i32] = &[220, 515, 544, 547, 2601, 2627, 2628, 8115, 8134, 8672];
/// Errors that SQL Server finds while it compiles a batch, before any of it runs.
const COMPILE_ERRORS: &[i32] = &[206, 402, 33277];
const MAX_NESTED_RUNS: usize = 32;

impl Session {
    pub(crate) fn new(
        database: Arc<Database>,
        spid: u16,
        connected: Connected,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let identities = SharedIdentities::default();
        let connection = database.connect(Arc::clone(&identities))?;
        Ok(Self {
            database,
            connection,
            identities,
            catalogue: Arc::default(),
            generation: None,
            values: SessionValues {
                spid: i64::from(spid),
                session: format!("{spid}-{}", now_utc()),
                user: connected.user,
                administrator: connected.administrator,
                ..SessionValues::default()
            },
            transaction: TransactionState::default(),
            no_count: false,
            options: Options::default(),
            holds_lock: false,
            spid,
            column_encryption: connected.column_encryption,
            prepared: HashMap::new(),
            next_handle: 1,
            text: String::new(),
            nesting: 0,
            scopes: Vec::new(),
            next_scope: 0,
            temporary: Vec::new(),
            capture: None,
            loops: 0,
            tries: 0,
            failed_in: None,
            bulk: None,
            counters,
        })
    }

    /// Brings the view of the catalogue up to date.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let generation = store::generation(&self.connection)?;
        if self.generation != Some(generation) {
            let mut catalogue = store::load(&self.connection)?;
            if !self.values.administrator {
                catalogue.access = Access::of_login(&self.connection, &self.values.user)?;
            }
            catalogue.temporary = temporary::own(&catalogue, &self.values.session);
            self.catalogue = Arc::new(catalogue);
            self.generation = Some(generation);
        }
        Ok(())
    }

    /// A batch, or the text of sp_executesql with its parameters. False if it failed; the error has been answered.
    pub(crate) fn run(
        &mut self,
        sql: &str,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<bool> {
        self.enter_scope(false);
        let options = self.options;
        let outcome = match self.take_tables(parameters, response) {
            Ok(()) => self.run_here(sql, parameters, response),
            Err(stop) => self.answered(Err(stop), response),
        };
        // What a text sets ends with it.
        self.options = options;
        self.leave_scope(response);
        outcome
    }

    /// A client's own batch, whose temporary tables stay.
    pub(crate) fn run_batch(&mut self, sql: &str, response: &mut Response) -> Outcome<bool> {
        self.enter_scope(true);
        let outcome = self.run_here(sql, &mut Parameters::default(), response);
        self.leave_scope(response);
        outcome
    }

    fn run_here(
        &mut self,
        sql: &str,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<bool> {
        let text = std::mem::replace(&mut self.text, sql.to_owned());
        let outcome = self
            .compile(sql, parameters)
            .map_err(Stop::Error)
            .and_then(|statements| self.run_statements(&statements, parameters, response, 0));
        self.text = text;
        self.answered(outcome, response)
    }

    /// Turns an error into its token.
    pub(crate) fn answered(
        &mut self,
        outcome: Outcome<bool>,
        response: &mut Response,
    ) -> Outcome<bool> {
        match outcome {
            Err(Stop::Error(error)) if self.tries == 0 => {
                self.values.error = i64::from(error.number);
                response.error(&error);
                Ok(false)
            }
            // Out of a batch RETURN returns nothing.
            Err(Stop::Return(_)) => Ok(true),
            other => other,
        }
    }

    fn compile(&mut self, sql: &str, parameters: &Parameters) -> Result<Vec<Statement>> {
        let statements = batch::parse(sql)?;
        if statements.len() > 1 {
            self.refresh()?;
            for statement in &statements {
                let Statement::Sql(statement) = statement else {
                    continue;
                };
                if matches!(statement.as_ref(), SqlStatement::CreateView(_)) {
                    let text = "'CREATE VIEW' must be the only statement in the batch.";
                    return Err(SqlError::new(111, text).class(15));
                }
                if let Err(error) = self.bind_only(statement, parameters)
                    && COMPILE_ERRORS.contains(&error.number)
                {
                    return Err(error);
                }
            }
        }
        Ok(statements)
    }

    /// Binds a statement for the errors in it.
    pub(crate) fn bind_only(
        &self,
        statement: &SqlStatement,
        parameters: &Parameters,
    ) -> Result<()> {
        let types = parameters.types();
        let mut binder = Binder::new(&self.catalogue, &types, &self.values, false);
        binder.statement(statement)
    }

    pub(crate) fn run_statements(
        &mut self,
        statements: &[Statement],
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        let mut clean = true;
        for statement in statements {
            response.flow()?;
            match self.run_statement(statement, parameters, response, depth) {
                Ok(ok) => {
                    clean &= ok;
                    if ok
                        && !matches!(
                            statement,
                            Statement::If { .. } | Statement::Block(_) | Statement::Control(_)
                        )
                    {
                        self.values.error = 0;
                    }
                }
                Err(Stop::Error(error))
                    if self.tries == 0 && STATEMENT_ERRORS.contains(&error.number) =>
                {
                    self.values.error = i64::from(error.number);
                    response.error(&error);
                    clean = false;
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(clean)
    }

    pub(crate) fn run_statement(
        &mut self,
        statement: &Statement,
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        if depth > MAX_NESTED_RUNS {
            return Err(SqlError::new(217, "Maximum nesting level exceeded (limit 32).").into());
        }
        self.refresh()?;
        let described =
            matches!(statement, Statement::Sql(_) | Statement::Set(_) | Statement::ExecText(_));
        if self.options.format_only && !described {
            return Ok(true);
        }
        if self.options.idle() && !matches!(statement, Statement::Set(_)) {
            if let (Statement::Sql(statement), true) = (statement, self.options.compiles()) {
                self.bind_only(statement, parameters)?;
            }
            return Ok(true);
        }
        match statement {
            Statement::Sql(statement) => {
                return self.run_sql(statement, parameters, response).map(|()| true);
            }
            Statement::Key(statement) => {
                self.write(response, |session| session.run_key_statement(statement))?;
                response.done(0, None);
            }
            Statement::Security(statement) => {
                self.write(response, |session| session.run_security(statement))?;
                response.done(0, None);
            }
            Statement::BeginTransaction(name) => {
                self.begin(name.clone(), response)?;
                response.done(0, None);
            }
            Statement::Commit => {
                self.commit(response)?;
                response.done(0, None);
            }
            Statement::Rollback(name) => {
                self.rollback(name.clone(), response)?;
                response.done(0, None);
            }
            Statement::Save(name) => self.save(name)?,
            Statement::Option => {}
            Statement::NoCount(on) => self.no_count = *on,
            Statement::Set(option) => self.options.set(*option),
            Statement::ImplicitTransactions(on) => self.transaction.implicit = *on,
            Statement::Use(name) => self.use_database(name, response)?,
            Statement::Exec(exec) => return self.exec_statement(exec, parameters, response),
            Statement::ExecText(text) => {
                let (text, _) = self.evaluate(text, parameters)?;
                return self.exec_text(text, response);
            }
            Statement::Return(value) => {
                let status = match value {
                    None => Value::Integer(0),
                    Some(value) => self.evaluate(value, parameters)?.0,
                };
                let status = match status {
                    Value::Integer(n) => i32::try_from(n).map_err(|_| SqlError::overflow("int"))?,
                    _ => 0,
                };
                return Err(Stop::Return(status));
            }
            Statement::CreateProcedure(create) => {
                let text = self.text.clone();
                self.create_procedure(create, &text, response)?;
            }
            Statement::DropProcedure(drop) => self.drop_procedures(drop, response)?,
            Statement::If { condition, then, otherwise } => {
                let branch = if self.holds(condition, parameters)? { then } else { otherwise };
                return self.run_statements(branch, parameters, response, depth.saturating_add(1));
            }
            Statement::Control(control) => {
                return self.run_control(control, parameters, response, depth);
            }
            Statement::Block(statements) => {
                return self.run_statements(
                    statements,
                    parameters,
                    response,
                    depth.saturating_add(1),
                );
            }
            Statement::Declare(variables) => {
                for (name, data_type, value) in variables {
                    if let Some(found) = self.catalogue.variable_type(data_type) {
                        let (columns, constraints) =
                            (found.columns.clone(), found.constraints.clone());
                        self.declare_table(name, &columns, &constraints, response)?;
                        continue;
                    }
                    let ty = SqlType::of_variable(data_type)?;
                    // In a loop a variable is declared once, and set whenever its turn comes.
                    if self.loops == 0 || parameters.get(name).is_err() {
                        parameters.declare(name, ty)?;
                    }
                    if let Some(value) = value {
                        self.assign_variable(name, value, parameters)?;
                    }
                }
            }
            Statement::Type(statement) => {
                self.write(response, |session| session.run_type_statement(statement))?;
                response.done(0, None);
            }
            Statement::DeclareTable { name, columns, constraints } => {
                self.declare_table(name, columns, constraints, response)?;
            }
            Statement::InsertExec(insert) => {
                return self.insert_exec(insert, parameters, response, depth);
            }
            Statement::AlterTable(alter) => {
                self.write(response, |session| session.alter_table(alter))?;
                response.done(0, None);
            }
            Statement::InsertBulk(insert) => self.insert_bulk(insert, response)?,
            Statement::SetVariable(name, value) => self.assign_variable(name, value, parameters)?,
        }
        Ok(true)
    }

    fn run_sql(
        &mut self,
        statement: &SqlStatement,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<()> {
        match statement {
            SqlStatement::Query(query) => match select_into::split(query)? {
                None => self.run_query(query, parameters, response),
                Some((query, _)) if self.options.format_only => {
                    self.run_query(&query, parameters, response)
                }
                Some((query, name)) => self.select_into(&query, &name, parameters, response),
            },
            _ if self.options.format_only => {
                self.bind_only(statement, parameters)?;
                Ok(())
            }
            SqlStatement::Insert(_)
            | SqlStatement::Update(_)
            | SqlStatement::Delete(_)
            | SqlStatement::Merge(_) => self.run_write(statement, parameters, response),
            SqlStatement::CreateView(create) => {
                let text = self.text.clone();
                self.write(response, |session| session.create_view(create, &text))?;
                response.done(0, None);
                Ok(())
            }
            SqlStatement::CreateTable(_)
            | SqlStatement::CreateSchema { .. }
            | SqlStatement::Drop { .. }
            | SqlStatement::CreateIndex(_)
            | SqlStatement::Truncate(_) => {
                self.write(response, |session| session.run_ddl(statement))?;
                response.done(0, None);
                Ok(())
            }
            other => Err(crate::sql::bind::unsupported(other).into()),
        }
    }

    fn use_database(&mut self, name: &str, response: &mut Response) -> Result<()> {
        use crate::tds::token::{ENV_DATABASE, env_text, info};
        if !name.eq_ignore_ascii_case(DATABASE_NAME) {
            return Err(SqlError::new(
                911,
                format!(
                    "Database '{name}' does not exist. Make sure that the name is entered correctly."
                ),
            ));
        }
        response.token(|out| {
            env_text(out, ENV_DATABASE, DATABASE_NAME, DATABASE_NAME);
            info(out, 5701, &format!("Changed database context to '{DATABASE_NAME}'."));
        });
        Ok(())
    }

    pub(crate) fn holds(&mut self, condition: &Expr, parameters: &Parameters) -> Result<bool> {
        let types = parameters.types();
        let mut binder = Binder::new(&self.catalogue, &types, &self.values, false);
        let sql = binder.condition(condition)?;
        let binds = std::mem::take(&mut binder.binds);
        let sql = format!("SELECT CASE WHEN {sql} THEN 1 ELSE 0 END");
        let row = self.single_row(&sql, &binds, parameters, &[SqlType::Int])?;
        Ok(row.first() == Some(&Value::Integer(1)))
    }

    /// The plaintext value of an expression outside of a query.
    pub(crate) fn evaluate(
        &mut self,
        expr: &Expr,
        parameters: &Parameters,
    ) -> Result<(Value, SqlType)> {
        let types = parameters.types();
        let mut binder = Binder::new(&self.catalogue, &types, &self.values, false);
        let operand = binder.scalar(expr)?;
        binder.require_plain(&[&operand])?;
        let binds = std::mem::take(&mut binder.binds);
        let Some(ty) = operand.ty else {
            return Ok((Value::Null, SqlType::Int));
        };
        let row = self.single_row(&format!("SELECT {}", operand.sql), &binds, parameters, &[ty])?;
        Ok((row.into_iter().next().unwrap_or(Value::Null), ty))
    }

    fn assign_variable(
        &mut self,
        name: &str,
        value: &Expr,
        parameters: &mut Parameters,
    ) -> Result<()> {
        let (value, from) = self.evaluate(value, parameters)?;
        if let Ok((_, to)) = parameters.get(name) {
            require_implicit(&Operand::expression(String::new(), from), to)?;
        }
        parameters.assign(name, Argument::Plain(value), from)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.unlock();
        self.abandon_temporary();
    }
}
