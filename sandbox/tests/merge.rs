//! MERGE, and UPDATE whose OUTPUT shows what was there before.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire, cell};

async fn stock(wire: &mut Wire) {
    wire.batch(
        "CREATE TABLE t (id int PRIMARY KEY, n int NULL, s nvarchar(9) NOT NULL DEFAULT N'new')",
    )
    .await
    .ok();
    wire.batch("CREATE TABLE u (id int, n int)").await.ok();
    wire.batch("INSERT INTO t VALUES (1, 10, N'a'), (2, 20, N'b'), (3, 30, N'c')").await.ok();
    wire.batch("INSERT INTO u VALUES (2, 21), (3, NULL), (4, 40)").await.ok();
}

async fn shown(wire: &mut Wire, sql: &str) -> Vec<String> {
    let set = wire.batch(sql).await.ok().sets.remove(0);
    set.shown().iter().map(|row| row.join(" ")).collect()
}

const ALL: &str = "SELECT id, n, s FROM t ORDER BY id";

#[tokio::test]
async fn each_clause_has_the_rows_that_it_is_for() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    stock(&mut wire).await;
    let reply = wire
        .batch(
            "MERGE INTO dbo.t WITH (HOLDLOCK) AS x USING u AS y ON x.id = y.id
             WHEN MATCHED AND y.n IS NULL THEN DELETE
             WHEN MATCHED THEN UPDATE SET n = y.n, x.s = N'up'
             WHEN NOT MATCHED BY TARGET THEN INSERT (id, n) VALUES (y.id, y.n)
             WHEN NOT MATCHED BY SOURCE AND x.n < 100 THEN UPDATE SET s = N'left'
             OUTPUT $action, inserted.id, deleted.*, y.n AS source;",
        )
        .await
        .ok();
    assert_eq!((reply.affected(), reply.commands.clone()), (4, vec![0x117]));
    let set = &reply.sets[0];
    assert_eq!(set.names(), ["$action", "id", "id", "n", "s", "source"]);
    let mut rows: Vec<String> = set.shown().iter().map(|row| row.join(" ")).collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            "DELETE NULL 3 30 c NULL",
            "INSERT 4 NULL NULL NULL 40",
            "UPDATE 1 1 10 a NULL",
            "UPDATE 2 2 20 b 21",
        ]
    );
    assert_eq!(shown(&mut wire, ALL).await, ["1 10 left", "2 21 up", "4 40 new"]);
    let count = "MERGE t USING u ON t.id = u.id WHEN MATCHED THEN DELETE; SELECT @@ROWCOUNT";
    assert_eq!(shown(&mut wire, count).await, ["2"]);
}

#[tokio::test]
async fn a_source_may_be_values_a_query_or_a_table() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    stock(&mut wire).await;
    let parameters = [Param::int("@a", 1), Param::int("@b", 7)];
    for source in [
        "(VALUES (@a, 5), (@b, NULL), (8, 9)) AS s (id, n)",
        "(SELECT @a AS id, 5 AS n UNION ALL SELECT @b, NULL UNION ALL SELECT 8, 9) AS s",
        "(SELECT @a, 5 UNION ALL SELECT @b, NULL UNION ALL SELECT 8, 9) s (id, n)",
    ] {
        let sql = format!(
            "MERGE t AS x USING {source} ON (x.id = s.id) WHEN MATCHED THEN UPDATE SET x.n = s.n + x.n \
             WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.n, DEFAULT);"
        );
        let reply = wire.execute(&sql, "@a int, @b int", &parameters).await.ok();
        assert_eq!(reply.affected(), 3, "{source}");
    }
    let rows = shown(&mut wire, ALL).await;
    assert_eq!(rows, ["1 25 a", "2 20 b", "3 30 c", "7 NULL new", "8 27 new"]);
    let sql = format!(
        "WITH w AS (SELECT 2 AS id) SELECT x.n FROM (VALUES {}) AS x (n) JOIN w ON w.id < x.n",
        (0..1000).map(|n| format!("({n})")).collect::<Vec<_>>().join(", ")
    );
    assert_eq!(wire.batch(&sql).await.ok().sets[0].rows.len(), 997);
}

