//! EXEC, and CREATE PROCEDURE with the statements of its body.

use sqlparser::ast::{Expr, Ident};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Word};

use crate::error::{Result, SqlError};
use crate::sql::batch::{self, Statement, expression, peek_word};
use crate::sql::control;
use crate::sql::names::{self, QualifiedName};
use crate::sql::syntax_error;
use crate::types::parse::{self, Declaration};

#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub(crate) procedure: String,
    pub(crate) arguments: Vec<ExecArgument>,
    /// `EXEC @status = ...`
    pub(crate) return_to: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct ExecArgument {
    /// With '@', where it is given.
    pub(crate) name: Option<String>,
    pub(crate) value: Expr,
    pub(crate) output: bool,
}

impl ExecArgument {
    /// DEFAULT: as if the argument were not there.
    pub(crate) fn is_default(&self) -> bool {
        matches!(&self.value, Expr::Identifier(Ident { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("default"))
    }

    /// The name of the variable, if the argument is one and nothing else.
    pub(crate) fn variable(&self) -> Option<&str> {
        match &self.value {
            Expr::Identifier(Ident { value, quote_style: None, .. })
                if value.starts_with('@') && !value.starts_with("@@") =>
            {
                Some(value)
            }
            _ => None,
        }
    }
}

/// A stored procedure.
#[derive(Debug, Clone)]
pub(crate) struct Procedure {
    pub(crate) name: QualifiedName,
    pub(crate) parameters: Vec<Declaration>,
    pub(crate) body: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateProcedure {
    pub(crate) procedure: Procedure,
    /// ALTER and CREATE OR ALTER replace one that is there.
    pub(crate) replaces: bool,
    /// CREATE makes one that is not there.
    pub(crate) creates: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DropProcedure {
    pub(crate) names: Vec<QualifiedName>,
    pub(crate) if_exists: bool,
}

/// Words that begin a statement, and so end an EXEC without arguments or a RETURN without a value.
const STATEMENT_WORDS: &[&str] = &[
    "ALTER",
    "BEGIN",
    "BREAK",
    "COMMIT",
    "CONTINUE",
    "CREATE",
    "DECLARE",
    "DELETE",
    "DENY",
    "DROP",
    "ELSE",
    "END",
    "EXEC",
    "EXECUTE",
    "GRANT",
    "IF",
    "INSERT",
    "MERGE",
    "PRINT",
    "RAISERROR",
    "RETURN",
    "REVOKE",
    "ROLLBACK",
    "SAVE",
    "SELECT",
    "SET",
    "THROW",
    "TRUNCATE",
    "UPDATE",
    "USE",
    "WHILE",
    "WITH",
];

pub(crate) fn at_end(parser: &Parser<'_>) -> bool {
    matches!(parser.peek_token().token, Token::EOF | Token::SemiColon)
        || peek_word(parser, 0).is_some_and(|word| STATEMENT_WORDS.contains(&word.as_str()))
}

fn is_variable(token: &Token) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.starts_with('@'))
}

/// Reads what follows EXEC.
pub(crate) fn exec(parser: &mut Parser<'_>) -> Result<Statement> {
    if parser.peek_token().token == Token::LParen {
        let text = parser.parse_expr().map_err(|e| syntax_error(&e))?;
        return Ok(Statement::ExecText(Box::new(text)));
    }
    let mut return_to = None;
    if is_variable(&parser.peek_token().token) && parser.peek_nth_token(1).token == Token::Eq {
        return_to = Some(parser.parse_identifier().map_err(|e| syntax_error(&e))?.value);
        parser.next_token();
    }
    let procedure = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?.to_string();
    if procedure.starts_with('@') {
        return Err(SqlError::unsupported("EXEC of a procedure that a variable names"));
    }
    let mut exec = Exec { procedure, arguments: Vec::new(), return_to };
    if at_end(parser) {
        return Ok(Statement::Exec(exec));
    }
    loop {
        exec.arguments.push(argument(parser)?);
        if !parser.consume_token(&Token::Comma) {
            return Ok(Statement::Exec(exec));
        }
    }
}

fn argument(parser: &mut Parser<'_>) -> Result<ExecArgument> {
    let mut name = None;
    if is_variable(&parser.peek_token().token) && parser.peek_nth_token(1).token == Token::Eq {
        name = Some(parser.parse_identifier().map_err(|e| syntax_error(&e))?.value);
        parser.next_token();
    }
    let value = expression(parser)?;
    let output = parse::output(parser);
    Ok(ExecArgument { name, value, output })
}

/// RETURN, with a value or without.
pub(crate) fn returns(parser: &mut Parser<'_>) -> Result<Statement> {
    let value = if at_end(parser) { None } else { Some(Box::new(expression(parser)?)) };
    Ok(Statement::Return(value))
}

/// Reads CREATE PROCEDURE and its kin if the next tokens begin one. The body goes to the end of the batch.
pub(crate) fn create(parser: &mut Parser<'_>) -> Result<Option<CreateProcedure>> {
    let words: Vec<String> = (0..4).map(|n| peek_word(parser, n).unwrap_or_default()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (length, replaces, creates) = match words.as_slice() {
        ["CREATE", "PROC" | "PROCEDURE", ..] => (2, false, true),
        ["ALTER", "PROC" | "PROCEDURE", ..] => (2, true, false),
        ["CREATE", "OR", "ALTER", "PROC" | "PROCEDURE"] => (4, true, true),
        _ => return Ok(None),
    };
    for _ in 0..length {
        parser.next_token();
    }
    let name = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    let name = names::qualified(&name)?;
    let mut parameters = Vec::new();
    let parenthesised = parser.consume_token(&Token::LParen);
    if is_variable(&parser.peek_token().token) {
        parameters = parse::declaration_list(parser)?;
    }
    if parenthesised {
        parser.expect_token(&Token::RParen).map_err(|e| syntax_error(&e))?;
    }
    if parser.parse_keyword(Keyword::WITH) {
        return Err(SqlError::unsupported("options of CREATE PROCEDURE"));
    }
    parser.expect_keyword(Keyword::AS).map_err(|e| syntax_error(&e))?;
    let body = batch::statements(parser)?;
    control::check_loops(&body)?;
    if body.is_empty() {
        return Err(SqlError::syntax("AS"));
    }
    let procedure = Procedure { name, parameters, body };
    Ok(Some(CreateProcedure { procedure, replaces, creates }))
}

/// Reads DROP PROCEDURE if the next tokens begin one.
pub(crate) fn drop_procedure(parser: &mut Parser<'_>) -> Result<Option<DropProcedure>> {
    let (first, second) = (peek_word(parser, 0), peek_word(parser, 1));
    let (Some("DROP"), Some("PROC" | "PROCEDURE")) = (first.as_deref(), second.as_deref()) else {
        return Ok(None);
    };
    parser.next_token();
    parser.next_token();
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let mut names = Vec::new();
    loop {
        let name = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
        names.push(names::qualified(&name)?);
        if !parser.consume_token(&Token::Comma) {
            return Ok(Some(DropProcedure { names, if_exists }));
        }
    }
}
