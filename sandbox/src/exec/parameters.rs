//! The parameters of a request: matched with their declarations, and checked if they are encrypted, before anything
//! of the request runs.

use rusqlite::types::Value as Stored;

use crate::catalogue::{CEK_VERSION, Catalogue, DATABASE_ID, Encryption, EncryptionType};
use crate::error::{Result, SqlError};
use crate::exec::table_type;
use crate::sql::bind::ParameterType;
use crate::sql::names::QualifiedName;
use crate::tds::rpc::{CipherInfo, F_BY_REF_VALUE, F_DEFAULT_VALUE, Parameter as WireParameter};
use crate::tds::token::{AEAD_AES_256_CBC_HMAC_SHA256, NORMALIZATION_RULE_VERSION};
use crate::tds::type_info::{BIGBINARYTYPE, BIGVARBINTYPE};
use crate::types::convert::{Excess, convert};
use crate::types::parse::Declaration;
use crate::types::sql_type::{CELL_BLOCK, CELL_HEADER};
use crate::types::{SqlType, Value, storage};

/// Version byte of a cell.
const CELL_VERSION: u8 = 0x01;

#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Plain(Value),
    /// A cell, or NULL.
    Encrypted {
        cell: Option<Vec<u8>>,
        encryption: Encryption,
    },
}

impl Argument {
    /// What an encrypted column holds.
    pub(crate) fn cell(value: Value, encryption: Encryption) -> Self {
        let cell = match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        };
        Argument::Encrypted { cell, encryption }
    }
}

#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    ty: SqlType,
    argument: Argument,
    /// Of a parameter that is a table.
    table: Option<QualifiedName>,
}

/// A parameter that is a table, with its rows.
#[derive(Debug, Clone)]
pub(crate) struct TableArgument {
    pub(crate) name: String,
    pub(crate) ty: QualifiedName,
    pub(crate) rows: Vec<Vec<(Value, SqlType)>>,
}

/// Parameters and, behind them, variables that the batch declares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    list: Vec<Parameter>,
    tables: Vec<TableArgument>,
}

impl Parameters {
    /// Declarations without values, for describing.
    pub(crate) fn declared(declarations: &[Declaration]) -> Self {
        let list = declarations.iter().map(|declaration| Parameter {
            name: declaration.name.clone(),
            ty: declaration.ty,
            argument: Argument::Plain(Value::Null),
            table: declaration.table.clone(),
        });
        let tables = declarations.iter().filter_map(|declaration| {
            let ty = declaration.table.clone()?;
            Some(TableArgument { name: declaration.name.clone(), ty, rows: Vec::new() })
        });
        Self { list: list.collect(), tables: tables.collect() }
    }

    /// What a client sent. `self` has the values of what it did not send, `given` says which of them may stay.
    pub(crate) fn receive(
        &mut self,
        sent: &[WireParameter],
        given: &mut [bool],
        procedure: &str,
        catalogue: &Catalogue,
        column_encryption: bool,
    ) -> Result<()> {
        let mut seen = vec![false; given.len()];
        for (position, wire) in sent.iter().enumerate() {
            let at = self.find(wire, position, given.len(), procedure)?;
            let too_many = || too_many(procedure);
            let slot = self.list.get_mut(at).ok_or_else(too_many)?;
            if std::mem::replace(seen.get_mut(at).ok_or_else(too_many)?, true) {
                return Err(SqlError::new(
                    8143,
                    format!("Parameter '{}' was supplied multiple times.", slot.name),
                ));
            }
            if wire.status & F_DEFAULT_VALUE != 0 {
                continue;
            }
            *given.get_mut(at).ok_or_else(too_many)? = true;
            match (&slot.table, &wire.table) {
                (None, None) => {}
                (Some(ty), Some(table)) if names_type(ty, &table.name) => {
                    let rows = table_type::decoded(&slot.name, table)?;
                    let name = slot.name.clone();
                    self.pass_table(&name, rows);
                    continue;
                }
                (ty, table) => {
                    let shown = |name: Option<&str>| name.unwrap_or("a scalar type").to_owned();
                    let from = shown(table.as_ref().map(|table| table.name[2].as_str()));
                    let to = shown(ty.as_ref().map(|ty| ty.name.as_str()));
                    return Err(SqlError::type_clash(&from, &to));
                }
            }
            slot.argument = match &wire.cipher {
                None => Argument::Plain(plain(slot, wire)?),
                Some(cipher) if column_encryption => encrypted(slot, wire, cipher, catalogue)?,
                Some(_) => {
                    return Err(SqlError::rpc_stream(format!(
                        "Parameter '{}' is encrypted on a connection that has not negotiated Always Encrypted.",
                        slot.name
                    )));
                }
            };
        }
        Ok(())
    }

    /// The rows of a parameter that is a table.
    pub(crate) fn pass_table(&mut self, name: &str, rows: Vec<Vec<(Value, SqlType)>>) {
        let found = self.tables.iter_mut().find(|table| table.name.eq_ignore_ascii_case(name));
        if let Some(table) = found {
            table.rows = rows;
        }
    }

