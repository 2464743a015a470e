//! Keys that are missing, wrong, rotated, many, slow or not trusted.

use super::*;

#[tokio::test]
async fn many_connections_at_once_open_one_key_and_keep_their_rows_apart() {
    let database = std::sync::Arc::new(Database::start().await);
    messages(&database).await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut client = database.connect().await;
                for i in 0..20 {
                    let (id, content) = (n * 100 + i, format!("content {n} {i}"));
                    client.execute(INSERT, &[&id, &format!("s{n}"), &content]).await.unwrap();
                }
                let sql = "SELECT Id, Content FROM Messages WHERE Sender = @P1 ORDER BY Id";
                let rows = client.query(sql, &[&format!("s{n}")]).await.unwrap();
                let rows = rows.into_first_result().await.unwrap();
                assert_eq!(rows.len(), 20);
                for (i, row) in rows.iter().enumerate() {
                    let expected = format!("content {n} {i}");
                    assert_eq!(row.get::<&str, _>(1), Some(expected.as_str()));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(database.connector.key_stores().statistics().unwraps, 1);
}

#[tokio::test]
async fn a_key_store_without_the_key_says_which_path_which_provider_and_where_it_looked() {
    let database = Database::start().await;
    messages(&database).await;
    database.connect().await.execute(INSERT, &[&1, &"a", &"b"]).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let store = always_encrypted::keystore::CertificateDirectory::open(dir.path()).await.unwrap();
    let keys = KeyStores::builder().provider(store.named(PROVIDER)).build().unwrap();
    let connector = database.connector_with(keys);
    let mut client = connector.connect().await.unwrap();
    for error in [
        client.execute(INSERT, &[&2, &"a", &SECRET]).await.unwrap_err(),
        client
            .query("SELECT * FROM Messages", &[])
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains(PROVIDER) && text.contains(PATH), "{text}");
        let typed = connector.error_behind(&error).expect("a typed error");
        assert!(matches!(*typed, SessionError::Key { .. }), "{typed}");
    }
    database.assert_never_on_the_wire(SECRET);
    let row = client.query("SELECT Id FROM Messages", &[]).await.unwrap();
    assert!(row.into_row().await.unwrap().is_some(), "plain columns need no key");
}

#[tokio::test]
async fn a_provider_that_is_not_registered_is_named_with_those_that_are() {
    let database = Database::start().await;
    messages(&database).await;
    let other = InMemoryKeyStore::new("ANOTHER_STORE");
    let connector = database.connector_with(KeyStores::builder().provider(other).build().unwrap());
    let mut client = connector.connect().await.unwrap();
    let error = client.execute(INSERT, &[&2, &"a", &SECRET]).await.unwrap_err();
    let typed = connector.error_behind(&error).unwrap();
    let SessionError::Key { source: CekError::NoneOpened { attempts }, .. } = &*typed else {
        panic!("{typed}");
    };
    assert!(matches!(attempts[0].error, KeyStoreError::UnknownProvider { .. }));
    assert!(error.to_string().contains("ANOTHER_STORE"), "{error}");
}

#[tokio::test]
async fn the_wrong_master_key_under_the_right_path_is_found_by_the_signature() {
    let database = Database::start().await;
    messages(&database).await;
    let wrong = std::sync::Arc::new(CmkPrivateKey::generate(2048).unwrap());
    let keys = KeyStores::builder().provider(database::store(&wrong)).build().unwrap();
    let connector = database.connector_with(keys);
    let mut client = connector.connect().await.unwrap();
    let error = client.execute(INSERT, &[&2, &"a", &SECRET]).await.unwrap_err();
    assert!(error.to_string().contains("signature"), "{error}");
    database.assert_never_on_the_wire(SECRET);
}

#[tokio::test]
async fn while_a_key_is_being_rotated_either_of_its_values_opens_it() {
    let database = Database::start().await;
    messages(&database).await;
    // The first value is under a master key that this client does not have.
    let cek = Cek::generate().unwrap();
    let gone = CmkPrivateKey::generate(2048).unwrap();
    let gone = always_encrypted::crypto::Envelope::wrap(&cek, "gone", &gone).unwrap();
    let here = database.wrap(&cek).await;
    let mut dba = database.dba().await;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
    run(&mut dba, &format!(
        "CREATE COLUMN MASTER KEY Gone WITH (KEY_STORE_PROVIDER_NAME = N'{PROVIDER}', KEY_PATH = N'gone')"
    )).await;
    run(
        &mut dba,
        &format!(
            "CREATE COLUMN ENCRYPTION KEY Two WITH VALUES \
         (COLUMN_MASTER_KEY = Gone, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x{}), \
         (COLUMN_MASTER_KEY = Cmk, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x{})",
            hex(&gone),
            hex(&here)
        ),
    )
    .await;
    run(
        &mut dba,
        &format!(
            "CREATE TABLE R (Id int NOT NULL PRIMARY KEY, C nvarchar(50) {})",
            encrypted("RANDOMIZED").replace("= Cek,", "= Two,")
        ),
    )
    .await;
    let mut client = database.connect().await;
    client.execute("INSERT INTO R (Id, C) VALUES (@P1, @P2)", &[&1, &SECRET]).await.unwrap();
    let row = client.query("SELECT C FROM R", &[]).await.unwrap().into_row().await.unwrap();
    assert_eq!(row.unwrap().get::<&str, _>(0), Some(SECRET));
}

