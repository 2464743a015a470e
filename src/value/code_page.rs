//! The code pages of `char` and `varchar`: which one a collation has, and text in it.

mod collation;
mod dbcs;
mod oem;

use encoding_rs::{
    EncoderResult, Encoding, WINDOWS_874, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253,
    WINDOWS_1254, WINDOWS_1255, WINDOWS_1256, WINDOWS_1257, WINDOWS_1258,
};
use zeroize::Zeroize;

/// A code page of SQL Server's `char` and `varchar`.
///
/// Both directions are strict. A character that the code page does not have is an error and never a
/// question mark or something that looks like it, bytes that are no text are one too. Every code
/// page here has ASCII in its lower half.
///
/// A code page has the characters that Microsoft's has, not those of the web's encoding of a similar
/// name: what only GB 18030 or Hong Kong's Big5 has is not in 936 or 950.
///
/// ```
/// use always_encrypted::value::CodePage;
///
/// let code_page = CodePage::from_number(1252).unwrap();
/// let mut bytes = Vec::new();
/// code_page.encode(b"\xAC\x20\x31\x00", &mut bytes)?; // "€1" in UTF-16
/// assert_eq!(bytes, b"\x801");
/// # Ok::<(), always_encrypted::value::CodePageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodePage(u16);

/// Why text is not in a code page. It does not say which: text is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodePageError {
    /// A character that the code page does not have.
    #[error("the text has a character that the code page does not have")]
    Unmappable,
    /// Bytes that are no character of the code page.
    #[error("the bytes are no text in the code page")]
    Malformed,
    /// UTF-16 with half of a surrogate pair, or with half a code unit at its end.
    #[error("the text is no valid UTF-16")]
    InvalidUtf16,
}

impl CodePage {
    /// UTF-8, the code page of collations that end in `_UTF8`.
    pub const UTF_8: Self = Self(65001);

    /// The code page of a number as `COLLATIONPROPERTY(name, 'CodePage')` tells it: 437, 850, 874,
    /// 932, 936, 949, 950, 1250 to 1258 or 65001. `None` for any other; 0 is that of collations which
    /// have no `varchar`.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            437 | 850 | 874 | 932 | 936 | 949 | 950 | 1250..=1258 | 65001 => Some(Self(number)),
            _ => None,
        }
    }

    /// The code page of a collation as TYPE_INFO has it (MS-TDS 2.2.5.1.2): LCID and flags in four
    /// bytes, the sort id in one.
    ///
    /// A UTF-8 collation says so in its flags; a collation of a name that begins with `SQL_` has a
    /// sort id; for any other, the locale decides. `None` if it is not known to this crate or has no
    /// code page.
    #[must_use]
    pub fn of_collation(collation: [u8; 5]) -> Option<Self> {
        collation::code_page_number(collation).and_then(Self::from_number)
    }

    /// Its number, as Windows counts.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Appends to `out` text that is given in UTF-16, little-endian.
    ///
    /// Reserve [`encoded_len`](Self::encoded_len) before: a vector that grows leaves a copy of what
    /// it held in freed memory.
    ///
    /// # Errors
    ///
    /// See [`CodePageError`]. Nothing has been appended then.
    pub fn encode(self, utf16: &[u8], out: &mut Vec<u8>) -> Result<(), CodePageError> {
        all_or_nothing(out, |out| {
            let (units, []) = utf16.as_chunks::<2>() else {
                return Err(CodePageError::InvalidUtf16);
            };
            for character in char::decode_utf16(units.iter().map(|&unit| u16::from_le_bytes(unit)))
            {
                let character = character.map_err(|_| CodePageError::InvalidUtf16)?;
                let (bytes, len) =
                    self.encode_character(character).ok_or(CodePageError::Unmappable)?;
                out.extend(bytes.into_iter().take(len));
            }
            Ok(())
        })
    }

    /// Appends to `out`, in UTF-16, little-endian, text that is given in the code page.
    ///
    /// Reserve [`decoded_len`](Self::decoded_len) before.
    ///
    /// # Errors
    ///
    /// See [`CodePageError`]. Nothing has been appended then.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CodePageError> {
        all_or_nothing(out, |out| {
            let mut rest = bytes;
            while !rest.is_empty() {
                let (character, len) =
                    self.decode_character(rest).ok_or(CodePageError::Malformed)?;
                let mut units = [0; 2];
                out.extend(
                    character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_le_bytes()),
                );
                rest = rest.get(len..).unwrap_or_default();
            }
            Ok(())
        })
    }

    /// The most bytes that [`encode`](Self::encode) appends for so many bytes of UTF-16.
    #[must_use]
    pub const fn encoded_len(self, utf16_len: usize) -> usize {
        let most_per_unit = match self.0 {
            65001 => 3,
            932 | 936 | 949 | 950 => 2,
            _ => 1,
        };
        (utf16_len / 2).saturating_mul(most_per_unit)
    }

    /// The most bytes that [`decode`](Self::decode) appends for so many bytes of text.
    #[must_use]
    pub const fn decoded_len(self, len: usize) -> usize {
        len.saturating_mul(2)
    }

    /// The character's bytes, and how many of the four they are.
    fn encode_character(self, character: char) -> Option<([u8; 4], usize)> {
        let mut bytes = [0; 4];
        if character.is_ascii() {
            bytes = (character as u32).to_le_bytes();
            return Some((bytes, 1));
        }
        let len = match self.0 {
            65001 => character.encode_utf8(&mut bytes).len(),
            437 | 850 => {
                bytes = [oem::encode(self.0, character)?, 0, 0, 0];
                1
            }
            number => encode_with(encoding(number)?, character, &mut bytes)?,
        };
        // encoding_rs follows the web: a Yen sign becomes a backslash in Shift JIS. Only what reads
        // back as the same is that character.
        let (read, _) = self.decode_character(bytes.get(..len)?)?;
        (read == character).then_some((bytes, len))
    }

    /// The first character of a text, and how many bytes it takes.
    fn decode_character(self, bytes: &[u8]) -> Option<(char, usize)> {
        let &lead = bytes.first()?;
        if lead.is_ascii() {
            return Some((lead.into(), 1));
        }
        match self.0 {
            65001 => first_of_utf8(bytes),
            437 | 850 => Some((oem::decode(self.0, lead)?, 1)),
            number => {
                let len = dbcs::character_len(number, lead);
                let bytes = bytes.get(..len)?;
                if !dbcs::is_microsofts(number, bytes) {
                    return None;
                }
                Some((decode_with(encoding(number)?, bytes)?, len))
            }
        }
    }
}

