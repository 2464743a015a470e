//! Temporary tables, table variables, and INSERT ... EXEC.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Reply, Wire};

fn rows(reply: &Reply) -> Vec<String> {
    reply.sets.iter().flat_map(|set| set.shown()).map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn temporary_tables_are_their_sessions() {
    let sandbox = Sandbox::builder().add_login("reader", "Reader-1433!").start().await.unwrap();
    let mut one = Wire::connect(&sandbox, None).await;
    let (mut other, reply) = Wire::login(&sandbox, "reader", "Reader-1433!", None, 4096).await;
    reply.ok();
    let create = "CREATE TABLE #t (Id int IDENTITY PRIMARY KEY, N int NULL CHECK (N > 0), S nvarchar(9) DEFAULT N'x')";
    one.batch(create).await.ok();
    one.batch("INSERT INTO #t (N) VALUES (1), (2); UPDATE #t SET N = 5 WHERE Id = 2").await.ok();
    assert_eq!(
        rows(&one.batch("SELECT * FROM tempdb..#t t ORDER BY t.N").await.ok()),
        ["1 1 x", "2 5 x"]
    );
    assert_eq!(other.batch("SELECT * FROM #t").await.numbers(), [208]);
    other.batch(create).await.ok();
    other.batch("INSERT INTO #t (N) VALUES (9)").await.ok();
    assert_eq!(rows(&other.batch("SELECT N FROM #t").await.ok()), ["9"]);
    assert_eq!(one.batch(create).await.numbers(), [2714]);
    assert_eq!(one.batch("INSERT INTO #t (N) VALUES (0)").await.numbers(), [547]);
    let columns = "SELECT c.name, t.name FROM tempdb.sys.columns c JOIN tempdb.sys.types t ON t.user_type_id = c.user_type_id \
                   WHERE c.object_id = OBJECT_ID(@P1) ORDER BY c.column_id";
    let found = one.execute(columns, "@P1 nvarchar(99)", &[Param::text("@P1", "tempdb..#t")]).await;
    assert_eq!(rows(&found.ok()), ["Id int", "N int", "S nvarchar"]);
    let elsewhere = "SELECT OBJECT_ID('#t'), (SELECT COUNT(*) FROM sys.tables), (SELECT COUNT(*) FROM tempdb.sys.tables)";
    assert_eq!(rows(&one.batch(elsewhere).await.ok()), ["NULL 0 1"]);
    let drop_if = "IF OBJECT_ID('tempdb..#t', 'U') IS NOT NULL DROP TABLE #t";
    one.batch(drop_if).await.ok();
    one.batch(drop_if).await.ok();
    assert_eq!(one.batch("SELECT * FROM #t").await.numbers(), [208]);
    assert_eq!(one.batch("CREATE TABLE ##g (a int)").await.numbers(), [49999]);
    other.rpc(&[Wire::call_by_name("sp_reset_connection", &[])]).await.ok();
    assert_eq!(other.batch("SELECT * FROM #t").await.numbers(), [208]);
}

#[tokio::test]
async fn temporary_tables_go_with_what_made_them() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE PROCEDURE Fill AS INSERT INTO #t VALUES (7)").await.ok();
    wire.batch(
        "CREATE PROCEDURE Make AS BEGIN CREATE TABLE #t (a int); EXEC Fill; SELECT a FROM #t END",
    )
    .await
    .ok();
    assert_eq!(rows(&wire.batch("EXEC Make; EXEC Make").await.ok()), ["7", "7"]);
    assert_eq!(wire.batch("SELECT * FROM #t").await.numbers(), [208]);
    wire.execute("CREATE TABLE #t (a int)", "", &[]).await.ok();
    assert_eq!(wire.batch("SELECT * FROM #t").await.numbers(), [208], "a text's own");
    wire.batch("BEGIN TRAN; CREATE TABLE #t (a int); ROLLBACK").await.ok();
    wire.batch("CREATE TABLE #t (a int)").await.ok();
    wire.execute("INSERT INTO #t VALUES (@a)", "@a int", &[Param::int("@a", 3)]).await.ok();
    assert_eq!(rows(&wire.batch("SELECT a FROM #t").await.ok()), ["3"]);
    drop(wire);
    let mut next = Wire::connect(&sandbox, None).await;
    next.batch("CREATE TABLE #t (a int)").await.ok();
    assert_eq!(next.batch("SELECT a FROM #t").await.ok().sets[0].rows.len(), 0);
}

