//! RPC requests, read and written anew with encrypted parameters (MS-TDS 2.2.6.6).
//!
//! ```text
//! ALL_HEADERS | 0xFFFF ProcID u16, or US_VARCHAR name | OptionFlags u16 | Parameter*
//! Parameter   Name B_VARCHAR | Status u8 | TYPE_INFO | value | [ParamCipherInfo]
//! ParamCipherInfo  TYPE_INFO of the plaintext | Algorithm u8 | EncryptionType u8 | DatabaseId u32
//!             | CekId u32 | CekVersion u32 | CekMDVersion 8 bytes | NormVersion u8
//! ```

use std::fmt;

use super::{
    ClrType, Malformed, Reader, RowScanner, TypeInfo, ValueEncoding, ValueRange,
    col_metadata::{AEAD_AES_256_CBC_HMAC_SHA_256, NORMALIZATION_VERSION},
    reader::{push_utf16, utf16_exact},
    row::{value_data, value_data_len, value_data_slice},
    table_value::{TVPTYPE, TableType},
    type_info::id,
    write_value,
};
use crate::crypto::EncryptionType;

/// fByRefValue of a parameter's status.
pub(crate) const BY_REF: u8 = 0x01;
/// fEncrypted of a parameter's status.
const ENCRYPTED: u8 = 0x08;
/// In the place of a partially length-prefixed value's length.
const NULL: [u8; 8] = [0xFF; 8];
/// Between the requests of a message (TDS 7.2 and later), and its relative for "not executed".
const BATCH_FLAG: u8 = 0xFF;
const NO_EXEC_FLAG: u8 = 0xFE;

/// Why a message is no request that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcFault {
    /// The bytes are no request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The driver encrypts of its own accord.
    #[error("a parameter that the driver has encrypted")]
    AlreadyEncrypted,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Procedure {
    /// One of the well-known procedures, by number.
    Id(u16),
    /// By name.
    Name(String),
}

/// A parameter, borrowed from the request.
#[derive(Clone)]
pub struct Parameter<'a> {
    /// Its name with or without `@`; empty for a positional one.
    pub name: String,
    /// fByRefValue and fDefaultValue.
    pub status: u8,
    /// Its type on the wire.
    pub type_info: TypeInfo,
    /// Its table type, if it is table-valued. Then it has neither data nor NULL.
    pub table_type: Option<TableType>,
    /// Its CLR type, if it has one.
    pub clr_type: Option<ClrType>,
    /// All of its bytes.
    pub bytes: &'a [u8],
    value: &'a [u8],
    is_null: bool,
}

impl Parameter<'_> {
    /// Whether the value is NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.is_null
    }

    /// Whether the value comes back as a RETURNVALUE.
    #[must_use]
    pub fn is_output(&self) -> bool {
        self.status & BY_REF != 0
    }

    /// The length of the value's data in bytes; 0 for NULL.
    #[must_use]
    pub fn data_len(&self) -> usize {
        match self.type_info.encoding() {
            ValueEncoding::TextPointer => self.value.len(),
            encoding => value_data_len(encoding, self.value),
        }
    }

    /// The value's data without length fields, if they stand in one piece.
    pub(crate) fn data_slice(&self) -> Option<&[u8]> {
        match self.type_info.encoding() {
            _ if self.is_null => None,
            ValueEncoding::TextPointer => Some(self.value),
            encoding => value_data_slice(encoding, self.value),
        }
    }

    /// The value's data without length fields, appended to `out`; nothing for NULL.
    pub fn data(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.is_null {
            return Ok(());
        }
        if self.type_info.encoding() == ValueEncoding::TextPointer {
            // A request has no pointers; the length has been taken off.
            out.extend_from_slice(self.value);
            return Ok(());
        }
        value_data(self.type_info.encoding(), self.value, out)
    }

    /// The value as text, if its type is nvarchar or nchar.
    pub fn text(&self) -> Result<String, Malformed> {
        if !matches!(self.type_info.id(), id::NVARCHARTYPE | id::NCHARTYPE | id::NTEXTTYPE) {
            return Err(Malformed::of("RPC: a statement that is not nvarchar"));
        }
        let mut data = Vec::new();
        self.data(&mut data)?;
        // A replacement character would make another statement of it.
        utf16_exact(&data).ok_or(Malformed::of("RPC: a statement that is no UTF-16"))
    }
}

/// Without the value.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter")
            .field("name", &self.name)
            .field("status", &self.status)
            .field("type_info", &self.type_info)
            .field("table_type", &self.table_type)
            .field("len", &self.bytes.len())
            .field("is_null", &self.is_null)
            .finish()
    }
}

