//! Statements without parameters, as `simple_query` and as `query` send them.

use super::comparison::{Actor, Comparison};

/// A case is a name and the batches that it sends, one after the other.
const BATCHES: &[(&str, &[&str])] = &[
    ("one row", &["SELECT 1 AS one, N'x' AS two, NULL AS three"]),
    ("no column has a name", &["SELECT 1, N'', 2.50"]),
    ("a table", &["SELECT * FROM People ORDER BY Id"]),
    ("an empty result", &["SELECT * FROM People WHERE Id < 0"]),
    (
        "empty results around a full one",
        &[
            "SELECT Id FROM People WHERE 1 = 0; SELECT Id FROM People; SELECT Name FROM People WHERE 1 = 0",
        ],
    ),
    ("no result at all", &["DECLARE @x int = 1", "", ";", "-- nothing"]),
    (
        "several results of other shapes",
        &["SELECT 1 AS a; SELECT N'two' AS b, 2 AS c; SELECT * FROM Visits; SELECT 3"],
    ),
    (
        "writes and reads mixed",
        &[
            "INSERT INTO People (Id) VALUES (4); SELECT COUNT(*) FROM People; DELETE FROM People WHERE Id = 4; SELECT 9",
        ],
    ),
    (
        "joins, groups, unions",
        &[
            "SELECT p.Name, COUNT(v.Id) AS n FROM People p LEFT JOIN Visits v ON v.Person = p.Id GROUP BY p.Name ORDER BY n DESC, p.Name",
            "SELECT Id FROM People UNION SELECT Person FROM Visits ORDER BY 1 DESC",
            "WITH c AS (SELECT Id, Name FROM People WHERE Id > 1) SELECT c.Name FROM c ORDER BY c.Id",
            "SELECT Id FROM People WHERE Id IN (SELECT Person FROM Visits) AND EXISTS (SELECT 1 FROM Visits v WHERE v.Person = People.Id)",
        ],
    ),
    (
        "ORDER BY, TOP, OFFSET",
        &[
            "SELECT TOP (2) Id, Name FROM People ORDER BY Name DESC",
            "SELECT Id FROM People ORDER BY Id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY",
            "SELECT Salary, Name FROM People ORDER BY Salary, Name",
        ],
    ),
    ("FOR BROWSE has TABNAME and COLINFO", &["SELECT Id, Name FROM People FOR BROWSE"]),
    (
        "nulls of every column in one row and none",
        &[
            "SELECT Name, Born, Salary, Photo FROM People WHERE Id = 2",
            "SELECT Name, Born, Salary, Photo FROM People WHERE Id = 1",
        ],
    ),
    (
        "OUTPUT",
        &[
            "INSERT INTO Visits (Person, Place) OUTPUT inserted.Id, inserted.Place VALUES (2, 'Oslo'), (3, NULL)",
            "UPDATE People SET Name = N'new' OUTPUT deleted.Name AS old, inserted.Name AS new WHERE Id > 1",
            "DELETE FROM Visits OUTPUT deleted.* WHERE Person = 1",
        ],
    ),
    (
        "identity and defaults",
        &[
            "INSERT INTO Visits (Person) VALUES (7)",
            "SELECT SCOPE_IDENTITY(), @@IDENTITY, @@ROWCOUNT",
            "INSERT INTO Visits (Person, Place) VALUES (8, DEFAULT)",
        ],
    ),
    (
        "@@ROWCOUNT and @@ERROR from batch to batch",
        &[
            "UPDATE People SET Salary = 1 WHERE Id > 1",
            "SELECT @@ROWCOUNT",
            "SELECT 1 / 0",
            "SELECT @@ERROR",
        ],
    ),
    (
        "UPDATE and DELETE with joins",
        &[
            "UPDATE p SET p.Name = N'seen' FROM People p JOIN Visits v ON v.Person = p.Id WHERE v.Place = 'Rome'",
            "DELETE v FROM Visits v LEFT JOIN People p ON p.Id = v.Person WHERE p.Id = 1",
        ],
    ),
    ("a syntax error", &["SELECT FROM WHERE", "SELECT 1"]),
    (
        "an unknown table, column, procedure, variable",
        &[
            "SELECT * FROM Nowhere",
            "SELECT Nothing FROM People",
            "EXEC Nobody",
            "SELECT @nope",
            "SELECT 1",
        ],
    ),
    (
        "a duplicate key",
        &[
            "INSERT INTO People (Id) VALUES (50); INSERT INTO People (Id) VALUES (1); INSERT INTO People (Id) VALUES (51); SELECT 7",
        ],
    ),
    (
        "several rows of which one is a duplicate",
        &["INSERT INTO People (Id, Name) VALUES (60, N'a'), (2, N'b'), (61, N'c')"],
    ),
    ("NULL where none may be", &["INSERT INTO Visits (Person) VALUES (NULL)", "SELECT 1"]),
    (
        "a string that is too long",
        &["INSERT INTO People (Id, Name) VALUES (5, N'123456789012345678901')"],
    ),
    ("divide by zero", &["SELECT 1 AS a; SELECT 1 / 0; SELECT 2 AS b"]),
    ("divide by zero half-way through the rows", &["SELECT 6 / (Id - 2) FROM People ORDER BY Id"]),
    (
        "arithmetic overflow",
        &["SELECT CAST(2147483647 AS int) + 1; SELECT 3", "SELECT CAST(300 AS tinyint)"],
    ),
    ("a conversion that fails", &["SELECT CAST(N'x' AS int)", "SELECT CAST('2024-02-30' AS date)"]),
    ("an error after rows", &["SELECT * FROM People; SELECT * FROM Nowhere; SELECT 2"]),
    ("PRINT", &["PRINT 'hello'; SELECT 1; PRINT N'\u{4f60}'"]),
    (
        "RAISERROR",
        &["RAISERROR('low', 5, 1); SELECT 1", "RAISERROR('high %d', 16, 3, 7); SELECT 2"],
    ),
    ("THROW", &["THROW 50001, 'thrown', 7", "SELECT 1"]),
    (
        "TRY and CATCH",
        &["BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH SELECT ERROR_NUMBER() END CATCH"],
    ),
    (
        "MERGE",
        &[
            "MERGE People AS t USING (SELECT 1 AS Id) AS s ON t.Id = s.Id WHEN MATCHED THEN UPDATE SET Name = N'm';",
        ],
    ),
    (
        "IF, variables, blocks",
        &[
            "DECLARE @n int = 2; IF @n > 1 BEGIN SELECT N'more' AS a; SET @n = @n + 1 END ELSE SELECT N'less' AS b; SELECT @n",
        ],
    ),
    ("WHILE", &["DECLARE @n int = 0; WHILE @n < 3 BEGIN SELECT @n; SET @n = @n + 1 END"]),
    (
        "temporary tables",
        &[
            "CREATE TABLE #t (a int, b nvarchar(5)); INSERT INTO #t VALUES (1, N'x')",
            "SELECT * FROM #t",
            "DROP TABLE #t",
            "SELECT * FROM #t",
        ],
    ),
    ("table variables", &["DECLARE @t TABLE (a int); INSERT INTO @t VALUES (1); SELECT * FROM @t"]),
    (
        "tables come, change and go",
        &[
            "CREATE TABLE Fresh (a int NOT NULL, b varchar(5) NULL)",
            "INSERT INTO Fresh VALUES (1, 'x')",
            "ALTER TABLE Fresh ADD c nvarchar(3) NULL",
            "SELECT * FROM Fresh",
            "TRUNCATE TABLE Fresh",
            "SELECT * FROM Fresh",
            "DROP TABLE Fresh",
            "SELECT * FROM Fresh",
        ],
    ),
    (
        "views and schemas",
        &[
            "CREATE SCHEMA other",
            "CREATE VIEW other.Names AS SELECT Id, Name FROM dbo.People",
            "SELECT * FROM other.Names ORDER BY Id",
            "SELECT n.Name FROM sandbox.other.Names AS n",
        ],
    ),
    ("window functions", &["SELECT Id, ROW_NUMBER() OVER (ORDER BY Id DESC) FROM People"]),
    (
        "FOR XML and FOR JSON",
        &["SELECT Id FROM People FOR XML AUTO", "SELECT Id FROM People FOR JSON AUTO"],
    ),
    (
        "the catalogue",
        &[
            "SELECT name, system_type_id, max_length, is_nullable FROM sys.columns WHERE object_id = OBJECT_ID('People') ORDER BY column_id",
            "SELECT name FROM sys.tables ORDER BY name",
            "SELECT @@VERSION, DB_NAME(), SCHEMA_NAME()",
        ],
    ),
    (
        "odd names",
        &[
            "INSERT INTO [odd ]] name's] ([a b], [c]]d], [e'f]) VALUES (1, N'q''q', 3)",
            "SELECT [a b], [c]]d] AS [x]]y], [e'f] AS \"quote\"\"d\" FROM [odd ]] name's]",
            "SELECT o.[c]]d] FROM dbo.[odd ]] name's] AS o",
        ],
    ),
    (
        "what looks like a parameter",
        &[
            "SELECT N'@P1' AS [@P2], '@P1 @a' /* @P1 */ -- @P2\n, \"Id\" FROM People WHERE Name <> N'@P1'",
            "SELECT '/* always' AS a, N'--' AS b, '''@x''' AS c /* nested /* @P9 */ still */",
        ],
    ),
    (
        "text beyond ASCII",
        &["SELECT N'gr\u{fc}n \u{1f600} \u{4f60}\u{597d}' AS [\u{e4}\u{4f60}], '\u{fc}' AS latin"],
    ),
    (
        "FMTONLY",
        &[
            "SET FMTONLY ON",
            "SELECT * FROM People",
            "SET FMTONLY OFF",
            "SELECT COUNT(*) FROM People",
        ],
    ),
    ("USE", &["USE sandbox", "SELECT DB_NAME()", "USE Elsewhere", "SELECT DB_NAME()"]),
    (
        "dynamic SQL",
        &[
            "EXEC('SELECT 1 AS a; SELECT Name FROM People WHERE Id = 1')",
            "DECLARE @s nvarchar(50) = N'SELECT 5'; EXEC(@s)",
        ],
    ),
    (
        "sp_executesql in a batch",
        &["EXEC sp_executesql N'SELECT Name FROM People WHERE Id = @i', N'@i int', @i = 3"],
    ),
];

