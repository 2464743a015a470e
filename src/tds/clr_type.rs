//! The type of a CLR value in a request (MS-TDS 2.2.5.5.2, UDT_INFO_IN_RPC).
//!
//! `0xF0 | DbName B_VARCHAR | SchemaName B_VARCHAR | TypeName B_VARCHAR`
//!
//! What the server sends has a length in front of the names and the assembly behind them.

use super::{Malformed, Reader, type_info::id::UDTTYPE};

/// The name of a CLR type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClrType {
    /// Its database; empty for the current one.
    pub database: String,
    /// Its schema; empty for the default one.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl ClrType {
    /// Reads the type from its type token on.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        const WHAT: &str = "CLR type of an RPC parameter";
        if reader.u8(WHAT)? != UDTTYPE {
            return Err(Malformed::of(WHAT));
        }
        Ok(Self {
            database: reader.b_varchar(WHAT)?,
            schema: reader.b_varchar(WHAT)?,
            name: reader.b_varchar(WHAT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::{RpcMessage, ValueEncoding};

    /// A call with a `[dbo].[Point]` and an int behind it.
    fn request() -> Vec<u8> {
        let mut out = 4u32.to_le_bytes().to_vec();
        out.extend([1, 0, b'p', 0, 0, 0]);
        out.extend([0, 0, UDTTYPE, 0, 3]);
        out.extend("dbo".encode_utf16().flat_map(u16::to_le_bytes));
        out.push(5);
        out.extend("Point".encode_utf16().flat_map(u16::to_le_bytes));
        out.extend([2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7, 8, 0, 0, 0, 0]);
        out.extend([0, 0, 0x26, 4, 4, 42, 0, 0, 0]);
        out
    }

    #[test]
    fn a_clr_type_in_a_request_is_its_names_and_nothing_else() {
        let request = request();
        let message = RpcMessage::read(&request).unwrap();
        let [point, int] = message.requests[0].parameters.as_slice() else { panic!() };
        let clr = point.clr_type.as_ref().unwrap();
        assert_eq!([&clr.database, &clr.schema, &clr.name], ["", "dbo", "Point"]);
        assert_eq!((point.type_info.encoding(), point.data_len()), (ValueEncoding::Plp, 2));
        assert_eq!((int.clr_type.as_ref(), int.data_len()), (None, 4));
    }

    #[test]
    fn a_request_cut_within_it_has_no_int() {
        let request = request();
        for len in 10..request.len() {
            let read = RpcMessage::read(&request[..len]);
            let parameters = read.map_or(0, |message| message.requests[0].parameters.len());
            assert!(parameters < 2, "{len} bytes");
        }
    }
}
