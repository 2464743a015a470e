//! Values of every type, there and back, and how they compare.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire, utf16};

#[tokio::test]
async fn literals_come_back_in_their_types_bytes() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    };
    let cases = [
        ("bit", "1", hex("01")),
        ("tinyint", "200", hex("c8")),
        ("smallint", "-2", hex("feff")),
        ("int", "42", hex("2a000000")),
        ("bigint", "-1", hex("ffffffffffffffff")),
        ("real", "3.5", hex("00006040")),
        ("float", "3.5e0", hex("0000000000000c40")),
        ("decimal(18,4)", "12345.6789", hex("0115cd5b0700000000")),
        (
            "numeric(38,0)",
            "-99999999999999999999999999999999999999",
            hex("00ffffffff3f228a097ac4865aa84c3b4b"),
        ),
        ("money", "-1.2345", hex("ffffffffc7cfffff")),
        ("smallmoney", "12.34", hex("08e20100")),
        ("date", "'2024-03-15'", hex("8f460b")),
        ("time(7)", "'13:14:15.1234567'", hex("07c4aaf46e")),
        ("time(0)", "'13:14:15'", hex("27ba00")),
        (
            "datetime2(3)",
            "'2024-03-15T13:14:15.123'",
            hex("d3 28 d7 02 8f460b".replace(' ', "").as_str()),
        ),
        ("datetimeoffset(7)", "'2024-03-15 13:14:15.1234567 +05:30'", hex("0788f2da408f460b4a01")),
        ("datetime", "'2024-03-15 13:14:15.123'", hex("34b10000d925da00")),
        ("smalldatetime", "'2024-03-15 13:14:15'", hex("34b11a03")),
        ("char(4)", "'ab'", b"ab  ".to_vec()),
        ("varchar(10)", "'ab'", b"ab".to_vec()),
        ("varchar(max)", "'caf\u{e9}'", b"caf\xe9".to_vec()),
        ("nchar(3)", "N'ab'", utf16("ab ")),
        ("nvarchar(10)", "N'\u{1F600}'", utf16("\u{1F600}")),
        ("binary(4)", "0x0102", vec![1, 2, 0, 0]),
        ("varbinary(4)", "0x0102", vec![1, 2]),
        ("varbinary(max)", "0x", vec![]),
        (
            "uniqueidentifier",
            "'04030201-0605-0807-090A-0B0C0D0E0F10'",
            hex("0102030405060708090a0b0c0d0e0f10"),
        ),
    ];
    for (ty, literal, bytes) in cases {
        wire.batch(&format!("CREATE TABLE v (a {ty})")).await.ok();
        wire.batch(&format!("INSERT INTO v VALUES ({literal}), (NULL)")).await.ok();
        let reply = wire.batch("SELECT a FROM v").await.ok();
        assert_eq!(reply.sets[0].rows, [[Some(bytes)], [None]], "{ty}");
        let same =
            wire.batch(&format!("SELECT a FROM v WHERE a = {literal} ORDER BY a")).await.ok();
        assert_eq!(same.sets[0].rows.len(), 1, "{ty}");
        assert_eq!(wire.batch("SELECT DISTINCT a FROM v").await.ok().sets[0].rows.len(), 2, "{ty}");
        wire.batch("DROP TABLE v").await.ok();
    }
}

async fn ordered(wire: &mut Wire, ty: &str, ascending: &[&str]) {
    wire.batch(&format!("CREATE TABLE o (n int, a {ty})")).await.ok();
    for (n, literal) in ascending.iter().enumerate().rev() {
        wire.batch(&format!("INSERT INTO o VALUES ({n}, {literal})")).await.ok();
    }
    let rows = wire.batch("SELECT n FROM o ORDER BY a").await.ok().sets.remove(0).rows;
    let got: Vec<u8> = rows.iter().map(|row| row[0].as_ref().unwrap()[0]).collect();
    assert_eq!(got, (0..ascending.len() as u8).collect::<Vec<_>>(), "{ty}");
    for (i, literal) in ascending.iter().enumerate() {
        let less = wire.batch(&format!("SELECT COUNT(*) FROM o WHERE a < {literal}")).await.ok();
        assert_eq!(less.sets[0].rows[0][0].as_ref().unwrap()[0] as usize, i, "{ty} < {literal}");
    }
    wire.batch("DROP TABLE o").await.ok();
}

