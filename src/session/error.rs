//! Why a request or its response failed on our side of the wire, and whose fault it is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{TryRng, rngs::SysRng};

use crate::{
    crypto::{EncryptError, InvalidCell},
    keystore::{CekError, UntrustedKeyPath},
    metadata::DescribeFault,
    tds::Malformed,
    value::{ConversionError, DeclarationError, SqlType, ValueError},
};

/// A failure of Always Encrypted in the middle of a connection.
///
/// The application sees it as an error of the server whose server name is
/// [`SessionError::SERVER_NAME`] and whose number is [`SessionError::number`]; the connection goes
/// on unless the variant says otherwise. Nothing that was to be encrypted has left the process.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server did not acknowledge Always Encrypted at login. It is older than SQL Server 2016,
    /// or something between us took the request away. The connection is refused.
    #[error(
        "the server does not support Always Encrypted, which the connection string asks for; \
         connect to SQL Server 2016 or later, or set Column Encryption Setting=Disabled if no \
         column is encrypted"
    )]
    NotAcknowledged,
    /// The server acknowledged a version of the feature that nobody asked for. The connection is
    /// refused.
    #[error("the server acknowledged version {version} of Always Encrypted where 1 was asked for")]
    AcknowledgedVersion {
        /// The version.
        version: u8,
    },
    /// The server broke the protocol. The stream cannot be followed any further, so the connection
    /// is closed.
    #[error("the server sent a {0}; the connection is closed")]
    ServerMalformed(Malformed),
    /// The server closed the connection in the middle of a message.
    #[error("the server closed the connection in the middle of a response")]
    ConnectionCut,
    /// What the server says about the statement's parameters cannot be believed. Nothing was sent.
    #[error(
        "the server's description of the parameters cannot be trusted, so nothing was sent: {0}"
    )]
    Describe(#[from] DescribeFault),
    /// The answer about the parameters is longer than any honest one. The connection is closed.
    #[error(
        "the server's description of the parameters is over {limit} bytes, so nothing was sent"
    )]
    DescribeTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The server has other columns for a bulk load than the load names, so it is not certain which
    /// of them are encrypted. Nothing was sent. The load may name them in another case.
    #[error(
        "the columns of the bulk load into {table} are not those that the server names; write them \
         as the table has them"
    )]
    BulkColumns {
        /// The table as the load names it.
        table: String,
    },
    /// The statement demands that a parameter be encrypted, and the server says that it is not to
    /// be. Either the column is not encrypted, or the server lies. Nothing was sent.
    #[error(
        "the statement forces the encryption of parameter {name}, and the server says that it goes \
         to no encrypted column; nothing was sent"
    )]
    PlainParameter {
        /// The parameter.
        name: String,
    },
    /// The comment that forces encryption cannot be read. Nothing was sent.
    #[error(
        "the comment \"always-encrypted: {hint}\" is not understood; its clauses are force @name, …; \
         type @name decimal(18,4), …; encryption Enabled, ResultSetOnly or Disabled"
    )]
    Hint {
        /// What follows the mark, shortened.
        hint: String,
    },
    /// The server returned an encrypted output parameter that the request did not have, twice, or
    /// under another encryption than it described.
    #[error("the server returned an encrypted output parameter {name} that was not described so")]
    UnknownOutput {
        /// The parameter, or its number if it has no name.
        name: String,
    },
    /// A cell of the result is not one that its key made: it was changed, or another key made it.
    #[error(
        "column {column}: a cell was not encrypted with the column's key (provider {provider:?}, key \
         path {key_path:?}) or has been changed since"
    )]
    Cell {
        /// The column, or the output parameter.
        column: String,
        /// The key store provider of the key's first value.
        provider: String,
        /// The key path of its first value.
        key_path: String,
        /// The cipher's verdict.
        #[source]
        source: InvalidCell,
    },
    /// A cell decrypts, and the plaintext is no value of the column's type. Whoever encrypted it
    /// did so wrongly, or the server lies about the type.
    #[error("column {column}: {source}")]
    CellValue {
        /// The column, or the output parameter.
        column: String,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// The key of a column or parameter is not to be had.
    #[error("{target}: {source}")]
    Key {
        /// The column or parameter that needs the key.
        target: String,
        /// Why there is no key.
        #[source]
        source: CekError,
    },
    /// The server names a master key outside of the list of trusted paths. No key store was asked.
    #[error("{target}: {source}")]
    UntrustedKeyPath {
        /// The column or parameter that needs the key.
        target: String,
        /// The path of the key's first value.
        key_path: String,
        /// Which server, key store and path, and what to do.
        #[source]
        source: Box<UntrustedKeyPath>,
    },
    /// The value of a parameter is not one of its declared type.
    #[error("parameter {name}: {source}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// The parameter goes to an encrypted column and its type is none that can be encrypted.
    #[error("parameter {name} goes to an encrypted column: {source}")]
    ParameterType {
        /// The parameter.
        name: String,
        /// What is wrong with its type.
        #[source]
        source: DeclarationError,
    },
    /// The parameter's declared type and the type of its value are two different things.
    #[error(
        "parameter {name} is declared {declared} and its value was sent as {sent}; bind a value of \
         the declared type"
    )]
    ParameterMismatch {
        /// The parameter.
        name: String,
        /// The type in the declaration.
        declared: SqlType,
        /// The type of the value, in words.
        sent: String,
    },
    /// The value of a parameter cannot become one of its column's type without losing something, or
    /// at all. Nothing was sent.
    #[error("parameter {name} goes to {target}: {source}; {}", .source.remedy())]
    Conversion {
        /// The parameter.
        name: String,
        /// What demands the type: a column, a procedure's parameter, the statement itself.
        target: String,
        /// The two types, and what would be lost.
        #[source]
        source: ConversionError,
    },
    /// A value could not be encrypted, for want of an initialisation vector. Nothing of it was sent.
    #[error("{target} could not be encrypted: {source}")]
    Encrypt {
        /// The parameter or column.
        target: String,
        /// Why not.
        #[source]
        source: EncryptError,
    },
    /// The driver sent something that cannot be followed, so no more of it was sent on. Where the
    /// driver's stream itself is lost, the connection is closed.
    #[error("the driver's request cannot be followed, so no more of it was sent: {0}")]
    Request(Malformed),
    /// Values for a prepared statement under a handle of which this connection does not know what it
    /// was prepared as: prepared in a batch, before a reset of the connection, or never. Nothing was
    /// sent.
    #[error(
        "{} is not that of a statement that was prepared on this connection, so it is not known how \
         its values are to be encrypted, and nothing was sent; prepare the statement again",
        handle_in_words(.handle)
    )]
    UnknownHandle {
        /// The handle, if one was given as a number.
        handle: Option<i32>,
    },
    /// The server gave a handle to two prepared statements at once, or more handles than it was
    /// asked for, so it is not certain whose values they are. Nothing was sent.
    #[error(
        "{} was given to more than one prepared statement by the server, so it is not certain how \
         its values are to be encrypted, and nothing was sent; connect anew",
        handle_in_words(.handle)
    )]
    AmbiguousHandle {
        /// The handle, if one was given as a number.
        handle: Option<i32>,
    },
    /// The connection has as many prepared statements as are kept. Nothing was sent.
    #[error(
        "the connection has {limit} prepared statements open, and no more are kept; close those that \
         are not needed"
    )]
    TooManyPrepared {
        /// The limit.
        limit: usize,
    },
    /// The request is in order and this version cannot look after its encryption.
    #[error("{what} cannot be used on a connection with Always Encrypted yet; {remedy}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
}

