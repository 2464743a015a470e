//! Constraints and ALTER TABLE.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Wire, utf16};

const KEYS: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405)";

const ENCRYPTED: &str = "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1, ENCRYPTION_TYPE = DETERMINISTIC, \
                         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')";

async fn prepared(setup: &str) -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(KEYS).await.ok();
    wire.batch(setup).await.ok();
    (sandbox, wire)
}

async fn check(wire: &mut Wire, cases: &[(&str, &[i32])]) {
    for (sql, numbers) in cases {
        assert_eq!(&wire.batch(sql).await.numbers(), numbers, "{sql}");
    }
}

#[tokio::test]
async fn check_constraints_hold_for_every_write() {
    let (_sandbox, mut wire) = prepared(
        "CREATE TABLE C (Id int PRIMARY KEY, Age int NULL CONSTRAINT CK_Age CHECK (Age >= 0), Name nvarchar(9) NULL,
            CHECK (Name <> N'' OR Age IS NULL))",
    )
    .await;
    check(
        &mut wire,
        &[
            ("INSERT INTO C VALUES (1, 5, N'a'), (2, NULL, NULL)", &[]),
            ("INSERT INTO C VALUES (3, -1, N'a')", &[547]),
            ("INSERT INTO C VALUES (3, 4, N'')", &[547]),
            ("UPDATE C SET Age = -Id", &[547]),
            ("UPDATE C SET Age = Id", &[]),
            ("ALTER TABLE C ADD CONSTRAINT CK_Id CHECK (Id < 2)", &[547]),
            ("ALTER TABLE C ADD CONSTRAINT CK_Id CHECK (Id < 3)", &[]),
            ("INSERT INTO C (Id) VALUES (3)", &[547]),
            ("ALTER TABLE C DROP CONSTRAINT CK_Id, CK_Age", &[]),
            ("INSERT INTO C VALUES (3, -1, N'a')", &[]),
            ("ALTER TABLE C DROP CONSTRAINT CK_Id", &[3728]),
            ("ALTER TABLE C DROP CONSTRAINT IF EXISTS CK_Id", &[]),
            ("CREATE TABLE D (x int CHECK (Nope > 1))", &[207]),
            ("SELECT * FROM D", &[208]),
        ],
    )
    .await;
    let reply = wire.batch("INSERT INTO C VALUES (9, 4, N''); SELECT 1").await;
    assert_eq!((reply.numbers(), reply.sets.len()), (vec![547], 1), "the batch goes on");
    let sql = format!("CREATE TABLE E (x int {ENCRYPTED} CHECK (x > 1))");
    assert_eq!(wire.batch(&sql).await.numbers(), [33282]);
}

#[tokio::test]
async fn foreign_keys_hold_on_both_sides() {
    let (_sandbox, mut wire) = prepared(
        "CREATE TABLE P (Id int PRIMARY KEY, Code nvarchar(5) NOT NULL UNIQUE);
         CREATE TABLE N (Id int PRIMARY KEY, P int NULL CONSTRAINT FK_N REFERENCES P (Id));
         CREATE TABLE O (Id int PRIMARY KEY, P int NULL REFERENCES P ON DELETE CASCADE);
         CREATE TABLE Q (O int NULL, FOREIGN KEY (O) REFERENCES O (Id) ON DELETE SET NULL);
         INSERT INTO P VALUES (1, N'a'), (2, N'b'); INSERT INTO N VALUES (1, 1), (2, NULL);
         INSERT INTO O VALUES (1, 2); INSERT INTO Q VALUES (1)",
    )
    .await;
    check(
        &mut wire,
        &[
            ("INSERT INTO N VALUES (3, 9)", &[547]),
            ("UPDATE N SET P = 9 WHERE Id = 2", &[547]),
            ("DELETE FROM P WHERE Id = 1", &[547]),
            ("UPDATE P SET Id = 5 WHERE Id = 1", &[547]),
            ("DROP TABLE P", &[3726]),
            ("TRUNCATE TABLE P", &[4712]),
            ("ALTER TABLE N ADD CONSTRAINT F2 FOREIGN KEY (Id) REFERENCES P (Code)", &[1778]),
            ("ALTER TABLE N ADD CONSTRAINT F2 FOREIGN KEY (Id) REFERENCES N (P)", &[1776]),
            ("ALTER TABLE N ADD CONSTRAINT F2 FOREIGN KEY (Id) REFERENCES Nope (P)", &[1767]),
            ("ALTER TABLE N ADD CONSTRAINT FK_N FOREIGN KEY (P) REFERENCES P (Id)", &[2714]),
            ("DELETE FROM P WHERE Id = 2", &[]),
        ],
    )
    .await;
    assert!(wire.batch("SELECT * FROM O").await.ok().sets[0].rows.is_empty(), "cascaded");
    assert_eq!(wire.batch("SELECT * FROM Q").await.ok().sets[0].rows, [[None]], "set to NULL");
    check(&mut wire, &[("ALTER TABLE N DROP CONSTRAINT FK_N", &[]), ("DELETE FROM P", &[])]).await;
    // Ciphertext refers to ciphertext of the same scheme only.
    let parent = format!("CREATE TABLE EP (x int {ENCRYPTED} NOT NULL UNIQUE)");
    wire.batch(&parent).await.ok();
    assert_eq!(wire.batch("CREATE TABLE EC (x int REFERENCES EP (x))").await.numbers(), [1778]);
    wire.batch(&format!("CREATE TABLE EC (x int {ENCRYPTED} NULL REFERENCES EP (x))")).await.ok();
}

