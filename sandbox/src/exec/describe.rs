//! sp_describe_parameter_encryption.

use std::sync::Arc;

use sqlparser::ast::{ColumnDef, Expr, Ident};

use crate::catalogue::{Catalogue, Encryption, Table};
use crate::error::{Result, SqlError};
use crate::exec::parameters::{Parameters, TableArgument};
use crate::exec::procedures::is_system_procedure;
use crate::exec::response::{Outcome, Response};
use crate::exec::session::Session;
use crate::exec::stored::{MAX_NESTING, position_of, too_deep};
use crate::sql::batch::{self, Statement};
use crate::sql::bind::{Binder, Verdict};
use crate::sql::control::Control;
use crate::sql::encryption::Target;
use crate::sql::names::QualifiedName;
use crate::sql::procedure::Exec;
use crate::tds::token::{
    self, AEAD_AES_256_CBC_HMAC_SHA256, CMD_EXECUTE, CMD_SELECT, NORMALIZATION_RULE_VERSION,
    ResultColumn, TOKEN_ROW,
};
use crate::tds::type_info::write_value;
use crate::types::parse::{self, Declaration};
use crate::types::{Length, SqlType, Value};

const SYSNAME: SqlType = SqlType::NVarChar(Length::N(128));

impl Session {
    /// Both result sets, or the error followed by 8180. They are not those of a SELECT: ODBC would take its own
    /// statement, which it has yet to prepare, for the one that is running.
    pub(crate) fn describe(
        &mut self,
        sql: &str,
        declarations: &str,
        response: &mut Response,
    ) -> Outcome<bool> {
        self.counters.describe();
        let described = parse::declarations(declarations)
            .and_then(|declarations| Ok((self.verdicts(sql, &declarations)?, declarations)));
        let described = described.and_then(|(verdicts, declarations)| {
            let keys = self.keys_of(&verdicts)?;
            Ok((verdicts, declarations, keys))
        });
        let (verdicts, declarations, keys) = match described {
            Ok(described) => described,
            Err(error) => {
                self.values.error = i64::from(error.number);
                response.token(|out| token::error(out, &error));
                response.error(&SqlError::not_prepared());
                return Ok(false);
            }
        };
        self.key_rows(&keys, response)?;
        self.parameter_rows(&declarations, &verdicts, &keys, response)?;
        Ok(true)
    }

    /// The CEKs that are needed, each of which must be there to see.
    fn keys_of(&self, verdicts: &[Option<Encryption>]) -> Result<Vec<i32>> {
        let mut keys: Vec<i32> = Vec::new();
        for encryption in verdicts.iter().flatten() {
            if !keys.contains(&encryption.cek_id) {
                self.catalogue.cek_entry(encryption.cek_id)?;
                keys.push(encryption.cek_id);
            }
        }
        Ok(keys)
    }

    /// The encryption of each parameter.
    fn verdicts(
        &mut self,
        sql: &str,
        declarations: &[Declaration],
    ) -> Result<Vec<Option<Encryption>>> {
        self.refresh()?;
        let mut schemes =
            self.describe_body(&batch::parse(sql)?, declarations, 0, self.values.vouched)?;
        schemes.truncate(declarations.len());
        Ok(schemes)
    }

