//! What tools and drivers read of the catalogue.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire};

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE TABLE People (Id int IDENTITY(1,1) NOT NULL CONSTRAINT PK_People PRIMARY KEY, Name nvarchar(20) NOT NULL,
    Price numeric(9,2) NULL, Big varchar(max) NULL,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL)";

const PROCEDURE: &str =
    "CREATE PROCEDURE dbo.Find @name nvarchar(20), @price decimal(9,2) = 1.5, @id int OUTPUT AS
    SELECT @id = Id FROM People WHERE Name = @name";

/// As a client asks for the columns of a table by name.
const COLUMNS: &str = "SELECT c.name, c.column_id, t.name, c.max_length, c.precision, c.scale, c.collation_name, \
     c.encryption_type, c.is_nullable, c.is_identity, c.is_computed FROM sys.columns c JOIN sys.types t ON \
     t.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID(@P1) ORDER BY c.column_id";
const PARAMETERS: &str = "SELECT p.name, p.parameter_id, t.name, p.max_length, p.precision, p.scale, p.is_output FROM sys.parameters p \
     JOIN sys.types t ON t.user_type_id = p.user_type_id WHERE p.object_id = OBJECT_ID(@P1) ORDER BY p.parameter_id";

async fn prepared() -> (Sandbox, Wire) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    wire.batch(PROCEDURE).await.ok();
    (sandbox, wire)
}

