//! Reading a message that may be shorter than it claims.

use crate::types::text;

/// The message ended, or said something that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

pub(crate) type Read<T> = std::result::Result<T, Malformed>;

/// The unread rest of a message.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Read<&'a [u8]> {
        let short = || {
            Malformed(format!("{length} bytes were expected where {} are left", self.rest.len()))
        };
        let (head, tail) = self.rest.split_at_checked(length).ok_or_else(short)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes = self.bytes(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| Malformed("a field was cut".to_owned()))
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// As many bytes as a 32-bit length says.
    pub(crate) fn bytes_u32(&mut self, length: u32) -> Read<&'a [u8]> {
        let length = usize::try_from(length)
            .map_err(|_| Malformed(format!("a length of {length} bytes")))?;
        self.bytes(length)
    }

    /// UTF-16LE text of `units` code units.
    pub(crate) fn utf16(&mut self, units: usize) -> Read<String> {
        self.bytes(units.saturating_mul(2)).map(text::from_utf16le)
    }

    /// B_VARCHAR: one byte of length in characters.
    pub(crate) fn b_varchar(&mut self) -> Read<String> {
        let units = self.u8()?;
        self.utf16(usize::from(units))
    }
}
