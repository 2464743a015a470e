//! Runs WHILE and TRY, and raises errors that T-SQL raises itself.

use sqlparser::ast::Expr;

use crate::error::{Result, SqlError};
use crate::exec::parameters::Parameters;
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::sql::batch::Statement;
use crate::sql::control::Control;
use crate::tds::token;
use crate::types::convert::{Excess, convert};
use crate::types::{Length, SqlType, Value};

/// What RAISERROR and THROW may carry.
const TEXT: SqlType = SqlType::NVarChar(Length::N(2048));
/// What PRINT shows at most.
const PRINTED: SqlType = SqlType::NVarChar(Length::N(4000));
/// The number of an error that has only a text.
const USER_ERROR: i32 = 50_000;
/// From here on RAISERROR needs WITH LOG, and the connection does not survive from the next on.
const LOGGED_SEVERITY: i64 = 19;
const FATAL_SEVERITY: i64 = 20;

/// An error that a CATCH is about.
#[derive(Debug, Clone)]
pub(crate) struct Caught {
    pub(crate) error: SqlError,
    pub(crate) procedure: Option<String>,
}

impl Session {
    pub(crate) fn run_control(
        &mut self,
        control: &Control,
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        let depth = depth.saturating_add(1);
        match control {
            Control::While { condition, body } => {
                self.loops = self.loops.saturating_add(1);
                let outcome = self.run_loop(condition, body, parameters, response, depth);
                self.loops = self.loops.saturating_sub(1);
                outcome
            }
            Control::Break => Err(Stop::Break),
            Control::Continue => Err(Stop::Continue),
            Control::Try { body, handler } => {
                self.run_try(body, handler, parameters, response, depth)
            }
            Control::Throw(None) => match &self.values.caught {
                Some(caught) => Err(caught.error.clone().into()),
                None => {
                    let text = "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the \
                                THROW statement inside a CATCH block, or add error parameters to the THROW statement.";
                    Err(SqlError::new(10704, text).class(15).into())
                }
            },
            Control::Throw(Some((number, message, state))) => {
                let number = self.integer(number, parameters)?;
                let text = self.text_of(message, TEXT, parameters)?;
                let state = self.integer(state, parameters)?;
                if number < i64::from(USER_ERROR) {
                    let text = format!(
                        "Error number {number} in the THROW statement is outside the valid range. Specify an error number in \
                         the valid range of 50000 to 2147483647."
                    );
                    return Err(SqlError::new(35100, text).class(16).into());
                }
                let number = i32::try_from(number).map_err(|_| SqlError::overflow("int"))?;
                Err(with_state(SqlError::new(number, text), state).into())
            }
            Control::RaiseError { message, severity, state, arguments, log } => {
                let error = self.raised((message, severity, state), arguments, *log, parameters)?;
                self.raise(error, response)
            }
            Control::Print(expr) => {
                let text = self.text_of(expr, PRINTED, parameters)?;
                let message = SqlError::new(0, text).class(0);
                response.token(|out| token::message_info(out, &message));
                Ok(true)
            }
        }
    }

    fn run_loop(
        &mut self,
        condition: &Expr,
        body: &[Statement],
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        let mut clean = true;
        loop {
            // An attention must end a loop that has nothing to say.
            response.flow()?;
            self.refresh()?;
            if !self.holds(condition, parameters)? {
                return Ok(clean);
            }
            match self.run_statements(body, parameters, response, depth) {
                Ok(ok) => clean &= ok,
                Err(Stop::Break) => return Ok(clean),
                Err(Stop::Continue) => {}
                Err(stop) => return Err(stop),
            }
        }
    }

    fn run_try(
        &mut self,
        body: &[Statement],
        handler: &[Statement],
        parameters: &mut Parameters,
        response: &mut Response,
        depth: usize,
    ) -> Outcome<bool> {
        self.tries = self.tries.saturating_add(1);
        self.failed_in = None;
        let outcome = self.run_statements(body, parameters, response, depth);
        self.tries = self.tries.saturating_sub(1);
        let error = match outcome {
            Err(Stop::Error(error)) => error,
            other => return other,
        };
        // The statement that failed may have begun to answer.
        response.done(0, None);
        self.values.error = i64::from(error.number);
        let caught = Caught { error, procedure: self.failed_in.take() };
        let outer = self.values.caught.replace(caught);
        let outcome = self.run_statements(handler, parameters, response, depth);
        self.values.caught = outer;
        outcome
    }

