//! Stored procedures: their text, their calls by RPC and by EXEC, and what describing makes of them.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire, cell, utf16};

const NVARCHAR_11: &[u8] = &[0xE7, 22, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE TABLE dbo.People (
    Id int NOT NULL PRIMARY KEY, Name nvarchar(20) NULL,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL)";

const ADD: &str =
    "CREATE PROCEDURE dbo.AddPerson @id int, @ssn nvarchar(11), @name nvarchar(20) = N'nobody' AS
BEGIN
    SET NOCOUNT ON;
    INSERT INTO dbo.People (Id, SSN, Name) VALUES (@id, @ssn, @name);
    IF @id > 100 RETURN 7
    RETURN 3;
END";

const FIND: &str =
    "CREATE OR ALTER PROC FindPerson (@id int, @ssn nvarchar(11) OUTPUT, @name nvarchar(20) OUT) AS
SELECT @ssn = SSN, @name = Name FROM People WHERE Id = @id
SET @name = @name + N'!'";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    wire.batch(ADD).await.ok();
    wire.batch(FIND).await.ok();
    (sandbox, wire)
}

async fn add(wire: &mut Wire, id: i32, fill: u8) -> wire::Reply {
    let schemes = wire
        .schemes("EXEC [dbo].[AddPerson] @id=@id, @ssn=@ssn", "@id int,@ssn nvarchar(11)")
        .await;
    let scheme = schemes[1].clone().expect("an encrypted parameter");
    let params = [
        Param::int("@id", id),
        Param::encrypted("@ssn", Some(&cell(2, fill)), NVARCHAR_11, &scheme),
    ];
    wire.rpc(&[Wire::call_by_name("dbo.AddPerson", &params)]).await
}

#[tokio::test]
async fn a_call_by_name_passes_cells_to_the_body_and_gets_its_status() {
    let (_sandbox, mut wire) = prepared().await;
    assert_eq!(add(&mut wire, 1, 5).await.ok().return_status, Some(3));
    assert_eq!(add(&mut wire, 101, 6).await.ok().return_status, Some(7));
    let set = wire.batch("SELECT SSN, Name FROM People ORDER BY Id").await.ok().sets.remove(0);
    assert_eq!(set.rows[0], [Some(cell(2, 5)), Some(utf16("nobody"))]);
}

