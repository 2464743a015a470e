//! The procedures of the database: made, dropped, and called by RPC or by EXEC.

use std::sync::Arc;

use crate::catalogue::{DATABASE_NAME, Encryption, security, store};
use crate::error::{Result, SqlError};
use crate::exec::parameters::{Argument, Parameters};
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::exec::system;
use crate::sql::batch::{self, Statement};
use crate::sql::names;
use crate::sql::procedure::{CreateProcedure, DropProcedure, Exec, ExecArgument, Procedure};
use crate::types::temporal::now_utc;
use crate::types::{SqlType, Value};

/// How deep procedures may call procedures.
pub(crate) const MAX_NESTING: usize = 32;

/// Errors that may go away before the procedure is called: a table or a procedure is not there yet.
const DEFERRED: &[i32] = &[208, 2812];

/// A procedure as the catalogue keeps it.
#[derive(Debug, Clone)]
pub(crate) struct StoredProcedure {
    pub(crate) object_id: i64,
    pub(crate) procedure: Procedure,
}

/// From the text of its CREATE PROCEDURE.
pub(crate) fn read(object_id: i64, text: &str) -> Result<StoredProcedure> {
    match batch::parse(text)?.into_iter().next() {
        Some(Statement::CreateProcedure(create)) => {
            Ok(StoredProcedure { object_id, procedure: create.procedure })
        }
        _ => Err(SqlError::new(596, "The sandbox's catalogue is damaged.")),
    }
}

impl Session {
    pub(crate) fn create_procedure(
        &mut self,
        create: &CreateProcedure,
        text: &str,
        response: &mut Response,
    ) -> Outcome<()> {
        self.write(response, |session| session.store_procedure(create, text))?;
        response.done(0, None);
        Ok(())
    }

    fn store_procedure(&mut self, create: &CreateProcedure, text: &str) -> Result<()> {
        self.refresh()?;
        let procedure = &create.procedure;
        let name = &procedure.name;
        self.require_schema(&name.schema)?;
        let old = self.catalogue.procedure(name).map(|procedure| procedure.object_id);
        self.require_create("CREATE PROCEDURE", &name.schema, old)?;
        if (old.is_some() && !create.replaces) || (old.is_none() && self.catalogue.is_object(name))
        {
            return Err(SqlError::new(
                2714,
                format!("There is already an object named '{}' in the database.", name.name),
            ));
        }
        if old.is_none() && !create.creates {
            return Err(SqlError::invalid_object(&name.name));
        }
        let schemes = match self.schemes_of(procedure, 0) {
            Ok(schemes) => schemes,
            Err(error) if DEFERRED.contains(&error.number) => {
                vec![None; procedure.parameters.len()]
            }
            Err(error) => return Err(error),
        };
        let object_id = match old {
            Some(object_id) => {
                store::delete_procedure(&self.connection, object_id)?;
                object_id
            }
            None => store::next_object_id(&self.connection)?,
        };
        let created = now_utc();
        store::insert_procedure(
            &self.connection,
            object_id,
            procedure,
            &schemes,
            &self.catalogue.table_types,
            text,
            created,
        )
    }

    pub(crate) fn drop_procedures(
        &mut self,
        drop: &DropProcedure,
        response: &mut Response,
    ) -> Outcome<()> {
        self.write(response, |session| {
            session.refresh()?;
            for name in &drop.names {
                let found = session.catalogue.procedure(name).map(|stored| stored.object_id);
                let allowed = found.is_none_or(|id| session.may_alter(id, &name.schema));
                match found.filter(|_| allowed) {
                    Some(object_id) => {
                        security::forget_object(&session.connection, object_id)?;
                        store::delete_procedure(&session.connection, object_id)?;
                    }
                    None if drop.if_exists && allowed => {}
                    None => {
                        return Err(SqlError::new(
                            3701,
                            format!(
                                "Cannot drop the procedure '{}', because it does not exist or you do not have \
                                 permission.",
                                name.name
                            ),
                        )
                        .class(11));
                    }
                }
            }
            Ok(())
        })?;
        response.done(0, None);
        Ok(())
    }

