//! The server's half of Always Encrypted, seen on the wire.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Reply, Scheme, Wire, cell, utf16};

const NVARCHAR_36: &[u8] = &[0xE7, 72, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];
const NVARCHAR_MAX: &[u8] = &[0xE7, 0xFF, 0xFF, 0x09, 0x04, 0xD0, 0x00, 0x34];
const INT: &[u8] = &[0x26, 4];

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN MASTER KEY CMK2 WITH (KEY_STORE_PROVIDER_NAME = 'TEST2', KEY_PATH = 'other/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE COLUMN ENCRYPTION KEY CEK2 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0xAA);
CREATE TABLE dbo.Messages (
    Id int NOT NULL PRIMARY KEY,
    Sender nvarchar(36) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL,
    Content nvarchar(max) ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK2,
        ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL,
    Salary int ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL,
    Note nvarchar(100) NULL)";

const INSERT: &str =
    "INSERT INTO dbo.Messages (Id, Sender, Content, Note) VALUES (@id, @s, @c, @n)";
const DECLARE: &str = "@id int,@s nvarchar(36),@c nvarchar(max),@n nvarchar(100)";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    (sandbox, wire)
}

async fn insert(wire: &mut Wire, id: i32, sender: &[u8], content: Option<&[u8]>) -> Reply {
    let schemes = wire.schemes(INSERT, DECLARE).await;
    let params = [
        Param::int("@id", id),
        Param::encrypted("@s", Some(sender), NVARCHAR_36, schemes[1].as_ref().unwrap()),
        Param::encrypted("@c", content, NVARCHAR_MAX, schemes[2].as_ref().unwrap()),
        Param::text("@n", "plain"),
    ];
    wire.execute(INSERT, DECLARE, &params).await
}

#[tokio::test]
async fn the_feature_is_acknowledged_only_when_asked_for() {
    let sandbox = Sandbox::start().await.unwrap();
    let (_, reply) = Wire::login(&sandbox, "sa", sandbox.password(), Some(3), 4096).await;
    assert_eq!(reply.features, Some(vec![(4, vec![1])]), "and 0x09 is declined");
    let (_, reply) = Wire::login(&sandbox, "sa", sandbox.password(), None, 4096).await;
    assert_eq!(reply.features, None);
    let old = Sandbox::builder().always_encrypted(false).start().await.unwrap();
    let (_, reply) = Wire::login(&old, "sa", old.password(), Some(1), 4096).await;
    assert_eq!(reply.features, Some(vec![]));
}

#[tokio::test]
async fn describe_answers_as_sql_server_does() {
    let (sandbox, mut wire) = prepared().await;
    let reply = wire.describe(INSERT, DECLARE).await.ok();
    assert_eq!(reply.return_status, Some(0));
    let [keys, params] = &reply.sets[..] else { panic!("two result sets") };
    assert_eq!((keys.columns.len(), params.columns.len()), (9, 6));
    assert_eq!(keys.rows.len(), 2);
    assert_eq!(keys.rows[0][5].as_deref(), Some(&[1u8, 2, 3, 4, 5][..]));
    assert_eq!(keys.rows[0][6].as_deref(), Some(&utf16("TEST")[..]));
    let names: Vec<_> = params.rows.iter().map(|row| row[1].clone().unwrap()).collect();
    assert_eq!(names, ["@id", "@s", "@c", "@n"].map(utf16));
    let kinds: Vec<_> = params.rows.iter().map(|row| row[3].clone().unwrap()[0]).collect();
    assert_eq!(kinds, [0, 1, 2, 0]);
    assert_eq!(
        params.rows[3][2..].iter().map(|v| v.clone().unwrap()[0]).collect::<Vec<_>>(),
        [0, 0, 0, 0]
    );
    let as_text = "exec sp_describe_parameter_encryption @P0 , @P1 ";
    let params = [Param::text("", INSERT), Param::text("", DECLARE)];
    let again = wire.execute(as_text, "@P0 nvarchar(4000),@P1 nvarchar(4000)", &params).await.ok();
    assert_eq!(again.sets[0].rows, reply.sets[0].rows);
    assert_eq!(again.sets[1].rows, reply.sets[1].rows);
    assert_eq!(sandbox.statistics().describes, 2);
}