#[tokio::test]
async fn an_encrypted_output_carries_its_metadata() {
    let (_sandbox, mut wire) = prepared().await;
    add(&mut wire, 1, 5).await.ok();
    let sql = " EXEC FindPerson @P1,@P2 OUTPUT,@P3 OUTPUT  ";
    let declared = "@P1 int,@P2 nvarchar(11) OUTPUT,@P3 nvarchar(20) OUTPUT";
    let schemes = wire.schemes(sql, declared).await;
    assert_eq!(schemes.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    let scheme = schemes[1].clone().unwrap();
    let params = [
        Param::int("", 1),
        Param::encrypted("", None, NVARCHAR_11, &scheme).by_ref(),
        Param::text("", "").by_ref(),
    ];
    let by_name = wire.rpc(&[Wire::call_by_name("FindPerson", &params)]).await.ok();
    let by_text = wire.execute(sql, declared, &params).await.ok();
    for (reply, first) in [(by_name, 0), (by_text, 2)] {
        assert_eq!(reply.return_status, Some(0));
        let [ssn, name] = &reply.outputs[..] else { panic!("{:?}", reply.outputs) };
        assert_eq!((ssn.ordinal, ssn.flags), (first + 1, 0x0800));
        assert_eq!((ssn.ty.token, ssn.ty.length), (0xA5, 81));
        let (base, algorithm, kind, norm) = ssn.crypto.clone().unwrap();
        assert_eq!((base.token, base.length, algorithm, kind, norm), (0xE7, 22, 2, 1, 1));
        assert_eq!(ssn.value, Some(cell(2, 5)));
        assert_eq!((name.ordinal, name.flags), (first + 2, 0));
        assert_eq!([&ssn.name, &name.name], ["", ""], "as in the call");
        assert_eq!(name.value, Some(utf16("nobody!")));
    }
    let empty = Param::encrypted("", Some(&[]), NVARCHAR_11, &scheme);
    let params = [Param::int("", 1), empty.clone().by_ref(), Param::text("", "").by_ref()];
    let reply = wire.rpc(&[Wire::call_by_name("FindPerson", &params)]).await.ok();
    assert_eq!(reply.outputs[0].value, Some(cell(2, 5)), "as JDBC sends long ones");
    let reply = wire.rpc(&[Wire::call_by_name("AddPerson", &[Param::int("", 2), empty])]).await;
    assert_eq!(reply.numbers(), [8016], "but no input");
    let null = Param::encrypted("", None, NVARCHAR_11, &scheme).by_ref();
    let nobody = [Param::int("", 9), null, Param::text("", "x").by_ref()];
    let reply = wire.rpc(&[Wire::call_by_name("FindPerson", &nobody)]).await.ok();
    assert_eq!(reply.outputs[0].value, None, "and still encrypted");
    assert!(reply.outputs[0].crypto.is_some());
    assert_eq!(reply.outputs[1].value, Some(utf16("x!")));
}

#[tokio::test]
async fn describing_a_call_in_every_form_finds_the_encrypted_parameter() {
    let (_sandbox, mut wire) = prepared().await;
    for sql in [
        "EXEC AddPerson @P1,@P2",
        " EXEC AddPerson @P1,@P2  ",
        "EXEC AddPerson  @P1 , @P2 ",
        "EXEC [dbo].[AddPerson] @id=@P1, @ssn=@P2",
        "EXEC AddPerson @ssn = @P2, @id = @P1",
        "EXECUTE sandbox.dbo.AddPerson @P1, @P2, DEFAULT",
        "EXEC @P1 = AddPerson 5, @P2",
    ] {
        let schemes = wire.schemes(sql, "@P1 int,@P2 nvarchar(11)").await;
        assert!(schemes[0].is_none() && schemes[1].is_some(), "{sql}");
    }
    let numbers =
        wire.describe("EXEC AddPerson @P1,@P2", "@P1 int,@P2 nvarchar(12)").await.numbers();
    assert_eq!(numbers, [206, 8180]);
    let numbers = wire.describe("EXEC AddPerson @P1, N'x'", "@P1 int").await.numbers();
    assert_eq!(numbers, [206, 8180]);
    let numbers = wire.describe("EXEC Nope @P1", "@P1 int").await.numbers();
    assert_eq!(numbers, [2812, 8180]);
}

#[tokio::test]
async fn plaintext_for_an_encrypted_parameter_is_refused() {
    let (_sandbox, mut wire) = prepared().await;
    let params = [Param::int("@id", 1), Param::text("@ssn", "123")];
    let reply = wire.rpc(&[Wire::call_by_name("AddPerson", &params)]).await;
    assert_eq!(reply.numbers(), [206]);
    assert_eq!(wire.batch("EXEC AddPerson 1, N'123'").await.numbers(), [206]);
    let params = [Param::int("", 1), Param::text("", "").by_ref(), Param::text("", "").by_ref()];
    let reply = wire.rpc(&[Wire::call_by_name("FindPerson", &params)]).await;
    assert_eq!(reply.numbers(), [206], "also of an output");
}

#[tokio::test]
async fn wrong_arguments_have_the_numbers_of_sql_server() {
    let (_sandbox, mut wire) = prepared().await;
    for (params, number) in [
        (vec![Param::int("@id", 1)], 201),
        (vec![Param::int("@nope", 1)], 8145),
        (vec![Param::int("@id", 1), Param::int("@id", 1)], 8143),
        ((1..5).map(|n| Param::int("", n)).collect(), 8144),
        (vec![Param::int("@id", 1).by_ref(), Param::null("@ssn")], 8162),
    ] {
        let reply = wire.rpc(&[Wire::call_by_name("AddPerson", &params)]).await;
        assert_eq!(reply.numbers(), [number]);
    }
    assert_eq!(wire.rpc(&[Wire::call_by_name("Nope", &[])]).await.numbers(), [2812]);
    assert_eq!(wire.batch(ADD).await.numbers(), [2714]);
    assert_eq!(wire.batch("ALTER PROC Nope AS SELECT 1").await.numbers(), [208]);
    assert_eq!(wire.batch("SELECT 1; CREATE PROC p AS SELECT 1").await.numbers(), [111]);
    assert_eq!(
        wire.batch("CREATE PROC p @a int AS SELECT Nope FROM People").await.numbers(),
        [207]
    );
    assert_eq!(wire.batch("DROP PROC Nope").await.numbers(), [3701]);
    wire.batch("DROP PROCEDURE IF EXISTS Nope, AddPerson").await.ok();
    assert_eq!(wire.batch("EXEC AddPerson 1").await.numbers(), [2812]);
}

#[tokio::test]
async fn exec_in_a_batch_returns_status_outputs_and_rows() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch("CREATE PROC Twice @n int, @twice int = NULL OUTPUT AS SELECT @n AS n; SET @twice = @n * 2; RETURN @n")
        .await
        .ok();
    let sql = "DECLARE @t int, @r int; EXEC @r = Twice 21, @t OUTPUT; SELECT @t AS t, @r AS r";
    let reply = wire.batch(sql).await.ok();
    assert_eq!(reply.return_status, Some(21));
    assert_eq!(reply.sets[1].rows, [[Some(vec![42, 0, 0, 0]), Some(vec![21, 0, 0, 0])]]);
    let tokens: Vec<u8> = reply.dones.iter().map(|done| done.0).collect();
    assert!(tokens.contains(&0xFE) && tokens.contains(&0xFF), "{tokens:?}");
    wire.batch("CREATE PROC Loops AS EXEC Loops").await.ok();
    assert_eq!(wire.batch("EXEC Loops").await.numbers(), [217]);
    let sql = "DECLARE @x int; EXEC sp_executesql N'SELECT @y = COUNT(*) FROM People', N'@y int OUTPUT', @y = @x OUTPUT; SELECT @x";
    assert_eq!(wire.batch(sql).await.ok().sets[0].rows, [[Some(vec![0; 4])]]);
    let sql = "DECLARE @t nvarchar(20) = N'People'; EXEC(N'SELECT Id FROM ' + @t)";
    assert_eq!(wire.batch(sql).await.ok().sets[0].columns[0].name, "Id");
    assert_eq!(wire.batch("DECLARE @a int; SELECT @a = 1, 2").await.numbers(), [141]);
    assert_eq!(wire.batch("SELECT 1; RETURN; SELECT 2").await.ok().sets.len(), 1);
}

