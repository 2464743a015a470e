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

mod azure;
mod files;
mod java;
mod lying_token;
mod pkcs11;
mod run;
mod soft_hsm;
mod tools;
mod vault;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = soft_hsm::start_anew() {
        return code;
    }
    run::all([
        ("azure", azure::cases()),
        ("files", files::cases()),
        ("java", java::cases()),
        ("pkcs11", pkcs11::cases()),
        ("lying token", lying_token::cases()),
    ])
}