#[tokio::test]
async fn the_rows_of_describe_are_not_taken_for_those_of_a_select() {
    const SELECT: u16 = 0xC1;
    let (_sandbox, mut wire) = prepared().await;
    let reply = wire.describe(INSERT, DECLARE).await.ok();
    assert!(!reply.commands.contains(&SELECT), "{:x?}", reply.commands);
    assert_eq!(reply.affected(), 2 + 4, "the rows are counted all the same");
}

#[tokio::test]
async fn parameters_are_found_wherever_a_column_meets_them() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, kinds) in [
        ("SELECT Id FROM Messages WHERE Sender = @a AND Note = @b", [1, 0]),
        (
            "SELECT m.Id FROM dbo.Messages AS m JOIN Messages n ON n.Id = m.Id WHERE @a <> m.Sender OR n.Note = @b",
            [1, 0],
        ),
        ("SELECT Id FROM Messages WHERE Note = @b AND Sender IN (@a, @a)", [1, 0]),
        ("UPDATE Messages SET Content = @a, Note = @b WHERE Id = 1", [2, 0]),
        ("UPDATE m SET m.Content = @a FROM Messages m WHERE m.Note LIKE @b", [2, 0]),
        ("DELETE FROM Messages WHERE Sender = @a; SELECT @b", [1, 0]),
        ("IF @b = N'x' SELECT Id FROM Messages WHERE Sender = @a", [1, 0]),
    ] {
        let schemes = wire.schemes(sql, "@a nvarchar(5), @b nvarchar(5)").await;
        let found: Vec<u8> = schemes.iter().map(|s| s.as_ref().map_or(0, |s| s.kind)).collect();
        assert_eq!(found, kinds, "{sql}");
    }
}

#[tokio::test]
async fn what_was_encrypted_comes_back_with_its_metadata() {
    let (_sandbox, mut wire) = prepared().await;
    let (sender, content) = (cell(2, 7), cell(6252, 9));
    assert_eq!(insert(&mut wire, 1, &sender, Some(&content)).await.ok().affected(), 1);
    assert_eq!(insert(&mut wire, 2, &cell(2, 8), None).await.ok().affected(), 1);
    let set = wire
        .batch("SELECT Id, Sender, Content FROM Messages ORDER BY Id")
        .await
        .ok()
        .sets
        .remove(0);
    assert_eq!(set.ceks.len(), 2);
    assert_eq!(
        set.ceks[0].values,
        [(vec![1, 2, 3, 4, 5], "TEST".into(), "some/path".into(), "RSA_OAEP".into())]
    );
    assert_eq!(set.columns[0].crypto, None);
    let column = &set.columns[1];
    assert_eq!((column.flags & 0x0800, column.ty.token, column.ty.length), (0x0800, 0xA5, 49 + 80));
    let (ordinal, base, algorithm, kind, norm) = column.crypto.clone().unwrap();
    assert_eq!((ordinal, base.token, base.length, algorithm, kind, norm), (0, 0xE7, 72, 2, 1, 1));
    assert_eq!(base.collation, [0x09, 0x04, 0x00, 0x02, 0x00]);
    assert_eq!(set.columns[2].ty.length, 0xFFFF);
    assert_eq!(set.rows[0][1].as_deref(), Some(&sender[..]));
    assert_eq!(set.rows[0][2].as_deref(), Some(&content[..]));
    assert_eq!(set.rows[1][2], None);

    // Equality is on the bytes of the cell.
    let find = "SELECT Id FROM Messages WHERE Sender = @s";
    let scheme = wire.schemes(find, "@s nvarchar(3)").await.remove(0).unwrap();
    let base = [0xE7, 6, 0, 0, 0, 0, 0, 0];
    let param = Param::encrypted("@s", Some(&cell(1, 7)), &base, &scheme);
    assert!(wire.execute(find, "@s nvarchar(3)", &[param]).await.ok().sets[0].rows.is_empty());
    let param = Param::encrypted("@s", Some(&sender), NVARCHAR_36, &scheme);
    let found = wire.execute(find, "@s nvarchar(36)", &[param]).await.ok();
    assert_eq!(found.sets[0].rows, [[Some(vec![1, 0, 0, 0])]]);
}

