//! What must not map.

use super::{check, *};

pub(super) const CASES: &[(&str, &str)] = &[
    ("", ""),
    (";;;", ""),
    ("INSERT INTO Messages DEFAULT VALUES", ""),
    ("SELECT @P1", ""),
    // The type is the expression's.
    ("SELECT 1 FROM t WHERE a = @P1 + 1 OR b = 'x' + @P2 OR c LIKE '%' + @P3 + '%'", ""),
    (
        "SELECT 1 FROM t WHERE a = CAST(@P1 AS int) OR b = CONVERT(int, @P2) OR c = TRY_CONVERT(int, @P3)",
        "",
    ),
    (
        "SELECT 1 FROM t WHERE a = UPPER(@P1) OR b = DATEADD(day, @P2, c) OR SUBSTRING(d, @P3, 1) = 'x'",
        "",
    ),
    ("UPDATE t SET a = a + @P1, b = CAST(@P2 AS int), c += @P3", ""),
    ("INSERT INTO t (a) VALUES (CONVERT(varbinary(9), @P1))", ""),
    ("SELECT 1 FROM t WHERE a + 1 = @P1 OR UPPER(b) = @P2 OR CAST(c AS int) = @P3", ""),
    ("SELECT TOP (@P1) a FROM t ORDER BY a OFFSET @P2 ROWS FETCH NEXT @P3 ROWS ONLY", ""),
    ("SELECT a FROM f(@P1) WHERE b = @P2", ""),
    ("SELECT a FROM @t t WHERE t.a = @P1 AND a = @P2", ""),
    // They only look like parameters.
    ("SELECT 1 FROM t WHERE a = '@P1' AND b = [@P2] AND c = \"@P3\" AND d = N'@P4'", ""),
    ("SELECT 1 FROM t WHERE a = @@ROWCOUNT AND b = @@p1 -- = @P1", ""),
    ("SELECT 1 FROM t /* WHERE a = @P1 */", ""),
    ("SELECT a AS '@P1', [@P2] = b FROM t", ""),
    // They cannot be parsed.
    ("no SQL at all @P1", ""),
    ("SELECT FROM WHERE a = @P1", ""),
    ("SELECT 1 FROM t WHERE a = @P1 AND", ""),
    ("SELECT 1 FROM t WHERE a = @P1) OR (b = 1", ""),
    ("SELECT 1 FROM t WHERE a = @P1 AND b = 'no end", ""),
    ("SELECT 1 FROM [t WHERE a = @P1", ""),
    ("SELECT 1 FROM t WHERE a = @P1 /* no end", ""),
    ("INSERT INTO t (a VALUES (@P1)", ""),
    ("WITH c AS (SELECT 1 FROM t x y z) SELECT 1 FROM c WHERE a = @P1", ""),
    // Their bodies have parameters of their own.
    ("CREATE PROCEDURE p @P1 int AS UPDATE t SET a = @P1", ""),
    ("CREATE OR ALTER PROC p @P1 int AS SELECT 1 FROM t WHERE a = @P1; SELECT 2", ""),
    ("EXEC sp_executesql; EXEC ('UPDATE t SET a = @P1')", ""),
    ("GRANT SELECT ON t TO x SELECT", ""),
];

#[test]
fn what_is_no_value_of_a_column_maps_nothing() {
    check(CASES);
}

#[test]
fn a_statement_cut_anywhere_maps_without_panic() {
    for statement in statements() {
        for (at, _) in statement.char_indices() {
            targets(&statement[..at]);
            targets(&statement[at..]);
        }
    }
}

#[test]
fn a_statement_with_a_token_lost_or_doubled_maps_without_panic() {
    for statement in statements() {
        let words: Vec<&str> = statement.split_inclusive([' ', '(', ')', ',', '.', '=']).collect();
        for at in 0..words.len() {
            let lost: String = [&words[..at], &words[at + 1..]].concat().concat();
            targets(&lost);
            let doubled: String = [&words[..=at], &words[at..]].concat().concat();
            targets(&doubled);
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_soup_of_words_maps_without_panic(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..60),
    ) {
        targets(&words.join(" "));
    }
}

const WORDS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "INSERT", "INTO", "VALUES", "UPDATE", "SET", "DELETE", "MERGE",
    "USING", "ON", "WHEN", "MATCHED", "THEN", "WITH", "AS", "EXEC", "DECLARE", "IF", "BEGIN",
    "END", "ELSE", "TOP", "OUTPUT", "UNION", "EXISTS", "IN", "CASE", "(", ")", "(", ")", ",", ".",
    ";", "=", "<", "+", "*", "@P1", "@P2", "a", "t", "[b]", "'s'", "1", "AND", "OR", "NOT", "NULL",
    "IS", "OPTION", "JOIN", "CROSS", "APPLY", "PIVOT", "FOR", "TRY", "CATCH", "TRAN", "int", ":",
    "-", "COLLATE",
];
