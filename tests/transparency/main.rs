//! With nothing encrypted, a connection with Always Encrypted behaves as one without.
//!
//! Each case runs twice, each time against a stand-in of its own: once with `Column Encryption
//! Setting=Disabled`, which is tiberius alone, and once with `Enabled`. What the application sees
//! is written down, value by value, and the two transcripts must be the same: rows, metadata, row
//! counts, errors with all they carry, and what is in the tables afterwards.
//!
//! What differs all the same is in [`known`]: a statement with parameters that the server cannot
//! describe is not sent, since without a description nobody knows whether it would carry plaintext
//! to an encrypted column.

mod batches;
mod bulk;
mod commands;
mod comparison;
mod known;
mod merges;
mod parameters;
mod requests;
mod sessions;
mod streams;
mod unencryptable;

use comparison::Comparison;

#[tokio::test]
async fn with_nothing_encrypted_a_connection_behaves_as_tiberius_alone() {
    let mut comparison = Comparison::default();
    batches::cases(&mut comparison).await;
    requests::cases(&mut comparison).await;
    parameters::cases(&mut comparison).await;
    commands::cases(&mut comparison).await;
    bulk::cases(&mut comparison).await;
    streams::cases(&mut comparison).await;
    sessions::cases(&mut comparison).await;
    unencryptable::cases(&mut comparison).await;
    merges::cases(&mut comparison).await;
    known::cases(&mut comparison).await;
    comparison.conclude();
}

#[tokio::test]
async fn a_difference_does_not_go_unnoticed() {
    let mut comparison = Comparison::default();
    let equal = async |actor: &mut comparison::Actor| actor.batch("SELECT 1").await;
    comparison.case("equal", equal).await;
    let value = async |actor: &mut comparison::Actor| {
        let sql = if actor.encrypts { "SELECT 1" } else { "SELECT 2" };
        actor.batch(sql).await;
    };
    comparison.case("a value differs", value).await;
    let table = async |actor: &mut comparison::Actor| {
        if actor.encrypts {
            actor.unseen("INSERT INTO People (Id) VALUES (99)").await;
        }
    };
    comparison.case("a table differs afterwards", table).await;
    let transaction = async |actor: &mut comparison::Actor| {
        if actor.encrypts {
            actor.unseen("BEGIN TRAN").await;
        }
    };
    comparison.case("a transaction is left open", transaction).await;
    let failed: Vec<&str> = comparison.failures().iter().map(|f| f.0.as_str()).collect();
    assert_eq!(
        failed,
        ["a value differs", "a table differs afterwards", "a transaction is left open"]
    );
}
