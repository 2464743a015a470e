//! What signatures are over, by the name of the provider.

use super::{MSSQL_CNG_STORE, MSSQL_CSP_PROVIDER, MSSQL_JAVA_KEYSTORE};
use crate::crypto::SignatureForm::{self, OverDigest, OverMessage};

/// Which signatures go with a provider's name: what Microsoft's provider of that name makes is made
/// here too, and what other tools may have made is read.
pub(super) struct SignatureForms {
    /// The form that is written, and those that are read.
    pub(super) envelope: (SignatureForm, &'static [SignatureForm]),
    pub(super) metadata: (SignatureForm, &'static [SignatureForm]),
}

impl SignatureForms {
    /// Two names, and whoever serves them, are SqlClient's CNG and CSP providers; one is JDBC's.
    pub(super) fn of(provider: &str) -> Self {
        let is = |name: &str| provider.eq_ignore_ascii_case(name);
        let plain = (OverMessage, [OverMessage].as_slice());
        let hashed = (OverDigest, [OverMessage, OverDigest].as_slice());
        if is(MSSQL_CNG_STORE) || is(MSSQL_CSP_PROVIDER) {
            Self { envelope: hashed, metadata: plain }
        } else if is(MSSQL_JAVA_KEYSTORE) {
            Self { envelope: plain, metadata: hashed }
        } else {
            Self { envelope: plain, metadata: plain }
        }
    }
}
