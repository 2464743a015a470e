//! Loops, TRY and errors that T-SQL raises itself.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Reply, Wire};

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE T (Id int NOT NULL PRIMARY KEY, N int NULL CHECK (N < 100))")
        .await
        .ok();
    (sandbox, wire)
}

/// Rows of all results, each row's columns joined by blanks.
fn rows(reply: &Reply) -> Vec<String> {
    reply.sets.iter().flat_map(|set| set.shown()).map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn loops_break_and_continue() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "DECLARE @i int = 0, @odd int = 0
        WHILE @i < 100 BEGIN
            SET @i = @i + 1
            DECLARE @half int = @i / 2, @kept int
            IF @half * 2 = @i CONTINUE
            IF @i > 9 BREAK
            SET @kept = COALESCE(@kept, 0) + 1
            WHILE 1 = 1 BREAK
            SET @odd = @odd + @i
        END
        SELECT @i, @odd, @kept";
    assert_eq!(rows(&wire.batch(sql).await.ok()), ["11 25 5"]);
    let fill = "DECLARE @i int; SET @i = 0; WHILE @i < 50 BEGIN INSERT INTO T VALUES (@i, @i); SET @i = @i + 1 END";
    assert_eq!(wire.batch(fill).await.ok().affected(), 50);
    for (sql, number) in [
        ("BREAK", 135),
        ("IF 1 = 1 CONTINUE", 136),
        ("BEGIN TRY BREAK END TRY BEGIN CATCH END CATCH", 135),
        ("WHILE 1 = 1", 102),
        ("GOTO x", 49999),
        ("WAITFOR DELAY '00:00:01'", 49999),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}

#[tokio::test]
async fn an_attention_ends_a_loop_that_says_nothing() {
    let (_sandbox, mut wire) = prepared().await;
    wire.send(1, &Wire::batch_payload("WHILE 1 = 1 SET NOCOUNT ON")).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    wire.send(6, &[]).await;
    let reply =
        tokio::time::timeout(std::time::Duration::from_secs(20), wire.receive()).await.unwrap();
    assert_eq!(reply.dones.last().unwrap().1 & 0x20, 0x20, "DONE_ATTN");
    wire.batch("SELECT 1").await.ok();
}

#[tokio::test]
async fn what_try_catches_is_told_and_no_error_is_sent() {
    let (_sandbox, mut wire) = prepared().await;
    let told = "SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE(), ERROR_PROCEDURE(), @@ERROR, XACT_STATE()";
    for (body, expected) in [
        (
            "INSERT INTO T VALUES (1, 1); INSERT INTO T VALUES (1, 1); SELECT 'no'",
            "2627 14 1 NULL 2627 0",
        ),
        ("SELECT 1 / 0", "8134 16 1 NULL 8134 0"),
        ("UPDATE T SET N = 100", "547 16 1 NULL 547 0"),
        ("EXEC('SELECT * FROM Nope')", "208 16 1 NULL 208 0"),
        ("RAISERROR('x', 11, 7)", "50000 11 7 NULL 50000 0"),
        ("THROW 51000, 'x', 3", "51000 16 3 NULL 51000 0"),
        ("BEGIN TRAN; SELECT CAST('x' AS int)", "245 16 1 NULL 245 1"),
    ] {
        let sql = format!(
            "BEGIN TRY {body} END TRY BEGIN CATCH {told} END CATCH; IF @@TRANCOUNT > 0 ROLLBACK"
        );
        let reply = wire.batch(&sql).await.ok();
        assert_eq!(rows(&reply).last().map(String::as_str), Some(expected), "{sql}");
    }
    assert_eq!(
        rows(&wire.batch("SELECT ERROR_NUMBER(), ERROR_MESSAGE()").await.ok()),
        ["NULL NULL"]
    );
    let quiet = "BEGIN TRY SELECT 1 END TRY BEGIN CATCH SELECT 2 END CATCH SELECT 3";
    assert_eq!(rows(&wire.batch(quiet).await.ok()), ["1", "3"]);
}

#[tokio::test]
async fn errors_pass_through_procedures_to_whoever_catches_them() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch(
        "CREATE PROCEDURE Inner1 AS BEGIN INSERT INTO T VALUES (1, 500); SELECT 'not reached' END",
    )
    .await
    .ok();
    wire.batch(
        "CREATE PROCEDURE Outer1 AS BEGIN TRY EXEC Inner1 END TRY BEGIN CATCH THROW END CATCH",
    )
    .await
    .ok();
    let sql = "BEGIN TRY EXEC Outer1 END TRY BEGIN CATCH
        BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH
        SELECT ERROR_NUMBER(), ERROR_PROCEDURE() END CATCH";
    let reply = wire.batch(sql).await.ok();
    let shown = rows(&reply);
    assert_eq!(shown[shown.len() - 2..], ["8134".to_owned(), "547 Outer1".to_owned()]);
    assert_eq!(wire.batch("EXEC Outer1; SELECT 'not reached'").await.numbers(), [547]);
    let call = wire.rpc(&[Wire::call_by_name("Outer1", &[])]).await;
    assert_eq!(call.numbers(), [547]);
    wire.batch("SELECT 1").await.ok();
    // Without TRY the batch goes on.
    let reply = wire.batch("EXEC Inner1").await;
    assert_eq!((reply.numbers(), rows(&reply)), (vec![547], vec!["not reached".to_owned()]));
}

#[tokio::test]
async fn errors_are_raised_and_messages_printed() {
    let (_sandbox, mut wire) = prepared().await;
    let reply = wire.batch("DECLARE @n int = 7; RAISERROR(N'%d of %s', 16, 2, @n, N'x'); SELECT @@ERROR; SELECT @@ERROR").await;
    assert_eq!(reply.errors, [(50000, 16, "7 of x".to_owned())]);
    assert_eq!(rows(&reply), ["50000", "0"], "the batch goes on");
    let reply = wire.batch("RAISERROR('soft', 10, 1) WITH NOWAIT; PRINT N'n = ' + CAST(4 AS nvarchar(9)); PRINT 5; PRINT NULL").await.ok();
    let infos: Vec<_> = reply.infos.iter().map(|i| (i.0, i.1, i.2.as_str())).collect();
    assert_eq!(infos, [(50000, 10, "soft"), (0, 0, "n = 4"), (0, 0, "5"), (0, 0, "")]);
    let reply = wire.batch("THROW 60000, N'gone', 9; SELECT 1").await;
    assert_eq!((reply.numbers(), reply.sets.len()), (vec![60000], 0));
    for (sql, number) in [
        ("THROW", 10704),
        ("THROW 5, 'x', 1", 35100),
        ("RAISERROR('x', 20, 1)", 2754),
        ("RAISERROR('x', 20, 1) WITH LOG", 49999),
        ("RAISERROR(50001, 16, 1)", 49999),
        ("RAISERROR('%d', 16, 1, 'text')", 2786),
        ("RAISERROR('x')", 102),
        ("BEGIN TRY SELECT 1 END TRY", 102),
        ("BEGIN TRY SELECT 1 END CATCH", 102),
        ("BEGIN TRY SELECT 1", 102),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}
