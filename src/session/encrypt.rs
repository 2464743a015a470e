//! Writing a request anew with its parameters encrypted.

use std::{collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use super::{SessionError, declared::Declared, statement::Statement};
use crate::{
    crypto::{CellKey, MAX_OVERHEAD, PLAINTEXT_OFFSET, encrypted_len},
    metadata::{DescribeFault, Description, ParameterEncryption},
    tds::{
        EncryptedParameter, Parameter, RpcRequest, TypeInfo, write_parameter, write_text_parameter,
    },
    value::{
        CodePage, ConversionError, ConversionType, SqlType, ValueError, convert, converted_len,
        normalize, normalized_in_place,
    },
};

/// The keys of a description that are needed for a request, by their index in it. A parameter that
/// is NULL needs no key, unless its value comes back.
pub(super) fn needed_keys(
    request: &RpcRequest<'_>,
    statement: &Statement,
    description: &Description,
) -> Vec<(usize, String)> {
    let mut needed: Vec<(usize, String)> = Vec::new();
    for (declared, encryption) in statement.parameters.iter().zip(&description.parameters) {
        let (Some(encryption), Some(index)) = (encryption, declared.index) else { continue };
        let needs_key = |p: &Parameter<'_>| !p.is_null() || p.is_output();
        if request.parameters.get(index).is_some_and(needs_key)
            && needed.iter().all(|(cek, _)| *cek != encryption.cek)
        {
            needed.push((encryption.cek, format!("parameter {}", declared.name)));
        }
    }
    needed
}

/// The payload of the request with every parameter that the description names encrypted.
///
/// Fails rather than let a parameter through that has no verdict or no key.
pub(super) fn encrypt_request(
    request: &RpcRequest<'_>,
    statement: &Statement,
    description: &Description,
    keys: &HashMap<usize, Arc<CellKey>>,
    collation: [u8; 5],
    out: &mut Vec<u8>,
) -> Result<(), SessionError> {
    // Which declaration a value belongs to, and the server's verdict on it.
    let verdict_on: HashMap<usize, (usize, Option<&ParameterEncryption>)> = statement
        .parameters
        .iter()
        .zip(&description.parameters)
        .enumerate()
        .filter_map(|(at, (d, e))| Some((d.index?, (at, e.as_ref()))))
        .collect();

    request.write_head(out);
    for (index, parameter) in request.parameters.iter().enumerate() {
        if statement.declarations_at == Some(index) {
            let text = statement
                .declarations(|at| description.parameters.get(at).is_some_and(Option::is_some));
            write_text_parameter(&parameter.name, &text, collation, out)
                .map_err(SessionError::Request)?;
            continue;
        }
        match verdict_on.get(&index) {
            None if index >= statement.first_value => {
                return Err(SessionError::Describe(DescribeFault::ParameterMissing {
                    name: parameter.name.clone(),
                }));
            }
            Some(&(at, None)) if statement.parameters[at].is_stated() => {
                write_stated(&statement.parameters[at], parameter, collation, out)?;
            }
            None | Some((_, None)) => out.extend_from_slice(parameter.bytes),
            Some(&(at, Some(encryption))) => {
                let declared = &statement.parameters[at];
                let sql_type = declared_type(declared)?;
                let cek = description.ceks.get(encryption.cek);
                let cek = cek.ok_or(DescribeFault::KeyMissing {
                    name: declared.name.clone(),
                    ordinal: encryption.cek as i64,
                })?;
                // The keys were asked for by the same rule that brings us here.
                let key = keys.get(&encryption.cek);
                let mut written = Ok(false);
                EncryptedParameter {
                    name: &parameter.name,
                    status: parameter.status,
                    base_type: &TypeInfo::of(as_drivers_write(sql_type), collation),
                    encryption_type: encryption.encryption_type,
                    cek: cek.identity,
                }
                .write(
                    |out| {
                        written = write_cell(declared, parameter, key, encryption, out);
                        matches!(written, Ok(true))
                    },
                    out,
                )
                .map_err(SessionError::Request)?;
                written?;
            }
        }
    }
    Ok(())
}

/// Appends the cell of a value, unless that is NULL. The plaintext is put where its ciphertext will
/// be, so it is there once.
fn write_cell(
    declared: &Declared,
    parameter: &Parameter<'_>,
    key: Option<&Arc<CellKey>>,
    encryption: &ParameterEncryption,
    out: &mut Vec<u8>,
) -> Result<bool, SessionError> {
    if parameter.is_null() {
        return Ok(false);
    }
    let key = key.ok_or_else(|| DescribeFault::KeyMissing {
        name: declared.name.clone(),
        ordinal: encryption.cek as i64,
    })?;
    let start = out.len();
    out.reserve_exact(MAX_OVERHEAD);
    out.resize(start + PLAINTEXT_OFFSET, 0);
    append_plaintext(declared, parameter, out)?;
    let len = out.len() - start - PLAINTEXT_OFFSET;
    out.resize(start + encrypted_len(len), 0);
    let cell = out.get_mut(start..).unwrap_or_default();
    key.encrypt_in_place(len, encryption.encryption_type, cell).map_err(|source| {
        SessionError::Encrypt { target: format!("parameter {}", declared.name), source }
    })?;
    Ok(true)
}

fn declared_type(declared: &Declared) -> Result<SqlType, SessionError> {
    declared
        .sql_type()
        .map_err(|source| SessionError::ParameterType { name: declared.name.clone(), source })
}

/// A plain parameter whose type the application has stated: converted, and sent as that type.
fn write_stated(
    declared: &Declared,
    parameter: &Parameter<'_>,
    collation: [u8; 5],
    out: &mut Vec<u8>,
) -> Result<(), SessionError> {
    let sql_type = declared_type(declared)?;
    let mut data = Zeroizing::new(Vec::new());
    // In the code page of the collation that it is declared with, whatever its column's is: the
    // server converts what it can read.
    let code_page = CodePage::of_collation(collation);
    let data = match parameter.is_null() {
        true => None,
        false => Some(append_data(declared, parameter, Some(code_page), &mut data)?),
    };
    let type_info = TypeInfo::of(sql_type, collation);
    write_parameter(&parameter.name, parameter.status, &type_info, data, out)
        .map_err(SessionError::Request)
}

/// Drivers say NUMERICN for both of the two names of one type (SqlClient and JDBC).
fn as_drivers_write(sql_type: SqlType) -> SqlType {
    match sql_type {
        SqlType::Decimal { precision, scale } => SqlType::Numeric { precision, scale },
        other => other,
    }
}

/// Appends the normal form of a value. Room is made before the first byte of it: a vector that grows
/// leaves a copy behind.
fn append_plaintext(
    declared: &Declared,
    parameter: &Parameter<'_>,
    out: &mut Vec<u8>,
) -> Result<(), SessionError> {
    let sql_type = declared_type(declared)?;
    let no_value = |source: ValueError| match &declared.required {
        Some(required) => SessionError::Conversion {
            name: declared.name.clone(),
            target: required.says.clone(),
            source: ConversionError::of_value(parameter.type_info.sql_type(), sql_type, source),
        },
        None => SessionError::Parameter { name: declared.name.clone(), source },
    };
    if sql_type.is_variable_length() {
        // The data are the normal form.
        let data = append_data(declared, parameter, None, out)?;
        return normalized_in_place(sql_type, data).map(drop).map_err(no_value);
    }
    let mut data = Zeroizing::new(Vec::new());
    let data = append_data(declared, parameter, None, &mut data)?;
    out.reserve_exact(MAX_OVERHEAD + sql_type.normal_form_len(data.len()));
    normalize(sql_type, data, out).map_err(no_value)
}

/// Appends the value's data as its declared type lays them out: as they were sent, or converted
/// without loss. With a code page given they are exactly the type's, in that code page; otherwise a
/// number may have another of its family's widths, which [`normalize`] takes. Returns what has been
/// appended.
fn append_data<'o>(
    declared: &Declared,
    parameter: &Parameter<'_>,
    exactly: Option<Option<CodePage>>,
    out: &'o mut Vec<u8>,
) -> Result<&'o [u8], SessionError> {
    let start = out.len();
    let target = declared_type(declared)?;
    let sent = parameter.type_info.sql_type();
    let code_page = parameter.type_info.collation().and_then(CodePage::of_collation);
    let to = declared.required.as_ref().map(|required| required.conversion_type);
    let same_text = !matches!(target, SqlType::Char(_) | SqlType::VarChar(_))
        || to.is_none_or(|to| to.code_page == code_page);
    if exactly.is_none() && same_text && lies_as(sent, target) {
        out.reserve_exact(MAX_OVERHEAD + parameter.data_len());
        parameter.data(out).map_err(SessionError::Request)?;
        return Ok(out.get(start..).unwrap_or_default());
    }
    let mut copy = Zeroizing::new(Vec::new());
    let data = match parameter.data_slice() {
        Some(data) => data,
        None => {
            copy.reserve(parameter.data_len());
            parameter.data(&mut copy).map_err(SessionError::Request)?;
            &copy
        }
    };
    let Some(sent) = sent else {
        return Err(SessionError::ParameterMismatch {
            name: declared.name.clone(),
            declared: target,
            sent: "another type".to_owned(),
        });
    };
    let from = ConversionType { sql_type: sent, code_page };
    let mut to = to.unwrap_or(ConversionType { sql_type: target, code_page });
    if let Some(code_page) = exactly {
        to.code_page = code_page;
    }
    // Of a type that is stated or learnt nobody says the code page. They all have ASCII in common.
    if to.code_page.is_none() && is_ascii(sent, data) {
        to.code_page = Some(CodePage::UTF_8);
    }
    out.reserve_exact(MAX_OVERHEAD + converted_len(from, data.len(), to));
    convert(from, data, to, out).map_err(|source| SessionError::Conversion {
        name: declared.name.clone(),
        target: match &declared.required {
            Some(required) => required.says.clone(),
            None => "its declaration".to_owned(),
        },
        source,
    })?;
    Ok(out.get(start..).unwrap_or_default())
}

