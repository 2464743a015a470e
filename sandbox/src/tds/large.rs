//! text, ntext and image as they leave: a text pointer that leads nowhere, a timestamp, a length and the value (MS-TDS
//! 2.2.5.4.3 and 2.2.7.19), and come in a bulk load. As parameters they come without the first two.

use crate::tds::cursor::{Cursor, Read};
use crate::tds::type_info::{IMAGETYPE, NTEXTTYPE, TEXTTYPE};
use crate::types::{Collation, SqlType};

/// The longest values that the types have.
const MAX_BYTES: u32 = 0x7FFF_FFFF;
const MAX_WIDE_BYTES: u32 = 0x7FFF_FFFE;
/// Nobody here reads by pointer, so all are the same.
const TEXT_POINTER: [u8; 16] = *b"dummy textptr\0\0\0";
const TIMESTAMP: [u8; 8] = *b"dummyTS\0";

pub(super) fn write_type_info(out: &mut Vec<u8>, ty: SqlType, collation: &Collation) {
    let (token, length) = match ty {
        SqlType::Image => (IMAGETYPE, MAX_BYTES),
        SqlType::NText => (NTEXTTYPE, MAX_WIDE_BYTES),
        _ => (TEXTTYPE, MAX_BYTES),
    };
    out.push(token);
    out.extend_from_slice(&length.to_le_bytes());
    if ty != SqlType::Image {
        out.extend_from_slice(&collation.wire());
    }
}

/// A value of a bulk load.
pub(super) fn read_value(cursor: &mut Cursor<'_>) -> Read<Option<Vec<u8>>> {
    let pointer = cursor.u8()?;
    if pointer == 0 {
        return Ok(None);
    }
    cursor.bytes(usize::from(pointer).saturating_add(TIMESTAMP.len()))?;
    let length = cursor.u32()?;
    cursor.bytes_u32(length).map(|bytes| Some(bytes.to_vec()))
}

pub(super) fn write_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else { return out.push(0) };
    out.push(u8::try_from(TEXT_POINTER.len()).unwrap_or_default());
    out.extend_from_slice(&TEXT_POINTER);
    out.extend_from_slice(&TIMESTAMP);
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(MAX_BYTES).to_le_bytes());
    out.extend_from_slice(value);
}