#[tokio::test]
async fn order_is_sql_servers() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    ordered(
        &mut wire,
        "decimal(38,2)",
        &["-1000.5", "-2", "0", "9", "10", "123456789012345678901234567890"],
    )
    .await;
    ordered(&mut wire, "money", &["-922337203685477.5808", "-1", "0.0001", "2", "10"]).await;
    ordered(
        &mut wire,
        "datetimeoffset",
        &["'2024-01-01 12:00 +02:00'", "'2024-01-01 11:00 +00:00'", "'2024-01-01 08:00 -05:00'"],
    )
    .await;
    ordered(&mut wire, "nvarchar(20)", &["N'apple'", "N'Banana'", "N'cherry'"]).await;
    ordered(
        &mut wire,
        "nvarchar(20) COLLATE Latin1_General_BIN2",
        &["N'Banana'", "N'apple'", "N'cherry'"],
    )
    .await;
    ordered(
        &mut wire,
        "uniqueidentifier",
        &["'FFFFFFFF-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"],
    )
    .await;
    ordered(
        &mut wire,
        "datetime2(7)",
        &["'0001-01-01'", "'2024-03-15 00:00:00.0000001'", "'9999-12-31 23:59:59.9999999'"],
    )
    .await;
}

#[tokio::test]
async fn one_instant_in_two_zones_is_one_value() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE t (a datetimeoffset PRIMARY KEY)").await.ok();
    wire.batch("INSERT INTO t VALUES ('2024-01-01 12:00 +02:00')").await.ok();
    assert_eq!(wire.batch("INSERT INTO t VALUES ('2024-01-01 10:00Z')").await.numbers(), [2627]);
    let found = wire.batch("SELECT a FROM t WHERE a = '2024-01-01 05:00 -05:00'").await.ok();
    assert_eq!(found.sets[0].rows.len(), 1);
}

#[tokio::test]
async fn lone_surrogates_survive_and_long_values_too() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE t (a nvarchar(max))").await.ok();
    let mut odd = Param::text("@a", "ab").0;
    let at = odd.len() - 8;
    odd[at..at + 4].copy_from_slice(&[0x00, 0xD8, 0x41, 0x00]);
    wire.execute("INSERT INTO t VALUES (@a)", "@a nvarchar(max)", &[Param(odd)]).await.ok();
    let rows = wire.batch("SELECT a FROM t").await.ok().sets.remove(0).rows;
    assert_eq!(rows, [[Some(vec![0x00, 0xD8, 0x41, 0x00])]]);
}

#[tokio::test]
async fn decimals_are_exact_in_sums() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE t (a decimal(10,2), b int)").await.ok();
    wire.batch("INSERT INTO t VALUES (0.10, 2147483647), (0.20, 1), (NULL, NULL)").await.ok();
    let sum = wire.batch("SELECT SUM(a), AVG(a), COUNT(a) FROM t").await.ok().sets.remove(0);
    assert_eq!(sum.rows[0][0].as_ref().unwrap()[..2], [1, 30]);
    assert_eq!((sum.columns[0].ty.precision, sum.columns[0].ty.scale), (38, 2));
    assert_eq!(sum.rows[0][2], Some(vec![2, 0, 0, 0]));
    assert_eq!(wire.batch("SELECT SUM(b) FROM t").await.numbers(), [8115]);
    assert_eq!(wire.batch("SELECT b + 1 FROM t WHERE b > 1").await.numbers(), [8115]);
    let quotient =
        wire.batch("SELECT CAST(1 AS decimal(10,2)) / 3, 7 / 2, 7 % 2").await.ok().sets.remove(0);
    assert_eq!(quotient.rows[0][1], Some(vec![3, 0, 0, 0]));
    assert_eq!(
        quotient.rows[0][0].as_ref().unwrap()[1..5],
        3_333_333_333_333u64.to_le_bytes()[..4]
    );
}

#[tokio::test]
async fn an_untyped_null_is_a_null_of_the_declared_type() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let reply = wire.execute("SELECT @a", "@a nvarchar(4000)", &[Param::null("a")]).await.ok();
    assert_eq!(reply.sets[0].rows, [[None]]);
    assert_eq!(reply.sets[0].columns[0].ty.token, 0xE7);
    let missing = wire.execute("SELECT @a", "@a int, @b int", &[Param::null("@a")]).await;
    assert_eq!(missing.numbers(), [8178]);
    let unknown = wire.execute("SELECT @a", "@a int", &[Param::null("@z")]).await;
    assert_eq!(unknown.numbers(), [8145]);
}

