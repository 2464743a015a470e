//! Whether a statement may change what has been said about tables.

/// The words that begin such a statement. `EXEC` may do anything; what it does unnoticed shows by
/// the server's errors 206 and 33514, as what other clients do.
const WORDS: [&str; 4] = ["ALTER", "CREATE", "DROP", "SP_RENAME"];

/// Whether the text has one of the words, be it in a comment or a string.
pub(super) fn may_change_schema(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| WORDS.iter().any(|w| word.eq_ignore_ascii_case(w)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_words() {
        for (text, expected) in [
            ("ALTER TABLE t ADD c int", true),
            ("if 1=1 create\ttable t(c int)", true),
            ("EXEC sp_rename 't.a', 'b'", true),
            ("SELECT CreatedAt, Dropped FROM t", false),
            ("SELECT create_date FROM sys.tables", false),
            ("", false),
        ] {
            assert_eq!(may_change_schema(text), expected, "{text}");
        }
    }
}
