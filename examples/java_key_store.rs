//! A master key in a Java key store, which Java applications use through Microsoft's JDBC driver.
//!
//! ```text
//! cargo run --features java-keystore --example java_key_store
//! ```

mod support;

use std::process::ExitCode;

use always_encrypted::{
    crypto::Envelope,
    keystore::{FilePasswords, JavaKeyStore, KeyStoreError, KeyStoreProvider, RSA_OAEP},
};
use support::{Database, Result, conclude};

const SECRET: &str = "meet at the northern harbour at dawn";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

async fn run() -> Result<String> {
    println!(
        "1. A key store with a master key, as `keytool -genkeypair -storetype PKCS12` makes it."
    );
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("keys.p12");
    let passwords = FilePasswords::same("correct horse");
    let store = JavaKeyStore::create(&path, passwords.clone(), "Messages", 2048).await?;
    println!("   {} holds {:?}", path.display(), store.aliases());

    println!("2. What is wrapped under an alias carries it in lower case, as JDBC writes it:");
    let cek = always_encrypted::crypto::Cek::generate()?;
    let envelope = store.wrap_cek("Messages", RSA_OAEP, &cek).await?;
    println!("   {:?}", Envelope::parse(&envelope)?);

    println!("3. A database whose column master key names the alias:");
    let store = JavaKeyStore::open(&path, passwords.clone()).await?;
    let mut database = Database::start_with(store, "Messages").await?;
    database.write_and_read(&[SECRET]).await?;

    println!("4. What goes wrong, and what to do:");
    let store = JavaKeyStore::open(&path, passwords).await?;
    let missing = store.unwrap_cek("nobody", RSA_OAEP, &envelope).await;
    let wrong = JavaKeyStore::open(&path, FilePasswords::same("wrong")).await;
    match (missing, wrong) {
        (
            Err(missing @ KeyStoreError::KeyNotFound { .. }),
            Err(wrong @ KeyStoreError::UnusableKeyFile(_)),
        ) => println!("   {missing}\n   {wrong}"),
        other => return Err(format!("neither should be: {other:?}").into()),
    }
    Ok("a Java key store's key encrypts a column here".to_owned())
}
