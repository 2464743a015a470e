//! Table types, and parameters that are tables.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Reply, Wire, utf16};

const NVARCHAR_11: &[u8] = &[0xE7, 22, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];
const INT: &[u8] = &[0x26, 4];

fn rows(reply: &Reply) -> Vec<String> {
    reply.sets.iter().flat_map(|set| set.shown()).map(|row| row.join(" ")).collect()
}

/// A parameter of the type dbo.`ty` with an int and an nvarchar(11). No rows are NULL for a table.
fn table(name: &str, ty: &str, rows: Option<&[(i32, Option<&str>)]>) -> Param {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(text.len() as u8);
        out.extend(utf16(text));
    };
    let mut out = Vec::new();
    text(&mut out, name);
    out.extend([0, 0xF3]);
    for part in ["", "dbo", ty] {
        text(&mut out, part);
    }
    let Some(rows) = rows else {
        out.extend([0xFF, 0xFF, 0, 0]);
        return Param(out);
    };
    out.extend([2, 0]);
    for info in [INT, NVARCHAR_11] {
        out.extend([0; 6]);
        out.extend(info);
        out.push(0);
    }
    out.push(0);
    for (id, name) in rows {
        out.extend([1, 4]);
        out.extend(id.to_le_bytes());
        match name {
            None => out.extend([0xFF, 0xFF]),
            Some(name) => {
                out.extend((name.len() as u16 * 2).to_le_bytes());
                out.extend(utf16(name));
            }
        }
    }
    out.push(0);
    Param(out)
}

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE TABLE People (Id int NOT NULL PRIMARY KEY, Name nvarchar(20) NULL,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL);
CREATE TYPE dbo.Named AS TABLE (Id int NOT NULL PRIMARY KEY, Name nvarchar(11) NULL)";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    (sandbox, wire)
}

const TWO: &[(i32, Option<&str>)] = &[(1, Some("Ada")), (2, None)];

#[tokio::test]
async fn a_table_goes_into_a_text_and_a_procedure() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "INSERT INTO People (Id, Name) SELECT Id + @n, Name FROM @t; SELECT Id, Name FROM @t ORDER BY Id";
    let declare = "@t dbo.Named READONLY, @n int";
    assert_eq!(wire.schemes(sql, declare).await.len(), 2);
    let params = [table("@t", "Named", Some(TWO)), Param::int("@n", 10)];
    assert_eq!(rows(&wire.execute(sql, declare, &params).await.ok()), ["1 Ada", "2 NULL"]);
    assert_eq!(
        rows(&wire.execute(sql, declare, &params[1..]).await),
        Vec::<String>::new(),
        "by name, no table"
    );
    let stored = rows(&wire.batch("SELECT Id, Name FROM People ORDER BY Id").await.ok());
    assert_eq!(stored, ["11 Ada", "12 NULL"]);
    wire.batch("CREATE PROCEDURE CountThem @t Named READONLY, @n int OUTPUT AS SELECT @n = COUNT(*) FROM @t").await.ok();
    for (rows, count) in [(Some(TWO), 2), (Some([].as_slice()), 0), (None, 0)] {
        let params = [table("@t", "Named", rows), Param::int("@n", 0).by_ref()];
        let reply = wire.rpc(&[Wire::call_by_name("CountThem", &params)]).await.ok();
        assert_eq!(reply.return_values, [count]);
    }
    let variable = "DECLARE @x dbo.Named, @c int; INSERT INTO @x VALUES (5, N'x'), (6, N'y'); EXEC CountThem @x, @c OUTPUT; SELECT @c";
    assert_eq!(rows(&wire.batch(variable).await.ok()), ["2"]);
    let without = "DECLARE @c int; EXEC CountThem @n = @c OUTPUT; SELECT @c";
    assert_eq!(rows(&wire.batch(without).await.ok()), ["0"]);
}

