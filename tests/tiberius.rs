//! An unmodified tiberius client against the stand-in: what an application sees.

mod database;

use std::time::Duration;

use always_encrypted::{
    Connector, Error, SessionError,
    crypto::{Cek, CmkPrivateKey},
    keystore::{BoxFuture, CekError, InMemoryKeyStore, KeyStoreError, KeyStoreProvider, KeyStores},
    policy::TrustedKeyPaths,
};
use always_encrypted_sandbox::{Encryption, Sandbox};
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeZone, Utc};
use database::{Database, PATH, PROVIDER, encrypted, run};
use futures_util::TryStreamExt;
use tiberius::{FromSqlOwned, IntoRow, IntoSql, ToSql, Uuid};

const SECRET: &str = "meet at the northern harbour at dawn";

async fn messages(database: &Database) {
    let sql = format!(
        "CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, \
         Sender nvarchar(36) COLLATE Latin1_General_BIN2 {} NULL, Content nvarchar(max) {} NULL)",
        encrypted("DETERMINISTIC"),
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &sql).await;
}

const INSERT: &str = "INSERT INTO Messages (Id, Sender, Content) VALUES (@P1, @P2, @P3)";

#[tokio::test]
async fn what_is_written_is_read_and_the_server_sees_none_of_it() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let written = client.execute(INSERT, &[&1, &"alice", &SECRET]).await.unwrap();
    assert_eq!(written.rows_affected(), [1]);
    let sql = "SELECT Content FROM Messages WHERE Sender = @P1";
    let row = client.query(sql, &[&"alice"]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>("Content"), Some(SECRET));
    database.assert_never_on_the_wire(SECRET);
    database.assert_never_on_the_wire("alice");
}

#[tokio::test]
async fn a_repeated_statement_costs_one_describe_for_all_connections_of_a_connector() {
    let database = Database::start().await;
    messages(&database).await;
    for n in 0..4 {
        let mut client = database.connect().await;
        let content = "x".repeat(n as usize * 100);
        client.execute(INSERT, &[&n, &"bob", &content]).await.unwrap();
    }
    assert_eq!(database.sandbox.statistics().describes, 1);
    assert_eq!(database.connector.key_stores().statistics().unwraps, 1);
}

#[tokio::test]
async fn every_kind_of_tls_carries_it() {
    for (encryption, settings) in [
        (Encryption::NotSupported, "Encrypt=false"),
        (Encryption::Off, "Encrypt=false"),
        (Encryption::Off, "Encrypt=true"),
        (Encryption::On, "Encrypt=false"),
        (Encryption::On, "Encrypt=true"),
    ] {
        let sandbox = Sandbox::builder().encryption(encryption).start().await.unwrap();
        let text = format!(
            "Server=tcp:127.0.0.1,{};Database=sandbox;User Id={};Password={};\
             TrustServerCertificate=true;Column Encryption Setting=Enabled;{settings}",
            sandbox.port(),
            sandbox.user(),
            sandbox.password()
        );
        let keys = KeyStores::builder().build().unwrap();
        let connector = Connector::from_ado_string(&text, keys).unwrap();
        let mut client = connector.connect().await.unwrap();
        let row = client.query("SELECT @P1", &[&42i32]).await.unwrap();
        let row = row.into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<i32, _>(0), Some(42), "{encryption:?} {settings}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_a_pinned_one_is_not() {
    let sandbox = Sandbox::builder().encryption(Encryption::On).start().await.unwrap();
    let text = |more: &str| {
        format!(
            "Server=127.0.0.1,{};User Id={};Password={};Encrypt=true;\
             Column Encryption Setting=Enabled;{more}",
            sandbox.port(),
            sandbox.user(),
            sandbox.password()
        )
    };
    let connect = async |text: &str| {
        let keys = KeyStores::builder().build().unwrap();
        Connector::from_ado_string(text, keys).unwrap().connect().await
    };
    assert!(matches!(connect(&text("")).await, Err(Error::Connect(_))));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, sandbox.certificate_pem()).unwrap();
    let pinned = format!("ServerCertificate={}", file.path().display());
    connect(&text(&pinned)).await.unwrap();
}

