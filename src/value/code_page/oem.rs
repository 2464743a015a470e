//! The code pages of MS-DOS, which the web forgot: those of `SQL_Latin1_General_CP437_…` and
//! `…_CP850_…`.

/// The upper half of code page 437.
const CP437: &str = "\
    ÇüéâäàåçêëèïîìÄÅ\
    ÉæÆôöòûùÿÖÜ¢£¥₧ƒ\
    áíóúñÑªº¿⌐¬½¼¡«»\
    ░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧\
    ╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩\
    ≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}\
";

/// The upper half of code page 850.
const CP850: &str = "\
    ÇüéâäàåçêëèïîìÄÅ\
    ÉæÆôöòûùÿÖÜø£Ø×ƒ\
    áíóúñÑªº¿®¬½¼¡«»\
    ░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
    └┴┬├─┼ãÃ╚╔╩╦╠═╬¤\
    ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀\
    ÓßÔÒõÕµþÞÚÛÙýÝ¯´\
    \u{AD}±‗¾¶§÷¸°¨·¹³²■\u{A0}\
";

const FIRST: u8 = 0x80;

fn upper_half(number: u16) -> &'static str {
    if number == 437 { CP437 } else { CP850 }
}

pub(super) fn encode(number: u16, character: char) -> Option<u8> {
    let place = upper_half(number).chars().position(|c| c == character)?;
    u8::try_from(place).ok()?.checked_add(FIRST)
}

pub(super) fn decode(number: u16, byte: u8) -> Option<char> {
    upper_half(number).chars().nth(byte.checked_sub(FIRST)?.into())
}
