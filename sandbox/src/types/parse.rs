//! The declaration list of sp_executesql: `@id int, @name nvarchar(36) = N'x' OUTPUT`.

use sqlparser::ast::Expr;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{Result, SqlError};
use crate::sql::dialect::TransactSql;
use crate::sql::names::{self, QualifiedName};
use crate::sql::syntax_error;
use crate::types::SqlType;

/// One declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Declaration {
    /// Exactly as declared, with '@'.
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    pub(crate) default: Option<Expr>,
    pub(crate) output: bool,
    /// The table type of a parameter that is READONLY; `ty` means nothing then.
    pub(crate) table: Option<QualifiedName>,
}

pub(crate) fn declarations(text: &str) -> Result<Vec<Declaration>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser::new(&TransactSql).try_with_sql(text).map_err(|e| syntax_error(&e))?;
    let list = declaration_list(&mut parser)?;
    match parser.peek_token().token {
        Token::EOF => Ok(list),
        other => Err(SqlError::syntax(&other.to_string())),
    }
}

/// One declaration or more.
pub(crate) fn declaration_list(parser: &mut Parser<'_>) -> Result<Vec<Declaration>> {
    let mut list: Vec<Declaration> = Vec::new();
    loop {
        let declaration = declaration(parser)?;
        if list.iter().any(|known| known.name.eq_ignore_ascii_case(&declaration.name)) {
            let name = declaration.name;
            return Err(SqlError::new(
                134,
                format!(
                    "The variable name '{name}' has already been declared. Variable names must be unique within a \
                     query batch or stored procedure."
                ),
            )
            .class(15));
        }
        list.push(declaration);
        if !parser.consume_token(&Token::Comma) {
            return Ok(list);
        }
    }
}

fn declaration(parser: &mut Parser<'_>) -> Result<Declaration> {
    let name = parser.parse_identifier().map_err(|e| syntax_error(&e))?;
    if !name.value.starts_with('@') {
        return Err(SqlError::syntax(&name.value));
    }
    let _optional = parser.parse_keyword(sqlparser::keywords::Keyword::AS);
    let data_type = parser.parse_data_type().map_err(|e| syntax_error(&e))?;
    let read_only = matches!(&parser.peek_token().token, Token::Word(word) if word.value.eq_ignore_ascii_case("readonly"));
    if read_only {
        parser.next_token();
        let sqlparser::ast::DataType::Custom(table, _) = &data_type else {
            return Err(SqlError::syntax("READONLY"));
        };
        let table = Some(names::qualified(table)?);
        let (ty, output) = (SqlType::Int, false);
        return Ok(Declaration { name: name.value, ty, default: None, output, table });
    }
    let ty = SqlType::from_ast(&data_type)?;
    let default = if parser.consume_token(&Token::Eq) {
        Some(parser.parse_expr().map_err(|e| syntax_error(&e))?)
    } else {
        None
    };
    Ok(Declaration { name: name.value, ty, default, output: output(parser), table: None })
}

/// Takes OUTPUT or OUT, if that comes next.
pub(crate) fn output(parser: &mut Parser<'_>) -> bool {
    let found = match parser.peek_token().token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && (word.value.eq_ignore_ascii_case("output")
                    || word.value.eq_ignore_ascii_case("out"))
        }
        _ => false,
    };
    if found {
        parser.next_token();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Length;

    #[test]
    fn names_and_types_of_real_clients_are_read() {
        let list = declarations("@id int , @P2 nvarchar(11) ,@p3 datetimeoffset(3), @d decimal(10,2) output ,@m nvarchar(max)").unwrap();
        let types: Vec<_> = list.iter().map(|d| (d.name.as_str(), d.ty)).collect();
        assert_eq!(
            types,
            [
                ("@id", SqlType::Int),
                ("@P2", SqlType::NVarChar(Length::N(11))),
                ("@p3", SqlType::DateTimeOffset(3)),
                ("@d", SqlType::Decimal { precision: 10, scale: 2, named_numeric: false }),
                ("@m", SqlType::NVarChar(Length::Max)),
            ]
        );
        assert!(list[3].output);
    }

    #[test]
    fn every_type_name_is_read_back() {
        use SqlType::*;
        for ty in [
            Bit,
            TinyInt,
            SmallInt,
            Int,
            BigInt,
            Real,
            Float,
            Money,
            SmallMoney,
            Date,
            Time(3),
            Time(7),
            DateTime,
            SmallDateTime,
            DateTime2(0),
            DateTimeOffset(7),
            Char(3),
            VarChar(Length::N(8000)),
            VarChar(Length::Max),
            NChar(10),
            NVarChar(Length::N(4000)),
            Binary(16),
            VarBinary(Length::N(1)),
            VarBinary(Length::Max),
            UniqueIdentifier,
            Decimal { precision: 38, scale: 10, named_numeric: true },
        ] {
            assert_eq!(declarations(&format!("@p {ty}")).unwrap()[0].ty, ty, "{ty}");
        }
    }

    #[test]
    fn nonsense_is_a_syntax_error() {
        assert_eq!(declarations("@a int, @A int").unwrap_err().number, 134);
        assert_eq!(declarations("a int").unwrap_err().number, 102);
        assert_eq!(declarations("@a int,").unwrap_err().class, 15);
        assert_eq!(declarations("@a frob").unwrap_err().number, 2715);
    }
}