/// A request, borrowed from the message's payload.
#[derive(Clone, Debug)]
pub struct RpcRequest<'a> {
    /// ALL_HEADERS: the transaction that the request belongs to.
    pub all_headers: &'a [u8],
    /// What is called.
    pub procedure: Procedure,
    /// fWithRecomp and its kind.
    pub option_flags: u16,
    /// The parameters, sp_executesql's own two included.
    pub parameters: Vec<Parameter<'a>>,
}

/// The requests of a message: usually one.
#[derive(Clone, Debug)]
pub struct RpcMessage<'a> {
    /// The requests. Only the first has ALL_HEADERS.
    pub requests: Vec<RpcRequest<'a>>,
    /// BatchFlag or NoExecFlag behind each request but the last, and perhaps behind that.
    pub separators: Vec<u8>,
}

impl<'a> RpcMessage<'a> {
    /// Reads a message's payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, RpcFault> {
        let mut reader = Reader::new(payload);
        let headers_len = reader.u32("RPC request")? as usize;
        let rest = headers_len.checked_sub(4).ok_or(Malformed::of("ALL_HEADERS"))?;
        reader.take(rest, "ALL_HEADERS")?;
        let mut all_headers = reader.since(0);
        let (mut requests, mut separators) = (Vec::new(), Vec::new());
        loop {
            requests.push(RpcRequest::read_one(&mut reader, std::mem::take(&mut all_headers))?);
            match reader.peek() {
                None => break,
                Some(separator) => {
                    reader.u8("RPC request")?;
                    separators.push(separator);
                    if reader.peek().is_none() {
                        break;
                    }
                }
            }
        }
        Ok(Self { requests, separators })
    }
}

impl<'a> RpcRequest<'a> {
    /// Reads up to the end of the message or the flag that ends the request.
    fn read_one(reader: &mut Reader<'a>, all_headers: &'a [u8]) -> Result<Self, RpcFault> {
        const WHAT: &str = "RPC request";
        let procedure = match reader.u16(WHAT)? {
            0xFFFF => Procedure::Id(reader.u16(WHAT)?),
            units => {
                let name = reader.take(usize::from(units) * 2, WHAT)?;
                Procedure::Name(utf16_exact(name).ok_or(Malformed::of("RPC: procedure's name"))?)
            }
        };
        let option_flags = reader.u16(WHAT)?;
        let mut parameters = Vec::new();
        while reader.peek().is_some_and(|next| !matches!(next, BATCH_FLAG | NO_EXEC_FLAG)) {
            parameters.push(read_parameter(reader)?);
        }
        Ok(Self { all_headers, procedure, option_flags, parameters })
    }

    /// Appends the request as it came.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        for parameter in &self.parameters {
            out.extend_from_slice(parameter.bytes);
        }
    }

    /// Appends everything in front of the parameters.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.all_headers);
        match &self.procedure {
            Procedure::Id(id) => {
                out.extend_from_slice(&[0xFF, 0xFF]);
                out.extend_from_slice(&id.to_le_bytes());
            }
            Procedure::Name(name) => write_name(name, out),
        }
        out.extend_from_slice(&self.option_flags.to_le_bytes());
    }

    /// A call of a procedure by name with unnamed nvarchar parameters, in the same transaction:
    /// how sp_describe_parameter_encryption is called.
    pub fn write_text_call(
        all_headers: &[u8],
        procedure: &str,
        texts: &[&str],
        collation: [u8; 5],
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        out.extend_from_slice(all_headers);
        write_name(procedure, out);
        out.extend_from_slice(&[0, 0]);
        for text in texts {
            write_text_parameter("", text, collation, out)?;
        }
        Ok(())
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.encode_utf16().count() as u16).to_le_bytes());
    push_utf16(name, out);
}

fn read_parameter<'a>(reader: &mut Reader<'a>) -> Result<Parameter<'a>, RpcFault> {
    const WHAT: &str = "RPC parameter";
    let start = reader.position();
    let name = reader.b_varchar(WHAT)?;
    let status = reader.u8(WHAT)?;
    if status & ENCRYPTED != 0 {
        return Err(RpcFault::AlreadyEncrypted);
    }
    let (type_info, table_type, value) = if reader.peek() == Some(TVPTYPE) {
        (TypeInfo::table_valued(), Some(TableType::read(reader)?), Some(&[][..]))
    } else {
        let type_info = TypeInfo::read_in_request(reader)?;
        let value = read_value(reader, &type_info)?;
        (type_info, None, value)
    };
    let (is_null, value) = (value.is_none(), value.unwrap_or_default());
    let clr_type = match type_info.id() {
        id::UDTTYPE => Some(ClrType::read(&mut Reader::new(type_info.as_bytes()))?),
        _ => None,
    };
    let bytes = reader.since(start);
    Ok(Parameter { name, status, type_info, table_type, clr_type, bytes, value, is_null })
}

