//! What a statement says of its own encryption, in a comment.
//!
//! A driver's parameters cannot carry what SqlClient's `SqlParameter` and `SqlCommand` can, so the
//! statement does. Anywhere in its text, in either of
//!
//! ```text
//! /* always-encrypted: force @P2, @P3 */
//! /* always-encrypted: type @P2 decimal(18,4), @P3 char(10); encryption ResultSetOnly */
//! ```
//!
//! clauses are separated by `;`:
//!
//! | clause | meaning | in SqlClient |
//! |---|---|---|
//! | `force @a, @b` | these parameters must be encrypted, whatever the server says | `ForceColumnEncryption` |
//! | `type @a decimal(18,4), @b char(10)` | these parameters have these types, whatever the driver declares; their values are converted | `SqlDbType`, `Size`, `Precision`, `Scale` |
//! | `encryption Enabled`, `ResultSetOnly`, `Disabled` | the setting for this statement | `SqlCommandColumnEncryptionSetting` |
//!
//! The comment goes to the server with the rest of the text.

use super::SessionError;
use crate::{policy::ColumnEncryption, value::SqlType};

const MARK: &str = "always-encrypted:";

/// What the comments of a statement say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints<'a> {
    /// Parameters that must be encrypted, as they are written.
    pub(super) forced: Vec<&'a str>,
    /// Parameters whose type is stated.
    pub(super) types: Vec<(&'a str, SqlType)>,
    /// The setting, if it is another than the connection's.
    pub(super) encryption: Option<ColumnEncryption>,
}

impl<'a> Hints<'a> {
    /// Reads the comments of a statement.
    ///
    /// Whatever looks like such a comment and is not understood is an error: a slip of the pen must
    /// not switch a protection off.
    pub(super) fn of(statement: &'a str) -> Result<Self, SessionError> {
        let mut hints = Self::default();
        if !is_possible(statement) {
            return Ok(hints);
        }
        let mut rest = statement;
        while let Some(comment) = next_comment(&mut rest) {
            let Some(hint) = strip_prefix(comment.trim_start(), MARK) else { continue };
            let misunderstood = || SessionError::Hint { hint: shortened(hint) };
            let (body, _) = hint.split_once("*/").ok_or_else(misunderstood)?;
            for clause in body.split(';').map(str::trim) {
                hints.clause(clause).ok_or_else(misunderstood)?;
            }
        }
        Ok(hints)
    }

    fn clause(&mut self, clause: &'a str) -> Option<()> {
        let (keyword, rest) = clause.split_once(char::is_whitespace)?;
        let rest = rest.trim();
        if keyword.eq_ignore_ascii_case("force") {
            for name in rest.split(',').map(str::trim) {
                self.forced.push(parameter(name)?);
            }
        } else if keyword.eq_ignore_ascii_case("type") {
            for item in super::statement::split_top_level(rest) {
                let (name, declaration) = item.trim().split_once(char::is_whitespace)?;
                let sql_type = SqlType::parse_declaration(declaration).ok()?;
                self.types.push((parameter(name)?, sql_type));
            }
        } else if keyword.eq_ignore_ascii_case("encryption") {
            let setting = rest.parse().ok()?;
            // Two comments that contradict each other are a slip, too.
            if self.encryption.replace(setting).is_some_and(|earlier| earlier != setting) {
                return None;
            }
        } else {
            return None;
        }
        Some(())
    }
}

/// The text from the next block comment on, without its `/*`; `rest` is what follows the comment.
///
/// What stands in a string, a quoted name or another comment is none: it may be a user's words.
fn next_comment<'a>(rest: &mut &'a str) -> Option<&'a str> {
    loop {
        let at = rest.find(['\'', '"', '[', '-', '/'])?;
        let (_, found) = rest.split_at_checked(at)?;
        let (first, after) = found.split_at_checked(1)?;
        *rest = match first {
            "-" if after.starts_with('-') => after.split_once('\n').map_or("", |(_, tail)| tail),
            "/" if after.starts_with('*') => {
                let comment = after.strip_prefix('*')?;
                *rest = after_comment(comment);
                return Some(comment);
            }
            "-" | "/" => after,
            "[" => after_quoted(after, ']'),
            quote => after_quoted(after, if quote == "'" { '\'' } else { '"' }),
        };
    }
}

/// What follows the end of a string or quoted name, in which a doubled end stands for itself.
fn after_quoted(mut text: &str, end: char) -> &str {
    while let Some((_, after)) = text.split_once(end) {
        match after.strip_prefix(end) {
            Some(inside) => text = inside,
            None => return after,
        }
    }
    ""
}

