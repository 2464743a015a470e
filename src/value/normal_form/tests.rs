mod bounds;
mod properties;
mod surrogates;
mod table;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn sql_type(declaration: &str) -> SqlType {
    SqlType::parse_declaration(declaration).unwrap()
}

fn normalized(sql_type: SqlType, data: &[u8]) -> Result<Vec<u8>, ValueError> {
    converted(normalize, sql_type, data)
}

fn denormalized(sql_type: SqlType, normal_form: &[u8]) -> Result<Vec<u8>, ValueError> {
    converted(denormalize, sql_type, normal_form)
}

type Conversion = fn(SqlType, &[u8], &mut Vec<u8>) -> Result<(), ValueError>;

/// What is in the buffer already stays, whatever happens; a failure appends nothing.
fn converted(convert: Conversion, sql_type: SqlType, bytes: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = b"before".to_vec();
    let result = convert(sql_type, bytes, &mut out);
    let appended = out.strip_prefix(b"before").expect("what was there is gone").to_vec();
    match result {
        Ok(()) => Ok(appended),
        Err(error) => {
            assert!(appended.is_empty(), "{sql_type}: {error}, yet something was appended");
            Err(error)
        }
    }
}
