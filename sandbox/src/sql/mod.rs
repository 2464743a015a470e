//! T-SQL: text to statements (`dialect`, `batch`, `keys`), statements to SQLite's SQL with every name resolved and
//! every type and encryption scheme checked (`bind` and what lies below it).

pub(crate) mod alter;
pub(crate) mod batch;
pub(crate) mod bind;
pub(crate) mod bulk;
pub(crate) mod compound;
pub(crate) mod control;
pub(crate) mod dialect;
pub(crate) mod dml;
pub(crate) mod dml_from;
pub(crate) mod encryption;
pub(crate) mod expr;
pub(crate) mod function;
pub(crate) mod incomparable;
pub(crate) mod insert_exec;
pub(crate) mod keys;
pub(crate) mod merge;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod predicate;
pub(crate) mod procedure;
pub(crate) mod rewrite;
pub(crate) mod row_plan;
pub(crate) mod scope;
pub(crate) mod security;
pub(crate) mod select;
pub(crate) mod window;

use sqlparser::parser::ParserError;

use crate::error::SqlError;

/// sqlparser's complaint as error 102. Its text names the token; SQL Server's would too.
pub(crate) fn syntax_error(error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(
                191,
                "Some part of your SQL statement is nested too deeply. Rewrite the query or break it up into smaller \
                 queries.",
            )
            .class(15);
        }
    };
    let near = match text.split_once(", found: ") {
        Some((_, found)) => found.split(" at Line").next().unwrap_or(found),
        None => text,
    };
    SqlError::syntax(near)
}