    /// Parameters that are tables, for whoever makes tables of them.
    pub(crate) fn take_tables(&mut self) -> Vec<TableArgument> {
        std::mem::take(&mut self.tables)
    }

    /// By name where there is one, with or without '@', else by position.
    pub(crate) fn find(
        &self,
        wire: &WireParameter,
        position: usize,
        count: usize,
        procedure: &str,
    ) -> Result<usize> {
        let name = wire.name.trim_start_matches('@');
        if name.is_empty() {
            return if position < count { Ok(position) } else { Err(too_many(procedure)) };
        }
        let declared = self.list.get(..count).unwrap_or_default();
        let same =
            |known: &Parameter| known.name.trim_start_matches('@').eq_ignore_ascii_case(name);
        declared.iter().position(same).ok_or_else(|| {
            SqlError::new(8145, format!("@{name} is not a parameter for procedure {procedure}."))
        })
    }

    /// 206 for every parameter that is not encrypted as the body of its procedure needs it.
    pub(crate) fn require(
        &mut self,
        schemes: &[Option<Encryption>],
        catalogue: &Catalogue,
    ) -> Result<()> {
        for (parameter, wanted) in self.list.iter_mut().zip(schemes) {
            let given = match &parameter.argument {
                Argument::Encrypted { encryption, .. } => Some(*encryption),
                Argument::Plain(_) => None,
            };
            if given == *wanted {
                continue;
            }
            let shown = |scheme: Option<Encryption>| match scheme {
                None => parameter.ty.name().to_owned(),
                some => format!(
                    "{} encrypted with {}",
                    parameter.ty,
                    catalogue.describe_encryption(some)
                ),
            };
            return Err(SqlError::type_clash(&shown(given), &shown(*wanted)));
        }
        Ok(())
    }

    /// An argument of EXEC. A cell says nothing of its type, so that of the variable must fit.
    pub(crate) fn pass(
        &mut self,
        to: &Declaration,
        output: bool,
        argument: Argument,
        from: SqlType,
        catalogue: &Catalogue,
    ) -> Result<()> {
        let fits = from.may_encrypt_for(to.ty) || (output && to.ty.may_encrypt_for(from));
        if let Argument::Encrypted { encryption, .. } = &argument
            && !fits
        {
            let scheme = catalogue.describe_encryption(Some(*encryption));
            return Err(SqlError::type_clash(
                &format!("{from} encrypted with {scheme}"),
                &format!("{} encrypted with {scheme}", to.ty),
            ));
        }
        self.assign(&to.name, argument, from)
    }

    /// A value and its type.
    pub(crate) fn get(&self, name: &str) -> Result<(Argument, SqlType)> {
        let found = self.list.iter().find(|known| known.name.eq_ignore_ascii_case(name));
        let found = found.ok_or_else(|| SqlError::undeclared(name))?;
        Ok((found.argument.clone(), found.ty))
    }

    /// A value and its type, by position.
    pub(crate) fn at(&self, index: usize) -> Option<(&str, &Argument, SqlType)> {
        self.list.get(index).map(|found| (found.name.as_str(), &found.argument, found.ty))
    }

    /// A value that has the type of its parameter.
    pub(crate) fn set(&mut self, index: usize, argument: Argument) {
        if let Some(parameter) = self.list.get_mut(index) {
            parameter.argument = argument;
        }
    }

    pub(crate) fn types(&self) -> Vec<ParameterType> {
        let types = self.list.iter().map(|parameter| ParameterType {
            // A table is no scalar, whatever its name.
            name: match &parameter.table {
                None => parameter.name.clone(),
                Some(_) => String::new(),
            },
            ty: parameter.ty,
            encryption: match parameter.argument {
                Argument::Encrypted { encryption, .. } => Some(encryption),
                Argument::Plain(_) => None,
            },
        });
        types.collect()
    }

    /// The value of a parameter as SQLite holds it.
    pub(crate) fn stored(&self, index: usize) -> Stored {
        match self.list.get(index).map(|parameter| &parameter.argument) {
            Some(Argument::Plain(value)) => storage::store(value),
            Some(Argument::Encrypted { cell: Some(cell), .. }) => Stored::Blob(cell.clone()),
            Some(Argument::Encrypted { cell: None, .. }) | None => Stored::Null,
        }
    }

    /// DECLARE.
    pub(crate) fn declare(&mut self, name: &str, ty: SqlType) -> Result<()> {
        if self.list.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
            return Err(SqlError::new(
                134,
                format!(
                    "The variable name '{name}' has already been declared. Variable names must be unique within a \
                     query batch or stored procedure."
                ),
            )
            .class(15));
        }
        self.list.push(Parameter {
            name: name.to_owned(),
            ty,
            argument: Argument::Plain(Value::Null),
            table: None,
        });
        Ok(())
    }

    /// SET of a variable, from a value of type `from`.
    pub(crate) fn assign(&mut self, name: &str, argument: Argument, from: SqlType) -> Result<()> {
        let parameter = self
            .list
            .iter_mut()
            .find(|known| known.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| SqlError::undeclared(name))?;
        parameter.argument = match argument {
            Argument::Plain(value) => {
                Argument::Plain(convert(value, from, parameter.ty, Excess::CutOff)?)
            }
            encrypted => encrypted,
        };
        Ok(())
    }
}