pub async fn cases(comparison: &mut Comparison) {
    for (name, batches) in BATCHES {
        let body = async |actor: &mut Actor| {
            for sql in *batches {
                actor.batch(sql).await;
            }
        };
        comparison.case(&format!("simple_query: {name}"), body).await;
    }
    // The same through sp_executesql, which is how `query` and `execute` go without parameters.
    let body = async |actor: &mut Actor| {
        for (_, batches) in BATCHES {
            for sql in *batches {
                actor.query(sql, &[]).await;
            }
        }
    };
    comparison.case("query: all of these, one after the other", body).await;
    let body = async |actor: &mut Actor| {
        for (_, batches) in BATCHES {
            for sql in *batches {
                actor.execute(sql, &[]).await;
            }
        }
    };
    comparison.case("execute: all of these, one after the other", body).await;
    long_statements(comparison).await;
}

async fn long_statements(comparison: &mut Comparison) {
    let megabyte = "x".repeat(1 << 20);
    let body = async |actor: &mut Actor| {
        actor.batch(&format!("SELECT N'{megabyte}' AS a, LEN(N'{megabyte}')")).await;
        actor.query(&format!("SELECT 1 /* {megabyte} */"), &[]).await;
        actor.query(&format!("SELECT @P1 /* {megabyte} */"), &[&5]).await;
        actor.batch("SELECT 2").await;
    };
    comparison.case("a statement of a megabyte", body).await;
    let body = async |actor: &mut Actor| {
        let many: String = (0..2_000).map(|n| format!("SELECT {n} AS n{n};")).collect();
        actor.batch(&many).await;
    };
    comparison.case("two thousand results", body).await;
    let body = async |actor: &mut Actor| {
        let columns: Vec<String> = (0..1_024).map(|n| format!("{n} AS c{n}")).collect();
        actor.batch(&format!("SELECT {}", columns.join(", "))).await;
        let nulls: Vec<String> =
            (0..1_024).map(|n| if n % 3 == 0 { "1".into() } else { "NULL".to_owned() }).collect();
        actor.batch(&format!("SELECT {}", nulls.join(", "))).await;
    };
    comparison.case("a thousand columns", body).await;
}
