//! Statements with parameters: `query`, `execute` and `Query`.

use tiberius::{Query, ToSql};

use super::comparison::{Actor, Comparison};

const INSERT: &str = "INSERT INTO People (Id, Name, Salary) VALUES (@P1, @P2, @P3)";

pub async fn cases(comparison: &mut Comparison) {
    forms(comparison).await;
    errors(comparison).await;
    texts(comparison).await;
    many(comparison).await;
}

async fn forms(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        let salary = tiberius::numeric::Numeric::new_with_scale(12345, 2);
        actor.execute(INSERT, &[&10, &"Dee", &salary]).await;
        actor.execute(INSERT, &[&11, &None::<&str>, &None::<tiberius::numeric::Numeric>]).await;
        actor.query("SELECT * FROM People WHERE Id >= @P1 ORDER BY Id", &[&10]).await;
        actor.execute("UPDATE People SET Name = @P2 WHERE Id = @P1", &[&10, &"D"]).await;
        actor.execute("DELETE FROM People WHERE Name = @P1", &[&"D"]).await;
        actor.execute("DELETE FROM People WHERE Name = @P1", &[&"D"]).await;
    };
    comparison.case("query and execute with parameters", body).await;

    let body = async |actor: &mut Actor| {
        let mut query = Query::new("INSERT INTO People (Id, Name) VALUES (@P1, @P2), (@P3, @P4)");
        query.bind(20);
        query.bind("Eve");
        query.bind(21);
        query.bind(Option::<String>::None);
        actor.bound_execute(query).await;
        let mut query = Query::new("SELECT Name FROM People WHERE Id IN (@P1, @P2) ORDER BY Id");
        query.bind_iter([20, 21]);
        actor.bound(query).await;
    };
    comparison.case("Query::bind", body).await;

    let body = async |actor: &mut Actor| {
        let sql = "INSERT INTO Visits (Person, Place) OUTPUT inserted.Id, inserted.Person \
                   SELECT Id, @P2 FROM People WHERE Id > @P1; \
                   SELECT COUNT(*) FROM Visits WHERE Place = @P2; SELECT @P1, @P2";
        actor.query(sql, &[&1, &"Bern"]).await;
        actor.execute(sql, &[&1, &"Bern"]).await;
    };
    comparison.case("several statements with the same parameters", body).await;

    let body = async |actor: &mut Actor| {
        for n in 0..3 {
            actor.query("SELECT Name FROM People WHERE Id = @P1 OR @P1 = 9", &[&n]).await;
        }
        actor.query("SELECT Name FROM People WHERE Id = @P1 OR @P1 = 9", &[&"1"]).await;
        actor.query("SELECT Name FROM People WHERE Id = @P1 OR @P1 = 9", &[&1i64]).await;
    };
    comparison.case("one statement again and with other types", body).await;

    let body = async |actor: &mut Actor| {
        actor.execute("INSERT INTO Visits (Person) VALUES (@P1)", &[&5]).await;
        actor.query("SELECT SCOPE_IDENTITY(), @@IDENTITY, @P1", &[&1]).await;
        actor.query("SELECT @@IDENTITY", &[]).await;
    };
    comparison.case("@@IDENTITY from request to request", body).await;

    let body = async |actor: &mut Actor| {
        actor.execute("UPDATE People SET Salary = 1 WHERE Id > @P1", &[&0]).await;
        actor.query("SELECT @@ROWCOUNT, @P1", &[&1]).await;
        actor.query("SELECT 1 / @P1", &[&0]).await;
        actor.query("SELECT @@ERROR, @P1", &[&1]).await;
    };
    comparison.case("@@ROWCOUNT and @@ERROR from request to request", body).await;

    let body = async |actor: &mut Actor| {
        let sql = "DECLARE @x int = @P1 + 1; IF @x > 2 INSERT INTO Visits (Person) VALUES (@x) \
                   ELSE SELECT @x AS small; SELECT @x";
        actor.query(sql, &[&1]).await;
        actor.query(sql, &[&2]).await;
    };
    comparison.case("variables and IF around parameters", body).await;

    let body = async |actor: &mut Actor| {
        actor.execute("CREATE TABLE #t (a int)", &[]).await;
        actor.execute("INSERT INTO #t VALUES (@P1)", &[&1]).await;
        actor.query("SELECT a FROM #t WHERE a = @P1", &[&1]).await;
    };
    comparison.case("temporary tables with parameters", body).await;

    let body = async |actor: &mut Actor| {
        actor.query("EXEC('SELECT 1') SELECT @P1", &[&1]).await;
        actor.query("EXEC sp_executesql N'SELECT @a', N'@a int', @a = @P1", &[&1]).await;
    };
    comparison.case("dynamic SQL with parameters", body).await;
}

