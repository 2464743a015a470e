//! The system procedures, called by RPC or by EXEC.

use crate::error::{Result, SqlError};
use crate::exec::parameters::{Argument, Parameters, wire_value};
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::exec::stored::{MAX_NESTING, StoredProcedure, not_an_output, require_all, too_deep};
use crate::sql::batch;
use crate::sql::procedure::Exec;
use crate::tds::rpc::{
    Call, F_BY_REF_VALUE, Parameter as WireParameter, Procedure, SP_EXECUTE, SP_EXECUTESQL,
    SP_PREPARE, SP_PREPEXEC, SP_UNPREPARE,
};
use crate::tds::token::{self, ResultColumn};
use crate::tds::type_info::write_value;
use crate::types::parse::{self, Declaration};
use crate::types::{SqlType, Value};

/// Statements that a connection may keep prepared.
const MAX_PREPARED: usize = 10_000;

/// What a call returns besides rows.
#[derive(Default)]
struct Returned {
    failed: bool,
    status: i32,
    /// RETURNVALUE tokens.
    values: Vec<u8>,
}

/// The procedures that this program has of SQL Server's, called by name or by EXEC.
const SYSTEM_PROCEDURES: &[&str] = &[
    "sp_executesql",
    "sp_describe_parameter_encryption",
    "sp_prepare",
    "sp_prepexec",
    "sp_execute",
    "sp_unprepare",
    "sp_describe_undeclared_parameters",
    "sp_reset_connection",
    "sp_tablecollations_100",
    "sp_bcp_dbcmptlevel",
];

/// ProcIDs and names of server cursors (MS-TDS 2.2.6.6), and of RPCs that are prepared.
const REFUSED: &[(u16, &str)] = &[
    (1, "sp_cursor"),
    (2, "sp_cursoropen"),
    (3, "sp_cursorprepare"),
    (4, "sp_cursorexecute"),
    (5, "sp_cursorprepexec"),
    (6, "sp_cursorunprepare"),
    (7, "sp_cursorfetch"),
    (8, "sp_cursoroption"),
    (9, "sp_cursorclose"),
    (14, "sp_prepexecrpc"),
];

fn refused(name: &str) -> Stop {
    Stop::Error(SqlError::unsupported(format!("{name}: there are no server cursors here")))
}

pub(crate) fn is_system_procedure(name: &str) -> bool {
    SYSTEM_PROCEDURES.contains(&base_name(name).as_str())
}

impl Session {
    /// One call of an RPC message.
    pub(crate) fn call(&mut self, call: &Call, response: &mut Response) -> Outcome<()> {
        self.counters.rpc();
        response.set_in_procedure(true);
        if self.options.idle() {
            response.procedure_end(None, |_| {}, false);
            return Ok(());
        }
        let outcome = self.dispatch(call, response);
        let returned = match outcome {
            Ok(returned) => returned,
            Err(Stop::Error(error)) => {
                self.values.error = i64::from(error.number);
                response.token(|out| token::error(out, &error));
                Returned { failed: true, ..Returned::default() }
            }
            Err(stop) => return Err(stop),
        };
        let status = (!returned.failed).then_some(returned.status);
        let values = returned.values;
        response.procedure_end(status, |out| out.extend_from_slice(&values), returned.failed);
        Ok(())
    }

