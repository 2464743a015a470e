//! Writing a request anew with its parameters encrypted.

use std::collections::HashMap;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{SessionError, statement::Statement};
use crate::{
    crypto::{CellKey, encrypted_len},
    metadata::{DescribeFault, Description, ParameterEncryption},
    tds::{EncryptedParameter, Parameter, RpcRequest, TypeInfo, write_text_parameter},
    value::{SqlType, normalize},
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
) -> Result<Vec<u8>, SessionError> {
    // Which declaration a value belongs to, and the server's verdict on it.
    let verdict_on: HashMap<usize, (usize, Option<&ParameterEncryption>)> = statement
        .parameters
        .iter()
        .zip(&description.parameters)
        .enumerate()
        .filter_map(|(at, (d, e))| Some((d.index?, (at, e.as_ref()))))
        .collect();

    let mut out = Vec::new();
    request.write_head(&mut out);
    for (index, parameter) in request.parameters.iter().enumerate() {
        if statement.declarations_in_request && index == 1 {
            let text = statement
                .declarations(|at| description.parameters.get(at).is_some_and(Option::is_some));
            write_text_parameter(&parameter.name, &text, collation, &mut out)
                .map_err(SessionError::Request)?;
            continue;
        }
        match verdict_on.get(&index) {
            None if index >= statement.first_value() => {
                return Err(SessionError::Describe(DescribeFault::ParameterMissing {
                    name: parameter.name.clone(),
                }));
            }
            None | Some((_, None)) => out.extend_from_slice(parameter.bytes),
            Some(&(at, Some(encryption))) => {
                let declared = &statement.parameters[at];
                let sql_type = declared.sql_type.clone().map_err(|source| {
                    SessionError::ParameterType { name: declared.name.clone(), source }
                })?;
                let cek = description.ceks.get(encryption.cek);
                let cek = cek.ok_or(DescribeFault::KeyMissing {
                    name: declared.name.clone(),
                    ordinal: encryption.cek as i64,
                })?;
                let cell = encrypt_value(
                    &declared.name,
                    parameter,
                    sql_type,
                    encryption,
                    keys.get(&encryption.cek),
                )?;
                EncryptedParameter {
                    name: &parameter.name,
                    status: parameter.status,
                    cell: cell.as_deref(),
                    base_type: &TypeInfo::of(as_drivers_write(sql_type), collation),
                    encryption_type: encryption.encryption_type,
                    cek: cek.identity,
                }
                .write(&mut out)
                .map_err(SessionError::Request)?;
            }
        }
    }
    Ok(out)
}

/// Drivers say NUMERICN for both of the two names of one type (SqlClient and JDBC).
fn as_drivers_write(sql_type: SqlType) -> SqlType {
    match sql_type {
        SqlType::Decimal { precision, scale } => SqlType::Numeric { precision, scale },
        other => other,
    }
}

/// The cell of a value; `None` for NULL.
fn encrypt_value(
    name: &str,
    parameter: &Parameter<'_>,
    sql_type: SqlType,
    encryption: &ParameterEncryption,
    key: Option<&Arc<CellKey>>,
) -> Result<Option<Vec<u8>>, SessionError> {
    if parameter.is_null() {
        return Ok(None);
    }
    check_sent_type(name, parameter, sql_type)?;
    let mut data = Zeroizing::new(Vec::new());
    parameter.data(&mut data).map_err(SessionError::Request)?;
    let mut normal_form = Zeroizing::new(Vec::with_capacity(sql_type.normal_form_len(data.len())));
    normalize(sql_type, &data, &mut normal_form)
        .map_err(|source| SessionError::Parameter { name: name.to_owned(), source })?;
    // The keys were asked for by the same rule that brings us here.
    let Some(key) = key else {
        return Err(SessionError::Describe(DescribeFault::KeyMissing {
            name: name.to_owned(),
            ordinal: encryption.cek as i64,
        }));
    };
    let mut cell = vec![0; encrypted_len(normal_form.len())];
    let written = key.encrypt_into(&normal_form, encryption.encryption_type, &mut cell);
    debug_assert_eq!(written, Ok(cell.len()));
    Ok(Some(cell))
}

/// The data on the wire must be laid out as the declared type lays it out, or its normal form would
/// be that of another value.
fn check_sent_type(
    name: &str,
    parameter: &Parameter<'_>,
    declared: SqlType,
) -> Result<(), SessionError> {
    let sent = parameter.type_info.sql_type();
    if lies_as(sent, declared) {
        return Ok(());
    }
    Err(SessionError::ParameterMismatch {
        name: name.to_owned(),
        declared,
        sent: sent.map_or_else(|| "another type".to_owned(), |t| t.to_string()),
    })
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
