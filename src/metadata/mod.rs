//! The resolver: what the database says about the encryption of parameters, and for how long we
//! believe it.
//!
//! This layer reads the answer to `sp_describe_parameter_encryption` and keeps it, and reads in a
//! statement's text which columns its parameters go to. Asking is the session's business.

mod cache;
mod describe;
mod target;

pub use cache::{DescribeCache, DescribeKey};
pub use describe::{DescribeAnswer, DescribeFault, Description, ParameterEncryption};
pub use target::{Column, ObjectKind, ObjectName, Target, Targets, targets};
