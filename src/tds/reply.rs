//! A whole reply taken apart: for those that we asked for ourselves, which are short.

use std::fmt;

use super::{
    ColMetadata, Malformed, Reader, ReturnValue, RowScanner, TokenLen, ValueEncoding, ValueRange,
    row::value_data_of, token_id, token_len,
};

/// The values of a row without their length fields; `None` is NULL.
pub type RowValues = Vec<Option<Vec<u8>>>;

/// One token of a reply.
pub enum ReplyToken<'a> {
    /// The columns of the result set that follows.
    Metadata(ColMetadata),
    /// A row.
    Row(RowValues),
    /// Any other token: its token byte and all of its bytes.
    Other(u8, &'a [u8]),
}

/// The tokens of a reply's payload.
pub struct ReplyTokens<'a> {
    rest: &'a [u8],
    encodings: Vec<ValueEncoding>,
    scanner: RowScanner,
}

/// Without values.
impl fmt::Debug for ReplyToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(metadata) => f.debug_tuple("Metadata").field(metadata).finish(),
            Self::Row(values) => write!(f, "Row({} values)", values.len()),
            Self::Other(token, bytes) => write!(f, "Other({token:#04x}, {} bytes)", bytes.len()),
        }
    }
}

/// Without the bytes.
impl fmt::Debug for ReplyTokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyTokens({} bytes left)", self.rest.len())
    }
}

const CUT: Malformed = Malformed::of("end of the reply");

impl<'a> ReplyTokens<'a> {
    /// Starts at the front of a payload.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, encodings: Vec::new(), scanner: RowScanner::default() }
    }

    /// The next token, or `None` at the end.
    pub fn next_token(&mut self) -> Result<Option<ReplyToken<'a>>, Malformed> {
        let Some(&token) = self.rest.first() else { return Ok(None) };
        let (found, len) = match token_len(self.rest)? {
            TokenLen::Known(len) => {
                (ReplyToken::Other(token, self.rest.get(..len).ok_or(CUT)?), len)
            }
            TokenLen::Incomplete => return Err(CUT),
            TokenLen::Structured => match token {
                token_id::COLMETADATA => {
                    let mut reader = Reader::new(self.rest);
                    let metadata = ColMetadata::read(&mut reader)?;
                    self.encodings.clear();
                    self.encodings.extend(metadata.columns.iter().map(|c| c.type_info.encoding()));
                    (ReplyToken::Metadata(metadata), reader.position())
                }
                token_id::ROW | token_id::NBCROW => {
                    let (values, len) = self.row()?;
                    (ReplyToken::Row(values), len)
                }
                token_id::RETURNVALUE => {
                    let len = ReturnValue::read(self.rest)?.ok_or(CUT)?.wire_len();
                    (ReplyToken::Other(token, self.rest.get(..len).ok_or(CUT)?), len)
                }
                _ => return Err(Malformed::of("token in a reply")),
            },
        };
        self.rest = self.rest.get(len..).ok_or(CUT)?;
        Ok(Some(found))
    }

    fn row(&mut self) -> Result<(RowValues, usize), Malformed> {
        self.scanner.reset();
        let len = self.scanner.advance(&self.encodings, self.rest)?.ok_or(CUT)?;
        let mut values = Vec::new();
        for (range, encoding) in self.scanner.values().iter().zip(&self.encodings) {
            values.push(match *range {
                ValueRange::At { start, end } => {
                    let encoded = self.rest.get(start..end).unwrap_or_default();
                    Some(value_data_of(*encoding, encoded)?)
                }
                ValueRange::Null | ValueRange::NullByBitmap => None,
            });
        }
        Ok((values, len))
    }
}
