//! The statements on logins, users, roles and permissions.

use sqlparser::ast::ObjectName;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::catalogue::security::PERMISSIONS;
use crate::error::{Result, SqlError};
use crate::sql::batch::peek_word;
use crate::sql::syntax_error;

#[derive(Debug, Clone)]
pub(crate) enum SecurityStatement {
    CreateLogin {
        name: String,
        password: String,
    },
    AlterLogin {
        name: String,
        change: LoginChange,
    },
    DropLogin(String),
    CreateUser {
        name: String,
        /// None is WITHOUT LOGIN.
        login: Option<String>,
    },
    CreateRole(String),
    /// A user, or a role.
    DropPrincipal {
        name: String,
        role: bool,
        if_exists: bool,
    },
    AlterRole {
        role: String,
        member: String,
        add: bool,
    },
    Permission {
        verb: Verb,
        permissions: Vec<&'static str>,
        on: Securable,
        principals: Vec<String>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum LoginChange {
    Password(String),
    Enable,
    Disable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Grant,
    Deny,
    Revoke,
}

/// What a permission is given on.
#[derive(Debug, Clone)]
pub(crate) enum Securable {
    Database,
    Schema(String),
    Object(ObjectName),
}

fn identifier(parser: &mut Parser<'_>) -> Result<String> {
    Ok(parser.parse_identifier().map_err(|e| syntax_error(&e))?.value)
}

/// Takes a word if it comes next.
fn word(parser: &mut Parser<'_>, expected: &str) -> bool {
    let found = peek_word(parser, 0).as_deref() == Some(expected);
    if found {
        parser.next_token();
    }
    found
}

fn expect(parser: &mut Parser<'_>, expected: &str) -> Result<()> {
    if word(parser, expected) {
        Ok(())
    } else {
        Err(SqlError::syntax(&parser.peek_token().token.to_string()))
    }
}

/// Reads such a statement if the next tokens begin one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<SecurityStatement>> {
    let (first, second) =
        (peek_word(parser, 0).unwrap_or_default(), peek_word(parser, 1).unwrap_or_default());
    let verb = match first.as_str() {
        "GRANT" => Some(Verb::Grant),
        "DENY" => Some(Verb::Deny),
        "REVOKE" => Some(Verb::Revoke),
        _ => None,
    };
    if let Some(verb) = verb {
        parser.next_token();
        return permission(parser, verb).map(Some);
    }
    let known = matches!(first.as_str(), "CREATE" | "ALTER" | "DROP")
        && matches!(second.as_str(), "LOGIN" | "USER" | "ROLE");
    if !known {
        return Ok(None);
    }
    parser.next_token();
    parser.next_token();
    let if_exists = first == "DROP" && parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = identifier(parser)?;
    let statement = match (first.as_str(), second.as_str()) {
        ("CREATE", "LOGIN") => create_login(parser, name)?,
        ("ALTER", "LOGIN") => alter_login(parser, name)?,
        ("DROP", "LOGIN") if !if_exists => SecurityStatement::DropLogin(name),
        ("CREATE", "USER") => create_user(parser, name)?,
        ("CREATE", "ROLE") => {
            if word(parser, "AUTHORIZATION") && !identifier(parser)?.eq_ignore_ascii_case("dbo") {
                return Err(SqlError::unsupported("roles of anybody but dbo"));
            }
            SecurityStatement::CreateRole(name)
        }
        ("ALTER", "ROLE") => {
            let add = word(parser, "ADD");
            if !add {
                expect(parser, "DROP")?;
            }
            expect(parser, "MEMBER")?;
            SecurityStatement::AlterRole { role: name, member: identifier(parser)?, add }
        }
        ("DROP", "USER" | "ROLE") => {
            SecurityStatement::DropPrincipal { name, role: second == "ROLE", if_exists }
        }
        _ => return Err(SqlError::unsupported(format!("this form of {first} {second}"))),
    };
    Ok(Some(statement))
}

fn password(parser: &mut Parser<'_>) -> Result<String> {
    expect(parser, "PASSWORD")?;
    parser.expect_token(&Token::Eq).map_err(|e| syntax_error(&e))?;
    match parser.next_token().token {
        Token::SingleQuotedString(text) | Token::NationalStringLiteral(text) => Ok(text),
        Token::HexStringLiteral(_) => Err(SqlError::unsupported("passwords that are hashed")),
        other => Err(SqlError::syntax(&other.to_string())),
    }
}

/// `, name = value` after a password: what means nothing here is passed over.
fn options(parser: &mut Parser<'_>) -> Result<()> {
    const HARMLESS: &[&str] = &[
        "CHECK_POLICY",
        "CHECK_EXPIRATION",
        "DEFAULT_DATABASE",
        "DEFAULT_LANGUAGE",
        "OLD_PASSWORD",
    ];
    while parser.consume_token(&Token::Comma) {
        let name = identifier(parser)?.to_ascii_uppercase();
        if !HARMLESS.contains(&name.as_str()) {
            return Err(SqlError::unsupported(format!("the option {name} of a login")));
        }
        parser.expect_token(&Token::Eq).map_err(|e| syntax_error(&e))?;
        parser.next_token();
    }
    Ok(())
}

fn create_login(parser: &mut Parser<'_>, name: String) -> Result<SecurityStatement> {
    if word(parser, "FROM") {
        return Err(SqlError::unsupported("logins of anything but a password"));
    }
    expect(parser, "WITH")?;
    let password = password(parser)?;
    options(parser)?;
    Ok(SecurityStatement::CreateLogin { name, password })
}

fn alter_login(parser: &mut Parser<'_>, name: String) -> Result<SecurityStatement> {
    let change = if word(parser, "ENABLE") {
        LoginChange::Enable
    } else if word(parser, "DISABLE") {
        LoginChange::Disable
    } else {
        expect(parser, "WITH")?;
        let password = password(parser)?;
        options(parser)?;
        LoginChange::Password(password)
    };
    Ok(SecurityStatement::AlterLogin { name, change })
}

fn create_user(parser: &mut Parser<'_>, name: String) -> Result<SecurityStatement> {
    let login = if word(parser, "WITHOUT") {
        expect(parser, "LOGIN")?;
        None
    } else if word(parser, "FOR") || word(parser, "FROM") {
        expect(parser, "LOGIN")?;
        Some(identifier(parser)?)
    } else {
        Some(name.clone())
    };
    if word(parser, "WITH") {
        expect(parser, "DEFAULT_SCHEMA")?;
        parser.expect_token(&Token::Eq).map_err(|e| syntax_error(&e))?;
        if !identifier(parser)?.eq_ignore_ascii_case("dbo") {
            return Err(SqlError::unsupported("a default schema other than dbo"));
        }
    }
    Ok(SecurityStatement::CreateUser { name, login })
}

fn permission(parser: &mut Parser<'_>, verb: Verb) -> Result<SecurityStatement> {
    if verb == Verb::Revoke && peek_word(parser, 1).as_deref() == Some("OPTION") {
        return Err(SqlError::unsupported("REVOKE GRANT OPTION FOR"));
    }
    let mut permissions = Vec::new();
    loop {
        permissions.push(one_permission(parser)?);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    let on = if word(parser, "ON") { securable(parser)? } else { Securable::Database };
    if !(word(parser, "TO") || (verb == Verb::Revoke && word(parser, "FROM"))) {
        return Err(SqlError::syntax(&parser.peek_token().token.to_string()));
    }
    let mut principals = vec![identifier(parser)?];
    while parser.consume_token(&Token::Comma) {
        principals.push(identifier(parser)?);
    }
    if parser.parse_keyword(Keyword::WITH) {
        return Err(SqlError::unsupported("WITH GRANT OPTION"));
    }
    if verb != Verb::Grant {
        // Nobody can have passed on what nobody may pass on.
        word(parser, "CASCADE");
    }
    Ok(SecurityStatement::Permission { verb, permissions, on, principals })
}

fn one_permission(parser: &mut Parser<'_>) -> Result<&'static str> {
    let mut words = Vec::new();
    while let Some(next) = peek_word(parser, 0) {
        if matches!(next.as_str(), "ON" | "TO" | "FROM") {
            break;
        }
        parser.next_token();
        words.push(match next.as_str() {
            "EXEC" => "EXECUTE".to_owned(),
            "PROC" => "PROCEDURE".to_owned(),
            _ => next,
        });
    }
    let name = words.join(" ");
    if parser.peek_token().token == Token::LParen {
        return Err(SqlError::unsupported("permissions on columns"));
    }
    if name.is_empty() {
        return Err(SqlError::syntax(&parser.peek_token().token.to_string()));
    }
    PERMISSIONS
        .iter()
        .map(|known| known.0)
        .find(|known| *known == name)
        .ok_or_else(|| SqlError::unsupported(format!("the permission {name}")))
}

fn securable(parser: &mut Parser<'_>) -> Result<Securable> {
    let class = if parser.peek_nth_token(1).token == Token::DoubleColon {
        let class = peek_word(parser, 0).unwrap_or_default();
        parser.next_token();
        parser.next_token();
        class
    } else {
        "OBJECT".to_owned()
    };
    match class.as_str() {
        "OBJECT" => {
            Ok(Securable::Object(parser.parse_object_name(false).map_err(|e| syntax_error(&e))?))
        }
        "SCHEMA" => Ok(Securable::Schema(identifier(parser)?)),
        "DATABASE" => {
            let name = identifier(parser)?;
            if !name.eq_ignore_ascii_case(crate::catalogue::DATABASE_NAME) {
                return Err(SqlError::new(
                    15151,
                    format!(
                        "Cannot find the database '{name}', because it does not exist or you do not have permission."
                    ),
                ));
            }
            Ok(Securable::Database)
        }
        other => Err(SqlError::unsupported(format!("permissions on {other}"))),
    }
}
