//! Writing a request anew with its parameters encrypted.

use std::{collections::HashMap, ops::Deref, sync::Arc};

use zeroize::Zeroizing;

use super::{SessionError, declared::Declared, statement::Statement};
use crate::{
    crypto::{CellKey, encrypted_len},
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
                let plaintext = plaintext(declared, parameter)?;
                // The keys were asked for by the same rule that brings us here.
                let key = keys.get(&encryption.cek);
                if plaintext.is_some() && key.is_none() {
                    return Err(SessionError::Describe(DescribeFault::KeyMissing {
                        name: declared.name.clone(),
                        ordinal: encryption.cek as i64,
                    }));
                }
                let mut encrypted = Ok(0);
                EncryptedParameter {
                    name: &parameter.name,
                    status: parameter.status,
                    cell_len: plaintext.as_ref().map(|p| encrypted_len(p.len())),
                    base_type: &TypeInfo::of(as_drivers_write(sql_type), collation),
                    encryption_type: encryption.encryption_type,
                    cek: cek.identity,
                }
                .write(
                    |cell| {
                        if let (Some(plaintext), Some(key)) = (&plaintext, key) {
                            encrypted =
                                key.encrypt_into(plaintext, encryption.encryption_type, cell);
                        }
                    },
                    out,
                )
                .map_err(SessionError::Request)?;
                encrypted.map_err(|source| SessionError::Encrypt {
                    target: format!("parameter {}", declared.name),
                    source,
                })?;
            }
        }
    }
    Ok(())
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
    let data = match parameter.is_null() {
        true => None,
        // In the code page of the collation that it is declared with, whatever its column's is: the
        // server converts what it can read.
        false => Some(converted(declared, parameter, Some(CodePage::of_collation(collation)))?),
    };
    let type_info = TypeInfo::of(sql_type, collation);
    write_parameter(&parameter.name, parameter.status, &type_info, data.as_deref(), out)
        .map_err(SessionError::Request)
}

/// Drivers say NUMERICN for both of the two names of one type (SqlClient and JDBC).
fn as_drivers_write(sql_type: SqlType) -> SqlType {
    match sql_type {
        SqlType::Decimal { precision, scale } => SqlType::Numeric { precision, scale },
        other => other,
    }
}

/// Bytes that are plaintext: the driver's own, or a copy that is wiped.
enum Plaintext<'a> {
    Sent(&'a [u8]),
    Made(Zeroizing<Vec<u8>>),
}

impl Deref for Plaintext<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}

/// The normal form of a value; `None` for NULL.
fn plaintext<'a>(
    declared: &Declared,
    parameter: &'a Parameter<'_>,
) -> Result<Option<Plaintext<'a>>, SessionError> {
    if parameter.is_null() {
        return Ok(None);
    }
    let sql_type = declared_type(declared)?;
    let no_value = |source: ValueError| match &declared.required {
        Some(required) => SessionError::Conversion {
            name: declared.name.clone(),
            target: required.says.clone(),
            source: ConversionError::of_value(parameter.type_info.sql_type(), sql_type, source),
        },
        None => SessionError::Parameter { name: declared.name.clone(), source },
    };
    let data = converted(declared, parameter, None)?;
    if normalized_in_place(sql_type, &data).map_err(no_value)?.is_some() {
        return Ok(Some(data));
    }
    let mut normal_form = Zeroizing::new(Vec::with_capacity(sql_type.normal_form_len(data.len())));
    normalize(sql_type, &data, &mut normal_form).map_err(no_value)?;
    Ok(Some(Plaintext::Made(normal_form)))
}

/// The value's data as its declared type lays them out: as they were sent, or converted without
/// loss. With a code page given they are exactly the type's, in that code page; otherwise a number may
/// have another of its family's widths, which [`normalize`] takes.
fn converted<'a>(
    declared: &Declared,
    parameter: &'a Parameter<'_>,
    exactly: Option<Option<CodePage>>,
) -> Result<Plaintext<'a>, SessionError> {
    let target = declared_type(declared)?;
    let sent = parameter.type_info.sql_type();
    let data = match parameter.data_slice() {
        Some(data) => Plaintext::Sent(data),
        None => {
            let mut data = Zeroizing::new(Vec::with_capacity(parameter.data_len()));
            parameter.data(&mut data).map_err(SessionError::Request)?;
            Plaintext::Made(data)
        }
    };
    let code_page = parameter.type_info.collation().and_then(CodePage::of_collation);
    let to = declared.required.as_ref().map(|required| required.conversion_type);
    let same_text = !matches!(target, SqlType::Char(_) | SqlType::VarChar(_))
        || to.is_none_or(|to| to.code_page == code_page);
    if exactly.is_none() && same_text && lies_as(sent, target) {
        return Ok(data);
    }
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
    if to.code_page.is_none() && is_ascii(sent, &data) {
        to.code_page = Some(CodePage::UTF_8);
    }
    let mut out = Zeroizing::new(Vec::with_capacity(converted_len(from, data.len(), to)));
    convert(from, &data, to, &mut out).map_err(|source| SessionError::Conversion {
        name: declared.name.clone(),
        target: match &declared.required {
            Some(required) => required.says.clone(),
            None => "its declaration".to_owned(),
        },
        source,
    })?;
    Ok(Plaintext::Made(out))
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
