//! Tables that somebody else changes while their descriptions are known.

use always_encrypted::{Client, SessionError, admin::create_column_encryption_key};

use super::{
    database::{encrypted, run},
    gate::Gate,
    world::{ADA, BEA, Cases, World, affected, refused, rows},
};

const INSERT: &str = "INSERT INTO Moves (Id, V) VALUES (@P1, @P2)";

/// Makes the table anew, with this type for `V`.
async fn make(dba: &mut Client, sql_type: &str) {
    run(dba, "DROP TABLE IF EXISTS Moves").await;
    run(dba, &format!("CREATE TABLE Moves (Id int NOT NULL, V {sql_type} NULL)")).await;
}

fn det(sql_type: &str) -> String {
    let collation = if sql_type.contains("char") { "COLLATE Latin1_General_BIN2" } else { "" };
    format!("{sql_type} {collation} {}", encrypted("DETERMINISTIC"))
}

pub async fn cases(cases: &mut Cases) {
    let (other_key, rnd) =
        (det("nvarchar(20)").replace("= Cek,", "= Pay,"), encrypted("RANDOMIZED"));
    let other_kind = format!("nvarchar(20) {rnd}");
    let changes = [
        ("longer", det("nvarchar(30)")),
        ("shorter", det("nvarchar(15)")),
        ("varchar", det("varchar(20)")),
        ("max", format!("nvarchar(max) {rnd}")),
        ("another key", other_key),
        ("randomized", other_kind),
    ];
    for (name, sql_type) in &changes {
        let body = async |world: &World| {
            let mut dba = world.dba().await;
            make(&mut dba, &det("nvarchar(20)")).await;
            let mut client = world.client().await;
            affected(&mut client, INSERT, &[&1, &ADA]).await;
            make(&mut dba, sql_type).await;
            affected(&mut client, INSERT, &[&2, &BEA]).await;
            affected(&mut client, INSERT, &[&3, &None::<&str>]).await;
            let sql = "SELECT Id, V FROM Moves ORDER BY Id";
            assert_eq!(rows(&mut client, sql, &[]).await, ["2 zq7kx2w9 Bea", "3 NULL"]);
        };
        cases.case(&format!("between two requests the column becomes {name}"), body).await;

        let body = async |world: &World| {
            let mut dba = world.dba().await;
            make(&mut dba, &det("nvarchar(20)")).await;
            let gate = Gate::before(world.database.sandbox.port()).await;
            let (connector, _moods) = world.moody_connector(gate.port, "");
            let mut client = connector.connect().await.unwrap();
            // The answer to describe is under way when the table changes.
            gate.hold_after(1);
            let change = async {
                gate.is_holding().await;
                make(&mut dba, sql_type).await;
                gate.open();
            };
            let (done, ()) = tokio::join!(client.execute(INSERT, &[&1, &ADA]), change);
            // What has just been described is not described again: as with Microsoft's drivers the
            // application hears of it, unless the value fits the new column as well.
            if let Err(error) = done {
                assert!(matches!(error.code(), Some(206 | 33514)), "{error}");
                assert!(rows(&mut client, "SELECT V FROM Moves", &[]).await.is_empty());
                affected(&mut client, INSERT, &[&1, &ADA]).await;
            }
            let sql = "SELECT V FROM Moves";
            assert_eq!(rows(&mut client, sql, &[]).await, [ADA]);
        };
        cases.case(&format!("between describe and execute the column becomes {name}"), body).await;
    }

    let body = async |world: &World| {
        let mut dba = world.dba().await;
        make(&mut dba, &det("int")).await;
        let mut client = world.client().await;
        affected(&mut client, INSERT, &[&1, &5]).await;
        make(&mut dba, &det("bigint")).await;
        affected(&mut client, INSERT, &[&2, &6]).await;
        make(&mut dba, &det("nvarchar(20)")).await;
        let error = refused(&mut client, INSERT, &[&3, &7]).await;
        let typed = world.typed(&error);
        assert!(matches!(*typed, SessionError::Conversion { .. }), "{typed}");
        affected(&mut client, INSERT, &[&4, &ADA]).await;
        assert_eq!(rows(&mut client, "SELECT V FROM Moves", &[]).await, [ADA]);
    };
    cases.case("int, bigint, nvarchar one after the other", body).await;

    let body = async |world: &World| {
        let mut dba = world.dba().await;
        make(&mut dba, "nvarchar(20)").await;
        let mut client = world.client().await;
        affected(&mut client, INSERT, &[&1, &"open"]).await;
        make(&mut dba, &det("nvarchar(20)")).await;
        // The first try goes out as it was described: as plaintext. The server refuses it.
        affected(&mut client, INSERT, &[&2, &"open"]).await;
        affected(&mut client, INSERT, &[&3, &ADA]).await;
        let sql = "SELECT Id FROM Moves WHERE V = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["3"]);
    };
    cases.case("a plain column becomes encrypted", body).await;

    let body = async |world: &World| {
        let mut dba = world.dba().await;
        make(&mut dba, &det("nvarchar(20)")).await;
        let mut client = world.client().await;
        let forced = format!("{INSERT} /* always-encrypted: force @P2 */");
        affected(&mut client, &forced, &[&1, &ADA]).await;
        make(&mut dba, "nvarchar(20)").await;
        let error = refused(&mut client, &forced, &[&2, &ADA]).await;
        let typed = world.typed(&error);
        assert!(matches!(*typed, SessionError::PlainParameter { .. }), "{typed}");
        assert!(rows(&mut client, "SELECT V FROM Moves", &[]).await.is_empty());
    };
    cases.case("an encrypted column becomes plain, and the statement forces", body).await;

    let body = async |world: &World| {
        let mut dba = world.dba().await;
        make(&mut dba, &det("nvarchar(20)")).await;
        let mut client = world.client().await;
        affected(&mut client, INSERT, &[&1, &ADA]).await;
        run(&mut dba, "DROP TABLE Moves").await;
        assert_eq!(refused(&mut client, INSERT, &[&2, &ADA]).await.code(), Some(208));
        make(&mut dba, &det("nvarchar(20)")).await;
        affected(&mut client, INSERT, &[&3, &ADA]).await;
        assert_eq!(rows(&mut client, "SELECT Id, V FROM Moves", &[]).await, ["3 zq7kx2w9 Ada"]);
    };
    cases.case("a table goes and comes back", body).await;

    let body = async |world: &World| {
        let mut dba = world.dba().await;
        make(&mut dba, &det("nvarchar(20)")).await;
        let mut client = world.client().await;
        affected(&mut client, INSERT, &[&1, &ADA]).await;
        run(&mut dba, "DROP TABLE Moves").await;
        // A key of the same name and another value.
        let envelope =
            world.database.wrap(&always_encrypted::crypto::Cek::generate().unwrap()).await;
        run(&mut dba, &create_column_encryption_key("Next", "Cmk", &envelope)).await;
        make(&mut dba, &det("nvarchar(20)").replace("= Cek,", "= Next,")).await;
        affected(&mut client, INSERT, &[&2, &ADA]).await;
        assert_eq!(
            rows(&mut client, "SELECT Id, V FROM Moves WHERE V = @P1", &[&ADA]).await,
            ["2 zq7kx2w9 Ada"]
        );
        // A bulk load asks each time.
        make(&mut dba, &det("varchar(30)")).await;
        let mut load = client.bulk_insert("Moves").await.unwrap();
        load.send(tiberius::IntoRow::into_row((3, BEA))).await.unwrap();
        load.finalize().await.unwrap();
        assert_eq!(rows(&mut client, "SELECT Id FROM Moves WHERE V = @P1", &[&BEA]).await, ["3"]);
    };
    cases.case("another key, then a bulk load", body).await;
}
