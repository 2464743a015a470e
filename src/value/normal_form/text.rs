//! Strings and binaries.

use crate::value::{SqlType, ValueError};

/// One blank in UTF-16.
const UTF16_BLANK: [u8; 2] = [0x20, 0x00];

/// Checks the length and takes the bytes as they are, trailing blanks included: SqlClient neither
/// pads nor trims before it encrypts.
pub(super) fn copy(sql_type: SqlType, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    check_length(sql_type, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// As [`copy`], then padded to the length of the type. `char(n)` is `n` bytes whatever the code
/// page, as it is on the wire.
pub(super) fn copy_padded(
    sql_type: SqlType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    check_length(sql_type, bytes.len())?;
    let len = sql_type.max_normal_form_len();
    let padding = len.saturating_sub(bytes.len());
    let blank = if sql_type.is_string() { b' ' } else { 0x00 };
    out.reserve(len);
    out.extend_from_slice(bytes);
    let end = out.len();
    out.resize(end.saturating_add(padding), blank);
    if sql_type.is_unicode() {
        let (units, _) = out.get_mut(end..).unwrap_or_default().as_chunks_mut();
        units.fill(UTF16_BLANK);
    }
    Ok(())
}

pub(in crate::value) fn check_length(sql_type: SqlType, len: usize) -> Result<(), ValueError> {
    if sql_type.is_unicode() && !len.is_multiple_of(2) {
        return Err(ValueError::OddLength { sql_type, len });
    }
    if len > sql_type.max_normal_form_len() {
        let len = if sql_type.is_unicode() { len / 2 } else { len };
        return Err(ValueError::TooLong { sql_type, len });
    }
    Ok(())
}

/// Where the first surrogate without its partner is in a string of UTF-16, counted in code units.
///
/// SQL Server stores such a string, and so does SqlClient; drivers whose strings are UTF-8 cannot
/// read it back. What to do about it is for the caller to decide. Half a code unit at the end is
/// not looked at.
///
/// ```
/// use always_encrypted::value::find_lone_surrogate;
///
/// assert_eq!(find_lone_surrogate(&[0x3D, 0xD8, 0x00, 0xDE]), None); // U+1F600
/// assert_eq!(find_lone_surrogate(&[0x41, 0x00, 0x3D, 0xD8, 0x41, 0x00]), Some(1));
/// ```
#[must_use]
pub fn find_lone_surrogate(data: &[u8]) -> Option<usize> {
    let (units, _) = data.as_chunks::<2>();
    let mut rest = units;
    loop {
        let surrogate = rest.get(first_surrogate(rest)?..)?;
        match surrogate {
            [high, low, after @ ..] if is_high_surrogate(*high) && is_low_surrogate(*low) => {
                rest = after;
            }
            _ => return units.len().checked_sub(surrogate.len()),
        }
    }
}

/// Most text has none, so it is looked through in blocks that the compiler turns into vectors.
fn first_surrogate(units: &[[u8; 2]]) -> Option<usize> {
    let has_surrogate =
        |block: &[[u8; 2]; 32]| block.iter().fold(false, |found, &unit| found | is_surrogate(unit));
    let (blocks, _) = units.as_chunks();
    let before = blocks.iter().take_while(|&block| !has_surrogate(block)).count() * 32;
    let within = units.get(before..)?.iter().position(|&unit| is_surrogate(unit))?;
    Some(before + within)
}

fn is_surrogate(unit: [u8; 2]) -> bool {
    u16::from_le_bytes(unit) & 0xF800 == 0xD800
}

fn is_high_surrogate(unit: [u8; 2]) -> bool {
    u16::from_le_bytes(unit) & 0xFC00 == 0xD800
}

fn is_low_surrogate(unit: [u8; 2]) -> bool {
    u16::from_le_bytes(unit) & 0xFC00 == 0xDC00
}
