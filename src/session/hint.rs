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

use super::{
    SessionError,
    lexis::{Piece, Pieces},
};
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
        for piece in Pieces(statement) {
            let (comment, ends) = match piece {
                Piece::Comment { body, ends } => (body, ends),
                // Not where the comment belongs. A server that took a carriage return for the end of
                // it would see other strings behind it than we do.
                Piece::LineComment(body) if has_mark(body) || body.trim_end().contains('\r') => {
                    return Err(SessionError::Hint { hint: shortened(body) });
                }
                _ => continue,
            };
            if !has_mark(comment) {
                continue;
            }
            let misunderstood = || SessionError::Hint { hint: shortened(comment) };
            let clauses = strip_prefix(comment.trim_start(), MARK).filter(|_| ends);
            for clause in clauses.ok_or_else(misunderstood)?.split(';').map(str::trim) {
                hints.clause(clause).ok_or_else(misunderstood)?;
            }
        }
        let names = hints.types.iter().map(|(name, _)| name.to_lowercase());
        let mut distinct: Vec<String> = names.collect();
        distinct.sort();
        distinct.dedup();
        if distinct.len() < hints.types.len() {
            return Err(SessionError::Hint { hint: "two types for one parameter".to_owned() });
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

fn parameter(name: &str) -> Option<&str> {
    let bare = name.strip_prefix('@')?;
    (!bare.is_empty() && !bare.contains(char::is_whitespace)).then_some(name)
}

/// Whether a statement may hold the comment, or has the like of it in a string.
pub(super) fn is_possible(statement: &str) -> bool {
    (statement.contains("/*") || statement.contains("--")) && has_mark(statement)
}

/// Whether a comment means to be one of ours: also with a blank before the colon.
fn has_mark(text: &str) -> bool {
    let (name, colon) = MARK.split_at(MARK.len() - 1);
    let lower = text.to_ascii_lowercase();
    lower.match_indices(name).any(|(at, _)| {
        lower.get(at + name.len()..).is_some_and(|rest| rest.trim_start().starts_with(colon))
    })
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
    fn what_stands_in_strings_names_and_other_comments_is_no_comment() {
        const HINT: &str = "/* always-encrypted: encryption Disabled */";
        for text in [
            format!("SELECT '{HINT}'"),
            format!("SELECT N'it''s {HINT}'"),
            format!("SELECT '''{HINT}'''"),
            format!("SELECT [{HINT}]"),
            format!("SELECT [a]]{HINT}]"),
            format!("SELECT [a]]]]{HINT}]"),
            format!("SELECT \"{HINT}\""),
            "SELECT '/* always-encrypted: encryption".to_owned(),
        ] {
            assert_eq!(Hints::of(&text).unwrap(), Hints::default(), "{text}");
        }
        for text in [
            format!("SELECT 'a' {HINT}"),
            format!("SELECT 'it''s' {HINT} 'b'"),
            format!("SELECT [a]]b], \"c\" {HINT}"),
            format!("SELECT 1 -- it's\n{HINT}"),
            format!("SELECT 1 /* it's /* nested */ */ {HINT}"),
            format!("SELECT 4/2*1-1 {HINT}"),
        ] {
            let hints = Hints::of(&text).unwrap();
            assert_eq!(hints.encryption, Some(ColumnEncryption::Disabled), "{text}");
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
            "/** always-encrypted: force @P2 */",
            "/* always-encrypted : force @P2 */",
            "/* x; always-encrypted: force @P2 */",
            "-- always-encrypted: force @P2",
            "/* /* always-encrypted: force @P2 */ */",
            "SELECT 1 -- c\rSELECT 2 /* always-encrypted: force @P2 */",
            "SELECT 1 -- c\rSELECT 'A\n/* always-encrypted: encryption Disabled */'",
            "/* always-encrypted: type @P1 int, @p1 bigint */",
        ] {
            assert!(is_possible(statement));
            assert!(Hints::of(statement).is_err(), "{statement}");
        }
    }
}