#[tokio::test]
async fn an_encrypted_column_takes_nothing_from_a_table() {
    let (_sandbox, mut wire) = prepared().await;
    let params = [table("@t", "Named", Some(TWO))];
    let declare = "@t dbo.Named READONLY";
    for sql in [
        "INSERT INTO People (Id, SSN) SELECT Id, Name FROM @t",
        "UPDATE p SET SSN = t.Name FROM People p JOIN @t t ON t.Id = p.Id",
    ] {
        assert_eq!(wire.execute(sql, declare, &params).await.numbers(), [206], "{sql}");
        assert_eq!(wire.describe(sql, declare).await.numbers(), [206, 8180], "{sql}");
    }
    let sql = "SELECT p.Id FROM People p JOIN @t t ON t.Name = p.SSN";
    assert_eq!(wire.execute(sql, declare, &params).await.numbers().len(), 1);
    let typed = "CREATE TYPE Secret AS TABLE (S int ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1, ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256'))";
    assert_eq!(wire.batch(typed).await.numbers(), [49999]);
}

#[tokio::test]
async fn wrong_tables_are_refused() {
    let (_sandbox, mut wire) = prepared().await;
    let declare = "@t dbo.Named READONLY";
    let good = table("@t", "Named", Some(TWO));
    for (sql, number) in [
        ("INSERT INTO @t VALUES (9, N'x')", 10700),
        ("DELETE FROM @t WHERE Id = 1", 10700),
        ("UPDATE @t SET Name = N'x'", 10700),
        ("SELECT @t", 137),
    ] {
        let reply = wire.execute(sql, declare, std::slice::from_ref(&good)).await;
        assert_eq!(reply.numbers(), [number], "{sql}");
    }
    let select = "SELECT COUNT(*) FROM @t";
    let twice = [(1, None), (1, None)];
    for (declare, param, number) in [
        (declare, table("@t", "Named", Some(&twice)), 2627),
        (declare, table("@t", "Other", Some(TWO)), 206),
        (declare, Param::int("@t", 1), 206),
        ("@t int", good.clone(), 206),
        ("@t dbo.Nope READONLY", table("@t", "Nope", Some(TWO)), 2715),
        ("@t int READONLY", good.clone(), 102),
    ] {
        let reply = wire.execute(select, declare, &[param]).await;
        assert_eq!(reply.numbers(), [number], "{declare}");
    }
    let mut cut = good.0.clone();
    cut.truncate(cut.len() - 3);
    let reply = wire.execute(select, declare, &[Param(cut)]).await;
    assert_eq!(reply.numbers(), [8009]);
    assert_eq!(
        rows(&wire.execute(select, declare, &[good]).await.ok()),
        ["2"],
        "and nothing is left behind"
    );
}

#[tokio::test]
async fn table_types_are_in_the_catalogue() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch("CREATE PROCEDURE P @t dbo.Named READONLY, @n int AS SELECT @n FROM @t").await.ok();
    let sql = "SELECT p.name, t.name, p.is_readonly, t.is_table_type, p.max_length FROM sys.parameters p JOIN sys.types t \
               ON t.user_type_id = p.user_type_id WHERE p.object_id = OBJECT_ID('P') ORDER BY p.parameter_id";
    assert_eq!(rows(&wire.batch(sql).await.ok()), ["@t Named 1 1 -1", "@n int 0 0 4"]);
    assert_eq!(rows(&wire.batch("SELECT TYPE_NAME(TYPE_ID('Named'))").await.ok()), ["Named"]);
    for (sql, number) in [
        ("CREATE TYPE Named AS TABLE (a int)", 219),
        ("CREATE TYPE Alias FROM int", 49999),
        ("CREATE TYPE nowhere.T AS TABLE (a int)", 2760),
        ("CREATE TYPE T AS TABLE (a frob)", 2715),
        ("DROP TYPE Named", 3732),
        ("DROP TYPE Nope", 2715),
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [number], "{sql}");
    }
    wire.batch("DROP PROCEDURE P; DROP TYPE IF EXISTS Nope; DROP TYPE Named").await.ok();
    assert_eq!(wire.batch("DECLARE @t Named").await.numbers(), [2715]);
}
