//! WHILE, TRY and what belongs to them: BREAK, CONTINUE, THROW, RAISERROR and PRINT.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{Result, SqlError};
use crate::sql::batch::{Statement, expression, peek_word, statement};
use crate::sql::procedure::at_end;
use crate::sql::syntax_error;

#[derive(Debug, Clone)]
pub(crate) enum Control {
    While {
        condition: Expr,
        body: Vec<Statement>,
    },
    Break,
    Continue,
    Try {
        body: Vec<Statement>,
        handler: Vec<Statement>,
    },
    /// Number, message and state, or once more what has been caught.
    Throw(Option<(Expr, Expr, Expr)>),
    RaiseError {
        message: Expr,
        severity: Expr,
        state: Expr,
        arguments: Vec<Expr>,
        log: bool,
    },
    Print(Expr),
}

/// Reads such a statement if the next tokens begin one.
pub(crate) fn parse(parser: &mut Parser<'_>, depth: usize) -> Result<Option<Control>> {
    let (first, second) =
        (peek_word(parser, 0).unwrap_or_default(), peek_word(parser, 1).unwrap_or_default());
    let words = match (first.as_str(), second.as_str()) {
        ("BEGIN", "TRY") => 2,
        ("WHILE" | "BREAK" | "CONTINUE" | "THROW" | "RAISERROR" | "PRINT", _) => 1,
        ("GOTO" | "WAITFOR", _) => return Err(SqlError::unsupported(first)),
        _ => return Ok(None),
    };
    for _ in 0..words {
        parser.next_token();
    }
    let depth = depth.saturating_add(1);
    Ok(Some(match first.as_str() {
        "WHILE" => {
            Control::While { condition: expression(parser)?, body: vec![statement(parser, depth)?] }
        }
        "BREAK" => Control::Break,
        "CONTINUE" => Control::Continue,
        "THROW" if at_end(parser) => Control::Throw(None),
        "THROW" => {
            let number = expression(parser)?;
            comma(parser)?;
            let message = expression(parser)?;
            comma(parser)?;
            Control::Throw(Some((number, message, expression(parser)?)))
        }
        "RAISERROR" => raise_error(parser)?,
        "PRINT" => Control::Print(expression(parser)?),
        _ => {
            let body = until(parser, "TRY", depth)?;
            if !(peek_word(parser, 0).as_deref() == Some("BEGIN")
                && peek_word(parser, 1).as_deref() == Some("CATCH"))
            {
                return Err(SqlError::syntax(&parser.peek_token().token.to_string()));
            }
            parser.next_token();
            parser.next_token();
            Control::Try { body, handler: until(parser, "CATCH", depth)? }
        }
    }))
}

fn comma(parser: &mut Parser<'_>) -> Result<()> {
    parser.expect_token(&Token::Comma).map(drop).map_err(|e| syntax_error(&e))
}

/// Statements up to END and a word.
fn until(parser: &mut Parser<'_>, word: &str, depth: usize) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token().token == Token::EOF {
            return Err(SqlError::syntax(word));
        }
        if peek_word(parser, 0).as_deref() == Some("END") {
            if peek_word(parser, 1).as_deref() != Some(word) {
                return Err(SqlError::syntax("END"));
            }
            parser.next_token();
            parser.next_token();
            // Between END TRY and BEGIN CATCH nothing may stand, a semicolon neither.
            return Ok(statements);
        }
        statements.push(statement(parser, depth)?);
    }
}

fn raise_error(parser: &mut Parser<'_>) -> Result<Control> {
    parser.expect_token(&Token::LParen).map_err(|e| syntax_error(&e))?;
    let message = expression(parser)?;
    comma(parser)?;
    let severity = expression(parser)?;
    comma(parser)?;
    let state = expression(parser)?;
    let mut arguments = Vec::new();
    while parser.consume_token(&Token::Comma) {
        arguments.push(expression(parser)?);
    }
    parser.expect_token(&Token::RParen).map_err(|e| syntax_error(&e))?;
    let mut log = false;
    if parser.parse_keyword(Keyword::WITH) {
        loop {
            match parser.next_token().token.to_string().to_ascii_uppercase().as_str() {
                "NOWAIT" => {}
                "LOG" => log = true,
                other => {
                    return Err(SqlError::unsupported(format!("the option {other} of RAISERROR")));
                }
            }
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
    }
    Ok(Control::RaiseError { message, severity, state, arguments, log })
}

/// 135 or 136 for BREAK and CONTINUE that are in no loop.
pub(crate) fn check_loops(statements: &[Statement]) -> Result<()> {
    for statement in statements {
        match statement {
            Statement::Control(control) => match control.as_ref() {
                Control::Break => {
                    let text =
                        "Cannot use a BREAK statement outside the scope of a WHILE statement.";
                    return Err(SqlError::new(135, text).class(15));
                }
                Control::Continue => {
                    let text =
                        "Cannot use a CONTINUE statement outside the scope of a WHILE statement.";
                    return Err(SqlError::new(136, text).class(15));
                }
                Control::Try { body, handler } => {
                    check_loops(body)?;
                    check_loops(handler)?;
                }
                _ => {}
            },
            Statement::If { then, otherwise, .. } => {
                check_loops(then)?;
                check_loops(otherwise)?;
            }
            Statement::Block(statements) => check_loops(statements)?,
            _ => {}
        }
    }
    Ok(())
}
