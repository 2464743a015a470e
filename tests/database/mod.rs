//! A stand-in server with keys and a connector, for tests that go through tiberius.
#![allow(dead_code)]

use std::sync::Arc;

use always_encrypted::{
    Client, Connector,
    admin::{create_column_encryption_key, create_column_master_key},
    crypto::{Cek, CmkPrivateKey},
    keystore::{InMemoryKeyStore, KeyStoreProvider, KeyStores, RSA_OAEP},
};
use always_encrypted_sandbox::{Builder, Sandbox};

pub const PROVIDER: &str = "TEST_STORE";
pub const PATH: &str = "vault/messages";

pub struct Database {
    pub sandbox: Sandbox,
    pub cmk: Arc<CmkPrivateKey>,
    pub connector: Connector,
}

impl Database {
    /// In memory, without TLS, with a CMK `Cmk` and a CEK `Cek`.
    pub async fn start() -> Self {
        Self::start_with(Sandbox::builder().record(true), "").await
    }

    /// `settings` are appended to the connection string.
    pub async fn start_with(builder: Builder, settings: &str) -> Self {
        let cmk = Arc::new(CmkPrivateKey::generate(2048).unwrap());
        Self::start_with_key(builder, settings, cmk).await
    }

    /// The same with a master key that is there already: to make one takes long.
    pub async fn start_with_key(builder: Builder, settings: &str, cmk: Arc<CmkPrivateKey>) -> Self {
        let sandbox = builder.start().await.unwrap();
        let text =
            format!("{};Column Encryption Setting=Enabled;{settings}", sandbox.connection_string());
        let store = KeyStores::builder().provider(store(&cmk)).build().unwrap();
        let connector = Connector::from_ado_string(&text, store).unwrap();
        let database = Self { sandbox, cmk, connector };
        let mut dba = database.dba().await;
        run(&mut dba, &create_column_master_key("Cmk", PROVIDER, PATH)).await;
        database.create_cek(&mut dba, "Cek").await;
        database
    }

    /// A new CEK under `Cmk`. Its envelope is returned.
    pub async fn create_cek(&self, dba: &mut Client, name: &str) -> Vec<u8> {
        let envelope = self.wrap(&Cek::generate().unwrap()).await;
        run(dba, &create_column_encryption_key(name, "Cmk", &envelope)).await;
        envelope
    }

    pub async fn wrap(&self, cek: &Cek) -> Vec<u8> {
        store(&self.cmk).wrap_cek(PATH, RSA_OAEP, cek).await.unwrap()
    }

    /// A connection that encrypts.
    pub async fn connect(&self) -> Client {
        self.connector.connect().await.unwrap()
    }

    /// A connection without keys and without Always Encrypted.
    pub async fn dba(&self) -> Client {
        let keys = KeyStores::builder().build().unwrap();
        let text = self.sandbox.connection_string();
        Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap()
    }

    /// A connector with these key stores.
    pub fn connector_with(&self, keys: KeyStores) -> Connector {
        let text =
            format!("{};Column Encryption Setting=Enabled", self.sandbox.connection_string());
        Connector::from_ado_string(&text, keys).unwrap()
    }

    /// No byte that reached the server, or was sent by it, holds the text.
    pub fn assert_never_on_the_wire(&self, secret: &str) {
        let recorded = self.sandbox.recorded();
        let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [recorded.from_clients, recorded.to_clients] {
            for needle in [secret.as_bytes(), &utf16] {
                assert!(
                    memchr::memmem::find(&bytes, needle).is_none(),
                    "{secret:?} was on the wire"
                );
            }
        }
    }
}

pub fn store(cmk: &Arc<CmkPrivateKey>) -> InMemoryKeyStore {
    InMemoryKeyStore::new(PROVIDER).with_key(PATH, cmk.clone())
}

pub async fn run(client: &mut Client, sql: &str) {
    client.simple_query(sql.to_owned()).await.unwrap().into_results().await.unwrap();
}

/// `ENCRYPTED WITH (…)` under the CEK `Cek`.
pub fn encrypted(kind: &str) -> String {
    format!(
        "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = Cek, ENCRYPTION_TYPE = {kind}, \
         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')"
    )
}
