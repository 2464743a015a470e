//! sp_describe_undeclared_parameters: the types that a statement suggests for parameters nobody has declared.

use sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::{Result, SqlError};
use crate::exec::parameters::Parameters;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::exec::stored::position_of;
use crate::sql::batch::{self, Statement};
use crate::sql::bind::{Binder, Undeclared};
use crate::sql::control::Control;
use crate::sql::dialect::TransactSql;
use crate::sql::encryption::Target;
use crate::sql::procedure::Exec;
use crate::sql::syntax_error;
use crate::tds::token::ResultColumn;
use crate::tds::type_info::write_type_info;
use crate::types::parse::{self, Declaration};
use crate::types::{Collation, Length, SqlType, Value};

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));

/// A parameter that is not declared has this type until another is found.
const UNKNOWN: SqlType = SqlType::Int;

impl Session {
    pub(crate) fn describe_undeclared(
        &mut self,
        sql: &str,
        declarations: &str,
        response: &mut Response,
    ) -> Outcome<()> {
        self.refresh()?;
        let declared = parse::declarations(declarations)?;
        let statements = batch::parse(sql)?;
        let names = undeclared_names(sql, &declared)?;
        let mut all = declared.clone();
        all.extend(names.iter().map(|name| Declaration {
            name: name.clone(),
            ty: UNKNOWN,
            default: None,
            output: false,
            table: None,
        }));
        let parameters = Parameters::declared(&all);
        let mut found = Undeclared { first: declared.len(), types: vec![None; names.len()] };
        self.suggest(&statements, &parameters, &mut found)?;
        let mut rows = Vec::new();
        for (ordinal, (name, ty)) in (1i64..).zip(names.iter().zip(&found.types)) {
            let ty = ty.ok_or_else(|| {
                SqlError::new(
                    11506,
                    format!(
                        "The parameter type cannot be deduced because no use of the parameter '{name}' suggests one."
                    ),
                )
            })?;
            rows.push(row(ordinal, name, ty));
        }
        self.rows(&columns(), &rows, response)
    }

    fn suggest(
        &self,
        statements: &[Statement],
        parameters: &Parameters,
        found: &mut Undeclared,
    ) -> Result<()> {
        let types = parameters.types();
        for statement in statements {
            let mut binder = Binder::new(&self.catalogue, &types, &self.values, true);
            binder.undeclared = Some(found.clone());
            match statement {
                Statement::Sql(statement) => binder.statement(statement)?,
                Statement::Exec(exec) => self.suggest_arguments(exec, &mut binder)?,
                Statement::If { condition, then, otherwise } => {
                    binder.condition(condition)?;
                    if let Some(undeclared) = binder.undeclared.take() {
                        *found = undeclared;
                    }
                    self.suggest(then, parameters, found)?;
                    self.suggest(otherwise, parameters, found)?;
                    continue;
                }
                Statement::Block(statements) => self.suggest(statements, parameters, found)?,
                Statement::Control(control) => match control.as_ref() {
                    Control::While { condition, body } => {
                        binder.condition(condition)?;
                        if let Some(undeclared) = binder.undeclared.take() {
                            *found = undeclared;
                        }
                        self.suggest(body, parameters, found)?;
                        continue;
                    }
                    Control::Try { body, handler } => {
                        self.suggest(body, parameters, found)?;
                        self.suggest(handler, parameters, found)?;
                        continue;
                    }
                    _ => {}
                },
                _ => {}
            }
            if let Some(undeclared) = binder.undeclared.take() {
                *found = undeclared;
            }
        }
        Ok(())
    }

    fn suggest_arguments(&self, exec: &Exec, binder: &mut Binder<'_>) -> Result<()> {
        let stored = self.find_procedure(&exec.procedure).ok_or_else(|| {
            SqlError::new(2812, format!("Could not find stored procedure '{}'.", exec.procedure))
        })?;
        for (position, argument) in exec.arguments.iter().enumerate() {
            let at = position_of(&stored.procedure, argument, position)?;
            if let Some(declaration) =
                stored.procedure.parameters.get(at).filter(|_| !argument.is_default())
            {
                let operand = binder.scalar(&argument.value)?;
                let target = Target { ty: declaration.ty, encryption: None, collation: None };
                binder.check_assignment(&target, &operand)?;
            }
        }
        Ok(())
    }
}

