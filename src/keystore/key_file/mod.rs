//! Files with keys: how they are read and written, their formats, their passwords, and what is
//! unwise about them.
//!
//! Shared by the key stores that are files. Which files there are and what their keys are called is
//! up to those.

mod budget;
mod certificate;
mod encryption;
#[cfg(feature = "java-keystore")]
pub(super) mod jks;
mod passwords;
pub(super) mod pem;
pub(super) mod pkcs12;
mod read;
mod warnings;
pub(super) mod write;

pub(super) use budget::{FileBudget, ReadingBudget};
pub use certificate::CmkCertificate;
pub(super) use certificate::{CertifiedKey, expiry};
pub use passwords::FilePasswords;
pub(super) use passwords::PasswordState;
#[cfg(test)]
pub(super) use read::MAX_FILE_LEN;
pub(super) use read::{Links, OpenFile, Stamp, exposure};
pub use warnings::KeyFileWarning;
#[cfg(test)]
pub(super) use warnings::MAX_WARNINGS;
pub(super) use warnings::{Found, Warnings};
