//! Every key store against the real thing: files made by OpenSSL and keytool, Microsoft's own
//! drivers. Of Azure Key Vault there is a stand-in.
//!
//! ```text
//! cargo test --all-features --test key_stores [-- WORD]
//! ```
//!
//! A target of its own, behind the feature `key-store-tests`, because it needs programs that a plain
//! `cargo test` does not: a missing one fails the cases that need it. `.ci/run` installs them. With a
//! word, only cases whose name contains it are run. Each module names its cases in `cases()`.

#[cfg(feature = "azure-key-vault")]
mod azure;
mod files;
mod java;
mod run;
mod tools;
#[cfg(feature = "azure-key-vault")]
mod vault;

use std::process::ExitCode;

fn main() -> ExitCode {
    run::all([
        #[cfg(feature = "azure-key-vault")]
        ("azure", azure::cases()),
        ("files", files::cases()),
        ("java", java::cases()),
    ])
}