#[tokio::test]
async fn identities_row_versions_and_constraints_are_minded() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch(
        "CREATE TABLE t (id int IDENTITY(5,1), k int UNIQUE, n int CHECK (n < 100), v rowversion)",
    )
    .await
    .ok();
    let sql = "MERGE t USING (VALUES (1, 1), (2, 2)) AS s (k, n) ON t.k = s.k WHEN MATCHED THEN UPDATE SET n = s.n \
               WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.n) OUTPUT inserted.id, inserted.v;";
    let first = wire.batch(sql).await.ok().sets.remove(0);
    assert_eq!(first.rows.iter().map(|row| row[0].clone().unwrap()[0]).collect::<Vec<_>>(), [5, 6]);
    let second = wire.batch(sql).await.ok().sets.remove(0);
    assert!(first.rows.iter().all(|row| !second.rows.contains(row)), "another version");
    let failing = "MERGE t USING (SELECT 9 AS k, 100 AS n) AS s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.n) \
                   WHEN NOT MATCHED BY SOURCE THEN DELETE;";
    assert_eq!(wire.batch(failing).await.numbers(), [547]);
    assert_eq!(
        shown(&mut wire, "SELECT k FROM t ORDER BY k").await,
        ["1", "2"],
        "all of it or nothing"
    );
    // What goes makes room for what comes.
    let moved = "MERGE t USING (SELECT 1 AS k, 3 AS n) AS s ON t.n = s.n WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.n) \
                 WHEN NOT MATCHED BY SOURCE THEN DELETE;";
    assert_eq!(wire.batch(moved).await.ok().affected(), 3);
}

#[tokio::test]
async fn what_sql_server_refuses_is_refused() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    stock(&mut wire).await;
    wire.batch("INSERT INTO u VALUES (2, 22)").await.ok();
    let merge = "MERGE t AS x USING u AS y ON x.id = y.id WHEN";
    for (rest, number) in [
        ("MATCHED THEN UPDATE SET n = y.n;", 8672),
        ("MATCHED THEN DELETE;", 8672),
        ("MATCHED THEN DELETE", 10713),
        ("MATCHED THEN DELETE SELECT 1", 10713),
        ("MATCHED THEN DELETE WHEN MATCHED THEN UPDATE SET n = 1;", 5324),
        ("MATCHED AND y.n = 1 THEN DELETE WHEN MATCHED THEN DELETE;", 10714),
        ("NOT MATCHED THEN INSERT (id) VALUES (x.id);", 4104),
        ("NOT MATCHED BY SOURCE THEN UPDATE SET n = y.n;", 4104),
        ("NOT MATCHED THEN INSERT (id, s) VALUES (y.id);", 109),
        ("NOT MATCHED THEN DELETE;", 102),
        ("MATCHED THEN UPDATE SET nope = 1;", 207),
    ] {
        assert_eq!(wire.batch(&format!("{merge} {rest}")).await.numbers(), [number], "{rest}");
    }
    for (sql, number) in [
        ("MERGE t USING t ON 1 = 1 WHEN MATCHED THEN DELETE;", 5318),
        ("MERGE TOP (1) t USING u ON 1 = 1 WHEN MATCHED THEN DELETE;", 49999),
        ("MERGE nope USING u ON 1 = 1 WHEN MATCHED THEN DELETE;", 208),
        ("MERGE t USING (VALUES (1), (2, 3)) AS s (a) ON 1 = 1 WHEN MATCHED THEN DELETE;", 10709),
        ("MERGE t USING (VALUES (1, 2)) AS s (a) ON 1 = 1 WHEN MATCHED THEN DELETE;", 8158),
        ("SELECT * FROM (VALUES (1)) AS s", 8155),
        ("UPDATE t SET n = 1 OUTPUT deleted.n INTO u (n)", 49999),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
    assert_eq!(shown(&mut wire, ALL).await, ["1 10 a", "2 20 b", "3 30 c"]);
    // Only what is done twice is an error.
    let once = format!("{merge} MATCHED AND y.n = 22 THEN UPDATE SET n = y.n;");
    assert_eq!(wire.batch(&once).await.ok().affected(), 1);
}

#[tokio::test]
async fn update_shows_what_was_there_before() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    stock(&mut wire).await;
    let sql = "UPDATE t SET n = n + 1 OUTPUT deleted.n, inserted.n, deleted.s AS was WHERE id < 3";
    assert_eq!(shown(&mut wire, sql).await, ["10 11 a", "20 21 b"]);
    let sql = "UPDATE x SET n = u.n OUTPUT inserted.id, deleted.n, u.id FROM t AS x JOIN u ON u.id = x.id";
    assert_eq!(shown(&mut wire, sql).await, ["2 21 2", "3 30 3"]);
    assert_eq!(shown(&mut wire, ALL).await, ["1 11 a", "2 21 b", "3 NULL c"]);
}