#[tokio::test]
async fn the_catalogue_shows_what_was_declared() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch(
        "CREATE COLUMN MASTER KEY M WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p');
         CREATE COLUMN ENCRYPTION KEY K WITH VALUES (COLUMN_MASTER_KEY = M, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01);
         CREATE TABLE dbo.t (id int NOT NULL, s nvarchar(36) COLLATE Latin1_General_BIN2 ENCRYPTED WITH
            (COLUMN_ENCRYPTION_KEY = K, ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256'),
            d decimal(18,4))",
    )
    .await
    .ok();
    let rows = wire
        .batch(
            "SELECT c.name, ty.name, c.max_length, c.precision, c.scale, c.encryption_type_desc, k.name
             FROM sys.columns AS c
             JOIN sys.tables t ON t.object_id = c.object_id
             JOIN sys.schemas s ON s.schema_id = t.schema_id
             JOIN sys.types ty ON ty.user_type_id = c.user_type_id
             LEFT JOIN sys.column_encryption_keys k ON k.column_encryption_key_id = c.column_encryption_key_id
             WHERE c.object_id = OBJECT_ID('dbo.t') AND t.name = N't' AND s.name = 'DBO' ORDER BY c.column_id",
        )
        .await
        .ok()
        .sets
        .remove(0)
        .rows;
    let text = |v: &str| Some(utf16(v));
    let expected: [[Option<Vec<u8>>; 7]; 3] = [
        [text("id"), text("int"), Some(vec![4, 0]), Some(vec![10]), Some(vec![0]), None, None],
        [
            text("s"),
            text("nvarchar"),
            Some(vec![72, 0]),
            Some(vec![0]),
            Some(vec![0]),
            text("DETERMINISTIC"),
            text("K"),
        ],
        [text("d"), text("decimal"), Some(vec![9, 0]), Some(vec![18]), Some(vec![4]), None, None],
    ];
    assert_eq!(rows, expected);
    for view in ["objects", "databases", "column_master_keys", "column_encryption_key_values"] {
        let rows = wire.batch(&format!("SELECT * FROM sys.{view}")).await.ok().sets.remove(0).rows;
        assert!(!rows.is_empty(), "{view}");
    }
    wire.batch("IF OBJECT_ID('dbo.t', 'U') IS NOT NULL DROP TABLE dbo.t").await.ok();
    assert_eq!(wire.batch("SELECT * FROM t").await.numbers(), [208]);
}

#[tokio::test]
async fn scripts_that_tools_write_are_read() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    for sql in [
        "CREATE COLUMN MASTER KEY [M] WITH ( KEY_STORE_PROVIDER_NAME = N'T', KEY_PATH = N'p' )",
        "CREATE COLUMN ENCRYPTION KEY [K] WITH VALUES ( COLUMN_MASTER_KEY = [M], ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01 )",
        "CREATE TABLE [dbo].[Patients]( [PatientId] [int] IDENTITY(1,1), [SSN] [nvarchar](11) COLLATE Latin1_General_BIN2
            ENCRYPTED WITH (ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256',
            COLUMN_ENCRYPTION_KEY = K) NOT NULL, [BirthDate] [date] ENCRYPTED WITH (ENCRYPTION_TYPE = RANDOMIZED,
            ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256', COLUMN_ENCRYPTION_KEY = K) NULL, [Rate] [decimal](18, 4) NULL,
            [At] [datetimeoffset](3) NOT NULL, [Body] [varbinary](max) NULL)",
        "CREATE TABLE a (id bigint NOT NULL, at datetime2(3) NOT NULL DEFAULT (SYSUTCDATETIME()), CONSTRAINT PK_a PRIMARY KEY (id, at))",
        "CREATE TABLE b (id int CONSTRAINT pk_b PRIMARY KEY, u uniqueidentifier DEFAULT NEWID() NOT NULL, f float(24), UNIQUE (u))",
        "CREATE TABLE c ([Id] [int] NOT NULL, CONSTRAINT [PK_c] PRIMARY KEY CLUSTERED ([Id] ASC))",
        "CREATE TABLE d (Id int NOT NULL PRIMARY KEY CLUSTERED, n nvarchar(5) NOT NULL)",
        "CREATE UNIQUE NONCLUSTERED INDEX ix ON dbo.d (n)",
        "INSERT INTO b (id) VALUES (1)",
        "SET FMTONLY ON; SELECT * FROM b; SET FMTONLY OFF",
        " set fmtonly on select id from b where 1=2 set fmtonly off",
        "IF NOT EXISTS (SELECT * FROM sys.tables WHERE name = 'd') CREATE TABLE d (x int)",
        "DROP TABLE IF EXISTS dbo.a, b",
    ] {
        let reply = wire.batch(sql).await;
        assert!(reply.errors.is_empty(), "{sql}: {:?}", reply.errors);
    }
}

