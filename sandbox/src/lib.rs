//! A stand-in for SQL Server that plays the server's half of Always Encrypted.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod catalogue;
mod connection;
mod error;
mod exec;
mod server;
mod sql;
mod tds;
mod tls;
mod types;
mod worker;

pub use server::{Builder, Encryption, Recorded, Sandbox, StartError, Statistics};
