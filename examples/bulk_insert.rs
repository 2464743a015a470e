//! A bulk load into encrypted columns: tiberius' `bulk_insert`, as it is.
//!
//! ```text
//! cargo run --example bulk_insert
//! ```

mod support;

use std::{process::ExitCode, time::Instant};

use support::{Database, Result, conclude, hex_head};
use tiberius::IntoRow;

const ROWS: i32 = 5_000;

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

fn sender(id: i32) -> String {
    format!("sender-{}", id % 50)
}

/// Every tenth message has none.
fn content(id: i32) -> Option<String> {
    (id % 10 != 0).then(|| format!("message {id}: the convoy leaves in {} hours", id % 24))
}

async fn run() -> Result<String> {
    let mut database = Database::start().await?;
    database
        .run_as_dba(
            "CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, \
             Sender nvarchar(36) COLLATE Latin1_General_BIN2 [[DETERMINISTIC]] NOT NULL, \
             Content nvarchar(max) [[RANDOMIZED]] NULL)",
        )
        .await?;
    let mut client = database.connector.connect().await?;

    println!(
        "1. {ROWS} rows in one load. Each cell is encrypted as its row passes; nothing is kept."
    );
    let begun = Instant::now();
    let mut load = client.bulk_insert("Messages").await?;
    for id in 0..ROWS {
        load.send((id, sender(id), content(id)).into_row()).await?;
    }
    let loaded = load.finalize().await?.total();
    println!("   {loaded} rows, {} cells, {:?}", loaded * 2, begun.elapsed());

    println!("2. What the server has of the first ones:");
    let stored = "/* always-encrypted: encryption Disabled */ \
                  SELECT TOP 3 Id, Sender, Content FROM Messages ORDER BY Id";
    for row in client.query(stored, &[]).await?.into_first_result().await? {
        let cell = |at: usize| -> Result<String> {
            Ok(row.try_get::<&[u8], _>(at)?.map_or("NULL".to_owned(), hex_head))
        };
        println!("   {:?} {} {}", row.try_get::<i32, _>(0)?, cell(1)?, cell(2)?);
    }

    println!(
        "3. The cells are those that parameters make: a parameter finds them, and all are read."
    );
    let sql = "SELECT COUNT(*) FROM Messages WHERE Sender = @P1";
    let row = client.query(sql, &[&"sender-7"]).await?.into_row().await?;
    let of_one: Option<i32> = row.ok_or("no count")?.try_get(0)?;
    println!("   {} of sender-7", of_one.unwrap_or(0));
    if of_one != Some(ROWS / 50) {
        return Err("equality found other rows".into());
    }
    let sql = "SELECT Id, Sender, Content FROM Messages ORDER BY Id";
    let rows = client.query(sql, &[]).await?.into_first_result().await?;
    for (id, row) in (0..ROWS).zip(&rows) {
        let read = (row.try_get::<&str, _>(1)?, row.try_get::<&str, _>(2)?);
        if read != (Some(sender(id).as_str()), content(id).as_deref()) {
            return Err(format!("row {id} came back different").into());
        }
    }
    database.was_never_on_the_wire("the convoy leaves")?;
    database.was_never_on_the_wire("sender-7")?;
    Ok(format!("{loaded} rows loaded, {} read back, no plaintext on the wire", rows.len()))
}
