//! Queries made of queries, and writes that join.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire, cell, utf16};

const NVARCHAR_11: &[u8] = &[0xE7, 22, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE TABLE People (Id int NOT NULL PRIMARY KEY, Name nvarchar(20) NULL,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL,
    Note varchar(9) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL);
CREATE TABLE Visits (Person int NOT NULL, Cost decimal(9,2) NOT NULL);
INSERT INTO People (Id, Name) VALUES (1, N'Ada'), (2, N'Bea'), (3, N'Cai');
INSERT INTO Visits VALUES (1, 10.5), (1, 2), (3, 7)";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    (sandbox, wire)
}

/// The first column of the first result, of small integers.
async fn numbers(wire: &mut Wire, sql: &str) -> Vec<i64> {
    let set = wire.batch(sql).await.ok().sets.remove(0);
    let number =
        |bytes: &Vec<u8>| bytes.iter().rev().fold(0i64, |n, byte| n << 8 | i64::from(*byte));
    set.rows.iter().map(|row| row[0].as_ref().map_or(-1, number)).collect()
}

#[tokio::test]
async fn union_takes_the_higher_type_and_orders_the_whole() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, expected) in [
        ("SELECT 2 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 ORDER BY n", vec![1, 2, 2]),
        ("SELECT 2 AS n UNION SELECT 1 UNION SELECT 2 ORDER BY 1 DESC", vec![2, 1]),
        ("SELECT Id FROM People EXCEPT SELECT Person FROM Visits", vec![2]),
        ("SELECT Id FROM People INTERSECT SELECT Person FROM Visits ORDER BY Id", vec![1, 3]),
        ("SELECT NULL AS n UNION ALL SELECT Id FROM People WHERE Id = 3 ORDER BY n", vec![-1, 3]),
        ("SELECT 1 UNION ALL SELECT CAST('7' AS varchar(3))", vec![1, 7]),
        (
            "SELECT 3 AS n UNION ALL (SELECT 1 UNION SELECT 1) ORDER BY n OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY",
            vec![3],
        ),
        (
            "SELECT COUNT(*) FROM (SELECT Id FROM People UNION ALL SELECT Person FROM Visits) AS u",
            vec![6],
        ),
        (
            "SELECT LEN(x) FROM (SELECT N'a' AS x UNION ALL SELECT N'abc') AS u ORDER BY 1",
            vec![1, 3],
        ),
    ] {
        assert_eq!(numbers(&mut wire, sql).await, expected, "{sql}");
    }
    assert_eq!(wire.batch("SELECT 1, 2 UNION SELECT 1").await.numbers(), [205]);
    let upper = "SELECT N'a' AS x UNION SELECT N'A'";
    assert_eq!(wire.batch(upper).await.ok().sets[0].rows.len(), 1, "the collation ignores case");
}

#[tokio::test]
async fn encrypted_columns_pass_through_queries_of_queries() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "UPDATE People SET SSN = @s WHERE Id = 1";
    let scheme = wire.schemes(sql, "@s nvarchar(11)").await[0].clone().unwrap();
    let secret = Param::encrypted("@s", Some(&cell(2, 9)), NVARCHAR_11, &scheme);
    wire.execute(sql, "@s nvarchar(11)", std::slice::from_ref(&secret)).await.ok();
    wire.batch(
        "CREATE VIEW dbo.Known AS SELECT Id, SSN, Note FROM dbo.People WHERE Name IS NOT NULL",
    )
    .await
    .ok();
    for sql in [
        "SELECT SSN FROM Known WHERE SSN = @s",
        "WITH k AS (SELECT Id, SSN FROM People) SELECT SSN FROM k WHERE SSN = @s",
        "WITH k (Nr, Secret) AS (SELECT Id, SSN FROM Known), l AS (SELECT * FROM k) SELECT Secret FROM l WHERE Secret = @s",
        "SELECT SSN FROM People WHERE SSN = @s UNION SELECT SSN FROM Known WHERE SSN = @s",
    ] {
        let schemes = wire.schemes(sql, "@s nvarchar(11)").await;
        assert!(schemes[0].is_some(), "{sql}");
        let set = wire
            .execute(sql, "@s nvarchar(11)", std::slice::from_ref(&secret))
            .await
            .ok()
            .sets
            .remove(0);
        assert!(set.columns[0].crypto.is_some(), "{sql}");
        assert_eq!(set.rows, [[Some(cell(2, 9))]], "{sql}");
    }
    let sql = "SELECT Note FROM People UNION ALL SELECT Note FROM Known";
    assert_eq!(wire.batch(sql).await.ok().sets[0].rows.len(), 6);
    for sql in [
        "SELECT Note FROM People UNION SELECT Note FROM Known",
        "SELECT Note FROM People UNION ALL SELECT SSN FROM People",
        "SELECT SSN FROM People UNION ALL SELECT N'x'",
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [33277], "{sql}");
    }
}

