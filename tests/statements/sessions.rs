//! Transactions, savepoints and what else outlives a request.

use super::{
    database::run,
    world::{ADA, BEA, Cases, INSERT_NAME, World, affected, refused, rows},
};

pub async fn cases(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.client().await;
        client.begin_transaction().await.unwrap();
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        run(&mut client, "SAVE TRAN here").await;
        affected(&mut client, INSERT_NAME, &[&2, &BEA]).await;
        assert!(world.names().await.is_empty(), "others see nothing yet");
        run(&mut client, "ROLLBACK TRAN here").await;
        client.commit_transaction().await.unwrap();
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada"]);
    };
    cases.case("transaction, savepoint, commit", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        client.begin_transaction().await.unwrap();
        // The table exists inside of this transaction only, so only there it can be described.
        let sql = format!(
            "CREATE TABLE Inside (Id int NOT NULL, V varchar(20) COLLATE Latin1_General_BIN2 {} NULL)",
            super::database::encrypted("DETERMINISTIC")
        );
        run(&mut client, &sql).await;
        affected(&mut client, "INSERT INTO Inside (Id, V) VALUES (@P1, @P2)", &[&1, &ADA]).await;
        let sql = "SELECT V FROM Inside WHERE V = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, [ADA]);
        client.rollback_transaction().await.unwrap();
        assert_eq!(refused(&mut client, sql, &[&ADA]).await.code(), Some(208));
    };
    cases.case("a table of an open transaction", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = format!("BEGIN TRAN; {INSERT_NAME}; SELECT @@TRANCOUNT");
        assert_eq!(rows(&mut client, &sql, &[&1, &ADA]).await, ["1"]);
        let sql = "IF EXISTS (SELECT 1 FROM People WHERE Name = @P1) ROLLBACK; SELECT @@TRANCOUNT";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["0"]);
        assert!(world.names().await.is_empty());
    };
    cases.case("transactions that statements begin and end", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        client.begin_transaction().await.unwrap();
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        let error = client.execute(INSERT_NAME, &[&1, &BEA]).await.unwrap_err();
        assert_eq!(error.code(), Some(2627));
        // What is refused on our side leaves the transaction as it was, too.
        let long = format!("zq7kx2w9 {}", "x".repeat(40));
        refused(&mut client, INSERT_NAME, &[&2, &long]).await;
        refused(&mut client, "SELECT * FROM Nowhere WHERE a = @P1", &[&1]).await;
        affected(&mut client, INSERT_NAME, &[&3, &BEA]).await;
        client.commit_transaction().await.unwrap();
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada", "3 zq7kx2w9 Bea"]);
    };
    cases.case("errors inside of a transaction", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        run(&mut client, "SET NOCOUNT ON").await;
        assert_eq!(affected(&mut client, INSERT_NAME, &[&1, &ADA]).await.iter().sum::<u64>(), 0);
        run(&mut client, "SET NOCOUNT OFF").await;
        assert_eq!(affected(&mut client, INSERT_NAME, &[&2, &ADA]).await, [1]);
        assert_eq!(rows(&mut client, "SELECT @@ROWCOUNT", &[]).await, ["1"]);
        run(&mut client, "SET XACT_ABORT ON; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await;
        assert_eq!(
            affected(&mut client, "DELETE FROM People WHERE Name = @P1", &[&ADA]).await,
            [2]
        );
    };
    cases.case("SET options", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        run(&mut client, "SET IMPLICIT_TRANSACTIONS ON").await;
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        assert_eq!(rows(&mut client, "SELECT @@TRANCOUNT", &[]).await, ["1"]);
        run(&mut client, "ROLLBACK").await;
        assert!(world.names().await.is_empty());
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        run(&mut client, "COMMIT").await;
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada"]);
    };
    cases.case("implicit transactions", body).await;

    let body = async |world: &World| {
        let (mut one, mut two) = (world.client().await, world.client().await);
        one.begin_transaction().await.unwrap();
        affected(&mut one, INSERT_NAME, &[&1, &ADA]).await;
        // The other one waits for the lock, then finds that the key is taken.
        let second = two.execute(INSERT_NAME, &[&1, &BEA]);
        let first = async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            one.commit_transaction().await.unwrap();
        };
        let (second, ()) = tokio::join!(second, first);
        assert_eq!(second.unwrap_err().code(), Some(2627));
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada"]);
    };
    cases.case("two connections write the same row", body).await;

    let body = async |world: &World| {
        let mut client = world
            .connector("Column Encryption Setting=Enabled;Packet Size=512")
            .connect()
            .await
            .unwrap();
        let long = format!("zq7kx2w9 {}", "y".repeat(20_000));
        let sql = "INSERT INTO People (Id, Name, Bio) VALUES (@P1, @P2, @P3)";
        affected(&mut client, sql, &[&1, &ADA, &long]).await;
        let read = rows(&mut client, "SELECT Bio FROM People WHERE Name = @P1", &[&ADA]).await;
        assert!(read == [long]);
    };
    cases.case("packets of 512 bytes", body).await;
}