#[tokio::test]
async fn table_variables_live_as_long_as_their_batch() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let sql = "DECLARE @t TABLE (Id int PRIMARY KEY, S nvarchar(9)); INSERT INTO @t VALUES (1, N'a'), (2, N'b');
        DELETE FROM @t WHERE Id = 1; UPDATE t SET S = N'c' FROM @t t; SELECT x.S, Id FROM @t AS x";
    assert_eq!(rows(&wire.batch(sql).await.ok()), ["c 2"]);
    assert_eq!(rows(&wire.batch(sql).await.ok()), ["c 2"]);
    assert_eq!(wire.batch("SELECT * FROM @t").await.numbers(), [1087]);
    assert_eq!(
        wire.batch("DECLARE @t TABLE (a int); EXEC('SELECT * FROM @t')").await.numbers(),
        [1087]
    );
    assert_eq!(
        wire.batch("DECLARE @t TABLE (a int); DECLARE @t TABLE (a int)").await.numbers(),
        [134]
    );
    let declare = "@id int";
    let text = "DECLARE @t TABLE (Id int); INSERT INTO @t VALUES (@id); SELECT * FROM @t";
    let mut ae = Wire::connect(&sandbox, Some(1)).await;
    assert_eq!(ae.schemes(text, declare).await.len(), 1);
    assert_eq!(rows(&ae.execute(text, declare, &[Param::int("@id", 4)]).await.ok()), ["4"]);
}

#[tokio::test]
async fn insert_exec_keeps_what_would_have_been_sent() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE T (Id int IDENTITY, A bigint NOT NULL, B varchar(3) NULL)").await.ok();
    wire.batch("CREATE PROCEDURE P @n int AS BEGIN SELECT @n, 'one'; UPDATE T SET B = B; SELECT @n + 1, NULL END").await.ok();
    let reply = wire.batch("INSERT INTO T EXEC P 5").await.ok();
    assert_eq!((reply.affected(), reply.sets.len()), (2, 0));
    let reply = wire.batch("INSERT T (B, A) EXEC('SELECT 2, 9'); SELECT @@ROWCOUNT").await.ok();
    assert_eq!(rows(&reply), ["1"]);
    assert_eq!(
        rows(&wire.batch("SELECT * FROM T ORDER BY Id").await.ok()),
        ["1 5 one", "2 6 NULL", "3 9 2"]
    );
    for (sql, number) in [
        ("INSERT INTO T EXEC('SELECT 1')", 213),
        ("INSERT INTO T EXEC('SELECT NULL, NULL')", 515),
        ("INSERT INTO T EXEC('SELECT 1, N''long text''')", 2628),
        ("INSERT INTO T EXEC('SELECT 1 / 0, 1')", 8134),
        ("INSERT INTO Nope EXEC('SELECT 1')", 208),
        ("INSERT INTO T EXEC Nope", 2812),
        ("INSERT INTO T EXEC('INSERT INTO T EXEC(''SELECT 1, 2'')')", 8164),
        ("INSERT INTO T EXEC('INSERT INTO T (A) OUTPUT inserted.A VALUES (1)')", 49999),
    ] {
        let reply = wire.batch(sql).await;
        assert_eq!(reply.numbers(), [number], "{sql}");
    }
    assert_eq!(rows(&wire.batch("SELECT COUNT(*) FROM T").await.ok()), ["3"]);
}