async fn errors(comparison: &mut Comparison) {
    let cases: &[(&str, &str, &[&dyn ToSql])] = &[
        ("a duplicate key", INSERT, &[&1, &"x", &1]),
        ("a string that is too long", INSERT, &[&30, &"123456789012345678901", &1]),
        ("a string where a number goes", INSERT, &[&30, &"x", &"no number"]),
        ("NULL where none may be", INSERT, &[&None::<i32>, &"x", &1]),
        ("divide by zero", "SELECT 1 AS a; SELECT 1 / @P1; SELECT 2 AS b", &[&0]),
        ("a failing row half-way", "SELECT 6 / (Id - @P1) FROM People ORDER BY Id", &[&2]),
        ("a syntax error", "SELEC @P1", &[&1]),
        ("an unknown table", "SELECT * FROM Nowhere WHERE a = @P1", &[&1]),
        ("an unknown column", "SELECT Id FROM People WHERE Nothing = @P1", &[&1]),
        ("an unknown function", "SELECT dbo.Nothing(@P1)", &[&1]),
        ("an unknown procedure", "EXEC Nobody @P1", &[&1]),
        ("an ambiguous column", "SELECT Id FROM People, Visits WHERE Person = @P1", &[&1]),
        ("a parameter without value", "SELECT @P1, @P2", &[&1]),
        ("a value without parameter", "SELECT @P1", &[&1, &2]),
        ("an error in the last statement", "SELECT @P1; SELECT 1 / 0", &[&1]),
        ("an error in the first statement", "SELECT * FROM Nowhere; SELECT @P1", &[&1]),
        ("types that do not go together", "SELECT @P1 + @P2", &[&1, &tiberius::Uuid::nil()]),
        ("a comparison that fails", "SELECT Id FROM People WHERE Id = @P1", &[&"word"]),
        ("RAISERROR", "RAISERROR('text', 16, 2); SELECT @P1", &[&1]),
        ("PRINT", "PRINT 'text'; SELECT @P1", &[&1]),
        ("TRY and CATCH", "BEGIN TRY SELECT 1 / @P1 END TRY BEGIN CATCH SELECT 5 END CATCH", &[&0]),
    ];
    for (name, sql, params) in cases {
        let body = async |actor: &mut Actor| {
            actor.query(sql, params).await;
            actor.execute(sql, params).await;
            actor.query("SELECT @P1 AS after", &[&1]).await;
        };
        comparison.case(&format!("with parameters: {name}"), body).await;
    }
}

/// Texts that a parser could take for something else.
async fn texts(comparison: &mut Comparison) {
    let cases: &[(&str, &str)] = &[
        ("in strings", "SELECT '@P1', N'@P1', @P1, '''@P2''', \"Id\" FROM People"),
        ("in comments", "SELECT /* @P2 /* @P3 */ */ @P1 -- @P4\n, 2"),
        ("in brackets", "SELECT @P1 AS [@P2], [a b] AS [x]]@P1] FROM [odd ]] name's]"),
        (
            "inserted into odd names",
            "INSERT INTO [odd ]] name's] ([c]]d], [e'f]) VALUES (N'@P1', @P1)",
        ),
        ("with other letters", "SELECT @p1, @P1 FROM people WHERE iD = @p1"),
        ("without spaces", "SELECT@P1,@P1+@P1,-@P1"),
        ("a comment that is nearly ours", "SELECT @P1 /* always encrypted: force @P1 */"),
        ("a string like our comment", "SELECT @P1, 'always-encrypted: force'"),
        (
            "with qualified names",
            "SELECT sandbox.dbo.People.Name FROM sandbox.dbo.People WHERE dbo.People.Id = @P1",
        ),
        (
            "with aliases and hints",
            "SELECT p.[Name] AS n FROM [dbo].[People] AS p WITH (NOLOCK) WHERE p.[Id] = @P1",
        ),
        (
            "in a CTE",
            "WITH c (n) AS (SELECT Id FROM People WHERE Id = @P1) SELECT n FROM c WHERE n = @P1",
        ),
        (
            "in CASE and IN",
            "SELECT CASE WHEN Id IN (@P1, 2) THEN N'in' ELSE Name END FROM People ORDER BY Id",
        ),
        ("in TOP and OFFSET", "SELECT TOP (@P1) Id FROM People ORDER BY Id"),
        ("in a subquery", "SELECT (SELECT Name FROM People WHERE Id = @P1) AS n"),
        (
            "in a MERGE",
            "MERGE People AS t USING (SELECT @P1 AS Id) AS s ON t.Id = s.Id WHEN MATCHED THEN DELETE;",
        ),
        (
            "in LIKE and BETWEEN",
            "SELECT Id FROM People WHERE Name LIKE N'%a%' AND Id BETWEEN @P1 AND @P1",
        ),
    ];
    for (name, sql) in cases {
        let body = async |actor: &mut Actor| actor.query(sql, &[&1]).await;
        comparison.case(&format!("parameters {name}"), body).await;
    }
}

async fn many(comparison: &mut Comparison) {
    for count in [2_098usize, 2_099, 2_100, 2_101] {
        let names: Vec<String> = (1..=count).map(|n| format!("@P{n}")).collect();
        let body = async |actor: &mut Actor| {
            let values: Vec<i32> = (0..count as i32).collect();
            let params: Vec<&dyn ToSql> = values.iter().map(|v| v as &dyn ToSql).collect();
            let sql = format!("SELECT Id FROM People WHERE Id IN ({})", names.join(","));
            actor.query(&sql, &params).await;
            actor.query("SELECT @P1", &[&1]).await;
        };
        comparison.case(&format!("{count} parameters"), body).await;
    }
}
