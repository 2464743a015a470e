//! A text as the tokens that the parser wants to see.
//!
//! Without spaces and comments, and with what the parser does not know of T-SQL, and we have no use
//! for, taken out or said in its words.

use sqlparser::{
    keywords::Keyword,
    tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word},
};

use super::dialect::BoundedTsql;

/// How many operators may follow each other without parenthesis or comma. Each makes the tree one
/// level deeper, and trees are dropped recursively. A disjunction over 2,100 parameters has two each.
const LONGEST_CHAIN: usize = 5_000;

/// Words that no statement has at its end: it is over before them. The parser would take some for
/// aliases.
const SEPARATE: [&str; 16] = [
    "BEGIN",
    "BREAK",
    "CLOSE",
    "COMMIT",
    "CONTINUE",
    "DEALLOCATE",
    "FETCH",
    "GOTO",
    "OPEN",
    "PRINT",
    "RAISERROR",
    "RETURN",
    "ROLLBACK",
    "SAVE",
    "TRUNCATE",
    "WAITFOR",
];

/// The tokens of a text. The line of each is how many parentheses are open around it. `None` if the
/// text has no end, or chains that are too long.
pub(super) fn read(text: &str) -> Option<Vec<TokenWithSpan>> {
    let dialect = BoundedTsql::new(usize::MAX);
    let tokens = Tokenizer::new(&dialect, text).tokenize().ok()?;
    let tokens = Rewrite { tokens: with_variables_whole(tokens), at: 0, out: Vec::new() }.run();
    place(tokens)
}

/// An unquoted word.
pub(super) fn word(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

/// Whether a token is one of these words.
pub(super) fn is_word(token: &Token, words: &[&str]) -> bool {
    word(token).is_some_and(|word| words.iter().any(|other| word.eq_ignore_ascii_case(other)))
}

/// Takes spaces out and mends `<@p` and `^@p`, which the tokenizer takes for operators of PostgreSQL.
fn with_variables_whole(tokens: Vec<Token>) -> Vec<Token> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let operator = match token {
            Token::Whitespace(_) => continue,
            Token::ArrowAt => Token::Lt,
            Token::CaretAt => Token::Caret,
            other => {
                out.push(other);
                continue;
            }
        };
        out.push(operator);
        let name = tokens.next_if(|next| word(next).is_some() || matches!(next, Token::Number(..)));
        if let Some(name) = name {
            out.push(unquoted(format!("@{name}")));
        }
    }
    out
}

fn unquoted(value: String) -> Token {
    Token::Word(Word { value, quote_style: None, keyword: Keyword::NoKeyword })
}

struct Rewrite {
    tokens: Vec<Token>,
    at: usize,
    out: Vec<Token>,
}

impl Rewrite {
    fn run(mut self) -> Vec<Token> {
        while let Some(token) = self.tokens.get(self.at) {
            if is_word(token, &["WITH", "OPTION"]) && self.is_open(self.at + 1) {
                // Hints.
                self.at = self.after_group(self.at + 1);
            } else if is_word(token, &["DELETE"]) && self.starts_a_statement() {
                self.delete();
            } else if is_word(token, &["INSERT", "UPDATE", "MERGE"]) {
                let token = token.clone();
                self.out.push(token);
                self.at = self.after_top(self.at + 1);
            } else if let Some(after) = self.after_fetch() {
                self.at = after;
            } else if is_word(token, &SEPARATE) {
                let token = token.clone();
                self.out.extend([Token::SemiColon, token]);
                self.at += 1;
            } else if is_arithmetic(token) && self.tokens.get(self.at + 1) == Some(&Token::Eq) {
                // `a += e`: the type is the sum's.
                let operator = token.clone();
                self.out.extend([Token::Eq, Token::SingleQuotedString(String::new()), operator]);
                self.at += 2;
            } else {
                let token = token.clone();
                self.out.push(token);
                self.at += 1;
            }
        }
        self.out
    }

    fn is_open(&self, at: usize) -> bool {
        self.tokens.get(at) == Some(&Token::LParen)
    }

    fn is_word(&self, at: usize, words: &[&str]) -> bool {
        self.tokens.get(at).is_some_and(|token| is_word(token, words))
    }

    /// Behind the parenthesis that closes the one here.
    fn after_group(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.tokens.len()
    }

