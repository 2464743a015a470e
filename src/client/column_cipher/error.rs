//! Why there is no cipher for a column, and why a value or a cell does not go through it.

use std::sync::Arc;

use crate::{
    crypto::{EncryptError, InvalidCell},
    keystore::{CekError, UntrustedKeyPath},
    session::SessionError,
    value::{ConversionError, SqlType, ValueError},
};

/// Why [`Connector::column_cipher`](crate::Connector::column_cipher) failed. Names that the server
/// sent are shown escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnCipherError {
    /// The text names no table or no column. The caller is at fault.
    #[error(
        "{name:?} is not the name of a {what}; write name, schema.name or database.schema.name for a \
         table, and brackets around what is no plain identifier"
    )]
    Name {
        /// What it should name.
        what: &'static str,
        /// The text.
        name: String,
    },
    /// There is no such table or column, or the login may not see it.
    #[error(
        "the server knows of no column {column}, or does not let this login see it; check both names \
         and the connection's database"
    )]
    UnknownColumn {
        /// The column as it was asked for.
        column: String,
    },
    /// The column is there, and plain.
    #[error("column {column} is not encrypted, the server says; its values need no cipher")]
    NotEncrypted {
        /// The column.
        column: String,
    },
    /// The login may read the column and not the definition of its key.
    #[error(
        "the server does not let this login see the keys of column {column}; grant it VIEW ANY COLUMN \
         MASTER KEY DEFINITION and VIEW ANY COLUMN ENCRYPTION KEY DEFINITION"
    )]
    HiddenKey {
        /// The column.
        column: String,
    },
    /// The key of a column is in another database than the column, as a temporary table's is.
    #[error(
        "the key of column {column} is in another database, {database:?}; ask for the column of a \
         table there that has the same key"
    )]
    KeyElsewhere {
        /// The column.
        column: String,
        /// The database of the key.
        database: String,
    },
    /// The column is encrypted in a way that this version does not know.
    #[error(
        "column {column} is encrypted with {algorithm:?} of type {encryption_type}; this version \
         knows AEAD_AES_256_CBC_HMAC_SHA_256, types 1 and 2"
    )]
    UnknownEncryption {
        /// The column.
        column: String,
        /// The algorithm's name.
        algorithm: String,
        /// The number of the encryption type.
        encryption_type: i64,
    },
    /// What the catalogue says of the column cannot be. The server is at fault.
    #[error("what the server says of column {column} cannot be trusted: {what}")]
    Catalogue {
        /// The column.
        column: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server names a master key outside of the list of trusted paths. No key store was asked.
    #[error("column {column}: {source}")]
    UntrustedKeyPath {
        /// The column.
        column: String,
        /// The path of the key's first value.
        key_path: String,
        /// Which server, key store and path, and what to do.
        #[source]
        source: Box<UntrustedKeyPath>,
    },
    /// The key is not to be had.
    #[error("column {column}: {source}")]
    Key {
        /// The column.
        column: String,
        /// Why there is no key.
        #[source]
        source: CekError,
    },
    /// Always Encrypted failed while the catalogue was asked.
    #[error(transparent)]
    Session(Arc<SessionError>),
    /// The server refused to answer, or the driver failed.
    #[error(transparent)]
    Driver(tiberius::error::Error),
}

/// Why [`ColumnCipher`](super::ColumnCipher) did not encrypt a value or decrypt a cell. No message
/// shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnValueError {
    /// The value is not one of the type that tiberius sends it as. The caller is at fault.
    #[error("a value for column {column}: {source}")]
    Value {
        /// The column.
        column: String,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// The value cannot become one of the column's type without losing something, or at all.
    #[error("a value for column {column}: {source}; {}", .source.remedy())]
    Conversion {
        /// The column.
        column: String,
        /// The two types, and what would be lost.
        #[source]
        source: ConversionError,
    },
    /// No encrypted column holds `xml`.
    #[error("a value for column {column} is xml, which cannot be encrypted; bind it as a string")]
    Xml {
        /// The column.
        column: String,
    },
    /// The value could not be encrypted, for want of an initialisation vector.
    #[error("a value for column {column} could not be encrypted: {source}")]
    Encrypt {
        /// The column.
        column: String,
        /// Why not.
        #[source]
        source: EncryptError,
    },
    /// The cell is not one that the column's key made: it was changed, or another key made it.
    #[error(
        "a cell of column {column} was not encrypted with the column's key or has been changed since"
    )]
    Cell {
        /// The column.
        column: String,
        /// The cipher's verdict.
        #[source]
        source: InvalidCell,
    },
    /// The cell decrypts, and the plaintext is no value of the column's type. It is of another
    /// column, or whoever encrypted it did so wrongly.
    #[error("a cell of column {column}: {source}")]
    CellValue {
        /// The column.
        column: String,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// The cell decrypts, and the plaintext is not text in the code page of the column.
    #[error("a cell of column {column}: {source}")]
    CellText {
        /// The column.
        column: String,
        /// What is wrong with it.
        #[source]
        source: ConversionError,
    },
    /// The cell holds text with half of a surrogate pair, which SQL Server stores and a Rust string
    /// cannot hold.
    #[error("a cell of column {column} holds half of a surrogate pair, which is no text in Rust")]
    LoneSurrogate {
        /// The column.
        column: String,
    },
    /// The value is there, and the Rust type that was asked for is none of its types.
    #[error("a value of column {column}, which is {sql_type}, cannot be read as a {wanted}")]
    OtherType {
        /// The column.
        column: String,
        /// Its type.
        sql_type: SqlType,
        /// The Rust type.
        wanted: &'static str,
    },
}
