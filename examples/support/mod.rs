//! What every example here begins with: a stand-in for SQL Server, a master key in a directory, a
//! column key `Cek` in the database, and an application that may use both.

#![allow(dead_code, reason = "no example needs all of it")]

use std::{error::Error, process::ExitCode};

use always_encrypted::{
    Client, Connector,
    admin::{create_column_encryption_key, create_column_master_key},
    crypto::Cek,
    keystore::{CertificateDirectory, KeyStoreProvider, KeyStores, RSA_OAEP, StoreLocation},
    policy::TrustedKeyPaths,
};
use always_encrypted_sandbox::{Encryption, Sandbox};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub struct Database {
    pub sandbox: Sandbox,
    /// The application's: with the keys and with `Column Encryption Setting=Enabled`.
    pub connector: Connector,
    /// The connection of those who create tables: no keys.
    dba: Client,
    _keys: Option<tempfile::TempDir>,
}

impl Database {
    pub async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let keys = CertificateDirectory::open(dir.path()).await?;
        let key_path = keys.create_cmk(StoreLocation::CurrentUser, "Example").await?.to_string();
        Ok(Self { _keys: Some(dir), ..Self::start_with(keys, &key_path).await? })
    }

    /// The same with a key store of one's own, and the master key at that path in it.
    pub async fn start_with(keys: impl KeyStoreProvider, key_path: &str) -> Result<Self> {
        // TLS for the login only, so that what is recorded of the wire is what the server saw.
        let sandbox = Sandbox::builder().encryption(Encryption::Off).record(true).start().await?;
        let envelope = keys.wrap_cek(key_path, RSA_OAEP, &Cek::generate()?).await?;
        let master_key = create_column_master_key("Cmk", keys.name(), key_path);

        let plain = sandbox.connection_string();
        let no_keys = KeyStores::builder().build()?;
        let dba = Connector::from_ado_string(&plain, no_keys)?.connect().await?;
        let connector = Connector::from_ado_string(
            &format!("{plain};Column Encryption Setting=Enabled"),
            KeyStores::builder().provider(keys).build()?,
        )?
        .trusted_key_paths(TrustedKeyPaths::only([key_path]));
        let mut database = Self { sandbox, connector, dba, _keys: None };
        database.run_as_dba(&master_key).await?;
        database.run_as_dba(&create_column_encryption_key("Cek", "Cmk", &envelope)).await?;
        Ok(database)
    }

    /// Runs a statement without keys. `[[RANDOMIZED]]` and `[[DETERMINISTIC]]` stand for the clause
    /// that encrypts a column.
    pub async fn run_as_dba(&mut self, sql: &str) -> Result<()> {
        let sql = sql
            .replace("[[RANDOMIZED]]", &encrypted("RANDOMIZED"))
            .replace("[[DETERMINISTIC]]", &encrypted("DETERMINISTIC"));
        self.dba.simple_query(sql).await?.into_results().await?;
        Ok(())
    }

    /// A table `Messages`, texts into its encrypted column and out again; fails if they come back as
    /// something else or were seen on the way.
    pub async fn write_and_read(&mut self, texts: &[&str]) -> Result<()> {
        self.run_as_dba(
            "CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, \
             Content nvarchar(max) [[RANDOMIZED]] NULL)",
        )
        .await?;
        let mut client = self.connector.connect().await?;
        for (id, text) in (1..).zip(texts) {
            let sql = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
            client.execute(sql, &[&id, text]).await?;
        }
        let sql = "SELECT Content FROM Messages ORDER BY Id";
        let rows = client.query(sql, &[]).await?.into_first_result().await?;
        let mut read = Vec::new();
        for row in &rows {
            read.push(row.try_get::<&str, _>(0)?.ok_or("a message is NULL")?);
        }
        println!("   the application reads {read:?}");
        if read != texts {
            return Err(format!("{texts:?} came back as {read:?}").into());
        }
        let row = self.dba.query(sql, &[]).await?.into_row().await?.ok_or("no message")?;
        println!("   without keys it is    {}", hex_head(row.try_get(0)?.ok_or("no cell")?));
        texts.iter().try_for_each(|text| self.was_never_on_the_wire(text))
    }

    /// Fails if a text was on the wire, in either direction.
    pub fn was_never_on_the_wire(&self, secret: &str) -> Result<()> {
        let recorded = self.sandbox.recorded();
        let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [&recorded.from_clients, &recorded.to_clients] {
            for needle in [secret.as_bytes(), &utf16] {
                if memchr::memmem::find(bytes, needle).is_some() {
                    return Err(format!("{secret:?} was on the wire").into());
                }
            }
        }
        Ok(())
    }
}

fn encrypted(kind: &str) -> String {
    format!(
        "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = Cek, ENCRYPTION_TYPE = {kind}, \
         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')"
    )
}

/// The beginning of a cell, for people.
pub fn hex_head(cell: &[u8]) -> String {
    let head: String = cell.iter().take(20).map(|b| format!("{b:02x}")).collect();
    format!("0x{head}\u{2026} ({} bytes)", cell.len())
}

/// The example's last line, and its exit code.
pub fn conclude(shown: Result<String>) -> ExitCode {
    match shown {
        Ok(what) => {
            println!("\nok: {what}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}
