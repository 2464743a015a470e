//! A stand-in for SQL Server that plays the server's half of Always Encrypted.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
