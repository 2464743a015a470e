//! The DDL of Always Encrypted: column master keys, column encryption keys, and what ENCRYPTED WITH says.

use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::error::{Result, SqlError};
use crate::sql::syntax_error;

/// One statement on keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum KeyStatement {
    CreateMaster { name: String, provider: String, path: String, signature: Option<Vec<u8>> },
    CreateEncryption { name: String, values: Vec<KeyValue> },
    AddValue { name: String, value: KeyValue },
    DropValue { name: String, master: String },
    DropMaster { name: String },
    DropEncryption { name: String },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyValue {
    pub(crate) master: String,
    pub(crate) algorithm: String,
    pub(crate) encrypted: Vec<u8>,
}

/// What ENCRYPTED WITH says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncryptedWith {
    pub(crate) key: String,
    pub(crate) kind: String,
    pub(crate) algorithm: String,
}

/// One `name = value` of a parenthesised list.
#[derive(Debug)]
enum Setting {
    Word(String),
    Text(String),
    Bytes(Vec<u8>),
    /// ENCLAVE_COMPUTATIONS (SIGNATURE = 0x...)
    Enclave(Vec<u8>),
}

fn word_at(parser: &Parser<'_>, n: usize) -> Option<String> {
    match parser.peek_nth_token(n).token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// Reads a statement on keys if the next tokens begin one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<KeyStatement>> {
    let verb = word_at(parser, 0);
    let kind = word_at(parser, 2);
    let about_keys = word_at(parser, 1).as_deref() == Some("COLUMN")
        && word_at(parser, 3).as_deref() == Some("KEY");
    let (Some(verb), Some(kind), true) = (verb, kind, about_keys) else {
        return Ok(None);
    };
    for _ in 0..4 {
        parser.next_token();
    }
    let name = parser.parse_identifier().map_err(|e| syntax_error(&e))?.value;
    let statement = match (verb.as_str(), kind.as_str()) {
        ("CREATE", "MASTER") => create_master(parser, name)?,
        ("CREATE", "ENCRYPTION") => create_encryption(parser, name)?,
        ("ALTER", "ENCRYPTION") => alter_encryption(parser, name)?,
        ("DROP", "MASTER") => KeyStatement::DropMaster { name },
        ("DROP", "ENCRYPTION") => KeyStatement::DropEncryption { name },
        _ => return Err(SqlError::syntax(&kind)),
    };
    Ok(Some(statement))
}

fn expect_word(parser: &mut Parser<'_>, expected: &str) -> Result<()> {
    match parser.next_token().token {
        Token::Word(word) if word.value.eq_ignore_ascii_case(expected) => Ok(()),
        other => Err(SqlError::syntax(&other.to_string())),
    }
}

fn expect(parser: &mut Parser<'_>, expected: &Token) -> Result<()> {
    parser.expect_token(expected).map(drop).map_err(|e| syntax_error(&e))
}

fn create_master(parser: &mut Parser<'_>, name: String) -> Result<KeyStatement> {
    expect_word(parser, "WITH")?;
    let mut settings = settings(parser)?;
    let provider = take_text(&mut settings, "KEY_STORE_PROVIDER_NAME")?;
    let path = take_text(&mut settings, "KEY_PATH")?;
    let signature = match take(&mut settings, "ENCLAVE_COMPUTATIONS") {
        Some(Setting::Enclave(bytes)) => Some(bytes),
        Some(_) => return Err(SqlError::syntax("ENCLAVE_COMPUTATIONS")),
        None => None,
    };
    nothing_left(&settings)?;
    Ok(KeyStatement::CreateMaster { name, provider, path, signature })
}

fn create_encryption(parser: &mut Parser<'_>, name: String) -> Result<KeyStatement> {
    expect_word(parser, "WITH")?;
    expect_word(parser, "VALUES")?;
    let mut values = vec![key_value(parser)?];
    while parser.consume_token(&Token::Comma) {
        values.push(key_value(parser)?);
    }
    Ok(KeyStatement::CreateEncryption { name, values })
}

fn alter_encryption(parser: &mut Parser<'_>, name: String) -> Result<KeyStatement> {
    let add = parser.parse_keyword(Keyword::ADD);
    if !add {
        expect_word(parser, "DROP")?;
    }
    expect_word(parser, "VALUE")?;
    if add {
        return Ok(KeyStatement::AddValue { name, value: key_value(parser)? });
    }
    let mut settings = settings(parser)?;
    let master = take_text(&mut settings, "COLUMN_MASTER_KEY")?;
    nothing_left(&settings)?;
    Ok(KeyStatement::DropValue { name, master })
}

fn key_value(parser: &mut Parser<'_>) -> Result<KeyValue> {
    let mut settings = settings(parser)?;
    let master = take_text(&mut settings, "COLUMN_MASTER_KEY")?;
    let algorithm = take_text(&mut settings, "ALGORITHM")?;
    let encrypted = match take(&mut settings, "ENCRYPTED_VALUE") {
        Some(Setting::Bytes(bytes)) => bytes,
        _ => return Err(SqlError::syntax("ENCRYPTED_VALUE")),
    };
    nothing_left(&settings)?;
    Ok(KeyValue { master, algorithm, encrypted })
}