    /// RAISERROR is a message up to severity 10. Beyond it is an error, after which a batch goes on.
    fn raise(&mut self, error: SqlError, response: &mut Response) -> Outcome<bool> {
        if error.class <= 10 {
            response.token(|out| token::message_info(out, &error));
            return Ok(true);
        }
        if self.tries > 0 {
            return Err(error.into());
        }
        self.values.error = i64::from(error.number);
        response.error(&error);
        Ok(false)
    }

    fn raised(
        &mut self,
        (message, severity, state): (&Expr, &Expr, &Expr),
        arguments: &[Expr],
        log: bool,
        parameters: &Parameters,
    ) -> Result<SqlError> {
        let text = match self.evaluate(message, parameters)? {
            (Value::Text(text), _) => text,
            (Value::Null, _) => String::new(),
            _ => return Err(SqlError::unsupported("RAISERROR of a number of sys.messages")),
        };
        let severity = self.integer(severity, parameters)?.max(0);
        let state = self.integer(state, parameters)?;
        if severity >= LOGGED_SEVERITY && !log {
            return Err(SqlError::new(
                2754,
                "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the \
                 WITH LOG option.",
            ));
        }
        if severity >= FATAL_SEVERITY {
            return Err(SqlError::unsupported("errors that end the connection"));
        }
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.evaluate(argument, parameters)?.0);
        }
        let class = u8::try_from(severity).unwrap_or(u8::MAX);
        let error = SqlError::new(USER_ERROR, formatted(&text, &values)?).class(class);
        Ok(with_state(error, state))
    }

    fn integer(&mut self, expr: &Expr, parameters: &Parameters) -> Result<i64> {
        let (value, from) = self.evaluate(expr, parameters)?;
        match convert(value, from, SqlType::Int, Excess::Refuse)? {
            Value::Integer(n) => Ok(n),
            _ => Ok(0),
        }
    }

    fn text_of(&mut self, expr: &Expr, ty: SqlType, parameters: &Parameters) -> Result<String> {
        let (value, from) = self.evaluate(expr, parameters)?;
        match convert(value, from, ty, Excess::CutOff)? {
            Value::Text(text) => Ok(text),
            _ => Ok(String::new()),
        }
    }
}

fn with_state(error: SqlError, state: i64) -> SqlError {
    SqlError { state: u8::try_from(state).unwrap_or(if state < 0 { 1 } else { u8::MAX }), ..error }
}

/// The text of RAISERROR with its arguments, as printf would have it.
fn formatted(text: &str, arguments: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let kind = after.chars().next().unwrap_or('%');
        let shown = match (kind, arguments.next()) {
            (_, None | Some(Value::Null)) => "(null)".to_owned(),
            ('s', Some(Value::Text(text))) => text.clone(),
            ('d' | 'i' | 'u', Some(Value::Integer(n))) => n.to_string(),
            ('x', Some(Value::Integer(n))) => format!("{n:x}"),
            ('X', Some(Value::Integer(n))) => format!("{n:X}"),
            ('s' | 'd' | 'i' | 'u' | 'x' | 'X', Some(_)) => {
                return Err(SqlError::new(
                    2786,
                    "The data type of a substitution parameter does not match the expected type of the format \
                     specification.",
                ));
            }
            _ => {
                return Err(SqlError::unsupported(format!("%{kind} in the text of RAISERROR")));
            }
        };
        out.push_str(&shown);
        rest = after.get(kind.len_utf8()..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_their_arguments_in() {
        let values = [Value::Text("x".to_owned()), Value::Integer(255)];
        assert_eq!(formatted("a %s b %d%% %s", &values).unwrap(), "a x b 255% (null)");
        assert_eq!(formatted("100%%", &[]).unwrap(), "100%");
        assert_eq!(formatted("%d", &values).unwrap_err().number, 2786);
        assert_eq!(formatted("%q", &values).unwrap_err().number, 49999);
        assert_eq!(formatted("%", &values).unwrap_err().number, 49999);
    }
}
