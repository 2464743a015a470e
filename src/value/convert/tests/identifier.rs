use super::*;

const TEXT: &str = "01020304-0506-0708-090A-0B0C0D0E0F1F";
const DATA: &str = "0403020106050807090a0b0c0d0e0f1f";

#[test]
fn text_in_either_case_with_or_without_braces_is_an_identifier() {
    for text in [TEXT.to_owned(), TEXT.to_lowercase(), format!("{{{TEXT}}}")] {
        let to = conversion_type("uniqueidentifier");
        for from in ["nvarchar(4000)", "nchar(40)", "nvarchar(max)"] {
            assert_eq!(converted(conversion_type(from), &utf16(&text), to), Ok(hex(DATA)));
        }
        for from in ["varchar(40)", "char(38)"] {
            let from = ConversionType { code_page: None, ..conversion_type(from) };
            assert_eq!(converted(from, text.as_bytes(), to), Ok(hex(DATA)));
        }
    }
}

#[test]
fn an_identifier_is_text_in_upper_case() {
    let from = conversion_type("uniqueidentifier");
    for (to, expected) in [
        ("nvarchar(36)", Ok(utf16(TEXT))),
        ("nchar(40)", Ok(utf16(TEXT))),
        ("varchar(max)", Ok(TEXT.as_bytes().to_vec())),
        ("char(36)", Ok(TEXT.as_bytes().to_vec())),
        ("nvarchar(35)", Err(Refusal::TooLong(36))),
        ("varchar(35)", Err(Refusal::TooLong(36))),
    ] {
        let to = ConversionType { code_page: None, ..conversion_type(to) };
        assert_eq!(converted(from, &hex(DATA), to).map_err(refusal), expected, "{to:?}");
    }
}

#[test]
fn other_text_is_no_identifier() {
    for text in [
        "",
        "{}",
        "01020304-0506-0708-090A-0B0C0D0E0F1",
        "01020304-0506-0708-090A-0B0C0D0E0F1F ",
        "{01020304-0506-0708-090A-0B0C0D0E0F1F",
        "01020304-0506-0708-090A-0B0C0D0E0F1F}",
        "{01020304-0506-0708-090A-0B0C0D0E0F1F} ",
        "0102030405060708090A0B0C0D0E0F1F",
        "010203040506-0708-090A-0B0C-0D0E0F1F",
        "0102030G-0506-0708-090A-0B0C0D0E0F1F",
        "+1020304-0506-0708-090A-0B0C0D0E0F1F",
        "0102030４-0506-0708-090A-0B0C0D0E0F1F",
        "01020304-0506-0708-090A-0B0C0D0E0F1F-",
    ] {
        let result = converted(
            conversion_type("nvarchar(100)"),
            &utf16(text),
            conversion_type("uniqueidentifier"),
        );
        assert_eq!(result.map_err(refusal), Err(Refusal::Lossy(Loss::NoIdentifier)), "{text}");
    }
}
