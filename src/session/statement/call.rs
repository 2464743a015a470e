//! The call of a procedure as a statement: `EXEC p @a=@a, @b=@b OUTPUT`.

use std::fmt::Write as _;

use super::{Declared, SessionError, Source, Statement, bare, shrink};
use crate::{
    metadata::ObjectName,
    tds::{ClrType, Malformed, ProcedureName, RpcRequest, TableType, quote},
    value::{DeclarationError, SqlType},
};

impl Statement {
    /// A procedure's parameters are declared by what the driver sent, and described through a call
    /// of it.
    pub(super) fn of_call(
        name: &ProcedureName,
        request: &RpcRequest<'_>,
    ) -> Result<Self, SessionError> {
        let mut text = format!("EXEC {name}");
        let mut parameters = Vec::new();
        for (index, value) in request.parameters.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            let output = if value.is_output() { " OUTPUT" } else { "" };
            let declared_name = if value.name.is_empty() {
                format!("@ae{index}")
            } else {
                format!("@{}", bare(&value.name))
            };
            let _ = if value.name.is_empty() {
                write!(text, "{separator}{declared_name}{output}")
            } else {
                write!(text, "{separator}{declared_name}={declared_name}{output}")
            };
            let written = value.type_info.unencryptable_declaration();
            // Nothing tells the type of an untyped NULL; text converts to most types.
            let sql_type = if value.type_info.is_untyped() {
                SqlType::parse_declaration("nvarchar(1)")
            } else {
                value.type_info.sql_type().ok_or_else(|| DeclarationError::Unencryptable {
                    name: written
                        .clone()
                        .unwrap_or_else(|| format!("{:#04x}", value.type_info.id())),
                })
            };
            let (type_text, suffix) = match (&sql_type, &value.table_type) {
                (_, Some(table)) => (table_type(table)?, " READONLY"),
                (Ok(sql_type), None) => (sql_type.to_string(), output),
                (Err(_), None) => match &value.clr_type {
                    Some(clr) => (clr_type(clr)?, output),
                    None => (written.ok_or_else(unknown_type)?, output),
                },
            };
            let mut declared = Declared {
                name: declared_name,
                type_text,
                suffix,
                sql_type,
                required: None,
                positional: value.name.is_empty(),
                index: Some(index),
                is_table: value.table_type.is_some(),
            };
            shrink(&mut declared, value);
            parameters.push(declared);
        }
        let source = Source::Call(object_name(name));
        Ok(Self { text, parameters, declarations_at: None, first_value: 0, source })
    }
}

/// Without its type a value cannot be described, and so is not sent.
fn unknown_type() -> SessionError {
    SessionError::Request(Malformed::of("RPC parameter: a type that cannot be declared"))
}

/// The type of a table-valued parameter, as a declaration has it.
fn table_type(table: &TableType) -> Result<String, SessionError> {
    if table.name.is_empty() {
        return Err(SessionError::Request(Malformed::of("table-valued parameter: no type's name")));
    }
    let name = quote(&table.name);
    Ok(if table.schema.is_empty() { name } else { format!("{}.{name}", quote(&table.schema)) })
}

/// A CLR type, as a declaration has it.
fn clr_type(clr: &ClrType) -> Result<String, SessionError> {
    if clr.name.is_empty() {
        return Err(SessionError::Request(Malformed::of(
            "parameter of a CLR type: no type's name",
        )));
    }
    let parts = [&clr.database, &clr.schema, &clr.name];
    let given = parts.into_iter().skip_while(|part| part.is_empty());
    let quoted = given.map(|part| if part.is_empty() { String::new() } else { quote(part) });
    Ok(quoted.collect::<Vec<_>>().join("."))
}

/// The procedure as the catalogue knows it; none on another server.
fn object_name(name: &ProcedureName) -> Option<ObjectName> {
    let given = |part: &String| (!part.is_empty()).then(|| part.clone());
    let (name, qualifiers) = name.parts().split_last()?;
    let mut qualifiers = qualifiers.iter().rev();
    let schema = qualifiers.next().and_then(given);
    let database = qualifiers.next().and_then(given);
    let server = qualifiers.next().and_then(given);
    server.is_none().then(|| ObjectName { database, schema, name: name.trim_end().to_owned() })
}
