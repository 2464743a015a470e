//! Tokens of T-SQL as sqlparser wants them, where its grammar has another order or knows less.

use std::collections::BTreeSet;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::sql::dialect::is_clustering;

pub(crate) fn for_sqlparser(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    with_hints_behind_alias(with_delete_from(without_clustering(tokens)))
}

fn word_of(token: &TokenWithSpan) -> Option<&Word> {
    match &token.token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

fn is_keyword(token: &TokenWithSpan, keyword: &str) -> bool {
    word_of(token)
        .is_some_and(|word| word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword))
}

/// Tokens of `server.database.schema.table`, and the one behind it.
const LONGEST_NAME: usize = 8;

/// What may follow DELETE and is no table: in GRANT and MERGE it is not a statement.
const NO_TABLE: &[&str] = &["FROM", "TOP", "ON", "TO", "WHEN", "OUTPUT"];

/// `DELETE t WHERE` is T-SQL, sqlparser wants its FROM. Not after ON, as in `ON DELETE CASCADE`, and not before a
/// FROM of its own, as in `DELETE x FROM t AS x`.
fn with_delete_from(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut significant =
        tokens.iter().enumerate().filter(|(_, t)| !matches!(t.token, Token::Whitespace(_)));
    let mut places = BTreeSet::new();
    let mut before: Option<&TokenWithSpan> = None;
    while let Some((at, token)) = significant.next() {
        let after_on = before.is_some_and(|before| is_keyword(before, "ON"));
        before = Some(token);
        if !is_keyword(token, "DELETE") || after_on {
            continue;
        }
        let mut rest = significant.clone().map(|(_, token)| token).take(LONGEST_NAME);
        let names_table = rest.next().is_some_and(|t| {
            word_of(t).is_some() && !NO_TABLE.iter().any(|word| is_keyword(t, word))
        });
        let own_from = rest
            .find(|token| !matches!(token.token, Token::Period) && !rest_of_name(token))
            .is_some_and(|token| is_keyword(token, "FROM"));
        if names_table && !own_from {
            places.insert(at);
        }
    }
    let mut out = Vec::with_capacity(tokens.len().saturating_add(places.len()));
    for (at, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        out.push(token);
        if places.contains(&at) {
            out.push(TokenWithSpan { token: Token::make_keyword("FROM"), span });
        }
    }
    out
}

/// sqlparser reads `CREATE INDEX`, not `CREATE NONCLUSTERED INDEX`.
fn without_clustering(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let clusters = |token: &TokenWithSpan| {
        word_of(token).is_some_and(|word| word.quote_style.is_none() && is_clustering(&word.value))
    };
    let significant: Vec<(usize, &TokenWithSpan)> = tokens
        .iter()
        .enumerate()
        .filter(|(_, t)| !matches!(t.token, Token::Whitespace(_)))
        .collect();
    let superfluous: BTreeSet<usize> = significant
        .windows(2)
        .filter_map(|pair| match pair {
            [(at, token), (_, next)] if clusters(token) && is_keyword(next, "INDEX") => Some(*at),
            _ => None,
        })
        .collect();
    if superfluous.is_empty() {
        return tokens;
    }
    let kept = tokens.into_iter().enumerate().filter(|(at, _)| !superfluous.contains(at));
    kept.map(|(_, token)| token).collect()
}

fn rest_of_name(token: &TokenWithSpan) -> bool {
    word_of(token)
        .is_some_and(|word| word.quote_style.is_some() || word.keyword == Keyword::NoKeyword)
}

/// `MERGE t WITH (HOLDLOCK) AS x` is T-SQL, sqlparser wants the hints behind the alias.
fn with_hints_behind_alias(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_keyword(token, "MERGE")) {
        return tokens;
    }
    let blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let merges = is_keyword(&token, "MERGE");
        out.push(token);
        if !merges {
            continue;
        }
        let name = std::iter::from_fn(|| {
            rest.next_if(|token| {
                blank(token)
                    || is_keyword(token, "INTO")
                    || token.token == Token::Period
                    || rest_of_name(token)
            })
        });
        out.extend(name);
        if !rest.peek().is_some_and(|token| is_keyword(token, "WITH")) {
            continue;
        }
        let mut hints = Vec::new();
        for token in rest.by_ref() {
            let last = token.token == Token::RParen;
            hints.push(token);
            if last {
                break;
            }
        }
        let alias = std::iter::from_fn(|| {
            rest.next_if(|token| blank(token) || is_keyword(token, "AS") || rest_of_name(token))
        });
        out.extend(alias);
        out.extend(hints);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::dialect::TransactSql;
    use sqlparser::tokenizer::Tokenizer;

    fn rewritten(sql: &str) -> String {
        let tokens = Tokenizer::new(&TransactSql, sql).tokenize_with_location().unwrap();
        let words = for_sqlparser(tokens).into_iter().map(|token| token.token.to_string());
        words.collect::<Vec<_>>().concat().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hints_of_merge_go_behind_its_alias() {
        assert_eq!(
            rewritten("MERGE INTO dbo.[t] WITH (HOLDLOCK, ROWLOCK) AS x USING"),
            "MERGE INTO dbo.[t] AS x WITH (HOLDLOCK, ROWLOCK)USING"
        );
        for sql in ["MERGE t AS x USING s WITH (NOLOCK) ON 1 = 1", "MERGE t WITH", "MERGE"] {
            assert_eq!(rewritten(sql), sql);
        }
    }
}
