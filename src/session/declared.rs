//! The parameters of a statement as they are declared: `@a nvarchar(10), @b decimal(18, 2) OUTPUT`.

use std::fmt::Write as _;

use super::SessionError;
use crate::{
    metadata::ParameterType,
    tds::{Malformed, Parameter},
    value::{DeclarationError, SqlType},
};

/// A declared parameter.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    /// Its name with `@`.
    pub(super) name: String,
    /// The type as it was written.
    pub(super) type_text: String,
    /// ` OUTPUT` and the like: what follows the type.
    pub(super) suffix: &'static str,
    /// The type, shrunk to the value, or why it cannot be encrypted.
    pub(super) sql_type: Result<SqlType, DeclarationError>,
    /// The type that the column has, or that the application has stated.
    pub(super) required: Option<ParameterType>,
    /// Whether a call gives it by its place. Then its name is ours.
    pub(super) positional: bool,
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
    pub(super) fn for_encryption(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match &self.sql_type() {
            Ok(sql_type) => write!(out, "{} {sql_type}{}", self.name, self.suffix),
            Err(_) => write!(out, "{} {}{}", self.name, self.type_text, self.suffix),
        };
    }

    pub(super) fn as_written(&self, out: &mut String) {
        let _ = write!(out, "{} {}{}", self.name, self.type_text, self.suffix);
    }
}

/// SQL Server takes an encrypted parameter that is declared shorter than its column, and none that
/// is longer; drivers declare every string at its longest.
pub(super) fn shrink(declared: &mut Declared, value: &Parameter<'_>) {
    // What comes back may be longer than what went.
    if value.is_output() {
        return;
    }
    if let Ok(sql_type) = &mut declared.sql_type {
        *sql_type = sql_type.shrunk_to(value.data_len());
    }
}

pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}

/// Reads `@a nvarchar(10), @b decimal(18, 2) OUTPUT`.
pub(super) fn parse_declarations(text: &str) -> Result<Vec<Declared>, SessionError> {
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