/// Variables of a text in the order of their first use, without those of `declared`, those that it declares itself
/// and, in EXEC, the names of a procedure's parameters.
fn undeclared_names(sql: &str, declared: &[Declaration]) -> Result<Vec<String>> {
    let tokens =
        Tokenizer::new(&TransactSql, sql).tokenize().map_err(|e| syntax_error(&e.into()))?;
    let tokens: Vec<&Token> =
        tokens.iter().filter(|t| !matches!(t, Token::Whitespace(_))).collect();
    let word = |token: Option<&&Token>| match token {
        Some(Token::Word(Word { value, quote_style: None, .. })) => Some(value.clone()),
        _ => None,
    };
    let first = word(tokens.first()).unwrap_or_default().to_ascii_uppercase();
    let exec = matches!(first.as_str(), "EXEC" | "EXECUTE");
    let mut names: Vec<String> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) =
            word(Some(token)).filter(|name| name.starts_with('@') && !name.starts_with("@@"))
        else {
            continue;
        };
        let named_argument = exec && tokens.get(at.saturating_add(1)) == Some(&&Token::Eq);
        let known = names.iter().any(|known| known.eq_ignore_ascii_case(&name))
            || declared.iter().any(|known| known.name.eq_ignore_ascii_case(&name));
        if !named_argument && !known {
            names.push(name);
        }
    }
    Ok(names)
}

fn columns() -> Vec<ResultColumn> {
    let list = [
        ("parameter_ordinal", SqlType::Int),
        ("name", SYSNAME),
        ("suggested_system_type_id", SqlType::Int),
        ("suggested_system_type_name", SqlType::NVarChar(Length::N(256))),
        ("suggested_max_length", SqlType::SmallInt),
        ("suggested_precision", SqlType::TinyInt),
        ("suggested_scale", SqlType::TinyInt),
        ("suggested_user_type_id", SqlType::Int),
        ("suggested_user_type_database", SYSNAME),
        ("suggested_user_type_schema", SYSNAME),
        ("suggested_user_type_name", SYSNAME),
        ("suggested_assembly_qualified_type_name", SqlType::NVarChar(Length::N(4000))),
        ("suggested_xml_collection_id", SqlType::Int),
        ("suggested_xml_collection_database", SYSNAME),
        ("suggested_xml_collection_schema", SYSNAME),
        ("suggested_xml_collection_name", SYSNAME),
        ("suggested_is_xml_document", SqlType::Bit),
        ("suggested_is_case_sensitive", SqlType::Bit),
        ("suggested_is_fixed_length_clr_type", SqlType::Bit),
        ("suggested_is_input", SqlType::Bit),
        ("suggested_is_output", SqlType::Bit),
        ("formal_parameter_name", SYSNAME),
        ("suggested_tds_type_id", SqlType::Int),
        ("suggested_tds_length", SqlType::Int),
    ];
    list.iter().map(|(name, ty)| ResultColumn::plain(name, *ty)).collect()
}

fn row(ordinal: i64, name: &str, ty: SqlType) -> Vec<Value> {
    let (precision, scale) = ty.precision_scale();
    let mut info = Vec::new();
    write_type_info(&mut info, ty, &Collation::default());
    let tds_type = info.first().copied().unwrap_or_default();
    let length = ty.max_length();
    let number = Value::Integer;
    let mut row = vec![
        number(ordinal),
        Value::Text(name.to_owned()),
        number(i64::from(ty.system_type_id())),
        Value::Text(ty.to_string()),
        number(length),
        number(i64::from(precision)),
        number(i64::from(scale)),
    ];
    row.resize(16, Value::Null);
    row.extend([0, 0, 0, 1, 0].map(number));
    row.push(Value::Null);
    row.push(number(i64::from(tds_type)));
    row.push(number(if length < 0 { 0xFFFF } else { length }));
    row
}
