//! UTF-16 text that may hold lone surrogates, kept in a Rust string so that SQLite can hold and compare it.
//!
//! A lone surrogate becomes U+10FFFF followed by a character of U+10F000..=U+10F7FF; a real U+10FFFF is doubled.
//! Text without either, which is nearly all text, is kept as it is.

const ESCAPE: char = '\u{10FFFF}';
const SURROGATES: u32 = 0xD800;
const STAND_INS: u32 = 0x10_F000;

/// From UTF-16 code units.
pub(crate) fn from_utf16(units: impl IntoIterator<Item = u16>) -> String {
    let mut text = String::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(ESCAPE) => text.extend([ESCAPE, ESCAPE]),
            Ok(c) => text.push(c),
            Err(lone) => {
                let stand_in = u32::from(lone.unpaired_surrogate())
                    .wrapping_sub(SURROGATES)
                    .wrapping_add(STAND_INS);
                text.push(ESCAPE);
                text.push(char::from_u32(stand_in).unwrap_or(ESCAPE));
            }
        }
    }
    text
}

/// To UTF-16 code units, exactly as they came.
pub(crate) fn to_utf16(text: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(text.len());
    let mut buffer = [0u16; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != ESCAPE {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        match chars.next().map(u32::from) {
            Some(code) if (STAND_INS..STAND_INS + 0x800).contains(&code) => {
                units.push(u16::try_from(code - STAND_INS + SURROGATES).unwrap_or(0xFFFD));
            }
            _ => units.extend_from_slice(ESCAPE.encode_utf16(&mut buffer)),
        }
    }
    units
}

/// From little-endian bytes; an odd last byte is dropped, callers check for it.
pub(crate) fn from_utf16le(bytes: &[u8]) -> String {
    from_utf16(bytes.chunks_exact(2).map(|pair| match *pair {
        [low, high] => u16::from_le_bytes([low, high]),
        _ => 0xFFFD,
    }))
}

pub(crate) fn to_utf16le(text: &str) -> Vec<u8> {
    to_utf16(text).into_iter().flat_map(u16::to_le_bytes).collect()
}

/// Length in UTF-16 code units, which is how nvarchar counts.
pub(crate) fn utf16_len(text: &str) -> usize {
    if text.contains(ESCAPE) {
        to_utf16(text).len()
    } else {
        text.chars().map(char::len_utf16).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_come_back_as_they_went() {
        for units in [
            vec![0xD800],
            vec![0x41, 0xDFFF, 0x42],
            vec![0xDC00, 0xD800],
            vec![0xDBFF, 0xDFFF],
            vec![0xDBFF, 0xDFFF, 0xD834],
            vec![0xD83D, 0xDE00],
            vec![],
        ] {
            assert_eq!(to_utf16(&from_utf16(units.iter().copied())), units);
            assert_eq!(utf16_len(&from_utf16(units.iter().copied())), units.len());
        }
    }

    #[test]
    fn different_lone_surrogates_stay_different() {
        assert_ne!(from_utf16([0xD800]), from_utf16([0xD801]));
    }
}
