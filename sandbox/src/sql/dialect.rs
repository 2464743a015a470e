//! sqlparser's MsSql dialect, with `ENCRYPTED WITH (...)` as a column option.

use std::any::TypeId;

use sqlparser::ast::{ColumnOption, GranteesType, Statement};
use sqlparser::dialect::{Dialect, MsSqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

const BASE: MsSqlDialect = MsSqlDialect {};

#[derive(Debug)]
pub(crate) struct TransactSql;

/// CLUSTERED and NONCLUSTERED, which say how a key is stored and so nothing here.
pub(crate) fn is_clustering(word: &str) -> bool {
    word.eq_ignore_ascii_case("clustered") || word.eq_ignore_ascii_case("nonclustered")
}

impl Dialect for TransactSql {
    /// Whatever sqlparser does for MsSql by asking for the dialect's type, it does here too.
    fn dialect(&self) -> TypeId {
        TypeId::of::<MsSqlDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BASE.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        BASE.identifier_quote_style(identifier)
    }
    fn convert_type_before_value(&self) -> bool {
        BASE.convert_type_before_value()
    }
    fn supports_outer_join_operator(&self) -> bool {
        BASE.supports_outer_join_operator()
    }
    fn supports_dollar_as_money_prefix(&self) -> bool {
        BASE.supports_dollar_as_money_prefix()
    }
    fn supports_create_proc_syntax(&self) -> bool {
        BASE.supports_create_proc_syntax()
    }
    fn supports_connect_by(&self) -> bool {
        BASE.supports_connect_by()
    }
    fn supports_eq_alias_assignment(&self) -> bool {
        BASE.supports_eq_alias_assignment()
    }
    fn supports_try_convert(&self) -> bool {
        BASE.supports_try_convert()
    }
    fn supports_boolean_literals(&self) -> bool {
        BASE.supports_boolean_literals()
    }
    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        BASE.supports_named_fn_args_with_colon_operator()
    }
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        BASE.supports_named_fn_args_with_expr_name()
    }
    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        BASE.supports_named_fn_args_with_rarrow_operator()
    }
    fn supports_start_transaction_modifier(&self) -> bool {
        BASE.supports_start_transaction_modifier()
    }
    fn supports_end_transaction_modifier(&self) -> bool {
        BASE.supports_end_transaction_modifier()
    }
    fn supports_set_stmt_without_operator(&self) -> bool {
        BASE.supports_set_stmt_without_operator()
    }
    fn supports_table_versioning(&self) -> bool {
        BASE.supports_table_versioning()
    }
    fn supports_nested_comments(&self) -> bool {
        BASE.supports_nested_comments()
    }
    fn supports_object_name_double_dot_notation(&self) -> bool {
        BASE.supports_object_name_double_dot_notation()
    }
    fn get_reserved_grantees_types(&self) -> &[GranteesType] {
        BASE.get_reserved_grantees_types()
    }
    fn is_select_item_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        BASE.is_select_item_alias(explicit, kw, parser)
    }
    fn is_table_factor(&self, kw: &Keyword, parser: &mut Parser) -> bool {
        BASE.is_table_factor(kw, parser)
    }
    fn is_table_factor_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        BASE.is_table_factor_alias(explicit, kw, parser)
    }
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        BASE.get_next_precedence(parser)
    }
    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        BASE.parse_statement(parser)
    }

    /// `ENCRYPTED WITH (...)` becomes a dialect-specific option that holds the tokens between the parentheses; the
    /// CLUSTERED of `PRIMARY KEY CLUSTERED` one that holds itself.
    fn parse_column_option(
        &self,
        parser: &mut Parser,
    ) -> Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError> {
        let Token::Word(word) = parser.peek_token().token else {
            return Ok(None);
        };
        if word.quote_style.is_some() {
            return Ok(None);
        }
        if is_clustering(&word.value) {
            let token = parser.next_token().token;
            return Ok(Some(Ok(Some(ColumnOption::DialectSpecific(vec![token])))));
        }
        if !word.value.eq_ignore_ascii_case("encrypted") {
            return Ok(None);
        }
        parser.next_token();
        parser.expect_keyword(Keyword::WITH)?;
        parser.expect_token(&Token::LParen)?;
        let mut tokens = Vec::new();
        loop {
            match parser.next_token().token {
                Token::RParen => return Ok(Some(Ok(Some(ColumnOption::DialectSpecific(tokens))))),
                token @ (Token::EOF | Token::LParen) => {
                    return Err(ParserError::ParserError(format!("Expected: ), found: {token}")));
                }
                token => tokens.push(token),
            }
        }
    }
}
