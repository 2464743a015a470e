//! ERROR and DONE: reading the server's, and writing ours in its place (MS-TDS 2.2.7.10, 2.2.7.6).

use super::{Malformed, Reader, reader::push_utf16, token::id};

/// What an ERROR token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The error's number.
    pub number: u32,
    /// The message text.
    pub message: String,
    /// The procedure that it comes from; empty for the request itself.
    pub procedure: String,
}

impl ServerError {
    /// Reads an ERROR token, from its token byte on.
    pub fn read(token: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "ERROR";
        let mut reader = Reader::new(token);
        reader.take(3, WHAT)?;
        let number = reader.u32(WHAT)?;
        reader.take(2, WHAT)?;
        let message = reader.us_varchar(WHAT)?;
        reader.skip_b_varchar(WHAT)?;
        Ok(Self { number, message, procedure: reader.b_varchar(WHAT)? })
    }
}

/// Severity 16: the user can correct it, the connection lives on.
const CLASS: u8 = 16;
/// Longer messages are cut; the token's length field has 16 bits and counts bytes.
const MAX_MESSAGE_UNITS: usize = 8000;

/// Appends an ERROR token of ours. `line` carries the number under which the typed error is kept.
pub fn write_error(number: u32, message: &str, server: &str, line: u32, out: &mut Vec<u8>) {
    let mut units: Vec<u16> = message.encode_utf16().collect();
    if units.len() > MAX_MESSAGE_UNITS {
        units.truncate(MAX_MESSAGE_UNITS - 1);
        // Do not leave half of a pair at the end.
        if units.last().is_some_and(|u| (0xD800..0xDC00).contains(u)) {
            units.pop();
        }
        units.push(0x2026);
    }
    let server: String = server.chars().take(100).collect();
    let mut body = Vec::new();
    body.extend_from_slice(&number.to_le_bytes());
    body.push(1);
    body.push(CLASS);
    body.extend_from_slice(&(units.len() as u16).to_le_bytes());
    body.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    body.push(server.encode_utf16().count() as u8);
    push_utf16(&server, &mut body);
    body.push(0);
    body.extend_from_slice(&line.to_le_bytes());
    out.push(id::ERROR);
    out.extend_from_slice(&(body.len() as u16).to_le_bytes());
    out.extend_from_slice(&body);
}

/// Appends a DONE token with a status and no count.
pub fn write_done(status: u16, out: &mut Vec<u8>) {
    out.push(id::DONE);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&[0; 10]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::{TokenLen, token_len};

    #[test]
    fn an_error_of_ours_reads_as_one() {
        let mut out = Vec::new();
        write_error(60_001, "what happened", "always-encrypted", 7, &mut out);
        assert_eq!(token_len(&out), Ok(TokenLen::Known(out.len())));
        let read = ServerError::read(&out).unwrap();
        assert_eq!((read.number, read.message.as_str()), (60_001, "what happened"));
    }

    #[test]
    fn a_message_too_long_for_the_token_is_cut_between_characters() {
        let mut out = Vec::new();
        write_error(1, &"\u{1F600}".repeat(40_000), "s", 0, &mut out);
        assert_eq!(token_len(&out), Ok(TokenLen::Known(out.len())));
        let read = ServerError::read(&out).unwrap();
        assert!(read.message.ends_with('\u{2026}') && !read.message.contains('\u{FFFD}'));
    }
}
