//! A master key in Azure Key Vault: a column key is wrapped by the vault's key, and rows are written
//! and read with it.
//!
//! ```text
//! cargo run --example azure_key_vault --features azure-key-vault
//! ```
//!
//! As it stands, the vault is a stand-in in this process. With a key of your own, whose identity may
//! get, unwrapKey and sign:
//!
//! ```text
//! export AZURE_KEY_PATH=$(az keyvault key show --vault-name contoso --name cmk \
//!     --query key.kid --output tsv)
//! export AZURE_ACCESS_TOKEN=$(az account get-access-token --resource https://vault.azure.net \
//!     --query accessToken --output tsv)
//! ```
//!
//! A program takes its credential from the crate `azure_identity` instead of a token that somebody
//! fetched for it.

#[path = "../tests/key_stores/vault/mod.rs"]
mod vault;

use std::{env, error::Error, process::ExitCode, sync::Arc};

use always_encrypted::{
    Connector,
    admin::{create_column_encryption_key, create_column_master_key},
    crypto::Cek,
    keystore::{AZURE_KEY_VAULT, AzureKeyVault, KeyStoreProvider, KeyStores, RSA_OAEP},
    policy::TrustedKeyPaths,
};
use always_encrypted_sandbox::Sandbox;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    time::{Duration, OffsetDateTime},
};
use vault::VaultStandIn;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONTENT: &str = "meet at the northern harbour at dawn";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
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

async fn run() -> Result<String> {
    let (store, key_path) = match env::var("AZURE_KEY_PATH") {
        Ok(path) => {
            let token =
                env::var("AZURE_ACCESS_TOKEN").map_err(|_| "AZURE_ACCESS_TOKEN is unset")?;
            (AzureKeyVault::new(Arc::new(Token(token)))?, path)
        }
        Err(_) => stand_in().await?,
    };
    println!("1. The master key: {key_path}");

    let envelope = store.wrap_cek(&key_path, RSA_OAEP, &Cek::generate()?).await?;
    println!("2. A column key, encrypted by it and signed by the vault: {} bytes", envelope.len());

    let sandbox = Sandbox::start().await?;
    let plain = sandbox.connection_string();
    let no_keys = KeyStores::builder().build()?;
    let mut dba = Connector::from_ado_string(&plain, no_keys)?.connect().await?;
    for sql in [
        create_column_master_key("Cmk", AZURE_KEY_VAULT, &key_path),
        create_column_encryption_key("Cek", "Cmk", &envelope),
        "CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, Content nvarchar(max) ENCRYPTED WITH \
         (COLUMN_ENCRYPTION_KEY = Cek, ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = \
         'AEAD_AES_256_CBC_HMAC_SHA_256') NULL)"
            .into(),
    ] {
        dba.simple_query(sql).await?.into_results().await?;
    }

    println!("3. An application that takes this master key and no other:");
    let connector = Connector::from_ado_string(
        &format!("{plain};Column Encryption Setting=Enabled"),
        KeyStores::builder().provider(store).build()?,
    )?
    .trusted_key_paths(TrustedKeyPaths::only([key_path]));
    let mut client = connector.connect().await?;
    client.execute("INSERT INTO Messages VALUES (@P1, @P2)", &[&1, &CONTENT]).await?;
    let rows = client.query("SELECT Content FROM Messages", &[]).await?;
    let row = rows.into_row().await?.ok_or("no message")?;
    let read: &str = row.try_get(0)?.ok_or("no content")?;
    println!("   {read:?}");
    if read != CONTENT {
        return Err("something else was read".into());
    }
    Ok("written and read with a key that the vault opened".into())
}

/// A vault in this process, and a key that the provider creates in it.
async fn stand_in() -> Result<(AzureKeyVault, String)> {
    let host = "contoso.vault.azure.net";
    let vault = VaultStandIn::start(host).await?;
    let store = AzureKeyVault::builder(vault.credential())
        .vaults([host])
        .root_certificate(vault.root_pem())
        .address(host, vault.address())
        .build()?;
    let key_path = store.create_cmk(host, "cmk", 2048, false).await?;
    Ok((store, key_path.to_string()))
}

/// A token that somebody else fetched.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[async_trait::async_trait]
impl TokenCredential for Token {
    async fn get_token(
        &self,
        _scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + Duration::hours(1)))
    }
}
