//! Cells that are not what they should be, keys that are not to be had.

use always_encrypted::{Client, SessionError};
use futures_util::TryStreamExt as _;
use tiberius::{Command, QueryItem, error::Error};

use super::{
    database::{PATH, PROVIDER, run},
    gate::{Gate, Mood},
    world::{
        ADA, BEA, CAI, Cases, INSERT_NAME, World, affected, assert_usable, money, refused, rows,
        shown,
    },
};

/// The rows before an error, and the error.
async fn rows_and_error(client: &mut Client, sql: &str) -> (Vec<String>, Error) {
    let mut stream = match client.query(sql, &[]).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), error),
    };
    let mut read = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(QueryItem::Row(row))) => read.push(shown(row)),
            Ok(Some(_)) => {}
            Ok(None) => panic!("{sql}: no error"),
            Err(error) => return (read, error),
        }
    }
}

/// Gives the second of three people a salary that its key did not encrypt.
async fn forged(world: &World) {
    world.populated().await;
    let (connector, moods) = world.moody_connector(world.database.sandbox.port(), "");
    moods.set(Mood::LiesAbout(world.pay.clone()));
    let mut forger = connector.connect().await.unwrap();
    let sql = "UPDATE People SET Salary = @P1 WHERE Id = @P2";
    affected(&mut forger, sql, &[&money(1), &2]).await;
}

