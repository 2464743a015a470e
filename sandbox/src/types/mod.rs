//! SQL Server's types: their names and limits, the values they hold, the conversions between them, and how SQLite
//! keeps them so that it compares and orders them as SQL Server would.

pub(crate) mod collation;
pub(crate) mod convert;
pub(crate) mod decimal;
pub(crate) mod odbc;
pub(crate) mod parse;
pub(crate) mod sql_type;
pub(crate) mod storage;
pub(crate) mod temporal;
pub(crate) mod text;
pub(crate) mod value;
pub(crate) mod variant;

pub(crate) use collation::Collation;
pub(crate) use sql_type::{Family, Length, SqlType};
pub(crate) use value::Value;