#[tokio::test]
async fn columns_come_and_go_and_change() {
    let (_sandbox, mut wire) = prepared(
        "CREATE TABLE T (Id int CONSTRAINT PK_T PRIMARY KEY, A nvarchar(5) NULL); INSERT INTO T VALUES (1, N'12'), (2, NULL)",
    )
    .await;
    check(
        &mut wire,
        &[
            ("ALTER TABLE T ADD B int NULL, C nvarchar(9) NOT NULL CONSTRAINT DF_C DEFAULT N'it''s', D int NULL DEFAULT 3", &[]),
            ("ALTER TABLE T ADD E int NOT NULL", &[4901]),
            ("ALTER TABLE T ADD b int", &[2705]),
            ("ALTER TABLE Nope ADD b int", &[4902]),
            ("INSERT INTO T (Id) VALUES (3)", &[]),
        ],
    )
    .await;
    let set = wire.batch("SELECT * FROM T ORDER BY Id").await.ok().sets.remove(0);
    let names: Vec<&str> = set.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["Id", "A", "B", "C", "D"]);
    assert_eq!(set.rows[0][2..], [None, Some(utf16("it's")), None]);
    assert_eq!(set.rows[2][3..], [Some(utf16("it's")), Some(vec![3, 0, 0, 0])]);
    check(
        &mut wire,
        &[
            ("ALTER TABLE T ALTER COLUMN A int NOT NULL", &[515]),
            ("ALTER TABLE T ALTER COLUMN A int NULL", &[]),
            ("UPDATE T SET A = A + 1 WHERE A = 12", &[]),
            ("ALTER TABLE T ALTER COLUMN C nvarchar(2) NOT NULL", &[2628]),
            ("ALTER TABLE T ALTER COLUMN C nvarchar(50) NOT NULL", &[]),
            ("ALTER TABLE T ALTER COLUMN Id bigint NOT NULL", &[5074]),
            ("ALTER TABLE T DROP COLUMN Id", &[5074]),
            ("ALTER TABLE T DROP CONSTRAINT PK_T", &[]),
            ("INSERT INTO T (Id, C) VALUES (1, N'twice')", &[]),
            ("ALTER TABLE T ADD CONSTRAINT PK_T PRIMARY KEY (Id)", &[1505]),
            ("ALTER TABLE T ADD CONSTRAINT UQ UNIQUE (A)", &[]),
            ("ALTER TABLE T DROP COLUMN IF EXISTS Nope, B", &[]),
            ("ALTER TABLE T DROP COLUMN Nope", &[4924]),
            ("ALTER TABLE T ADD CONSTRAINT DF_A DEFAULT 8 FOR A", &[]),
            ("ALTER TABLE T ADD DEFAULT 9 FOR A", &[1781]),
            ("INSERT INTO T (Id) VALUES (4)", &[]),
            ("ALTER TABLE T DROP CONSTRAINT DF_A", &[]),
        ],
    )
    .await;
    let rows = wire.batch("SELECT A, C, D FROM T WHERE Id = 4").await.ok().sets.remove(0).rows;
    assert_eq!(rows[0][0], Some(vec![8, 0, 0, 0]));
}

