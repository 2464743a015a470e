//! Why there is no connection.

use std::sync::Arc;

use crate::{
    client::{ConfigError, ConnectError},
    session::SessionError,
};

/// Why [`Connector::connect`](crate::Connector::connect) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are wrong. The caller is at fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server could not be reached, or TLS with it failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Always Encrypted failed during the login.
    #[error(transparent)]
    Session(Arc<SessionError>),
    /// The login failed, or the driver did.
    #[error(transparent)]
    Driver(tiberius::error::Error),
    /// Each server sent the login on to another.
    #[error("the login was sent on {hops} times")]
    TooManyRedirects {
        /// How often.
        hops: usize,
    },
}