#[tokio::test]
async fn views_live_in_the_catalogue() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch(
        "CREATE VIEW Costs (Person, Total) AS SELECT Person, SUM(Cost) FROM Visits GROUP BY Person",
    )
    .await
    .ok();
    let sql = "SELECT p.Name FROM People p JOIN Costs c ON c.Person = p.Id WHERE c.Total > 10";
    assert_eq!(wire.batch(sql).await.ok().sets[0].rows, [[Some(utf16("Ada"))]]);
    assert_eq!(
        numbers(&mut wire, "SELECT COUNT(*) FROM sys.views WHERE object_id = OBJECT_ID('Costs')")
            .await,
        [1]
    );
    wire.batch("CREATE OR ALTER VIEW Costs AS SELECT Person AS P FROM Visits").await.ok();
    assert_eq!(numbers(&mut wire, "SELECT DISTINCT P FROM Costs ORDER BY P").await, [1, 3]);
    for (sql, number) in [
        ("CREATE VIEW Costs AS SELECT 1 AS a", 2714),
        ("CREATE VIEW V AS SELECT Nope FROM People", 207),
        ("CREATE VIEW V AS SELECT Id, 1 FROM People", 8155),
        ("CREATE VIEW V AS SELECT @x AS x", 137),
        ("SELECT 1; CREATE VIEW V AS SELECT 1 AS a", 111),
        ("INSERT INTO Costs VALUES (1)", 49999),
        ("DROP VIEW Nope", 3701),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
    wire.batch("DROP VIEW IF EXISTS Nope; DROP VIEW Costs").await.ok();
    assert_eq!(wire.batch("SELECT * FROM Costs").await.numbers(), [208]);
}

#[tokio::test]
async fn common_table_expressions_see_only_those_before_them() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "WITH a AS (SELECT Id FROM People WHERE Id > 1), People AS (SELECT 9 AS Id) SELECT a.Id FROM a, People";
    assert_eq!(numbers(&mut wire, sql).await, [2, 3]);
    for (sql, number) in [
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", 49999),
        ("WITH a AS (SELECT 1 AS n UNION ALL SELECT n FROM a) SELECT * FROM a", 530),
        (
            "WITH a AS (SELECT 1 AS n UNION ALL SELECT CAST(n AS bigint) FROM a) SELECT * FROM a",
            240,
        ),
        (
            "WITH a AS (SELECT 1 AS n UNION ALL SELECT x.n FROM a x JOIN a y ON x.n = y.n) SELECT * FROM a",
            253,
        ),
        ("WITH a AS (SELECT 1 AS n UNION ALL SELECT n, n FROM a) SELECT * FROM a", 205),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1 AS n) SELECT * FROM a", 208),
        ("WITH a (x, y) AS (SELECT 1) SELECT * FROM a", 8158),
        (
            "SELECT Id FROM People WHERE EXISTS (SELECT * FROM (SELECT 1 AS n) AS d); WITH a AS (SELECT Id FROM Visits) SELECT * FROM People WHERE EXISTS (SELECT * FROM a)",
            207,
        ),
        ("SELECT * FROM a", 208),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}

