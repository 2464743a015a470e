//! `uniqueidentifier` and its text.

use zeroize::Zeroizing;

use super::{ConversionError, Loss, Pair};

/// The characters of `XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX`.
pub(super) const TEXT_LEN: usize = 36;
/// How many hexadecimal digits are between the hyphens.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
/// Where the bytes that the text shows are in the data: the first three fields are little-endian.
const PLACES: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/// Every character of it is ASCII, so that the code page need not be known.
pub(super) fn from_text(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    pair.check_source_length(data)?;
    let unit_len = if pair.from.sql_type.is_unicode() { 2 } else { 1 };
    let mut text = Zeroizing::new([0; TEXT_LEN + 2]);
    let len = data.len() / unit_len;
    let characters = text.get_mut(..len).ok_or_else(|| pair.lossy(Loss::NoIdentifier))?;
    for (character, unit) in characters.iter_mut().zip(data.chunks(unit_len)) {
        *character = match *unit {
            [byte] | [byte, 0] => byte,
            _ => return Err(pair.lossy(Loss::NoIdentifier)),
        };
    }
    let bytes = Zeroizing::new(parse(characters).ok_or_else(|| pair.lossy(Loss::NoIdentifier))?);
    pair.write(&*bytes, out)
}

pub(super) fn to_text(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let bytes = pair.normal_form(data)?;
    let unicode = pair.to.sql_type.is_unicode();
    let len = if unicode { 2 * TEXT_LEN } else { TEXT_LEN };
    pair.check_target_length(len)?;
    out.reserve(len);
    let mut push = |character: u8| {
        out.push(character);
        if unicode {
            out.push(0);
        }
    };
    let mut places = PLACES.iter();
    for (group, digits) in GROUPS.into_iter().enumerate() {
        if group > 0 {
            push(b'-');
        }
        for byte in places.by_ref().take(digits / 2).filter_map(|&place| bytes.get(place)) {
            push(hex_digit(byte >> 4));
            push(hex_digit(byte & 0x0F));
        }
    }
    Ok(())
}

fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let text = match text {
        [b'{', inner @ .., b'}'] => inner,
        bare => bare,
    };
    let mut groups = text.split(|&character| character == b'-');
    let mut bytes = [0; 16];
    let mut places = PLACES.iter();
    for digits in GROUPS {
        let group = groups.next().filter(|group| group.len() == digits)?;
        for pair in group.as_chunks().0 {
            *bytes.get_mut(*places.next()?)? = hex_byte(*pair)?;
        }
    }
    groups.next().is_none().then_some(bytes)
}

fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let value = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    Some(value(high)? << 4 | value(low)?)
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + value - 10 }
}
