//! Object names of one to three parts.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::catalogue::DATABASE_NAME;
use crate::error::{Result, SqlError};

/// How the schema `sys` of tempdb is called here, where temporary tables are the only other thing in it.
pub(crate) const TEMPDB_SYS: &str = "tempdb.sys";
const TEMPDB: &str = "tempdb";

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
    let temporary = name.value.starts_with('#');
    if let Some(database) = database.filter(|d| !d.value.eq_ignore_ascii_case(DATABASE_NAME)) {
        if !database.value.eq_ignore_ascii_case(TEMPDB) {
            return Err(SqlError::invalid_object(&shown()));
        }
        if schema.is_some_and(|schema| schema.value.eq_ignore_ascii_case("sys")) {
            return Ok(QualifiedName { schema: TEMPDB_SYS.to_owned(), name: name.value.clone() });
        }
        if !temporary {
            return Err(SqlError::invalid_object(&shown()));
        }
    }
    let schema = schema
        .map(|schema| schema.value.as_str())
        .filter(|schema| !schema.is_empty())
        .unwrap_or("dbo");
    if name.value.starts_with("##") {
        return Err(SqlError::unsupported("global temporary tables"));
    }
    // Of the session, or of the batch: whoever looks for them knows which.
    let schema = match name.value.chars().next() {
        Some('#') => "#",
        Some('@') if name.quote_style.is_none() => "@",
        _ => schema,
    };
    Ok(QualifiedName { schema: schema.to_owned(), name: name.value.clone() })
}

/// The name of a column where only a column can stand: the last part.
pub(crate) fn last(name: &ObjectName) -> Result<String> {
    let parts = idents(name)?;
    parts.last().map(|ident| ident.value.clone()).ok_or_else(|| SqlError::syntax(""))
}

/// The parts of a name in a string, as in OBJECT_ID('...'): `]]` in brackets is a bracket. None if there are more than
/// three, or a quote is never closed.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.trim().chars().peekable();
    let mut quoted = None;
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (None, '[') => quoted = Some(']'),
            (None, '"') => quoted = Some('"'),
            (None, '.') => parts.push(String::new()),
            (Some(end), c) if c == end && chars.peek() != Some(&end) => quoted = None,
            (within, c) => {
                if within == Some(c) {
                    chars.next();
                }
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    (quoted.is_none() && parts.len() <= 3).then_some(parts)
}

/// A name in a string, and the database that it names. The schema is dbo where none is given.
pub(crate) fn in_text(text: &str) -> Option<(Option<String>, QualifiedName)> {
    let mut parts = split(text)?;
    let name = parts.pop()?;
    let schema = parts.pop().filter(|schema| !schema.is_empty());
    let database = parts.pop().filter(|database| !database.is_empty());
    let schema = schema.unwrap_or_else(|| "dbo".to_owned());
    Some((database, QualifiedName { schema, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_strings_are_cut_where_their_quotes_say() {
        let cut = |text| in_text(text).map(|(d, name)| (d, name.schema, name.name));
        let name = |d: Option<&str>, s: &str, n: &str| {
            Some((d.map(str::to_owned), s.to_owned(), n.to_owned()))
        };
        assert_eq!(cut("t"), name(None, "dbo", "t"));
        assert_eq!(cut("[a.b].[c]]d]"), name(None, "a.b", "c]d"));
        assert_eq!(cut("\"x\"\"y\".t"), name(None, "x\"y", "t"));
        assert_eq!(cut("db..t"), name(Some("db"), "dbo", "t"));
        assert_eq!(cut("a.b.c.d"), None);
        assert_eq!(cut("[open"), None);
    }
}