/// In a request text, ntext and image have four bytes of length and no text pointer.
pub(super) fn read_value<'a>(
    reader: &mut Reader<'a>,
    type_info: &TypeInfo,
) -> Result<Option<&'a [u8]>, Malformed> {
    const WHAT: &str = "value of an RPC parameter";
    if type_info.encoding() == ValueEncoding::TextPointer {
        let len = reader.u32(WHAT)?;
        return if len == u32::MAX { Ok(None) } else { reader.take(len as usize, WHAT).map(Some) };
    }
    let found = RowScanner::default().advance_value(type_info.encoding(), reader.rest())?;
    let (len, value) = found.ok_or(Malformed::of(WHAT))?;
    let bytes = reader.take(len, WHAT)?;
    Ok(matches!(value, ValueRange::At { .. }).then_some(bytes))
}

/// Appends an nvarchar parameter.
pub(crate) fn write_text_parameter(
    name: &str,
    text: &str,
    collation: [u8; 5],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    use crate::value::{Length, SqlType};
    let mut data = Vec::with_capacity(text.len() * 2);
    push_utf16(text, &mut data);
    let length = if data.len() <= 8000 { Length::Bounded(4000) } else { Length::Max };
    let type_info = TypeInfo::of(SqlType::NVarChar(length), collation);
    write_parameter(name, 0, &type_info, Some(&data), out)
}

/// Appends a parameter; `data` are those of its value, `None` for NULL.
pub(crate) fn write_parameter(
    name: &str,
    status: u8,
    type_info: &TypeInfo,
    data: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    write_parameter_head(name, status, out);
    out.extend_from_slice(type_info.as_bytes());
    write_value(type_info.encoding(), data, out)
}

fn write_parameter_head(name: &str, status: u8, out: &mut Vec<u8>) {
    // Names come from B_VARCHARs, or are ours and short.
    out.push(name.encode_utf16().count() as u8);
    push_utf16(name, out);
    out.push(status);
}

/// Which CEK the server means: sent back to it with everything encrypted under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CekIdentity {
    /// The database that the key is defined in.
    pub database_id: u32,
    /// The key's id in it.
    pub cek_id: u32,
    /// The key's version; always 1 so far.
    pub cek_version: u32,
    /// The version of the key's metadata: opaque, copied as it came.
    pub cek_md_version: [u8; 8],
}

impl CekIdentity {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.database_id.to_le_bytes());
        out.extend_from_slice(&self.cek_id.to_le_bytes());
        out.extend_from_slice(&self.cek_version.to_le_bytes());
        out.extend_from_slice(&self.cek_md_version);
    }
}

/// A parameter that has been encrypted.
#[derive(Debug)]
pub struct EncryptedParameter<'a> {
    /// The name that the driver gave it.
    pub name: &'a str,
    /// The driver's status bits.
    pub status: u8,
    /// The type of the plaintext.
    pub base_type: &'a TypeInfo,
    /// How it was encrypted.
    pub encryption_type: EncryptionType,
    /// Under which key.
    pub cek: CekIdentity,
}

