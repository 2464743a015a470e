//! `JavaKeyStore` on files that keytool made, beside the provider of Microsoft's JDBC driver.

use crate::run::Case;

pub fn cases() -> Vec<Case> {
    Vec::new()
}