#[tokio::test]
async fn strict_encryption_carries_it() {
    let sandbox = Sandbox::builder().encryption(Encryption::Strict).start().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, sandbox.certificate_pem()).unwrap();
    let text = format!(
        "Server=localhost,{};User Id={};Password={};Encrypt=strict;ServerCertificate={};\
         Column Encryption Setting=Enabled",
        sandbox.port(),
        sandbox.user(),
        sandbox.password(),
        file.path().display()
    );
    let keys = KeyStores::builder().build().unwrap();
    let mut client = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap();
    let row = client.query("SELECT @P1", &[&42i32]).await.unwrap();
    assert_eq!(row.into_row().await.unwrap().unwrap().get::<i32, _>(0), Some(42));
}

/// Writes values to a deterministic and a randomized column of a type and reads them back, also by
/// equality.
async fn round_trip<T>(database: &Database, sql_type: &str, values: &[T])
where
    T: FromSqlOwned + PartialEq + std::fmt::Debug + Clone + ToSql,
    Option<T>: ToSql,
    for<'a> T: IntoSql<'a>,
{
    let table = format!("T{}", sql_type.replace(['(', ')', ','], "_"));
    let collation = if sql_type.contains("char") { "COLLATE Latin1_General_BIN2" } else { "" };
    let create = format!(
        "CREATE TABLE {table} (Id int NOT NULL PRIMARY KEY, D {sql_type} {collation} {}, \
         R {sql_type} {})",
        encrypted("DETERMINISTIC"),
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &create).await;
    let mut client = database.connect().await;
    let insert = format!("INSERT INTO {table} (Id, D, R) VALUES (@P1, @P2, @P3)");
    for (id, value) in values.iter().enumerate() {
        let id = id as i32;
        let written = client.execute(insert.as_str(), &[&id, value, value]).await;
        written.unwrap_or_else(|e| panic!("{sql_type} {value:?}: {e}"));
    }
    let null: Option<T> = None;
    client.execute(insert.as_str(), &[&-1, &null, &null]).await.unwrap();

    let select = format!("SELECT D, R FROM {table} WHERE Id >= 0 ORDER BY Id");
    let rows = client.query(select, &[]).await.unwrap().into_first_result().await.unwrap();
    assert_eq!(rows.len(), values.len());
    for (row, value) in rows.into_iter().zip(values) {
        let mut cells = row.into_iter();
        for column in ["D", "R"] {
            let read = T::from_sql_owned(cells.next().unwrap()).unwrap();
            assert_eq!(read.as_ref(), Some(value), "{sql_type} {column}");
        }
    }
    let by_value = format!("SELECT COUNT(*) FROM {table} WHERE D = @P1");
    for value in values {
        let row = client.query(by_value.as_str(), &[value]).await.unwrap();
        let found = row.into_row().await.unwrap().unwrap().get::<i32, _>(0).unwrap();
        let equal = values.iter().filter(|v| *v == value).count();
        assert_eq!(found as usize, equal, "{sql_type}: {value:?} by equality");
    }
    let nulls = format!("SELECT D, R FROM {table} WHERE Id = -1");
    let row = client.query(nulls, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    for cell in row {
        assert_eq!(T::from_sql_owned(cell).unwrap(), None, "{sql_type} NULL");
    }
}

#[tokio::test]
async fn every_type_of_the_main_path_comes_back_as_it_was_bound() {
    let database = Database::start().await;
    round_trip(&database, "bit", &[true, false]).await;
    round_trip(&database, "tinyint", &[0u8, 1, 255]).await;
    round_trip(&database, "smallint", &[0i16, i16::MIN, i16::MAX]).await;
    round_trip(&database, "int", &[0i32, -1, i32::MIN, i32::MAX]).await;
    round_trip(&database, "bigint", &[0i64, 42, i64::MIN, i64::MAX]).await;
    let texts = ["", "a", "a ", "A", "gr\u{fc}\u{df}e", "\u{1F600}\u{4F60}"].map(String::from);
    round_trip(&database, "nvarchar(36)", &texts).await;
    let long = [3_999, 4_000, 4_001, 100_000].map(|n| "\u{e4}".repeat(n));
    round_trip(&database, "nvarchar(max)", &long).await;
    round_trip(&database, "nvarchar(4000)", &["\u{4F60}".repeat(4_000)]).await;
    round_trip(&database, "varbinary(40)", &[vec![], vec![0], vec![0xFF; 40]]).await;
    round_trip(&database, "varbinary(8000)", &[vec![7u8; 8_000]]).await;
    round_trip(&database, "varbinary(max)", &[vec![], vec![9u8; 8_001], vec![1; 300_000]]).await;
    round_trip(&database, "uniqueidentifier", &[Uuid::nil(), Uuid::max()]).await;
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap();
    let naive = [
        day(1, 1, 1).and_hms_opt(0, 0, 0).unwrap(),
        day(2024, 3, 15).and_hms_nano_opt(13, 14, 15, 123_456_700).unwrap(),
        day(9999, 12, 31).and_hms_nano_opt(23, 59, 59, 999_999_900).unwrap(),
    ];
    round_trip::<NaiveDateTime>(&database, "datetime2", &naive).await;
    // DateTime<Utc> would be declared datetime2 by tiberius; only one with an offset is not.
    let hours = FixedOffset::east_opt(5 * 3600 + 1800).unwrap();
    let at: Vec<DateTime<FixedOffset>> = naive[1..2]
        .iter()
        .flat_map(|n| [Utc.from_utc_datetime(n).fixed_offset(), hours.from_utc_datetime(n)])
        .collect();
    round_trip(&database, "datetimeoffset", &at[..1]).await;
    round_trip(&database, "datetimeoffset(7)", &at[1..]).await;
    round_trip(&database, "real", &[0f32, -3.5, f32::MAX]).await;
    round_trip(&database, "float", &[0f64, 3.5, f64::MIN]).await;
    round_trip(&database, "date", &[day(1, 1, 1), day(9999, 12, 31)]).await;
}

#[tokio::test]
async fn a_value_that_its_column_does_not_hold_is_refused_before_anything_is_sent() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let long = "x".repeat(37);
    let error = client.execute(INSERT, &[&1, &long, &"y"]).await.unwrap_err();
    let behind = database.connector.error_behind(&error).unwrap();
    assert!(matches!(*behind, SessionError::Conversion { .. }), "{behind}");
    for part in ["@P2", "column Messages.", "nvarchar(36)", "make the column longer"] {
        assert!(behind.to_string().contains(part), "{behind}");
    }
    client.execute(INSERT, &[&1, &"x", &"y"]).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_nothing_and_the_describe_ran_inside_it() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    run(&mut client, "BEGIN TRAN").await;
    client.execute(INSERT, &[&1, &"a", &"b"]).await.unwrap();
    let count = "SELECT COUNT(*) FROM Messages";
    let row = client.query(count, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(1));
    run(&mut client, "ROLLBACK").await;
    let row = client.query(count, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(0));
}