#[tokio::test]
async fn writes_that_join_change_the_rows_they_find() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "UPDATE p SET p.Name = N'visited', SSN = @s FROM People AS p JOIN Visits v ON v.Person = p.Id WHERE v.Cost > 3";
    let schemes = wire.schemes(sql, "@s nvarchar(11)").await;
    let secret =
        Param::encrypted("@s", Some(&cell(2, 4)), NVARCHAR_11, schemes[0].as_ref().unwrap());
    assert_eq!(wire.execute(sql, "@s nvarchar(11)", &[secret]).await.ok().affected(), 2);
    let left =
        numbers(&mut wire, "SELECT Id FROM People WHERE SSN IS NULL AND Name <> N'visited'").await;
    assert_eq!(left, [2]);
    // One row, however many visits there are, and a target that FROM does not name.
    let sql = "UPDATE People SET Name = N'once' OUTPUT inserted.Id FROM Visits WHERE Visits.Person = People.Id AND People.Id = 1";
    let reply = wire.batch(sql).await.ok();
    assert_eq!((reply.affected(), reply.sets[0].rows.len()), (1, 1));
    let sql = "DELETE v FROM Visits v LEFT JOIN People p ON p.Id = v.Person WHERE p.Name = N'once'";
    assert_eq!(wire.batch(sql).await.ok().affected(), 2);
    assert_eq!(numbers(&mut wire, "SELECT Person FROM Visits").await, [3]);
    let sql = "DELETE People FROM People JOIN Visits ON Visits.Person = People.Id";
    assert_eq!(wire.batch(sql).await.ok().affected(), 1);
    let sql = "UPDATE a SET Name = N'x' FROM People a JOIN Nope n ON n.Id = a.Id";
    assert_eq!(wire.batch(sql).await.numbers(), [208]);
}

#[tokio::test]
async fn common_table_expressions_call_themselves() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, expected) in [
        (
            "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n ORDER BY i",
            vec![1, 2, 3, 4, 5],
        ),
        (
            "WITH n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT COUNT(*) FROM n",
            vec![101],
        ),
        (
            "WITH tree AS (SELECT Id FROM People WHERE Id = 1 UNION ALL SELECT p.Id FROM People p JOIN tree t ON p.Id = \
             t.Id + 1), twice AS (SELECT Id * 2 AS d FROM tree) SELECT d FROM twice ORDER BY d",
            vec![2, 4, 6],
        ),
    ] {
        assert_eq!(numbers(&mut wire, sql).await, expected, "{sql}");
    }
    let sql = "WITH n AS (SELECT Id, SSN FROM People WHERE Id = 1 UNION ALL SELECT p.Id, p.SSN FROM People p JOIN n ON \
               p.Id = n.Id + 1) SELECT SSN FROM n";
    let set = wire.batch(sql).await.ok().sets.remove(0);
    assert!(set.columns[0].crypto.is_some() && set.rows.len() == 3);
}

#[tokio::test]
async fn rows_are_numbered_and_strings_gathered() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, expected) in [
        (
            "SELECT ROW_NUMBER() OVER (PARTITION BY Person ORDER BY Cost DESC) AS n FROM Visits ORDER BY Person, Cost",
            vec![2, 1, 1],
        ),
        ("SELECT RANK() OVER (ORDER BY Person) FROM Visits ORDER BY 1", vec![1, 1, 3]),
        ("SELECT DENSE_RANK() OVER (ORDER BY Person) FROM Visits ORDER BY 1", vec![1, 1, 2]),
        (
            "SELECT x.Id FROM (SELECT Id, ROW_NUMBER() OVER (ORDER BY Name DESC) AS n FROM People) AS x WHERE x.n = 1",
            vec![3],
        ),
    ] {
        assert_eq!(numbers(&mut wire, sql).await, expected, "{sql}");
    }
    for (sql, expected) in [
        (
            "SELECT STRING_AGG(Name, N', ') WITHIN GROUP (ORDER BY Name DESC) FROM People",
            "Cai, Bea, Ada",
        ),
        ("SELECT STRING_AGG(CAST(Id AS nvarchar(9)), N'-') FROM People WHERE Id < 3", "1-2"),
        ("SELECT STRING_AGG(Name, N'') FROM People WHERE Id = 9", "NULL"),
    ] {
        let set = wire.batch(sql).await.ok().sets.remove(0);
        assert_eq!(set.shown(), [[expected]], "{sql}");
    }
    for (sql, number) in [
        ("SELECT Id FROM People WHERE ROW_NUMBER() OVER (ORDER BY Id) = 1", 4108),
        ("SELECT ROW_NUMBER() OVER (PARTITION BY Id) FROM People", 4112),
        ("SELECT ROW_NUMBER() OVER (ORDER BY SSN) FROM People", 33277),
        ("SELECT ROW_NUMBER() OVER (PARTITION BY Note ORDER BY Id) FROM People", 33277),
        ("SELECT STRING_AGG(SSN, N',') FROM People", 33277),
        ("SELECT STRING_AGG(Name, 1) FROM People", 8116),
        ("SELECT SUM(Id) OVER (PARTITION BY Name) FROM People", 49999),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}