/// Whether a client means this type: what it leaves out is taken from the declaration.
fn names_type(ty: &QualifiedName, [_, schema, name]: &[String; 3]) -> bool {
    (schema.is_empty() || schema.eq_ignore_ascii_case(&ty.schema))
        && (name.is_empty() || name.eq_ignore_ascii_case(&ty.name))
}

fn too_many(procedure: &str) -> SqlError {
    SqlError::new(
        8144,
        format!("Procedure or function {procedure} has too many arguments specified."),
    )
}

fn plain(parameter: &Parameter, wire: &WireParameter) -> Result<Value> {
    let (value, ty) = wire_value(wire)?;
    match ty {
        Some(ty) => convert(value, ty, parameter.ty, Excess::CutOff),
        None => Ok(Value::Null),
    }
}

/// The value of a plaintext parameter with the type that it has on the wire; an untyped NULL has none.
pub(crate) fn wire_value(wire: &WireParameter) -> Result<(Value, Option<SqlType>)> {
    let incorrect = |error: crate::tds::cursor::Malformed| {
        SqlError::rpc_stream(format!("Parameter (\"{}\"): {error}", wire.name))
    };
    let Some(ty) = wire.info.sql_type().map_err(incorrect)? else {
        return Ok((Value::Null, None));
    };
    let value = match &wire.value {
        None => Value::Null,
        Some(bytes) => wire.info.decode(ty, bytes).map_err(incorrect)?,
    };
    Ok((value, Some(ty)))
}

fn encrypted(
    parameter: &Parameter,
    wire: &WireParameter,
    cipher: &CipherInfo,
    catalogue: &Catalogue,
) -> Result<Argument> {
    let encryption = checked_scheme(cipher, parameter.ty, &parameter.name, catalogue)?;
    if !matches!(wire.info.token, BIGVARBINTYPE | BIGBINARYTYPE) {
        return Err(not_a_cell(parameter, wire));
    }
    // JDBC sends an output that may be long as an empty one rather than as NULL.
    let by_reference = wire.status & F_BY_REF_VALUE != 0;
    let Some(cell) = wire.value.as_ref().filter(|cell| !(by_reference && cell.is_empty())) else {
        return Ok(Argument::Encrypted { cell: None, encryption });
    };
    if !is_cell(parameter.ty, cell) {
        return Err(not_a_cell(parameter, wire));
    }
    Ok(Argument::Encrypted { cell: Some(cell.clone()), encryption })
}

/// The encryption that a trailer speaks of, if that is what the catalogue holds now.
pub(crate) fn checked_scheme(
    cipher: &CipherInfo,
    declared: SqlType,
    name: &str,
    catalogue: &Catalogue,
) -> Result<Encryption> {
    let stale = || SqlError::stale_metadata(name);
    let cek_id = i32::try_from(cipher.cek_id).map_err(|_| stale())?;
    let key = catalogue.encryption_key_by_id(cek_id).ok_or_else(stale)?;
    let kind = EncryptionType::from_number(i64::from(cipher.encryption_type)).ok_or_else(stale)?;
    let current = cipher.algorithm == AEAD_AES_256_CBC_HMAC_SHA256
        && cipher.norm_version == NORMALIZATION_RULE_VERSION
        && cipher.database_id == DATABASE_ID
        && cipher.cek_version == CEK_VERSION
        && cipher.cek_md_version == key.md_version;
    if !current {
        return Err(stale());
    }
    let encryption = Encryption { kind, cek_id };
    if !cipher.base.agrees_with(declared) {
        let scheme = catalogue.describe_encryption(Some(encryption));
        let base = match cipher.base.sql_type() {
            Ok(Some(ty)) => ty.to_string(),
            _ => format!("data type {:#04x}", cipher.base.token),
        };
        return Err(SqlError::type_clash(
            &format!("{base} encrypted with {scheme}"),
            &format!("{declared} encrypted with {scheme}"),
        ));
    }
    Ok(encryption)
}

/// Without keys a server can tell of a cell only this much.
pub(crate) fn is_cell(ty: SqlType, bytes: &[u8]) -> bool {
    let whole_blocks = bytes
        .len()
        .checked_sub(CELL_HEADER)
        .is_some_and(|rest| rest != 0 && rest % CELL_BLOCK == 0);
    whole_blocks
        && bytes.first() == Some(&CELL_VERSION)
        && ty.cell_limit().is_none_or(|limit| bytes.len() <= limit)
}

fn not_a_cell(parameter: &Parameter, wire: &WireParameter) -> SqlError {
    SqlError::new(
        8016,
        format!(
            "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect. Parameter \
             (\"{}\"): Data type {:#04X} has an invalid data length or metadata length.",
            parameter.name, wire.info.token
        ),
    )
}
