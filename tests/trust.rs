//! Which master keys a server may name, from the settings to the refusal.

mod database;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use always_encrypted::{
    Config, Connector, SessionError,
    admin::{
        MasterKey, create_column_encryption_key, create_column_master_key,
        create_column_master_key_for_enclaves, drop_column_master_key, sign_master_key,
    },
    client::ColumnCipherError,
    crypto::Cek,
    keystore::{BoxFuture, CekError, InMemoryKeyStore, KeyStoreError, KeyStoreProvider, KeyStores},
    policy::TrustedKeyPaths,
};
use database::{Database, PATH, PROVIDER, encrypted, run};

const SECRET: &str = "the eastern gate at noon";
const INSERT: &str = "INSERT INTO T (Id, C) VALUES (@P1, @P2)";

/// Counts the calls.
struct Counting(InMemoryKeyStore, Arc<AtomicUsize>);

impl Counting {
    fn new(database: &Database) -> (Self, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        (Self(database::store(&database.cmk), calls.clone()), calls)
    }
}

impl KeyStoreProvider for Counting {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn unwrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<Cek, KeyStoreError>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unwrap_cek(key_path, algorithm, envelope)
    }

    fn wrap_cek<'a>(
        &'a self,
        key_path: &'a str,
        algorithm: &'a str,
        cek: &'a Cek,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        self.0.wrap_cek(key_path, algorithm, cek)
    }

    fn sign_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow: bool,
    ) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        self.0.sign_cmk_metadata(key_path, allow)
    }

    fn verify_cmk_metadata<'a>(
        &'a self,
        key_path: &'a str,
        allow: bool,
        signature: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, KeyStoreError>> {
        self.0.verify_cmk_metadata(key_path, allow, signature)
    }
}

async fn table(database: &Database, cek: &str) {
    let with = encrypted("RANDOMIZED").replace("= Cek,", &format!("= {cek},"));
    let sql = format!("CREATE TABLE T (Id int NOT NULL PRIMARY KEY, C nvarchar(40) {with} NULL)");
    run(&mut database.dba().await, &sql).await;
}

/// A connector with these trusted paths, set in the settings.
fn configured(database: &Database, trusted: TrustedKeyPaths) -> (Connector, Arc<AtomicUsize>) {
    let text = database.sandbox.connection_string();
    let config =
        Config::from_ado_string(&text).unwrap().column_encryption(true).trusted_key_paths(trusted);
    let (store, calls) = Counting::new(database);
    let keys = KeyStores::builder().provider(store).build().unwrap();
    (Connector::new(config, keys).unwrap(), calls)
}

/// Writes, and returns the refusal.
async fn refusal(connector: &Connector) -> Arc<SessionError> {
    let mut client = connector.connect().await.unwrap();
    let error = client.execute(INSERT, &[&1, &SECRET]).await.expect_err("it was written");
    let typed = connector.error_behind(&error).expect("an error of ours");
    // The connection goes on.
    client.simple_query("SELECT 1").await.unwrap().into_results().await.unwrap();
    typed
}

#[tokio::test]
async fn a_server_that_is_not_listed_is_refused_when_strict_and_no_key_store_is_asked() {
    let database = Database::start().await;
    table(&database, "Cek").await;
    let elsewhere = TrustedKeyPaths::strict().at_server("db.example.com", [PATH]);
    let (connector, calls) = configured(&database, elsewhere);
    let error = refusal(&connector).await;
    let SessionError::UntrustedKeyPath { source, .. } = &*error else { panic!("{error}") };
    let port = database.sandbox.port();
    assert_eq!(source.server.as_deref(), Some(format!("127.0.0.1,{port}").as_str()));
    assert_eq!((source.provider.as_str(), source.key_path.as_str()), (PROVIDER, PATH));
    let text = error.to_string();
    let remedy = format!("at_server(\"127.0.0.1,{port}\", [(\"{PROVIDER}\", \"{PATH}\")])");
    assert!(text.contains(&remedy), "{text}");
    assert!(error.is_servers_fault());
    let mut client = connector.connect().await.unwrap();
    let by_hand = connector.column_cipher(&mut client, "T", "C").await.unwrap_err();
    assert!(matches!(by_hand, ColumnCipherError::UntrustedKeyPath { .. }), "{by_hand}");
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the key store was asked");
    database.assert_never_on_the_wire(SECRET);
}

#[tokio::test]
async fn a_key_that_has_been_opened_for_a_trusting_connector_is_refused_to_a_wary_one() {
    let database = Database::start().await;
    table(&database, "Cek").await;
    let (connector, calls) = configured(&database, TrustedKeyPaths::any());
    let mut client = connector.connect().await.unwrap();
    client.execute(INSERT, &[&7, &SECRET]).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The two share the cache of keys.
    let wary = connector.trusted_key_paths(TrustedKeyPaths::strict());
    let error = refusal(&wary).await;
    assert!(matches!(*error, SessionError::UntrustedKeyPath { .. }), "{error}");
    let mut client = wary.connect().await.unwrap();
    let result = match client.query("SELECT C FROM T", &[]).await {
        Ok(stream) => stream.into_results().await.map(drop),
        Err(error) => Err(error),
    };
    let error = wary.error_behind(&result.expect_err("it was read")).unwrap();
    assert!(matches!(*error, SessionError::UntrustedKeyPath { .. }), "{error}");
}

