//! T-SQL for the parser, with an account of the work that it does.

use std::{any::TypeId, cell::Cell};

use sqlparser::{
    ast::{Expr, GranteesType, Statement},
    dialect::{Dialect, MsSqlDialect},
    keywords::Keyword,
    parser::{Parser, ParserError},
};

/// The parser's own T-SQL dialect, until it has read more than a text of that length can ask for.
///
/// The parser tries one reading and then another. Nested in each other, tries that fail late double
/// the work with every level; the parser's limit of the depth does not bound that. Every reading of
/// an expression or a table passes through here.
#[derive(Debug)]
pub(super) struct BoundedTsql {
    tsql: MsSqlDialect,
    work_left: Cell<usize>,
}

impl BoundedTsql {
    pub(super) fn new(work: usize) -> Self {
        Self { tsql: MsSqlDialect {}, work_left: Cell::new(work) }
    }

    fn work(&self) {
        self.work_left.set(self.work_left.get().saturating_sub(1));
    }
}

/// The parser asks a dialect many questions; these it answers as the T-SQL dialect does.
macro_rules! as_tsql {
    ($($question:ident),* $(,)?) => {
        $(fn $question(&self) -> bool {
            self.tsql.$question()
        })*
    };
}

impl Dialect for BoundedTsql {
    fn dialect(&self) -> TypeId {
        self.tsql.dialect()
    }

    /// An error that no try is made after.
    fn parse_prefix(&self, _: &mut Parser) -> Option<Result<Expr, ParserError>> {
        self.work();
        (self.work_left.get() == 0).then_some(Err(ParserError::RecursionLimitExceeded))
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        self.work();
        self.tsql.is_select_item_alias(explicit, keyword, parser)
    }

    fn is_table_factor(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        self.work();
        self.tsql.is_table_factor(keyword, parser)
    }

    fn is_table_factor_alias(
        &self,
        explicit: bool,
        keyword: &Keyword,
        parser: &mut Parser,
    ) -> bool {
        self.work();
        self.tsql.is_table_factor_alias(explicit, keyword, parser)
    }

    /// Asked at every `*` of a select list.
    fn supports_select_wildcard_exclude(&self) -> bool {
        self.work();
        self.tsql.supports_select_wildcard_exclude()
    }

    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        self.tsql.parse_statement(parser)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        self.tsql.get_next_precedence(parser)
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        self.tsql.is_delimited_identifier_start(c)
    }

    fn is_identifier_start(&self, c: char) -> bool {
        self.tsql.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        self.tsql.is_identifier_part(c)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.tsql.identifier_quote_style(identifier)
    }

    fn get_reserved_grantees_types(&self) -> &[GranteesType] {
        self.tsql.get_reserved_grantees_types()
    }

    as_tsql!(
        convert_type_before_value,
        supports_outer_join_operator,
        supports_dollar_as_money_prefix,
        supports_create_proc_syntax,
        supports_connect_by,
        supports_eq_alias_assignment,
        supports_try_convert,
        supports_boolean_literals,
        supports_named_fn_args_with_colon_operator,
        supports_named_fn_args_with_expr_name,
        supports_named_fn_args_with_rarrow_operator,
        supports_start_transaction_modifier,
        supports_end_transaction_modifier,
        supports_set_stmt_without_operator,
        supports_table_versioning,
        supports_nested_comments,
        supports_object_name_double_dot_notation,
    );
}
