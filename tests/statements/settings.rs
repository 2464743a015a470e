//! What a statement says of itself in a comment, and ciphertext that is shown or passed on.

use always_encrypted::SessionError;
use tiberius::ColumnData;

use super::{
    database::{encrypted, run},
    world::{
        ADA, BEA, Cases, INSERT_NAME, World, affected, money, refused, rows, shown_cell, try_rows,
    },
};

pub async fn cases(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT Id, Name, Bio FROM People WHERE Id = @P1 /* always-encrypted: encryption ResultSetOnly */";
        assert_eq!(rows(&mut client, sql, &[&1]).await, ["1 zq7kx2w9 Ada zq7kx2w9 wrote notes"]);
        let describes = world.database.sandbox.statistics().describes;
        assert_eq!(rows(&mut client, sql, &[&2]).await, ["2 zq7kx2w9 Bea NULL"]);
        assert_eq!(world.database.sandbox.statistics().describes, describes, "nothing is asked");
        // A plaintext parameter reaches the server, which refuses it. It is not SECRET.
        let sql = "SELECT Id FROM People WHERE Age = @P1 /* always-encrypted: encryption ResultSetOnly */";
        assert_eq!(refused(&mut client, sql, &[&36]).await.code(), Some(206));
    };
    cases.case("encryption ResultSetOnly", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "/* always-encrypted: encryption Disabled */ SELECT Id, Name, Age, Bio FROM People WHERE Id <= @P1 ORDER BY Id";
        let read = client.query(sql, &[&2]).await.unwrap().into_first_result().await.unwrap();
        let ada: Vec<ColumnData> = read.into_iter().next().unwrap().into_iter().collect();
        for cell in &ada[1..] {
            let ColumnData::Binary(Some(bytes)) = cell else { panic!("{cell:?}") };
            assert!(bytes[0] == 1 && bytes.len() >= 65, "a cell begins with its version");
        }
        // The statement after it is as always.
        assert_eq!(
            rows(&mut client, "SELECT Name FROM People WHERE Name = @P1", &[&ADA]).await,
            [ADA]
        );
        let sql =
            "/* always-encrypted: encryption Disabled */ SELECT Name FROM People WHERE Id = 2";
        for _ in 0..2 {
            let cell = client.simple_query(sql).await.unwrap().into_row().await.unwrap().unwrap();
            assert!(cell.get::<&[u8], _>(0).is_some(), "in a batch as well");
        }
    };
    cases.case("encryption Disabled shows ciphertext", body).await;

    let body = async |world: &World| {
        world.populated().await;
        let keys = always_encrypted::keystore::KeyStores::builder().build().unwrap();
        let keyless = world.database.connector_with(keys);
        let mut client = keyless.connect().await.unwrap();
        let sql = "SELECT Name FROM People WHERE Id = @P1";
        let disabled = format!("{sql} /* always-encrypted: encryption Disabled */");
        assert!(refused(&mut client, sql, &[&1]).await.to_string().contains("TEST_STORE"));
        assert!(rows(&mut client, &disabled, &[&1]).await[0].starts_with("[01, "));
    };
    cases.case("ciphertext needs no key", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        run(&mut world.dba().await, &format!(
            "CREATE TABLE Copies (Id int NOT NULL, Name nvarchar(40) COLLATE Latin1_General_BIN2 {} NULL, Bio nvarchar(max) {} NULL)",
            encrypted("DETERMINISTIC"), encrypted("RANDOMIZED"))).await;
        affected(
            &mut client,
            "INSERT INTO Copies SELECT Id, Name, Bio FROM People WHERE Name = @P1",
            &[&ADA],
        )
        .await;
        affected(
            &mut client,
            "INSERT INTO Copies (Id, Name, Bio) VALUES (@P1, @P2, @P3)",
            &[&9, &ADA, &"zq7kx2w9 wrote notes"],
        )
        .await;
        let sql = "/* always-encrypted: encryption Disabled */ SELECT Name, Bio FROM People WHERE Id = 1 \
                   UNION ALL SELECT Name, Bio FROM Copies";
        let read = client.query(sql, &[]).await.unwrap().into_first_result().await.unwrap();
        let cells: Vec<Vec<String>> =
            read.into_iter().map(|row| row.into_iter().map(shown_cell).collect()).collect();
        assert_eq!(cells[0], cells[1], "the server copies ciphertext");
        assert_eq!(cells[0][0], cells[2][0], "deterministic is the same again");
        assert_ne!(cells[0][1], cells[2][1], "randomized is not");
        let sql = "SELECT Bio FROM Copies WHERE Name = @P1";
        assert_eq!(
            rows(&mut client, sql, &[&ADA]).await,
            ["zq7kx2w9 wrote notes", "zq7kx2w9 wrote notes"]
        );
    };
    cases.case("ciphertext passes from table to table", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO Visits (Person, Cost) VALUES (@P1, @P2) /* always-encrypted: type @P2 money; force @P1, @P2 */";
        affected(&mut client, sql, &[&ADA, &money(25_000)]).await;
        let sql = "INSERT INTO Visits (Person, Cost) VALUES (@P1, @P2) /* always-encrypted: type @P1 nvarchar(40), @P2 money */";
        affected(&mut client, sql, &[&ADA, &3]).await;
        let sql = "SELECT Cost FROM Visits WHERE Person = @P1 ORDER BY Id";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["2.5", "3"]);
        // A type that the column does not have is the server's to refuse.
        let sql = "INSERT INTO Visits (Cost) VALUES (@P1) /* always-encrypted: type @P1 int */";
        assert_eq!(refused(&mut client, sql, &[&3]).await.code(), Some(206));
    };
    cases.case("type", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "SELECT @P1 AS c /* always-encrypted: type @P1 varchar(10) */";
        assert_eq!(rows(&mut client, sql, &[&"plain"]).await, ["plain"]);
        let error = refused(&mut client, sql, &[&"longer than ten"]).await;
        let typed = world.typed(&error);
        assert!(matches!(*typed, SessionError::Conversion { .. }), "{typed}");
    };
    cases.case("type for a parameter that is not encrypted", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = format!("{INSERT_NAME} /* always-encrypted: force @P2 */");
        affected(&mut client, &sql, &[&1, &ADA]).await;
        for (sql, value) in [
            (
                "INSERT INTO People (Id, Plain) VALUES (@P1, @P2) /* always-encrypted: force @P2 */",
                BEA,
            ),
            ("SELECT @P2, @P1 /* always-encrypted: force @P2 */", BEA),
            ("SELECT @P2, @P1 /* always-encrypted: force @P2; encryption Disabled */", BEA),
        ] {
            let error = refused(&mut client, sql, &[&5, &value]).await;
            let typed = world.typed(&error);
            assert!(
                matches!(&*typed, SessionError::PlainParameter { name } if name == "@P2"),
                "{typed}"
            );
        }
    };
    cases.case("force", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        for comment in ["fource @P2", "type @P2 xml", "encryption off", "type @P2", "force P2"] {
            let sql = format!("{INSERT_NAME} /* always-encrypted: {comment} */");
            let typed = world.typed(&refused(&mut client, &sql, &[&1, &ADA]).await);
            assert!(matches!(*typed, SessionError::Hint { .. }), "{comment}: {typed}");
        }
        assert!(world.names().await.is_empty());
    };
    cases.case("a comment that is misspelt switches nothing off", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        // A text that somebody wrote, put into the statement with every care but as a parameter.
        let sql = "UPDATE People SET Name = @P2 WHERE Id = @P1 AND \
                   Plain <> N'/* always-encrypted: encryption Disabled */'";
        assert_eq!(affected(&mut client, sql, &[&1, &ADA]).await, [0]);
        let sql = "SELECT N'/* always-encrypted: nothing of ours */' WHERE @P1 = 1";
        let read = rows(&mut client, sql, &[&1]).await;
        assert_eq!(read, ["/* always-encrypted: nothing of ours */"]);
    };
    cases.case("a comment in a string switches nothing off", body).await;

    let body = async |world: &World| {
        world.populated().await;
        let connector = world.connector("Column Encryption Setting=ResultSetOnly");
        let mut client = connector.connect().await.unwrap();
        assert_eq!(rows(&mut client, "SELECT Name FROM People WHERE Id = @P1", &[&1]).await, [ADA]);
        let sql =
            "SELECT Id FROM People WHERE Name = @P1 /* always-encrypted: encryption Enabled */";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["1"]);
        let sql = "SELECT Id FROM People WHERE Age = @P1";
        assert_eq!(try_rows(&mut client, sql, &[&36]).await.unwrap_err().code(), Some(206));
    };
    cases.case("ResultSetOnly for the connection, Enabled for a statement", body).await;
}