#[tokio::test]
async fn the_catalogue_shows_procedures_and_the_encryption_of_their_parameters() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "SELECT p.name, q.name, q.is_output, q.encryption_type FROM sys.procedures p JOIN sys.parameters q \
               ON q.object_id = p.object_id WHERE p.object_id = OBJECT_ID('dbo.FindPerson') ORDER BY q.parameter_id";
    let rows = wire.batch(sql).await.ok().sets.remove(0).rows;
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1][1..], [Some(utf16("@ssn")), Some(vec![1]), Some(vec![1, 0, 0, 0])]);
    assert_eq!(rows[2][3], None);
    let sql = "SELECT name FROM sys.objects WHERE type = 'P' ORDER BY name";
    assert_eq!(wire.batch(sql).await.ok().sets[0].rows.len(), 2);
    assert_eq!(wire.batch("CREATE TABLE AddPerson (a int)").await.numbers(), [2714]);
}

#[tokio::test]
async fn undeclared_parameters_get_the_types_of_what_they_meet() {
    let (_sandbox, mut wire) = prepared().await;
    let text = |value: &Option<Vec<u8>>| {
        let units: Vec<u16> =
            value.as_ref().unwrap().chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        String::from_utf16(&units).unwrap()
    };
    for (sql, expected) in [
        (
            "INSERT INTO People (Id, SSN, Name) VALUES (@P1, @P2, @P3)",
            vec![("@P1", "int"), ("@P2", "nvarchar(11)"), ("@P3", "nvarchar(20)")],
        ),
        (
            "UPDATE People SET Name = @a WHERE Id BETWEEN @b AND @c + 1 AND SSN IN (@d)",
            vec![("@a", "nvarchar(20)"), ("@b", "int"), ("@c", "int"), ("@d", "nvarchar(11)")],
        ),
        (
            "SELECT TOP (@n) Id FROM People WHERE Name LIKE @p",
            vec![("@n", "bigint"), ("@p", "nvarchar(20)")],
        ),
        ("EXEC AddPerson @ssn = @x, @id = @y", vec![("@x", "nvarchar(11)"), ("@y", "int")]),
    ] {
        let call = Wire::call_by_name("sp_describe_undeclared_parameters", &[Param::text("", sql)]);
        let set = wire.rpc(&[call]).await.ok().sets.remove(0);
        assert_eq!(set.columns.len(), 24);
        let found: Vec<_> = set.rows.iter().map(|row| (text(&row[1]), text(&row[3]))).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, ty)| (name.to_string(), ty.to_string())).collect();
        assert_eq!(found, expected, "{sql}");
    }
    let exec = "EXEC sp_describe_undeclared_parameters N'SELECT @a'";
    assert_eq!(wire.batch(exec).await.numbers(), [11506]);
}

#[tokio::test]
async fn server_cursors_are_refused_by_name() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = Param::text("", "SELECT 1");
    for call in [
        Wire::call_by_id(2, &[Param::int("", 0).by_ref(), sql.clone()]),
        Wire::call_by_name("sp_cursoropen", &[Param::int("", 0).by_ref(), sql]),
    ] {
        let reply = wire.rpc(&[call]).await;
        assert_eq!(reply.numbers(), [49999]);
        assert!(reply.errors[0].2.contains("sp_cursoropen"), "{:?}", reply.errors);
    }
    wire.batch("BEGIN TRAN; INSERT INTO People (Id) VALUES (1)").await.ok();
    let reply = wire.rpc(&[Wire::call_by_name("sp_reset_connection", &[])]).await.ok();
    assert_eq!(reply.changes, [10], "the transaction is rolled back");
    assert!(wire.batch("SELECT Id FROM People").await.ok().sets[0].rows.is_empty());
}

