//! What the server of the matrix and our own program share.

pub mod cases;
pub mod civil;
pub mod value;

/// The login of the server that the matrix starts. No secret: it listens on 127.0.0.1 and holds
/// nothing but the cases.
pub const USER: &str = "sa";
/// See [`USER`].
pub const PASSWORD: &str = "Interop-1433!";
/// Logins with the same password that may not see the definitions of some keys.
pub const BLIND_USERS: [(&str, &str); 2] = [
    ("blind_to_master_keys", "COLUMN MASTER KEY DEFINITION"),
    ("blind_to_column_keys", "COLUMN ENCRYPTION KEY DEFINITION"),
];
/// What SQL Server's own key store on the JVM calls itself.
pub const MSSQL_JAVA_KEYSTORE: &str = "MSSQL_JAVA_KEYSTORE";
/// The master key's name in that key store.
pub const JAVA_ALIAS: &str = "aecmk";
