//! SELECT in its forms: conditions, joins, names, results.

use futures_util::TryStreamExt as _;
use tiberius::{ColumnType, ToSql};

use super::{
    database::run,
    world::{ADA, BEA, CAI, Cases, World, affected, assert_usable, refused, rows, shown},
};

pub async fn cases(cases: &mut Cases) {
    conditions(cases).await;
    names(cases).await;
    results(cases).await;
}

async fn conditions(cases: &mut Cases) {
    /// A condition on `People AS p`, its parameters, and the ids that it finds.
    type Condition = (&'static str, &'static [&'static dyn ToSql], &'static [&'static str]);
    let conditions: &[Condition] = &[
        ("Name = @P1", &[&ADA], &["1"]),
        ("@P1 = p.Name", &[&ADA], &["1"]),
        ("p.[Name] = @P1 AND p.Age = @P2", &[&CAI, &36], &["3"]),
        ("Name IN (@P1, @P2)", &[&ADA, &BEA], &["1", "2"]),
        ("Name NOT IN (@P1, @P2)", &[&ADA, &BEA], &["3"]),
        ("Name <> @P1", &[&ADA], &["2", "3"]),
        ("Name = @P1 OR (Id = @P2 AND Plain IS NULL)", &[&ADA, &2], &["1", "2"]),
        ("Age = @P1", &[&36], &["1", "3"]),
        ("Age = @P1", &[&36i64], &["1", "3"]),
        ("Age = @P1", &[&36u8], &["1", "3"]),
        ("Age = @P1", &[&36f64], &["1", "3"]),
        ("Email = @P1", &[&"cai@zq7kx2w9.example"], &["3"]),
        ("Email IS NULL AND Name = @P1", &[&BEA], &["2"]),
        ("Bio IS NOT NULL AND Id < @P1", &[&3], &["1"]),
        (
            "EXISTS (SELECT 1 FROM People q WHERE q.Age = p.Age AND q.Name = @P1)",
            &[&ADA],
            &["1", "3"],
        ),
        ("Name = (SELECT Name FROM People WHERE Email = @P1)", &[&"ada@zq7kx2w9.example"], &["1"]),
        ("Age IN (SELECT q.Age FROM People q WHERE q.Name = @P1)", &[&CAI], &["1", "3"]),
        ("Name = @P1 AND Name = @P2", &[&ADA, &CAI], &[]),
    ];
    for (condition, params, ids) in conditions {
        let body = async |world: &World| {
            let mut client = world.populated().await;
            let sql = format!("SELECT Id FROM People AS p WHERE {condition} ORDER BY Id");
            assert_eq!(rows(&mut client, &sql, params).await, *ids);
        };
        cases.case(&format!("WHERE {condition}"), body).await;
    }

    let refusals: &[(&str, &[&dyn ToSql])] = &[
        ("Name > @P1", &[&ADA]),
        ("Name LIKE @P1", &[&"zq7kx2w9%"]),
        ("Age BETWEEN @P1 AND @P2", &[&1, &99]),
        ("Salary = @P1", &[&1]),
        ("Bio = @P1", &[&"zq7kx2w9"]),
        ("UPPER(Name) = @P1", &[&"ZQ7"]),
        ("Age + 1 = @P1", &[&37]),
        ("Name = Email AND Id = @P1", &[&1]),
        ("Name = @P1 AND Plain = @P1", &[&ADA]),
    ];
    for (condition, params) in refusals {
        let body = async |world: &World| {
            let mut client = world.populated().await;
            let sql = format!("SELECT Id FROM People AS p WHERE {condition}");
            let error = refused(&mut client, &sql, params).await;
            assert!(matches!(error.code(), Some(206 | 402 | 33277)), "{error}");
            assert!(world.database.connector.error_behind(&error).is_none(), "the server's own");
            let sql = "SELECT Name FROM People ORDER BY Name";
            assert_eq!(refused(&mut client, sql, &[]).await.code(), Some(33277));
        };
        cases.case(&format!("the server refuses WHERE {condition}"), body).await;
    }

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let many: Vec<String> =
            (0..500).map(|n| format!("zq7kx2w9 nobody {n}")).chain([ADA.into()]).collect();
        let names: Vec<String> = (1..=many.len()).map(|n| format!("@P{n}")).collect();
        let params: Vec<&dyn ToSql> = many.iter().map(|v| v as &dyn ToSql).collect();
        let sql = format!("SELECT Id FROM People WHERE Name IN ({})", names.join(", "));
        assert_eq!(rows(&mut client, &sql, &params).await, ["1"]);
    };
    cases.case("an IN list of five hundred", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        affected(
            &mut client,
            "INSERT INTO Visits (Person, Day) VALUES (@P1, 1), (@P2, 2)",
            &[&ADA, &CAI],
        )
        .await;
        for sql in [
            "SELECT p.Name, v.Day FROM People p INNER JOIN Visits AS v ON v.Person = p.Name WHERE v.Person = @P1",
            "SELECT a.Name, v.Day FROM [dbo].[People] a, Visits v WHERE v.Person = a.Name AND a.Name = @P1",
            "WITH c (Who, Day) AS (SELECT Person, Day FROM Visits WHERE Person = @P1) SELECT Who, Day FROM c",
            "WITH a AS (SELECT Name FROM People), b AS (SELECT a.Name, v.Day FROM a JOIN Visits v ON v.Person = a.Name) SELECT * FROM b WHERE Name = @P1",
            "SELECT x.Name, x.Day FROM (SELECT p.Name, v.Day FROM People p JOIN Visits v ON v.Person = p.Name) AS x WHERE x.Name = @P1",
            "SELECT Person, Day FROM Visits WHERE Person = @P1 UNION ALL SELECT Name, Age FROM People WHERE Name = @P1 AND 1 = 0",
        ] {
            // Day is plain, Age is not: the last one cannot be united, and says so.
            if sql.contains("UNION") {
                refused(&mut client, sql, &[&CAI]).await;
            } else {
                assert_eq!(rows(&mut client, sql, &[&CAI]).await, ["zq7kx2w9 Cai 2"], "{sql}");
            }
        }
        let sql = "SELECT Person FROM Visits WHERE Person = @P1 UNION SELECT Name FROM People WHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&CAI]).await, [CAI]);
    };
    cases.case("joins, CTEs, derived tables, UNION", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT Age, COUNT(*) FROM People WHERE Age = @P1 GROUP BY Age";
        assert_eq!(rows(&mut client, sql, &[&36]).await, ["36 2"]);
        let sql = "SELECT COUNT(DISTINCT Age), COUNT(Name) FROM People WHERE Id > @P1";
        assert_eq!(rows(&mut client, sql, &[&0]).await, ["1 3"]);
        assert_eq!(
            rows(&mut client, "SELECT DISTINCT Age FROM People WHERE Age = @P1", &[&36]).await,
            ["36"]
        );
    };
    cases.case("GROUP BY, DISTINCT and COUNT on deterministic columns", body).await;
}

async fn names(cases: &mut Cases) {
    for table in [
        "People",
        "dbo.People",
        "sandbox.dbo.People",
        "sandbox..People",
        "[sandbox].[dbo].[People]",
        "\"dbo\".\"People\"",
        "PEOPLE",
    ] {
        let body = async |world: &World| {
            let mut client = world.client().await;
            let sql = format!("INSERT INTO {table} (id, NAME) VALUES (@P1, @p2)");
            assert_eq!(affected(&mut client, &sql, &[&1, &ADA]).await, [1]);
            let sql = format!("SELECT name FROM {table} WHERE nAmE = @P1");
            assert_eq!(rows(&mut client, &sql, &[&ADA]).await, [ADA]);
        };
        cases.case(&format!("the table as {table}"), body).await;
    }
    let body = async |world: &World| {
        let mut dba = world.dba().await;
        let det = super::database::encrypted("DETERMINISTIC");
        run(&mut dba, "CREATE SCHEMA [my schema]").await;
        let sql = format!(
            "CREATE TABLE [my schema].[odd ]] 'name] (Id int NOT NULL, \
             [the ]] \u{fc}ber name] varchar(20) COLLATE Latin1_General_BIN2 {det} NULL)"
        );
        run(&mut dba, &sql).await;
        let mut client = world.client().await;
        let sql = "INSERT INTO [my schema].[odd ]] 'name] ([the ]] \u{fc}ber name], Id) VALUES (@P1, @P2)";
        assert_eq!(affected(&mut client, sql, &[&ADA, &1]).await, [1]);
        let sql = "SELECT t.[the ]] \u{fc}ber name] AS [x]]y] FROM [my schema].[odd ]] 'name] t \
                   WHERE t.[the ]] \u{fc}ber name] = @P1 /* '@P2' */ -- @P3";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, [ADA]);
    };
    cases.case("names with brackets, quotes and spaces", body).await;
    let body = async |world: &World| {
        run(
            &mut world.dba().await,
            "CREATE VIEW Known AS SELECT Id, Name, Bio FROM People WHERE Name IS NOT NULL",
        )
        .await;
        let mut client = world.populated().await;
        let sql = "SELECT Name, Bio FROM Known WHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["zq7kx2w9 Ada zq7kx2w9 wrote notes"]);
    };
    cases.case("a view", body).await;
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT '@P1' AS a, N'it''s @P2' AS b, Name /* @P3 ' */ FROM People -- ' @P4\nWHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["@P1 it's @P2 zq7kx2w9 Ada"]);
    };
    cases.case("strings and comments that look like parameters", body).await;
}

