//! Values whose column has another type than the driver declares: they are converted if nothing is
//! lost, and refused if something would be.
//!
//! ```text
//! cargo run --example typed_values
//! ```

mod support;

use std::process::ExitCode;

use always_encrypted::SessionError;
use chrono::{NaiveDate, NaiveDateTime};
use support::{Database, Result, conclude};
use tiberius::{ToSql, numeric::Numeric};

const INSERT: &str = "INSERT INTO Orders (Id, Price, Fee, Code, Placed, Note) \
                      VALUES (@P1, @P2, @P3, @P4, @P5, @P6)";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

async fn run() -> Result<String> {
    let mut database = Database::start().await?;
    database
        .run_as_dba(
            "CREATE TABLE Orders (Id int NOT NULL PRIMARY KEY, \
             Price decimal(18,4) [[DETERMINISTIC]] NULL, Fee money [[RANDOMIZED]] NULL, \
             Code char(10) COLLATE Latin1_General_BIN2 [[DETERMINISTIC]] NULL, \
             Placed datetime2(3) [[RANDOMIZED]] NULL, Note varchar(200) [[RANDOMIZED]] NULL, \
             Total money NULL)",
        )
        .await?;
    let mut client = database.connector.connect().await?;

    println!(
        "1. tiberius declares numeric(5,2), numeric(3,1), nvarchar(4000), datetime2(7): none of"
    );
    println!(
        "   them is a column's type. The columns' types are asked for once, and values become"
    );
    println!("   theirs.");
    let price = Numeric::new_with_scale(19_995, 2);
    let fee = Numeric::new_with_scale(125, 1);
    let placed =
        NaiveDate::from_ymd_opt(2024, 3, 15).and_then(|d| d.and_hms_milli_opt(9, 30, 0, 250));
    let placed: NaiveDateTime = placed.ok_or("no such time")?;
    client.execute(INSERT, &[&1, &price, &fee, &"AB-1", &placed, &"r\u{e9}sum\u{e9}"]).await?;

    println!("2. NULLs, which tiberius sends without a type.");
    let (no_price, no_text, no_time) = (None::<Numeric>, None::<&str>, None::<NaiveDateTime>);
    client.execute(INSERT, &[&2, &no_price, &no_price, &no_text, &no_time, &no_text]).await?;

    println!("3. Read back:");
    let sql = "SELECT Id, Price, Fee, Code, Placed, Note FROM Orders ORDER BY Id";
    for row in client.query(sql, &[]).await?.into_first_result().await? {
        println!(
            "   {:?} {:?} {:?} {:?} {:?} {:?}",
            row.try_get::<i32, _>(0)?,
            row.try_get::<Numeric, _>(1)?,
            row.try_get::<f64, _>(2)?,
            row.try_get::<&str, _>(3)?,
            row.try_get::<NaiveDateTime, _>(4)?,
            row.try_get::<&str, _>(5)?,
        );
    }

    println!("4. Equality needs the same type, and has it: 199.95 is found as decimal(18,4).");
    let sql = "SELECT COUNT(*) FROM Orders WHERE Price = @P1";
    let row = client.query(sql, &[&price]).await?.into_row().await?.ok_or("no count")?;
    let found: Option<i32> = row.try_get(0)?;
    println!("   {} order", found.unwrap_or(0));
    if found != Some(1) {
        return Err("the price was not found".into());
    }

    println!("5. A type can be stated, for a plain column as well, where nothing else tells it.");
    let stated = "UPDATE Orders SET Total = @P2 WHERE Id = @P1 \
                  /* always-encrypted: type @P2 money */";
    client.execute(stated, &[&1, &Numeric::new_with_scale(21_245, 2)]).await?;
    let sql = "SELECT Total FROM Orders WHERE Id = 1";
    let row = client.query(sql, &[]).await?.into_row().await?.ok_or("no order")?;
    println!("   the total is {:?}", row.try_get::<f64, _>(0)?);

    println!("6. What does not fit is refused. Nothing is sent, and no error shows the value.");
    let digits = Numeric::new_with_scale(199_955, 5);
    let long = "AB-4711-081-5";
    let foreign = "\u{440}\u{435}\u{437}\u{44e}\u{43c}\u{435}";
    let too_much: [(&str, [&dyn ToSql; 6]); 3] = [
        ("1.99955 for decimal(18,4)", [&3, &digits, &fee, &"AB-3", &placed, &"x"]),
        ("13 characters for char(10)", [&3, &price, &fee, &long, &placed, &"x"]),
        ("Cyrillic for a Latin varchar", [&3, &price, &fee, &"AB-3", &placed, &foreign]),
    ];
    for (what, values) in &too_much {
        let Err(error) = client.execute(INSERT, values).await else {
            return Err(format!("{what} was accepted").into());
        };
        let typed = database.connector.error_behind(&error).ok_or("not our error")?;
        if !matches!(*typed, SessionError::Conversion { .. }) {
            return Err(format!("another error: {typed}").into());
        }
        let text = typed.to_string();
        println!("   {what}:\n      {text}");
        if [long, foreign, "1.99955", "199955"].iter().any(|value| text.contains(value)) {
            return Err("the error shows the value".into());
        }
    }
    let row = client.query("SELECT COUNT(*) FROM Orders", &[]).await?.into_row().await?;
    let rows: Option<i32> = row.ok_or("no count")?.try_get(0)?;
    if rows != Some(2) {
        return Err(format!("{rows:?} rows where there should be 2").into());
    }
    Ok(format!("2 rows of converted values, {} values refused", too_much.len()))
}
