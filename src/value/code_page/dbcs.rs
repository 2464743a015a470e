//! Where the web's double-byte encodings are not Microsoft's code pages.

/// The bytes of the character that begins with a byte beyond ASCII.
pub(super) fn character_len(number: u16, lead: u8) -> usize {
    match (number, lead) {
        // Half-width katakana.
        (932, 0x80 | 0xA0..=0xDF | 0xFD..) => 1,
        // The euro.
        (936, 0x80) => 1,
        (932 | 936 | 949 | 950, _) => 2,
        _ => 1,
    }
}

/// Whether the bytes of one character mean the same in Microsoft's code page as in the encoding of
/// the Encoding Standard, which has taken in GB 18030 and Hong Kong's characters.
pub(super) fn is_microsofts(number: u16, bytes: &[u8]) -> bool {
    let &[lead, trail] = bytes else { return true };
    match (number, u16::from_be_bytes([lead, trail])) {
        // The euro is 0x80; the rest came with GB 18030.
        (936, 0xA2E3 | 0xA3A0 | 0xA6D9..=0xA6DF | 0xA6EC..=0xA6ED | 0xA6F3) => false,
        (936, 0xA8BC | 0xA8BF | 0xA989..=0xA995 | 0xFE50..=0xFEA0) => false,
        // User-defined in Microsoft's: ETEN's in the middle, Hong Kong's around.
        (950, ..0xA140 | 0xA3C0..=0xA3E0 | 0xC6A1..=0xC8FE | 0xF9FE..) => false,
        _ => true,
    }
}
