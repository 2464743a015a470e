//! Stored procedures whose parameters are encrypted, in and out.
//!
//! ```text
//! cargo run --example procedures
//! ```

mod support;

use std::process::ExitCode;

use always_encrypted::Client;
use support::{Database, Result, conclude};
use tiberius::{Command, CommandResult};

const CONTENT: &str = "meet at the northern harbour at dawn";
const SENDER: &str = "amara.okafor";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

async fn run() -> Result<String> {
    let mut database = Database::start().await?;
    create(&mut database).await?;
    let mut client = database.connector.connect().await?;

    println!("1. A call by name. The parameters are declared as the procedure has them, so a &str");
    println!("   goes to varchar, and a NULL without a type to nvarchar(max).");
    for (id, content) in [(1, Some(CONTENT)), (2, None)] {
        let mut add = Command::new("dbo.AddMessage");
        add.bind_param("@Id", id);
        add.bind_param("@Sender", SENDER);
        add.bind_param("@Content", content);
        add.exec(&mut client).await?.into_command_result().await?;
        println!("   message {id} added");
    }

    println!("2. The same by EXEC, with an ordinary `execute`.");
    let sql = "EXEC dbo.AddMessage @Id = @P1, @Sender = @P2, @Content = @P3";
    client.execute(sql, &[&3, &SENDER, &"and bring the maps"]).await?;

    println!("3. OUTPUT parameters come back decrypted. They go in as NULL.");
    let found = find(&mut client, 1).await?;
    let sender: Option<&str> = found.try_return_value("@Sender")?;
    let content: Option<&str> = found.try_return_value("@Content")?;
    println!("   1: {} wrote {:?}", sender.unwrap_or("nobody"), content.unwrap_or("nothing"));
    if (sender, content) != (Some(SENDER), Some(CONTENT)) {
        return Err("the procedure returned something else".into());
    }
    let found = find(&mut client, 2).await?;
    let content: Option<&str> = found.try_return_value("@Content")?;
    println!("   2: the content is {content:?}");
    if content.is_some() {
        return Err("a NULL came back as a value".into());
    }

    println!("4. The result set of a procedure is decrypted like any other; it finds by equality.");
    let mut by_sender = Command::new("dbo.MessagesOf");
    by_sender.bind_param("@Sender", SENDER);
    let result = by_sender.exec(&mut client).await?.into_command_result().await?;
    let rows = result.to_query_result(0).ok_or("no result set")?;
    for row in rows {
        println!("   {:?} {:?}", row.try_get::<i32, _>(0)?, row.try_get::<&str, _>(1)?);
    }

    for secret in [CONTENT, SENDER, "and bring the maps"] {
        database.was_never_on_the_wire(secret)?;
    }
    Ok(format!("3 messages went in through a procedure, {} came out, all encrypted", rows.len()))
}

async fn create(database: &mut Database) -> Result<()> {
    for sql in [
        "CREATE TABLE dbo.Messages (Id int NOT NULL PRIMARY KEY, \
         Sender varchar(36) COLLATE Latin1_General_BIN2 [[DETERMINISTIC]] NOT NULL, \
         Content nvarchar(max) [[RANDOMIZED]] NULL)",
        "CREATE PROCEDURE dbo.AddMessage @Id int, @Sender varchar(36), @Content nvarchar(max) AS \
         INSERT INTO dbo.Messages (Id, Sender, Content) VALUES (@Id, @Sender, @Content)",
        "CREATE PROCEDURE dbo.FindMessage @Id int, @Sender varchar(36) OUTPUT, \
         @Content nvarchar(max) OUTPUT AS \
         SELECT @Sender = Sender, @Content = Content FROM dbo.Messages WHERE Id = @Id",
        "CREATE PROCEDURE dbo.MessagesOf @Sender varchar(36) AS \
         SELECT Id, Content FROM dbo.Messages WHERE Sender = @Sender ORDER BY Id",
    ] {
        database.run_as_dba(sql).await?;
    }
    Ok(())
}

async fn find(client: &mut Client, id: i32) -> Result<CommandResult> {
    let mut find = Command::new("dbo.FindMessage");
    find.bind_param("@Id", id);
    find.bind_out_param("@Sender", None::<String>);
    find.bind_out_param("@Content", None::<String>);
    Ok(find.exec(client).await?.into_command_result().await?)
}
