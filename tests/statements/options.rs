//! SET ROWCOUNT, FMTONLY, NOEXEC and PARSEONLY, under which the server does not answer our questions in full.

use always_encrypted::SessionError;
use tiberius::{ColumnData, Command, ToSql, TokenRow};

use super::{
    database::run,
    world::{ADA, BEA, CAI, Cases, INSERT_NAME, World, affected, rows, try_rows},
};

const OPTIONS: [(&str, &str); 4] = [
    ("SET ROWCOUNT 1", "SET ROWCOUNT 0"),
    ("SET FMTONLY ON", "SET FMTONLY OFF"),
    ("SET NOEXEC ON", "SET NOEXEC OFF"),
    ("SET PARSEONLY ON", "SET PARSEONLY OFF"),
];
const UPDATE: &str = "UPDATE People SET Name = @P2, Bio = @P3 WHERE Id = @P1";
const SECRET_BIO: &str = "zq7kx2w9 changed";

fn changes() -> [&'static dyn ToSql; 3] {
    [&1, &BEA, &SECRET_BIO]
}

/// The error says which option may be to blame.
fn assert_names_the_option(world: &World, error: &tiberius::error::Error, option: &str) {
    let typed = world.typed(error);
    assert!(matches!(*typed, SessionError::Describe(_)), "{typed}");
    let name = option.split(' ').nth(1).unwrap();
    assert!(error.to_string().contains(name), "{option}: {error}");
}

pub async fn cases(cases: &mut Cases) {
    for (on, off) in OPTIONS {
        let body = async |world: &World| {
            world.populated().await;
            let connector = world.connector("Column Encryption Setting=Enabled");
            let mut client = connector.connect().await.unwrap();
            run(&mut client, on).await;
            for _ in 0..2 {
                let error = try_rows(&mut client, UPDATE, &changes()).await.unwrap_err();
                let typed = connector.error_behind(&error).expect("not ours");
                assert!(matches!(*typed, SessionError::Describe(_)), "{typed}");
                assert!(error.to_string().contains(on.split(' ').nth(1).unwrap()), "{error}");
            }
            // Whoever shares the cache is none the worse for it.
            let mut other = connector.connect().await.unwrap();
            assert_eq!(affected(&mut other, INSERT_NAME, &[&9, &CAI]).await, [1]);
            run(&mut client, off).await;
            assert_eq!(affected(&mut client, UPDATE, &changes()).await, [1]);
            let sql = "SELECT Id FROM People WHERE Name = @P1 ORDER BY Id";
            assert_eq!(rows(&mut client, sql, &[&BEA]).await, ["1", "2"]);
        };
        cases.case(&format!("{on}: what is not described is not sent"), body).await;

        let body = async |world: &World| {
            world.populated().await;
            let sql = "CREATE PROCEDURE Rename @Id int, @Name nvarchar(40), @Bio nvarchar(max) AS \
                       UPDATE People SET Name = @Name, Bio = @Bio WHERE Id = @Id";
            run(&mut world.dba().await, sql).await;
            let mut client = world.client().await;
            run(&mut client, on).await;
            let mut command = Command::new("Rename");
            command.bind_param("@Id", 1);
            command.bind_param("@Name", BEA);
            command.bind_param("@Bio", SECRET_BIO);
            let outcome = match command.exec(&mut client).await {
                Ok(stream) => stream.into_command_result().await.map(drop),
                Err(error) => Err(error),
            };
            assert_names_the_option(world, &outcome.unwrap_err(), on);
            run(&mut client, off).await;
            assert_eq!(world.names().await[0], format!("1 {ADA}"));
        };
        cases.case(&format!("{on}: nor a procedure called"), body).await;

        let body = async |world: &World| {
            let mut client = world.client().await;
            run(&mut client, on).await;
            let load = client
                .bulk_insert_with_options("People", &["Id", "Name"], Default::default(), &[])
                .await;
            // Under some of the options tiberius itself learns nothing of the columns.
            if let Ok(mut load) = load {
                let mut row = TokenRow::new();
                row.push(ColumnData::I32(Some(1)));
                row.push(ColumnData::String(Some(ADA.into())));
                let _ = load.send(row).await;
                let _ = load.finalize().await;
            }
        };
        cases.case(&format!("{on}: nor a bulk load in plaintext"), body).await;
    }

    let body = async |world: &World| {
        let mut client = world.populated().await;
        affected(&mut client, UPDATE, &changes()).await;
        // What has been described before is encrypted as it was.
        run(&mut client, "SET ROWCOUNT 1").await;
        let sql = "SELECT Id FROM People WHERE Name = @P1 ORDER BY Id";
        assert_eq!(rows(&mut client, sql, &[&BEA]).await, ["1"], "one of two");
        let sql = "SELECT Name, Bio FROM People WHERE Name = @P1 OR Id = 3";
        assert_eq!(rows(&mut client, sql, &[&BEA]).await, [format!("{BEA} {SECRET_BIO}")]);
        run(&mut client, "SET ROWCOUNT 0").await;
    };
    cases.case("SET ROWCOUNT: encrypted results are cut as others are", body).await;
}
