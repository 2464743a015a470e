//! Errors as SQL Server reports them: number, class, state and message text. Owns the texts that several modules
//! share; a text that one place alone needs is written there.

use std::fmt;

/// An ERROR token in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) number: i32,
    pub(crate) class: u8,
    pub(crate) state: u8,
    pub(crate) message: String,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Msg {}: {}", self.number, self.message)
    }
}

impl std::error::Error for SqlError {}

pub(crate) type Result<T> = std::result::Result<T, SqlError>;

/// Marks a [`SqlError`] that travels through SQLite as the text of a failed function.
const CARRIED: &str = "\u{1}tds:";

impl SqlError {
    /// Class 16, state 1: what most statement errors are.
    pub(crate) fn new(number: i32, message: impl Into<String>) -> Self {
        Self { number, class: 16, state: 1, message: message.into() }
    }

    pub(crate) fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// What SQL Server can do and this program cannot. 40000 to 50000 has no message of SQL Server's at this number.
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(49999, format!("The sandbox does not support {what}."))
    }

    pub(crate) fn syntax(near: &str) -> Self {
        Self::new(102, format!("Incorrect syntax near '{near}'.")).class(15)
    }

    pub(crate) fn invalid_object(name: &str) -> Self {
        Self::new(208, format!("Invalid object name '{name}'."))
    }

    pub(crate) fn invalid_column(name: &str) -> Self {
        Self::new(207, format!("Invalid column name '{name}'."))
    }

    pub(crate) fn undeclared(variable: &str) -> Self {
        Self::new(137, format!("Must declare the scalar variable \"{variable}\".")).class(15)
    }

    pub(crate) fn type_clash(from: &str, to: &str) -> Self {
        Self::new(206, format!("Operand type clash: {from} is incompatible with {to}"))
    }

    pub(crate) fn conversion_failed(what: &str, to: &str) -> Self {
        Self::new(8114, format!("Error converting data type {what} to {to}."))
    }

    pub(crate) fn overflow(to: &str) -> Self {
        Self::new(
            8115,
            format!("Arithmetic overflow error converting expression to data type {to}."),
        )
    }

    pub(crate) fn not_prepared() -> Self {
        Self::new(8180, "Statement(s) could not be prepared.")
    }

    /// 33514: the trailer of an encrypted parameter does not describe what the catalogue holds.
    pub(crate) fn stale_metadata(parameter: &str) -> Self {
        Self::new(
            33514,
            format!(
                "Incorrect parameter encryption metadata was received from the client. The error occurred during the \
                 invocation of the batch and therefore the client can refresh the parameter encryption metadata by \
                 calling sp_describe_parameter_encryption and retry. Parameter: '{parameter}'."
            ),
        )
    }

    pub(crate) fn rpc_stream(what: impl fmt::Display) -> Self {
        Self::new(
            8009,
            format!(
                "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect. {what}"
            ),
        )
    }

    /// As the message of a SQLite error, to be found again by [`From<rusqlite::Error>`].
    pub(crate) fn carried(&self) -> rusqlite::Error {
        let text =
            format!("{CARRIED}{}:{}:{}:{}", self.number, self.class, self.state, self.message);
        rusqlite::Error::UserFunctionError(text.into())
    }

    fn from_carried(text: &str) -> Option<Self> {
        let mut parts = text.split_once(CARRIED)?.1.splitn(4, ':');
        Some(Self {
            number: parts.next()?.parse().ok()?,
            class: parts.next()?.parse().ok()?,
            state: parts.next()?.parse().ok()?,
            message: parts.next()?.to_owned(),
        })
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        if let Some(carried) = Self::from_carried(&text) {
            return carried;
        }
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Self::new(1222, "Lock request time out period exceeded.")
            }
            Some(rusqlite::ErrorCode::DiskFull) => {
                Self::new(1105, "Could not allocate space for an object in the database.").class(17)
            }
            _ => Self::new(596, format!("The sandbox's storage failed: {text}")),
        }
    }
}
