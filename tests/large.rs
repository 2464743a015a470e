//! Values of the (max) types that are far longer than any buffer, one of them of 100 MiB, through
//! tiberius, the session and the stand-in, and back. What of them the session holds at a time is
//! counted in `memory.rs`.

mod database;

use always_encrypted_sandbox::Sandbox;
use database::{Database, encrypted, run};

const LEN: usize = 100 << 20;

#[tokio::test]
async fn values_of_many_megabytes_come_back_as_they_were_written() {
    let database = Database::start_with(Sandbox::builder(), "Command Timeout=300").await;
    let randomized = encrypted("RANDOMIZED");
    let sql = format!(
        "CREATE TABLE Files (Id int NOT NULL PRIMARY KEY, Content varbinary(max) {randomized} NULL, \
         Transcript nvarchar(max) {randomized} NULL)"
    );
    run(&mut database.dba().await, &sql).await;
    let mut client = database.connect().await;
    let bytes: Vec<u8> = (0..LEN).map(|i| (i * 31 + i / 4096) as u8).collect();
    let sql = "INSERT INTO Files (Id, Content) VALUES (1, @P1)";
    client.execute(sql, &[&bytes]).await.unwrap();
    let text = "no page of it is like another".repeat(LEN / 232);
    let sql = "INSERT INTO Files (Id, Transcript) VALUES (2, @P1)";
    client.execute(sql, &[&text]).await.unwrap();
    let sql = "SELECT Content, Transcript FROM Files ORDER BY Id";
    let rows = client.query(sql, &[]).await.unwrap().into_first_result().await.unwrap();
    assert!(rows[0].get::<&[u8], _>(0) == Some(&bytes) && rows[0].get::<&str, _>(1).is_none());
    assert!(rows[1].get::<&str, _>(1) == Some(&text) && rows[1].get::<&[u8], _>(0).is_none());
}