    /// A procedure of the database by its name as a client wrote it.
    pub(crate) fn find_procedure(&self, name: &str) -> Option<Arc<StoredProcedure>> {
        let (database, name) = names::in_text(name)?;
        let here = database.is_none_or(|name| name.eq_ignore_ascii_case(DATABASE_NAME));
        let own = self.catalogue.procedure(&name).filter(|_| here).cloned();
        own.or_else(|| system::procedure(&name))
    }

    /// 229, unless the login may run the procedure or one that runs vouches for it.
    pub(crate) fn require_execute(&self, stored: &StoredProcedure) -> Result<()> {
        // Those of `sys` are everybody's.
        if self.values.vouched || stored.object_id == 0 {
            return Ok(());
        }
        let name = &stored.procedure.name;
        self.access().require_object("EXECUTE", stored.object_id, &name.schema, &name.name)
    }

    /// Parameters with the values that they have if nothing is passed, and which ones have such a value.
    pub(crate) fn with_defaults(
        &mut self,
        procedure: &Procedure,
    ) -> Result<(Parameters, Vec<bool>)> {
        let mut parameters = Parameters::declared(&procedure.parameters);
        let mut given = Vec::new();
        for declaration in &procedure.parameters {
            if let Some(table) = &declaration.table
                && self.catalogue.table_type(table).is_none()
            {
                return Err(SqlError::new(2715, format!("Cannot find data type {}.", table.name)));
            }
            if let Some(default) = &declaration.default {
                let (value, from) = self.evaluate(default, &Parameters::default())?;
                parameters.assign(&declaration.name, Argument::Plain(value), from)?;
            }
            // A table that is not passed has no rows.
            given.push(declaration.default.is_some() || declaration.table.is_some());
        }
        Ok((parameters, given))
    }