#[tokio::test]
async fn a_row_under_several_keys_waits_for_each_of_them() {
    let database = Database::start().await;
    let mut dba = database.dba().await;
    let mut columns = String::from("Id int NOT NULL PRIMARY KEY");
    for n in 1..=5 {
        let envelope = database.wrap(&Cek::generate().unwrap()).await;
        let name = format!("Cek{n}");
        let sql = always_encrypted::admin::create_column_encryption_key(&name, "Cmk", &envelope);
        run(&mut dba, &sql).await;
        let with = encrypted("RANDOMIZED").replace("= Cek,", &format!("= Cek{n},"));
        columns.push_str(&format!(", C{n} nvarchar(50) {with}"));
    }
    run(&mut dba, &format!("CREATE TABLE Five ({columns})")).await;
    let mut client = database.connect().await;
    let sql = "INSERT INTO Five (Id, C1, C2, C3, C4, C5) VALUES (@P1, @P2, @P3, @P4, @P5, @P6)";
    client.execute(sql, &[&1, &"one", &"two", &"three", &"four", &"five"]).await.unwrap();

    // Another connector has no key yet and opens them one after the other, in the same row.
    let keys = KeyStores::builder().provider(database::store(&database.cmk)).build().unwrap();
    let connector = database.connector_with(keys);
    let mut client = connector.connect().await.unwrap();
    let read = async {
        let stream = client.query("SELECT C1, C2, C3, C4, C5 FROM Five", &[]).await.unwrap();
        stream.into_row().await.unwrap().unwrap()
    };
    let row = tokio::time::timeout(Duration::from_secs(20), read).await.expect("it hangs");
    let read: Vec<&str> = (0..5).map(|n| row.get(n).unwrap()).collect();
    assert_eq!(read, ["one", "two", "three", "four", "five"]);
    assert_eq!(connector.key_stores().statistics().unwraps, 5);
}

/// A key store that never answers.
struct Hangs;

impl KeyStoreProvider for Hangs {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn unwrap_cek<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        Box::pin(std::future::pending())
    }

    fn wrap_cek<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(std::future::pending())
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        _: &'a str,
        _: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(std::future::pending())
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        _: &'a str,
        _: bool,
        _: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_key_store_that_hangs_holds_up_its_request_and_not_the_connection() {
    let database = Database::start().await;
    messages(&database).await;
    database.connect().await.execute(INSERT, &[&1, &"a", &"b"]).await.unwrap();
    let connector = database.connector_with(KeyStores::builder().provider(Hangs).build().unwrap());
    let mut client = connector.connect().await.unwrap();
    let patience = Duration::from_secs(20);
    for _ in 0..2 {
        // A parameter that waits for its key, and a result that waits for it, each given up.
        let short = Duration::from_millis(100);
        let params: [&dyn ToSql; 3] = [&2, &"a", &SECRET];
        assert!(tokio::time::timeout(short, client.execute(INSERT, &params)).await.is_err());
        let cancelled = tokio::time::timeout(patience, client.cancel_query()).await;
        cancelled.expect("cancelling hangs").unwrap();
        let read = async {
            let stream = client.query("SELECT Content FROM Messages", &[]).await?;
            stream.into_first_result().await
        };
        assert!(tokio::time::timeout(short, read).await.is_err());
        let cancelled = tokio::time::timeout(patience, client.cancel_query()).await;
        cancelled.expect("cancelling hangs").unwrap();
        let row = tokio::time::timeout(patience, client.query("SELECT 7", &[])).await;
        let row = row.expect("the next query hangs").unwrap().into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<i32, _>(0), Some(7));
    }
    database.assert_never_on_the_wire(SECRET);
}

#[tokio::test]
async fn a_master_key_outside_of_the_trusted_paths_is_not_used() {
    let database = Database::start().await;
    messages(&database).await;
    let connector = database.connector.trusted_key_paths(TrustedKeyPaths::only(["vault/other"]));
    let mut client = connector.connect().await.unwrap();
    let error = client.execute(INSERT, &[&2, &"a", &SECRET]).await.unwrap_err();
    let typed = connector.error_behind(&error).unwrap();
    assert!(matches!(*typed, SessionError::UntrustedKeyPath { .. }), "{typed}");
    database.assert_never_on_the_wire(SECRET);
    let trusted = database.connector.trusted_key_paths(TrustedKeyPaths::only([PATH]));
    trusted.connect().await.unwrap().execute(INSERT, &[&2, &"a", &SECRET]).await.unwrap();
}
