//! The procedures by which drivers answer SQLTables, SQLColumns, DatabaseMetaData and the like.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, ResultSet, Wire};

const SETUP: &str = "
CREATE TABLE Parents (A int NOT NULL, B nvarchar(5) NOT NULL, CONSTRAINT PK_Parents PRIMARY KEY (B, A));
CREATE TABLE Children (Id int IDENTITY PRIMARY KEY, A int NULL, B nvarchar(5) NULL, Price decimal(9,2) NULL DEFAULT 1.5,
    At datetime2(3) NOT NULL, Big varbinary(max) NULL, CONSTRAINT FK_Child FOREIGN KEY (B, A) REFERENCES Parents (B, A)
    ON DELETE CASCADE);
CREATE UNIQUE INDEX IX_At ON Children (At, Price)";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    wire.batch("CREATE VIEW Cheap AS SELECT Id, Price FROM Children WHERE Price < 1").await.ok();
    wire.batch("CREATE PROCEDURE Find @name nvarchar(20), @id int OUTPUT AS SELECT @id = 1")
        .await
        .ok();
    (sandbox, wire)
}

async fn call(wire: &mut Wire, name: &str, params: &[Param]) -> ResultSet {
    wire.rpc(&[Wire::call_by_name(name, params)]).await.ok().sets.remove(0)
}

/// Some columns of every row, joined by blanks.
fn pick(set: &ResultSet, columns: &[&str]) -> Vec<String> {
    let at: Vec<usize> = columns
        .iter()
        .map(|name| set.names().iter().position(|n| n == name).unwrap_or_else(|| panic!("{name}")))
        .collect();
    let row = |row: &Vec<String>| at.iter().map(|i| row[*i].clone()).collect::<Vec<_>>().join(" ");
    set.shown().iter().map(row).collect()
}

#[tokio::test]
async fn tables_are_listed_by_pattern_and_type() {
    let (_sandbox, mut wire) = prepared().await;
    let all = call(&mut wire, "[sys].sp_tables", &[]).await;
    assert_eq!(
        all.names(),
        ["TABLE_QUALIFIER", "TABLE_OWNER", "TABLE_NAME", "TABLE_TYPE", "REMARKS"]
    );
    let shown = ["TABLE_QUALIFIER", "TABLE_OWNER", "TABLE_NAME", "TABLE_TYPE"];
    assert_eq!(
        pick(&all, &shown),
        ["sandbox dbo Children TABLE", "sandbox dbo Parents TABLE", "sandbox dbo Cheap VIEW"]
    );
    let params =
        [Param::text("", "Ch%"), Param::null(""), Param::null(""), Param::text("", "'TABLE'")];
    assert_eq!(pick(&call(&mut wire, "sp_tables", &params).await, &["TABLE_NAME"]), ["Children"]);
    let named = "EXEC sp_tables @table_name = N'Ch[e]%', @fUsePattern = 1";
    assert_eq!(pick(&wire.batch(named).await.ok().sets[0], &["TABLE_NAME"]), ["Cheap"]);
    let exact = "EXEC sys.sp_tables N'Ch%', @fUsePattern = 0";
    assert!(wire.batch(exact).await.ok().sets[0].rows.is_empty());
    let databases = "EXEC sp_tables N'', N'', N'%'";
    assert_eq!(
        pick(&wire.batch(databases).await.ok().sets[0], &["TABLE_QUALIFIER"]),
        ["master", "sandbox", "tempdb"]
    );
    let types = "EXEC sp_tables N'', N'', N'', '%'";
    assert_eq!(
        pick(&wire.batch(types).await.ok().sets[0], &["TABLE_TYPE"]),
        ["SYSTEM TABLE", "TABLE", "VIEW"]
    );
}

