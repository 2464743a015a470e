//! What the client demands of a server that it does not trust.
//!
//! This layer owns the decision which column master keys may be used. Which columns must be
//! encrypted will be decided here as well.

mod setting;

pub use setting::{ColumnEncryption, UnknownSetting};

use crate::keystore::EncryptedCekValue;

/// The key paths of column master keys that a server may name.
///
/// A server that is not trusted with plaintext could name a key of its own, and have data encrypted
/// for itself. With a list, a path outside of it is refused before a key store is asked.
///
/// The meaning is that of SqlClient's `ColumnEncryptionTrustedMasterKeyPaths`: without a list every
/// path is trusted; paths compare without regard to case.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeyPaths(Option<Vec<String>>);

impl TrustedKeyPaths {
    /// Trusts every path, as SqlClient does unless told otherwise.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Trusts these paths only.
    pub fn only<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self(Some(paths.into_iter().map(|p| p.into().to_lowercase()).collect()))
    }

    /// Whether a path is trusted.
    #[must_use]
    pub fn trusts(&self, key_path: &str) -> bool {
        match &self.0 {
            None => true,
            Some(paths) => {
                let key_path = key_path.to_lowercase();
                paths.contains(&key_path)
            }
        }
    }

    /// The values of a CEK that may be tried, in their order.
    pub(crate) fn trusted_values(&self, values: &[EncryptedCekValue]) -> Vec<EncryptedCekValue> {
        values.iter().filter(|v| self.trusts(&v.key_path)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_outside_of_the_list_is_not_trusted() {
        let trusted = TrustedKeyPaths::only(["CurrentUser/My/ABCD"]);
        assert!(trusted.trusts("currentuser/my/abcd"));
        assert!(!trusted.trusts("CurrentUser/My/ABCDE"));
        assert!(!TrustedKeyPaths::only::<String>([]).trusts("anything"));
        assert!(TrustedKeyPaths::any().trusts("anything"));
    }
}
