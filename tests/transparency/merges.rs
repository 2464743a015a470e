//! MERGE, and OUTPUT of what was there before.

use tiberius::{Query, ToSql};

use super::comparison::{Actor, Comparison};

pub async fn cases(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        let sql = "MERGE INTO People AS t USING (SELECT @P1 AS Id) AS s ON t.Id = s.Id \
                   WHEN MATCHED THEN UPDATE SET Name = @P2 WHEN NOT MATCHED THEN INSERT (Id, Name) VALUES (s.Id, @P2);";
        actor.execute(sql, &[&1, &"merged"]).await;
        actor.execute(sql, &[&70, &"new"]).await;
        actor.query(sql, &[&70, &None::<&str>]).await;
    };
    comparison.case("MERGE: a row that is there or not", body).await;

    let body = async |actor: &mut Actor| {
        let sql = "MERGE People AS t USING (VALUES (@P1, @P2, @P3), (@P4, @P5, @P6)) AS s (Id, Name, Salary) \
                   ON t.Id = s.Id WHEN MATCHED THEN UPDATE SET Name = s.Name, t.Salary = s.Salary \
                   WHEN NOT MATCHED BY TARGET THEN INSERT (Id, Name, Salary) VALUES (s.Id, s.Name, s.Salary) \
                   WHEN NOT MATCHED BY SOURCE AND t.Id = @P7 THEN DELETE \
                   OUTPUT $action, inserted.*, deleted.Id AS gone, s.Name;";
        let salary = tiberius::numeric::Numeric::new_with_scale(725, 2);
        let params: [&dyn ToSql; 7] = [&1, &"one", &salary, &80, &"eighty", &salary, &2];
        actor.query(sql, &params).await;
        let mut query = Query::new(sql);
        query.bind(80);
        query.bind(Option::<String>::None);
        query.bind(Option::<tiberius::numeric::Numeric>::None);
        query.bind(81);
        query.bind("x");
        query.bind(salary);
        query.bind(3);
        actor.bound(query).await;
    };
    comparison.case("MERGE: rows of parameters, with OUTPUT", body).await;

    let body = async |actor: &mut Actor| {
        for sql in [
            "MERGE Visits AS v USING People AS p ON v.Person = p.Id WHEN MATCHED THEN UPDATE SET Place = p.Name;",
            "MERGE People WITH (HOLDLOCK) AS t USING Visits AS s ON t.Id = s.Person WHEN MATCHED THEN DELETE;",
            "MERGE People AS t USING Visits AS s ON t.Id = s.Person WHEN NOT MATCHED BY SOURCE THEN DELETE OUTPUT deleted.*;",
            "MERGE People AS t USING Visits AS s ON t.Id = s.Person WHEN MATCHED THEN DELETE",
            "MERGE People AS t USING People AS t ON 1 = 1 WHEN MATCHED THEN DELETE;",
            "MERGE TOP (1) People AS t USING Visits AS s ON t.Id = s.Person WHEN MATCHED THEN DELETE;",
        ] {
            actor.batch(sql).await;
            actor.query(&format!("{sql} SELECT @P1"), &[&1]).await;
        }
    };
    comparison.case("MERGE: of tables, and what is refused", body).await;

    let body = async |actor: &mut Actor| {
        let sql = "UPDATE People SET Name = @P1 OUTPUT deleted.Name, inserted.Name, deleted.Born WHERE Id <= @P2";
        actor.query(sql, &[&"x", &2]).await;
        actor
            .query("DELETE FROM People OUTPUT deleted.Id, deleted.Name WHERE Id = @P1", &[&3])
            .await;
        actor
            .query("SELECT v.a, v.b FROM (VALUES (@P1, N'q'), (@P2, NULL)) AS v (a, b)", &[&1, &2])
            .await;
    };
    comparison.case("OUTPUT of what was there before", body).await;
}