/// As mssql-jdbc's DatabaseMetaData.getColumns asks, with Always Encrypted and so described first.
#[tokio::test]
async fn columns_pass_through_a_table_variable() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch("CREATE TABLE T (Id int NOT NULL, S nvarchar(9) NULL)").await.ok();
    let sql = "DECLARE @r TABLE (TABLE_QUALIFIER SYSNAME, TABLE_OWNER SYSNAME, TABLE_NAME SYSNAME, COLUMN_NAME SYSNAME,
        DATA_TYPE SMALLINT, TYPE_NAME SYSNAME, PRECISION INT, LENGTH INT, SCALE SMALLINT, RADIX SMALLINT, NULLABLE SMALLINT,
        REMARKS VARCHAR(254), COLUMN_DEF NVARCHAR(4000), SQL_DATA_TYPE SMALLINT, SQL_DATETIME_SUB SMALLINT,
        CHAR_OCTET_LENGTH INT, ORDINAL_POSITION INT, IS_NULLABLE VARCHAR(254), SS_IS_SPARSE SMALLINT,
        SS_IS_COLUMN_SET SMALLINT, SS_IS_COMPUTED SMALLINT, SS_IS_IDENTITY SMALLINT, SS_UDT_CATALOG_NAME NVARCHAR(128),
        SS_UDT_SCHEMA_NAME NVARCHAR(128), SS_UDT_ASSEMBLY_TYPE_NAME NVARCHAR(max),
        SS_XML_SCHEMACOLLECTION_CATALOG_NAME NVARCHAR(128), SS_XML_SCHEMACOLLECTION_SCHEMA_NAME NVARCHAR(128),
        SS_XML_SCHEMACOLLECTION_NAME NVARCHAR(128), SS_DATA_TYPE TINYINT);
        INSERT INTO @r EXEC sp_columns_100 @P0,@P1,@P2,@P3,@P4,@P5;
        SELECT COLUMN_NAME, CASE DATA_TYPE WHEN -9 THEN 'text' ELSE 'other' END AS KIND FROM @r ORDER BY ORDINAL_POSITION";
    let declare =
        "@P0 nvarchar(9), @P1 nvarchar(9), @P2 nvarchar(9), @P3 nvarchar(9), @P4 int, @P5 int";
    assert_eq!(wire.schemes(sql, declare).await.len(), 6);
    let params = [
        Param::text("@P0", "T"),
        Param::null("@P1"),
        Param::null("@P2"),
        Param::null("@P3"),
        Param::int("@P4", 0),
        Param::int("@P5", 3),
    ];
    let reply = wire.execute(sql, declare, &params).await.ok();
    assert_eq!(rows(&reply), ["Id other", "S text"]);
}

#[tokio::test]
async fn select_into_makes_a_table_of_a_query() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE T (Id int NOT NULL, S nvarchar(9) NULL); INSERT INTO T VALUES (1, N'a'), (2, N'b')").await.ok();
    let sql = "SELECT Id, S, Id * @n AS Twice INTO #x FROM T WHERE Id > 0 ORDER BY Id DESC; SELECT @@ROWCOUNT; SELECT * FROM #x ORDER BY 1";
    let reply = wire.execute(sql, "@n int", &[Param::int("@n", 2)]).await.ok();
    assert_eq!(rows(&reply), ["2", "1 a 2", "2 b 4"]);
    wire.batch("SELECT * INTO Copy FROM T").await.ok();
    let columns = "SELECT name, TYPE_NAME(user_type_id), max_length, is_nullable FROM sys.columns WHERE object_id = OBJECT_ID('Copy')";
    assert_eq!(rows(&wire.batch(columns).await.ok()), ["Id int 4 0", "S nvarchar 18 1"]);
    for (sql, number) in [
        ("SELECT * INTO Copy FROM T", 2714),
        ("SELECT 1 INTO Other", 8155),
        ("SELECT Id, Id INTO Other FROM T", 2705),
        ("SELECT Nope INTO Other FROM T", 207),
        ("SELECT 1 AS a INTO nowhere.Other", 2760),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
    assert_eq!(wire.batch("SELECT * FROM Other").await.numbers(), [208]);
}