/// What follows the end of a comment, in which there may be others.
fn after_comment(mut text: &str) -> &str {
    let mut depth = 1usize;
    while depth > 0 {
        let Some(at) = text.find(['*', '/']) else { return "" };
        let Some((_, found)) = text.split_at_checked(at) else { return "" };
        text = if let Some(after) = found.strip_prefix("/*") {
            depth += 1;
            after
        } else if let Some(after) = found.strip_prefix("*/") {
            depth -= 1;
            after
        } else {
            found.get(1..).unwrap_or_default()
        };
    }
    text
}

fn parameter(name: &str) -> Option<&str> {
    let bare = name.strip_prefix('@')?;
    (!bare.is_empty() && !bare.contains(char::is_whitespace)).then_some(name)
}

/// Whether a statement may hold the comment.
pub(super) fn is_possible(statement: &str) -> bool {
    statement.contains("/*") && statement.to_ascii_lowercase().contains(MARK)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn shortened(hint: &str) -> String {
    hint.split("*/").next().unwrap_or_default().trim().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_names_parameters_wherever_it_stands() {
        for (statement, expected) in [
            ("INSERT t VALUES (@P1) /* always-encrypted: force @P1 */", &["@P1"][..]),
            ("/*ALWAYS-ENCRYPTED:FORCE @a,@b*/ SELECT 1 /* other */", &["@a", "@b"]),
            (
                "/* one */ /* always-encrypted: force @a */ /* always-encrypted: force @b */",
                &["@a", "@b"],
            ),
            ("SELECT 1 /* nothing of the kind */", &[]),
        ] {
            assert_eq!(Hints::of(statement).unwrap().forced, expected, "{statement}");
        }
    }

    #[test]
    fn clauses_state_types_and_the_setting() {
        let statement = "/* always-encrypted: type @P1 decimal(18, 4), @P2 char(10); force @P1; \
                         encryption resultsetonly */";
        let hints = Hints::of(statement).unwrap();
        assert_eq!(
            hints.types,
            [("@P1", SqlType::Decimal { precision: 18, scale: 4 }), ("@P2", SqlType::Char(10))]
        );
        assert_eq!(hints.forced, ["@P1"]);
        assert_eq!(hints.encryption, Some(ColumnEncryption::ResultSetOnly));
    }

    #[test]
    fn what_a_user_may_have_written_is_no_comment() {
        for statement in [
            "INSERT t VALUES (@P1, N'/* always-encrypted: encryption Disabled */')",
            "INSERT t VALUES (@P1, 'it''s /* always-encrypted: encryption Disabled */')",
            "SELECT @P1 AS [/* always-encrypted: encryption Disabled */]",
            "SELECT @P1 AS [a]]/* always-encrypted: encryption Disabled */]",
            "SELECT @P1 AS \"/* always-encrypted: encryption Disabled */\"",
            "SELECT @P1 -- /* always-encrypted: encryption Disabled */",
            "SELECT @P1 /* /* always-encrypted: encryption Disabled */ */",
            "SELECT @P1 /* ' /* */ always-encrypted: encryption Disabled */",
            "SELECT '/* always-encrypted: nothing */', '/* always-encrypted:",
        ] {
            assert_eq!(Hints::of(statement).unwrap(), Hints::default(), "{statement}");
        }
        for statement in [
            "SELECT 'a''/*', [b]]/*], \"c/*\" -- '\n, 1 - 2 / 3 * 4 /* always-encrypted: force @P1 */",
            "/* ' /* \" */ [ */ SELECT /* always-encrypted: force @P1 */ 'x'",
        ] {
            assert_eq!(Hints::of(statement).unwrap().forced, ["@P1"], "{statement}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_does_not_switch_it_off() {
        for statement in [
            "/* always-encrypted: fource @P1 */",
            "/* always-encrypted: force */",
            "/* always-encrypted: force P1 */",
            "/* always-encrypted: force @P1 @P2 */",
            "/* always-encrypted: force @P1",
            "/* always-encrypted: force @P1,, @P2 */",
            "/* always-encrypted: force @P1; */",
            "/* always-encrypted: type @P1 */",
            "/* always-encrypted: type @P1 xml */",
            "/* always-encrypted: type @P1 decimal(99) */",
            "/* always-encrypted: encryption off */",
            "/* always-encrypted: encryption enabled; encryption disabled */",
            "/* always-encrypted: */",
        ] {
            assert!(is_possible(statement));
            assert!(Hints::of(statement).is_err(), "{statement}");
        }
    }
}
