use super::*;

fn with_code_page(declaration: &str, number: u16) -> ConversionType {
    ConversionType { code_page: CodePage::from_number(number), ..conversion_type(declaration) }
}

#[test]
fn text_in_utf_16_is_written_in_the_code_page_of_its_column() {
    for (text, to, number, expected) in [
        ("Gruß €", "varchar(10)", 1252, Ok(&b"Gru\xDF \x80"[..])),
        ("", "varchar(1)", 1252, Ok(b"")),
        // Bytes are counted, not characters.
        ("日本", "varchar(4)", 932, Ok(b"\x93\xFA\x96\x7B")),
        ("日本", "varchar(3)", 932, Err(Refusal::TooLong(4))),
        ("日本", "varchar(6)", 65001, Ok("日本".as_bytes())),
        ("日本", "char(5)", 65001, Err(Refusal::TooLong(6))),
        // Neither padded nor trimmed.
        ("a ", "char(5)", 1252, Ok(b"a ")),
        ("a ", "char(1)", 1252, Err(Refusal::TooLong(2))),
        ("日本", "varchar(10)", 1252, Err(Refusal::Lossy(Loss::Characters))),
        ("a", "varchar(10)", 0, Err(Refusal::Lossy(Loss::UnknownCodePage))),
    ] {
        for from in ["nvarchar(4000)", "nvarchar(max)", "nchar(10)"] {
            let result = converted(conversion_type(from), &utf16(text), with_code_page(to, number));
            assert_eq!(result.as_deref().map_err(|&e| refusal(e)), expected, "{to} {number}");
        }
    }
}

#[test]
fn text_in_a_code_page_is_written_in_utf_16() {
    for (bytes, number, to, expected) in [
        (&b"Gru\xDF \x80"[..], 1252, "nvarchar(6)", Ok("Gruß €")),
        (b"Gru\xDF \x80", 1252, "nchar(5)", Err(Refusal::TooLong(6))),
        (b"a  ", 1252, "nvarchar(10)", Ok("a  ")),
        (b"\x93\xFA", 932, "nchar(1)", Ok("日")),
        (b"\x93", 932, "nchar(1)", Err(Refusal::Lossy(Loss::MalformedText))),
        ("😀".as_bytes(), 65001, "nvarchar(2)", Ok("😀")),
        ("😀".as_bytes(), 65001, "nvarchar(1)", Err(Refusal::TooLong(2))),
        (b"a", 0, "nvarchar(1)", Err(Refusal::Lossy(Loss::UnknownCodePage))),
    ] {
        let result = converted(with_code_page("char(8)", number), bytes, conversion_type(to));
        assert_eq!(result.map_err(refusal), expected.map(utf16), "{number} {to}");
    }
}

#[test]
fn text_goes_from_one_code_page_to_another() {
    for (bytes, from, to, expected) in [
        (&b"\xDF\x80"[..], 1252, 1252, Ok(&b"\xDF\x80"[..])),
        (b"\xDF\x80", 1252, 65001, Ok("ß€".as_bytes())),
        ("ß€".as_bytes(), 65001, 1252, Ok(b"\xDF\x80")),
        (b"\x8E\xE1", 437, 1252, Ok(b"\xC4\xDF")),
        (b"\x80", 1252, 437, Err(Refusal::Lossy(Loss::Characters))),
        ("日本日本".as_bytes(), 65001, 932, Ok(b"\x93\xFA\x96\x7B\x93\xFA\x96\x7B")),
        (b"\x80\x80\x80\x80\x80", 1252, 65001, Err(Refusal::TooLong(15))),
        // What is not read is not judged.
        (b"\xFF", 0, 0, Ok(b"\xFF")),
        (b"a", 0, 1252, Err(Refusal::Lossy(Loss::UnknownCodePage))),
        (b"a", 1252, 0, Err(Refusal::Lossy(Loss::UnknownCodePage))),
    ] {
        let from = with_code_page("varchar(max)", from);
        let to = with_code_page("char(12)", to);
        let result = converted(from, bytes, to);
        assert_eq!(result.as_deref().map_err(|&e| refusal(e)), expected, "{from:?} {to:?}");
    }
}

#[test]
fn a_lone_surrogate_stays_in_utf_16_and_goes_nowhere_else() {
    let lone = [0x41, 0, 0x3D, 0xD8];
    let from = conversion_type("nvarchar(4000)");
    for to in ["nvarchar(2)", "nchar(2)", "nvarchar(max)"] {
        assert_eq!(converted(from, &lone, conversion_type(to)), Ok(lone.to_vec()));
    }
    for number in [1252, 932, 65001] {
        let result = converted(from, &lone, with_code_page("varchar(10)", number));
        assert_eq!(result.map_err(refusal), Err(Refusal::Lossy(Loss::LoneSurrogate)));
    }
}

#[test]
fn text_that_is_not_text_of_its_own_type_is_refused() {
    for (from, data) in
        [("nvarchar(10)", &b"abc"[..]), ("nchar(1)", b"a\0b\0"), ("varchar(2)", b"abc")]
    {
        for to in ["nvarchar(10)", "varchar(10)", "uniqueidentifier"] {
            let result = converted(conversion_type(from), data, conversion_type(to));
            assert!(matches!(result, Err(ConversionError::Value(_))), "{from} {to} {result:?}");
        }
    }
}
