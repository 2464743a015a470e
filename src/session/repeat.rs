//! Whether a statement that has failed may be sent again.
//!
//! SQL Server compiles a batch statement by statement, so an error that says "your metadata is out of
//! date" may come when others have done their work, and with `SET NOCOUNT ON` nothing shows of it.
//! Only what is a single statement beyond doubt is repeated; of others the application learns, and the
//! next time they are described afresh.

use super::lexis::{Piece, Pieces};

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

/// Words that begin a statement of their own, or may run any.
const OTHERS: [&str; 32] = [
    "EXEC",
    "EXECUTE",
    "MERGE",
    "BEGIN",
    "END",
    "IF",
    "ELSE",
    "WHILE",
    "DECLARE",
    "RETURN",
    "PRINT",
    "THROW",
    "RAISERROR",
    "COMMIT",
    "ROLLBACK",
    "SAVE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "USE",
    "GRANT",
    "REVOKE",
    "DENY",
    "WAITFOR",
    "GOTO",
    "OPEN",
    "FETCH",
    "DBCC",
    "BULK",
    "RECONFIGURE",
    "KILL",
];

/// Whether the text is one INSERT of values, one UPDATE or DELETE without a query in it, or nothing but
/// queries that write nothing. `SET` cannot be told from that of UPDATE, so it counts as one of its own
/// where there is no UPDATE.
pub(super) fn is_single_statement(text: &str) -> bool {
    let (mut writes, mut selects, mut sets, mut values, mut into) = (Vec::new(), 0, 0, 0, 0);
    for piece in Pieces(text) {
        let Piece::Code(code) = piece else { continue };
        for word in
            code.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '@' | '#' | '$'))
        {
            let word = word.to_ascii_uppercase();
            match word.as_str() {
                "INSERT" | "UPDATE" | "DELETE" => writes.push(word),
                "SELECT" => selects += 1,
                "SET" => sets += 1,
                "VALUES" => values += 1,
                "INTO" => into += 1,
                other if OTHERS.contains(&other) => return false,
                _ => {}
            }
        }
    }
    match writes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => selects > 0 && into == 0 && sets == 0,
        ["INSERT"] => values == 1 && selects == 0 && sets == 0,
        ["UPDATE"] => selects == 0 && sets == 1,
        ["DELETE"] => selects == 0 && sets == 0,
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
            "",
        ] {
            assert!(!is_single_statement(text), "{text}");
        }
    }
}
