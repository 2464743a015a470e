//! sp_describe_parameter_encryption.

use crate::catalogue::{Catalogue, Encryption};
use crate::error::{Result, SqlError};
use crate::exec::parameters::Parameters;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::sql::batch::{self, Exec, Statement};
use crate::sql::bind::Verdict;
use crate::tds::token::{
    self, AEAD_AES_256_CBC_HMAC_SHA256, CMD_SELECT, NORMALIZATION_RULE_VERSION, ResultColumn,
    TOKEN_ROW,
};
use crate::tds::type_info::write_value;
use crate::types::parse::{self, Declaration};
use crate::types::{Length, SqlType, Value};

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));

impl Session {
    /// Both result sets, or the error followed by 8180.
    pub(crate) fn describe(
        &mut self,
        sql: &str,
        declarations: &str,
        response: &mut Response,
    ) -> Outcome<bool> {
        self.counters.describe();
        let described = parse::declarations(declarations)
            .and_then(|declarations| Ok((self.verdicts(sql, &declarations)?, declarations)));
        let (verdicts, declarations) = match described {
            Ok(described) => described,
            Err(error) => {
                self.values.error = i64::from(error.number);
                response.token(|out| token::error(out, &error));
                response.error(&SqlError::not_prepared());
                return Ok(false);
            }
        };
        let mut keys: Vec<i32> = Vec::new();
        for encryption in verdicts.iter().flatten() {
            if !keys.contains(&encryption.cek_id) {
                keys.push(encryption.cek_id);
            }
        }
        self.key_rows(&keys, response)?;
        self.parameter_rows(&declarations, &verdicts, &keys, response)?;
        Ok(true)
    }

    /// The encryption of each parameter.
    fn verdicts(
        &mut self,
        sql: &str,
        declarations: &[Declaration],
    ) -> Result<Vec<Option<Encryption>>> {
        self.refresh()?;
        let parameters = Parameters::declared(declarations);
        let mut verdicts = vec![None; declarations.len()];
        let statements = batch::parse(sql)?;
        self.describe_statements(&statements, &parameters, &mut verdicts)?;
        let encryption = |verdict| match verdict {
            Some(Verdict::Encrypted(encryption)) => Some(encryption),
            _ => None,
        };
        Ok(verdicts.into_iter().map(encryption).collect())
    }

