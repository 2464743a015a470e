//! MERGE on encrypted columns, and OUTPUT of what was there before.

use tiberius::ToSql;

use super::world::{ADA, BEA, CAI, Cases, INSERT_NAME, World, affected, money, refused, rows};

const UPSERT: &str = "MERGE People AS t USING (SELECT @P1 AS Id) AS s ON t.Id = s.Id \
                      WHEN MATCHED THEN UPDATE SET Name = @P2, Salary = @P3 \
                      WHEN NOT MATCHED THEN INSERT (Id, Name, Salary) VALUES (s.Id, @P2, @P3);";

pub async fn cases(cases: &mut Cases) {
    direct(cases).await;
    by_way_of_the_source(cases).await;
    outputs(cases).await;
}

async fn direct(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        for (id, name, pay) in
            [(1, "zq7kx2w9 A.", 7), (9, "zq7kx2w9 New", 8), (9, "zq7kx2w9 N.", 9)]
        {
            assert_eq!(affected(&mut client, UPSERT, &[&id, &name, &money(pay)]).await, [1]);
        }
        let read =
            rows(&mut client, "SELECT Id, Name, Salary FROM People WHERE Id IN (1, 9)", &[]).await;
        assert_eq!(read, ["1 zq7kx2w9 A. 0.0007", "9 zq7kx2w9 N. 0.0009"]);
    };
    cases.case("MERGE: deterministic and randomized values", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "MERGE INTO dbo.People WITH (HOLDLOCK) AS t USING (SELECT @P2 AS Day) AS s ON t.Name = @P1 \
                   WHEN MATCHED AND t.Age = @P3 THEN UPDATE SET Plain = N'found', Bio = @P4 \
                   WHEN NOT MATCHED THEN INSERT (Id, Name) VALUES (s.Day, @P1);";
        let params: [&dyn ToSql; 4] = [&ADA, &50, &36, &"zq7kx2w9 bio"];
        assert_eq!(affected(&mut client, sql, &params).await, [1]);
        let params: [&dyn ToSql; 4] = [&"zq7kx2w9 Dan", &51, &36, &"zq7kx2w9 bio"];
        assert_eq!(affected(&mut client, sql, &params).await, [1]);
        let read = "SELECT Id, Name, Plain, Bio FROM People WHERE Id = 1 OR Id > 3 ORDER BY Id";
        assert_eq!(
            rows(&mut client, read, &[]).await,
            ["1 zq7kx2w9 Ada found zq7kx2w9 bio", "51 zq7kx2w9 Dan NULL NULL"]
        );
    };
    cases.case("MERGE: found by an encrypted value", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        affected(
            &mut client,
            "INSERT INTO Visits (Person, Day) VALUES (@P1, 1), (@P2, 2)",
            &[&ADA, &BEA],
        )
        .await;
        let sql = "MERGE People AS t USING Visits AS s ON t.Name = s.Person \
                   WHEN MATCHED AND s.Day = @P1 THEN DELETE WHEN MATCHED THEN UPDATE SET Email = @P2 \
                   WHEN NOT MATCHED BY SOURCE THEN UPDATE SET Email = @P3;";
        let params: [&dyn ToSql; 3] = [&2, &"in@zq7kx2w9", &"out@zq7kx2w9"];
        assert_eq!(affected(&mut client, sql, &params).await, [3]);
        let read = rows(&mut client, "SELECT Name, Email FROM People ORDER BY Id", &[]).await;
        assert_eq!(read, [format!("{ADA} in@zq7kx2w9"), format!("{CAI} out@zq7kx2w9")]);
    };
    cases.case("MERGE: a table as the source, joined by ciphertext", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "MERGE People AS t USING (SELECT @P1 AS Id) AS s ON t.Bio = @P2 WHEN MATCHED THEN DELETE;";
        let error = refused(&mut client, sql, &[&1, &"zq7kx2w9 wrote notes"]).await;
        assert_eq!(error.code(), Some(33277), "randomized is not compared: {error}");
        let sql = "MERGE People AS t USING (VALUES (1), (1)) AS s (Id) ON t.Id = s.Id \
                   WHEN MATCHED THEN UPDATE SET Name = @P1;";
        assert_eq!(refused(&mut client, sql, &[&BEA]).await.code(), Some(8672));
        let unended = UPSERT.trim_end_matches(';');
        let error = refused(&mut client, unended, &[&1, &BEA, &money(1)]).await;
        assert_eq!(error.code(), Some(10713), "{error}");
        assert_eq!(world.names().await[0], format!("1 {ADA}"));
    };
    cases.case("MERGE: what is refused", body).await;
}

