//! Logins, users, and what they may do and see.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire, cell};

const NVARCHAR_11: &[u8] = &[0xE7, 22, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE TABLE People (Id int NOT NULL PRIMARY KEY, Name nvarchar(20) NULL,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL);
INSERT INTO People (Id, Name) VALUES (1, N'Ada')";

const FIND: &str = "SELECT Id FROM People WHERE SSN = @s";
const PASSWORD: &str = "Reader-1433!";

/// A sandbox with a login `reader`, its administrator, and that login.
async fn prepared() -> (Sandbox, Wire, Wire) {
    let sandbox = Sandbox::builder().add_login("reader", PASSWORD).start().await.unwrap();
    let mut admin = Wire::connect(&sandbox, Some(1)).await;
    admin.batch(SETUP).await.ok();
    let (reader, reply) = Wire::login(&sandbox, "Reader", PASSWORD, Some(1), 4096).await;
    reply.ok();
    (sandbox, admin, reader)
}

async fn login(sandbox: &Sandbox, name: &str, password: &str) -> Vec<i32> {
    Wire::login(sandbox, name, password, None, 4096).await.1.numbers()
}

async fn first(wire: &mut Wire, sql: &str) -> String {
    wire.batch(sql).await.ok().sets[0].shown()[0].join(" ")
}

#[tokio::test]
async fn keys_are_seen_by_everybody_until_that_is_revoked() {
    let (_sandbox, mut admin, mut reader) = prepared().await;
    admin.batch("GRANT SELECT ON People TO reader").await.ok();
    let count = |view: &str| format!("SELECT COUNT(*) FROM sys.{view}");
    let views = ["column_master_keys", "column_encryption_keys", "column_encryption_key_values"];
    for view in views {
        assert_eq!(first(&mut reader, &count(view)).await, "1", "{view}");
    }
    assert!(reader.schemes(FIND, "@s nvarchar(11)").await[0].is_some());
    reader.batch("SELECT SSN FROM People").await.ok();

    admin.batch("REVOKE VIEW ANY COLUMN MASTER KEY DEFINITION FROM public").await.ok();
    assert_eq!(first(&mut reader, &count(views[0])).await, "0");
    assert_eq!(first(&mut reader, &count(views[1])).await, "1", "one of two");
    let reply = reader.describe(FIND, "@s nvarchar(11)").await;
    assert_eq!((reply.numbers(), reply.sets.len()), (vec![15151, 8180], 0), "both are needed");
    assert_eq!(reader.batch("SELECT SSN FROM People").await.numbers(), [15151]);
    reader.batch("SELECT Id, Name FROM People").await.ok();
    assert_eq!(first(&mut admin, &count(views[0])).await, "1", "dbo sees all");

    admin.batch("GRANT VIEW ANY COLUMN MASTER KEY DEFINITION TO reader").await.ok();
    assert!(reader.schemes(FIND, "@s nvarchar(11)").await[0].is_some());
    admin.batch("DENY VIEW ANY COLUMN ENCRYPTION KEY DEFINITION TO reader").await.ok();
    for (view, seen) in views.into_iter().zip(["1", "0", "0"]) {
        assert_eq!(first(&mut reader, &count(view)).await, seen, "{view}");
    }
    assert_eq!(reader.batch("SELECT SSN FROM People").await.numbers(), [15151]);
}

#[tokio::test]
async fn without_always_encrypted_ciphertext_needs_no_key() {
    let (sandbox, mut admin, _) = prepared().await;
    admin
        .batch(
            "REVOKE VIEW ANY COLUMN MASTER KEY DEFINITION, VIEW ANY COLUMN ENCRYPTION KEY DEFINITION TO public;
             GRANT SELECT ON DATABASE::sandbox TO reader",
        )
        .await
        .ok();
    let mut plain = Wire::login(&sandbox, "reader", PASSWORD, None, 4096).await.0;
    plain.batch("SELECT SSN FROM People").await.ok();
}

#[tokio::test]
async fn tables_are_closed_until_granted() {
    let (_sandbox, mut admin, mut reader) = prepared().await;
    assert_eq!(first(&mut reader, "SELECT COUNT(*) FROM sys.tables").await, "0");
    assert_eq!(first(&mut reader, "SELECT OBJECT_ID('People')").await, "NULL");
    let read = "SELECT Name FROM People";
    let reply = reader.batch(read).await;
    assert_eq!(reply.numbers(), [229]);
    assert_eq!(
        reply.errors[0].2,
        "The SELECT permission was denied on the object 'People', database 'sandbox', schema 'dbo'."
    );
    assert_eq!(reader.describe(FIND, "@s nvarchar(11)").await.numbers(), [229, 8180]);
    admin.batch("GRANT UPDATE, DELETE ON OBJECT::dbo.People TO reader").await.ok();
    reader.batch("UPDATE People SET Name = N'x'").await.ok();
    for sql in [
        "UPDATE People SET Name = N'x' WHERE Id = 1",
        "UPDATE People SET Name = Name + N'x'",
        "UPDATE People SET Name = N'x' OUTPUT inserted.Id",
        "DELETE FROM People WHERE Id = 9",
        "UPDATE p SET Name = N'x' FROM People p WHERE p.Id = 1",
        "INSERT INTO People (Id) VALUES (2)",
        "INSERT BULK People (Id int)",
    ] {
        assert_eq!(reader.batch(sql).await.numbers(), [229], "{sql}");
    }
    assert_eq!(first(&mut reader, "SELECT COUNT(*) FROM sys.columns").await, "3");
    admin.batch("GRANT SELECT ON SCHEMA::dbo TO reader").await.ok();
    reader.batch("UPDATE People SET Name = N'x' WHERE Id = 1").await.ok();
    admin.batch("DENY SELECT ON People TO public").await.ok();
    assert_eq!(reader.batch(read).await.numbers(), [229], "a denial outweighs");
    admin.batch("REVOKE SELECT ON People TO public").await.ok();
    reader.batch(read).await.ok();
    for (role, sql, number) in [
        ("db_denydatareader", read, Some(229)),
        ("db_datawriter", "INSERT INTO People (Id) VALUES (7)", None),
        ("db_ddladmin", "CREATE TABLE t (a int); DROP TABLE t", None),
        ("db_owner", "GRANT SELECT ON People TO public", None),
    ] {
        admin.batch(&format!("ALTER ROLE {role} ADD MEMBER reader")).await.ok();
        assert_eq!(reader.batch(sql).await.numbers().first().copied(), number, "{role}");
        assert_eq!(first(&mut reader, &format!("SELECT IS_MEMBER('{role}')")).await, "1");
        admin.batch(&format!("ALTER ROLE {role} DROP MEMBER reader")).await.ok();
    }
}

#[tokio::test]
async fn views_and_procedures_vouch_for_what_they_use() {
    let (_sandbox, mut admin, mut reader) = prepared().await;
    admin.batch("CREATE VIEW Names AS SELECT Id, Name FROM People").await.ok();
    admin.batch("CREATE PROCEDURE Store @id int, @s nvarchar(11) AS UPDATE People SET SSN = @s WHERE Id = @id").await.ok();
    admin.batch("CREATE PROCEDURE Sneak AS EXEC('SELECT * FROM People')").await.ok();
    assert_eq!(reader.batch("SELECT * FROM Names").await.numbers(), [229]);
    let declare = "@i int, @s nvarchar(11)";
    let call = "EXEC Store @i, @s";
    assert_eq!(reader.describe(call, declare).await.numbers(), [229, 8180]);
    admin.batch("GRANT SELECT ON Names TO reader; GRANT EXECUTE TO reader").await.ok();
    reader.batch("SELECT * FROM Names").await.ok();
    assert_eq!(
        reader.batch("SELECT n.Id FROM Names n JOIN People p ON p.Id = n.Id").await.numbers(),
        [229]
    );
    let scheme = reader.schemes(call, declare).await[1].clone().unwrap();
    let params =
        [Param::int("@id", 1), Param::encrypted("@s", Some(&cell(2, 9)), NVARCHAR_11, &scheme)];
    reader.rpc(&[Wire::call_by_name("Store", &params)]).await.ok();
    assert_eq!(reader.batch("EXEC Sneak").await.numbers(), [229], "a text stands for itself");
    admin.batch("EXEC Sneak").await.ok();
}

#[tokio::test]
async fn ddl_needs_permissions_of_its_own() {
    let (_sandbox, mut admin, mut reader) = prepared().await;
    let key = "CREATE COLUMN MASTER KEY CMK2 WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p')";
    for (sql, number) in [
        (key, 15247),
        (
            "CREATE COLUMN ENCRYPTION KEY K WITH VALUES (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01)",
            15247,
        ),
        ("DROP COLUMN MASTER KEY CMK1", 33279),
        ("DROP COLUMN ENCRYPTION KEY CEK1", 33283),
        ("CREATE TABLE t (a int)", 262),
        ("CREATE VIEW v AS SELECT 1 AS a", 262),
        ("CREATE PROCEDURE p AS SELECT 1", 262),
        ("CREATE SCHEMA s", 262),
        ("DROP TABLE People", 3701),
        ("TRUNCATE TABLE People", 1088),
        ("ALTER TABLE People ADD x int", 4902),
        ("CREATE INDEX i ON People (Name)", 1088),
        ("CREATE LOGIN other WITH PASSWORD = 'Other-1433!'", 15247),
        ("CREATE USER other WITHOUT LOGIN", 15247),
        ("CREATE ROLE r", 262),
        ("ALTER ROLE db_owner ADD MEMBER reader", 15151),
        ("GRANT SELECT ON People TO reader", 4613),
        ("GRANT CONTROL TO reader", 4613),
    ] {
        assert_eq!(reader.batch(sql).await.numbers(), [number], "{sql}");
    }
    admin.batch("GRANT CREATE TABLE TO reader").await.ok();
    assert_eq!(reader.batch("CREATE TABLE t (a int)").await.numbers(), [2760]);
    admin
        .batch("GRANT ALTER ON SCHEMA::dbo TO reader; GRANT ALTER ANY COLUMN MASTER KEY TO reader")
        .await
        .ok();
    reader.batch("CREATE TABLE t (a int); DROP TABLE t").await.ok();
    reader.batch(key).await.ok();
    reader.batch("DROP COLUMN MASTER KEY CMK2").await.ok();
}

#[tokio::test]
async fn logins_come_and_go() {
    let (sandbox, mut admin, mut reader) = prepared().await;
    assert_eq!(login(&sandbox, "reader", "reader-1433!").await, [18456]);
    assert_eq!(login(&sandbox, "nobody", PASSWORD).await, [18456]);
    assert_eq!(login(&sandbox, "sa", PASSWORD).await, [18456]);
    assert_eq!(
        first(&mut reader, "SELECT SUSER_SNAME() + N'/' + USER_NAME()").await,
        "reader/reader"
    );
    admin.batch("CREATE LOGIN [app] WITH PASSWORD = N'App-1433!', CHECK_POLICY = OFF").await.ok();
    assert_eq!(login(&sandbox, "app", "App-1433!").await, [4060, 18456], "no user yet");
    admin.batch("CREATE USER Someone FOR LOGIN app WITH DEFAULT_SCHEMA = dbo").await.ok();
    let (mut app, reply) = Wire::login(&sandbox, "APP", "App-1433!", None, 4096).await;
    reply.ok();
    assert_eq!(first(&mut app, "SELECT SUSER_SNAME() + N'/' + USER_NAME()").await, "app/Someone");
    app.batch("ALTER LOGIN app WITH PASSWORD = 'New-1433!' , OLD_PASSWORD = 'App-1433!'")
        .await
        .ok();
    assert_eq!(login(&sandbox, "app", "App-1433!").await, [18456]);
    assert!(login(&sandbox, "app", "New-1433!").await.is_empty());
    admin.batch("ALTER LOGIN app DISABLE").await.ok();
    assert_eq!(login(&sandbox, "app", "New-1433!").await, [18456]);
    admin.batch("ALTER LOGIN app ENABLE; DENY CONNECT TO Someone").await.ok();
    assert_eq!(login(&sandbox, "app", "New-1433!").await, [4060, 18456]);
    for (sql, number) in [
        ("CREATE LOGIN app WITH PASSWORD = 'x'", 15025),
        ("CREATE LOGIN sa WITH PASSWORD = 'x'", 15025),
        ("CREATE USER Someone WITHOUT LOGIN", 15023),
        ("CREATE USER Other FOR LOGIN app", 15063),
        ("CREATE USER Other FOR LOGIN nobody", 15007),
        ("DROP USER dbo", 15150),
        ("DROP USER Nobody", 15151),
        ("DROP LOGIN nobody", 15151),
        ("GRANT SELECT ON Nope TO reader", 15151),
        ("GRANT SELECT ON People TO nobody", 15151),
        ("GRANT FLY TO reader", 49999),
        ("GRANT SELECT (Id) ON People TO reader", 49999),
        ("GRANT SELECT ON People TO reader WITH GRANT OPTION", 49999),
        ("GRANT CREATE TABLE ON People TO reader", 102),
        ("GRANT SELECT ON People", 102),
        ("GRANT SELECT ON People TO dbo", 4617),
        ("CREATE LOGIN x FROM WINDOWS", 49999),
        ("CREATE LOGIN x WITH PASSWORD = 0x01", 49999),
        ("ALTER ROLE nope ADD MEMBER reader", 15151),
        ("ALTER ROLE db_owner ADD MEMBER nobody", 15151),
    ] {
        assert_eq!(admin.batch(sql).await.numbers(), [number], "{sql}");
    }
    admin
        .batch(
            "CREATE ROLE team; ALTER ROLE team ADD MEMBER Someone; GRANT SELECT ON People TO team",
        )
        .await
        .ok();
    app.batch("SELECT Id FROM People").await.ok();
    assert_eq!(admin.batch("DROP ROLE team").await.numbers(), [15144]);
    admin
        .batch("DROP USER IF EXISTS Nobody; DROP USER Someone; DROP ROLE team; DROP LOGIN app")
        .await
        .ok();
    assert_eq!(
        app.batch("SELECT Id FROM People").await.numbers(),
        [229],
        "a session outlives its user"
    );
    assert_eq!(login(&sandbox, "app", "New-1433!").await, [18456]);
}

#[tokio::test]
async fn logins_stay_in_the_file_and_their_passwords_do_not() {
    let folder = std::env::temp_dir().join(format!("sandbox-logins-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("logins.db");
    let sandbox =
        Sandbox::builder().file(&file).add_login("reader", PASSWORD).start().await.unwrap();
    let mut admin = Wire::connect(&sandbox, None).await;
    admin.batch(SETUP).await.ok();
    admin.batch("REVOKE VIEW ANY COLUMN MASTER KEY DEFINITION TO public").await.ok();
    drop(admin);
    sandbox.shutdown().await;
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()));
    let sandbox = Sandbox::builder().file(&file).start().await.unwrap();
    let (mut reader, reply) = Wire::login(&sandbox, "reader", PASSWORD, None, 4096).await;
    reply.ok();
    let keys = first(&mut reader, "SELECT COUNT(*) FROM sys.column_master_keys").await;
    assert_eq!(keys, "0", "what was revoked stays revoked");
    drop(reader);
    sandbox.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        Sandbox::builder().add_login("SA", "x").start().await.is_err(),
        "it is the administrator's"
    );
}
