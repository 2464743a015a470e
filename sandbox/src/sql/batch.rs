//! Cuts a batch into statements. What sqlparser does not read as T-SQL has it, transactions, SET options, EXEC, IF
//! and the statements on keys, is read here from the same tokens; the rest is sqlparser's.

use sqlparser::ast::{ColumnDef, DataType, Expr, Statement as SqlStatement, TableConstraint};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::{Result, SqlError};
use crate::exec::options::SetOption;
use crate::exec::table_type::{self, TypeStatement};
use crate::sql::alter::{self, AlterTable};
use crate::sql::bulk::{self, InsertBulk};
use crate::sql::control::{self, Control};
use crate::sql::dialect::TransactSql;
use crate::sql::insert_exec::{self, InsertExec};
use crate::sql::keys::{self, KeyStatement};
use crate::sql::merge;
use crate::sql::procedure::{self, CreateProcedure, DropProcedure, Exec};
use crate::sql::rewrite;
use crate::sql::security::{self, SecurityStatement};
use crate::sql::syntax_error;

/// Bounds the depth of the tree that one batch can become.
const MAX_TOKENS: usize = 300_000;
const MAX_NESTING: usize = 32;

#[derive(Debug, Clone)]
pub(crate) enum Statement {
    Sql(Box<SqlStatement>),
    Key(KeyStatement),
    Security(SecurityStatement),
    Type(Box<TypeStatement>),
    BeginTransaction(Option<String>),
    Commit,
    /// To a savepoint of that name if there is one, else all of it.
    Rollback(Option<String>),
    Save(String),
    /// SET with nothing to do.
    Option,
    ImplicitTransactions(bool),
    NoCount(bool),
    /// SET of what bears on whether statements run, and on their answers.
    Set(SetOption),
    Use(String),
    Exec(Exec),
    /// EXEC of a string.
    ExecText(Box<Expr>),
    Return(Option<Box<Expr>>),
    CreateProcedure(Box<CreateProcedure>),
    DropProcedure(DropProcedure),
    If {
        condition: Box<Expr>,
        then: Vec<Statement>,
        otherwise: Vec<Statement>,
    },
    Block(Vec<Statement>),
    Control(Box<Control>),
    Declare(Vec<(String, DataType, Option<Expr>)>),
    SetVariable(String, Box<Expr>),
    /// DECLARE @t TABLE.
    DeclareTable {
        name: String,
        columns: Vec<ColumnDef>,
        constraints: Vec<TableConstraint>,
    },
    InsertExec(Box<InsertExec>),
    InsertBulk(Box<InsertBulk>),
    AlterTable(Box<AlterTable>),
}

pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>> {
    let dialect = TransactSql;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|e| syntax_error(&e.into()))?;
    if tokens.len() > MAX_TOKENS {
        return Err(SqlError::unsupported(format!("a batch of more than {MAX_TOKENS} tokens")));
    }
    let tokens = rewrite::for_sqlparser(tokens);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    while parser.consume_token(&Token::SemiColon) {}
    match procedure::create(&mut parser)? {
        Some(create) => Ok(vec![Statement::CreateProcedure(Box::new(create))]),
        None => {
            // At the start of a batch the EXEC of a procedure may be left out: here that of a system's, as JDBC does.
            let mut all = Vec::new();
            if peek_word(&parser, 0).is_some_and(|word| word.starts_with("SP_")) {
                all.push(procedure::exec(&mut parser)?);
            }
            all.extend(statements(&mut parser)?);
            control::check_loops(&all)?;
            Ok(all)
        }
    }
}

/// All that is left.
pub(crate) fn statements(parser: &mut Parser<'_>) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(statement(parser, 0)?);
    }
}

/// One expression, as the catalogue keeps defaults.
pub(crate) fn parse_expression(sql: &str) -> Result<Expr> {
    let dialect = TransactSql;
    let mut parser = Parser::new(&dialect).try_with_sql(sql).map_err(|e| syntax_error(&e))?;
    expression(&mut parser)
}

pub(crate) fn peek_word(parser: &Parser<'_>, n: usize) -> Option<String> {
    match parser.peek_nth_token(n).token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_uppercase()),
        _ => None,
    }
}

pub(crate) fn expression(parser: &mut Parser<'_>) -> Result<Expr> {
    parser.parse_expr().map_err(|e| syntax_error(&e))
}