#[tokio::test]
async fn every_colmetadata_has_a_cek_table_and_only_then() {
    let (sandbox, mut wire) = prepared().await;
    insert(&mut wire, 1, &cell(1, 7), None).await.ok();
    assert!(wire.batch("SELECT 1").await.ok().sets[0].ceks.is_empty());
    let mut plain = Wire::connect(&sandbox, None).await;
    let set = plain.batch("SELECT Sender FROM Messages").await.ok().sets.remove(0);
    assert_eq!((set.columns[0].flags & 0x0800, set.columns[0].ty.token), (0, 0xA5));
    assert_eq!(set.rows[0][0], Some(cell(1, 7)));
}

#[tokio::test]
async fn plaintext_for_an_encrypted_column_is_refused() {
    let (_sandbox, mut wire) = prepared().await;
    let reply = wire
        .execute(
            "INSERT INTO Messages (Id, Sender) VALUES (1, @s)",
            "@s nvarchar(36)",
            &[Param::text("@s", "x")],
        )
        .await;
    let (number, class, text) = &reply.errors[0];
    assert_eq!((*number, *class), (206, 16));
    assert_eq!(
        text,
        "Operand type clash: nvarchar is incompatible with nvarchar(36) encrypted with (encryption_type = \
         'DETERMINISTIC', encryption_algorithm_name = 'AEAD_AES_256_CBC_HMAC_SHA_256', column_encryption_key_name = \
         'CEK1', column_encryption_key_database_name = 'sandbox') collation_name = 'Latin1_General_BIN2'"
    );
    for sql in [
        "INSERT INTO Messages (Id, Sender) VALUES (1, N'x')",
        "UPDATE Messages SET Salary = 5",
        "SELECT 1 FROM Messages WHERE Sender = N'x'",
        "INSERT INTO Messages (Id, Sender) VALUES (1, 0x01)",
        "INSERT INTO Messages (Id) VALUES (7); UPDATE Messages SET Salary = 5",
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [206], "{sql}");
    }
    assert_eq!(
        wire.batch("SELECT COUNT(*) FROM Messages").await.ok().sets[0].rows[0][0],
        Some(vec![0; 4])
    );
    wire.batch("INSERT INTO Messages (Id, Sender, Salary) VALUES (1, NULL, NULL)").await.ok();
}