/// What has been appended before an error is wiped and taken back.
fn all_or_nothing<E>(
    out: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let before = out.len();
    let result = append(out);
    if result.is_err() {
        out.get_mut(before..).unwrap_or_default().zeroize();
        out.truncate(before);
    }
    result
}

fn first_of_utf8(bytes: &[u8]) -> Option<(char, usize)> {
    // The chunk's valid part is empty if it does not begin with a character.
    let window = bytes.get(..4).unwrap_or(bytes);
    let character = window.utf8_chunks().next()?.valid().chars().next()?;
    Some((character, character.len_utf8()))
}

fn encode_with(encoding: &'static Encoding, character: char, bytes: &mut [u8; 4]) -> Option<usize> {
    let mut utf8 = [0; 4];
    let text = character.encode_utf8(&mut utf8);
    // The encoder asks for more room than a character ever takes.
    let mut room = [0; 16];
    let (result, _, len) =
        encoding.new_encoder().encode_from_utf8_without_replacement(text, &mut room, true);
    if result != EncoderResult::InputEmpty {
        return None;
    }
    bytes.get_mut(..len)?.copy_from_slice(room.get(..len)?);
    Some(len)
}

fn decode_with(encoding: &'static Encoding, bytes: &[u8]) -> Option<char> {
    let mut room = [0; 16];
    let (result, read, written) = encoding
        .new_decoder_without_bom_handling()
        .decode_to_utf16_without_replacement(bytes, &mut room, true);
    if result != encoding_rs::DecoderResult::InputEmpty || read != bytes.len() {
        return None;
    }
    let mut characters = char::decode_utf16(room.get(..written)?.iter().copied());
    match (characters.next(), characters.next()) {
        (Some(Ok(character)), None) => Some(character),
        _ => None,
    }
}

fn encoding(number: u16) -> Option<&'static Encoding> {
    Some(match number {
        874 => WINDOWS_874,
        932 => encoding_rs::SHIFT_JIS,
        936 => encoding_rs::GBK,
        949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        1250 => WINDOWS_1250,
        1251 => WINDOWS_1251,
        1252 => WINDOWS_1252,
        1253 => WINDOWS_1253,
        1254 => WINDOWS_1254,
        1255 => WINDOWS_1255,
        1256 => WINDOWS_1256,
        1257 => WINDOWS_1257,
        1258 => WINDOWS_1258,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
