//! INSERT, UPDATE, DELETE and what belongs to them.

use tiberius::{Query, ToSql};

use super::world::{
    ADA, BEA, CAI, Cases, INSERT_NAME, World, affected, day, moment, money, refused, rows,
};

pub async fn cases(cases: &mut Cases) {
    inserts(cases).await;
    changes(cases).await;
    batches(cases).await;
}

async fn inserts(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "SELECT Name, Email, Age, Salary, Born, Seen, Bio, Photo, Plain FROM People ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            [
                "zq7kx2w9 Ada ada@zq7kx2w9.example 36 10.5000 1815-12-10 2024-03-15 13:14:15.678 zq7kx2w9 wrote notes [01, 02] first",
                "zq7kx2w9 Bea NULL NULL NULL NULL NULL NULL NULL NULL",
                "zq7kx2w9 Cai cai@zq7kx2w9.example 36 -0.0001 1815-12-10 2024-03-15 13:14:15.678  [] third",
            ]
        );
    };
    cases.case("INSERT: every type, values and untyped NULLs", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People VALUES (@P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8, @P9, @P10)";
        let (born, seen) = (day(1900, 1, 1), moment());
        let params: [&dyn ToSql; 10] = [
            &9,
            &ADA,
            &"x@zq7kx2w9",
            &1,
            &money(5),
            &born,
            &seen,
            &"zq7kx2w9",
            &vec![0u8],
            &"open",
        ];
        assert_eq!(affected(&mut client, sql, &params).await, [1]);
        let read = rows(&mut client, "SELECT Email, Salary, Plain FROM People", &[]).await;
        assert_eq!(read, ["x@zq7kx2w9 0.0005 open"]);
    };
    cases.case("INSERT without a column list", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People (Name, Id, Plain, Age) VALUES (@P1, @P2, N'a', @P3), \
                   (@P4, @P5, DEFAULT, NULL), (NULL, 3, @P6, @P7)";
        let mut query = Query::new(sql);
        query.bind(ADA);
        query.bind(1);
        query.bind(30);
        query.bind(BEA);
        query.bind(2);
        query.bind("plain");
        query.bind(Option::<i32>::None);
        assert_eq!(query.execute(&mut client).await.unwrap().rows_affected(), [3]);
        let read =
            rows(&mut client, "SELECT Id, Name, Age, Plain FROM People ORDER BY Id", &[]).await;
        assert_eq!(read, ["1 zq7kx2w9 Ada 30 a", "2 zq7kx2w9 Bea NULL NULL", "3 NULL NULL plain"]);
    };
    cases.case("INSERT of several rows", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        let sql = "INSERT INTO Visits (Person, Day) SELECT Name, @P2 FROM People WHERE Name = @P1";
        assert_eq!(affected(&mut client, sql, &[&ADA, &7]).await, [1]);
        let read = rows(&mut client, "SELECT Person, Day FROM Visits", &[]).await;
        assert_eq!(read, ["zq7kx2w9 Ada 7"]);
    };
    cases.case("INSERT from SELECT", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People (Id, Name, Age, Bio) OUTPUT inserted.Id, inserted.Name, inserted.Bio \
                   VALUES (@P1, @P2, @P3, @P4)";
        let read = rows(&mut client, sql, &[&1, &ADA, &5, &"zq7kx2w9 bio"]).await;
        assert_eq!(read, ["1 zq7kx2w9 Ada zq7kx2w9 bio"]);
    };
    cases.case("INSERT with OUTPUT", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO Visits (Person, Place, Cost) VALUES (@P1, @P2, @P3); SELECT SCOPE_IDENTITY()";
        let params: [&dyn ToSql; 3] = [&ADA, &"zq7kx2w9 Paris", &money(12_345)];
        assert_eq!(rows(&mut client, sql, &params).await, ["1.0"]);
        assert_eq!(rows(&mut client, sql, &params).await, ["2.0"]);
        assert_eq!(rows(&mut client, "SELECT @@IDENTITY, @P1", &[&0]).await, ["2.0 0"]);
        let read = rows(&mut client, "SELECT Place, Cost FROM Visits WHERE Id = 2", &[]).await;
        assert_eq!(read, ["zq7kx2w9 Paris 1.2345"]);
    };
    cases.case("INSERT and SCOPE_IDENTITY", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        // One parameter has one type and one encryption, however often it is used.
        let sql = "INSERT INTO People (Id, Name, Plain) VALUES (@P1, @P2, @P2)";
        let error = refused(&mut client, sql, &[&1, &ADA]).await;
        assert!(matches!(error.code(), Some(206 | 33277)), "{error}");
        let sql = "INSERT INTO People (Id, Name, Bio) VALUES (@P1, @P2, @P2)";
        refused(&mut client, sql, &[&1, &ADA]).await;
        assert!(world.names().await.is_empty());
    };
    cases.case("one parameter for a plain and an encrypted column is refused", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let error =
            refused(&mut client, "INSERT INTO People (Id, Name) VALUES (@P1, N'literal')", &[&1])
                .await;
        assert_eq!(error.code(), Some(206), "{error}");
        let error = refused(&mut client, "UPDATE People SET Age = Age + @P1", &[&1]).await;
        assert!(matches!(error.code(), Some(402 | 33277)), "{error}");
    };
    cases.case("literals and arithmetic are the server's errors", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let error = client.execute(INSERT_NAME, &[&1, &"zq7kx2w9 twice"]).await.unwrap_err();
        assert_eq!(error.code(), Some(2627), "{error}");
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada", "2 zq7kx2w9 Bea", "3 zq7kx2w9 Cai"]);
    };
    cases.case("a duplicate key is the server's error", body).await;
}

