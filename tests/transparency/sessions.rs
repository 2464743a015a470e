//! What outlives a request: transactions, savepoints, SET options.

use tiberius::Query;

use super::comparison::{Actor, Comparison};

const INSERT: &str = "INSERT INTO Visits (Person, Place) VALUES (@P1, @P2)";

pub async fn cases(comparison: &mut Comparison) {
    transactions(comparison).await;
    options(comparison).await;
}

async fn transactions(comparison: &mut Comparison) {
    for commits in [true, false] {
        let body = async |actor: &mut Actor| {
            let begun = actor.client.begin_transaction().await;
            actor.outcome("begin", begun);
            actor.execute(INSERT, &[&1, &"in"]).await;
            actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
            let ended = match commits {
                true => actor.client.commit_transaction().await,
                false => actor.client.rollback_transaction().await,
            };
            actor.outcome("ended", ended);
            actor
                .query("SELECT @@TRANCOUNT, COUNT(*) FROM Visits WHERE Place = @P1", &[&"in"])
                .await;
        };
        comparison.case(&format!("begin_transaction, commits: {commits}"), body).await;
    }
    let body = async |actor: &mut Actor| {
        actor.client.begin_transaction().await.unwrap();
        actor.execute(INSERT, &[&1, &"kept"]).await;
        let saved = actor.client.save_transaction("here").await;
        actor.outcome("saved", saved);
        actor.execute(INSERT, &[&2, &"dropped"]).await;
        actor.batch("ROLLBACK TRAN here").await;
        actor.query("SELECT COUNT(*), @P1 FROM Visits", &[&1]).await;
        actor.batch("ROLLBACK TRAN nowhere").await;
        let ended = actor.client.commit_transaction().await;
        actor.outcome("ended", ended);
    };
    comparison.case("savepoints", body).await;
    for level in 1..=5 {
        use tiberius::IsolationLevel as Level;
        let body = async |actor: &mut Actor| {
            let level = match level {
                1 => Level::ReadUncommitted,
                2 => Level::ReadCommitted,
                3 => Level::RepeatableRead,
                4 => Level::Serializable,
                _ => Level::Snapshot,
            };
            let begun = actor.client.begin_transaction_with_isolation(level).await;
            actor.outcome("begin", begun);
            actor.execute(INSERT, &[&1, &"x"]).await;
            let ended = actor.client.commit_transaction().await;
            actor.outcome("ended", ended);
        };
        comparison.case(&format!("isolation level {level}"), body).await;
    }
    let body = async |actor: &mut Actor| {
        let ended = actor.client.commit_transaction().await;
        actor.outcome("commit", ended);
        let ended = actor.client.rollback_transaction().await;
        actor.outcome("rollback", ended);
        actor.batch("COMMIT").await;
        actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
    };
    comparison.case("ends of transactions that never began", body).await;
    let body = async |actor: &mut Actor| {
        actor.query("BEGIN TRAN; INSERT INTO Visits (Person) VALUES (@P1)", &[&1]).await;
        actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
        actor.query("BEGIN TRAN; SELECT @@TRANCOUNT, @P1; COMMIT", &[&1]).await;
        actor.query("IF @P1 = 1 ROLLBACK", &[&1]).await;
        actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
    };
    comparison.case("transactions that statements begin and end", body).await;
    let body = async |actor: &mut Actor| {
        actor.client.begin_transaction().await.unwrap();
        actor.execute(INSERT, &[&1, &"before"]).await;
        actor.execute("INSERT INTO People (Id) VALUES (@P1)", &[&1]).await;
        actor.execute("SELECT * FROM Nowhere WHERE a = @P1", &[&1]).await;
        actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
        actor.execute(INSERT, &[&1, &"after"]).await;
        let ended = actor.client.commit_transaction().await;
        actor.outcome("ended", ended);
    };
    comparison.case("errors inside a transaction", body).await;
    let body = async |actor: &mut Actor| {
        actor.batch("SET XACT_ABORT ON").await;
        actor.client.begin_transaction().await.unwrap();
        actor.execute("INSERT INTO People (Id) VALUES (@P1)", &[&1]).await;
        actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
    };
    comparison.case("XACT_ABORT", body).await;
    let body = async |actor: &mut Actor| {
        let mut other = actor.somebody_else().await;
        actor.client.begin_transaction().await.unwrap();
        actor.execute(INSERT, &[&7, &"mine"]).await;
        let sql = "SELECT COUNT(*) FROM Visits WHERE Person = 7";
        let seen = other.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
        actor.note(format!("the other sees {:?}", seen.get::<i32, _>(0)));
        actor.client.commit_transaction().await.unwrap();
        let seen = other.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
        actor.note(format!("the other sees {:?}", seen.get::<i32, _>(0)));
    };
    comparison.case("what others see of a transaction", body).await;
}

async fn options(comparison: &mut Comparison) {
    let cases: &[(&str, &[&str])] = &[
        ("NOCOUNT", &["SET NOCOUNT ON"]),
        (
            "ANSI and others",
            &[
                "SET ANSI_NULLS ON; SET QUOTED_IDENTIFIER ON; SET ARITHABORT ON",
                "SET LANGUAGE us_english",
                "SET TEXTSIZE 100",
                "SET DATEFORMAT ymd",
            ],
        ),
        ("IMPLICIT_TRANSACTIONS", &["SET IMPLICIT_TRANSACTIONS ON"]),
        ("isolation", &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]),
        (
            "what cuts answers short, and back",
            &[
                "SET FMTONLY ON",
                "SET FMTONLY OFF",
                "SET NOEXEC ON",
                "SET NOEXEC OFF",
                "SET PARSEONLY ON",
                "SET PARSEONLY OFF",
                "SET ROWCOUNT 1",
                "SET ROWCOUNT 0",
            ],
        ),
        ("LOCK_TIMEOUT", &["SET LOCK_TIMEOUT 100"]),
        ("SHOWPLAN", &["SET SHOWPLAN_ALL ON"]),
        ("CONTEXT_INFO", &["SET CONTEXT_INFO 0x0102"]),
        ("IDENTITY_INSERT", &["SET IDENTITY_INSERT Visits ON"]),
    ];
    for (name, settings) in cases {
        let body = async |actor: &mut Actor| {
            for sql in *settings {
                actor.batch(sql).await;
            }
            actor.query("SELECT Id FROM People WHERE Id >= @P1", &[&2]).await;
            actor.execute(INSERT, &[&1, &"x"]).await;
            actor.query("SELECT @@TRANCOUNT, @P1", &[&1]).await;
            actor.batch("SELECT Id FROM People").await;
            let mut query = Query::new("INSERT INTO Visits (Id, Person) VALUES (@P1, @P2)");
            query.bind(900);
            query.bind(1);
            actor.bound_execute(query).await;
        };
        comparison.case(&format!("SET {name}"), body).await;
    }
    let body = async |actor: &mut Actor| {
        // An option that a request sets is the procedure's own and ends with it.
        actor.query("SET NOCOUNT ON; SELECT @P1", &[&1]).await;
        actor.execute("UPDATE People SET Salary = @P1", &[&1]).await;
    };
    comparison.case("SET inside of a request", body).await;
}
