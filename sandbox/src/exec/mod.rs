//! Runs requests against the database: one session per connection, on a thread of its own.

pub(crate) mod alter;
pub(crate) mod bulk;
pub(crate) mod constraints;
pub(crate) mod control;
pub(crate) mod database;
pub(crate) mod ddl;
pub(crate) mod describe;
pub(crate) mod functions;
pub(crate) mod insert_exec;
pub(crate) mod key_ddl;
pub(crate) mod like;
pub(crate) mod lock;
pub(crate) mod parameters;
pub(crate) mod procedures;
pub(crate) mod query;
pub(crate) mod response;
pub(crate) mod security;
pub(crate) mod select_into;
pub(crate) mod session;
pub(crate) mod stored;
pub(crate) mod system;
pub(crate) mod table_type;
pub(crate) mod temporary;
pub(crate) mod transaction;
pub(crate) mod undeclared;
pub(crate) mod view;