    fn dispatch(&mut self, call: &Call, response: &mut Response) -> Outcome<Returned> {
        let name = match &call.procedure {
            Procedure::Id(SP_EXECUTESQL) => "sp_executesql".to_owned(),
            Procedure::Id(SP_PREPARE) => "sp_prepare".to_owned(),
            Procedure::Id(SP_EXECUTE) => "sp_execute".to_owned(),
            Procedure::Id(SP_PREPEXEC) => "sp_prepexec".to_owned(),
            Procedure::Id(SP_UNPREPARE) => "sp_unprepare".to_owned(),
            Procedure::Id(other) => {
                if let Some((_, name)) = REFUSED.iter().find(|(id, _)| id == other) {
                    return Err(refused(name));
                }
                return Err(SqlError::unsupported(format!("the system procedure {other}")).into());
            }
            Procedure::Name(name) => name.clone(),
        };
        let parameters = call.parameters.as_slice();
        match base_name(&name).as_str() {
            "sp_executesql" => {
                let (declarations, rest) = match parameters {
                    [_] => (String::new(), [].as_slice()),
                    [_, declarations, rest @ ..] => (text(declarations)?.unwrap_or_default(), rest),
                    [] => return Err(missing("@statement")),
                };
                let sql = parameters.first().map(text).transpose()?.flatten().unwrap_or_default();
                self.execute_text(&declarations, &sql, rest, 2, response)
            }
            "sp_describe_parameter_encryption" => {
                let sql = argument(parameters, "tsql", 0)?.ok_or_else(|| missing("@tsql"))?;
                let declarations = argument(parameters, "params", 1)?.unwrap_or_default();
                let ok = self.describe(&sql, &declarations, response)?;
                Ok(Returned { failed: !ok, ..Returned::default() })
            }
            "sp_describe_undeclared_parameters" => {
                let sql = argument(parameters, "tsql", 0)?.ok_or_else(|| missing("@tsql"))?;
                let declarations = argument(parameters, "params", 1)?.unwrap_or_default();
                self.describe_undeclared(&sql, &declarations, response)?;
                Ok(Returned::default())
            }
            "sp_tablecollations_100" => {
                let table = argument(parameters, "object", 0)?.ok_or_else(|| missing("@object"))?;
                self.refresh()?;
                self.table_collations(&table, response)?;
                Ok(Returned::default())
            }
            "sp_bcp_dbcmptlevel" => {
                self.compatibility_level(response)?;
                Ok(Returned::default())
            }
            "sp_reset_connection" => {
                self.reset(false, response)?;
                Ok(Returned::default())
            }
            "sp_prepare" => {
                let (declarations, sql) = prepared_text(parameters, 1)?;
                parse::declarations(&declarations)?;
                batch::parse(&sql).map_err(|error| self.not_prepared(&error, response))?;
                self.keep(parameters, declarations, sql)
            }
            "sp_prepexec" => {
                let (declarations, sql) = prepared_text(parameters, 1)?;
                let rest = parameters.get(3..).unwrap_or_default();
                let mut returned = self.execute_text(&declarations, &sql, rest, 3, response)?;
                let handle = self.keep(parameters, declarations, sql)?.values;
                returned.values.splice(..0, handle);
                Ok(returned)
            }
            "sp_execute" => {
                let handle = handle(parameters)?;
                let (declarations, sql) =
                    self.prepared.get(&handle).cloned().ok_or_else(|| unknown_handle(handle))?;
                self.execute_text(
                    &declarations,
                    &sql,
                    parameters.get(1..).unwrap_or_default(),
                    1,
                    response,
                )
            }
            "sp_unprepare" => {
                let handle = handle(parameters)?;
                self.prepared.remove(&handle).ok_or_else(|| unknown_handle(handle))?;
                Ok(Returned::default())
            }
            _ => {
                self.refresh()?;
                let cursor = REFUSED.iter().find(|(_, known)| *known == base_name(&name));
                match self.find_procedure(&name) {
                    None if cursor.is_some() => Err(refused(&name)),
                    Some(stored) => self.call_stored(&stored, parameters, response),
                    None => Err(not_found(&name).into()),
                }
            }
        }
    }

