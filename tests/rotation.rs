//! A master key is rotated, as clients see it: two values of a key of which one is bad, a switch under
//! load, and a backup from before.

mod database;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use always_encrypted::{
    Client, Connector, SessionError,
    admin::{
        MasterKey, add_column_encryption_key_value, create_column_encryption_key,
        create_column_master_key, drop_column_encryption_key_value, drop_column_master_key,
        rewrap_cek, wrap_new_cek,
    },
    crypto::{Cek, CmkPrivateKey},
    keystore::{
        CekError, FnKeyStore, InMemoryKeyStore, KeyStoreError, KeyStoreProvider, KeyStores,
        RSA_OAEP,
    },
    policy::TrustedKeyPaths,
};
use always_encrypted_sandbox::Sandbox;
use database::{PATH, PROVIDER, encrypted, run};

const NEW_PATH: &str = "vault/new";
const SECRET: &str = "the western tower at dusk";
const INSERT: &str = "INSERT INTO T (Id, C) VALUES (@P1, @P2)";
const SELECT: &str = "SELECT Id FROM T WHERE C = @P1";

fn old_key() -> Arc<CmkPrivateKey> {
    let pem = include_str!("fixtures/keystore/pair.key");
    Arc::new(CmkPrivateKey::from_pem(pem).unwrap())
}

fn new_key() -> Arc<CmkPrivateKey> {
    Arc::new(CmkPrivateKey::generate(2048).unwrap())
}

/// A key store with the master keys of both paths.
struct Rotation {
    old: Arc<CmkPrivateKey>,
    new: Arc<CmkPrivateKey>,
}

impl Rotation {
    fn new() -> Self {
        Self { old: old_key(), new: new_key() }
    }

    fn store(&self) -> InMemoryKeyStore {
        self.only_new().with_key(PATH, self.old.clone())
    }

    fn only_new(&self) -> InMemoryKeyStore {
        InMemoryKeyStore::new(PROVIDER).with_key(NEW_PATH, self.new.clone())
    }

    /// The T-SQL of both master keys, of a CEK under the old one, and of a table.
    async fn create(&self, dba: &mut Client) -> Vec<u8> {
        let store = self.store();
        let envelope = wrap_new_cek(MasterKey::new(&store, PATH)).await.unwrap();
        run(dba, &create_column_master_key("Old", PROVIDER, PATH)).await;
        run(dba, &create_column_master_key("New", PROVIDER, NEW_PATH)).await;
        run(dba, &create_column_encryption_key("Cek", "Old", &envelope)).await;
        create_table(dba).await;
        envelope
    }

    async fn rewrap(&self, envelope: &[u8]) -> Vec<u8> {
        let store = self.store();
        let (old, new) = (MasterKey::new(&store, PATH), MasterKey::new(&store, NEW_PATH));
        rewrap_cek(envelope, old, new).await.unwrap()
    }
}

async fn create_table(dba: &mut Client) {
    let sql = format!(
        "CREATE TABLE T (Id int NOT NULL PRIMARY KEY, \
         C nvarchar(40) COLLATE Latin1_General_BIN2 {} NULL)",
        encrypted("DETERMINISTIC")
    );
    run(dba, &sql).await;
}

fn connector(sandbox: &Sandbox, keys: KeyStores) -> Connector {
    let text = format!("{};Column Encryption Setting=Enabled", sandbox.connection_string());
    Connector::from_ado_string(&text, keys).unwrap()
}

fn with_store(sandbox: &Sandbox, store: impl KeyStoreProvider) -> Connector {
    connector(sandbox, KeyStores::builder().provider(store).build().unwrap())
}

async fn dba(sandbox: &Sandbox) -> Client {
    let keys = KeyStores::builder().build().unwrap();
    let connector = Connector::from_ado_string(&sandbox.connection_string(), keys).unwrap();
    connector.connect().await.unwrap()
}

async fn write(client: &mut Client, id: i32) -> tiberius::Result<()> {
    client.execute(INSERT, &[&id, &SECRET]).await.map(drop)
}

