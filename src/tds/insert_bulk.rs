//! The text of INSERT BULK, with which a bulk load is announced (MS-TDS 2.2.6.1).
//!
//! `INSERT BULK table ([column] type, …) [WITH (…)]`

use super::identifier::{quote, quoted_identifier};

/// An INSERT BULK statement taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertBulk {
    /// The table as it was written.
    pub table: String,
    /// The columns: name without quotes, and its type as it was written.
    pub columns: Vec<(String, String)>,
    /// What follows the columns.
    pub options: String,
}

impl InsertBulk {
    /// Whether a batch is an INSERT BULK. Only its beginning needs to be there.
    #[must_use]
    pub fn begins(text: &str) -> bool {
        keywords(text).is_some()
    }

    /// Whether a text that is the beginning of a longer one may turn out to be an INSERT BULK: it
    /// holds nothing yet but white space, comments, or part of the keywords.
    #[must_use]
    pub fn may_begin_later(text: &str) -> bool {
        let rest = skip_blanks(text);
        match keyword(rest, "insert").map(skip_blanks) {
            Some(rest) => is_prefix_of(rest, "bulk"),
            None => is_prefix_of(rest, "insert"),
        }
    }

    /// Takes a statement apart; `None` if it is not one, or not one that we understand.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = keywords(text)?;
        let open = *top_level(rest, '(').first()?;
        let table = rest[..open].trim();
        let body = &rest[open + 1..];
        let close = *top_level(body, ')').first()?;
        let options = body[close + 1..].trim();
        let list = &body[..close];
        let mut columns = Vec::new();
        let mut start = 0;
        for end in top_level(list, ',').into_iter().chain([list.len()]) {
            columns.push(column(list[start..end].trim())?);
            start = end + 1;
        }
        if table.is_empty() {
            return None;
        }
        Some(Self { table: table.to_owned(), columns, options: options.to_owned() })
    }

    /// Whether the load brings ciphertext as it is.
    #[must_use]
    pub fn passes_ciphertext(&self) -> bool {
        const OPTION: &str = "ALLOW_ENCRYPTED_VALUE_MODIFICATIONS";
        let Some(list) = keyword(&self.options, "with").map(str::trim) else { return false };
        let Some(list) = list.strip_prefix('(').and_then(|l| l.strip_suffix(')')) else {
            return false;
        };
        let mut start = 0;
        top_level(list, ',').into_iter().chain([list.len()]).any(|end| {
            let option = list[start..end].trim();
            start = end + 1;
            option.eq_ignore_ascii_case(OPTION)
        })
    }

    /// A query without rows whose columns are those of the load.
    #[must_use]
    pub fn columns_query(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quote(name)).collect();
        format!("SELECT TOP 0 {} FROM {}", names.join(", "), self.table)
    }

    /// The statement with other types for some columns.
    #[must_use]
    pub fn with_types(&self, type_of: impl Fn(&str) -> Option<String>) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, written)| {
                let type_text = type_of(name).unwrap_or_else(|| written.clone());
                format!("{} {type_text}", quote(name))
            })
            .collect();
        let space = if self.options.is_empty() { "" } else { " " };
        format!("INSERT BULK {} ({}){space}{}", self.table, columns.join(", "), self.options)
    }
}

/// What follows INSERT BULK, with white space, semicolons and comments before and between.
fn keywords(text: &str) -> Option<&str> {
    let rest = keyword(skip_blanks(text), "insert")?;
    keyword(skip_blanks(rest), "bulk")
}

fn keyword<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends =
        !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$'));
    (head.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

fn is_prefix_of(text: &str, word: &str) -> bool {
    text.len() <= word.len() && word[..text.len()].eq_ignore_ascii_case(text)
}

fn skip_blanks(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        text = if let Some(comment) = text.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = text.strip_prefix("/*") {
            match block_end(comment) {
                Some(end) => &comment[end..],
                None => return "",
            }
        } else {
            return text;
        };
    }
}

/// Where a block comment ends; they nest.
fn block_end(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (1, 0);
    while depth > 0 {
        let open = text[at..].find("/*").map(|n| n + at);
        let close = text[at..].find("*/").map(|n| n + at)?;
        match open {
            Some(open) if open < close => {
                depth += 1;
                at = open + 2;
            }
            _ => {
                depth -= 1;
                at = close + 2;
            }
        }
    }
    Some(at)
}