impl EncryptedParameter<'_> {
    /// Appends the parameter in SqlClient's form: varbinary(max) in one chunk. `write_cell` appends
    /// the cell and says `true`, or appends nothing: NULL is never encrypted, but still says what it
    /// would be.
    pub fn write(
        &self,
        write_cell: impl FnOnce(&mut Vec<u8>) -> bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        write_parameter_head(self.name, self.status | ENCRYPTED, out);
        out.extend_from_slice(&[id::BIGVARBINTYPE, 0xFF, 0xFF]);
        let null = out.len() + NULL.len();
        out.extend_from_slice(&NULL);
        let start = null + 4;
        out.resize(start, 0);
        if write_cell(out) {
            let len = u32::try_from(out.len().saturating_sub(start));
            let len = len.map_err(|_| Malformed::of("value: over 4 GiB"))?;
            let head = u64::from(len).to_le_bytes().into_iter().chain(len.to_le_bytes());
            let place = out.get_mut(null - NULL.len()..start).unwrap_or_default();
            place.iter_mut().zip(head).for_each(|(place, byte)| *place = byte);
            out.extend_from_slice(&[0; 4]);
        } else {
            out.truncate(null);
        }
        out.extend_from_slice(self.base_type.as_bytes());
        out.push(AEAD_AES_256_CBC_HMAC_SHA_256);
        out.push(self.encryption_type.wire_value());
        self.cek.write(out);
        out.push(NORMALIZATION_VERSION);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::SqlType;

    fn only(payload: &[u8]) -> Option<RpcRequest<'_>> {
        let mut requests = RpcMessage::read(payload).ok()?.requests;
        assert_eq!(requests.len(), 1);
        requests.pop()
    }

    #[test]
    fn an_encrypted_int_is_written_as_sqlclient_writes_it() {
        let base_type = TypeInfo::of(SqlType::Int, [0; 5]);
        let parameter = EncryptedParameter {
            name: "@p",
            status: 0,
            base_type: &base_type,
            encryption_type: EncryptionType::Deterministic,
            cek: CekIdentity {
                database_id: 5,
                cek_id: 49,
                cek_version: 1,
                cek_md_version: [0xf1, 8, 0x60, 1, 0xe8, 0xaa, 0, 0],
            },
        };
        let mut out = Vec::new();
        let write_cell = |out: &mut Vec<u8>| {
            out.resize(out.len() + 65, 0x5A);
            true
        };
        parameter.write(write_cell, &mut out).unwrap();
        assert_eq!(out.len(), 115);
        assert_eq!(
            out[..21],
            [2, 0x40, 0, 0x70, 0, 8, 0xa5, 0xff, 0xff, 0x41, 0, 0, 0, 0, 0, 0, 0, 0x41, 0, 0, 0]
        );
        assert_eq!(
            out[86..],
            [
                0, 0, 0, 0, 0x26, 4, 2, 1, 5, 0, 0, 0, 0x31, 0, 0, 0, 1, 0, 0, 0, 0xf1, 8, 0x60, 1,
                0xe8, 0xaa, 0, 0, 1
            ]
        );
    }

    #[test]
    fn the_length_of_a_value_is_that_of_its_data() {
        let mut payload = 4u32.to_le_bytes().to_vec();
        payload.extend_from_slice(&[0xFF, 0xFF, 10, 0, 0, 0]);
        write_text_parameter("a", "four", [0; 5], &mut payload).unwrap();
        write_text_parameter("b", &"long".repeat(2000), [0; 5], &mut payload).unwrap();
        write_parameter_head("c", 0, &mut payload);
        payload.extend_from_slice(&[0x26, 4, 4, 42, 0, 0, 0]);
        write_parameter_head("d", 0, &mut payload);
        payload.push(0x1F);
        let request = only(&payload).unwrap();
        for (parameter, expected) in request.parameters.iter().zip([8, 16_000, 4, 0]) {
            let mut data = Vec::new();
            parameter.data(&mut data).unwrap();
            assert_eq!((parameter.data_len(), data.len()), (expected, expected));
        }
    }

    #[test]
    fn a_request_reads_and_every_truncation_of_it_is_an_error_or_shorter() {
        let mut payload = 22u32.to_le_bytes().to_vec();
        payload.extend_from_slice(&[0; 18]);
        payload.extend_from_slice(&[0xFF, 0xFF, 10, 0, 0, 0]);
        write_text_parameter("stmt", "select @P1", [0; 5], &mut payload).unwrap();
        write_text_parameter("params", "@P1 int", [0; 5], &mut payload).unwrap();
        write_parameter_head("@P1", 0, &mut payload);
        payload.extend_from_slice(&[0x26, 4, 4, 42, 0, 0, 0]);
        write_parameter_head("@P2", 1, &mut payload);
        payload.push(0x1F);

        let request = only(&payload).unwrap();
        assert_eq!(request.procedure, Procedure::Id(10));
        assert_eq!(request.parameters[0].text().unwrap(), "select @P1");
        let mut data = Vec::new();
        request.parameters[2].data(&mut data).unwrap();
        assert_eq!(data, [42, 0, 0, 0]);
        assert!(request.parameters[3].is_null() && request.parameters[3].is_output());
        for len in 0..payload.len() {
            if let Some(request) = only(&payload[..len]) {
                assert!(request.parameters.len() < 4, "{len} bytes");
            }
        }
        let mut again = Vec::new();
        request.write(&mut again);
        assert_eq!(again, payload);
    }

    #[test]
    fn several_requests_are_told_apart_and_written_as_they_came() {
        let mut payload = 4u32.to_le_bytes().to_vec();
        for (id, end) in [(12, &[BATCH_FLAG][..]), (12, &[NO_EXEC_FLAG]), (15, &[])] {
            payload.extend_from_slice(&[0xFF, 0xFF, id, 0, 0, 0]);
            write_parameter_head("", 0, &mut payload);
            payload.extend_from_slice(&[0x26, 4, 4, id, 0, 0, 0]);
            payload.extend_from_slice(end);
        }
        for trailing in [&[][..], &[BATCH_FLAG]] {
            let payload = [&payload, trailing].concat();
            let message = RpcMessage::read(&payload).unwrap();
            assert_eq!(message.requests.len(), 3);
            let mut again = Vec::new();
            for (at, request) in message.requests.iter().enumerate() {
                request.write(&mut again);
                again.extend(message.separators.get(at));
            }
            assert_eq!(again, payload);
        }
    }
}
