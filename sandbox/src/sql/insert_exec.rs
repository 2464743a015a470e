//! `INSERT INTO t EXEC ...`, which sqlparser does not read.

use sqlparser::ast::ObjectName;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{Result, SqlError};
use crate::sql::batch::{Statement, peek_word};
use crate::sql::procedure;
use crate::sql::syntax_error;

/// A table that takes the rows of a procedure or a text.
#[derive(Debug, Clone)]
pub(crate) struct InsertExec {
    pub(crate) table: ObjectName,
    pub(crate) columns: Vec<ObjectName>,
    pub(crate) exec: Statement,
}

/// A list of columns is no longer than this.
const MOST_TOKENS: usize = 4096;

/// Whether EXEC follows the table and its columns.
pub(crate) fn begins(parser: &Parser<'_>) -> bool {
    let mut at = 1usize;
    if peek_word(parser, at).as_deref() == Some("INTO") {
        at = at.saturating_add(1);
    }
    while matches!(parser.peek_nth_token(at).token, Token::Word(_) | Token::Period)
        && !matches!(
            peek_word(parser, at).as_deref(),
            Some("EXEC" | "EXECUTE" | "VALUES" | "SELECT" | "DEFAULT")
        )
    {
        at = at.saturating_add(1);
    }
    if parser.peek_nth_token(at).token == Token::LParen {
        while at < MOST_TOKENS
            && !matches!(parser.peek_nth_token(at).token, Token::RParen | Token::EOF)
        {
            at = at.saturating_add(1);
        }
        at = at.saturating_add(1);
    }
    matches!(peek_word(parser, at).as_deref(), Some("EXEC" | "EXECUTE"))
}

/// Reads all of it, where [`begins`] has said that it is one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<InsertExec> {
    parser.next_token();
    let _optional = parser.parse_keyword(Keyword::INTO);
    let table = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    let mut columns = Vec::new();
    if parser.consume_token(&Token::LParen) {
        loop {
            columns.push(parser.parse_object_name(false).map_err(|e| syntax_error(&e))?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen).map_err(|e| syntax_error(&e))?;
    }
    match peek_word(parser, 0).as_deref() {
        Some("EXEC" | "EXECUTE") => parser.next_token(),
        _ => return Err(SqlError::syntax(&parser.peek_token().token.to_string())),
    };
    Ok(InsertExec { table, columns, exec: procedure::exec(parser)? })
}
