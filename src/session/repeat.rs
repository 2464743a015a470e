//! Whether a statement that has failed may be sent again.
//!
//! SQL Server compiles a batch statement by statement, so an error that says "your metadata is out of
//! date" may come when others have done their work, and with `SET NOCOUNT ON` nothing shows of it.
//! Only what is a single statement beyond doubt is repeated; of others the application learns, and the
//! next time they are described afresh.

use super::lexis::{Piece, Pieces};
use crate::metadata::begins_a_statement;

/// What may lead to a request's being sent again, if the server says it before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing: it may have done some of its work.
    Never,
    /// Metadata that is out of date (33514): the call of a procedure, which fails so before its body.
    Stale,
    /// That, and an operand type clash (206): a single statement, which fails so when it is compiled.
    Clash,
}

/// Words that the parser has no use for, and that do something.
const OTHERS: [&str; 3] = ["BULK", "RECONFIGURE", "KILL"];

/// Whether the text is one INSERT of values, one UPDATE or DELETE without a query in it, or nothing but
/// queries that write nothing. `SET` cannot be told from that of UPDATE, so it counts as one of its own
/// where there is no UPDATE. A batch may begin with the name of a procedure, so the first word must be
/// one of these.
pub(super) fn is_single_statement(text: &str) -> bool {
    let mut counts = [0; 7];
    let mut begun = false;
    for piece in Pieces(text) {
        let code = match piece {
            Piece::Code(code) => code,
            Piece::Comment { .. } | Piece::LineComment(_) => continue,
            Piece::Name(_) | Piece::String(_) if begun => continue,
            Piece::Name(_) | Piece::String(_) => return false,
        };
        for word in
            code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '@' | '#' | '$'))
        {
            let is = |other: &&str| word.eq_ignore_ascii_case(other);
            let known = ["INSERT", "UPDATE", "DELETE", "SELECT", "SET", "VALUES", "INTO"];
            let known = known.iter().position(is);
            if let Some(at) = known {
                counts[at] += 1;
            } else if begins_a_statement(word) || OTHERS.iter().any(is) {
                return false;
            }
            let may_begin = known.is_some_and(|at| at < 4) || is(&"WITH");
            if !begun && !word.is_empty() && !may_begin {
                return false;
            }
            begun |= !word.is_empty();
        }
    }
    match counts {
        [0, 0, 0, selects, 0, _, 0] => selects > 0,
        [1, 0, 0, 0, 0, 1, _] | [0, 1, 0, 0, 1, _, _] | [0, 0, 1, 0, 0, _, _] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_one_statement_beyond_doubt_is_repeated() {
        for text in [
            "INSERT INTO t (a, b) VALUES (@P1, @P2), (@P3, 'EXEC; INSERT')",
            "UPDATE t SET a = @P1 WHERE b = @P2 -- and SELECT",
            "DELETE FROM [SET] WHERE a = @P1;",
            "SELECT a FROM t WHERE b = @P1",
            "/* c */ -- d\n select a from [t] where b = @P1",
            "WITH c AS (SELECT a FROM t) SELECT * FROM c WHERE a = @P1",
        ] {
            assert!(is_single_statement(text), "{text}");
        }
        for text in [
            "SET NOCOUNT ON INSERT t VALUES (@P1)",
            "INSERT log VALUES (1) INSERT t VALUES (@P1)",
            "INSERT log VALUES (1) SELECT a FROM t WHERE b = @P1",
            "DELETE log SELECT a FROM t WHERE b = @P1",
            "INSERT log DEFAULT VALUES; UPDATE t SET a = @P1",
            "EXEC p; INSERT t VALUES (@P1)",
            "EXEC('INSERT d SELECT 1'); SELECT @P1",
            "SELECT a INTO b FROM t WHERE a = @P1",
            "SET @x = 1 SELECT @P1",
            "INSERT t SELECT a FROM u WHERE b = @P1",
            "MERGE t USING u ON t.a = u.a WHEN MATCHED THEN DELETE;",
            "p @P1",
            "log_it @P1 SELECT a FROM t WHERE b = @P2",
            "dbo.p SELECT @P1",
            "[p] @P1 INSERT t VALUES (@P2)",
            "/* c */ \"p\" SELECT @P1",
            "",
        ] {
            assert!(!is_single_statement(text), "{text}");
        }
    }
}