async fn read(client: &mut Client) -> tiberius::Result<usize> {
    let rows = client.query("SELECT C FROM T", &[]).await?.into_first_result().await?;
    assert!(rows.iter().all(|row| row.get::<&str, _>(0) == Some(SECRET)));
    Ok(rows.len())
}

/// One value of a key as the server has it: the name of its master key, provider, path, envelope.
type Value<'a> = (&'a str, &'a str, &'a str, Vec<u8>);

/// A server with a key of two values.
async fn two_values(values: [Value<'_>; 2]) -> Sandbox {
    let sandbox = Sandbox::builder().record(true).start().await.unwrap();
    let mut dba = dba(&sandbox).await;
    for (name, provider, path, _) in &values {
        run(&mut dba, &create_column_master_key(name, provider, path)).await;
    }
    let [(first, .., envelope), (second, .., other)] = &values;
    run(&mut dba, &create_column_encryption_key("Cek", first, envelope)).await;
    run(&mut dba, &add_column_encryption_key_value("Cek", second, other)).await;
    create_table(&mut dba).await;
    sandbox
}

/// A CEK wrapped by the key of the store, and the same with a bit flipped in its signature.
async fn wrapped(store: &InMemoryKeyStore) -> (Vec<u8>, Vec<u8>) {
    let envelope = store.wrap_cek(PATH, RSA_OAEP, &Cek::generate().unwrap()).await.unwrap();
    let mut corrupt = envelope.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    (envelope, corrupt)
}

fn unreachable_store() -> FnKeyStore {
    FnKeyStore::new("DOWN_STORE").unwrap_with(|_path, _envelope| async {
        Err(KeyStoreError::Unavailable {
            provider: "DOWN_STORE".into(),
            message: "no route to host".into(),
        })
    })
}

/// Writes and reads with the second value, the first being bad.
async fn the_second_opens(first: Value<'_>, good: Vec<u8>, trusted: TrustedKeyPaths) {
    let name = first.2.to_owned();
    let sandbox = two_values([first, ("Good", PROVIDER, PATH, good)]).await;
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
    let keys = KeyStores::builder().provider(store).provider(unreachable_store());
    let connector = connector(&sandbox, keys.build().unwrap()).trusted_key_paths(trusted);
    let mut client = connector.connect().await.unwrap();
    write(&mut client, 1).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    // A result brings both values as well, and nothing of the cache is needed to choose.
    connector.key_stores().purge();
    assert_eq!(read(&mut client).await.unwrap(), 1, "{name}");
}

#[tokio::test]
async fn a_first_value_whose_key_store_is_down_does_not_keep_the_second_from_opening() {
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
    let (good, _) = wrapped(&store).await;
    let first = ("Bad", "DOWN_STORE", "far/away", good.clone());
    the_second_opens(first, good, TrustedKeyPaths::any()).await;
}

#[tokio::test]
async fn a_first_value_of_an_untrusted_path_does_not_keep_the_second_from_opening() {
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
    let (good, _) = wrapped(&store).await;
    let first = ("Bad", PROVIDER, "vault/theirs", good.clone());
    the_second_opens(first, good, TrustedKeyPaths::only([PATH])).await;
}

#[tokio::test]
async fn a_first_value_that_is_corrupt_does_not_keep_the_second_from_opening() {
    let store =
        InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key()).with_key("vault/same", old_key());
    let (good, corrupt) = wrapped(&store).await;
    // Under a path that is there: the envelope is what does not open.
    let sandbox =
        two_values([("Bad", PROVIDER, "vault/same", corrupt), ("Good", PROVIDER, PATH, good)])
            .await;
    let connector = with_store(&sandbox, store);
    let mut client = connector.connect().await.unwrap();
    write(&mut client, 1).await.unwrap();
    assert_eq!(connector.key_stores().statistics().failures, 1);
    connector.key_stores().purge();
    assert_eq!(read(&mut client).await.unwrap(), 1);
}

#[tokio::test]
async fn a_first_value_of_an_unknown_provider_does_not_keep_the_second_from_opening() {
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
    let (good, _) = wrapped(&store).await;
    let first = ("Bad", "NOBODY_HAS_THIS", "k", good.clone());
    the_second_opens(first, good, TrustedKeyPaths::any()).await;
}