#[tokio::test]
async fn nothing_is_encrypted_in_place_without_an_enclave() {
    let (_sandbox, mut wire) = prepared("CREATE TABLE T (Id int NOT NULL, A int NULL)").await;
    wire.batch(&format!("ALTER TABLE T ADD B int {ENCRYPTED} NULL")).await.ok();
    let to_encrypted = format!("ALTER TABLE T ALTER COLUMN A int {ENCRYPTED} NULL");
    assert_eq!(wire.batch(&to_encrypted).await.numbers(), [33543]);
    assert_eq!(wire.batch("ALTER TABLE T ALTER COLUMN B int NULL").await.numbers(), [33543]);
    assert_eq!(wire.batch("ALTER TABLE T ADD DEFAULT 1 FOR B").await.numbers(), [33282]);
    let set = wire.batch("SELECT B FROM T").await.ok().sets.remove(0);
    assert!(set.columns[0].crypto.is_some());
    wire.batch("ALTER TABLE T DROP COLUMN B").await.ok();
    assert_eq!(wire.batch("SELECT B FROM T").await.numbers(), [207]);
}

#[tokio::test]
async fn schemas_keep_equal_names_apart() {
    let (_sandbox, mut wire) = prepared("CREATE TABLE T (Id int)").await;
    check(
        &mut wire,
        &[
            ("CREATE TABLE app.T (Id int)", &[2760]),
            ("CREATE TABLE sys.T (Id int)", &[2760]),
            ("CREATE SCHEMA app", &[]),
            ("CREATE SCHEMA App", &[2714]),
            ("CREATE TABLE app.T (Id int)", &[]),
            ("CREATE TABLE app.T (Id int)", &[2714]),
            ("INSERT INTO app.T VALUES (7)", &[]),
            ("CREATE VIEW app.V AS SELECT Id FROM app.T", &[]),
            ("SELECT * FROM V", &[208]),
            ("DROP SCHEMA app", &[3729]),
            ("DROP SCHEMA Nope", &[15151]),
        ],
    )
    .await;
    let sql = "SELECT s.name FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id \
               WHERE o.object_id IN (OBJECT_ID('T'), OBJECT_ID('app.T'), OBJECT_ID('[app].[V]')) ORDER BY s.name";
    let rows = wire.batch(sql).await.ok().sets.remove(0).rows;
    assert_eq!(rows, [[Some(utf16("app"))], [Some(utf16("app"))], [Some(utf16("dbo"))]]);
    assert!(wire.batch("SELECT * FROM dbo.T").await.ok().sets[0].rows.is_empty());
    assert_eq!(wire.batch("SELECT * FROM App.V").await.ok().sets[0].rows.len(), 1);
    check(&mut wire, &[("DROP VIEW app.V; DROP TABLE app.T; DROP SCHEMA app", &[])]).await;
}

#[tokio::test]
async fn foreign_keys_follow_what_they_refer_to() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch(
        "CREATE TABLE P (K int PRIMARY KEY, V int);
         CREATE TABLE A (K int REFERENCES P (K) ON UPDATE CASCADE ON DELETE CASCADE PRIMARY KEY);
         CREATE TABLE B (K int REFERENCES A (K) ON UPDATE CASCADE ON DELETE SET DEFAULT DEFAULT 9);
         CREATE TABLE C (K int REFERENCES P (K) ON UPDATE SET NULL);
         INSERT INTO P VALUES (1, 0), (2, 0), (9, 0); INSERT INTO A VALUES (1), (2), (9);
         INSERT INTO B VALUES (1), (2), (2); INSERT INTO C VALUES (2)",
    )
    .await
    .ok();
    let keys = "SELECT 'A', K FROM A UNION ALL SELECT 'B', K FROM B UNION ALL SELECT 'C', K FROM C ORDER BY 1, 2";
    let shown = |set: &wire::ResultSet| {
        set.shown().iter().map(|row| row.concat()).collect::<Vec<_>>().join(" ")
    };
    wire.batch("UPDATE P SET K = K + 10 WHERE K = 2").await.ok();
    assert_eq!(shown(&wire.batch(keys).await.ok().sets[0]), "A1 A9 A12 B1 B12 B12 CNULL");
    wire.batch("DELETE P WHERE K = 1").await.ok();
    assert_eq!(shown(&wire.batch(keys).await.ok().sets[0]), "A9 A12 B9 B12 B12 CNULL");
    assert_eq!(
        wire.batch("DELETE FROM P WHERE K = 9").await.numbers(),
        [547],
        "no default to go to"
    );
    assert_eq!(shown(&wire.batch(keys).await.ok().sets[0]), "A9 A12 B9 B12 B12 CNULL");
}
