//! What a statement demands of its own encryption, in a comment.
//!
//! `/* always-encrypted: force @P2, @P3 */` anywhere in a statement says that these parameters must be
//! encrypted, whatever the server says: SqlClient's `ForceColumnEncryption`, for a driver whose
//! parameters cannot carry it. The comment goes to the server with the rest of the text.

use super::SessionError;

const MARK: &str = "always-encrypted:";

/// The names of the parameters that must be encrypted, as they are written.
///
/// Whatever looks like the comment and is not understood is an error: a slip of the pen must not
/// switch a protection off.
pub(super) fn forced_parameters(statement: &str) -> Result<Vec<&str>, SessionError> {
    let mut forced = Vec::new();
    let mut rest = statement;
    while let Some((_, after)) = rest.split_once("/*") {
        rest = after;
        let Some(hint) = strip_prefix(after.trim_start(), MARK) else { continue };
        let misunderstood = || SessionError::Hint { hint: shortened(hint) };
        let (body, tail) = hint.split_once("*/").ok_or_else(misunderstood)?;
        let list = strip_prefix(body.trim(), "force").ok_or_else(misunderstood)?;
        for name in list.split(',').map(str::trim) {
            let bare = name.strip_prefix('@').ok_or_else(misunderstood)?;
            if bare.is_empty() || bare.contains(char::is_whitespace) {
                return Err(misunderstood());
            }
            forced.push(name);
        }
        rest = tail;
    }
    Ok(forced)
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
            assert_eq!(forced_parameters(statement).unwrap(), expected, "{statement}");
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
            "/* always-encrypted: */",
        ] {
            assert!(is_possible(statement));
            assert!(forced_parameters(statement).is_err(), "{statement}");
        }
    }
}
