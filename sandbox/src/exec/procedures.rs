//! The system procedures, called by RPC or by EXEC.

use crate::error::{Result, SqlError};
use crate::exec::parameters::{Argument, Parameters, wire_value};
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::sql::batch::{self, Exec};
use crate::tds::rpc::{
    Call, F_BY_REF_VALUE, Parameter as WireParameter, Procedure, SP_EXECUTE, SP_EXECUTESQL,
    SP_PREPARE, SP_PREPEXEC, SP_UNPREPARE,
};
use crate::tds::token;
use crate::types::{SqlType, Value, parse};

/// Statements that a connection may keep prepared.
const MAX_PREPARED: usize = 10_000;

/// What a call returns besides rows.
#[derive(Default)]
struct Returned {
    failed: bool,
    handle: Option<(String, i32)>,
}

impl Session {
    /// One call of an RPC message.
    pub(crate) fn call(&mut self, call: &Call, response: &mut Response) -> Outcome<()> {
        self.counters.rpc();
        response.set_in_procedure(true);
        let outcome = self.dispatch(call, response);
        let returned = match outcome {
            Ok(returned) => returned,
            Err(Stop::Error(error)) => {
                self.values.error = i64::from(error.number);
                response.token(|out| token::error(out, &error));
                Returned { failed: true, handle: None }
            }
            Err(Stop::Cancelled) => return Err(Stop::Cancelled),
        };
        let status = (!returned.failed).then_some(0);
        let handle = returned.handle;
        response.procedure_end(
            status,
            |out| {
                if let Some((name, handle)) = handle {
                    token::return_int(out, &name, handle);
                }
            },
            returned.failed,
        );
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
                self.execute_text(&declarations, &sql, rest, response)
            }
            "sp_describe_parameter_encryption" => {
                let sql = argument(parameters, "tsql", 0)?.ok_or_else(|| missing("@tsql"))?;
                let declarations = argument(parameters, "params", 1)?.unwrap_or_default();
                let ok = self.describe(&sql, &declarations, response)?;
                Ok(Returned { failed: !ok, handle: None })
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
                let mut returned = self.execute_text(&declarations, &sql, rest, response)?;
                returned.handle = self.keep(parameters, declarations, sql)?.handle;
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
                    response,
                )
            }
            "sp_unprepare" => {
                let handle = handle(parameters)?;
                self.prepared.remove(&handle).ok_or_else(|| unknown_handle(handle))?;
                Ok(Returned::default())
            }
            _ => {
                Err(SqlError::new(2812, format!("Could not find stored procedure '{name}'."))
                    .into())
            }
        }
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
        response: &mut Response,
    ) -> Outcome<Returned> {
        let declarations = parse::declarations(declarations)?;
        if declarations.iter().any(|declaration| declaration.output)
            || sent.iter().any(|parameter| parameter.status & F_BY_REF_VALUE != 0)
        {
            return Err(SqlError::unsupported("output parameters").into());
        }
        self.refresh()?;
        let parameters =
            Parameters::from_wire(&declarations, sent, &self.catalogue, self.column_encryption)?;
        let clean = self.run(sql, parameters, response)?;
        Ok(Returned { failed: !clean, handle: None })
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
        Ok(Returned { failed: false, handle: Some((name, handle)) })
    }

    /// EXEC in a batch.
    pub(crate) fn exec_statement(
        &mut self,
        exec: &Exec,
        parameters: &Parameters,
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
            "sp_executesql" => {
                let sql = self
                    .text_argument(exec, "@stmt", 0, parameters)?
                    .ok_or_else(|| missing("@stmt"))?;
                let declarations =
                    self.text_argument(exec, "@params", 1, parameters)?.unwrap_or_default();
                let declarations = parse::declarations(&declarations)?;
                let mut inner = Parameters::declared(&declarations);
                for (at, (name, expr)) in exec.arguments.iter().skip(2).enumerate() {
                    let (value, from) = self.evaluate(expr, parameters)?;
                    let by_position =
                        declarations.get(at).map(|declaration| declaration.name.clone());
                    let name = name.clone().or(by_position).ok_or_else(|| missing("@params"))?;
                    inner.assign(&name, Argument::Plain(value), from)?;
                }
                self.run(&sql, inner, response)
            }
            _ => Err(SqlError::new(
                2812,
                format!("Could not find stored procedure '{}'.", exec.procedure),
            )
            .into()),
        }
    }

    fn text_argument(
        &mut self,
        exec: &Exec,
        name: &str,
        position: usize,
        parameters: &Parameters,
    ) -> Result<Option<String>> {
        let named = exec.arguments.iter().find(|(known, _)| {
            known.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        let by_position = exec.arguments.get(position).filter(|(name, _)| name.is_none());
        let Some((_, expr)) = named.or(by_position) else {
            return Ok(None);
        };
        match self.evaluate(expr, parameters)? {
            (Value::Text(text), _) => Ok(Some(text)),
            (Value::Null, _) => Ok(None),
            (_, ty) => Err(expects_text(ty)),
        }
    }
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
