//! The name of a procedure in an RPC request: up to four identifiers, and a number behind `;`.

use std::fmt;

use super::identifier::{quote, quoted_identifier};

/// A name taken apart: `server.database.schema.procedure;number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcedureName {
    /// The parts without their quotes; an empty one was left out, as in `db..p`.
    parts: Vec<String>,
    number: Option<u16>,
}

impl ProcedureName {
    /// Takes a name apart; `None` if it is not one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut rest = name.trim_matches([' ', '\t', '\r', '\n']);
        let mut parts = Vec::new();
        loop {
            let (part, tail) = identifier(rest)?;
            parts.push(part);
            rest = tail.trim_start();
            match rest.strip_prefix('.') {
                Some(tail) => rest = tail.trim_start(),
                None => break,
            }
        }
        let number = match rest.strip_prefix(';') {
            Some(number) => Some(number.trim().parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let named = parts.last().is_some_and(|p| !p.is_empty());
        (named && parts.len() <= 4).then_some(Self { parts, number })
    }

    /// The parts without their quotes, the procedure's own name last. An empty one was left out.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The number behind `;`.
    #[must_use]
    pub fn number(&self) -> Option<u16> {
        self.number
    }

    /// The procedure's own name in lower case.
    #[must_use]
    pub fn last_part(&self) -> String {
        // Identifiers end before their trailing blanks.
        self.parts.last().map(|p| p.trim_end().to_lowercase()).unwrap_or_default()
    }
}

/// The name with every part quoted, so that it can stand in a statement.
impl fmt::Display for ProcedureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if !part.is_empty() {
                f.write_str(&quote(part))?;
            }
        }
        match self.number {
            Some(number) => write!(f, ";{number}"),
            None => Ok(()),
        }
    }
}

/// The identifier at the front and what follows it. It is empty in front of a dot.
fn identifier(text: &str) -> Option<(String, &str)> {
    let close = match text.chars().next() {
        Some('[') => ']',
        Some('"') => '"',
        _ => {
            let end = text.find(['.', ';', '[', ']', '"', '\'']);
            let (word, rest) = text.split_at(end.unwrap_or(text.len()));
            let word = word.trim_end();
            if word.contains(char::is_whitespace) || word.contains(['(', ')', ',', '-', '/']) {
                return None;
            }
            return Some((word.to_owned(), rest));
        }
    };
    quoted_identifier(&text[1..], close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_name_has_the_same_last_part() {
        for name in [
            "sp_executesql",
            "SP_ExecuteSQL",
            "sp_executesql ",
            " sys.sp_executesql",
            "[sys].[sp_executesql]",
            "master..sp_executesql",
            "\"sp_executesql\"",
            "sp_executesql;1",
            "sys . [sp_executesql] ; 1",
            "[sp_executesql ]",
            "a.b.c.sp_executesql",
        ] {
            let parsed = ProcedureName::parse(name).unwrap();
            assert_eq!(parsed.last_part(), "sp_executesql", "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [
            "",
            " ",
            ".",
            "a.",
            "[a",
            "a b",
            "a;",
            "a;x",
            "a;1;2",
            "a; DROP TABLE t",
            "a]b",
            "[a]b",
            "a.b.c.d.e",
            "p @x=1",
            "p--",
            "p/*",
            "'p'",
        ] {
            assert_eq!(ProcedureName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_written_quoted() {
        let written = |name| ProcedureName::parse(name).map(|n| n.to_string());
        assert_eq!(written("dbo.AddMessage").as_deref(), Some("[dbo].[AddMessage]"));
        assert_eq!(written("db..[odd ]] name];2").as_deref(), Some("[db]..[odd ]] name];2"));
    }
}
