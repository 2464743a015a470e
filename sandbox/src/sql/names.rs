//! Object names of one to three parts.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::catalogue::DATABASE_NAME;
use crate::error::{Result, SqlError};

/// `schema` is dbo where none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QualifiedName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

pub(crate) fn idents(name: &ObjectName) -> Result<Vec<&Ident>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(ident),
            ObjectNamePart::Function(_) => Err(SqlError::unsupported("functions as names")),
        })
        .collect()
}

/// `[database.][schema.]name`, of this database.
pub(crate) fn qualified(name: &ObjectName) -> Result<QualifiedName> {
    let parts = idents(name)?;
    let shown = || parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
    let (database, schema, name) = match parts.as_slice() {
        [name] => (None, None, name),
        [schema, name] => (None, Some(schema), name),
        [database, schema, name] => (Some(database), Some(schema), name),
        _ => return Err(SqlError::invalid_object(&shown())),
    };
    if database.is_some_and(|database| !database.value.eq_ignore_ascii_case(DATABASE_NAME)) {
        return Err(SqlError::invalid_object(&shown()));
    }
    let schema = schema
        .map(|schema| schema.value.as_str())
        .filter(|schema| !schema.is_empty())
        .unwrap_or("dbo");
    if name.value.starts_with('#') {
        return Err(SqlError::unsupported("temporary tables"));
    }
    Ok(QualifiedName { schema: schema.to_owned(), name: name.value.clone() })
}

/// The name of a column where only a column can stand: the last part.
pub(crate) fn last(name: &ObjectName) -> Result<String> {
    let parts = idents(name)?;
    parts.last().map(|ident| ident.value.clone()).ok_or_else(|| SqlError::syntax(""))
}

/// From the text in OBJECT_ID('...').
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.trim().chars();
    let mut quoted = None;
    for c in chars.by_ref() {
        match (quoted, c) {
            (None, '[') => quoted = Some(']'),
            (None, '"') => quoted = Some('"'),
            (None, '.') => parts.push(String::new()),
            (Some(end), c) if c == end => quoted = None,
            (_, c) => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts
}
