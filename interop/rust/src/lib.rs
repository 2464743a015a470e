//! What the server of the matrix and our own program share.

pub mod cases;
pub mod civil;
pub mod value;

/// The login of the server that the matrix starts. No secret: it listens on 127.0.0.1 and holds
/// nothing but the cases.
pub const USER: &str = "sa";
/// See [`USER`].
pub const PASSWORD: &str = "Interop-1433!";
/// What SQL Server's own key store on the JVM calls itself.
pub const MSSQL_JAVA_KEYSTORE: &str = "MSSQL_JAVA_KEYSTORE";
/// The master key's name in that key store.
pub const JAVA_ALIAS: &str = "aecmk";
