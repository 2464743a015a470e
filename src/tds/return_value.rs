//! RETURNVALUE: an output parameter on its way back (MS-TDS 2.2.7.18).
//!
//! `0xAC | ParamOrdinal u16 | Name B_VARCHAR | Status u8 | UserType u32 | Flags u16 | TYPE_INFO
//! | [CryptoMetadata without ordinal] | value`

use std::fmt;

use super::{
    CryptoMetadata, Malformed, Reader, RowScanner, TypeInfo, ValueRange, col_metadata::F_ENCRYPTED,
    reader::push_utf16, row::value_data, write_value,
};
use crate::value::SqlType;

/// An output parameter.
#[derive(Clone, PartialEq, Eq)]
pub struct ReturnValue {
    ordinal: u16,
    /// The parameter's name.
    pub name: String,
    status: u8,
    user_type: u32,
    flags: u16,
    /// The type on the wire; varbinary if the parameter is encrypted.
    pub type_info: TypeInfo,
    /// What it is beneath, if it is encrypted.
    pub crypto: Option<CryptoMetadata>,
    /// The value's bytes without length fields; `None` is NULL.
    pub data: Option<Vec<u8>>,
    len: usize,
}

impl ReturnValue {
    /// Reads the token at the front of `bytes`, or says `None` while it has not arrived in full.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut read = match Self::read_head(&mut reader) {
            Ok(read) => read,
            Err(error) if error.incomplete => return Ok(None),
            Err(error) => return Err(error),
        };
        let start = reader.position();
        let encoding = read.type_info.encoding();
        let value = reader.rest();
        let Some((len, range)) = RowScanner::default().advance_value(encoding, value)? else {
            return Ok(None);
        };
        read.len = start + len;
        if let ValueRange::At { start, end } = range {
            let mut data = Vec::new();
            value_data(encoding, value.get(start..end).unwrap_or_default(), &mut data)?;
            read.data = Some(data);
        }
        Ok(Some(read))
    }

    fn read_head(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "RETURNVALUE";
        reader.u8(WHAT)?;
        let ordinal = reader.u16(WHAT)?;
        let name = reader.b_varchar(WHAT)?;
        let status = reader.u8(WHAT)?;
        let user_type = reader.u32(WHAT)?;
        let flags = reader.u16(WHAT)?;
        let type_info = TypeInfo::read(reader)?;
        let crypto = if flags & F_ENCRYPTED == 0 {
            None
        } else if type_info.is_varbinary() {
            Some(CryptoMetadata::read(reader, 0)?)
        } else {
            return Err(Malformed::of("encrypted RETURNVALUE: its type is not varbinary"));
        };
        Ok(Self { ordinal, name, status, user_type, flags, type_info, crypto, data: None, len: 0 })
    }

    /// The token's length on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.len
    }

    /// Which parameter of the call it is, as the server counts.
    #[must_use]
    pub fn ordinal(&self) -> u16 {
        self.ordinal
    }

    /// The value of a plain int; `None` for NULL and for every other type.
    #[must_use]
    pub fn int(&self) -> Option<i32> {
        let is_int = self.crypto.is_none() && self.type_info.sql_type() == Some(SqlType::Int);
        let data = self.data.as_deref().filter(|_| is_int)?;
        data.try_into().ok().map(i32::from_le_bytes)
    }

    /// Appends the token with the value as it is stored: an encrypted one as its cell.
    pub fn write_stored(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let stored = Self { crypto: None, ..self.clone() };
        stored.write_decrypted_head(&self.type_info, out);
        write_value(self.type_info.encoding(), self.data.as_deref(), out)
    }

    /// Appends the token up to its value, as a parameter of `type_info` that was never encrypted.
    pub fn write_decrypted_head(&self, type_info: &TypeInfo, out: &mut Vec<u8>) {
        out.push(super::token::id::RETURNVALUE);
        out.extend_from_slice(&self.ordinal.to_le_bytes());
        out.push(self.name.encode_utf16().count() as u8);
        push_utf16(&self.name, out);
        out.push(self.status);
        let user_type = self.crypto.as_ref().map_or(self.user_type, |c| c.user_type);
        out.extend_from_slice(&user_type.to_le_bytes());
        out.extend_from_slice(&(self.flags & !F_ENCRYPTED).to_le_bytes());
        out.extend_from_slice(type_info.as_bytes());
    }
}

/// Without the value.
impl fmt::Debug for ReturnValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnValue")
            .field("ordinal", &self.ordinal)
            .field("name", &self.name)
            .field("type_info", &self.type_info)
            .field("crypto", &self.crypto)
            .field("data_len", &self.data.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}
