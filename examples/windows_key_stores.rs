//! Whether this account can use a master key that Windows keeps: it wraps a new column key with it and
//! opens it again. Runs on Windows.
//!
//! ```text
//! cargo run --features windows-key-stores --example windows_key_stores -- \
//!     MSSQL_CERTIFICATE_STORE CurrentUser/My/0BE978BA7DA3DBBB7DD58E4A6A3C9DCB8B1A5D2C
//! ```
//!
//! The provider is `MSSQL_CERTIFICATE_STORE`, `MSSQL_CNG_STORE` or `MSSQL_CSP_PROVIDER`; the path is the
//! KEY_PATH of the column master key.

use std::process::ExitCode;

#[cfg(not(windows))]
fn main() -> ExitCode {
    eprintln!(
        "the stores of Windows are on Windows; elsewhere see the example certificate_directory"
    );
    ExitCode::FAILURE
}

#[cfg(windows)]
#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(shown) => {
            println!("ok: {shown}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(windows)]
async fn run() -> Result<String, Box<dyn std::error::Error>> {
    use always_encrypted::{
        crypto::Cek,
        keystore::{
            KeyStoreProvider, MSSQL_CERTIFICATE_STORE, MSSQL_CNG_STORE, MSSQL_CSP_PROVIDER,
            RSA_OAEP, WindowsKeyStore,
        },
    };

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [provider, path] = arguments.as_slice() else {
        return Err("usage: windows_key_stores PROVIDER KEY_PATH".into());
    };
    let store = match provider.as_str() {
        MSSQL_CERTIFICATE_STORE => WindowsKeyStore::certificates(),
        MSSQL_CNG_STORE => WindowsKeyStore::cng(),
        MSSQL_CSP_PROVIDER => WindowsKeyStore::csp(),
        other => return Err(format!("no such provider: {other:?}").into()),
    };
    let cek = Cek::generate()?;
    let envelope = store.wrap_cek(path, RSA_OAEP, &cek).await?;
    let opened = store.unwrap_cek(path, RSA_OAEP, &envelope).await?;
    if opened.expose() != cek.expose() {
        return Err("another key came back".into());
    }
    Ok(format!("{provider} wraps and opens keys with {path}"))
}