#[tokio::test]
async fn a_result_stream_dropped_half_way_leaves_the_connection_in_order() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    for id in 0..200 {
        client.execute(INSERT, &[&id, &"a", &"b".repeat(500)]).await.unwrap();
    }
    for _ in 0..3 {
        drop(client.query("SELECT * FROM Messages", &[]).await.unwrap());
    }
    let row = client.query("SELECT 7", &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(7));
}

#[tokio::test]
async fn a_request_future_dropped_at_any_point_leaves_the_connection_in_order() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    for micros in [0, 10, 50, 100, 200, 400, 800, 1_600] {
        let limit = Duration::from_micros(micros);
        let id = micros as i32;
        let params: [&dyn ToSql; 3] = [&id, &"a", &SECRET];
        let _ = tokio::time::timeout(limit, client.execute(INSERT, &params)).await;
        let row = client.query("SELECT 7", &[]).await.unwrap().into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<i32, _>(0), Some(7), "dropped after {micros} us");
    }
    database.assert_never_on_the_wire(SECRET);
}

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
async fn a_server_that_goes_away_is_an_error_and_no_hang() {
    let database = Database::start().await;
    let connector = database.connector.clone();
    let mut client = database.connect().await;
    client.simple_query("SELECT 1").await.unwrap().into_results().await.unwrap();
    database.sandbox.shutdown().await;
    let query = async {
        match client.query("SELECT @P1", &[&1]).await {
            Ok(stream) => stream.into_results().await.map(drop).unwrap_err(),
            Err(error) => error,
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), query).await.expect("it hangs");
    if let Some(typed) = connector.error_behind(&error) {
        assert!(matches!(*typed, SessionError::ConnectionCut), "{typed}");
    } else {
        assert!(matches!(error, tiberius::error::Error::Io { .. }), "{error}");
    }
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

#[tokio::test]
async fn a_server_without_always_encrypted_is_refused_at_login() {
    let sandbox = Sandbox::builder().always_encrypted(false).start().await.unwrap();
    let text = format!("{};Column Encryption Setting=Enabled", sandbox.connection_string());
    let keys = KeyStores::builder().build().unwrap();
    let error = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap_err();
    let Error::Session(error) = &error else { panic!("{error}") };
    assert!(matches!(**error, SessionError::NotAcknowledged));
}

#[tokio::test]
async fn without_the_setting_the_application_sees_ciphertext_and_cannot_write() {
    let database = Database::start().await;
    messages(&database).await;
    database.connect().await.execute(INSERT, &[&1, &"a", &SECRET]).await.unwrap();
    let mut plain = database.dba().await;
    let row = plain.query("SELECT Content FROM Messages", &[]).await.unwrap();
    let row = row.into_row().await.unwrap().unwrap();
    let cell: &[u8] = row.get(0).unwrap();
    assert_eq!((cell[0], cell.len()), (1, 49 + 16 * (SECRET.len() * 2 / 16 + 1)));
    let error = plain.execute(INSERT, &[&2, &"a", &"plain text"]).await.unwrap_err();
    assert_eq!(error.code(), Some(206));
}

#[tokio::test]
async fn a_cell_that_was_changed_in_the_database_file_is_an_error_that_names_the_column() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db");
    let database = Database::start_with(Sandbox::builder().file(&file), "").await;
    messages(&database).await;
    let mut client = database.connect().await;
    for id in 1..=3 {
        client.execute(INSERT, &[&id, &"a", &format!("content {id}")]).await.unwrap();
    }
    let mut dba = database.dba().await;
    let row = dba.query("SELECT Content FROM Messages WHERE Id = 2", &[]).await;
    let row = row.unwrap().into_row().await.unwrap().unwrap();
    let cell: Vec<u8> = row.get::<&[u8], _>(0).unwrap().to_vec();
    let Database { sandbox, cmk, connector: _ } = database;
    drop((client, dba));
    sandbox.shutdown().await;

    let mut tampered = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let hits: Vec<usize> = memchr::memmem::find_iter(&bytes, &cell).collect();
        for at in hits {
            bytes[at + 60] ^= 1;
            tampered += 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(tampered > 0, "the cell is not in the file");

    let sandbox = Sandbox::builder().file(&file).start().await.unwrap();
    let text = format!("{};Column Encryption Setting=Enabled", sandbox.connection_string());
    let keys = KeyStores::builder().provider(database::store(&cmk)).build().unwrap();
    let connector = Connector::from_ado_string(&text, keys).unwrap();
    let mut client = connector.connect().await.unwrap();
    let mut stream =
        client.query("SELECT Id, Content FROM Messages ORDER BY Id", &[]).await.unwrap();
    let mut read = Vec::new();
    let error = loop {
        match stream.try_next().await {
            Ok(Some(tiberius::QueryItem::Row(row))) => {
                read.push(row.get::<&str, _>("Content").unwrap().to_owned());
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => break error,
        }
    };
    drop(stream);
    assert_eq!(read, ["content 1"], "the rows before the bad one");
    let typed = connector.error_behind(&error).unwrap();
    assert!(matches!(&*typed, SessionError::Cell { column, .. } if column == "Content"));
    let sql = "SELECT Content FROM Messages WHERE Id = 3";
    let row = client.query(sql, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>(0), Some("content 3"), "the connection goes on");
}

#[tokio::test]
async fn wrong_credentials_are_the_drivers_error() {
    let sandbox = Sandbox::start().await.unwrap();
    let text = format!(
        "Server=127.0.0.1,{};User Id=sa;Password=wrong;Encrypt=false;TrustServerCertificate=true;\
         Column Encryption Setting=Enabled",
        sandbox.port()
    );
    let keys = KeyStores::builder().build().unwrap();
    let error = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap_err();
    let Error::Driver(error) = error else { panic!("{error}") };
    assert_eq!(error.code(), Some(18456));
}

#[tokio::test]
async fn a_bulk_insert_arrives_encrypted_and_reads_back() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let long = "long ".repeat(5_000);
    let rows: Vec<(i32, Option<&str>, Option<&str>)> = vec![
        (1, Some("alice"), Some(SECRET)),
        (2, Some("bob"), None),
        (3, None, Some("")),
        (4, Some("alice"), Some(&long)),
    ];
    let mut load = client.bulk_insert("Messages").await.unwrap();
    for (id, sender, content) in &rows {
        load.send((*id, *sender, *content).into_row()).await.unwrap();
    }
    assert_eq!(load.finalize().await.unwrap().total(), rows.len() as u64);
    for secret in [SECRET, "alice", &long[..40]] {
        database.assert_never_on_the_wire(secret);
    }
    let sql = "SELECT Id, Sender, Content FROM Messages ORDER BY Id";
    let read = client.query(sql, &[]).await.unwrap().into_first_result().await.unwrap();
    let read: Vec<_> = read.iter().map(|r| (r.get(0).unwrap(), r.get(1), r.get(2))).collect();
    assert_eq!(read, rows);
    let sql = "SELECT COUNT(*) FROM Messages WHERE Sender = @P1";
    let row = client.query(sql, &[&"alice"]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(2), "the same cells as parameters make");
}

#[tokio::test]
async fn a_bulk_insert_without_its_key_fails_before_a_row_is_sent() {
    let database = Database::start().await;
    messages(&database).await;
    let connector = database.connector_with(KeyStores::builder().build().unwrap());
    let mut client = connector.connect().await.unwrap();
    let error = client.bulk_insert("Messages").await.map(drop).expect_err("it was announced");
    let typed = connector.error_behind(&error).unwrap();
    assert!(matches!(*typed, SessionError::Key { .. }), "{typed}");
    let row = client.query("SELECT 7", &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(7));
}

#[tokio::test]
async fn a_procedure_takes_encrypted_values() {
    let database = Database::start().await;
    messages(&database).await;
    let mut dba = database.dba().await;
    run(
        &mut dba,
        "CREATE PROCEDURE AddMessage @Id int, @Sender nvarchar(36), @Content nvarchar(max) AS \
         INSERT INTO Messages (Id, Sender, Content) VALUES (@Id, @Sender, @Content)",
    )
    .await;
    let mut client = database.connect().await;
    let sql = "EXEC AddMessage @Id = @P1, @Sender = @P2, @Content = @P3";
    client.execute(sql, &[&1, &"alice", &SECRET]).await.unwrap();
    // The same as a call by name, with a NULL that has no type of its own.
    for (id, content) in [(2, Some(SECRET)), (3, None)] {
        let mut command = tiberius::Command::new("AddMessage");
        command.bind_param("@Id", id);
        command.bind_param("@Sender", "bob");
        command.bind_param("@Content", content);
        command.exec(&mut client).await.unwrap().into_command_result().await.unwrap();
    }
    let stream = client.query("SELECT Content FROM Messages ORDER BY Id", &[]).await.unwrap();
    let rows = stream.into_first_result().await.unwrap();
    let read: Vec<Option<&str>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(read, [Some(SECRET), Some(SECRET), None]);
    database.assert_never_on_the_wire(SECRET);
}