#[tokio::test]
async fn columns_are_in_the_terms_of_odbc() {
    let (_sandbox, mut wire) = prepared().await;
    let params = [Param::text("@table_name", "Children"), Param::int("@ODBCVer", 3)];
    let set = call(&mut wire, "sp_columns_100", &params).await;
    assert_eq!(set.columns.len(), 29);
    assert_eq!(set.names().last(), Some(&"SS_DATA_TYPE"));
    let shown = [
        "COLUMN_NAME",
        "DATA_TYPE",
        "TYPE_NAME",
        "PRECISION",
        "LENGTH",
        "SCALE",
        "NULLABLE",
        "ORDINAL_POSITION",
    ];
    assert_eq!(
        pick(&set, &shown),
        [
            "Id 4 int identity 10 4 0 0 1",
            "A 4 int 10 4 0 1 2",
            "B -9 nvarchar 5 10 NULL 1 3",
            "Price 3 decimal 9 11 2 1 4",
            "At 93 datetime2 23 16 3 0 5",
            "Big -3 varbinary 2147483647 2147483647 NULL 1 6",
        ]
    );
    assert_eq!(pick(&set, &["COLUMN_DEF", "SS_IS_IDENTITY", "IS_NULLABLE"])[3], "(1.5) 0 YES");
    let old = wire.batch("EXEC sp_columns N'Children', N'dbo', N'sandbox', N'A%'").await.ok();
    assert_eq!(old.sets[0].columns.len(), 19);
    assert_eq!(pick(&old.sets[0], &["COLUMN_NAME", "DATA_TYPE"]), ["A 4", "At 11"]);
    let elsewhere = "EXEC sp_columns N'Children', NULL, N'master'";
    assert!(wire.batch(elsewhere).await.ok().sets[0].rows.is_empty());
    assert_eq!(wire.batch("EXEC sp_columns").await.numbers(), [201]);
    assert_eq!(wire.batch("EXEC sp_columns N'x', @nope = 1").await.numbers(), [8145]);
}

#[tokio::test]
async fn keys_and_indexes_have_their_columns_in_order() {
    let (_sandbox, mut wire) = prepared().await;
    let set = call(&mut wire, "sp_pkeys", &[Param::text("", "Parents")]).await;
    assert_eq!(
        pick(&set, &["COLUMN_NAME", "KEY_SEQ", "PK_NAME"]),
        ["B 1 PK_Parents", "A 2 PK_Parents"]
    );
    for params in
        [[Param::text("@pktable_name", "Parents")], [Param::text("@fktable_name", "Children")]]
    {
        let set = call(&mut wire, "sp_fkeys", &params).await;
        assert_eq!(set.columns.len(), 14);
        let shown = [
            "PKCOLUMN_NAME",
            "FKTABLE_NAME",
            "FKCOLUMN_NAME",
            "KEY_SEQ",
            "UPDATE_RULE",
            "DELETE_RULE",
            "FK_NAME",
            "PK_NAME",
        ];
        assert_eq!(
            pick(&set, &shown),
            ["B Children B 1 1 0 FK_Child PK_Parents", "A Children A 2 1 0 FK_Child PK_Parents"]
        );
    }
    let set = call(&mut wire, "sp_statistics_100", &[Param::text("", "Children")]).await;
    assert_eq!(set.columns.len(), 13);
    let rows = pick(&set, &["TYPE", "NON_UNIQUE", "SEQ_IN_INDEX", "COLUMN_NAME"]);
    assert_eq!(rows, ["0 NULL NULL NULL", "1 0 1 Id", "3 0 1 At", "3 0 2 Price"]);
}

#[tokio::test]
async fn procedures_have_their_return_value_and_parameters() {
    let (_sandbox, mut wire) = prepared().await;
    for (name, count) in [("sp_sproc_columns", 20), ("sp_sproc_columns_100", 28)] {
        let set = call(&mut wire, name, &[Param::text("", "Fin_")]).await;
        assert_eq!(set.columns.len(), count);
        let shown =
            ["PROCEDURE_NAME", "COLUMN_NAME", "COLUMN_TYPE", "TYPE_NAME", "ORDINAL_POSITION"];
        assert_eq!(
            pick(&set, &shown),
            ["Find;1 @RETURN_VALUE 5 int 0", "Find;1 @name 1 nvarchar 1", "Find;1 @id 2 int 2"]
        );
    }
    let set = call(&mut wire, "sp_stored_procedures", &[]).await;
    assert_eq!(pick(&set, &["PROCEDURE_NAME", "PROCEDURE_TYPE"]), ["Find;1 2"]);
}

#[tokio::test]
async fn a_login_is_told_of_what_it_may_see() {
    let sandbox = Sandbox::builder().add_login("reader", "Reader-1433!").start().await.unwrap();
    let mut admin = Wire::connect(&sandbox, None).await;
    admin.batch(SETUP).await.ok();
    admin.batch("GRANT SELECT ON Parents TO reader").await.ok();
    let mut reader = Wire::login(&sandbox, "reader", "Reader-1433!", None, 4096).await.0;
    let set = reader.batch("EXEC sp_tables").await.ok().sets.remove(0);
    assert_eq!(pick(&set, &["TABLE_NAME"]), ["Parents"]);
    let hidden = reader.batch("EXEC sp_columns N'Children'").await.ok();
    assert!(hidden.sets[0].rows.is_empty());
}
