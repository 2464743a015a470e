//! A request as sp_describe_parameter_encryption wants it: a statement and the declarations of its
//! parameters.

mod call;

use std::fmt::Write as _;

use super::{
    SessionError,
    declared::{Declared, bare, parse_declarations, shrink},
    procedures::{Layout, Role, check_numbers, check_positioned_update},
};
use crate::{
    metadata::{Column, ObjectName, ParameterType, Target, targets},
    tds::{Malformed, RpcRequest},
};

/// A statement with parameters, ready to be described.
#[derive(Debug)]
pub(super) struct Statement {
    /// The text to describe.
    pub(super) text: String,
    /// Its parameters, in the order of their declaration.
    pub(super) parameters: Vec<Declared>,
    /// Which of the request's parameters has the declarations, if one does.
    pub(super) declarations_at: Option<usize>,
    /// The first of the request's parameters that is a value of the statement's.
    pub(super) first_value: usize,
    source: Source,
}

/// Where a statement comes from.
#[derive(Debug)]
enum Source {
    /// It stands in the request.
    Text,
    /// It was prepared before. The types of its parameters are settled.
    Prepared,
    /// We have made it up for the call of a procedure; of this one, if it can be looked up.
    Call(Option<ObjectName>),
}

impl Statement {
    /// The statement behind a request, or `None` if it has no parameters that could be encrypted.
    pub(super) fn of(role: &Role, request: &RpcRequest<'_>) -> Result<Option<Self>, SessionError> {
        match role {
            _ if request.parameters.is_empty() => Ok(None),
            Role::Statement { layout, prepares } => {
                Self::of_text(*layout, prepares.is_some(), request)
            }
            // With values only what has been prepared is executed.
            Role::Execute { first_value, .. } => {
                check_numbers(request, *first_value).map(|()| None)
            }
            Role::Unprepare { .. } | Role::MoveCursor => Ok(None),
            Role::PositionedUpdate => check_positioned_update(request).map(|()| None),
            Role::Unknown => Err(SessionError::Unsupported {
                what: "a system procedure that takes values for a statement that is not in its call",
                remedy: "execute the statement (sp_executesql), or call the procedure, directly",
            }),
            Role::Call(name) => Self::of_call(name, request).map(Some),
            Role::Unreadable => Err(SessionError::Request(Malformed::of(
                "RPC: the procedure's name is no multi-part identifier",
            ))),
        }
    }

    fn of_text(
        layout: Layout,
        prepares: bool,
        request: &RpcRequest<'_>,
    ) -> Result<Option<Self>, SessionError> {
        layout.check_own(request)?;
        let Layout { text, declarations, first_value, .. } = layout;
        let (Some(text), Some(declared)) =
            (request.parameters.get(text), request.parameters.get(declarations))
        else {
            return Ok(None);
        };
        if request.parameters.len() <= first_value && !prepares {
            return Ok(None);
        }
        let text = text.text().map_err(SessionError::Request)?;
        let declared = declared.text().map_err(SessionError::Request)?;
        let mut parameters = parse_declarations(&declared)?;
        give_values(&mut parameters, request, first_value)?;
        if parameters.is_empty() {
            return Ok(None);
        }
        // What is prepared serves other values than these.
        for declared in parameters.iter_mut().filter(|_| !prepares) {
            if let Some(value) = declared.index.and_then(|index| request.parameters.get(index)) {
                shrink(declared, value);
            }
        }
        let declarations_at = Some(declarations);
        Ok(Some(Self { text, parameters, declarations_at, first_value, source: Source::Text }))
    }

    /// What was prepared, with the values of a request that executes it.
    pub(super) fn of_prepared(
        text: String,
        mut parameters: Vec<Declared>,
        request: &RpcRequest<'_>,
        first_value: usize,
    ) -> Result<Self, SessionError> {
        check_numbers(request, first_value)?;
        give_values(&mut parameters, request, first_value)?;
        let source = Source::Prepared;
        Ok(Self { text, parameters, declarations_at: None, first_value, source })
    }

    /// Whether the types of its parameters are settled, because it was prepared with them.
    pub(super) fn is_prepared(&self) -> bool {
        matches!(self.source, Source::Prepared)
    }