/// Whether the data are text that is the same in every code page.
fn is_ascii(sql_type: SqlType, data: &[u8]) -> bool {
    if sql_type.is_unicode() {
        data.chunks(2).all(|unit| matches!(unit, [byte, 0] if byte.is_ascii()))
    } else {
        sql_type.is_string() && data.is_ascii()
    }
}

/// Whether values sent as one type have the layout of another.
pub(super) fn lies_as(sent: Option<SqlType>, declared: SqlType) -> bool {
    use SqlType as T;
    match (declared, sent) {
        // The range is checked when the value is normalised.
        (
            T::TinyInt | T::SmallInt | T::Int | T::BigInt,
            Some(T::TinyInt | T::SmallInt | T::Int | T::BigInt),
        ) => true,
        (
            T::Decimal { scale, .. } | T::Numeric { scale, .. },
            Some(T::Decimal { scale: sent, .. } | T::Numeric { scale: sent, .. }),
        ) => scale == sent,
        (T::Char(_) | T::VarChar(_), Some(T::Char(_) | T::VarChar(_)))
        | (T::NChar(_) | T::NVarChar(_), Some(T::NChar(_) | T::NVarChar(_)))
        | (T::Binary(_) | T::VarBinary(_), Some(T::Binary(_) | T::VarBinary(_))) => true,
        (declared, Some(sent)) => declared == sent,
        (_, None) => false,
    }
}
