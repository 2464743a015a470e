//! What an "operand type clash" (error 206) tells of a type that nothing else told.

use crate::value::SqlType;

/// The two types that the error names, in its order, if it names exactly two.
///
/// The sentence is in the server's language, the types are not: `nvarchar(9) encrypted with (…) is
/// incompatible with varchar(20) encrypted with (…)`.
#[must_use]
pub fn clashing_types(message: &str) -> Option<[SqlType; 2]> {
    let mut types = Vec::new();
    let mut rest = message;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let word = &rest[start..];
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        rest = after;
        // What stands in quotes is a name or an option.
        if after.starts_with(['\'', '"', ']']) {
            continue;
        }
        let arguments = after.strip_prefix('(').and_then(|a| a.split_once(')'));
        let declaration = match arguments {
            Some((arguments, _)) => format!("{name}({arguments})"),
            None => name.to_owned(),
        };
        if let Ok(sql_type) = SqlType::parse_declaration(&declaration) {
            types.push(sql_type);
            rest = arguments.map_or(after, |(_, tail)| tail);
        }
    }
    types.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_found_in_any_language() {
        for (message, expected) in [
            (
                "Operand type clash: nvarchar(9) encrypted with (encryption_type = 'RANDOMIZED', \
                 encryption_algorithm_name = 'AEAD_AES_256_CBC_HMAC_SHA_256', \
                 column_encryption_key_name = 'date', column_encryption_key_database_name = 'int') \
                 is incompatible with varchar(20) encrypted with (encryption_type = 'RANDOMIZED')",
                Some("nvarchar(9) varchar(20)"),
            ),
            (
                "Operandentypkollision: decimal(5,2) ist inkompatibel mit decimal(18, 4)",
                Some("decimal(5,2) decimal(18,4)"),
            ),
            ("Operand type clash: int is incompatible with bigint", Some("int bigint")),
            ("Operand type clash: int is incompatible with nothing known", None),
            ("int, bigint and date", None),
            ("", None),
        ] {
            let found = clashing_types(message).map(|[a, b]| format!("{a} {b}"));
            assert_eq!(found.as_deref(), expected, "{message}");
        }
    }
}