#[tokio::test]
async fn when_no_value_opens_the_error_names_each_with_its_reason() {
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
    let (good, corrupt) = wrapped(&store).await;
    let cases: [(Value<'_>, &str); 4] = [
        (("Bad", "DOWN_STORE", "far/away", good.clone()), "no route to host"),
        (("Bad", PROVIDER, "vault/theirs", good.clone()), "does not trust"),
        (("Bad", PROVIDER, "vault/gone", good.clone()), "no column master key at path"),
        (("Bad", "NOBODY_HAS_THIS", "vault/gone", good), "no key store provider is registered"),
    ];
    for (first, reason) in cases {
        let path = first.2.to_owned();
        let sandbox = two_values([first, ("Worse", PROVIDER, PATH, corrupt.clone())]).await;
        let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, old_key());
        let keys = KeyStores::builder().provider(store).provider(unreachable_store());
        let trusted = TrustedKeyPaths::only([PATH, "far/away", "vault/gone"]);
        let connector = connector(&sandbox, keys.build().unwrap()).trusted_key_paths(trusted);
        let mut client = connector.connect().await.unwrap();
        let error = write(&mut client, 1).await.expect_err(reason);
        let error = connector.error_behind(&error).unwrap();
        let SessionError::Key { source: CekError::NoneOpened { attempts }, .. } = &*error else {
            panic!("{error}");
        };
        assert_eq!(attempts.len(), 2, "{error}");
        let text = error.to_string();
        for part in [reason, &format!("{path:?}"), &format!("{PATH:?}"), "signature"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

/// Writes and reads until it is told to stop, and counts what it did.
async fn work(connector: Connector, first_id: i32, done: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let mut client = connector.connect().await.unwrap();
    let mut id = first_id;
    while !stop.load(Ordering::SeqCst) {
        write(&mut client, id).await.unwrap_or_else(|e| panic!("insert {id}: {e}"));
        let rows = client.query(SELECT, &[&SECRET]).await.unwrap_or_else(|e| panic!("select: {e}"));
        let rows = rows.into_first_result().await.unwrap_or_else(|e| panic!("select: {e}"));
        assert!(!rows.is_empty(), "what was written is not found");
        let sql = format!("SELECT C FROM T WHERE Id = {id}");
        let row = client.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<&str, _>(0), Some(SECRET));
        id += 1;
        done.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_is_rotated_under_load_without_a_failed_query() {
    let sandbox = Sandbox::start().await.unwrap();
    let rotation = Rotation::new();
    let mut dba = dba(&sandbox).await;
    let envelope = rotation.create(&mut dba).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    // One caches keys for hours, one for a moment, one not at all.
    for (n, ttl) in [Duration::from_secs(7200), Duration::from_millis(5), Duration::ZERO]
        .into_iter()
        .enumerate()
    {
        let keys = KeyStores::builder().provider(rotation.store()).cek_cache_ttl(ttl);
        let connector = connector(&sandbox, keys.build().unwrap());
        let done = Arc::new(AtomicUsize::new(0));
        let task = work(connector, n as i32 * 1_000_000, done.clone(), stop.clone());
        workers.push((tokio::spawn(task), done));
    }
    /// Until each has done as much again.
    async fn go_on(workers: &[(tokio::task::JoinHandle<()>, Arc<AtomicUsize>)]) {
        let before: Vec<_> = workers.iter().map(|(_, n)| n.load(Ordering::SeqCst)).collect();
        for ((task, done), before) in workers.iter().zip(before) {
            while done.load(Ordering::SeqCst) < before + 3 {
                assert!(!task.is_finished(), "a query failed");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    go_on(&workers).await;
    let second = rotation.rewrap(&envelope).await;
    run(&mut dba, &add_column_encryption_key_value("Cek", "New", &second)).await;
    go_on(&workers).await;
    run(&mut dba, &drop_column_encryption_key_value("Cek", "Old")).await;
    run(&mut dba, &drop_column_master_key("Old")).await;
    go_on(&workers).await;
    stop.store(true, Ordering::SeqCst);
    let mut written = 0;
    for (task, done) in workers {
        task.await.expect("a query failed");
        written += done.load(Ordering::SeqCst);
    }
    // The old key is not needed for anything any more.
    let connector = with_store(&sandbox, rotation.only_new());
    assert_eq!(read(&mut connector.connect().await.unwrap()).await.unwrap(), written);
}

#[tokio::test]
async fn when_the_cached_key_expires_the_new_value_is_opened() {
    let sandbox = Sandbox::start().await.unwrap();
    let rotation = Rotation::new();
    let mut dba = dba(&sandbox).await;
    let envelope = rotation.create(&mut dba).await;
    // The old master key is on this host until it is taken away.
    let (gone, by_new) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (has_gone, counter, store) = (gone.clone(), by_new.clone(), Arc::new(rotation.store()));
    let host = FnKeyStore::new(PROVIDER).unwrap_with(move |path, envelope| {
        let (store, has_gone, counter) = (store.clone(), has_gone.clone(), counter.clone());
        async move {
            if path == PATH && has_gone.load(Ordering::SeqCst) {
                return Err(KeyStoreError::other("the old key has been taken away"));
            }
            counter.fetch_add(usize::from(path == NEW_PATH), Ordering::SeqCst);
            store.unwrap_cek(&path, RSA_OAEP, &envelope).await
        }
    });
    let keys = KeyStores::builder().provider(host).cek_cache_ttl(Duration::from_millis(20));
    let connector = connector(&sandbox, keys.build().unwrap());
    let mut client = connector.connect().await.unwrap();
    write(&mut client, 1).await.unwrap();
    let second = rotation.rewrap(&envelope).await;
    run(&mut dba, &add_column_encryption_key_value("Cek", "New", &second)).await;
    assert_eq!(read(&mut client).await.unwrap(), 1);
    assert_eq!(by_new.load(Ordering::SeqCst), 0, "the old value still opens");
    gone.store(true, Ordering::SeqCst);
    while by_new.load(Ordering::SeqCst) == 0 {
        assert_eq!(read(&mut client).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    write(&mut client, 2).await.unwrap();
}

async fn start_on(file: &Path) -> Sandbox {
    Sandbox::builder().file(file).start().await.unwrap()
}

#[tokio::test]
async fn a_backup_from_before_the_rotation_needs_the_old_key_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("live.db"), folder.path().join("backup.db"));
    let rotation = Rotation::new();

    let sandbox = start_on(&file).await;
    let mut admin = dba(&sandbox).await;
    let envelope = rotation.create(&mut admin).await;
    let mut client = with_store(&sandbox, rotation.store()).connect().await.unwrap();
    write(&mut client, 1).await.unwrap();
    drop((admin, client));
    sandbox.shutdown().await;
    std::fs::copy(&file, &backup).unwrap();

    let sandbox = start_on(&file).await;
    let mut admin = dba(&sandbox).await;
    let second = rotation.rewrap(&envelope).await;
    run(&mut admin, &add_column_encryption_key_value("Cek", "New", &second)).await;
    run(&mut admin, &drop_column_encryption_key_value("Cek", "Old")).await;
    let mut client = with_store(&sandbox, rotation.only_new()).connect().await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), 1);
    drop((admin, client));
    sandbox.shutdown().await;

    let restored = start_on(&backup).await;
    let mut client = with_store(&restored, rotation.store()).connect().await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), 1, "the old key is still there");
    let connector = with_store(&restored, rotation.only_new());
    let mut client = connector.connect().await.unwrap();
    let error = read(&mut client).await.expect_err("it was read without its key");
    let error = connector.error_behind(&error).unwrap();
    let SessionError::Key { source: CekError::NoneOpened { attempts }, .. } = &*error else {
        panic!("{error}");
    };
    assert!(matches!(attempts[0].error, KeyStoreError::KeyNotFound { .. }), "{error}");
    assert_eq!(attempts[0].key_path, PATH);
    assert!(error.to_string().contains(PATH), "{error}");
}
