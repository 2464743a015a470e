//! What a statement may change of that on which descriptions rest.

use super::lexis::{Piece, Pieces};

/// What a text may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// What has been said about tables and procedures.
    pub(super) schema: bool,
    /// As whom the connection acts, and so which tables its names mean.
    pub(super) identity: bool,
    /// How much of an answer the server gives: SET ROWCOUNT, FMTONLY, NOEXEC or PARSEONLY.
    pub(super) answers: bool,
}

impl Changes {
    /// Reads a statement, or the name of a procedure. `EXEC` of a string may do anything; what it does
    /// unnoticed shows by the server's errors 206 and 33514, as what other clients do.
    pub(super) fn of(text: &str) -> Self {
        let mut changes = Self { answers: cuts_answers(text), ..Self::default() };
        let mut words = words(text).peekable();
        while let Some(word) = words.next() {
            let is = |other: &str| word.eq_ignore_ascii_case(other);
            let next_is = |next: Option<&&str>, other: &str| {
                next.is_some_and(|next| next.eq_ignore_ascii_case(other))
            };
            if is("ALTER") || is("CREATE") || is("DROP") {
                if next_is(words.peek(), "TABLE") {
                    words.next();
                    // A temporary table is nobody else's; see `is_own`.
                    changes.schema |= !words.peek().is_some_and(|name| name.starts_with('#'));
                } else {
                    changes.schema = true;
                }
            } else if is("sp_rename") || is("sp_refreshsqlmodule") {
                changes.schema = true;
            } else if is("SETUSER") || is("sp_setapprole") || is("REVERT") {
                changes.identity = true;
            } else if is("EXEC") || is("EXECUTE") {
                changes.identity |= next_is(words.peek(), "AS");
            }
        }
        changes
    }

    pub(super) fn add(&mut self, other: Self) {
        self.schema |= other.schema;
        self.identity |= other.identity;
        self.answers |= other.answers;
    }
}

/// Whether the text sets an option that makes the server answer less than there is.
fn cuts_answers(text: &str) -> bool {
    const OPTIONS: [&str; 4] = ["ROWCOUNT", "FMTONLY", "NOEXEC", "PARSEONLY"];
    let code = Pieces(text).filter_map(|piece| match piece {
        Piece::Code(code) => Some(code),
        _ => None,
    });
    let is_separator = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    let mut words = code.flat_map(|code| code.split(is_separator)).filter(|w| !w.is_empty());
    let mut setting = false;
    while let Some(word) = words.next() {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if setting && OPTIONS.into_iter().any(is) {
            // `UPDATE t SET RowCount = 1` sets a column.
            let value = words.next().unwrap_or_default();
            if !(value.starts_with('=') || value == "0" || value.eq_ignore_ascii_case("OFF")) {
                return true;
            }
            setting = false;
        } else {
            // Several options share a SET: `SET NOCOUNT, FMTONLY ON`.
            setting = is("SET") || (setting && word.chars().all(|c| c.is_alphabetic() || c == '_'));
        }
    }
    false
}

/// Whether the text names what only its connection has: temporary tables and procedures.
pub(super) fn names_temporary(text: &str) -> bool {
    text.contains('#')
        && Pieces(text).any(|piece| match piece {
            Piece::Code(s) | Piece::Name(s) => s.contains('#'),
            _ => false,
        })
}

/// The words of the code, and names as they are.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | '@' | '$');
    Pieces(text).flat_map(move |piece| {
        let (code, name) = match piece {
            Piece::Code(code) => (code, None),
            Piece::Name(name) => ("", Some(name)),
            _ => ("", None),
        };
        code.split(move |c: char| !is_part(c)).filter(|word| !word.is_empty()).chain(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_code_count_and_no_others() {
        for (text, schema, identity) in [
            ("ALTER TABLE t ADD c int", true, false),
            ("if 1=1 create\ttable t(c int)", true, false),
            ("EXEC sp_rename 't.a', 'b'", true, false),
            ("[sys].[sp_rename]", true, false),
            ("CREATE TABLE #t (a int)", false, false),
            ("DROP TABLE [#t]", false, false),
            ("DROP TABLE #a, b", false, false),
            ("CREATE INDEX i ON t(a)", true, false),
            ("SELECT CreatedAt, Dropped FROM t", false, false),
            ("SELECT 1 WHERE a = 'create' -- drop\n/* alter */", false, false),
            ("EXECUTE AS USER = 'x'", false, true),
            ("exec as login='x'; drop table t", true, true),
            ("EXEC assign", false, false),
            ("revert", false, true),
            ("", false, false),
        ] {
            let answers = false;
            assert_eq!(Changes::of(text), Changes { schema, identity, answers }, "{text}");
        }
    }

    #[test]
    fn an_option_that_cuts_answers_short_is_noticed_and_a_column_of_its_name_is_not() {
        for (text, cut) in [
            ("SET ROWCOUNT 1", true),
            ("set rowcount @n; SELECT 1", true),
            ("SELECT 1;SET/**/FMTONLY ON", true),
            ("set nocount on set noexec on", true),
            ("SET NOCOUNT, PARSEONLY ON", true),
            ("SET ROWCOUNT 0", false),
            ("SET FMTONLY OFF SET NOEXEC OFF", false),
            ("SET FMTONLY OFF SET NOEXEC ON", true),
            ("SELECT @@ROWCOUNT, RowCount FROM t", false),
            ("UPDATE t SET RowCount = 1, a = 2", false),
            ("UPDATE t SET RowCount=1", false),
            ("UPDATE t SET a = 1, RowCount = 5", false),
            ("SELECT 'SET ROWCOUNT 1' -- SET NOEXEC ON", false),
        ] {
            assert_eq!(Changes::of(text).answers, cut, "{text}");
        }
    }

    #[test]
    fn a_number_sign_in_a_string_names_nothing() {
        for (text, expected) in [
            ("INSERT #t VALUES (@a)", true),
            ("EXEC [#p] @x=@x", true),
            ("INSERT t VALUES ('#general')", false),
            ("SELECT 1 -- #1", false),
        ] {
            assert_eq!(names_temporary(text), expected, "{text}");
        }
    }
}