    /// Behind `TOP (…) [PERCENT]`, if it is here.
    fn after_top(&self, at: usize) -> usize {
        if !self.is_word(at, &["TOP"]) || !self.is_open(at + 1) {
            return at;
        }
        let after = self.after_group(at + 1);
        if self.is_word(after, &["PERCENT"]) { after + 1 } else { after }
    }

    /// Behind `FETCH NEXT @n ROWS ONLY`, if it is here. The parser wants a number.
    fn after_fetch(&self) -> Option<usize> {
        if !self.is_word(self.at, &["FETCH"]) || !self.is_word(self.at + 1, &["NEXT", "FIRST"]) {
            return None;
        }
        let value = if self.is_open(self.at + 2) { 3 } else { 1 };
        let rows = self.at + 2 + value;
        let is_there = self.is_word(rows, &["ROW", "ROWS"]) && self.is_word(rows + 1, &["ONLY"]);
        is_there.then_some(rows + 2)
    }

    /// Behind an OUTPUT clause, if it is here.
    fn after_output(&self, at: usize) -> usize {
        if !self.is_word(at, &["OUTPUT"]) {
            return at;
        }
        let mut depth = 0usize;
        for (at, token) in self.tokens.iter().enumerate().skip(at + 1) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => return at,
                Token::RParen => depth -= 1,
                Token::SemiColon => return at,
                _ if depth == 0 && is_word(token, &["FROM", "WHERE", "OPTION"]) => return at,
                _ if depth == 0 && super::batch::starts_a_statement(token) => return at,
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// Not `WHEN MATCHED THEN DELETE`, `ON DELETE CASCADE` and the like.
    fn starts_a_statement(&self) -> bool {
        !self.out.last().is_some_and(|previous| {
            is_word(previous, &["THEN", "ON", "FOR", "AFTER", "OF", "GRANT", "REVOKE", "DENY"])
                || *previous == Token::Comma
        })
    }

    /// `DELETE [TOP (…)] [FROM] t [OUTPUT …] [FROM …]` becomes `DELETE FROM t` or `DELETE t FROM …`.
    fn delete(&mut self) {
        let mut name = self.after_top(self.at + 1);
        if self.is_word(name, &["FROM"]) {
            name += 1;
        }
        let mut end = name;
        while matches!(self.tokens.get(end), Some(Token::Word(_)))
            && self.tokens.get(end + 1) == Some(&Token::Period)
        {
            end += 2;
            while self.tokens.get(end) == Some(&Token::Period) {
                end += 1;
            }
        }
        end += 1;
        let target = self.tokens.get(name..end).unwrap_or_default().to_vec();
        self.out.push(unquoted_keyword("DELETE", Keyword::DELETE));
        self.at = end.min(self.tokens.len());
        if self.is_word(self.at, &["WITH"]) && self.is_open(self.at + 1) {
            self.at = self.after_group(self.at + 1);
        }
        self.at = self.after_output(self.at);
        if !self.is_word(self.at, &["FROM"]) {
            self.out.push(unquoted_keyword("FROM", Keyword::FROM));
        }
        self.out.extend(target);
    }
}

fn unquoted_keyword(value: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: value.to_owned(), quote_style: None, keyword })
}

fn is_arithmetic(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
    )
}

/// Whether the tree grows deeper with this token.
fn chains(token: &Token) -> bool {
    const WORDS: [&str; 14] = [
        "AND",
        "OR",
        "IS",
        "IN",
        "LIKE",
        "BETWEEN",
        "NOT",
        "AT",
        "COLLATE",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "PIVOT",
        "UNPIVOT",
    ];
    match token {
        Token::Word(_) => is_word(token, &WORDS),
        Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_) => false,
        _ => true,
    }
}

/// Says of each token how deep it is, and refuses chains that are too long.
fn place(tokens: Vec<Token>) -> Option<Vec<TokenWithSpan>> {
    let mut chain_of_depth = vec![0usize];
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token == Token::RParen && chain_of_depth.len() > 1 {
            chain_of_depth.pop();
        }
        let depth = u64::try_from(chain_of_depth.len() - 1).ok()?;
        let chain = chain_of_depth.last_mut()?;
        match &token {
            Token::Comma | Token::SemiColon => *chain = 0,
            Token::LParen => chain_of_depth.push(0),
            token if chains(token) => *chain += 1,
            _ => {}
        }
        if chain_of_depth.last().is_some_and(|chain| *chain > LONGEST_CHAIN) {
            return None;
        }
        let location = Location::new(depth, 0);
        out.push(TokenWithSpan::new(token, Span::new(location, location)));
    }
    Some(out)
}