/// Rows of a query with one parameter, their columns joined by blanks.
async fn ask(wire: &mut Wire, sql: &str, p1: &str) -> Vec<String> {
    let reply = wire.execute(sql, "@P1 nvarchar(4000)", &[Param::text("@P1", p1)]).await;
    reply.ok().sets[0].shown().iter().map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn columns_are_found_by_any_name_in_a_parameter() {
    let (_sandbox, mut wire) = prepared().await;
    let expected = [
        "Id 1 int 4 10 0 NULL NULL 0 1 0",
        "Name 2 nvarchar 40 0 0 SQL_Latin1_General_CP1_CI_AS NULL 0 0 0",
        "Price 3 numeric 5 9 2 NULL NULL 1 0 0",
        "Big 4 varchar -1 0 0 SQL_Latin1_General_CP1_CI_AS NULL 1 0 0",
        "SSN 5 nvarchar 22 0 0 Latin1_General_BIN2 1 1 0 0",
    ];
    let names = [
        "People",
        "[dbo].[people]",
        "dbo.\"People\"",
        "sandbox.dbo.People",
        "[Sandbox]..[People]",
        " People ",
    ];
    let qualified = COLUMNS.replace("sys.", "[sandbox].sys.");
    for name in names {
        assert_eq!(ask(&mut wire, COLUMNS, name).await, expected, "{name}");
        assert_eq!(ask(&mut wire, &qualified, name).await, expected, "{name}");
    }
    for name in
        ["Nope", "other.dbo.People", "other..People", "a.b.c.People", "[People", "", "sys.People"]
    {
        assert!(ask(&mut wire, COLUMNS, name).await.is_empty(), "{name}");
    }
    let null = wire.execute(COLUMNS, "@P1 nvarchar(10)", &[Param::null("@P1")]).await;
    assert!(null.ok().sets[0].rows.is_empty());
    wire.batch("CREATE TABLE [odd.na]]me] (a int)").await.ok();
    assert_eq!(ask(&mut wire, COLUMNS, "[odd.na]]me]").await.len(), 1);
}

#[tokio::test]
async fn parameters_of_procedures_are_found_likewise() {
    let (_sandbox, mut wire) = prepared().await;
    let expected = ["@name 1 nvarchar 40 0 0 0", "@price 2 decimal 5 9 2 0", "@id 3 int 4 10 0 1"];
    for name in ["Find", "[dbo].[Find]", "[sandbox].[dbo].[find]"] {
        assert_eq!(ask(&mut wire, PARAMETERS, name).await, expected, "{name}");
    }
    assert!(ask(&mut wire, PARAMETERS, "People").await.is_empty());
}

#[tokio::test]
async fn views_show_the_columns_that_they_were_made_with() {
    let (_sandbox, mut wire) = prepared().await;
    wire.batch("CREATE VIEW Known (Nr, Secret, Twice) AS SELECT Id, SSN, Id * 2 FROM People")
        .await
        .ok();
    let expected = [
        "Nr 1 int 4 10 0 NULL NULL 0 0 0",
        "Secret 2 nvarchar 22 0 0 Latin1_General_BIN2 1 1 0 0",
        "Twice 3 int 4 10 0 NULL NULL 1 0 0",
    ];
    assert_eq!(ask(&mut wire, COLUMNS, "Known").await, expected);
    wire.batch("CREATE OR ALTER VIEW Known AS SELECT Name FROM People").await.ok();
    assert_eq!(ask(&mut wire, COLUMNS, "dbo.Known").await.len(), 1);
    wire.batch("DROP VIEW Known").await.ok();
    assert!(ask(&mut wire, "SELECT 1 FROM sys.columns WHERE name = @P1", "Nr").await.is_empty());
}

#[tokio::test]
async fn functions_tell_what_the_views_tell() {
    let (_sandbox, mut wire) = prepared().await;
    for (sql, p1, expected) in [
        ("SELECT COLLATIONPROPERTY(@P1, 'CodePage')", "Latin1_General_100_BIN2_UTF8", "65001"),
        ("SELECT COLLATIONPROPERTY(@P1, N'codepage')", "Latin1_General_BIN2", "1252"),
        ("SELECT COLLATIONPROPERTY(@P1, 'CodePage')", "Nonsense", "NULL"),
        ("SELECT COLLATIONPROPERTY('Latin1_General_BIN2', @P1)", "Nonsense", "NULL"),
        ("SELECT OBJECT_NAME(OBJECT_ID(@P1))", "dbo.people", "People"),
        ("SELECT OBJECT_SCHEMA_NAME(OBJECT_ID(@P1))", "sys.columns", "sys"),
        ("SELECT OBJECT_ID(@P1, N'P')", "People", "NULL"),
        ("SELECT OBJECT_NAME(OBJECT_ID(@P1, 'U'))", "People", "People"),
        ("SELECT OBJECT_NAME(OBJECT_ID(@P1))", "PK_People", "PK_People"),
        ("SELECT TYPE_NAME(TYPE_ID(@P1))", "NUMERIC", "numeric"),
        ("SELECT TYPE_NAME(user_type_id) FROM sys.columns WHERE name = @P1", "Big", "varchar"),
        ("SELECT SCHEMA_NAME(SCHEMA_ID(@P1))", "DBO", "dbo"),
        ("SELECT SCHEMA_NAME(schema_id) FROM sys.objects WHERE name = @P1", "Find", "dbo"),
        ("SELECT DB_NAME(DB_ID(@P1))", "SANDBOX", "sandbox"),
        ("SELECT DB_NAME() + @P1", "!", "sandbox!"),
        ("SELECT COL_NAME(OBJECT_ID(@P1), 3)", "People", "Price"),
        ("SELECT COL_LENGTH(@P1, 'name')", "People", "40"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('People'), @P1, 'IsIdentity')", "id", "1"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('People'), @P1, 'Precision')", "Name", "20"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('People'), @P1, 'Scale')", "Price", "2"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('People'), @P1, 'CharMaxLen')", "Big", "-1"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('Find'), @P1, 'IsOutParam')", "@id", "1"),
        ("SELECT COLUMNPROPERTY(OBJECT_ID('People'), @P1, 'Nonsense')", "Id", "NULL"),
        ("SELECT OBJECTPROPERTY(OBJECT_ID(@P1), 'TableHasIdentity')", "People", "1"),
        ("SELECT OBJECTPROPERTY(OBJECT_ID(@P1), 'IsTable')", "Find", "0"),
        ("SELECT DATABASEPROPERTYEX(@P1, 'Status')", "sandbox", "ONLINE"),
    ] {
        assert_eq!(ask(&mut wire, sql, p1).await, [expected], "{sql} of {p1}");
    }
    assert_eq!(wire.batch("SELECT OBJECT_ID(SSN) FROM People").await.numbers(), [33277]);
    let odd = wire.batch("SELECT COLLATIONPROPERTY('Vietnamese_CI_AS', 'CodePage')").await;
    assert_eq!(odd.numbers(), [49999], "no guess at the code page");
}

