//! xml, sql_variant, text, ntext, image and rowversion: columns that are never encrypted, on the wire and in T-SQL.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Bulk, Param, Wire, utf16};

const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];
const KEYS: &str = "CREATE COLUMN MASTER KEY M WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p');
    CREATE COLUMN ENCRYPTION KEY K WITH VALUES (COLUMN_MASTER_KEY = M, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01);";
const ENCRYPTED: &str = "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = K, ENCRYPTION_TYPE = RANDOMIZED, \
                         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')";
const TYPES: [&str; 6] = ["xml", "sql_variant", "text", "ntext", "image", "rowversion"];

/// A parameter by the bytes of its type and value.
fn param(name: &str, ty: &[u8], value: &[u8]) -> Param {
    let mut out = vec![name.encode_utf16().count() as u8];
    out.extend(utf16(name));
    out.push(0);
    out.extend_from_slice(ty);
    out.extend_from_slice(value);
    Param(out)
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn plp(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], &long(bytes), &[0; 4]].concat()
}

fn with_collation(head: &[u8]) -> Vec<u8> {
    [head, &COLLATION].concat()
}

/// Type, TYPE_INFO, value of a parameter, and the same value in a row.
type Sample = (&'static str, Vec<u8>, Vec<u8>, Vec<u8>);

fn values() -> Vec<Sample> {
    let variant = |bytes: &[u8]| (vec![0x62, 0x49, 0x1F, 0, 0], long(bytes), bytes.to_vec());
    let int = variant(&[0x38, 0, 5, 0, 0, 0]);
    let mut text = vec![0xE7, 7];
    text.extend(COLLATION);
    text.extend([20, 0]);
    text.extend(utf16("h\u{e9}"));
    let text = variant(&text);
    vec![
        (
            "text",
            with_collation(&[0x23, 0xFF, 0xFF, 0xFF, 0x7F]),
            long(b"caf\xe9"),
            b"caf\xe9".to_vec(),
        ),
        (
            "ntext",
            with_collation(&[0x63, 0xFE, 0xFF, 0xFF, 0x7F]),
            long(&utf16("\u{1F600}")),
            utf16("\u{1F600}"),
        ),
        ("image", vec![0x22, 0xFF, 0xFF, 0xFF, 0x7F], long(&[0, 1, 2]), vec![0, 1, 2]),
        ("xml", vec![0xF1, 0], plp(&utf16("<a>1</a>")), utf16("<a>1</a>")),
        ("sql_variant", int.0, int.1, int.2),
        ("sql_variant", text.0, text.1, text.2),
    ]
}

#[tokio::test]
async fn values_come_back_in_their_types_form() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    for (ty, info, value, stored) in values() {
        wire.batch(&format!("CREATE TABLE v (id int, a {ty} NULL, b {ty} NULL)")).await.ok();
        let sent = [Param::int("@i", 1), param("@a", &info, &value)];
        let declarations = format!("@i int, @a {ty}");
        wire.execute("INSERT INTO v VALUES (@i, @a, NULL)", &declarations, &sent).await.ok();
        wire.execute("UPDATE v SET a = @a, b = NULL WHERE id = @i", &declarations, &sent)
            .await
            .ok();
        let set = wire.batch("SELECT a, b, b, b, b, b FROM v").await.ok().sets.remove(0);
        assert_eq!(set.rows[0][..2], [Some(stored.clone()), None], "{ty}");
        let column = &set.columns[0];
        assert_eq!(column.ty.token, info[0], "{ty}");
        let legacy = matches!(ty, "text" | "ntext" | "image");
        assert_eq!(column.table, if legacy { vec!["dbo", "v"] } else { vec![] });
        let own = wire.execute("SELECT @a AS p", &declarations, &sent).await.ok().sets.remove(0);
        assert_eq!((&own.rows[0][0], own.columns[0].ty.token), (&Some(stored), info[0]), "{ty}");
        wire.batch("DROP TABLE v").await.ok();
    }
}