#[tokio::test]
async fn queries_that_programs_write_are_answered() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE g (id int PRIMARY KEY, name nvarchar(20)); CREATE TABLE m (id int, g int NULL, body nvarchar(50), at datetime2)").await.ok();
    wire.batch("INSERT INTO g VALUES (1, N'one'), (2, N'two'), (3, N'three')").await.ok();
    wire.batch(
        "INSERT INTO m (id, g, body, at) VALUES (1, 1, N'hello', '2024-01-01'), (2, 1, N'50% off', '2024-01-02'), \
         (3, 2, NULL, '2024-01-03 10:00'), (4, NULL, N'', '2024-01-04')",
    )
    .await
    .ok();
    for (sql, rows) in [
        ("SELECT TOP (2) id FROM m ORDER BY at DESC", 2),
        ("SELECT TOP 1 * FROM m", 1),
        ("SELECT g.name, m.body FROM m INNER JOIN g ON g.id = m.g", 3),
        ("SELECT g.name, m.body FROM g LEFT JOIN m ON m.g = g.id WHERE m.id IS NULL", 1),
        (
            "SELECT name, COUNT(*) AS n FROM g JOIN m ON m.g = g.id GROUP BY name HAVING COUNT(*) > 1 ORDER BY n",
            1,
        ),
        ("SELECT id FROM m WHERE at BETWEEN '2024-01-02' AND '2024-01-03 10:00'", 2),
        ("SELECT id FROM m WHERE body LIKE N'%[%]%'", 1),
        ("SELECT id FROM m WHERE NOT (g = 1) OR g IS NULL", 2),
        ("SELECT id FROM m WHERE g NOT IN (SELECT id FROM g WHERE id > 1)", 2),
        ("SELECT id FROM m WHERE g NOT IN (SELECT g FROM m)", 0),
        ("SELECT id FROM g WHERE EXISTS (SELECT 1 FROM m WHERE m.g = g.id)", 2),
        ("SELECT x.n FROM (SELECT name AS n FROM g) AS x", 3),
        ("SELECT id, CASE WHEN g = 1 THEN N'a' ELSE N'bb' END FROM m ORDER BY 2, id", 4),
        ("SELECT id FROM m ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY", 2),
        ("SELECT (SELECT MAX(id) FROM m), ISNULL(NULL, 5), COALESCE(NULL, N'x'), LEN(N'abc ')", 1),
        ("SELECT id FROM m WHERE g = '1'", 2),
        ("DECLARE @x int = 2; SET @x = @x - 1; SELECT id FROM m WHERE g = @x", 2),
        ("SELECT DB_NAME(), SCHEMA_NAME(), GETDATE(), SYSDATETIMEOFFSET(), NEWID(), @@SPID", 1),
        ("SELECT id FROM m WITH (NOLOCK) WHERE id IN (1, 2, 3)", 3),
    ] {
        let reply = wire.batch(sql).await.ok();
        assert_eq!(reply.sets[0].rows.len(), rows, "{sql}");
    }
    let output = wire
        .batch("INSERT INTO g (id, name) OUTPUT inserted.id, inserted.name VALUES (9, N'nine')")
        .await
        .ok();
    assert_eq!(output.sets[0].rows, [[Some(vec![9, 0, 0, 0]), Some(utf16("nine"))]]);
    assert_eq!(
        wire.batch("INSERT INTO m (id, body) SELECT id + 100, name FROM g").await.ok().affected(),
        4
    );
    assert_eq!(wire.batch("DELETE m WHERE id > 100").await.ok().affected(), 4);
    for (sql, number) in [
        ("SELECT id, COUNT(*) FROM m", 8120),
        ("SELECT id FROM m WHERE COUNT(*) > 1", 147),
        ("SELECT id FROM m JOIN g ON 1 = 1", 209),
        ("SELECT q.id FROM m", 4104),
        ("SELECT id FROM m WHERE id", 4145),
        ("SELECT id FROM m WHERE id = 'x'", 245),
        ("SELECT * FROM ##temp", 49999),
        ("EXEC sp_who", 2812),
        ("USE master", 911),
        ("INSERT INTO g VALUES (1)", 109),
        ("INSERT INTO g VALUES (1, N'x', 2)", 110),
        ("INSERT INTO g VALUES (50, N'123456789012345678901')", 2628),
        ("SELECT @nope", 137),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
}