/// What stands between the parentheses of ENCRYPTED WITH.
pub(crate) fn encrypted_with(tokens: &[Token]) -> Result<EncryptedWith> {
    let mut all = vec![Token::LParen];
    all.extend_from_slice(tokens);
    all.push(Token::RParen);
    let mut parser = Parser::new(&super::dialect::TransactSql).with_tokens(all);
    let mut settings = settings(&mut parser)?;
    let key = take_text(&mut settings, "COLUMN_ENCRYPTION_KEY")?;
    let kind = take_text(&mut settings, "ENCRYPTION_TYPE")?;
    let algorithm = take_text(&mut settings, "ALGORITHM")?;
    nothing_left(&settings)?;
    Ok(EncryptedWith { key, kind, algorithm })
}

fn settings(parser: &mut Parser<'_>) -> Result<Vec<(String, Setting)>> {
    expect(parser, &Token::LParen)?;
    let mut list: Vec<(String, Setting)> = Vec::new();
    loop {
        let name = match parser.next_token().token {
            Token::Word(word) => word.value.to_ascii_uppercase(),
            other => return Err(SqlError::syntax(&other.to_string())),
        };
        if list.iter().any(|(known, _)| *known == name) {
            return Err(SqlError::syntax(&name));
        }
        let value = if parser.consume_token(&Token::LParen) {
            expect_word(parser, "SIGNATURE")?;
            expect(parser, &Token::Eq)?;
            let Setting::Bytes(bytes) = setting(parser)? else {
                return Err(SqlError::syntax("SIGNATURE"));
            };
            expect(parser, &Token::RParen)?;
            Setting::Enclave(bytes)
        } else {
            expect(parser, &Token::Eq)?;
            setting(parser)?
        };
        list.push((name, value));
        if parser.consume_token(&Token::Comma) {
            continue;
        }
        expect(parser, &Token::RParen)?;
        return Ok(list);
    }
}

fn setting(parser: &mut Parser<'_>) -> Result<Setting> {
    match parser.next_token().token {
        Token::Word(word) => Ok(Setting::Word(word.value)),
        Token::SingleQuotedString(text) | Token::NationalStringLiteral(text) => {
            Ok(Setting::Text(text))
        }
        Token::HexStringLiteral(digits) => hex(&digits).map(Setting::Bytes),
        other => Err(SqlError::syntax(&other.to_string())),
    }
}

/// The bytes of `0x...`, whose digits sqlparser gives without the prefix.
pub(crate) fn hex(digits: &str) -> Result<Vec<u8>> {
    let even =
        if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    even.as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(|_| SqlError::syntax(digits))?;
            u8::from_str_radix(text, 16).map_err(|_| SqlError::syntax(digits))
        })
        .collect()
}

fn take(settings: &mut Vec<(String, Setting)>, name: &str) -> Option<Setting> {
    let at = settings.iter().position(|(known, _)| known == name)?;
    Some(settings.remove(at).1)
}

fn take_text(settings: &mut Vec<(String, Setting)>, name: &str) -> Result<String> {
    match take(settings, name) {
        Some(Setting::Text(text) | Setting::Word(text)) => Ok(text),
        _ => Err(SqlError::syntax(name)),
    }
}

fn nothing_left(settings: &[(String, Setting)]) -> Result<()> {
    match settings.first() {
        Some((name, _)) => Err(SqlError::syntax(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::dialect::TransactSql;

    fn read(sql: &str) -> Result<KeyStatement> {
        let mut parser = Parser::new(&TransactSql).try_with_sql(sql).unwrap();
        Ok(parse(&mut parser)?.expect("a statement on keys"))
    }

    #[test]
    fn the_statements_of_sql_server_are_read() {
        let master = read(
            "CREATE COLUMN MASTER KEY [MyCMK] WITH (KEY_STORE_PROVIDER_NAME = N'MSSQL_CERTIFICATE_STORE', \
             KEY_PATH = 'CurrentUser/My/BBF037EC4A133ADCA89FFAEC16CA5BFA8878FB94', \
             ENCLAVE_COMPUTATIONS (SIGNATURE = 0x0a0B))",
        );
        let Ok(KeyStatement::CreateMaster { name, signature, .. }) = master else {
            panic!("{master:?}")
        };
        assert_eq!((name.as_str(), signature), ("MyCMK", Some(vec![10, 11])));
        let key = read(
            "create column encryption key K with values (COLUMN_MASTER_KEY = [A], ALGORITHM = 'RSA_OAEP', \
             ENCRYPTED_VALUE = 0x0102), (COLUMN_MASTER_KEY = B, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x03)",
        );
        let Ok(KeyStatement::CreateEncryption { values, .. }) = key else { panic!("{key:?}") };
        assert_eq!(values.len(), 2);
        assert_eq!(values[0].encrypted, [1, 2]);
        assert!(matches!(
            read("ALTER COLUMN ENCRYPTION KEY K DROP VALUE (COLUMN_MASTER_KEY = A)"),
            Ok(KeyStatement::DropValue { .. })
        ));
        assert!(matches!(read("DROP COLUMN MASTER KEY A"), Ok(KeyStatement::DropMaster { .. })));
    }

    #[test]
    fn unknown_settings_are_syntax_errors() {
        assert_eq!(
            read("CREATE COLUMN MASTER KEY A WITH (KEY_PATH = 'x')").unwrap_err().number,
            102
        );
        assert_eq!(
            read("CREATE COLUMN MASTER KEY A WITH (KEY_STORE_PROVIDER_NAME = 'p', KEY_PATH = 'x', FROB = 1)")
                .unwrap_err()
                .number,
            102
        );
    }
}
