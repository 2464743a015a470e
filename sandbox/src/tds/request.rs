//! ALL_HEADERS, SQL batches and transaction manager requests.

use crate::tds::cursor::{Cursor, Malformed, Read};
use crate::types::text;

/// Skips ALL_HEADERS. This server has one session per connection, so the transaction descriptor tells it nothing.
pub(crate) fn skip_headers(cursor: &mut Cursor<'_>) -> Read<()> {
    let total = cursor.u32()?;
    let rest = total
        .checked_sub(4)
        .ok_or_else(|| Malformed("ALL_HEADERS shorter than its own length".to_owned()))?;
    let mut headers = Cursor::new(cursor.bytes_u32(rest)?);
    while !headers.is_empty() {
        let length = headers.u32()?;
        let rest = length
            .checked_sub(4)
            .ok_or_else(|| Malformed("a header shorter than its length".to_owned()))?;
        headers.bytes_u32(rest)?;
    }
    Ok(())
}

pub(crate) fn read_batch(payload: &[u8]) -> Read<String> {
    let mut cursor = Cursor::new(payload);
    skip_headers(&mut cursor)?;
    if !cursor.rest().len().is_multiple_of(2) {
        return Err(Malformed("a SQL batch with half a character".to_owned()));
    }
    Ok(text::from_utf16le(cursor.rest()))
}

/// TM_BEGIN_XACT and its kin (MS-TDS 2.2.6.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransactionRequest {
    Begin,
    /// With the transaction that begins next, if asked.
    Commit {
        then_begin: bool,
    },
    Rollback {
        name: String,
        then_begin: bool,
    },
    Save {
        name: String,
    },
    Other(u16),
}

const TM_BEGIN_XACT: u16 = 5;
const TM_COMMIT_XACT: u16 = 7;
const TM_ROLLBACK_XACT: u16 = 8;
const TM_SAVE_XACT: u16 = 9;

pub(crate) fn read_transaction(payload: &[u8]) -> Read<TransactionRequest> {
    let mut cursor = Cursor::new(payload);
    skip_headers(&mut cursor)?;
    let kind = cursor.u16()?;
    Ok(match kind {
        TM_BEGIN_XACT => {
            cursor.u8()?;
            read_name(&mut cursor)?;
            TransactionRequest::Begin
        }
        TM_COMMIT_XACT => {
            read_name(&mut cursor)?;
            TransactionRequest::Commit { then_begin: cursor.u8()? & 1 != 0 }
        }
        TM_ROLLBACK_XACT => TransactionRequest::Rollback {
            name: read_name(&mut cursor)?,
            then_begin: cursor.u8()? & 1 != 0,
        },
        TM_SAVE_XACT => TransactionRequest::Save { name: read_name(&mut cursor)? },
        other => TransactionRequest::Other(other),
    })
}

/// B_VARBYTE: its length counts bytes.
fn read_name(cursor: &mut Cursor<'_>) -> Read<String> {
    let length = usize::from(cursor.u8()?);
    cursor.bytes(length).map(text::from_utf16le)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

    #[test]
    fn batches_are_read_and_lies_refused() {
        let with = |tail: &[u8]| [&HEADERS[..], tail].concat();
        assert_eq!(read_batch(&with(b"a\0")).unwrap(), "a");
        assert!(read_batch(&with(b"a")).is_err());
        assert!(read_batch(&[23, 0, 0, 0]).is_err());
        assert!(read_batch(&[3, 0, 0, 0]).is_err());
        let mut zero_header = HEADERS;
        zero_header[4] = 0;
        assert!(read_batch(&zero_header).is_err());
    }

    #[test]
    fn transaction_requests_are_read() {
        let with = |tail: &[u8]| [&HEADERS[..], tail].concat();
        assert_eq!(read_transaction(&with(&[5, 0, 0, 0])).unwrap(), TransactionRequest::Begin);
        assert_eq!(
            read_transaction(&with(&[8, 0, 2, b's', 0, 0])).unwrap(),
            TransactionRequest::Rollback { name: "s".into(), then_begin: false }
        );
        assert!(read_transaction(&with(&[7, 0, 9])).is_err());
    }
}
