//! The others, each called the way its users call it.

pub mod aws_lc;
pub mod mssql_auth;
pub mod naive;
pub mod openssl_kept;
pub mod openssl_per_cell;
pub mod ring_cbc;
