//! Names as a statement writes them.

use sqlparser::ast::{self, Ident, ObjectNamePart};

/// A multi-part name as the statement has it, quotes taken off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The database, if the name says.
    pub database: Option<String>,
    /// The schema, if the name says.
    pub schema: Option<String>,
    /// The object.
    pub name: String,
}

impl ObjectName {
    /// The name as T-SQL reads it whatever is in its parts: `[db].[schema].[name]`, `[db]..[name]`,
    /// `[schema].[name]` or `[name]`.
    pub fn quoted(&self) -> String {
        let mut out = String::new();
        if let Some(database) = &self.database {
            quote(database, &mut out);
            out.push('.');
        }
        if let Some(schema) = &self.schema {
            quote(schema, &mut out);
        }
        if self.database.is_some() || self.schema.is_some() {
            out.push('.');
        }
        quote(&self.name, &mut out);
        out
    }

    /// `None` for a name of four parts, which is on another server.
    pub(super) fn of(parts: &[&Ident]) -> Option<Self> {
        let part = |ident: &Ident| (!ident.value.is_empty()).then(|| ident.value.clone());
        let (database, schema, name) = match parts {
            [name] => (None, None, name),
            [schema, name] => (None, part(schema), name),
            [database, schema, name] => (part(database), part(schema), name),
            _ => return None,
        };
        Some(Self { database, schema, name: part(name)? })
    }

    /// Whether a column's qualifier can mean this table.
    pub(super) fn answers_to(&self, qualifier: &[&Ident]) -> bool {
        let agrees = |said: &Ident, own: &Option<String>| {
            said.value.is_empty() || own.as_ref().is_none_or(|own| same(&said.value, own))
        };
        match qualifier {
            [name] => same(&name.value, &self.name),
            [schema, name] => same(&name.value, &self.name) && agrees(schema, &self.schema),
            [database, schema, name] => {
                same(&name.value, &self.name)
                    && agrees(schema, &self.schema)
                    && agrees(database, &self.database)
            }
            _ => false,
        }
    }
}

fn quote(part: &str, out: &mut String) {
    out.push('[');
    out.push_str(&part.replace(']', "]]"));
    out.push(']');
}

/// Whether two names are one, as most collations have it: without regard to case.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

/// The name of the variable or parameter behind an identifier, in lower case. `[@p]` is a column and
/// `@@p` a function of the server's.
pub(super) fn variable(ident: &Ident) -> Option<String> {
    let is_variable = ident.quote_style.is_none()
        && ident.value.starts_with('@')
        && !ident.value.starts_with("@@")
        && ident.value.len() > 1;
    is_variable.then(|| ident.value.to_lowercase())
}

/// The parts of a name, or none if one of them is computed.
pub(super) fn parts(name: &ast::ObjectName) -> Vec<&Ident> {
    name.0.iter().map(ObjectNamePart::as_ident).collect::<Option<_>>().unwrap_or_default()
}
