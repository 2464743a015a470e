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

mod support;
#[path = "../tests/key_stores/vault/mod.rs"]
mod vault;

use std::{env, process::ExitCode, sync::Arc};

use always_encrypted::keystore::AzureKeyVault;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    time::{Duration, OffsetDateTime},
};
use support::{Database, Result, conclude};
use vault::VaultStandIn;

const CONTENT: &str = "meet at the northern harbour at dawn";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
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

    println!(
        "2. A column key that the vault wrapped, and an application that has it opened there:"
    );
    let mut database = Database::start_with(store, &key_path).await?;
    database.write_and_read(&[CONTENT]).await?;
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
