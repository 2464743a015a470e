mod binary;
mod errors;
mod identifier;
mod number;
mod pairs;
mod temporal;
mod text;

use super::*;

/// The code page of the `char` and `varchar` types that the tables name.
const CODE_PAGE: u16 = 1252;

fn conversion_type(declaration: &str) -> ConversionType {
    let sql_type = SqlType::parse_declaration(declaration).unwrap();
    ConversionType { sql_type, code_page: CodePage::from_number(CODE_PAGE) }
}

/// What is in the buffer already stays, whatever happens; a failure appends nothing, and a success no
/// more than was announced.
fn converted(
    from: ConversionType,
    data: &[u8],
    to: ConversionType,
) -> Result<Vec<u8>, ConversionError> {
    let mut out = Vec::with_capacity(6 + converted_len(from, data.len(), to));
    out.extend_from_slice(b"before");
    let place = out.as_ptr();
    let result = convert(from, data, to, &mut out);
    if result.is_ok() {
        assert_eq!(out.as_ptr(), place, "{from:?} {to:?}: a copy of the value stays behind");
    }
    let appended = out.strip_prefix(b"before").expect("what was there is gone").to_vec();
    match result {
        Ok(()) => {
            assert!(appended.len() <= converted_len(from, data.len(), to), "{from:?} {to:?}");
            Ok(appended)
        }
        Err(error) => {
            assert!(appended.is_empty(), "{error}, yet something was appended");
            Err(error)
        }
    }
}

/// What went wrong, without the types.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Unsupported,
    TooLong(usize),
    Lossy(Loss),
    Value(ValueError),
}

fn refusal(error: ConversionError) -> Refusal {
    match error {
        ConversionError::Unsupported { .. } => Refusal::Unsupported,
        ConversionError::TooLong { len, .. } => Refusal::TooLong(len),
        ConversionError::Lossy { loss, .. } => Refusal::Lossy(loss),
        ConversionError::Value(error) => Refusal::Value(error),
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