    /// Where the value of each parameter goes, as far as the text tells.
    pub(super) fn targets(&self) -> Vec<Vec<Target>> {
        let procedure = match &self.source {
            Source::Text => {
                let found = targets(&self.text);
                return self.parameters.iter().map(|p| found.of(&p.name).to_vec()).collect();
            }
            Source::Prepared => None,
            Source::Call(procedure) => procedure.as_ref(),
        };
        let of = |(position, declared): (usize, &Declared)| {
            let procedure = procedure?.clone();
            let parameter = if declared.positional {
                Column::Position(position)
            } else {
                Column::Named(declared.name.clone())
            };
            Some(Target::ProcedureParameter { procedure, parameter })
        };
        self.parameters.iter().enumerate().map(|p| of(p).into_iter().collect()).collect()
    }

    /// Takes on the types that the parameters must have.
    pub(super) fn require(&mut self, types: &[Option<ParameterType>]) {
        if self.is_prepared() {
            return;
        }
        for (declared, required) in self.parameters.iter_mut().zip(types) {
            declared.required.clone_from(required);
        }
    }

    /// The declarations for describe: each parameter with the type of its column, or as short as its
    /// value.
    pub(super) fn declarations_to_describe(&self) -> String {
        let mut out = String::new();
        for (index, declared) in self.parameters.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { "," });
            declared.for_encryption(&mut out);
        }
        out
    }

    /// The declarations for the request: as they were described where `encrypted` says so,
    /// otherwise as written, unless the application has stated a type.
    pub(super) fn declarations(&self, encrypted: impl Fn(usize) -> bool) -> String {
        let mut out = String::new();
        for (index, declared) in self.parameters.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { "," });
            if encrypted(index) || declared.is_stated() {
                declared.for_encryption(&mut out);
            } else {
                declared.as_written(&mut out);
            }
        }
        out
    }

    /// The declarations as they matter for the encryption: without the lengths of strings and
    /// binaries, so that values of all lengths share one description.
    pub(super) fn declaration_key(&self) -> String {
        let mut out = String::new();
        for declared in &self.parameters {
            match &declared.sql_type {
                Ok(sql_type) if sql_type.is_variable_length() => {
                    let text = sql_type.to_string();
                    let family = text.split('(').next().unwrap_or_default();
                    let _ = write!(out, "{} {family}(*){},", declared.name, declared.suffix);
                }
                Ok(sql_type) => {
                    let _ = write!(out, "{} {sql_type}{},", declared.name, declared.suffix);
                }
                Err(_) => {
                    declared.as_written(&mut out);
                    out.push(',');
                }
            }
        }
        out
    }
}

/// Finds the declaration of each value.
fn give_values(
    parameters: &mut [Declared],
    request: &RpcRequest<'_>,
    first_value: usize,
) -> Result<(), SessionError> {
    let values = request.parameters.get(first_value..).unwrap_or_default();
    for (position, value) in values.iter().enumerate() {
        let declared = if value.name.is_empty() {
            parameters.get_mut(position)
        } else {
            parameters.iter_mut().find(|d| bare(&d.name) == bare(&value.name))
        };
        // A value without declaration could be anything. It is not sent.
        let declared = declared.ok_or(SessionError::Request(Malformed::of(
            "parameter list: a value has no declaration",
        )))?;
        // Two values for one declaration: only one of them would be encrypted.
        if declared.index.replace(position + first_value).is_some() {
            return Err(SessionError::Request(Malformed::of(
                "parameter list: a declaration has two values",
            )));
        }
        declared.is_table = value.table_type.is_some();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_split_at_commas_outside_of_parentheses() {
        let parsed =
            parse_declarations("@P1 nvarchar(4000), @p decimal(18, 2) output,@x AS int").unwrap();
        let statement = Statement {
            text: String::new(),
            parameters: parsed,
            declarations_at: Some(1),
            first_value: 2,
            source: Source::Text,
        };
        assert_eq!(
            statement.declarations(|_| false),
            "@P1 nvarchar(4000),@p decimal(18, 2) OUTPUT,@x int"
        );
        assert_eq!(statement.declaration_key(), "@P1 nvarchar(*),@p decimal(18,2) OUTPUT,@x int,");
    }
}