async fn by_way_of_the_source(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "MERGE INTO People AS t USING (VALUES (@P1, @P2, @P3), (@P4, @P5, NULL)) AS s (Id, Name, Pay) \
                   ON t.Id = s.Id WHEN MATCHED THEN UPDATE SET Name = s.Name, Salary = s.Pay \
                   WHEN NOT MATCHED THEN INSERT (Id, Name, Salary) VALUES (s.Id, s.Name, s.Pay);";
        let pay = money(123);
        let params: [&dyn ToSql; 5] = [&2, &"zq7kx2w9 Two", &pay, &8, &"zq7kx2w9 Eight"];
        assert_eq!(affected(&mut client, sql, &params).await, [2]);
        let sql = "SELECT Id, Name, Salary FROM People WHERE Id IN (2, 8) ORDER BY Id";
        let read = rows(&mut client, sql, &[]).await;
        assert_eq!(read, ["2 zq7kx2w9 Two 0.0123", "8 zq7kx2w9 Eight NULL"]);
    };
    cases.case("MERGE: rows of parameters", body).await;

    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "MERGE INTO People AS t USING (SELECT @P1 AS Name, @P2 AS Email) AS s ON t.Name = s.Name \
                   WHEN MATCHED THEN UPDATE SET Email = s.Email \
                   WHEN NOT MATCHED THEN INSERT (Id, Name, Email) VALUES (77, s.Name, s.Email);";
        for name in [BEA, "zq7kx2w9 Gil"] {
            assert_eq!(affected(&mut client, sql, &[&name, &"m@zq7kx2w9"]).await, [1]);
        }
        let sql = "SELECT Id, Name, Email FROM People WHERE Email = @P1 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[&"m@zq7kx2w9"]).await,
            ["2 zq7kx2w9 Bea m@zq7kx2w9", "77 zq7kx2w9 Gil m@zq7kx2w9"]
        );
    };
    cases.case("MERGE: a query of parameters, found by one of them", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People (Id, Name, Age) SELECT @P1, @P2, @P3";
        assert_eq!(affected(&mut client, sql, &[&4, &ADA, &36]).await, [1]);
        let sql = "INSERT INTO People (Id, Name) SELECT v.Id, v.Name FROM (VALUES (@P1, @P2), (@P3, @P4)) AS v (Id, Name)";
        assert_eq!(affected(&mut client, sql, &[&5, &BEA, &6, &CAI]).await, [2]);
        let read =
            rows(&mut client, "SELECT Name FROM People WHERE Age = @P1 OR Id > 4", &[&36]).await;
        assert_eq!(read, [ADA, BEA, CAI]);
    };
    cases.case("INSERT of a query of parameters", body).await;
}

async fn outputs(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let sql = "MERGE People AS t USING (VALUES (1, @P1), (9, @P2)) AS s (Id, Name) ON t.Id = s.Id \
                   WHEN MATCHED THEN UPDATE SET Name = s.Name \
                   WHEN NOT MATCHED THEN INSERT (Id, Name) VALUES (s.Id, s.Name) \
                   OUTPUT $action, inserted.Id, inserted.Name, deleted.Name, deleted.Salary;";
        let mut read = rows(&mut client, sql, &[&"zq7kx2w9 A.", &"zq7kx2w9 New"]).await;
        read.sort();
        assert_eq!(
            read,
            ["INSERT 9 zq7kx2w9 New NULL NULL", "UPDATE 1 zq7kx2w9 A. zq7kx2w9 Ada 10.5000"]
        );
    };
    cases.case("MERGE with OUTPUT", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        affected(&mut client, INSERT_NAME, &[&1, &ADA]).await;
        let sql = "UPDATE People SET Name = @P1 OUTPUT deleted.Name, inserted.Name, inserted.Id WHERE Name = @P2";
        assert_eq!(rows(&mut client, sql, &[&BEA, &ADA]).await, [format!("{ADA} {BEA} 1")]);
        let sql = "DELETE FROM People OUTPUT deleted.Name WHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&BEA]).await, [BEA]);
    };
    cases.case("UPDATE with OUTPUT of what was there before", body).await;
}