/// Where a character stands outside of brackets, quotes and parentheses.
fn top_level(text: &str, wanted: char) -> Vec<usize> {
    let (mut depth, mut quoted, mut found) = (0usize, None, Vec::new());
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if let Some(end) = quoted {
            if c == end {
                // Doubled, it stands for itself.
                let doubled = chars.next_if(|(_, next)| *next == end).is_some();
                quoted = doubled.then_some(end);
            }
            continue;
        }
        if depth == 0 && c == wanted {
            found.push(at);
        }
        match c {
            '[' => quoted = Some(']'),
            '"' | '\'' => quoted = Some(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// `[name] type`, `"name" type` or `name type`.
fn column(text: &str) -> Option<(String, String)> {
    let quote = match text.chars().next()? {
        '[' => Some(']'),
        '"' => Some('"'),
        _ => None,
    };
    let Some(end) = quote else {
        let (name, type_text) = text.split_once(char::is_whitespace)?;
        return Some((name.to_owned(), type_text.trim().to_owned()));
    };
    let (name, type_text) = quoted_identifier(&text[1..], end)?;
    let type_text = type_text.trim();
    (!type_text.is_empty()).then(|| (name, type_text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_comes_apart_and_together() {
        let text = "INSERT BULK dbo.[Odd (table)] ([Id] int, [a]], b] nvarchar(max) COLLATE x, \
                    \"q\" decimal(18, 4)) WITH (KEEP_NULLS, TABLOCK)";
        let parsed = InsertBulk::parse(text).unwrap();
        assert_eq!(parsed.table, "dbo.[Odd (table)]");
        let names: Vec<&str> = parsed.columns.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["Id", "a], b", "q"]);
        assert_eq!(parsed.columns[2].1, "decimal(18, 4)");
        assert_eq!(
            parsed.columns_query(),
            "SELECT TOP 0 [Id], [a]], b], [q] FROM dbo.[Odd (table)]"
        );
        assert_eq!(
            parsed.with_types(|name| (name == "Id").then(|| "varbinary(65)".into())),
            "INSERT BULK dbo.[Odd (table)] ([Id] varbinary(65), [a]], b] nvarchar(max) COLLATE x, \
             [q] decimal(18, 4)) WITH (KEEP_NULLS, TABLOCK)"
        );
        assert!(!parsed.passes_ciphertext());
        for (options, passes) in [
            ("WITH (TABLOCK, Allow_Encrypted_Value_Modifications)", true),
            ("WITH (ORDER ([ALLOW_ENCRYPTED_VALUE_MODIFICATIONS] ASC))", false),
            ("", false),
        ] {
            let parsed = InsertBulk::parse(&format!("INSERT BULK t (a int) {options}")).unwrap();
            assert_eq!(parsed.passes_ciphertext(), passes, "{options}");
        }
    }

    #[test]
    fn comments_and_case_do_not_hide_it() {
        for text in [
            "insert bulk t (a int)",
            ";INSERT BULK t (a int)",
            "  /* a /* nested */ comment */ INSERT--x\n BULK t(a int)",
            "\u{a0}Insert\tBulk t (a int)",
        ] {
            assert!(InsertBulk::begins(text), "{text}");
        }
        for text in ["INSERT INTO t", "INSERT BULKY", "SELECT 1", "/* INSERT BULK", "insert"] {
            assert!(!InsertBulk::begins(text), "{text}");
        }
    }

    #[test]
    fn what_may_still_become_one_is_told_from_what_may_not() {
        for text in ["", "  -- comment", "/* open", "ins", "INSERT", "insert /* x */ bu"] {
            assert!(InsertBulk::may_begin_later(text), "{text}");
        }
        for text in ["SELECT", "insert into", "insx", "-- c\nupdate", "\u{fc}"] {
            assert!(!InsertBulk::may_begin_later(text), "{text}");
        }
    }

    #[test]
    fn half_a_statement_is_none() {
        let text = "INSERT BULK t ([a] int, [b] int)";
        for len in 0..text.len() {
            assert_eq!(InsertBulk::parse(&text[..len]), None, "{len}");
        }
    }
}