    /// A procedure of the database.
    fn call_stored(
        &mut self,
        stored: &StoredProcedure,
        sent: &[WireParameter],
        response: &mut Response,
    ) -> Outcome<Returned> {
        self.require_execute(stored)?;
        let procedure = &stored.procedure;
        let shown = &procedure.name.name;
        let (mut parameters, mut given) = self.with_defaults(procedure)?;
        let catalogue = std::sync::Arc::clone(&self.catalogue);
        parameters.receive(sent, &mut given, shown, &catalogue, self.column_encryption)?;
        require_all(procedure, &given)?;
        let outputs = outputs(&procedure.parameters, sent, &parameters, shown)?;
        let (clean, status) = self.run_procedure(stored, &mut parameters, response)?;
        let values = self.return_values(&outputs, &parameters, 0)?;
        Ok(Returned { failed: !clean, status, values })
    }

    /// RETURNVALUEs. `first` is the position of the first of the parameters in the call.
    fn return_values(
        &self,
        outputs: &[Output],
        parameters: &Parameters,
        first: usize,
    ) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for output in outputs {
            let Some((name, argument, ty)) = parameters.at(output.parameter) else { continue };
            let mut column = ResultColumn::plain(name, ty);
            let value = match argument {
                Argument::Plain(value) => value.clone(),
                Argument::Encrypted { cell, encryption } => {
                    column.crypto = Some(encryption.on_wire());
                    cell.clone().map_or(Value::Null, Value::Bytes)
                }
            };
            // Under the name that the client gave, or none: ODBC takes no other for a parameter without one.
            let ordinal = first.saturating_add(output.position);
            let ordinal = u16::try_from(ordinal).unwrap_or(u16::MAX);
            token::return_head(&mut out, ordinal, &output.name, &column, self.column_encryption);
            write_value(&mut out, &value, column.wire_type(), &column.collation)?;
        }
        Ok(out)
    }

    fn not_prepared(&mut self, error: &SqlError, response: &mut Response) -> SqlError {
        response.token(|out| token::error(out, error));
        SqlError::not_prepared()
    }

    /// The text of sp_executesql and its kin, with the parameters that a client sent.
    fn execute_text(
        &mut self,
        declarations: &str,
        sql: &str,
        sent: &[WireParameter],
        first: usize,
        response: &mut Response,
    ) -> Outcome<Returned> {
        const NAME: &str = "sp_executesql";
        let declarations = parse::declarations(declarations)?;
        self.refresh()?;
        let mut parameters = Parameters::declared(&declarations);
        let mut given: Vec<bool> =
            declarations.iter().map(|declaration| declaration.table.is_some()).collect();
        let catalogue = std::sync::Arc::clone(&self.catalogue);
        parameters.receive(sent, &mut given, NAME, &catalogue, self.column_encryption)?;
        if let Some((missing, _)) = declarations.iter().zip(&given).find(|(_, given)| !**given) {
            return Err(SqlError::new(
                8178,
                format!(
                    "The parameterized query expects the parameter '{}', which was not supplied.",
                    missing.name
                ),
            )
            .into());
        }
        let outputs = outputs(&declarations, sent, &parameters, NAME)?;
        let clean = self.run(sql, &mut parameters, response)?;
        let values = self.return_values(&outputs, &parameters, first)?;
        Ok(Returned { failed: !clean, values, ..Returned::default() })
    }

    fn keep(
        &mut self,
        parameters: &[WireParameter],
        declarations: String,
        sql: String,
    ) -> Outcome<Returned> {
        if self.prepared.len() >= MAX_PREPARED {
            return Err(SqlError::unsupported(format!(
                "more than {MAX_PREPARED} prepared statements"
            ))
            .into());
        }
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1).max(1);
        self.prepared.insert(handle, (declarations, sql));
        let name = parameters.first().map(|parameter| parameter.name.clone()).unwrap_or_default();
        let mut returned = Returned::default();
        token::return_int(&mut returned.values, &name, handle);
        Ok(returned)
    }

    /// EXEC in a batch.
    pub(crate) fn exec_statement(
        &mut self,
        exec: &Exec,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<bool> {
        match base_name(&exec.procedure).as_str() {
            "sp_describe_parameter_encryption" => {
                let sql = self
                    .text_argument(exec, "@tsql", 0, parameters)?
                    .ok_or_else(|| missing("@tsql"))?;
                let declarations =
                    self.text_argument(exec, "@params", 1, parameters)?.unwrap_or_default();
                self.describe(&sql, &declarations, response)
            }
            "sp_executesql" => self.exec_sql(exec, parameters, response),
            "sp_describe_undeclared_parameters" => {
                let sql = self
                    .text_argument(exec, "@tsql", 0, parameters)?
                    .ok_or_else(|| missing("@tsql"))?;
                let declarations =
                    self.text_argument(exec, "@params", 1, parameters)?.unwrap_or_default();
                self.describe_undeclared(&sql, &declarations, response)?;
                Ok(true)
            }
            "sp_tablecollations_100" => {
                let table = self
                    .text_argument(exec, "@object", 0, parameters)?
                    .ok_or_else(|| missing("@object"))?;
                self.table_collations(&table, response)?;
                Ok(true)
            }
            "sp_bcp_dbcmptlevel" => self.compatibility_level(response).map(|()| true),
            "sp_reset_connection" => self.reset(false, response).map(|()| true),
            _ => match self.find_procedure(&exec.procedure) {
                Some(stored) => self.exec_stored(&stored, exec, parameters, response),
                None => Err(not_found(&exec.procedure).into()),
            },
        }
    }

    /// EXEC sp_executesql.
    fn exec_sql(
        &mut self,
        exec: &Exec,
        parameters: &mut Parameters,
        response: &mut Response,
    ) -> Outcome<bool> {
        let sql =
            self.text_argument(exec, "@stmt", 0, parameters)?.ok_or_else(|| missing("@stmt"))?;
        let declarations = self.text_argument(exec, "@params", 1, parameters)?.unwrap_or_default();
        let declarations = parse::declarations(&declarations)?;
        let mut inner = Parameters::declared(&declarations);
        let mut outputs = Vec::new();
        for (at, argument) in exec.arguments.iter().skip(2).enumerate() {
            let named = |known: &Declaration| {
                argument.name.as_ref().is_some_and(|name| known.name.eq_ignore_ascii_case(name))
            };
            let declaration = match &argument.name {
                Some(_) => declarations.iter().find(|known| named(known)),
                None => declarations.get(at),
            };
            let declaration = declaration.ok_or_else(|| missing("@params"))?;
            let (value, from) = self.argument_value(argument, parameters)?;
            if argument.output {
                if !declaration.output {
                    return Err(not_an_output(&declaration.name).into());
                }
                let variable = argument.variable().ok_or_else(|| SqlError::syntax("OUTPUT"))?;
                outputs.push((declaration.name.clone(), variable.to_owned()));
            }
            inner.pass(declaration, argument.output, value, from, &self.catalogue)?;
        }
        // Nobody vouches for what a text does.
        let vouched = std::mem::take(&mut self.values.vouched);
        let ran = self.run(&sql, &mut inner, response);
        self.values.vouched = vouched;
        let clean = ran?;
        for (name, variable) in outputs {
            let (value, from) = inner.get(&name)?;
            parameters.assign(&variable, value, from)?;
        }
        Ok(clean)
    }

    /// EXEC of a string: a batch of its own, which sees no variables.
    pub(crate) fn exec_text(&mut self, text: Value, response: &mut Response) -> Outcome<bool> {
        if self.nesting >= MAX_NESTING {
            return Err(too_deep().into());
        }
        let text = match text {
            Value::Text(text) => text,
            _ => return Ok(true),
        };
        self.nesting = self.nesting.saturating_add(1);
        let vouched = std::mem::take(&mut self.values.vouched);
        let outcome = self.run(&text, &mut Parameters::default(), response);
        self.values.vouched = vouched;
        self.nesting = self.nesting.saturating_sub(1);
        outcome
    }

    fn text_argument(
        &mut self,
        exec: &Exec,
        name: &str,
        position: usize,
        parameters: &Parameters,
    ) -> Result<Option<String>> {
        let named = exec.arguments.iter().find(|argument| {
            argument.name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        let by_position = exec.arguments.get(position).filter(|argument| argument.name.is_none());
        let Some(argument) = named.or(by_position) else {
            return Ok(None);
        };
        let expr = &argument.value;
        match self.evaluate(expr, parameters)? {
            (Value::Text(text), _) => Ok(Some(text)),
            (Value::Null, _) => Ok(None),
            (_, ty) => Err(expects_text(ty)),
        }
    }
}

/// A parameter of a call whose value goes back.
struct Output {
    /// As the client calls it, perhaps not at all.
    name: String,
    /// In the call, among the parameters of the procedure.
    position: usize,
    /// In the procedure.
    parameter: usize,
}

fn outputs(
    declarations: &[Declaration],
    sent: &[WireParameter],
    parameters: &Parameters,
    procedure: &str,
) -> Result<Vec<Output>> {
    let mut list = Vec::new();
    for (position, wire) in sent.iter().enumerate() {
        if wire.status & F_BY_REF_VALUE == 0 {
            continue;
        }
        let parameter = parameters.find(wire, position, declarations.len(), procedure)?;
        match declarations.get(parameter) {
            Some(declaration) if !declaration.output => {
                return Err(not_an_output(&declaration.name));
            }
            _ => list.push(Output { name: wire.name.clone(), position, parameter }),
        }
    }
    Ok(list)
}

/// The name is shown without the brackets that a client put around it.
pub(crate) fn not_found(procedure: &str) -> SqlError {
    let parts = crate::sql::names::split(procedure);
    let name = parts.map_or_else(|| procedure.to_owned(), |parts| parts.join("."));
    SqlError::new(2812, format!("Could not find stored procedure '{name}'."))
}

fn base_name(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches(|c| matches!(c, '[' | ']' | '"')).to_ascii_lowercase()
}

fn missing(parameter: &str) -> Stop {
    Stop::Error(SqlError::new(
        201,
        format!("Procedure or function expects parameter '{parameter}', which was not supplied."),
    ))
}

fn expects_text(ty: SqlType) -> SqlError {
    SqlError::new(
        214,
        format!("Procedure expects a parameter of type 'ntext/nchar/nvarchar', not {ty}."),
    )
}

fn unknown_handle(handle: i32) -> SqlError {
    SqlError::new(8179, format!("Could not find prepared statement with handle {handle}."))
}

fn text(parameter: &WireParameter) -> Result<Option<String>> {
    match wire_value(parameter)? {
        (Value::Text(text), _) => Ok(Some(text)),
        (Value::Null, _) => Ok(None),
        (_, ty) => Err(expects_text(ty.unwrap_or(SqlType::Int))),
    }
}

/// By name, or by position among those without one.
fn argument(parameters: &[WireParameter], name: &str, position: usize) -> Result<Option<String>> {
    let named = parameters
        .iter()
        .find(|parameter| parameter.name.trim_start_matches('@').eq_ignore_ascii_case(name));
    let by_position = parameters.get(position).filter(|parameter| parameter.name.is_empty());
    named.or(by_position).map(text).transpose().map(Option::flatten)
}

/// Declarations and text of sp_prepare and sp_prepexec.
fn prepared_text(parameters: &[WireParameter], at: usize) -> Outcome<(String, String)> {
    let declarations = parameters.get(at).ok_or_else(|| missing("@params"))?;
    let sql = parameters.get(at.saturating_add(1)).ok_or_else(|| missing("@stmt"))?;
    Ok((text(declarations)?.unwrap_or_default(), text(sql)?.unwrap_or_default()))
}

fn handle(parameters: &[WireParameter]) -> Outcome<i32> {
    let first = parameters.first().ok_or_else(|| missing("@handle"))?;
    match wire_value(first)? {
        (Value::Integer(n), _) => Ok(i32::try_from(n).map_err(|_| SqlError::overflow("int"))?),
        _ => Err(missing("@handle")),
    }
}