    /// The same for the statements of a batch or of a procedure, whose variables come behind its parameters.
    pub(crate) fn describe_body(
        &self,
        statements: &[Statement],
        declarations: &[Declaration],
        depth: usize,
        vouched: bool,
    ) -> Result<Vec<Option<Encryption>>> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        let mut described = Described {
            parameters: Parameters::declared(declarations),
            verdicts: vec![None; declarations.len()],
            depth,
            vouched,
            catalogue: Arc::clone(&self.catalogue),
        };
        for TableArgument { name, ty, .. } in described.parameters.take_tables() {
            let found = self.catalogue.table_type(&ty).ok_or_else(|| {
                SqlError::new(2715, format!("Cannot find data type {}.", ty.name))
            })?;
            self.describe_table(&name, &found.columns, &mut described)?;
        }
        self.describe_statements(statements, &mut described)?;
        let encryption = |verdict: &Option<Verdict>| match verdict {
            Some(Verdict::Encrypted(encryption)) => Some(*encryption),
            _ => None,
        };
        let schemes: Vec<_> = described.verdicts.iter().map(encryption).collect();
        let mut variables = schemes.iter().enumerate().skip(declarations.len());
        if let Some((i, scheme)) = variables.find(|(_, scheme)| scheme.is_some()) {
            let types = described.parameters.types();
            let name = types.get(i).map_or("?", |variable| variable.name.as_str());
            let shown = |scheme| self.catalogue.describe_encryption(scheme);
            return Err(crate::sql::encryption::mismatch(name, &shown(None), &shown(*scheme)));
        }
        Ok(schemes)
    }

    fn describe_statements(
        &self,
        statements: &[Statement],
        described: &mut Described,
    ) -> Result<()> {
        for statement in statements {
            match statement {
                Statement::Sql(statement) => {
                    let bound = self.describe_with(described, |binder| binder.statement(statement));
                    match bound {
                        // The body of a procedure makes temporary tables as it goes.
                        Err(error) if described.vouched && of_temporary(&error) => {}
                        other => other?,
                    }
                }
                Statement::If { condition, then, otherwise } => {
                    self.describe_with(described, |binder| binder.condition(condition).map(drop))?;
                    self.describe_statements(then, described)?;
                    self.describe_statements(otherwise, described)?;
                }
                Statement::Block(statements) => self.describe_statements(statements, described)?,
                Statement::Control(control) => self.describe_control(control, described)?,
                Statement::Exec(exec) => self.describe_exec(exec, described)?,
                Statement::Declare(variables) => {
                    for (name, data_type, value) in variables {
                        if let Some(found) = self.catalogue.variable_type(data_type) {
                            self.describe_table(name, &found.columns, described)?;
                            continue;
                        }
                        described.parameters.declare(name, SqlType::of_variable(data_type)?)?;
                        described.verdicts.push(None);
                        if let Some(value) = value {
                            self.describe_set(name, value, described)?;
                        }
                    }
                }
                Statement::SetVariable(name, value) => self.describe_set(name, value, described)?,
                Statement::DeclareTable { name, columns, .. } => {
                    self.describe_table(name, columns, described)?;
                }
                Statement::InsertExec(insert) => {
                    self.describe_statements(std::slice::from_ref(&insert.exec), described)?;
                }
                Statement::Return(Some(value)) | Statement::ExecText(value) => {
                    self.describe_with(described, |binder| plain(binder, value))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A table variable, which is there for as long as the description takes.
    fn describe_table(
        &self,
        name: &str,
        columns: &[ColumnDef],
        described: &mut Described,
    ) -> Result<()> {
        let name = QualifiedName { schema: "@".to_owned(), name: name.to_owned() };
        let QualifiedName { schema, name } = self.values.locate(name);
        let columns = (1i64..)
            .zip(columns)
            .map(|(id, column)| self.column(id, column, &mut Vec::new()))
            .collect::<Result<_>>()?;
        let mut catalogue = Catalogue::clone(&described.catalogue);
        let count = i64::try_from(catalogue.tables.len()).unwrap_or(0);
        let object_id = i64::MIN.saturating_add(count);
        catalogue.tables.push(Table { object_id, schema, name, columns });
        described.catalogue = Arc::new(catalogue);
        Ok(())
    }

    fn describe_control(&self, control: &Control, described: &mut Described) -> Result<()> {
        let values: Vec<&Expr> = match control {
            Control::While { condition, body } => {
                self.describe_with(described, |binder| binder.condition(condition).map(drop))?;
                return self.describe_statements(body, described);
            }
            Control::Try { body, handler } => {
                self.describe_statements(body, described)?;
                return self.describe_statements(handler, described);
            }
            Control::Break | Control::Continue | Control::Throw(None) => Vec::new(),
            Control::Throw(Some((number, message, state))) => vec![number, message, state],
            Control::RaiseError { message, severity, state, arguments, .. } => {
                [message, severity, state].into_iter().chain(arguments).collect()
            }
            Control::Print(value) => vec![value],
        };
        for value in values {
            self.describe_with(described, |binder| plain(binder, value))?;
        }
        Ok(())
    }

    fn describe_set(&self, name: &str, value: &Expr, described: &mut Described) -> Result<()> {
        let variable = Expr::Identifier(Ident::new(name));
        self.describe_with(described, |binder| {
            plain(binder, value)?;
            plain(binder, &variable)
        })
    }

    fn describe_with(
        &self,
        described: &mut Described,
        bind: impl FnOnce(&mut Binder<'_>) -> Result<()>,
    ) -> Result<()> {
        let types = described.parameters.types();
        let catalogue = Arc::clone(&described.catalogue);
        let mut binder = Binder::new(&catalogue, &types, &self.values, true);
        binder.vouched = described.vouched;
        bind(&mut binder)?;
        let found = binder.verdicts;
        described.merge(&self.catalogue, &found)
    }

    /// What a procedure needs of its parameters, those that are passed on need too.
    fn describe_exec(&self, exec: &Exec, described: &mut Described) -> Result<()> {
        let Some(stored) = self.find_procedure(&exec.procedure) else {
            return known_procedure(exec);
        };
        if !described.vouched {
            self.require_execute(&stored)?;
        }
        let procedure = &stored.procedure;
        let schemes = self.schemes_of(procedure, described.depth.saturating_add(1))?;
        for (position, argument) in exec.arguments.iter().enumerate() {
            let at = position_of(procedure, argument, position)?;
            let (Some(declaration), Some(scheme)) = (procedure.parameters.get(at), schemes.get(at))
            else {
                continue;
            };
            if argument.is_default() || declaration.table.is_some() {
                continue;
            }
            self.describe_with(described, |binder| {
                let operand = binder.scalar(&argument.value)?;
                // What comes out fits if it is no longer than where it goes.
                let ty = match operand.ty {
                    Some(ty) if argument.output && declaration.ty.may_encrypt_for(ty) => ty,
                    _ => declaration.ty,
                };
                let target = Target { ty, encryption: *scheme, collation: None };
                binder.check_assignment(&target, &operand)
            })?;
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
        self.rows_of(CMD_EXECUTE, &columns, &rows, response)
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
        self.rows_of(CMD_EXECUTE, &columns, &rows, response)
    }

    /// A result of this program's own making.
    pub(crate) fn rows(
        &self,
        columns: &[ResultColumn],
        rows: &[Vec<Value>],
        response: &mut Response,
    ) -> Outcome<()> {
        self.rows_of(CMD_SELECT, columns, rows, response)
    }

    /// The same, of another command than SELECT.
    fn rows_of(
        &self,
        command: u16,
        columns: &[ResultColumn],
        rows: &[Vec<Value>],
        response: &mut Response,
    ) -> Outcome<()> {
        if self.capture.is_some() {
            return Err(SqlError::unsupported("INSERT ... EXEC of this procedure").into());
        }
        let table = self.cek_table(columns)?;
        response.token(|out| token::col_metadata(out, columns, table.as_deref()));
        let mut count = 0u64;
        for row in rows {
            if !self.options.takes_row(count) {
                break;
            }
            count = count.saturating_add(1);
            let mut bytes = vec![TOKEN_ROW];
            for (column, value) in columns.iter().zip(row) {
                write_value(&mut bytes, value, column.ty, &column.collation)?;
            }
            response.token(|out| out.extend_from_slice(&bytes));
        }
        response.done(command, Some(count));
        Ok(())
    }
}

fn of_temporary(error: &SqlError) -> bool {
    error.number == 208 && error.message.contains("'#")
}

/// What has been found out so far.
struct Described {
    parameters: Parameters,
    verdicts: Vec<Option<Verdict>>,
    depth: usize,
    /// Of a procedure, whose owner vouches for what it uses.
    vouched: bool,
    /// With the table variables that have been declared.
    catalogue: Arc<Catalogue>,
}

impl Described {
    /// A parameter that two statements use differently cannot be encrypted for both.
    fn merge(&mut self, catalogue: &Catalogue, found: &[Option<Verdict>]) -> Result<()> {
        for (i, (known, found)) in self.verdicts.iter_mut().zip(found).enumerate() {
            match (&known, found) {
                (Some(before), Some(now)) if *before != *now => {
                    let types = self.parameters.types();
                    let name = types.get(i).map_or("?", |parameter| parameter.name.as_str());
                    let scheme = |verdict: &Verdict| match verdict {
                        Verdict::Plain => catalogue.describe_encryption(None),
                        Verdict::Encrypted(encryption) => {
                            catalogue.describe_encryption(Some(*encryption))
                        }
                    };
                    return Err(crate::sql::encryption::mismatch(
                        name,
                        &scheme(before),
                        &scheme(now),
                    ));
                }
                (None, Some(now)) => *known = Some(*now),
                _ => {}
            }
        }
        Ok(())
    }
}

fn plain(binder: &mut Binder<'_>, expr: &Expr) -> Result<()> {
    let operand = binder.scalar(expr)?;
    binder.require_plain(&[&operand])
}

/// The system's procedures, whose parameters are never encrypted.
fn known_procedure(exec: &Exec) -> Result<()> {
    if is_system_procedure(&exec.procedure) {
        return Ok(());
    }
    Err(crate::exec::procedures::not_found(&exec.procedure))
}