fn assert_is_about_the_salary(world: &World, error: &Error) {
    let typed = world.typed(error);
    let SessionError::Cell { column, provider, key_path, .. } = &*typed else { panic!("{typed}") };
    assert_eq!(
        (column.trim_start_matches('@'), provider.as_str(), key_path.as_str()),
        ("Salary", PROVIDER, PATH)
    );
    let text = error.to_string();
    for word in ["Salary", PROVIDER, PATH, "has been changed"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

pub async fn cases(cases: &mut Cases) {
    cells(cases).await;
    keys(cases).await;
}

async fn cells(cases: &mut Cases) {
    let body = async |world: &World| {
        forged(world).await;
        let mut client = world.client().await;
        let sql = "SELECT Id, Name, Salary, Bio FROM People ORDER BY Id; SELECT 9";
        let (read, error) = rows_and_error(&mut client, sql).await;
        assert_eq!(read, ["1 zq7kx2w9 Ada 10.5000 zq7kx2w9 wrote notes"], "the rows before it");
        assert_is_about_the_salary(world, &error);
        assert_usable(&mut client).await;
        let sql = "SELECT Id, Name, Salary FROM People WHERE Id <> 2 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            ["1 zq7kx2w9 Ada 10.5000", "3 zq7kx2w9 Cai -0.0001"]
        );
        assert_eq!(rows(&mut client, "SELECT Name FROM People WHERE Id = 2", &[]).await, [BEA]);
    };
    cases.case("a third cell that was forged", body).await;

    let body = async |world: &World| {
        forged(world).await;
        let mut client = world.client().await;
        let sql = "SELECT Salary FROM People WHERE Id = 2; SELECT Name FROM People WHERE Id = 1";
        for _ in 0..3 {
            assert_is_about_the_salary(world, &refused(&mut client, sql, &[]).await);
            let error = client.execute(sql, &[]).await.map(drop).unwrap_err();
            assert_is_about_the_salary(world, &error);
        }
    };
    cases.case("a forged cell in a result before others, and in one that is not read", body).await;

    let body = async |world: &World| {
        forged(world).await;
        let mut client = world.client().await;
        for _ in 0..3 {
            drop(client.query("SELECT * FROM People", &[]).await.unwrap());
            assert_usable(&mut client).await;
        }
    };
    cases.case("a forged cell in a stream that is dropped", body).await;

    let body = async |world: &World| {
        forged(world).await;
        let sql = "CREATE PROCEDURE PayOf @Id int, @Salary decimal(18,4) OUTPUT AS SELECT @Salary = Salary FROM People WHERE Id = @Id";
        run(&mut world.dba().await, sql).await;
        let mut client = world.client().await;
        for (id, forged) in [(1, false), (2, true), (3, false)] {
            let mut command = Command::new("PayOf");
            command.bind_param("@Id", id);
            command.bind_out_param("@Salary", money(0));
            let outcome = match command.exec(&mut client).await {
                Ok(stream) => stream.into_command_result().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(_) => assert!(!forged),
                Err(error) => {
                    assert!(forged, "{error}");
                    assert_is_about_the_salary(world, &error);
                }
            }
            assert_usable(&mut client).await;
        }
    };
    cases.case("a forged output of a procedure", body).await;

    let body = async |world: &World| {
        forged(world).await;
        let mut client = world.client().await;
        client.begin_transaction().await.unwrap();
        let sql =
            "UPDATE People SET Plain = N'x' OUTPUT inserted.Id, inserted.Plain, inserted.Salary";
        let error = refused(&mut client, sql, &[]).await;
        assert_is_about_the_salary(world, &error);
        // The statement has been executed; the transaction is the application's.
        assert_eq!(rows(&mut client, "SELECT @@TRANCOUNT", &[]).await, ["1"]);
        client.rollback_transaction().await.unwrap();
        assert_eq!(
            rows(&mut client, "SELECT Plain FROM People WHERE Id = 1", &[]).await,
            ["first"]
        );
    };
    cases.case("a forged cell in an OUTPUT clause, in a transaction", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql =
            "/* always-encrypted: encryption Disabled */ SELECT Name FROM People WHERE Id = 2";
        let row = client.query(sql, &[]).await.unwrap().into_row().await.unwrap().unwrap();
        let cell = row.get::<&[u8], _>(0).unwrap().to_vec();
        let gate = Gate::before(world.database.sandbox.port()).await;
        let (connector, _moods) = world.moody_connector(gate.port, "");
        let mut client = connector.connect().await.unwrap();
        gate.tamper_with(cell);
        let sql = "SELECT Id, Age, Name FROM People ORDER BY Id";
        let (read, error) = rows_and_error(&mut client, sql).await;
        assert_eq!(read, ["1 36 zq7kx2w9 Ada"]);
        let typed = connector.error_behind(&error).unwrap();
        assert!(
            matches!(&*typed, SessionError::Cell { column, .. } if column == "Name"),
            "{typed}"
        );
        assert_usable(&mut client).await;
    };
    cases.case("a bit flipped on the way", body).await;
}

async fn keys(cases: &mut Cases) {
    let body = async |world: &World| {
        world.populated().await;
        let (connector, moods) = world.moody_connector(world.database.sandbox.port(), "");
        let mut client = connector.connect().await.unwrap();
        moods.set(Mood::Down);
        for sql in ["SELECT Name FROM People WHERE Name = @P1", "UPDATE People SET Name = @P1"] {
            let error = refused(&mut client, sql, &[&ADA]).await;
            let typed = connector.error_behind(&error).unwrap();
            assert!(matches!(*typed, SessionError::Key { .. }), "{typed}");
            let text = error.to_string();
            for word in ["@P1", PROVIDER, PATH, "the vault is sealed"] {
                assert!(text.contains(word), "{word} is not in: {text}");
            }
        }
        let (read, error) = rows_and_error(&mut client, "SELECT Id, Name FROM People").await;
        assert!(read.is_empty() && error.to_string().contains("Name"), "{error}");
        assert_usable(&mut client).await;
        moods.set(Mood::Works);
        tokio::time::sleep(always_encrypted::keystore::DEFAULT_FAILURE_PAUSE).await;
        let sql = "SELECT Name FROM People WHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, [ADA], "a failure is not kept");
    };
    cases.case("the key store is down from the beginning, and comes back", body).await;

    let body = async |world: &World| {
        world.populated().await;
        let (connector, moods) = world.moody_connector(world.database.sandbox.port(), "");
        let mut client = connector.connect().await.unwrap();
        affected(&mut client, INSERT_NAME, &[&4, &ADA]).await;
        moods.set(Mood::Down);
        // The key of Name has been opened, that of Salary has not.
        affected(&mut client, INSERT_NAME, &[&5, &BEA]).await;
        let sql = "SELECT Id, Name, Salary FROM People WHERE Id IN (1, 2, 3) ORDER BY Id DESC";
        let (read, error) = rows_and_error(&mut client, sql).await;
        assert!(read.is_empty(), "{read:?}");
        assert!(error.to_string().contains("Salary"), "{error}");
        // A NULL needs no key.
        let sql = "SELECT Id, Name, Salary FROM People WHERE Id = 2";
        assert_eq!(rows(&mut client, sql, &[]).await, ["2 zq7kx2w9 Bea NULL"]);
        let sql = "INSERT INTO People (Id, Name, Salary) VALUES (@P1, @P2, @P3)";
        refused(&mut client, sql, &[&6, &CAI, &money(1)]).await;
        affected(&mut client, sql, &[&7, &CAI, &None::<tiberius::numeric::Numeric>]).await;
        moods.set(Mood::Works);
        connector.key_stores().purge();
        affected(&mut client, sql, &[&6, &CAI, &money(1)]).await;
        assert_eq!(world.names().await.len(), 7);
    };
    cases.case("the key store goes down in the middle", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let mut dba = world.dba().await;
        run(&mut dba, "DELETE FROM Visits").await;
        // The key of a table that nobody has used yet lies under a master key that nobody has.
        let admin =
            always_encrypted::admin::create_column_master_key("Lost", PROVIDER, "vault/lost");
        run(&mut dba, &admin).await;
        let envelope = world.pay.clone();
        run(
            &mut dba,
            &always_encrypted::admin::create_column_encryption_key("LostCek", "Lost", &envelope),
        )
        .await;
        let with = super::database::encrypted("RANDOMIZED").replace("= Cek,", "= LostCek,");
        run(&mut dba, &format!("CREATE TABLE Lost (Id int NOT NULL, V nvarchar(20) {with} NULL)"))
            .await;
        let error =
            refused(&mut client, "INSERT INTO Lost (Id, V) VALUES (@P1, @P2)", &[&1, &ADA]).await;
        assert!(error.to_string().contains("vault/lost"), "{error}");
        assert_eq!(
            affected(
                &mut client,
                "INSERT INTO Lost (Id, V) VALUES (@P1, @P2)",
                &[&1, &None::<&str>]
            )
            .await,
            [1]
        );
        assert_eq!(rows(&mut client, "SELECT V FROM Lost", &[]).await, ["NULL"]);
        assert_eq!(
            rows(&mut client, "SELECT Name FROM People WHERE Name = @P1", &[&ADA]).await,
            [ADA]
        );
    };
    cases.case("a master key that this host does not have", body).await;
}
