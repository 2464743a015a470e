//! The T-SQL that tells a database of keys. Names are quoted and may hold any character.

use std::fmt::Write as _;

/// `CREATE COLUMN MASTER KEY`: tells the database which key store holds the key, and where in it.
///
/// The database neither checks nor uses either; clients do.
#[must_use]
pub fn create_column_master_key(name: &str, provider_name: &str, key_path: &str) -> String {
    format!("{})", begin_master_key(name, provider_name, key_path))
}

/// The same for a key that may be used inside the server's enclave, by clients that have enclaves:
/// with `ENCLAVE_COMPUTATIONS`.
///
/// `signature` is what [`sign_master_key`](super::sign_master_key) returned for this very provider
/// and path: it is what keeps the database from adding the permission by itself.
#[must_use]
pub fn create_column_master_key_for_enclaves(
    name: &str,
    provider_name: &str,
    key_path: &str,
    signature: &[u8],
) -> String {
    format!(
        "{}, ENCLAVE_COMPUTATIONS (SIGNATURE = {}))",
        begin_master_key(name, provider_name, key_path),
        binary(signature)
    )
}

fn begin_master_key(name: &str, provider_name: &str, key_path: &str) -> String {
    format!(
        "CREATE COLUMN MASTER KEY {} WITH (KEY_STORE_PROVIDER_NAME = {}, KEY_PATH = {}",
        identifier(name),
        literal(provider_name),
        literal(key_path)
    )
}

/// `DROP COLUMN MASTER KEY`. The server refuses while a column encryption key has a value under it.
#[must_use]
pub fn drop_column_master_key(name: &str) -> String {
    format!("DROP COLUMN MASTER KEY {}", identifier(name))
}

/// `CREATE COLUMN ENCRYPTION KEY`: stores a CEK that has been wrapped by a master key.
///
/// `envelope` is what [`wrap_new_cek`](super::wrap_new_cek) returned, or
/// [`KeyStoreProvider::wrap_cek`](crate::keystore::KeyStoreProvider::wrap_cek).
#[must_use]
pub fn create_column_encryption_key(name: &str, master_key: &str, envelope: &[u8]) -> String {
    format!(
        "CREATE COLUMN ENCRYPTION KEY {} WITH VALUES {}",
        identifier(name),
        value(master_key, envelope)
    )
}

/// `ALTER COLUMN ENCRYPTION KEY … ADD VALUE`: a second value of the same CEK, under another master
/// key. A key has two at most.
///
/// `envelope` is what [`rewrap_cek`](super::rewrap_cek) returned.
#[must_use]
pub fn add_column_encryption_key_value(name: &str, master_key: &str, envelope: &[u8]) -> String {
    format!(
        "ALTER COLUMN ENCRYPTION KEY {} ADD VALUE {}",
        identifier(name),
        value(master_key, envelope)
    )
}

/// `ALTER COLUMN ENCRYPTION KEY … DROP VALUE`: ends a rotation. Whoever has only the old master key
/// cannot read from then on, once its cache has forgotten the key.
#[must_use]
pub fn drop_column_encryption_key_value(name: &str, master_key: &str) -> String {
    format!(
        "ALTER COLUMN ENCRYPTION KEY {} DROP VALUE (COLUMN_MASTER_KEY = {})",
        identifier(name),
        identifier(master_key)
    )
}

/// `DROP COLUMN ENCRYPTION KEY`. The server refuses while a column is encrypted with it; in backups
/// there may be more of these, and without the key they are lost.
#[must_use]
pub fn drop_column_encryption_key(name: &str) -> String {
    format!("DROP COLUMN ENCRYPTION KEY {}", identifier(name))
}

fn value(master_key: &str, envelope: &[u8]) -> String {
    format!(
        "(COLUMN_MASTER_KEY = {}, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = {})",
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
        let (name, quoted) = ("a] x", "[a]] x]");
        for sql in [
            create_column_master_key_for_enclaves(name, "P", "p", &[1]),
            drop_column_master_key(name),
            create_column_encryption_key("c", name, &[1]),
            create_column_encryption_key(name, "m", &[1]),
            add_column_encryption_key_value("c", name, &[1]),
            add_column_encryption_key_value(name, "m", &[1]),
            drop_column_encryption_key_value("c", name),
            drop_column_encryption_key_value(name, "m"),
            drop_column_encryption_key(name),
        ] {
            assert!(sql.contains(quoted), "{sql}");
        }
    }
}
