//! Keys as an operator sees them: the T-SQL that tells a database of them.
//!
//! This layer owns the statements; running them is the caller's business, so that a security
//! administrator can write them where no database is, and a DBA run them where no key is.
//!
//! ```
//! use always_encrypted::admin::{create_column_encryption_key, create_column_master_key};
//!
//! let path = "CurrentUser/My/0BE978BA7DA3DBBB7DD58E4A6A3C9DCB8B1A5D2C";
//! assert_eq!(
//!     create_column_master_key("MessagesCmk", "MSSQL_CERTIFICATE_STORE", path),
//!     "CREATE COLUMN MASTER KEY [MessagesCmk] WITH (\
//!      KEY_STORE_PROVIDER_NAME = N'MSSQL_CERTIFICATE_STORE', \
//!      KEY_PATH = N'CurrentUser/My/0BE978BA7DA3DBBB7DD58E4A6A3C9DCB8B1A5D2C')"
//! );
//! assert_eq!(
//!     create_column_encryption_key("MessagesCek", "MessagesCmk", &[0x01, 0x6E]),
//!     "CREATE COLUMN ENCRYPTION KEY [MessagesCek] WITH VALUES (\
//!      COLUMN_MASTER_KEY = [MessagesCmk], ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x016E)"
//! );
//! ```

use std::fmt::Write as _;

/// `CREATE COLUMN MASTER KEY`: tells the database which key store holds the key, and where in it.
///
/// The names are quoted; they may hold any character.
#[must_use]
pub fn create_column_master_key(name: &str, provider_name: &str, key_path: &str) -> String {
    format!(
        "CREATE COLUMN MASTER KEY {} WITH (KEY_STORE_PROVIDER_NAME = {}, KEY_PATH = {})",
        identifier(name),
        literal(provider_name),
        literal(key_path)
    )
}

/// `CREATE COLUMN ENCRYPTION KEY`: stores a CEK that has been wrapped by a master key.
///
/// `envelope` is what [`KeyStoreProvider::wrap_cek`](crate::keystore::KeyStoreProvider::wrap_cek)
/// returned.
#[must_use]
pub fn create_column_encryption_key(name: &str, master_key: &str, envelope: &[u8]) -> String {
    format!(
        "CREATE COLUMN ENCRYPTION KEY {} WITH VALUES (COLUMN_MASTER_KEY = {}, \
         ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = {})",
        identifier(name),
        identifier(master_key),
        binary(envelope)
    )
}

fn identifier(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

fn binary(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("0x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_quotes_cannot_leave_their_quotes() {
        let sql = create_column_master_key("a]; DROP TABLE x --", "P'", "p'; DROP TABLE y --");
        assert_eq!(
            sql,
            "CREATE COLUMN MASTER KEY [a]]; DROP TABLE x --] WITH (\
             KEY_STORE_PROVIDER_NAME = N'P''', KEY_PATH = N'p''; DROP TABLE y --')"
        );
    }
}
