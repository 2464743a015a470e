//! Results that are not read to their end, requests that are given up.

use futures_util::TryStreamExt as _;
use tiberius::{Command, QueryItem};

use super::comparison::{Actor, Comparison, shown_row};

/// Some thousands of rows, so that a result is many packets long.
const MANY: &str = "SELECT a.object_id, a.name, b.name AS column_name FROM sys.columns a, sys.columns b, sys.columns c, sys.columns d WHERE a.object_id > 0";

/// Reads a few items and drops the stream.
async fn read_some(actor: &mut Actor, sql: &str, items: usize) {
    let mut seen = Vec::new();
    match actor.client.query(sql, &[]).await {
        Ok(mut stream) => {
            for _ in 0..items {
                match stream.try_next().await {
                    Ok(Some(QueryItem::Row(row))) => seen.push(shown_row(row)),
                    other => seen.push(format!("{other:?}")),
                }
            }
        }
        Err(error) => seen.push(format!("{error:?}")),
    }
    seen.into_iter().for_each(|line| actor.note(line));
}

pub async fn cases(comparison: &mut Comparison) {
    for items in [0, 1, 2, 50] {
        let body = async |actor: &mut Actor| {
            read_some(actor, MANY, items).await;
            actor.query("SELECT @P1 AS next", &[&1]).await;
        };
        comparison.case(&format!("a stream dropped after {items} items"), body).await;
        let body = async |actor: &mut Actor| {
            read_some(actor, MANY, items).await;
            let cancelled = actor.client.cancel_query().await;
            actor.outcome("cancelled", cancelled);
            actor.query("SELECT @P1 AS next", &[&1]).await;
        };
        comparison.case(&format!("a query cancelled after {items} items"), body).await;
    }
    let body = async |actor: &mut Actor| {
        for _ in 0..2 {
            let cancelled = actor.client.cancel_query().await;
            actor.outcome("cancelled", cancelled);
        }
        actor.query("SELECT @P1 AS next", &[&1]).await;
    };
    comparison.case("cancel_query with nothing under way", body).await;
    let body = async |actor: &mut Actor| {
        read_some(actor, "SELECT 1 AS a; SELECT 2 AS b; SELECT 3 AS c", 3).await;
        read_some(actor, "SELECT 1 AS a; SELECT 1 / 0; SELECT 3 AS c", 2).await;
        actor.batch("SELECT 4").await;
    };
    comparison.case("several results, dropped in the second", body).await;
    let body = async |actor: &mut Actor| {
        let mut stream = actor.client.query("SELECT 1 AS a; SELECT N'x' AS b", &[]).await.unwrap();
        let columns = format!("{:?}", stream.columns().await);
        let rest: Vec<String> =
            stream.into_results().await.unwrap().into_iter().flatten().map(shown_row).collect();
        actor.note(columns);
        actor.note(rest.join(", "));
    };
    comparison.case("columns() before the rows", body).await;
    let body = async |actor: &mut Actor| {
        let first = actor.client.query(MANY, &[]).await.unwrap().into_row().await;
        actor.outcome("into_row", first.map(|row| row.map(shown_row)));
        let none =
            actor.client.query("SELECT Id FROM People WHERE Id = @P1", &[&-1]).await.unwrap();
        let none = none.into_row().await;
        actor.outcome("into_row", none.map(|row| row.map(shown_row)));
        let rows = actor.client.query("SELECT Id FROM People", &[]).await.unwrap();
        let rows: Result<Vec<_>, _> = rows.into_row_stream().try_collect().await;
        actor.outcome("into_row_stream", rows.map(|rows| rows.len()));
    };
    comparison.case("into_row and into_row_stream", body).await;
    let body = async |actor: &mut Actor| {
        actor.batch("CREATE PROCEDURE Long @n int AS SELECT a.name FROM sys.columns a, sys.columns b; RETURN @n").await;
        let mut command = Command::new("Long");
        command.bind_param("@n", 3);
        let mut stream = command.exec(&mut actor.client).await.unwrap();
        for _ in 0..4 {
            stream.try_next().await.unwrap();
        }
        drop(stream);
        actor.query("SELECT @P1 AS next", &[&1]).await;
    };
    comparison.case("a procedure's result dropped half-way", body).await;
    let body = async |actor: &mut Actor| {
        let mut other = actor.somebody_else().await;
        other
            .simple_query("BEGIN TRAN; UPDATE People SET Salary = 0")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap();
        // The write waits for the other connection's transaction.
        let short = std::time::Duration::from_millis(200);
        let waits = actor.client.execute("UPDATE People SET Salary = @P1", &[&1]);
        let given_up = tokio::time::timeout(short, waits).await.is_err();
        actor.note(format!("given up: {given_up}"));
        let cancelled = actor.client.cancel_query().await;
        actor.outcome("cancelled", cancelled);
        actor.query("SELECT @P1 AS next", &[&1]).await;
        other.simple_query("ROLLBACK").await.unwrap().into_results().await.unwrap();
    };
    comparison.case("a write that waits is given up and cancelled", body).await;
    let body = async |actor: &mut Actor| {
        let mut other = actor.somebody_else().await;
        other
            .simple_query("BEGIN TRAN; UPDATE People SET Salary = 0")
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap();
        actor.execute("UPDATE People SET Salary = @P1", &[&1]).await;
        actor.query("SELECT @P1 AS next", &[&1]).await;
        actor.batch("SELECT 2 AS next").await;
        other.simple_query("ROLLBACK").await.unwrap().into_results().await.unwrap();
    };
    comparison.case_with("Command Timeout=1", "the command timeout", body).await;
    for size in [512, 1_000, 4_096, 32_767] {
        let body = async |actor: &mut Actor| {
            let long = "y".repeat(50_000);
            actor.query("SELECT @P1 AS p, Name FROM People", &[&long]).await;
            actor.execute("UPDATE People SET Photo = @P1", &[&vec![3u8; 70_000]]).await;
            actor.batch("SELECT * FROM People").await;
        };
        comparison
            .case_with(&format!("Packet Size={size}"), &format!("packets of {size} bytes"), body)
            .await;
    }
}
