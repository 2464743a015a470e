//! Reading fields from a slice that may end too early.

use std::fmt;

/// The bytes are not what the protocol says should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    /// The field or structure that could not be read.
    pub what: &'static str,
    /// Whether the bytes merely end too early: more of them could mend it.
    pub incomplete: bool,
}

impl Malformed {
    /// Wrong, whatever may follow.
    #[must_use]
    pub const fn of(what: &'static str) -> Self {
        Self { what, incomplete: false }
    }

    const fn cut(what: &'static str) -> Self {
        Self { what, incomplete: true }
    }
}

/// A position in a slice. Every read says what it is after, so that an error can name it.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What has been read since `start`, a former [`Self::position`].
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The bytes that are left, unread.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte, unread.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed::of(what))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::cut(what))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| Malformed::cut(what))
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array(what).map(|[b]| b)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A fixed number of bytes by value.
    pub fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        self.array(what)
    }

    /// B_VARCHAR: one byte that counts UTF-16 code units, then the units.
    pub fn b_varchar(&mut self, what: &'static str) -> Result<String, Malformed> {
        let units = self.u8(what)?;
        self.utf16(usize::from(units), what)
    }

    /// US_VARCHAR: two bytes that count UTF-16 code units, then the units.
    pub fn us_varchar(&mut self, what: &'static str) -> Result<String, Malformed> {
        let units = self.u16(what)?;
        self.utf16(usize::from(units), what)
    }

    /// US_VARBYTE: two bytes that count bytes, then the bytes.
    pub fn us_varbyte(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.u16(what)?;
        self.take(usize::from(len), what)
    }

    /// Skips a B_VARCHAR.
    pub fn skip_b_varchar(&mut self, what: &'static str) -> Result<(), Malformed> {
        let units = self.u8(what)?;
        self.take(usize::from(units) * 2, what).map(drop)
    }

    /// Skips a US_VARCHAR.
    pub fn skip_us_varchar(&mut self, what: &'static str) -> Result<(), Malformed> {
        let units = self.u16(what)?;
        self.take(usize::from(units) * 2, what).map(drop)
    }

    fn utf16(&mut self, units: usize, what: &'static str) -> Result<String, Malformed> {
        let bytes = self.take(units * 2, what)?;
        Ok(utf16_lossy(bytes))
    }
}

/// Without the bytes, which may be somebody's values.
impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} of {} bytes)", self.at, self.bytes.len())
    }
}

/// Text for people and for comparing names: what is no valid UTF-16 becomes U+FFFD.
pub(crate) fn utf16_lossy(bytes: &[u8]) -> String {
    let (units, _) = bytes.as_chunks::<2>();
    char::decode_utf16(units.iter().map(|&u| u16::from_le_bytes(u)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Text that must be what it is: `None` for half a code unit or half a pair.
pub(crate) fn utf16_exact(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(units.iter().map(|&u| u16::from_le_bytes(u))).collect::<Result<_, _>>().ok()
}

/// Appends `text` in UTF-16LE.
pub(crate) fn push_utf16(text: &str, out: &mut Vec<u8>) {
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
}