pub(crate) fn statement(parser: &mut Parser<'_>, depth: usize) -> Result<Statement> {
    if depth > MAX_NESTING {
        return Err(SqlError::unsupported(format!("statements nested deeper than {MAX_NESTING}")));
    }
    if let Some(statement) = keys::parse(parser)? {
        return Ok(Statement::Key(statement));
    }
    if let Some(control) = control::parse(parser, depth)? {
        return Ok(Statement::Control(Box::new(control)));
    }
    if let Some(statement) = table_type::parse(parser)? {
        return Ok(Statement::Type(Box::new(statement)));
    }
    if let Some(statement) = security::parse(parser)? {
        return Ok(Statement::Security(statement));
    }
    if let Some(statement) = procedure::drop_procedure(parser)? {
        return Ok(Statement::DropProcedure(statement));
    }
    let first = peek_word(parser, 0).unwrap_or_default();
    let second = peek_word(parser, 1).unwrap_or_default();
    match (first.as_str(), second.as_str()) {
        ("BEGIN" | "COMMIT" | "ROLLBACK" | "SAVE", "TRAN" | "TRANSACTION" | "WORK") => {
            transaction(parser, &first, 2)
        }
        ("COMMIT" | "ROLLBACK", _) => transaction(parser, &first, 1),
        ("BEGIN", _) => {
            parser.next_token();
            block(parser, depth)
        }
        ("SET", _) => {
            parser.next_token();
            set(parser)
        }
        ("USE", _) => {
            parser.next_token();
            Ok(Statement::Use(parser.parse_identifier().map_err(|e| syntax_error(&e))?.value))
        }
        ("IF", _) => {
            parser.next_token();
            conditional(parser, depth)
        }
        ("EXEC" | "EXECUTE", _) => {
            parser.next_token();
            procedure::exec(parser)
        }
        ("RETURN", _) => {
            parser.next_token();
            procedure::returns(parser)
        }
        ("CREATE" | "ALTER", "PROC" | "PROCEDURE") => Err(SqlError::new(
            111,
            format!("'{first} PROCEDURE' must be the first statement in a query batch."),
        )
        .class(15)),
        ("ALTER", "TABLE") => {
            parser.next_token();
            parser.next_token();
            Ok(Statement::AlterTable(Box::new(alter::parse(parser)?)))
        }
        ("INSERT", "BULK") => {
            parser.next_token();
            parser.next_token();
            Ok(Statement::InsertBulk(Box::new(bulk::parse(parser)?)))
        }
        ("DECLARE", _) => {
            parser.next_token();
            declare(parser)
        }
        ("INSERT", _) if insert_exec::begins(parser) => {
            Ok(Statement::InsertExec(Box::new(insert_exec::parse(parser)?)))
        }
        ("MERGE", "TOP") => Err(SqlError::unsupported("MERGE TOP")),
        _ => {
            let statement = parser.parse_statement().map_err(|e| syntax_error(&e))?;
            let merge = matches!(statement, SqlStatement::Merge(_));
            if merge && parser.peek_token().token != Token::SemiColon {
                return Err(merge::not_terminated());
            }
            Ok(Statement::Sql(Box::new(statement)))
        }
    }
}

/// Whether a word may name a transaction: one that could begin the next statement may not.
fn optional_name(parser: &mut Parser<'_>) -> Option<String> {
    match parser.peek_token().token {
        Token::Word(Word { value, quote_style, keyword })
            if quote_style.is_some() || keyword == Keyword::NoKeyword =>
        {
            parser.next_token();
            Some(value)
        }
        _ => None,
    }
}

fn transaction(parser: &mut Parser<'_>, verb: &str, words: usize) -> Result<Statement> {
    for _ in 0..words {
        parser.next_token();
    }
    let name = if words == 2 { optional_name(parser) } else { None };
    match (verb, name) {
        ("BEGIN", name) => Ok(Statement::BeginTransaction(name)),
        ("COMMIT", _) => Ok(Statement::Commit),
        ("SAVE", Some(name)) => Ok(Statement::Save(name)),
        ("SAVE", None) => Err(SqlError::syntax("SAVE")),
        (_, name) => Ok(Statement::Rollback(name)),
    }
}

fn block(parser: &mut Parser<'_>, depth: usize) -> Result<Statement> {
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        match peek_word(parser, 0).as_deref() {
            Some("END") => {
                parser.next_token();
                return Ok(Statement::Block(statements));
            }
            None if parser.peek_token().token == Token::EOF => {
                return Err(SqlError::syntax("BEGIN"));
            }
            _ => statements.push(statement(parser, depth.saturating_add(1))?),
        }
    }
}

fn conditional(parser: &mut Parser<'_>, depth: usize) -> Result<Statement> {
    let condition = Box::new(expression(parser)?);
    let depth = depth.saturating_add(1);
    let then = vec![statement(parser, depth)?];
    // A semicolon may stand before ELSE.
    let semicolon = parser.peek_token().token == Token::SemiColon;
    let otherwise = if peek_word(parser, usize::from(semicolon)).as_deref() == Some("ELSE") {
        if semicolon {
            parser.next_token();
        }
        parser.next_token();
        vec![statement(parser, depth)?]
    } else {
        Vec::new()
    };
    Ok(Statement::If { condition, then, otherwise })
}

/// Options that change nothing that this server does.
const HARMLESS: &[&str] = &[
    "ANSI_DEFAULTS",
    "ANSI_NULLS",
    "ANSI_NULL_DFLT_ON",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ARITHABORT",
    "ARITHIGNORE",
    "CONCAT_NULL_YIELDS_NULL",
    "CURSOR_CLOSE_ON_COMMIT",
    "NUMERIC_ROUNDABORT",
    "QUOTED_IDENTIFIER",
    "XACT_ABORT",
    "TEXTSIZE",
    "LOCK_TIMEOUT",
    "DATEFIRST",
    "DEADLOCK_PRIORITY",
    "LANGUAGE",
    "DATEFORMAT",
];