#[tokio::test]
async fn procedures_take_them_and_give_xml_and_variants_back() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    for (ty, info, value, stored) in values() {
        wire.batch(&format!("CREATE TABLE v (a {ty} NULL)")).await.ok();
        wire.batch(&format!(
            "CREATE PROCEDURE p @a {ty} AS INSERT INTO v VALUES (@a); SELECT a FROM v"
        ))
        .await
        .ok();
        let call = Wire::call_by_name("p", &[param("@a", &info, &value)]);
        let reply = wire.rpc(&[call]).await.ok();
        assert_eq!(reply.sets[0].rows, [[Some(stored)]], "{ty}");
        let described = wire.describe("EXEC p @a=@a", &format!("@a {ty}")).await.ok();
        assert_eq!(described.sets[1].rows[0][3], Some(vec![0]), "{ty} is plain");
        wire.batch("DROP PROCEDURE p; DROP TABLE v").await.ok();
    }
    wire.batch("CREATE PROCEDURE o @x xml OUTPUT, @v sql_variant OUTPUT AS SET @x = N'<b/>'; SET @v = CAST(7 AS smallint)")
        .await
        .ok();
    let xml = param("@x", &[0xF1, 0], &[0xFF; 8]).by_ref();
    let variant = param("@v", &[0x62, 0x49, 0x1F, 0, 0], &[0; 4]).by_ref();
    let reply = wire.rpc(&[Wire::call_by_name("o", &[xml, variant])]).await.ok();
    let outputs: Vec<_> = reply.outputs.iter().map(|o| o.value.clone()).collect();
    assert_eq!(outputs, [Some(utf16("<b/>")), Some(vec![0x34, 0, 7, 0])]);
}

#[tokio::test]
async fn a_bulk_load_has_the_tables_name_once_and_text_pointers() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    for (ty, info, value, stored) in values().into_iter().filter(|v| v.0 != "sql_variant") {
        wire.batch(&format!("CREATE TABLE v (a {ty} NULL, id int NULL)")).await.ok();
        wire.batch(&format!("INSERT BULK v (a {ty}, id int)")).await.ok();
        let legacy = ty != "xml";
        let name = if legacy { [&[1, 0][..], &utf16("v")].concat() } else { Vec::new() };
        let pointer = if legacy { [vec![16], vec![0; 24]].concat() } else { Vec::new() };
        let null = if legacy { vec![0] } else { vec![0xFF; 8] };
        let load = Bulk::new(false)
            .column("a", &[info, name].concat(), None)
            .column("id", &[0x26, 4], None)
            .row(&[&pointer, &value, &[4, 7, 0, 0, 0]])
            .row(&[&null, &[0]]);
        assert_eq!(wire.load(load).await.ok().affected(), 2, "{ty}");
        let rows = wire.batch("SELECT a, id FROM v").await.ok().sets.remove(0).rows;
        assert_eq!(rows, [[Some(stored), Some(vec![7, 0, 0, 0])], [None, None]], "{ty}");
        wire.batch("DROP TABLE v").await.ok();
    }
}