const KEYS: &str = "
CREATE SCHEMA app;
CREATE TABLE app.Parents (A int NOT NULL, B nvarchar(5) NOT NULL, C int NULL CONSTRAINT DF_C DEFAULT 7,
    CONSTRAINT PK_Parents PRIMARY KEY (B, A), CONSTRAINT UQ_C UNIQUE (C), CHECK (A > 0));
CREATE TABLE Children (Id int PRIMARY KEY, A int NULL, B nvarchar(5) NULL, CONSTRAINT FK_Child FOREIGN KEY (B, A)
    REFERENCES app.Parents (B, A) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE INDEX IX_A ON Children (A, B)";

#[tokio::test]
async fn keys_and_constraints_are_in_the_catalogue() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch(KEYS).await.ok();
    for (sql, expected) in [
        (
            "SELECT k.name, k.type, k.unique_index_id, k.is_system_named FROM sys.key_constraints k WHERE \
             k.parent_object_id = OBJECT_ID(@P1) ORDER BY 1",
            vec!["PK_Parents PK 1 0", "UQ_C UQ 2 0"],
        ),
        (
            "SELECT d.name, d.definition, c.name FROM sys.default_constraints d JOIN sys.columns c ON c.object_id = \
             d.parent_object_id AND c.column_id = d.parent_column_id AND c.default_object_id = d.object_id WHERE \
             d.parent_object_id = OBJECT_ID(@P1)",
            vec!["DF_C (7) C"],
        ),
        (
            "SELECT definition, is_system_named FROM sys.check_constraints WHERE parent_object_id = OBJECT_ID(@P1)",
            vec!["(A > 0) 1"],
        ),
        (
            "SELECT f.name, OBJECT_NAME(f.parent_object_id), f.key_index_id, f.delete_referential_action_desc, \
             f.update_referential_action FROM sys.foreign_keys f WHERE f.referenced_object_id = OBJECT_ID(@P1)",
            vec!["FK_Child Children 1 SET_NULL 1"],
        ),
        (
            "SELECT fc.constraint_column_id, COL_NAME(fc.parent_object_id, fc.parent_column_id), \
             COL_NAME(fc.referenced_object_id, fc.referenced_column_id) FROM sys.foreign_key_columns fc WHERE \
             fc.referenced_object_id = OBJECT_ID(@P1) ORDER BY 1",
            vec!["1 B B", "2 A A"],
        ),
        (
            "SELECT i.name, i.index_id, i.type_desc, i.is_unique, i.is_primary_key, c.name, ic.key_ordinal FROM \
             sys.indexes i JOIN sys.index_columns ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id JOIN \
             sys.columns c ON c.object_id = ic.object_id AND c.column_id = ic.column_id WHERE i.object_id IN \
             (OBJECT_ID(@P1), OBJECT_ID('Children')) AND i.name NOT LIKE 'PK\\_\\_%' ESCAPE '\\' ORDER BY 1, 7",
            vec![
                "IX_A 2 NONCLUSTERED 0 0 A 1",
                "IX_A 2 NONCLUSTERED 0 0 B 2",
                "PK_Parents 1 CLUSTERED 1 1 B 1",
                "PK_Parents 1 CLUSTERED 1 1 A 2",
                "UQ_C 2 NONCLUSTERED 1 0 C 1",
            ],
        ),
        (
            "SELECT TABLE_SCHEMA, TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = PARSENAME(@P1, 1)",
            vec!["app BASE TABLE"],
        ),
        (
            "SELECT COLUMN_NAME, ORDINAL_POSITION, COLUMN_DEFAULT, IS_NULLABLE, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, \
             CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE FROM sandbox.INFORMATION_SCHEMA.COLUMNS WHERE \
             TABLE_SCHEMA + '.' + TABLE_NAME = @P1 ORDER BY 2",
            vec![
                "A 1 NULL NO int NULL NULL 10 0",
                "B 2 NULL NO nvarchar 5 10 NULL NULL",
                "C 3 (7) YES int NULL NULL 10 0",
            ],
        ),
        (
            "SELECT CONSTRAINT_NAME, COLUMN_NAME, ORDINAL_POSITION FROM INFORMATION_SCHEMA.KEY_COLUMN_USAGE WHERE \
             TABLE_SCHEMA + '.' + TABLE_NAME = @P1 ORDER BY 1, 3",
            vec!["PK_Parents B 1", "PK_Parents A 2", "UQ_C C 1"],
        ),
        (
            "SELECT UNIQUE_CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE FROM \
             INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA + '.Parents' = @P1",
            vec!["PK_Parents CASCADE SET NULL"],
        ),
        (
            "SELECT type, COUNT(*) FROM sys.objects WHERE parent_object_id = OBJECT_ID(@P1) GROUP BY type ORDER BY 1",
            vec!["C  1", "D  1", "PK 1", "UQ 1"],
        ),
    ] {
        assert_eq!(ask(&mut wire, sql, "app.Parents").await, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_nobody_has_is_empty_and_the_rest_is_there() {
    let (_sandbox, mut wire) = prepared().await;
    for view in ["extended_properties", "triggers", "synonyms", "sequences", "computed_columns"] {
        let set = wire.batch(&format!("SELECT * FROM sys.{view}")).await.ok().sets.remove(0);
        assert!(set.rows.is_empty() && !set.columns.is_empty(), "{view}");
    }
    for (sql, p1, expected) in [
        (
            "SELECT seed_value, increment_value FROM sys.identity_columns WHERE object_id = OBJECT_ID(@P1)",
            "People",
            "1 1",
        ),
        (
            "SELECT LEN(definition) FROM sys.sql_modules WHERE object_id = OBJECT_ID(@P1)",
            "Find",
            &PROCEDURE.len().to_string(),
        ),
        (
            "SELECT COUNT(*) FROM INFORMATION_SCHEMA.PARAMETERS WHERE SPECIFIC_NAME = @P1",
            "Find",
            "3",
        ),
        (
            "SELECT ROUTINE_TYPE FROM INFORMATION_SCHEMA.ROUTINES WHERE ROUTINE_NAME = @P1",
            "Find",
            "PROCEDURE",
        ),
        ("SELECT name FROM sys.databases WHERE name = @P1", "tempdb", "tempdb"),
        ("SELECT default_schema_name FROM sys.database_principals WHERE name = @P1", "dbo", "dbo"),
        (
            "SELECT type, state FROM sys.database_permissions WHERE permission_name = @P1",
            "VIEW ANY COLUMN MASTER KEY DEFINITION",
            "VWCM G",
        ),
        ("SELECT COUNT(*) FROM tempdb.sys.tables WHERE name = @P1", "People", "0"),
    ] {
        assert_eq!(ask(&mut wire, sql, p1).await, [expected], "{sql}");
    }
    assert_eq!(wire.batch("SELECT * FROM sys.nonsense").await.numbers(), [208]);
    assert_eq!(wire.batch("SELECT * FROM other.sys.tables").await.numbers(), [208]);
}