fn set(parser: &mut Parser<'_>) -> Result<Statement> {
    let name = match parser.next_token().token {
        Token::Word(word) => word.value,
        other => return Err(SqlError::syntax(&other.to_string())),
    };
    if name.starts_with('@') {
        parser.expect_token(&Token::Eq).map_err(|e| syntax_error(&e))?;
        return Ok(Statement::SetVariable(name, Box::new(expression(parser)?)));
    }
    let mut names = vec![name.to_ascii_uppercase()];
    if names.first().is_some_and(|name| name == "TRANSACTION") {
        return isolation_level(parser);
    }
    while parser.consume_token(&Token::Comma) {
        names.push(
            parser.parse_identifier().map_err(|e| syntax_error(&e))?.value.to_ascii_uppercase(),
        );
    }
    let _sign = parser.consume_token(&Token::Minus);
    let value = parser.next_token().token.to_string().to_ascii_uppercase();
    if let [name] = names.as_slice()
        && let Some(option) = SetOption::of(name, &value)
    {
        return Ok(Statement::Set(option));
    }
    match (names.as_slice(), value.as_str()) {
        ([name], "ON" | "OFF") if name == "NOCOUNT" => Ok(Statement::NoCount(value == "ON")),
        ([name], "ON" | "OFF") if name == "IMPLICIT_TRANSACTIONS" => {
            Ok(Statement::ImplicitTransactions(value == "ON"))
        }
        (names, _) if names.iter().all(|name| HARMLESS.contains(&name.as_str())) => {
            Ok(Statement::Option)
        }
        (names, _) => Err(SqlError::unsupported(format!("SET {} {value}", names.join(", ")))),
    }
}

fn isolation_level(parser: &mut Parser<'_>) -> Result<Statement> {
    let mut words = Vec::new();
    for _ in 0..3 {
        words.push(parser.next_token().token.to_string().to_ascii_uppercase());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ISOLATION", "LEVEL", "SERIALIZABLE" | "SNAPSHOT"] => Ok(Statement::Option),
        ["ISOLATION", "LEVEL", "READ" | "REPEATABLE"] => {
            let last = parser.next_token().token.to_string().to_ascii_uppercase();
            match last.as_str() {
                "COMMITTED" | "UNCOMMITTED" | "READ" => Ok(Statement::Option),
                other => Err(SqlError::syntax(other)),
            }
        }
        _ => Err(SqlError::syntax("TRANSACTION")),
    }
}

fn declare(parser: &mut Parser<'_>) -> Result<Statement> {
    let mut variables = Vec::new();
    loop {
        let name = parser.parse_identifier().map_err(|e| syntax_error(&e))?.value;
        if !name.starts_with('@') {
            return Err(SqlError::unsupported(format!("DECLARE {name}")));
        }
        let _optional = parser.parse_keyword(Keyword::AS);
        if variables.is_empty() && parser.parse_keyword(Keyword::TABLE) {
            let (columns, constraints) = parser.parse_columns().map_err(|e| syntax_error(&e))?;
            return Ok(Statement::DeclareTable { name, columns, constraints });
        }
        let data_type = parser.parse_data_type().map_err(|e| syntax_error(&e))?;
        let value = if parser.consume_token(&Token::Eq) { Some(expression(parser)?) } else { None };
        variables.push((name, data_type, value));
        if !parser.consume_token(&Token::Comma) {
            return Ok(Statement::Declare(variables));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_need_no_semicolons() {
        let kinds = |sql: &str| parse(sql).unwrap().len();
        assert_eq!(kinds("SELECT 1 SELECT 2; ; SELECT 3"), 3);
        assert_eq!(kinds("set ansi_nulls on set nocount on set language us_english SELECT 1"), 4);
        assert_eq!(kinds("IF @@TRANCOUNT > 0 COMMIT TRAN"), 1);
        assert_eq!(kinds("set implicit_transactions off IF @@TRANCOUNT > 0 COMMIT TRAN "), 2);
        assert_eq!(
            kinds(
                "IF @@TRANCOUNT = 0 BEGIN BEGIN TRAN IF @@TRANCOUNT = 2 COMMIT TRAN END SAVE TRAN [sp1]"
            ),
            2
        );
        assert_eq!(kinds("set transaction isolation level  serializable "), 1);
        assert_eq!(kinds("BEGIN TRAN INSERT INTO t VALUES (1) COMMIT"), 3);
        assert_eq!(kinds("exec sp_describe_parameter_encryption @P0 , @P1 "), 1);
        assert_eq!(kinds("  "), 0);
    }

    #[test]
    fn a_huge_or_deep_batch_is_an_error() {
        assert!(parse(&"SELECT 1;".repeat(100_001)).is_err());
        assert!(parse(&format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(parse(&"BEGIN ".repeat(1000)).is_err());
    }
}