#[tokio::test]
async fn a_row_version_is_new_with_every_change_and_nobody_sets_it() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE r (id int NOT NULL, a int NULL, v rowversion)").await.ok();
    wire.batch("INSERT INTO r (id) VALUES (1), (2); INSERT INTO r VALUES (3, 0, DEFAULT)")
        .await
        .ok();
    wire.batch("INSERT INTO r (id, a) SELECT id + 3, a FROM r").await.ok();
    let set = wire.batch("SELECT v FROM r ORDER BY id").await.ok().sets.remove(0);
    let column = &set.columns[0];
    let nullable = column.flags & 1;
    assert_eq!((column.ty.token, column.ty.length, column.user_type, nullable), (0xAD, 8, 0x50, 0));
    let mut versions: Vec<_> = set.rows.iter().map(|row| row[0].clone().unwrap()).collect();
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 6, "each row has one of its own");
    wire.batch("UPDATE r SET a = 9 WHERE id <= 2").await.ok();
    let newer = wire
        .execute(
            "SELECT id FROM r WHERE v > @v ORDER BY id",
            "@v varbinary(8)",
            &[param("@v", &[0xA5, 8, 0], &[&[8, 0][..], &versions[5]].concat())],
        )
        .await
        .ok();
    assert_eq!(newer.sets[0].shown(), [["1"], ["2"]]);
    let all =
        wire.batch("UPDATE r SET a = x.n FROM r JOIN (SELECT 3 AS n) AS x ON x.n = r.id").await;
    assert_eq!(all.ok().affected(), 1);
    wire.batch("ALTER TABLE r DROP COLUMN v").await.ok();
    wire.batch("ALTER TABLE r ADD v timestamp").await.ok();
    assert_eq!(wire.batch("SELECT DISTINCT v FROM r").await.ok().sets[0].rows.len(), 6);
    for (sql, number) in [
        ("INSERT INTO r (id, v) VALUES (9, 0x01)", 273),
        ("INSERT INTO r (id, v) SELECT id, v FROM r", 273),
        ("UPDATE r SET v = 0x01", 272),
        ("UPDATE r SET v = DEFAULT", 272),
        ("ALTER TABLE r ADD w rowversion", 2738),
        ("CREATE TABLE two (a rowversion, b timestamp)", 2738),
        ("ALTER TABLE r ALTER COLUMN v int", 4928),
        ("ALTER TABLE r ALTER COLUMN a rowversion", 4928),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}

#[tokio::test]
async fn row_versions_go_on_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("row-version-{}", std::process::id()));
    let file = folder.join("sandbox.db");
    std::fs::create_dir_all(&folder).unwrap();
    let mut versions = Vec::new();
    for n in 0..2 {
        let sandbox = Sandbox::builder().file(&file).start().await.unwrap();
        let mut wire = Wire::connect(&sandbox, None).await;
        if n == 0 {
            wire.batch("CREATE TABLE r (id int NOT NULL, v rowversion)").await.ok();
        }
        wire.batch(&format!("INSERT INTO r (id) VALUES ({n})")).await.ok();
        let set = wire.batch("SELECT v FROM r ORDER BY id DESC").await.ok().sets.remove(0);
        versions.push(set.rows[0][0].clone().unwrap());
        sandbox.shutdown().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(versions[0] < versions[1], "{versions:?}");
}

