use super::*;

const NUMBERS: [u16; 17] = [
    437, 850, 874, 932, 936, 949, 950, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258, 65001,
];

fn code_page(number: u16) -> CodePage {
    CodePage::from_number(number).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn encoded(number: u16, text: &str) -> Result<Vec<u8>, CodePageError> {
    let mut out = Vec::new();
    code_page(number).encode(&utf16(text), &mut out)?;
    Ok(out)
}

fn decoded(number: u16, bytes: &[u8]) -> Result<String, CodePageError> {
    let mut out = Vec::new();
    code_page(number).decode(bytes, &mut out)?;
    let units: Vec<u16> = out.as_chunks().0.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
    Ok(String::from_utf16(&units).unwrap())
}

/// As Windows has them, read with Python's codecs and glibc's iconv.
const TEXTS: &[(u16, &str, &[u8])] = &[
    (437, "ære ½ ß π", b"\x91re \xAB \xE1 \xE3"),
    (850, "Ærø ½ ß Ð", b"\x92r\x9B \xAB \xE1 \xD1"),
    (874, "ภาษาไทย €", b"\xC0\xD2\xC9\xD2\xE4\xB7\xC2 \x80"),
    (932, "日本ｱ", b"\x93\xFA\x96\x7B\xB1"),
    // NEC's and IBM's extensions: where there are two, Windows writes IBM's.
    (932, "髙ⅰ①", b"\xFB\xFC\xFA\x40\x87\x40"),
    (936, "中文€", b"\xD6\xD0\xCE\xC4\x80"),
    (949, "한국힣", b"\xC7\xD1\xB1\xB9\xC6\x52"),
    (950, "中文€碁", b"\xA4\xA4\xA4\xE5\xA3\xE1\xF9\xD6"),
    (1250, "Łódź", b"\xA3\xF3d\x9F"),
    (1251, "Привет Ґ", b"\xCF\xF0\xE8\xE2\xE5\xF2 \xA5"),
    (1252, "é€\u{81}", b"\xE9\x80\x81"),
    (1253, "Αθήνα", b"\xC1\xE8\xDE\xED\xE1"),
    (1254, "İğne", b"\xDD\xF0ne"),
    (1255, "שלום", b"\xF9\xEC\xE5\xED"),
    (1256, "سلام", b"\xD3\xE1\xC7\xE3"),
    (1257, "Žąsis", b"\xDE\xE0sis"),
    (1258, "Vi\u{EA}\u{323}t ₫", b"Vi\xEA\xF2t \xFE"),
    (65001, "é€😀", "é€😀".as_bytes()),
];

#[test]
fn text_is_in_each_code_page_as_windows_writes_it() {
    for &(number, text, bytes) in TEXTS {
        assert_eq!(encoded(number, text).as_deref(), Ok(bytes), "{number}");
        assert_eq!(decoded(number, bytes).as_deref(), Ok(text), "{number}");
    }
}

#[test]
fn a_character_that_is_not_in_the_code_page_is_never_replaced() {
    for (number, text) in [
        (437, "€"),
        (850, "€"),
        (1252, "ł"),
        (1252, "a\u{308}"),
        (1252, "😀"),
        (1258, "ệ"),
        // The web writes a backslash, a tilde and a full-width minus for these.
        (932, "¥"),
        (932, "‾"),
        (932, "\u{2212}"),
        // Of GB 18030 and of Hong Kong.
        (936, "ḿ"),
        (936, "㑳"),
        (936, "😀"),
        (950, "¨"),
        (950, "嘅"),
    ] {
        assert_eq!(encoded(number, text), Err(CodePageError::Unmappable), "{number} {text}");
        let around = format!("before {text} after");
        assert_eq!(encoded(number, &around), Err(CodePageError::Unmappable), "{number} {text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for (number, bytes) in [
        (1253, &b"\xAA"[..]),
        (1255, b"\xD9"),
        (932, b"\x93"),
        (932, b"\x93\x20"),
        (932, b"\xA0"),
        (936, b"\x81\x30\x81\x30"),
        (936, b"\xA8\xBC"),
        (949, b"\x80"),
        (949, b"\xB0"),
        (950, b"\x88\x62"),
        (950, b"\xF9\xFE"),
        (65001, b"\xC3"),
        (65001, b"\xC0\x80"),
        (65001, b"\xED\xA0\x80"),
        (65001, b"\xFF"),
    ] {
        assert_eq!(decoded(number, bytes), Err(CodePageError::Malformed), "{number} {bytes:x?}");
        let after_text = [b"text", bytes].concat();
        assert_eq!(decoded(number, &after_text), Err(CodePageError::Malformed), "{number}");
    }
}

#[test]
fn utf_16_that_is_none_is_refused() {
    for number in NUMBERS {
        for utf16 in [&[0x41][..], &[0x41, 0, 0x3D, 0xD8], &[0x00, 0xDE, 0x41, 0x00]] {
            let mut out = b"before".to_vec();
            let result = code_page(number).encode(utf16, &mut out);
            assert_eq!(result, Err(CodePageError::InvalidUtf16), "{number}");
            assert_eq!(out, b"before");
        }
    }
}

#[test]
fn every_character_of_a_code_page_reads_back_and_fits_the_announced_length() {
    let mut counts = Vec::new();
    for number in NUMBERS {
        let code_page = code_page(number);
        let mut count = 0;
        for character in '\0'..=char::MAX {
            let mut units = [0; 2];
            let utf16_len = 2 * character.encode_utf16(&mut units).len();
            if let Some((bytes, len)) = code_page.encode_character(character) {
                count += 1;
                assert_eq!(code_page.decode_character(&bytes[..len]), Some((character, len)));
                assert!(len <= code_page.encoded_len(utf16_len));
                assert!(utf16_len <= code_page.decoded_len(len));
            }
        }
        counts.push((number, count));
    }
    // Those of Unicode's tables of Microsoft's code pages, with the controls that Windows maps to
    // themselves; 932 without user-defined characters, 936 with them.
    assert_eq!(
        counts,
        [
            (437, 256),
            (850, 256),
            (874, 248),
            (932, 7_518),
            (936, 23_962),
            (949, 17_176),
            (950, 13_619),
            (1250, 256),
            (1251, 256),
            (1252, 256),
            (1253, 253),
            (1254, 256),
            (1255, 246),
            (1256, 256),
            (1257, 254),
            (1258, 256),
            (65001, 1_112_064),
        ]
    );
}

#[test]
fn the_code_page_of_a_collation_is_that_of_its_flags_its_sort_id_or_its_locale() {
    const UTF_8: u32 = 1 << 26;
    for (name, info, sort_id, number) in [
        ("SQL_Latin1_General_CP1_CI_AS", 0x00D0_0409, 52, Some(1252)),
        ("SQL_Latin1_General_CP437_BIN2", 0x0020_0409, 35, Some(437)),
        ("SQL_Latin1_General_CP850_CI_AS", 0x00D0_0409, 42, Some(850)),
        ("SQL_Polish_CP1250_CI_AS", 0x00D0_0415, 88, Some(1250)),
        ("nls_cp949_cs", 0x0000_0412, 201, Some(949)),
        ("Latin1_General_BIN2", 0x0200_0409, 0, Some(1252)),
        ("Latin1_General_100_BIN2_UTF8", 0x2200_0409 | UTF_8, 0, Some(65001)),
        ("German_PhoneBook_CI_AS", 0x00D1_0407, 0, Some(1252)),
        ("Chinese_PRC_Stroke_CI_AS", 0x00D2_0804, 0, Some(936)),
        ("Chinese_Taiwan_Bopomofo_CI_AS", 0x00D3_0404, 0, Some(950)),
        ("Japanese_BIN2", 0x0200_0411, 0, Some(932)),
        ("Thai_CI_AS", 0x00D0_041E, 0, Some(874)),
        ("Vietnamese_CI_AS", 0x00D0_042A, 0, Some(1258)),
        ("Indic_General_90_CI_AS has none", 0x10D0_0439, 0, None),
        ("raw", 0, 0, None),
        ("an unknown sort id", 0x0409, 255, None),
    ] {
        let [a, b, c, d] = u32::to_le_bytes(info);
        let code_page = CodePage::of_collation([a, b, c, d, sort_id]);
        assert_eq!(code_page.map(CodePage::number), number, "{name}");
    }
}

#[test]
fn no_collation_names_a_code_page_that_there_is_not() {
    for language in 0..=u16::MAX {
        let [a, b] = language.to_le_bytes();
        let number = collation::code_page_number([a, b, 0, 0, 0]);
        assert_eq!(number, number.and_then(CodePage::from_number).map(CodePage::number));
    }
    for sort_id in 1..=u8::MAX {
        let number = collation::code_page_number([9, 4, 0, 0, sort_id]);
        assert_eq!(number, number.and_then(CodePage::from_number).map(CodePage::number));
    }
}

#[test]
fn numbers_of_no_code_page_are_refused() {
    for number in NUMBERS {
        assert_eq!(code_page(number).number(), number);
    }
    for number in [0, 1, 1200, 1249, 1259, 20127, 54936] {
        assert_eq!(CodePage::from_number(number), None);
    }
}
