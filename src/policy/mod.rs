//! What the client demands of a server that it does not trust.
//!
//! This layer owns the decision which column master keys may be used. Which columns must be
//! encrypted will be decided here as well.

mod setting;
mod trust;

pub use setting::{ColumnEncryption, UnknownSetting};
pub use trust::{TrustedKey, TrustedKeyPaths};
