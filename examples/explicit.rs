//! Cells by hand, for code whose ciphertext does not go through a statement: a service that keeps
//! cells elsewhere, a migration that moves them.
//!
//! ```text
//! cargo run --example explicit
//! ```

mod support;

use std::{process::ExitCode, sync::Arc};

use always_encrypted::{
    ColumnCipher,
    client::ColumnCipherError,
    crypto::{Cek, CellKey, EncryptionType},
    policy::TrustedKeyPaths,
    value::{ConversionType, SqlType},
};
use support::{Database, Result, conclude, hex_head};
use tiberius::numeric::Numeric;

const CONTENT: &str = "meet at the northern harbour at dawn";
const SENDER: &str = "amara.okafor";

#[tokio::main]
async fn main() -> ExitCode {
    conclude(run().await)
}

async fn run() -> Result<String> {
    let mut database = Database::start().await?;
    database
        .run_as_dba(
            "CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, \
             Sender varchar(36) COLLATE Latin1_General_BIN2 [[DETERMINISTIC]] NOT NULL, \
             Content nvarchar(max) [[RANDOMIZED]] NULL)",
        )
        .await?;
    let connector = &database.connector;
    let mut client = connector.connect().await?;
    let sql = "INSERT INTO Messages (Id, Sender, Content) VALUES (@P1, @P2, @P3)";
    client.execute(sql, &[&1, &SENDER, &CONTENT]).await?;

    println!("1. The ciphers of two columns: the database says what they are, the key store opens");
    println!("   their key.");
    let sender = connector.column_cipher(&mut client, "dbo.Messages", "Sender").await?;
    let content = connector.column_cipher(&mut client, "dbo.Messages", "Content").await?;
    for cipher in [&sender, &content] {
        let (sql_type, kind) = (cipher.sql_type(), cipher.encryption_type());
        println!("   {}: {sql_type}, {kind}", cipher.column());
    }

    println!("2. A statement that asks for ciphertext, and what is in it:");
    let sql = "/* always-encrypted: encryption Disabled */ SELECT Sender, Content FROM Messages";
    let row = client.query(sql, &[]).await?.into_row().await?.ok_or("no message")?;
    let stored: &[u8] = row.try_get(0)?.ok_or("no sender")?;
    let cell: &[u8] = row.try_get(1)?.ok_or("no content")?;
    let read: String = content.decrypt_as(cell)?;
    println!("   {}\n   {read:?}", hex_head(cell));
    if (sender.decrypt_as::<String>(stored)?.as_str(), read.as_str()) != (SENDER, CONTENT) {
        return Err("something else was decrypted".into());
    }

    println!("3. A value by hand. In a deterministic column it is the very cell that is stored.");
    let made = sender.encrypt(&SENDER)?.ok_or("no cell")?;
    println!("   made   {}\n   stored {}", hex_head(&made), hex_head(stored));
    if made != stored {
        return Err("the cells differ".into());
    }

    println!("4. One bit changed:");
    let mut changed = cell.to_vec();
    changed[60] ^= 1;
    match content.decrypt(&changed) {
        Ok(_) => return Err("a changed cell was decrypted".into()),
        Err(error) => println!("   {error}"),
    }

    println!("5. A column that is plain, and a master key that is not on the list:");
    let plain = connector.column_cipher(&mut client, "Messages", "Id").await;
    let wary = connector.trusted_key_paths(TrustedKeyPaths::only(["CurrentUser/My/0000"]));
    let untrusted = wary.column_cipher(&mut client, "Messages", "Content").await;
    match (plain, untrusted) {
        (
            Err(plain @ ColumnCipherError::NotEncrypted { .. }),
            Err(untrusted @ ColumnCipherError::UntrustedKeyPath { .. }),
        ) => println!("   {plain}\n   {untrusted}"),
        other => return Err(format!("neither should be: {other:?}").into()),
    }

    println!("6. Without any database: a column's metadata stated, a key of one's own.");
    let sql_type = SqlType::parse_declaration("decimal(18,4)")?;
    let cipher = ColumnCipher::new(
        "Ledger.Amount",
        ConversionType { sql_type, code_page: None },
        EncryptionType::Randomized,
        Arc::new(CellKey::new(&Cek::generate()?)),
    );
    let cell = cipher.encrypt(&Numeric::new_with_scale(1_995, 2))?.ok_or("no cell")?;
    println!("   {} {}", hex_head(&cell), cipher.decrypt_as::<Numeric>(&cell)?);
    database.was_never_on_the_wire(CONTENT)?;
    Ok("what the wire encrypts is decrypted by hand, and the other way round".to_owned())
}
