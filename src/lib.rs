//! SQL Server Always Encrypted for the driver you already use.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
