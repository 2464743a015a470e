//! RPC requests: one message holds one or more calls, a call has parameters, a parameter may be encrypted.

use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::tds::request::skip_headers;
use crate::tds::tvp::{self, WireTable};
use crate::tds::type_info::{TVPTYPE, TypeInfo};

/// ProcIDs (MS-TDS 2.2.6.6).
pub(crate) const SP_EXECUTESQL: u16 = 10;
pub(crate) const SP_PREPARE: u16 = 11;
pub(crate) const SP_EXECUTE: u16 = 12;
pub(crate) const SP_PREPEXEC: u16 = 13;
pub(crate) const SP_UNPREPARE: u16 = 15;
/// NameLenProcID: a ProcID follows instead of a name.
const BY_PROC_ID: u16 = 0xFFFF;

/// StatusFlags of a parameter.
pub(crate) const F_BY_REF_VALUE: u8 = 0x01;
pub(crate) const F_DEFAULT_VALUE: u8 = 0x02;
pub(crate) const F_ENCRYPTED: u8 = 0x08;

/// Separators between calls: of TDS 7.0 and 7.1, of 7.2 and later, and NoExec.
const BATCH_FLAG_70: u8 = 0x80;
const BATCH_FLAG: u8 = 0xFF;
const NO_EXEC_FLAG: u8 = 0xFE;

/// A SQL Server procedure takes no more.
const MAX_PARAMETERS: usize = 2100;

/// Which procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Procedure {
    Name(String),
    Id(u16),
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) procedure: Procedure,
    pub(crate) parameters: Vec<Parameter>,
}

#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// As sent: empty, or with or without '@'.
    pub(crate) name: String,
    pub(crate) status: u8,
    pub(crate) info: TypeInfo,
    /// None is NULL.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) cipher: Option<CipherInfo>,
    /// Of a table-valued parameter, whose value is NULL.
    pub(crate) table: Option<WireTable>,
}

/// ParamCipherInfo: what the client says it has encrypted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CipherInfo {
    pub(crate) base: TypeInfo,
    pub(crate) algorithm: u8,
    pub(crate) encryption_type: u8,
    pub(crate) database_id: u32,
    pub(crate) cek_id: u32,
    pub(crate) cek_version: u32,
    pub(crate) cek_md_version: [u8; 8],
    pub(crate) norm_version: u8,
}

pub(crate) fn read_calls(payload: &[u8]) -> Read<Vec<Call>> {
    let mut cursor = Cursor::new(payload);
    skip_headers(&mut cursor)?;
    let mut calls = Vec::new();
    loop {
        calls.push(read_call(&mut cursor)?);
        match cursor.peek() {
            None => return Ok(calls),
            Some(BATCH_FLAG_70 | BATCH_FLAG) => {
                cursor.u8()?;
                // Some clients end the last call with a separator too.
                if cursor.is_empty() {
                    return Ok(calls);
                }
            }
            Some(_) => {
                return Err(Malformed("A separator between calls was expected.".to_owned()));
            }
        }
    }
}

fn read_call(cursor: &mut Cursor<'_>) -> Read<Call> {
    let length = cursor.u16()?;
    let procedure = if length == BY_PROC_ID {
        Procedure::Id(cursor.u16()?)
    } else {
        Procedure::Name(cursor.utf16(usize::from(length))?)
    };
    cursor.u16()?;
    let mut parameters = Vec::new();
    while let Some(next) = cursor.peek() {
        // A parameter begins with the length of its name, which is at most 128.
        if matches!(next, BATCH_FLAG_70 | BATCH_FLAG | NO_EXEC_FLAG) {
            break;
        }
        if parameters.len() >= MAX_PARAMETERS {
            return Err(Malformed(format!(
                "Too many parameters were provided in this RPC request. The maximum is {MAX_PARAMETERS}."
            )));
        }
        parameters.push(read_parameter(cursor)?);
    }
    Ok(Call { procedure, parameters })
}

fn read_parameter(cursor: &mut Cursor<'_>) -> Read<Parameter> {
    let name = cursor.b_varchar()?;
    let status = cursor.u8()?;
    if cursor.peek() == Some(TVPTYPE) {
        cursor.u8()?;
        let table = Some(tvp::read(cursor)?);
        let info = TypeInfo::null();
        return Ok(Parameter { name, status, info, value: None, cipher: None, table });
    }
    let info = TypeInfo::read(cursor)?;
    let value = info.read_value(cursor)?;
    let cipher = if status & F_ENCRYPTED != 0 { Some(read_cipher_info(cursor)?) } else { None };
    Ok(Parameter { name, status, info, value, cipher, table: None })
}

fn read_cipher_info(cursor: &mut Cursor<'_>) -> Read<CipherInfo> {
    let base = TypeInfo::read(cursor)?;
    let algorithm = cursor.u8()?;
    // Zero means a custom algorithm, by name.
    if algorithm == 0 {
        cursor.b_varchar()?;
    }
    Ok(CipherInfo {
        base,
        algorithm,
        encryption_type: cursor.u8()?,
        database_id: cursor.u32()?,
        cek_id: cursor.u32()?,
        cek_version: cursor.u32()?,
        cek_md_version: cursor.array()?,
        norm_version: cursor.u8()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_call() -> Vec<u8> {
        let mut bytes = vec![4, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 0];
        // @p int 42 as mssql-jdbc encrypts it: varbinary(8000), then the trailer.
        bytes.extend_from_slice(&[2, b'@', 0, b'p', 0, 8, 0xA5, 0x40, 0x1F, 65, 0]);
        bytes.extend_from_slice(&[1; 65]);
        bytes.extend_from_slice(&[0x26, 4, 2, 1, 5, 0, 0, 0, 0x31, 0, 0, 0, 1, 0, 0, 0]);
        bytes.extend_from_slice(&[0xF1, 8, 0x60, 1, 0xE8, 0xAA, 0, 0, 1]);
        bytes
    }

    #[test]
    fn an_encrypted_parameter_is_read_with_its_trailer() {
        let calls = read_calls(&one_call()).unwrap();
        let parameter = &calls[0].parameters[0];
        let cipher = parameter.cipher.as_ref().unwrap();
        assert_eq!(parameter.name, "@p");
        assert_eq!((cipher.database_id, cipher.cek_id, cipher.norm_version), (5, 49, 1));
        assert_eq!(cipher.cek_md_version, [0xF1, 8, 0x60, 1, 0xE8, 0xAA, 0, 0]);
    }

    #[test]
    fn a_call_cut_anywhere_is_an_error_and_no_panic() {
        let whole = one_call();
        for end in 0..whole.len() {
            // At ten bytes it is a whole call without parameters.
            assert_eq!(read_calls(&whole[..end]).is_ok(), end == 10, "{end}");
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        let whole = one_call();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0x80, 0xFE, 0xFF, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let Ok(calls) = read_calls(&bytes) else {
                    continue;
                };
                for parameter in calls.iter().flat_map(|call| &call.parameters) {
                    let Ok(Some(ty)) = parameter.info.sql_type() else {
                        continue;
                    };
                    let _ = parameter.value.as_ref().map(|value| parameter.info.decode(ty, value));
                }
            }
        }
    }

    #[test]
    fn several_calls_share_a_message() {
        for separator in [0xFF, 0x80] {
            let mut bytes = one_call();
            bytes.push(separator);
            bytes.extend_from_slice(&one_call()[4..]);
            assert_eq!(read_calls(&bytes).unwrap().len(), 2);
        }
    }
}
