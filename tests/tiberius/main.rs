//! An unmodified tiberius client against the stand-in: what an application sees.

mod connections;
mod keys;
mod values;

#[path = "../database/mod.rs"]
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