    /// Runs the body. Whether no statement of it failed, and the value of its RETURN.
    pub(crate) fn run_procedure(
        &mut self,
        stored: &StoredProcedure,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<(bool, i32)> {
        if self.nesting >= MAX_NESTING {
            return Err(too_deep().into());
        }
        let schemes = self.schemes_of(&stored.procedure, 0)?;
        parameters.require(&schemes, &self.catalogue)?;
        // What the body sets and inserts is its own affair.
        let (no_count, options) = (self.no_count, self.options);
        let identity = self.values.scope_identity.take();
        self.nesting = self.nesting.saturating_add(1);
        let vouched = std::mem::replace(&mut self.values.vouched, true);
        self.enter_scope(false);
        let outcome = self
            .take_tables(parameters, response)
            .and_then(|()| self.run_statements(&stored.procedure.body, parameters, response, 0));
        self.leave_scope(response);
        self.values.vouched = vouched;
        self.nesting = self.nesting.saturating_sub(1);
        (self.no_count, self.options) = (no_count, options);
        self.values.scope_identity = identity;
        match outcome {
            Ok(clean) => Ok((clean, 0)),
            Err(Stop::Return(status)) => Ok((true, status)),
            Err(stop) => {
                if matches!(stop, Stop::Error(_)) {
                    self.failed_in.get_or_insert_with(|| stored.procedure.name.name.clone());
                }
                Err(stop)
            }
        }
    }

    /// EXEC of a procedure of the database.
    pub(crate) fn exec_stored(
        &mut self,
        stored: &StoredProcedure,
        exec: &Exec,
        caller: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<bool> {
        self.require_execute(stored)?;
        let procedure = &stored.procedure;
        let (mut parameters, mut given) = self.with_defaults(procedure)?;
        let mut outputs = Vec::new();
        for (position, argument) in exec.arguments.iter().enumerate() {
            let at = position_of(procedure, argument, position)?;
            if argument.is_default() {
                continue;
            }
            let Some(declaration) = procedure.parameters.get(at) else { continue };
            if declaration.table.is_some() {
                let variable = argument.variable().ok_or_else(|| SqlError::syntax("READONLY"))?;
                let rows = self.rows_of_variable(variable)?;
                parameters.pass_table(&declaration.name, rows);
                continue;
            }
            let (value, from) = self.argument_value(argument, caller)?;
            if argument.output {
                if !declaration.output {
                    return Err(not_an_output(&declaration.name).into());
                }
                let variable = argument.variable().ok_or_else(|| SqlError::syntax("OUTPUT"))?;
                outputs.push((declaration.name.clone(), variable.to_owned()));
            }
            parameters.pass(declaration, argument.output, value, from, &self.catalogue)?;
            if let Some(given) = given.get_mut(at) {
                *given = true;
            }
        }
        require_all(procedure, &given)?;
        let outermost = response.enter_procedure();
        let result = self.run_procedure(stored, &mut parameters, response);
        let (clean, status) = match result {
            Ok(result) => result,
            Err(stop) => {
                response.set_in_procedure(!outermost);
                return Err(stop);
            }
        };
        if outermost {
            response.procedure_end(Some(status), |_| (), !clean);
        }
        for (name, variable) in outputs {
            let (value, from) = parameters.get(&name)?;
            caller.assign(&variable, value, from)?;
        }
        if let Some(variable) = &exec.return_to {
            let status = Argument::Plain(Value::Integer(i64::from(status)));
            caller.assign(variable, status, SqlType::Int)?;
        }
        Ok(clean)
    }

    /// A variable is passed on as it is, encrypted or not; anything else is evaluated.
    pub(crate) fn argument_value(
        &mut self,
        argument: &ExecArgument,
        caller: &Parameters,
    ) -> Result<(Argument, SqlType)> {
        if let Some(variable) = argument.variable() {
            return caller.get(variable);
        }
        self.evaluate(&argument.value, caller).map(|(value, ty)| (Argument::Plain(value), ty))
    }

    /// How the body says that each of the parameters must be encrypted.
    pub(crate) fn schemes_of(
        &self,
        procedure: &Procedure,
        depth: usize,
    ) -> Result<Vec<Option<Encryption>>> {
        let mut schemes =
            self.describe_body(&procedure.body, &procedure.parameters, depth, true)?;
        schemes.truncate(procedure.parameters.len());
        Ok(schemes)
    }
}

/// Which parameter an argument of EXEC is for.
pub(crate) fn position_of(
    procedure: &Procedure,
    argument: &ExecArgument,
    position: usize,
) -> Result<usize> {
    let shown = &procedure.name.name;
    match &argument.name {
        Some(name) => procedure
            .parameters
            .iter()
            .position(|known| known.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                SqlError::new(8145, format!("{name} is not a parameter for procedure {shown}."))
            }),
        None if position < procedure.parameters.len() => Ok(position),
        None => Err(SqlError::new(
            8144,
            format!("Procedure or function {shown} has too many arguments specified."),
        )),
    }
}

/// 201, unless every parameter has a value.
pub(crate) fn require_all(procedure: &Procedure, given: &[bool]) -> Result<()> {
    match procedure.parameters.iter().zip(given).find(|(_, given)| !**given) {
        None => Ok(()),
        Some((missing, _)) => Err(SqlError::new(
            201,
            format!(
                "Procedure or function '{}' expects parameter '{}', which was not supplied.",
                procedure.name.name, missing.name
            ),
        )),
    }
}

pub(crate) fn not_an_output(name: &str) -> SqlError {
    SqlError::new(
        8162,
        format!(
            "The formal parameter \"{name}\" was not declared as an OUTPUT parameter, but the actual parameter passed \
             in requested output."
        ),
    )
}

pub(crate) fn too_deep() -> SqlError {
    SqlError::new(
        217,
        format!(
            "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit {MAX_NESTING})."
        ),
    )
}