#[tokio::test]
async fn declarations_must_fit_the_column() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, declaration, numbers) in [
        ("INSERT INTO Messages (Id, Sender) VALUES (1, @p)", "@p nvarchar(4000)", &[206, 8180][..]),
        ("INSERT INTO Messages (Id, Sender) VALUES (1, @p)", "@p nvarchar(37)", &[206, 8180]),
        ("INSERT INTO Messages (Id, Sender) VALUES (1, @p)", "@p varchar(36)", &[206, 8180]),
        ("INSERT INTO Messages (Id, Sender) VALUES (1, @p)", "@p nvarchar(1)", &[]),
        ("INSERT INTO Messages (Id, Content) VALUES (1, @p)", "@p nvarchar(4000)", &[]),
        ("UPDATE Messages SET Salary = @p", "@p bigint", &[206, 8180]),
        ("UPDATE Messages SET Nope = @p", "@p int", &[207, 8180]),
        ("UPDATE Nowhere SET Nope = @p", "@p int", &[208, 8180]),
        ("UPDATE Messages SET", "@p int", &[102, 8180]),
        ("SELECT 1 FROM Messages WHERE Salary = @p", "@p int", &[33277, 8180]),
        ("SELECT 1 FROM Messages WHERE Sender > @p", "@p nvarchar(36)", &[33277, 8180]),
        ("SELECT 1 FROM Messages WHERE Sender LIKE @p", "@p nvarchar(36)", &[33277, 8180]),
        (
            "SELECT 1 FROM Messages WHERE Sender = @p AND Note = @p",
            "@p nvarchar(36)",
            &[33277, 8180],
        ),
        ("SELECT Salary + @p FROM Messages", "@p int", &[402, 8180]),
        ("EXEC nothing @p", "@p int", &[2812, 8180]),
    ] {
        assert_eq!(wire.describe(sql, declaration).await.numbers(), numbers, "{sql} {declaration}");
    }
}

#[tokio::test]
async fn stale_metadata_stops_a_request_before_it_runs() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "INSERT INTO Messages (Id) VALUES (9); UPDATE Messages SET Salary = @p";
    let good = wire.schemes(sql, "@p int").await.remove(0).unwrap();
    let variants: [fn(&mut Scheme); 6] = [
        |s| s.cek_id += 1000,
        |s| s.cek_version = 2,
        |s| s.md_version[0] ^= 1,
        |s| s.norm = 2,
        |s| s.database_id = 6,
        |s| s.algorithm = 1,
    ];
    for change in variants {
        let mut scheme = good.clone();
        change(&mut scheme);
        let param = Param::encrypted("@p", Some(&cell(1, 1)), INT, &scheme);
        assert_eq!(wire.execute(sql, "@p int", &[param]).await.numbers(), [33514]);
    }
    wire.batch("ALTER COLUMN ENCRYPTION KEY CEK1 ADD VALUE (COLUMN_MASTER_KEY = CMK2, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x09)").await.ok();
    let param = Param::encrypted("@p", Some(&cell(1, 1)), INT, &good);
    assert_eq!(wire.execute(sql, "@p int", &[param]).await.numbers(), [33514]);
    let reply = wire.describe(sql, "@p int").await.ok();
    assert_eq!(reply.sets[0].rows.len(), 2, "both values of the key");
    assert_eq!(wire.batch("SELECT 1 FROM Messages").await.ok().sets[0].rows.len(), 0);
}

#[tokio::test]
async fn a_parameter_of_another_scheme_or_a_broken_cell_is_refused() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "UPDATE Messages SET Salary = @p";
    let good = wire.schemes(sql, "@p int").await.remove(0).unwrap();
    let send = |scheme: &Scheme, cell: &[u8], base: &[u8]| {
        Param::encrypted("@p", Some(cell), base, scheme)
    };
    let deterministic = Scheme { kind: 1, ..good.clone() };
    assert_eq!(
        wire.execute(sql, "@p int", &[send(&deterministic, &cell(1, 1), INT)]).await.numbers(),
        [206]
    );
    assert_eq!(
        wire.execute(sql, "@p int", &[send(&good, &cell(1, 1), &[0x26, 8])]).await.numbers(),
        [206]
    );
    let mut wrong_version = cell(1, 1);
    wrong_version[0] = 2;
    for broken in [&cell(1, 1)[..64], &[], &cell(2, 1), &wrong_version, &cell(0, 1)] {
        assert_eq!(
            wire.execute(sql, "@p int", &[send(&good, broken, INT)]).await.numbers(),
            [8016]
        );
    }
    wire.execute(sql, "@p int", &[send(&good, &cell(1, 1), INT)]).await.ok();
    let plain = "UPDATE Messages SET Note = @p";
    let base = [0xE7, 20, 0, 0, 0, 0, 0, 0];
    let reply = wire.execute(plain, "@p nvarchar(10)", &[send(&good, &cell(1, 1), &base)]).await;
    assert_eq!(reply.numbers(), [206]);
}

