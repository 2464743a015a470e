//! The parameters of a request: matched with their declarations, and checked if they are encrypted, before anything
//! of the request runs.

use rusqlite::types::Value as Stored;

use crate::catalogue::{CEK_VERSION, Catalogue, DATABASE_ID, Encryption, EncryptionType};
use crate::error::{Result, SqlError};
use crate::sql::bind::ParameterType;
use crate::tds::rpc::{CipherInfo, F_DEFAULT_VALUE, Parameter as WireParameter};
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

#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    ty: SqlType,
    argument: Argument,
}

/// Parameters and, behind them, variables that the batch declares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    list: Vec<Parameter>,
}

impl Parameters {
    /// Declarations without values, for describing.
    pub(crate) fn declared(declarations: &[Declaration]) -> Self {
        let list = declarations.iter().map(|declaration| Parameter {
            name: declaration.name.clone(),
            ty: declaration.ty,
            argument: Argument::Plain(Value::Null),
        });
        Self { list: list.collect() }
    }

    /// What a client sent, for a text with these declarations.
    pub(crate) fn from_wire(
        declarations: &[Declaration],
        sent: &[WireParameter],
        catalogue: &Catalogue,
        column_encryption: bool,
    ) -> Result<Self> {
        let mut parameters = Self::declared(declarations);
        let mut given = vec![false; declarations.len()];
        for (position, wire) in sent.iter().enumerate() {
            let at = find(declarations, wire, position)?;
            let (Some(slot), Some(given)) = (parameters.list.get_mut(at), given.get_mut(at)) else {
                return Err(too_many());
            };
            if wire.status & F_DEFAULT_VALUE != 0 {
                continue;
            }
            if std::mem::replace(given, true) {
                return Err(SqlError::new(
                    8143,
                    format!("Parameter '{}' was supplied multiple times.", slot.name),
                ));
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
        if let Some(missing) = declarations.iter().zip(&given).find(|(_, given)| !**given) {
            let name = &missing.0.name;
            return Err(SqlError::new(
                8178,
                format!(
                    "The parameterized query expects the parameter '{name}', which was not supplied."
                ),
            ));
        }
        Ok(parameters)
    }

    pub(crate) fn types(&self) -> Vec<ParameterType> {
        let types = self.list.iter().map(|parameter| ParameterType {
            name: parameter.name.clone(),
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

fn too_many() -> SqlError {
    SqlError::new(8144, "Procedure or function sp_executesql has too many arguments specified.")
}

/// By name where there is one, with or without '@', else by position.
fn find(declarations: &[Declaration], wire: &WireParameter, position: usize) -> Result<usize> {
    let name = wire.name.trim_start_matches('@');
    if name.is_empty() {
        return if position < declarations.len() { Ok(position) } else { Err(too_many()) };
    }
    let found =
        declarations.iter().position(|d| d.name.trim_start_matches('@').eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        SqlError::new(8145, format!("@{name} is not a parameter for procedure sp_executesql."))
    })
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
    let Some(cell) = &wire.value else {
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