impl SessionError {
    /// The server name in the errors that the application sees.
    pub const SERVER_NAME: &'static str = "always-encrypted";

    /// The error's number, stable across versions. SQL Server's own numbers end at 49,999 and those
    /// of `THROW` begin at 50,000; these lie far above.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::NotAcknowledged => 16_040_001,
            Self::AcknowledgedVersion { .. } => 16_040_002,
            Self::ServerMalformed(_) => 16_040_003,
            Self::ConnectionCut => 16_040_004,
            Self::Describe(_) => 16_040_010,
            Self::DescribeTooLong { .. } => 16_040_011,
            Self::UnknownOutput { .. } => 16_040_012,
            Self::BulkColumns { .. } => 16_040_013,
            Self::PlainParameter { .. } => 16_040_014,
            Self::AmbiguousHandle { .. } => 16_040_015,
            Self::Cell { .. } => 16_040_020,
            Self::CellValue { .. } => 16_040_021,
            Self::Key { .. } => 16_040_030,
            Self::UntrustedKeyPath { .. } => 16_040_031,
            Self::Parameter { .. } => 16_040_040,
            Self::ParameterType { .. } => 16_040_041,
            Self::ParameterMismatch { .. } => 16_040_042,
            Self::Conversion { .. } => 16_040_043,
            Self::Encrypt { .. } => 16_040_044,
            Self::Request(_) => 16_040_050,
            Self::Unsupported { .. } => 16_040_051,
            Self::Hint { .. } => 16_040_052,
            Self::UnknownHandle { .. } => 16_040_053,
            Self::TooManyPrepared { .. } => 16_040_054,
        }
    }

    /// Whether the server did something that no honest server does.
    #[must_use]
    pub fn is_servers_fault(&self) -> bool {
        matches!(
            self,
            Self::AcknowledgedVersion { .. }
                | Self::ServerMalformed(_)
                | Self::Describe(_)
                | Self::DescribeTooLong { .. }
                | Self::UnknownOutput { .. }
                | Self::AmbiguousHandle { .. }
                | Self::UntrustedKeyPath { .. }
        )
    }
}

fn handle_in_words(handle: &Option<i32>) -> String {
    handle.map_or_else(|| "what stands for a handle".to_owned(), |n| format!("the handle {n}"))
}

/// The last errors of a connector's connections, so that the typed error can be found again behind
/// the text that came through the driver.
#[derive(Debug, Default)]
pub struct ErrorLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    errors: VecDeque<(u32, Arc<SessionError>)>,
}

impl ErrorLog {
    /// Older errors are forgotten.
    const CAPACITY: usize = 256;

    /// Keeps an error and returns the number it can be found under.
    pub fn record(&self, error: SessionError) -> u32 {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not to be guessed: a server that forges errors in our name must not be able to make one
        // connection's error out of another's.
        let id = loop {
            // Without randomness the error has no number, and is only found as the last one.
            let Ok(id) = SysRng.try_next_u32() else { break 0 };
            if id != 0 && log.errors.iter().all(|(taken, _)| *taken != id) {
                break id;
            }
        };
        if log.errors.len() == Self::CAPACITY {
            log.errors.pop_front();
        }
        log.errors.push_back((id, Arc::new(error)));
        id
    }

    /// The error of a number, unless it is too long ago.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Arc<SessionError>> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.errors.iter().rev().find(|(i, _)| *i == id && id != 0).map(|(_, e)| e.clone())
    }

    /// The most recent error.
    #[must_use]
    pub fn last(&self) -> Option<Arc<SessionError>> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.errors.back().map(|(_, e)| e.clone())
    }
}
