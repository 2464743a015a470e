//! Parties that share a server and must not share keys.

mod database;

use std::sync::Arc;

use always_encrypted::{
    Client, Connector, SessionError,
    keystore::{FnKeyStore, KeyStoreError, KeyStoreProvider, KeyStores, RSA_OAEP},
};
use database::{Database, PROVIDER, encrypted, run};

const SECRET: &str = "the southern bridge at midnight";

/// The key stores of a tenant, whose credentials open keys or do not.
fn key_stores(database: &Database, allowed: bool) -> KeyStores {
    let vault = Arc::new(database::store(&database.cmk));
    let store = FnKeyStore::new(PROVIDER).unwrap_with(move |path, envelope| {
        let vault = vault.clone();
        async move {
            if !allowed {
                return Err(KeyStoreError::other("403: this tenant may not use the key"));
            }
            vault.unwrap_cek(&path, RSA_OAEP, &envelope).await
        }
    });
    KeyStores::builder().provider(store).build().unwrap()
}

async fn read(client: &mut Client) -> tiberius::Result<Option<String>> {
    let row = client.query("SELECT C FROM T", &[]).await?.into_row().await?;
    Ok(row.and_then(|row| row.get::<&str, _>(0).map(str::to_owned)))
}

async fn write(connector: &Connector, id: i32) -> tiberius::Result<()> {
    let mut client = connector.connect().await.unwrap();
    let sql = "INSERT INTO T (Id, C) VALUES (@P1, @P2)";
    client.execute(sql, &[&id, &SECRET]).await.map(drop)
}

#[tokio::test]
async fn what_one_tenants_credentials_opened_another_does_not_get() {
    let database = Database::start().await;
    let sql = format!(
        "CREATE TABLE T (Id int NOT NULL PRIMARY KEY, C nvarchar(40) {} NULL)",
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &sql).await;
    let allowed = database.connector.with_key_stores(key_stores(&database, true));
    let denied = allowed.with_key_stores(key_stores(&database, false));

    write(&allowed, 1).await.unwrap();
    assert_eq!(allowed.key_stores().statistics().entries, 1);
    // The statement has been described, the key is open: neither is of use to the other.
    let error = write(&denied, 2).await.expect_err("written with another's key");
    let typed = denied.error_behind(&error).unwrap();
    assert!(matches!(*typed, SessionError::Key { .. }), "{typed}");
    assert!(typed.to_string().contains("403"), "{typed}");
    let mut client = denied.connect().await.unwrap();
    let error = read(&mut client).await.expect_err("read with another's key");
    assert!(matches!(*denied.error_behind(&error).unwrap(), SessionError::Key { .. }));
    let by_hand = denied.column_cipher(&mut client, "T", "C").await.map(drop);
    assert!(by_hand.unwrap_err().to_string().contains("403"));
    assert_eq!(denied.key_stores().statistics().entries, 0);

    // That one is refused is no verdict about the other.
    let mut client = allowed.connect().await.unwrap();
    assert_eq!(read(&mut client).await.unwrap().as_deref(), Some(SECRET));
    assert_eq!(allowed.key_stores().statistics().unwraps, 1);
}

#[tokio::test]
async fn connectors_of_one_party_may_share_their_keys() {
    let database = Database::start().await;
    let sql = format!(
        "CREATE TABLE T (Id int NOT NULL PRIMARY KEY, C nvarchar(40) {} NULL)",
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &sql).await;
    let keys = Arc::new(key_stores(&database, true));
    for id in 0..2 {
        let text = database.sandbox.connection_string() + ";Column Encryption Setting=Enabled";
        let connector = Connector::from_ado_string(&text, keys.clone()).unwrap();
        write(&connector, id).await.unwrap();
    }
    assert_eq!(keys.statistics().unwraps, 1);
}