#[tokio::test]
async fn none_of_them_is_encrypted() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(KEYS).await.ok();
    for ty in TYPES {
        let sql = format!("CREATE TABLE e (id int, a {ty} {ENCRYPTED})");
        let reply = wire.batch(&sql).await;
        assert_eq!(reply.numbers(), [33280], "{ty}");
        let shown = if ty == "rowversion" { "timestamp" } else { ty };
        assert!(reply.errors[0].2.contains(&format!("type '{shown}'")), "{}", reply.errors[0].2);
    }
    // Nor does a value of theirs go where one that is encrypted belongs.
    wire.batch(&format!("CREATE TABLE e (a nvarchar(20) {ENCRYPTED}, b xml, c ntext)")).await.ok();
    let sql = "INSERT INTO e VALUES (@a, @b, @c)";
    let schemes = wire.schemes(sql, "@a nvarchar(20), @b xml, @c ntext").await;
    assert_eq!(schemes.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    for ty in TYPES {
        let reply = wire.describe("INSERT INTO e (a) VALUES (@a)", &format!("@a {ty}")).await;
        assert_eq!(reply.numbers()[0], 206, "{ty}");
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE c (t text, n ntext, i image, x xml, v sql_variant, s nvarchar(20))")
        .await
        .ok();
    wire.batch(
        "INSERT INTO c VALUES ('ab', N'cd', 0x01, N'<?xml version=\"1.0\"?> <a/>', 5, N'x')",
    )
    .await
    .ok();
    for (sql, number) in [
        ("SELECT 1 FROM c WHERE t = 'ab'", 402),
        ("SELECT 1 FROM c WHERE n <> s", 402),
        ("SELECT 1 FROM c WHERE i = 0x01", 402),
        ("SELECT 1 FROM c WHERE x = N'<a/>'", 305),
        ("SELECT 1 FROM c WHERE x IN (SELECT x FROM c)", 305),
        ("SELECT s FROM c ORDER BY t", 306),
        ("SELECT s FROM c ORDER BY x", 305),
        ("SELECT n FROM c GROUP BY n", 306),
        ("SELECT DISTINCT i FROM c", 421),
        ("SELECT t FROM c UNION SELECT t FROM c", 421),
        ("SELECT MAX(t) FROM c", 8117),
        ("SELECT MIN(x) FROM c", 8117),
        ("SELECT LEN(t) FROM c", 8116),
        ("SELECT UPPER(x) FROM c", 8116),
        ("SELECT t + 'x' FROM c", 402),
        ("SELECT v + 1 FROM c", 402),
        ("DECLARE @t text", 2739),
        ("INSERT INTO c (t) VALUES (5)", 206),
        ("INSERT INTO c (x) VALUES (5)", 206),
        ("INSERT INTO c (s) SELECT v FROM c", 257),
        ("INSERT INTO c (s) SELECT x FROM c", 257),
        ("INSERT INTO c (v) SELECT t FROM c", 206),
        ("CREATE TABLE k (t text PRIMARY KEY)", 1919),
        ("CREATE TABLE k (x xml UNIQUE)", 1919),
        ("CREATE TABLE k (x xml COLLATE Latin1_General_BIN2)", 452),
        ("CREATE TABLE k (h hierarchyid)", 49999),
        ("CREATE TABLE k (j json)", 49999),
        ("CREATE TABLE k (v vector(3))", 49999),
        ("SELECT 1 FROM c WHERE v = 5", 49999),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
    for sql in [
        "SELECT s FROM c WHERE t LIKE 'a%' AND n LIKE N'%d' AND t IS NOT NULL AND x IS NOT NULL",
        "SELECT s FROM c WHERE CAST(t AS varchar(10)) = 'ab' AND CAST(v AS int) = 5",
        "SELECT s FROM c WHERE CAST(x AS nvarchar(50)) = N'<a/>' AND CAST(i AS varbinary(9)) = 0x01",
        "SELECT t FROM c UNION ALL SELECT n FROM c WHERE 1 = 2",
        "DECLARE @x xml = N'<b/>', @v sql_variant = N'w'; SELECT @x, @v",
    ] {
        assert_eq!(wire.batch(sql).await.ok().sets[0].rows.len(), 1, "{sql}");
    }
    let clr = param("@a", &[0xF0, 0, 0, 1, b'P', 0], &[0xFF; 8]);
    let reply = wire.execute("SELECT @a", "@a int", &[clr]).await;
    assert!(reply.errors[0].2.contains("does not support data type 0xf0"), "{:?}", reply.errors);
}

#[tokio::test]
async fn the_catalogue_knows_them() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE c (t text, n ntext, i image, x xml, v sql_variant, r timestamp)")
        .await
        .ok();
    let sql = "SELECT ty.name, c.system_type_id, c.max_length, c.collation_name, c.is_nullable FROM sys.columns AS c \
               JOIN sys.types AS ty ON ty.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID('c') \
               ORDER BY c.column_id";
    let collation = "SQL_Latin1_General_CP1_CI_AS";
    assert_eq!(
        wire.batch(sql).await.ok().sets[0].shown(),
        [
            ["text", "35", "16", collation, "1"],
            ["ntext", "99", "16", collation, "1"],
            ["image", "34", "16", "NULL", "1"],
            ["xml", "241", "-1", "NULL", "1"],
            ["sql_variant", "98", "8016", "NULL", "1"],
            ["timestamp", "189", "8", "NULL", "0"],
        ]
    );
    let sql = "SELECT DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH FROM INFORMATION_SCHEMA.COLUMNS \
               WHERE TABLE_NAME = 'c' ORDER BY ORDINAL_POSITION";
    assert_eq!(
        wire.batch(sql).await.ok().sets[0].shown(),
        [
            ["text", "2147483647", "2147483647"],
            ["ntext", "1073741823", "2147483646"],
            ["image", "2147483647", "2147483647"],
            ["xml", "-1", "-1"],
            ["sql_variant", "0", "0"],
            ["timestamp", "NULL", "NULL"],
        ]
    );
}