    fn describe_statements(
        &self,
        statements: &[Statement],
        parameters: &Parameters,
        verdicts: &mut Vec<Option<Verdict>>,
    ) -> Result<()> {
        for statement in statements {
            match statement {
                Statement::Sql(statement) => {
                    let found = self.bind_only(statement, parameters, true)?;
                    merge(&self.catalogue, verdicts, &found, parameters)?;
                }
                Statement::If { then, otherwise, .. } => {
                    self.describe_statements(then, parameters, verdicts)?;
                    self.describe_statements(otherwise, parameters, verdicts)?;
                }
                Statement::Block(statements) => {
                    self.describe_statements(statements, parameters, verdicts)?
                }
                Statement::Exec(exec) => known_procedure(exec)?,
                Statement::Declare(_) | Statement::SetVariable(..) => {
                    return Err(SqlError::unsupported(
                        "variables in a statement that is described",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn key_rows(&self, keys: &[i32], response: &mut Response) -> Outcome<()> {
        let columns = [
            ResultColumn::plain("column_encryption_key_ordinal", SqlType::Int),
            ResultColumn::plain("database_id", SqlType::Int),
            ResultColumn::plain("column_encryption_key_id", SqlType::Int),
            ResultColumn::plain("column_encryption_key_version", SqlType::Int),
            ResultColumn::plain("column_encryption_key_metadata_version", SqlType::Binary(8)),
            ResultColumn::plain(
                "column_encryption_key_encrypted_value",
                SqlType::VarBinary(Length::N(8000)),
            ),
            ResultColumn::plain("column_master_key_store_provider_name", SYSNAME),
            ResultColumn::plain("column_master_key_path", SqlType::NVarChar(Length::N(4000))),
            ResultColumn::plain("column_encryption_key_encryption_algorithm_name", SYSNAME),
        ];
        let mut rows = Vec::new();
        for (ordinal, cek_id) in (1i64..).zip(keys) {
            let entry = self.catalogue.cek_entry(*cek_id)?;
            for value in entry.values {
                rows.push(vec![
                    Value::Integer(ordinal),
                    Value::Integer(i64::from(entry.database_id)),
                    Value::Integer(i64::from(*cek_id)),
                    Value::Integer(i64::from(entry.version)),
                    Value::Bytes(entry.md_version.to_vec()),
                    Value::Bytes(value.encrypted),
                    Value::Text(value.provider),
                    Value::Text(value.path),
                    Value::Text(value.algorithm),
                ]);
            }
        }
        self.rows(&columns, &rows, response)
    }

    fn parameter_rows(
        &self,
        declarations: &[Declaration],
        verdicts: &[Option<Encryption>],
        keys: &[i32],
        response: &mut Response,
    ) -> Outcome<()> {
        let columns = [
            ResultColumn::plain("parameter_ordinal", SqlType::Int),
            ResultColumn::plain("parameter_name", SYSNAME),
            ResultColumn::plain("column_encryption_algorithm", SqlType::TinyInt),
            ResultColumn::plain("column_encryption_type", SqlType::TinyInt),
            ResultColumn::plain("column_encryption_key_ordinal", SqlType::Int),
            ResultColumn::plain("column_encryption_normalization_rule_version", SqlType::TinyInt),
        ];
        let mut rows = Vec::new();
        for (ordinal, (declaration, verdict)) in (1i64..).zip(declarations.iter().zip(verdicts)) {
            let numbers = match verdict {
                None => [0; 4],
                Some(encryption) => {
                    let key = (1i64..)
                        .zip(keys)
                        .find(|(_, id)| **id == encryption.cek_id)
                        .map_or(0, |(n, _)| n);
                    [
                        i64::from(AEAD_AES_256_CBC_HMAC_SHA256),
                        i64::from(encryption.kind.number()),
                        key,
                        i64::from(NORMALIZATION_RULE_VERSION),
                    ]
                }
            };
            let mut row = vec![Value::Integer(ordinal), Value::Text(declaration.name.clone())];
            row.extend(numbers.map(Value::Integer));
            rows.push(row);
        }
        self.rows(&columns, &rows, response)
    }

    fn rows(
        &self,
        columns: &[ResultColumn],
        rows: &[Vec<Value>],
        response: &mut Response,
    ) -> Outcome<()> {
        let table = self.cek_table(columns)?;
        response.token(|out| token::col_metadata(out, columns, table.as_deref()));
        for row in rows {
            let mut bytes = vec![TOKEN_ROW];
            for (column, value) in columns.iter().zip(row) {
                write_value(&mut bytes, value, column.ty, &column.collation)?;
            }
            response.token(|out| out.extend_from_slice(&bytes));
        }
        response.done(CMD_SELECT, u64::try_from(rows.len()).ok());
        Ok(())
    }
}

/// There are no procedures but the system's, whose parameters are never encrypted.
fn known_procedure(exec: &Exec) -> Result<()> {
    if exec.procedure.to_ascii_lowercase().ends_with("sp_describe_parameter_encryption") {
        return Ok(());
    }
    Err(SqlError::new(2812, format!("Could not find stored procedure '{}'.", exec.procedure)))
}

/// A parameter that two statements use differently cannot be encrypted for both.
fn merge(
    catalogue: &Catalogue,
    verdicts: &mut [Option<Verdict>],
    found: &[Option<Verdict>],
    parameters: &Parameters,
) -> Result<()> {
    for (i, (known, found)) in verdicts.iter_mut().zip(found).enumerate() {
        match (&known, found) {
            (Some(before), Some(now)) if *before != *now => {
                let types = parameters.types();
                let name = types.get(i).map_or("?", |parameter| parameter.name.as_str());
                let scheme = |verdict: &Verdict| match verdict {
                    Verdict::Plain => catalogue.describe_encryption(None),
                    Verdict::Encrypted(encryption) => {
                        catalogue.describe_encryption(Some(*encryption))
                    }
                };
                return Err(crate::sql::encryption::mismatch(name, &scheme(before), &scheme(now)));
            }
            (None, Some(now)) => *known = Some(*now),
            _ => {}
        }
    }
    Ok(())
}
