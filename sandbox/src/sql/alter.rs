//! ALTER TABLE.

use sqlparser::ast::{ColumnDef, Expr, ObjectName, TableConstraint};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{Result, SqlError};
use crate::sql::batch::{expression, peek_word};
use crate::sql::syntax_error;

#[derive(Debug, Clone)]
pub(crate) struct AlterTable {
    pub(crate) table: ObjectName,
    pub(crate) action: AlterAction,
}

#[derive(Debug, Clone)]
pub(crate) enum AlterAction {
    Add(Vec<Added>),
    DropColumns { names: Vec<String>, if_exists: bool },
    DropConstraints { names: Vec<String>, if_exists: bool },
    AlterColumn(Box<ColumnDef>),
}

#[derive(Debug, Clone)]
pub(crate) enum Added {
    Column(Box<ColumnDef>),
    Constraint(Box<TableConstraint>),
    Default { name: Option<String>, value: Box<Expr>, column: String },
}

fn name(parser: &mut Parser<'_>) -> Result<String> {
    Ok(parser.parse_identifier().map_err(|e| syntax_error(&e))?.value)
}

/// Reads what follows ALTER TABLE.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<AlterTable> {
    let table = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    if parser.parse_keyword(Keyword::WITH) {
        parser.expect_keyword(Keyword::CHECK).map_err(|_| SqlError::unsupported("WITH NOCHECK"))?;
    }
    let words =
        (peek_word(parser, 0).unwrap_or_default(), peek_word(parser, 1).unwrap_or_default());
    let action = match (words.0.as_str(), words.1.as_str()) {
        ("ADD", _) => {
            parser.next_token();
            let mut list = vec![added(parser)?];
            while parser.consume_token(&Token::Comma) {
                list.push(added(parser)?);
            }
            AlterAction::Add(list)
        }
        ("ALTER", "COLUMN") => {
            parser.next_token();
            parser.next_token();
            let column = parser.parse_column_def().map_err(|e| syntax_error(&e))?;
            AlterAction::AlterColumn(Box::new(column))
        }
        ("DROP", what) => {
            parser.next_token();
            if matches!(what, "COLUMN" | "CONSTRAINT") {
                parser.next_token();
            }
            let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
            let mut names = vec![name(parser)?];
            while parser.consume_token(&Token::Comma) {
                names.push(name(parser)?);
            }
            if what == "COLUMN" {
                AlterAction::DropColumns { names, if_exists }
            } else {
                AlterAction::DropConstraints { names, if_exists }
            }
        }
        (other, _) => return Err(SqlError::unsupported(format!("ALTER TABLE {other}"))),
    };
    Ok(AlterTable { table, action })
}

fn added(parser: &mut Parser<'_>) -> Result<Added> {
    let named = peek_word(parser, 0).as_deref() == Some("CONSTRAINT")
        && peek_word(parser, 2).as_deref() == Some("DEFAULT");
    if named || peek_word(parser, 0).as_deref() == Some("DEFAULT") {
        let mut constraint = None;
        if named {
            parser.next_token();
            constraint = Some(name(parser)?);
        }
        parser.next_token();
        let value = Box::new(expression(parser)?);
        parser.expect_keyword(Keyword::FOR).map_err(|e| syntax_error(&e))?;
        return Ok(Added::Default { name: constraint, value, column: name(parser)? });
    }
    match parser.parse_optional_table_constraint().map_err(|e| syntax_error(&e))? {
        Some(constraint) => Ok(Added::Constraint(Box::new(constraint))),
        None => {
            let column = parser.parse_column_def().map_err(|e| syntax_error(&e))?;
            Ok(Added::Column(Box::new(column)))
        }
    }
}
