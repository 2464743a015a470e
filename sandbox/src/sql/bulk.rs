//! INSERT BULK: what it says, and the INSERT that takes one row of the load that follows it.

use sqlparser::ast::{DataType, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::catalogue::{Column, Table};
use crate::error::{Result, SqlError};
use crate::sql::bind::{Bind, Binder};
use crate::sql::syntax_error;

#[derive(Debug, Clone)]
pub(crate) struct InsertBulk {
    pub(crate) table: ObjectName,
    /// As they will come: the type of an encrypted column is that of its cells.
    pub(crate) columns: Vec<(String, DataType)>,
    /// Ciphertext is taken as it is, without metadata.
    pub(crate) allow_encrypted_value_modifications: bool,
    /// NULL stays NULL where the column has a default.
    pub(crate) keep_nulls: bool,
}

/// Reads what follows INSERT BULK.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<InsertBulk> {
    let table = parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    let mut insert = InsertBulk {
        table,
        columns: Vec::new(),
        allow_encrypted_value_modifications: false,
        keep_nulls: false,
    };
    expect(parser, &Token::LParen)?;
    loop {
        insert.columns.push(column(parser)?);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    if parser.parse_keyword(Keyword::WITH) {
        expect(parser, &Token::LParen)?;
        loop {
            option(parser, &mut insert)?;
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        expect(parser, &Token::RParen)?;
    }
    Ok(insert)
}

fn expect(parser: &mut Parser<'_>, token: &Token) -> Result<()> {
    parser.expect_token(token).map(drop).map_err(|e| syntax_error(&e))
}

fn column(parser: &mut Parser<'_>) -> Result<(String, DataType)> {
    let name = parser.parse_identifier().map_err(|e| syntax_error(&e))?.value;
    let data_type = parser.parse_data_type().map_err(|e| syntax_error(&e))?;
    // The collation of the data travels in its TYPE_INFO, and the column's nullability is the table's.
    if parser.parse_keyword(Keyword::COLLATE) {
        parser.parse_object_name(false).map_err(|e| syntax_error(&e))?;
    }
    let _not = parser.parse_keyword(Keyword::NOT);
    let _null = parser.parse_keyword(Keyword::NULL);
    Ok((name, data_type))
}

fn option(parser: &mut Parser<'_>, insert: &mut InsertBulk) -> Result<()> {
    let name = parser.next_token().token.to_string().to_ascii_uppercase();
    match name.as_str() {
        "ALLOW_ENCRYPTED_VALUE_MODIFICATIONS" => insert.allow_encrypted_value_modifications = true,
        "KEEP_NULLS" => insert.keep_nulls = true,
        // There is one writer at a time, there are no triggers, and constraints are always checked.
        "CHECK_CONSTRAINTS" | "TABLOCK" | "FIRE_TRIGGERS" => {}
        "ROWS_PER_BATCH" | "KILOBYTES_PER_BATCH" => {
            expect(parser, &Token::Eq)?;
            parser.parse_literal_uint().map_err(|e| syntax_error(&e))?;
        }
        "ORDER" => {
            expect(parser, &Token::LParen)?;
            while parser.next_token().token != Token::RParen {
                if parser.peek_token().token == Token::EOF {
                    return Err(SqlError::syntax("ORDER"));
                }
            }
        }
        other => return Err(SqlError::unsupported(format!("the option {other} of INSERT BULK"))),
    }
    Ok(())
}

impl Binder<'_> {
    /// The INSERT of one row, whose value for the `i`th of `columns` is parameter `i`.
    pub(crate) fn bulk_row(
        &mut self,
        table: &Table,
        columns: &[&Column],
        keep_nulls: bool,
    ) -> Result<(String, Vec<Bind>)> {
        self.binds = (0..columns.len()).map(Bind::Parameter).collect();
        let mut values = Vec::new();
        for (at, column) in (1usize..).zip(columns) {
            values.push(if column.default.is_some() && !keep_nulls {
                format!("coalesce(?{at}, {})", self.default_of(column)?)
            } else {
                format!("?{at}")
            });
        }
        let (names, values) = self.complete(table, columns, values)?;
        let sql = format!("INSERT INTO {} ({names}) VALUES ({values})", table.sqlite_name());
        Ok((sql, std::mem::take(&mut self.binds)))
    }
}
