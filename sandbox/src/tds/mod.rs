//! The wire: packets, the login, TYPE_INFO, requests in and tokens out. No SQL here.

pub(crate) mod bulk;
pub(crate) mod cursor;
pub(crate) mod large;
pub(crate) mod login;
pub(crate) mod packet;
pub(crate) mod request;
pub(crate) mod rpc;
pub(crate) mod token;
pub(crate) mod tvp;
pub(crate) mod type_info;
pub(crate) mod variant;