#[tokio::test]
async fn the_entry_of_the_server_holds_with_the_key_store_pinned_or_not() {
    let database = Database::start().await;
    table(&database, "Cek").await;
    let strict = TrustedKeyPaths::strict;
    let refused = [
        strict().at_server("127.0.0.1", ["vault/other"]),
        strict().at_server("127.0.0.1", [("ANOTHER_STORE", PATH)]),
        TrustedKeyPaths::any().at_server::<String>("127.0.0.1", []),
        TrustedKeyPaths::only([PATH]).at_server("127.0.0.1", ["vault/other"]),
    ];
    for trusted in refused {
        let (connector, calls) = configured(&database, trusted);
        let error = refusal(&connector).await;
        assert!(matches!(*error, SessionError::UntrustedKeyPath { .. }), "{error}");
        assert_eq!(calls.load(Ordering::SeqCst), 0, "the key store was asked");
    }
    let trusted = [
        strict().at_server("127.0.0.1", [PATH]),
        strict().at_server("tcp:127.0.0.1", [(PROVIDER.to_lowercase(), PATH)]),
        TrustedKeyPaths::any().at_server("db.example.com", ["vault/other"]),
    ];
    for (id, trusted) in trusted.into_iter().enumerate() {
        let (connector, _) = configured(&database, trusted);
        let mut client = connector.connect().await.unwrap();
        client.execute(INSERT, &[&(id as i32), &SECRET]).await.unwrap();
    }
    // Case counts in this key store, and it is asked for the path that is listed, not for the server's.
    let listed = PATH.to_uppercase();
    let (connector, _) = configured(&database, strict().at_server("127.0.0.1", [listed.as_str()]));
    let error = refusal(&connector).await;
    let SessionError::Key { source: CekError::NoneOpened { attempts }, .. } = &*error else {
        panic!("{error}");
    };
    assert!(
        matches!(&attempts[0].error, KeyStoreError::KeyNotFound { key_path, .. } if *key_path == listed),
        "{error}"
    );
    database.assert_never_on_the_wire(SECRET);
}

#[tokio::test]
async fn of_a_keys_values_the_untrusted_is_named_beside_the_one_that_fails() {
    let database = Database::start().await;
    let mut dba = database.dba().await;
    let envelope = database.wrap(&Cek::generate().unwrap()).await;
    run(&mut dba, &create_column_master_key("Mine", "GONE_STORE", "vault/mine")).await;
    run(&mut dba, &create_column_master_key("Theirs", PROVIDER, "vault/theirs")).await;
    let theirs = create_column_encryption_key("Two", "Theirs", &envelope);
    let (_, mine) = create_column_encryption_key("Two", "Mine", &envelope)
        .split_once("VALUES ")
        .map(|(head, value)| (head.to_owned(), value.to_owned()))
        .unwrap();
    run(&mut dba, &format!("{theirs}, {mine}")).await;
    table(&database, "Two").await;
    let (connector, calls) = configured(&database, TrustedKeyPaths::only(["vault/mine"]));
    let error = refusal(&connector).await;
    let SessionError::Key { source: CekError::NoneOpened { attempts }, .. } = &*error else {
        panic!("{error}");
    };
    let [tried, refused] = &attempts[..] else { panic!("{error}") };
    assert!(matches!(tried.error, KeyStoreError::UnknownProvider { .. }), "{error}");
    assert!(matches!(refused.error, KeyStoreError::UntrustedKeyPath(_)), "{error}");
    assert_eq!(refused.key_path, "vault/theirs");
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the key store was asked");
    database.assert_never_on_the_wire(SECRET);
}

#[tokio::test]
async fn a_definition_that_the_database_has_changed_is_told_from_the_one_that_was_signed() {
    let database = Database::start().await;
    let mut dba = database.dba().await;
    let store = database::store(&database.cmk);
    let signature = sign_master_key(MasterKey::new(&store, PATH)).await.unwrap();
    let stores = database.connector.key_stores();
    let signed = create_column_master_key_for_enclaves("S", PROVIDER, PATH, &signature);
    let of_another = create_column_master_key_for_enclaves("S", PROVIDER, PATH, &[7; 256]);
    for (sql, holds) in [(signed, true), (of_another, false)] {
        run(&mut dba, &sql).await;
        let select = "SELECT key_store_provider_name, key_path, allow_enclave_computations, \
                      signature FROM sys.column_master_keys WHERE name = 'S'";
        let row = dba.query(select, &[]).await.unwrap().into_row().await.unwrap().unwrap();
        let (provider, path) = (row.get::<&str, _>(0).unwrap(), row.get::<&str, _>(1).unwrap());
        let (allowed, found) = (row.get::<bool, _>(2).unwrap(), row.get::<&[u8], _>(3).unwrap());
        assert!(allowed);
        let verdict = stores.verify_cmk_metadata(provider, path, allowed, found).await.unwrap();
        assert_eq!(verdict, holds);
        // Without the leave that was signed, or with a signature left out, it is another definition.
        assert!(!stores.verify_cmk_metadata(provider, path, false, found).await.unwrap());
        assert!(!stores.verify_cmk_metadata(provider, path, allowed, &[]).await.unwrap());
        run(&mut dba, &drop_column_master_key("S")).await;
    }
}
