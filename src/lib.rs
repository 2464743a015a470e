//! SQL Server Always Encrypted for the driver you already use.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod client;
pub mod crypto;
pub mod keystore;
pub mod tds;
pub mod value;
