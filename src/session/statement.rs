//! A request as sp_describe_parameter_encryption wants it: a statement and the declarations of its
//! parameters.

use std::fmt::Write as _;

use super::{
    SessionError,
    procedures::{Layout, Role, check_numbers, check_positioned_update},
};
use crate::{
    metadata::{Column, ObjectName, ParameterType, Target, targets},
    tds::{ClrType, Malformed, Parameter, ProcedureName, RpcRequest, TableType, quote},
    value::{DeclarationError, SqlType},
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

/// A declared parameter.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    /// Its name with `@`.
    pub(super) name: String,
    /// The type as it was written.
    type_text: String,
    /// ` OUTPUT` and the like: what follows the type.
    suffix: &'static str,
    /// The type, shrunk to the value, or why it cannot be encrypted.
    sql_type: Result<SqlType, DeclarationError>,
    /// The type that the column has, or that the application has stated.
    pub(super) required: Option<ParameterType>,
    /// Whether a call gives it by its place. Then its name is ours.
    positional: bool,
    /// Which parameter of the request it is, if the request has a value for it.
    pub(super) index: Option<usize>,
    /// Whether its value is a table.
    pub(super) is_table: bool,
}

impl Declared {
    /// The type that an encrypted value has: that of its column if it is known, otherwise the
    /// driver's, shrunk to the value.
    pub(super) fn sql_type(&self) -> Result<SqlType, DeclarationError> {
        match &self.required {
            Some(required) => Ok(required.conversion_type.sql_type),
            None => self.sql_type.clone(),
        }
    }

    /// Whether the application has stated the type.
    pub(super) fn is_stated(&self) -> bool {
        self.required.as_ref().is_some_and(|required| required.stated)
    }

    /// The declaration with that type.
    fn for_encryption(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match &self.sql_type() {
            Ok(sql_type) => write!(out, "{} {sql_type}{}", self.name, self.suffix),
            Err(_) => write!(out, "{} {}{}", self.name, self.type_text, self.suffix),
        };
    }

    fn as_written(&self, out: &mut String) {
        let _ = write!(out, "{} {}{}", self.name, self.type_text, self.suffix);
    }
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

    /// A procedure's parameters are declared by what the driver sent, and described through a call
    /// of it.
    fn of_call(name: &ProcedureName, request: &RpcRequest<'_>) -> Result<Self, SessionError> {
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
            // Nothing tells the type of an untyped NULL; text converts to most types.
            let sql_type = if value.type_info.is_untyped() {
                SqlType::parse_declaration("nvarchar(1)")
            } else {
                value.type_info.sql_type().ok_or(DeclarationError::Unencryptable {
                    name: format!("{:#04x}", value.type_info.id()),
                })
            };
            let (type_text, suffix) = match (&sql_type, &value.table_type) {
                (_, Some(table)) => (table_type(table)?, " READONLY"),
                (Ok(sql_type), None) => (sql_type.to_string(), output),
                (Err(_), None) => match &value.clr_type {
                    Some(clr) => (clr_type(clr)?, output),
                    None => ("sql_variant".to_owned(), output),
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

/// SQL Server takes an encrypted parameter that is declared shorter than its column, and none that
/// is longer; drivers declare every string at its longest.
fn shrink(declared: &mut Declared, value: &Parameter<'_>) {
    // What comes back may be longer than what went.
    if value.is_output() {
        return;
    }
    if let Ok(sql_type) = &mut declared.sql_type {
        *sql_type = sql_type.shrunk_to(value.data_len());
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

/// Reads `@a nvarchar(10), @b decimal(18, 2) OUTPUT`.
fn parse_declarations(text: &str) -> Result<Vec<Declared>, SessionError> {
    let mut parameters = Vec::new();
    for item in split_top_level(text) {
        let item = item.trim();
        let malformed = SessionError::Request(Malformed::of("parameter declaration"));
        let (name, rest) = item.split_once(char::is_whitespace).ok_or(malformed.clone())?;
        if !name.starts_with('@') || name.len() < 2 {
            return Err(malformed);
        }
        let (type_text, suffix) = split_suffix(rest.trim());
        let type_text = strip_as(type_text);
        parameters.push(Declared {
            name: name.to_owned(),
            type_text: type_text.to_owned(),
            suffix,
            sql_type: SqlType::parse_declaration(type_text),
            required: None,
            positional: false,
            index: None,
            is_table: false,
        });
    }
    Ok(parameters)
}

/// T-SQL lets `AS` stand between a parameter and its type.
fn strip_as(type_text: &str) -> &str {
    match type_text.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("as") => rest.trim(),
        _ => type_text,
    }
}

fn split_suffix(text: &str) -> (&str, &'static str) {
    for (word, suffix) in [("output", " OUTPUT"), ("out", " OUTPUT"), ("readonly", " READONLY")] {
        if let Some(at) = text.len().checked_sub(word.len())
            && text.is_char_boundary(at)
            && text[at..].eq_ignore_ascii_case(word)
            && text[..at].ends_with(|c: char| c.is_whitespace() || c == ')')
        {
            return (text[..at].trim_end(), suffix);
        }
    }
    (text, "")
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

/// Splits at commas outside of parentheses.
pub(super) fn split_top_level(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items.retain(|item| !item.trim().is_empty());
    items
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

    #[test]
    fn text_that_is_no_declaration_is_refused() {
        for text in ["P1 int", "@P1", "@ int", "int"] {
            assert!(parse_declarations(text).is_err(), "{text}");
        }
        assert!(parse_declarations(" ").unwrap().is_empty());
    }

    #[test]
    fn a_type_that_cannot_be_encrypted_is_kept_as_it_was_written() {
        let parsed = parse_declarations("@x xml").unwrap();
        assert!(parsed[0].sql_type.is_err());
    }
}