async fn changes(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "UPDATE People SET Name = @P2, Age = @P3, Salary = @P4 WHERE Name = @P1";
        let pay = money(770_000);
        assert_eq!(affected(&mut client, sql, &[&ADA, &"zq7kx2w9 A.", &37, &pay]).await, [1]);
        assert_eq!(affected(&mut client, sql, &[&ADA, &"zq7kx2w9 A.", &37, &pay]).await, [0]);
        let sql = "SELECT Name, Age, Salary FROM People WHERE Id = 1";
        assert_eq!(rows(&mut client, sql, &[]).await, ["zq7kx2w9 A. 37 77.0000"]);
    };
    cases.case("UPDATE by a deterministic column", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "UPDATE p SET p.Bio = @P1, Plain = @P2 OUTPUT inserted.Bio, inserted.Plain \
                   FROM People AS p WHERE p.Email = @P3 AND p.Age = @P4";
        let read =
            rows(&mut client, sql, &[&"zq7kx2w9 new", &"seen", &"ada@zq7kx2w9.example", &36]).await;
        assert_eq!(read, ["zq7kx2w9 new seen"]);
    };
    cases.case("UPDATE of an alias, with OUTPUT", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        for (person, dayn) in [(ADA, 1), (ADA, 2), (CAI, 3)] {
            let sql = "INSERT INTO Visits (Person, Day) VALUES (@P1, @P2)";
            affected(&mut client, sql, &[&person, &dayn]).await;
        }
        let sql = "UPDATE p SET Age = @P1 FROM People p JOIN Visits v ON v.Person = p.Name WHERE v.Day > @P2";
        assert_eq!(affected(&mut client, sql, &[&50, &1]).await, [2]);
        let sql = "DELETE v FROM Visits v JOIN People p ON p.Name = v.Person WHERE p.Name = @P1";
        assert_eq!(affected(&mut client, sql, &[&ADA]).await, [2]);
        let sql = "SELECT p.Name, p.Age, v.Day FROM People p LEFT JOIN Visits v ON v.Person = p.Name ORDER BY p.Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            ["zq7kx2w9 Ada 50 NULL", "zq7kx2w9 Bea NULL NULL", "zq7kx2w9 Cai 50 3"]
        );
    };
    cases.case("UPDATE and DELETE with joins", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "DELETE FROM People OUTPUT deleted.Name WHERE Name IN (@P1, @P2) AND Plain = @P3";
        assert_eq!(rows(&mut client, sql, &[&ADA, &BEA, &"first"]).await, [ADA]);
        assert_eq!(affected(&mut client, "DELETE People WHERE Name = @P1", &[&CAI]).await, [1]);
        assert_eq!(world.names().await, ["2 zq7kx2w9 Bea"]);
    };
    cases.case("DELETE by deterministic columns", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "UPDATE People SET Name = @P1, Age = @P2, Bio = @P3, Photo = @P4 WHERE Id = @P5";
        let nothing: [&dyn ToSql; 5] =
            [&None::<&str>, &None::<i32>, &None::<String>, &None::<&[u8]>, &1];
        assert_eq!(affected(&mut client, sql, &nothing).await, [1]);
        let sql = "SELECT Name, Age, Bio, Photo FROM People WHERE Id = 1";
        assert_eq!(rows(&mut client, sql, &[]).await, ["NULL NULL NULL NULL"]);
        // NULL equals nothing, encrypted or not.
        let sql = "SELECT Id FROM People WHERE Name = @P1";
        assert!(rows(&mut client, sql, &[&None::<&str>]).await.is_empty());
    };
    cases.case("UPDATE to NULL", body).await;
}

async fn batches(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "IF NOT EXISTS (SELECT 1 FROM People WHERE Name = @P2) \
                   INSERT INTO People (Id, Name) VALUES (@P1, @P2) \
                   ELSE UPDATE People SET Age = @P3 WHERE Name = @P2";
        affected(&mut client, sql, &[&10, &ADA, &40]).await;
        affected(&mut client, sql, &[&10, &"zq7kx2w9 Dee", &41]).await;
        let sql = "SELECT Id, Name, Age FROM People WHERE Id = 1 OR Id > 3 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            ["1 zq7kx2w9 Ada 40", "10 zq7kx2w9 Dee NULL"]
        );
    };
    cases.case("IF NOT EXISTS INSERT ELSE UPDATE", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "INSERT INTO People (Id, Name) VALUES (@P1, @P2); \
                   INSERT INTO Visits (Person, Place, Day) VALUES (@P2, @P3, @P1); \
                   UPDATE People SET Bio = @P4 WHERE Name = @P2; \
                   SELECT v.Person, v.Place, p.Bio FROM Visits v JOIN People p ON p.Name = v.Person; \
                   DELETE FROM Visits WHERE Person = @P2";
        let params: [&dyn ToSql; 4] = [&11, &"zq7kx2w9 Eve", &"zq7kx2w9 Oslo", &"zq7kx2w9 bio"];
        assert_eq!(
            rows(&mut client, sql, &params).await,
            ["zq7kx2w9 Eve zq7kx2w9 Oslo zq7kx2w9 bio"]
        );
        let sql = "SELECT COUNT(*) FROM Visits";
        assert_eq!(rows(&mut client, sql, &[]).await, ["0"]);
    };
    cases.case("several statements that share parameters", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "DECLARE @id int = @P1 + 1; UPDATE People SET Name = @P2 WHERE Id = @id; SELECT Name FROM People WHERE Id = @id";
        assert_eq!(rows(&mut client, sql, &[&1, &"zq7kx2w9 B."]).await, ["zq7kx2w9 B."]);
    };
    cases.case("variables beside encrypted parameters", body).await;
}