#[tokio::test]
async fn trailers_of_all_drivers_are_read() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "UPDATE Messages SET Sender = @p";
    let scheme = wire.schemes(sql, "@p nvarchar(11)").await.remove(0).unwrap();
    for length in [11, 22] {
        let base = [0xE7, length, 0, 0, 0, 0, 0, 0];
        let param = Param::encrypted("@p", Some(&cell(1, 1)), &base, &scheme);
        wire.execute(sql, "@p nvarchar(11)", &[param]).await.ok();
    }
}

#[tokio::test]
async fn ddl_keeps_to_the_rules() {
    let (_sandbox, mut wire) = prepared().await;
    let with = |kind: &str| {
        format!(
            "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1, ENCRYPTION_TYPE = {kind}, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')"
        )
    };
    let (det, rnd) = (with("DETERMINISTIC"), with("RANDOMIZED"));
    for (sql, number) in [
        (format!("CREATE TABLE x (a nvarchar(5) {det})"), 33289),
        (format!("CREATE TABLE x (a nvarchar(5) COLLATE Latin1_General_BIN {det})"), 33289),
        (format!("CREATE TABLE x (a int {rnd} PRIMARY KEY)"), 33284),
        (format!("CREATE TABLE x (a int {rnd} DEFAULT 5)"), 33282),
        (format!("CREATE TABLE x (a int IDENTITY(1,1) {det})"), 33282),
        (format!("CREATE TABLE x (a int {})", det.replace("CEK1", "nokey")), 33283),
        ("CREATE INDEX i ON Messages (Salary)".into(), 33284),
        ("DROP COLUMN ENCRYPTION KEY CEK1".into(), 33281),
        ("DROP COLUMN MASTER KEY CMK1".into(), 33280),
        ("CREATE TABLE dbo.Messages (a int)".into(), 2714),
        ("SELECT DISTINCT Salary FROM Messages".into(), 33277),
        ("SELECT Id FROM Messages ORDER BY Sender".into(), 33277),
        ("SELECT UPPER(Sender) FROM Messages".into(), 33277),
        ("SELECT MAX(Salary) FROM Messages".into(), 33277),
        (
            "CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p')"
                .into(),
            33278,
        ),
    ] {
        assert_eq!(wire.batch(&sql).await.numbers(), [number], "{sql}");
    }
    wire.batch("CREATE INDEX i ON Messages (Sender)").await.ok();
    wire.batch("SELECT DISTINCT Sender FROM Messages").await.ok();
    wire.batch("SELECT Sender, COUNT(*) FROM Messages GROUP BY Sender").await.ok();
    let three = "ALTER COLUMN ENCRYPTION KEY CEK2 ADD VALUE (COLUMN_MASTER_KEY = CMK2, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01)";
    wire.batch(three).await.ok();
    wire.batch("ALTER COLUMN ENCRYPTION KEY CEK2 DROP VALUE (COLUMN_MASTER_KEY = CMK1)").await.ok();
    wire.batch("DROP TABLE Messages; DROP COLUMN ENCRYPTION KEY CEK1; DROP COLUMN MASTER KEY CMK1")
        .await
        .ok();
}

#[tokio::test]
async fn many_nulls_come_with_a_bitmap() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch("INSERT INTO Messages (Id) VALUES (1)").await.ok();
    let set = wire.batch("SELECT * FROM Messages").await.ok().sets.remove(0);
    assert_eq!(set.bitmaps, 1);
    assert_eq!(set.rows, [[Some(vec![1, 0, 0, 0]), None, None, None, None]]);
    let set = wire.batch("SELECT Id, CAST(NULL AS int) FROM Messages").await.ok().sets.remove(0);
    assert_eq!((set.bitmaps, set.rows.len()), (0, 1));
}