#[tokio::test]
async fn encrypted_columns_take_and_meet_what_they_do_elsewhere() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    let with = |kind: &str| {
        format!(
            "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = K, ENCRYPTION_TYPE = {kind}, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')"
        )
    };
    wire.batch(&format!(
        "CREATE COLUMN MASTER KEY M WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p');
         CREATE COLUMN ENCRYPTION KEY K WITH VALUES (COLUMN_MASTER_KEY = M, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01);
         CREATE TABLE e (id int, d int {}, r int {}, p int)",
        with("DETERMINISTIC"),
        with("RANDOMIZED")
    ))
    .await
    .ok();
    let kinds = async |wire: &mut Wire, sql: &str| {
        let schemes = wire.schemes(sql, "@d int, @r int, @p int").await;
        schemes.iter().map(|scheme| scheme.as_ref().map_or(0, |s| s.kind)).collect::<Vec<_>>()
    };
    let direct = "MERGE e USING (SELECT @p AS id) AS s ON e.d = @d WHEN MATCHED THEN UPDATE SET r = @r \
                  WHEN NOT MATCHED THEN INSERT (id, d, r, p) VALUES (s.id, @d, @r, @p);";
    assert_eq!(kinds(&mut wire, direct).await, [1, 2, 0]);
    let through = "MERGE e USING (VALUES (@d, @r, @p), (NULL, NULL, 5)) AS s (d, r, p) ON e.d = s.d \
                   WHEN MATCHED THEN UPDATE SET r = s.r WHEN NOT MATCHED THEN INSERT (d, r, p) VALUES (s.d, s.r, s.p) \
                   OUTPUT $action, inserted.d, deleted.r, s.p;";
    assert_eq!(kinds(&mut wire, through).await, [1, 2, 0]);
    let schemes = wire.schemes(through, "@d int, @r int, @p int").await;
    let base = [0x26, 4];
    let parameters = |fill: u8| {
        let encrypted = |name: &str, at: usize, fill: u8| {
            Param::encrypted(name, Some(&cell(1, fill)), &base, schemes[at].as_ref().unwrap())
        };
        [encrypted("@d", 0, 1), encrypted("@r", 1, fill), Param::int("@p", 3)]
    };
    let declared = "@d int, @r int, @p int";
    let first = wire.execute(through, declared, &parameters(2)).await.ok().sets.remove(0);
    assert_eq!(first.rows.len(), 2);
    assert!(first.columns[1].crypto.is_some() && first.columns[2].crypto.is_some());
    let second = wire.execute(through, declared, &parameters(3)).await.ok().sets.remove(0);
    let updated = second.rows.iter().find(|row| row[0] == Some(wire::utf16("UPDATE"))).unwrap();
    assert_eq!(updated[1..3], [Some(cell(1, 1)), Some(cell(1, 2))], "the row that was there");
    let insert = "INSERT INTO e (d, r) SELECT @d, @r WHERE @p = 3";
    assert_eq!(kinds(&mut wire, insert).await, [1, 2, 0]);
    wire.execute(insert, declared, &parameters(4)).await.ok();
    for (sql, number) in [
        ("MERGE e USING (SELECT 1 AS x) AS s ON e.r = @r WHEN MATCHED THEN DELETE;", 33277),
        ("MERGE e USING (SELECT 1 AS x) AS s ON e.d = s.x WHEN MATCHED THEN DELETE;", 206),
        (
            "MERGE e USING (SELECT 1 AS x) AS s ON e.id = s.x WHEN MATCHED THEN UPDATE SET d = 5;",
            206,
        ),
        (
            "MERGE e USING (SELECT @d AS x) AS s ON e.d = s.x WHEN MATCHED THEN UPDATE SET p = s.x;",
            33277,
        ),
        (
            "MERGE e USING (SELECT @d AS x) AS s ON e.d = s.x AND s.x > 1 WHEN MATCHED THEN DELETE;",
            33277,
        ),
    ] {
        let numbers = wire.describe(sql, declared).await.numbers();
        assert_eq!(numbers.first(), Some(&number), "{sql}");
    }
    // Plaintext where a cell belongs.
    let plain = [Param::int("@d", 1), Param::int("@r", 2), Param::int("@p", 3)];
    assert_eq!(wire.execute(direct, declared, &plain).await.numbers(), [206]);
    assert_eq!(wire.execute(through, declared, &plain).await.numbers(), [206]);
}