#[tokio::test]
async fn a_select_that_reads_what_it_assigns_goes_row_by_row() {
    let (_sandbox, mut wire) = prepared().await;
    // As SqlClient and mssql-tds ask for the columns of a table before they load it.
    let sql = "SELECT @@TRANCOUNT;
        DECLARE @Column_Names NVARCHAR(MAX) = NULL;
        DECLARE @object_id INT = OBJECT_ID(N'[dbo].[People]');
        DECLARE @sql NVARCHAR(MAX);
        SET @sql = N'SELECT @CN = COALESCE(@CN + N'', '', N'''') + QUOTENAME([name]) FROM sys.all_columns WHERE [object_id] = @ObjId';
        IF EXISTS (SELECT TOP 1 * FROM sys.all_columns WHERE [object_id] = OBJECT_ID('sys.all_columns') AND [name] = 'graph_type')
            SET @sql = @sql + N' AND COALESCE([graph_type], 0) NOT IN (1, 3, 4, 6, 7)';
        SET @sql = @sql + N' ORDER BY [column_id] ASC';
        EXEC sp_executesql @sql, N'@CN NVARCHAR(MAX) OUTPUT, @ObjId INT', @CN = @Column_Names OUTPUT, @ObjId = @object_id;
        SELECT @Column_Names = COALESCE(@Column_Names, '*');
        SET FMTONLY ON;
        EXEC(N'SELECT ' + @Column_Names + N' FROM [dbo].[People]');
        SET FMTONLY OFF;
        EXEC sp_tablecollations_100 N'[dbo].[People]';
        SELECT @Column_Names";
    let reply = wire.batch(sql).await.ok();
    let [_, columns, collations, names] = &reply.sets[..] else { panic!("{:?}", reply.sets) };
    let shown: Vec<&str> = columns.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(shown, ["Id", "Name", "SSN"]);
    assert!(columns.columns[2].crypto.is_some() && columns.rows.is_empty());
    assert_eq!(collations.rows[2][3], Some(utf16("Latin1_General_BIN2")));
    assert_eq!(names.rows, [[Some(utf16("[Id], [Name], [SSN]"))]]);
}

#[tokio::test]
async fn what_a_called_text_sets_ends_with_it() {
    let (_sandbox, mut wire) = prepared().await;
    // As JDBC asks before a bulk copy: at the start of a batch EXEC may be left out.
    let reply = wire.batch("sp_executesql N'SET FMTONLY ON SELECT * FROM dbo.People '").await.ok();
    assert_eq!((reply.sets[0].columns.len(), reply.sets[0].rows.len()), (3, 0));
    let reply = wire.batch("SELECT 1").await.ok();
    assert_eq!(reply.sets[0].rows.len(), 1);
}

#[tokio::test]
async fn a_bulk_load_of_odbc_is_told_the_compatibility_level() {
    let (_sandbox, mut wire) = prepared().await;
    let sql = "exec [sys].sp_bcp_dbcmptlevel [sandbox] set fmtonly on select * from dbo.People set fmtonly off";
    let reply = wire.batch(sql).await.ok();
    assert_eq!(reply.sets[0].rows, [[Some(vec![160, 0])]]);
    assert_eq!((reply.sets[1].columns.len(), reply.sets[1].rows.len()), (3, 0));
}

#[tokio::test]
async fn the_calls_of_one_message_are_answered_one_by_one() {
    let (_sandbox, mut wire) = prepared().await;
    let call = |sql: &str, id: i32| {
        let params = [Param::text("", sql), Param::text("", "@i int"), Param::int("@i", id)];
        Wire::call_by_id(10, &params)
    };
    let insert = "INSERT INTO People (Id) VALUES (@i)";
    let calls = [call(insert, 1), call(insert, 1), call("SELECT @i", 7), call(insert, 2)];
    let reply = wire.rpc(&calls).await;
    assert_eq!(reply.numbers(), [2627], "the second, and only that");
    let ends: Vec<_> =
        reply.dones.iter().filter(|done| done.0 == 0xFE).map(|done| done.1 & 3).collect();
    assert_eq!(ends, [1, 3, 1, 0], "a DONEPROC each, with more to come but for the last");
    assert_eq!(reply.sets[0].shown(), [["7"]]);
    let set = wire.batch("SELECT Id FROM People ORDER BY Id").await.ok().sets.remove(0);
    assert_eq!(set.shown(), [["1"], ["2"]]);
}
