//! SQL Server Always Encrypted for the driver you already use.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod admin;
pub mod client;
pub mod crypto;
mod error;
pub mod keystore;
pub mod metadata;
pub mod policy;
pub mod session;
pub mod tds;
pub mod value;

pub use client::{Client, Config, Connector, Encrypt};
pub use error::Error;
pub use session::SessionError;
