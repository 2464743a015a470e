//! Master keys in a directory of certificates: what a service on Linux mounts in place of a Windows
//! certificate store, and what its administrator is told.
//!
//! ```text
//! cargo run --example certificate_directory
//! ```

mod support;

use std::{fs, process::ExitCode};

use always_encrypted::{
    crypto::Cek,
    keystore::{
        CertificateDirectory, FilePasswords, KeyStoreProvider, MSSQL_CNG_STORE, NewCmk, NewKeyFile,
        RSA_OAEP, StoreLocation,
    },
};
use support::{Database, Result, conclude};

const SECRET: &str = "meet at the northern harbour at dawn";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

async fn run() -> Result<String> {
    let dir = tempfile::tempdir()?;
    let password = dir.path().join("password");
    fs::write(&password, "correct horse\n")?;
    restrict(&password)?;
    let passwords = || FilePasswords::in_file(&password);

    println!("1. An administrator makes a master key: a PFX file, as Windows exports them.");
    let administrator = CertificateDirectory::open_with(dir.path(), passwords()).await?;
    let new = NewCmk::new("Messages 2026").location(StoreLocation::CurrentUser);
    let made = administrator.create_cmk_as(new.file(NewKeyFile::Pfx)).await?;
    let key_path = made.to_string();
    println!("   {key_path}");

    println!("2. A service opens the directory, and uses a database whose columns it encrypts.");
    let store = CertificateDirectory::open_with(dir.path(), passwords()).await?;
    let mut database = Database::start_with(store, &key_path).await?;
    database.write_and_read(&[SECRET]).await?;

    println!("3. Files that are of no use stop no other, and say what to do:");
    fs::write(dir.path().join("notes.pfx"), "not a key")?;
    fs::write(dir.path().join("open.pfx"), fs::read(dir.path().join(pfx(&made)))?)?;
    let store = CertificateDirectory::open_with(dir.path(), passwords()).await?;
    for file in store.skipped().iter() {
        println!("   skipped: {file}");
    }
    for warning in store.warnings().iter() {
        println!("   warning: {warning}");
    }
    if store.skipped().len() != 1 || store.warnings().is_empty() || store.thumbprints().len() != 1 {
        return Err("one file is of no use, and one is there twice".into());
    }

    println!("4. A key that comes later needs no restart:");
    let later = administrator.create_cmk(StoreLocation::CurrentUser, "Messages 2027").await?;
    let envelope = store.wrap_cek(&later.to_string(), RSA_OAEP, &Cek::generate()?).await?;
    println!("   {later} wraps a column key in {} bytes", envelope.len());

    println!("5. The same certificate under the path and the name of SqlClient's CNG provider:");
    let cng_path = "Microsoft Software Key Storage Provider/Messages";
    let cng = CertificateDirectory::open_with(dir.path(), passwords())
        .await?
        .named(MSSQL_CNG_STORE)
        .with_alias(cng_path, made.thumbprint);
    let envelope = cng.wrap_cek(cng_path, RSA_OAEP, &Cek::generate()?).await?;
    cng.unwrap_cek(cng_path, RSA_OAEP, &envelope).await?;
    println!("   {MSSQL_CNG_STORE}: {cng_path}");
    Ok("one directory serves certificates, late ones and CNG paths".to_owned())
}

fn pfx(made: &always_encrypted::keystore::CertificateKeyPath) -> String {
    format!("{}.pfx", made.thumbprint)
}

/// For its owner only, where there are modes.
fn restrict(path: &std::path::Path) -> Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let _ = path;
    Ok(())
}
