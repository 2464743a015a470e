//! What can be wrong with the settings of a connection. No variant ever holds a secret.

use std::fmt;

/// A connection string or a [`Config`](super::Config) that cannot be used. The caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two settings cannot both hold.
    #[error("{first} and {second} contradict each other: {reason}")]
    Contradiction {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// Why, or which to keep.
        reason: &'static str,
    },
    /// A value that its keyword does not have.
    #[error("{keyword}={value}: expected {expected}")]
    InvalidValue {
        /// The keyword, in its usual spelling.
        keyword: &'static str,
        /// The value as written, shortened if long. Never that of a secret.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Something without which there is no connection.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// How to give it.
        remedy: &'static str,
    },
    /// The text is not `keyword=value;keyword=value`.
    #[error("the connection string is malformed at byte {position}: {problem}")]
    Syntax {
        /// Where the offending keyword or value begins, in bytes from 0.
        position: usize,
        /// What is wrong there. The text itself is not repeated: it may be a password.
        problem: &'static str,
    },
    /// Longer than the login message can carry.
    #[error("{what} is longer than {limit} UTF-16 code units, the most that a login can carry")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The limit, in UTF-16 code units.
        limit: usize,
    },
    /// A keyword that no driver is known to have.
    #[error("unknown keyword '{keyword}'{}", Suggestion(*suggestion))]
    UnknownKeyword {
        /// The keyword as written, shortened if long.
        keyword: String,
        /// The known keyword that looks most like it.
        suggestion: Option<&'static str>,
    },
    /// After the password comes something that is no keyword and may be the password's rest, so
    /// it is not repeated here.
    #[error(
        "what follows the password at byte {position} is no known keyword: a password that holds \
         ';' must be in double or single quotes"
    )]
    UnknownAfterPassword {
        /// Where it begins, in bytes from 0.
        position: usize,
    },
    /// A setting of other drivers that this crate does not have.
    #[error("{keyword} is not supported: {reason}")]
    Unsupported {
        /// The keyword, in its usual spelling.
        keyword: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
}

struct Suggestion(Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(known) => write!(f, "; did you mean '{known}'?"),
            None => Ok(()),
        }
    }
}
