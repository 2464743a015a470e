//! The wire: packets, LOGIN7, tokens, type information, RPC requests.
//!
//! This layer owns the layout of bytes and nothing else: it parses what came and writes what goes,
//! without a socket, a key or a memory of what came before. Layouts follow [MS-TDS], version 7.4,
//! with the Always Encrypted structures as Microsoft's drivers read and write them.
//!
//! Everything here reads bytes from outside. Lengths are checked against what has arrived before
//! anything is allocated, and nothing panics.
//!
//! [MS-TDS]: https://learn.microsoft.com/openspecs/windows_protocols/ms-tds

mod alt_metadata;
mod buffer;
mod cek_value;
mod clr_type;
mod col_metadata;
mod error_token;
mod identifier;
mod insert_bulk;
mod login;
mod packet;
mod procedure_name;
mod reader;
mod reply;
mod return_value;
mod row;
mod rpc;
mod table_value;
mod token;
mod type_info;

pub use alt_metadata::{AltMetadata, alt_row_id};
pub use buffer::WipedBuffer;
pub use cek_value::EncryptedCekValue;
pub use clr_type::ClrType;
pub(crate) use col_metadata::MAX_CEK_VALUES;
pub use col_metadata::{CekEntry, ColMetadata, Column, CryptoMetadata};
pub use error_token::{ServerError, write_done, write_error};
pub(crate) use identifier::quote;
pub use insert_bulk::InsertBulk;
pub(crate) use login::{COLUMNENCRYPTION, COLUMNENCRYPTION_VERSION};
pub use login::{add_column_encryption_feature, prelogin_reply};
pub use packet::{HEADER_LEN, PacketHeader, PacketType, Status, push_header, push_packet};
pub use procedure_name::ProcedureName;
pub use reader::{Malformed, Reader};
pub(crate) use reader::{push_utf16, utf16_exact, utf16_lossy};
pub use reply::{ReplyToken, ReplyTokens, RowValues};
pub use return_value::ReturnValue;
pub use row::{RowScanner, ValueRange};
pub(crate) use row::{value_data, value_data_in_place, value_data_len, value_data_slice};
pub use rpc::{
    CekIdentity, EncryptedParameter, Parameter, Procedure, RpcFault, RpcMessage, RpcRequest,
};
pub(crate) use rpc::{write_parameter, write_text_parameter};
pub use table_value::TableType;
pub use token::{Done, EnvChange, TokenLen, done_status, id as token_id, token_len};
pub use type_info::{TypeInfo, ValueEncoding, collation_is_utf8, write_plp, write_value};
pub(crate) use type_info::{write_null, write_value_head, write_value_tail};