async fn results(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT Name FROM People WHERE Id = 1; SELECT 5 AS n; SELECT Salary, Plain, Age FROM People ORDER BY Id; \
                   SELECT Bio FROM People WHERE Id < 0; SELECT Photo, Name FROM People WHERE Id = @P1";
        let results = client.query(sql, &[&1]).await.unwrap().into_results().await.unwrap();
        let results: Vec<Vec<String>> =
            results.into_iter().map(|rows| rows.into_iter().map(shown).collect()).collect();
        assert_eq!(results[0], [ADA]);
        assert_eq!(results[1], ["5"]);
        assert_eq!(results[2], ["10.5000 first 36", "NULL NULL NULL", "-0.0001 third 36"]);
        assert!(results[3].is_empty());
        assert_eq!(results[4], ["[01, 02] zq7kx2w9 Ada"]);
    };
    cases.case("several results under several keys", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT Name, Email, Age, Salary, Born, Seen, Bio, Photo, Name AS Again FROM People WHERE Id < 0";
        let mut stream = client.query(sql, &[]).await.unwrap();
        let columns = stream.columns().await.unwrap().unwrap().to_vec();
        let kinds: Vec<ColumnType> = columns.iter().map(|c| c.column_type()).collect();
        assert_eq!(columns[8].name(), "Again");
        assert!(
            !kinds[..7].contains(&ColumnType::BigVarBin),
            "no ciphertext to be seen: {kinds:?}"
        );
        assert_eq!(
            (kinds[0], kinds[6], kinds[7]),
            (ColumnType::NVarchar, ColumnType::NVarchar, ColumnType::BigVarBin)
        );
        drop(stream);
        let metadata = client.column_metadata("People", &["Id", "Name", "Age"]).await.unwrap();
        let flags: Vec<(String, bool)> =
            metadata.iter().map(|c| (c.col_name().to_owned(), c.base().is_nullable())).collect();
        assert_eq!(flags, [("Id".into(), false), ("Name".into(), true), ("Age".into(), true)]);
    };
    cases.case("metadata show the types of the plaintext", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People (Id, Name, Bio) VALUES (@P1, @P2, @P3)";
        for id in 0..300 {
            affected(&mut client, sql, &[&id, &ADA, &format!("zq7kx2w9 {}", "b".repeat(400))])
                .await;
        }
        for items in [0, 1, 2, 150] {
            let mut stream = client.query("SELECT * FROM People", &[]).await.unwrap();
            for _ in 0..items {
                stream.try_next().await.unwrap().unwrap();
            }
            drop(stream);
            assert_usable(&mut client).await;
            let mut stream = client.query("SELECT * FROM People", &[]).await.unwrap();
            for _ in 0..items {
                stream.try_next().await.unwrap().unwrap();
            }
            drop(stream);
            client.cancel_query().await.unwrap();
            assert_usable(&mut client).await;
        }
    };
    cases.case("streams dropped and cancelled half-way", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let long = format!("zq7kx2w9 {}", "\u{4f60}".repeat(1 << 19));
        let photo = vec![0xA5u8; 1 << 20];
        let sql = "INSERT INTO People (Id, Bio, Photo) VALUES (@P1, @P2, @P3)";
        affected(&mut client, sql, &[&1, &long, &photo]).await;
        let row = client.query("SELECT Bio, Photo FROM People", &[]).await.unwrap();
        let row = row.into_row().await.unwrap().unwrap();
        assert!(row.get::<&str, _>(0) == Some(&long) && row.get::<&[u8], _>(1) == Some(&photo));
    };
    cases.case("values of a megabyte", body).await;
}
