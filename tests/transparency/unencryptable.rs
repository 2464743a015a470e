//! xml, sql_variant, text, ntext, image and rowversion: types that no column is encrypted in.

use std::borrow::Cow;

use tiberius::{ColumnData, Command, SqlBulkCopyOptions, ToSql, xml::XmlData};

use super::comparison::{Actor, Comparison};

fn text(value: impl Into<String>) -> ColumnData<'static> {
    ColumnData::String(Some(Cow::Owned(value.into())))
}

fn bytes(value: Vec<u8>) -> ColumnData<'static> {
    ColumnData::Binary(Some(Cow::Owned(value)))
}

fn xml(value: &str) -> ColumnData<'static> {
    ColumnData::Xml(Some(Cow::Owned(XmlData::new(value))))
}

/// A column's type, a literal of it, and what is bound for it.
type Sample = (&'static str, &'static str, Vec<ColumnData<'static>>);

fn types() -> Vec<Sample> {
    vec![
        (
            "xml",
            "N'<?xml version=\"1.0\"?><a b=\"1\">\u{4f60}</a>'",
            vec![
                xml("<a/>"),
                xml(&format!("<a>{}</a>", "\u{e4}b".repeat(100_000))),
                text("<b>text</b>"),
                ColumnData::Xml(None),
                ColumnData::String(None),
            ],
        ),
        (
            "text",
            "'caf\u{e9}'",
            vec![text("some text"), text("\u{20ac}".repeat(50_000)), text(""), text("\u{4f60}")],
        ),
        (
            "ntext",
            "N'\u{1f600}'",
            vec![text("some \u{4f60}"), text("\u{1f600}".repeat(50_000)), ColumnData::String(None)],
        ),
        (
            "image",
            "0x00FF",
            vec![
                bytes(vec![1, 2, 3]),
                bytes(vec![7; 300_000]),
                bytes(vec![]),
                ColumnData::Binary(None),
            ],
        ),
        (
            "sql_variant",
            "CAST('2024-02-03' AS date)",
            vec![
                ColumnData::I32(Some(1)),
                ColumnData::Bit(Some(true)),
                ColumnData::F64(Some(1.5)),
                text("x"),
                bytes(vec![9]),
                ColumnData::I32(None),
                text("y".repeat(4_001)),
            ],
        ),
    ]
}

pub async fn cases(comparison: &mut Comparison) {
    columns(comparison).await;
    variants(comparison).await;
    procedures(comparison).await;
    versions(comparison).await;
    loads(comparison).await;
}

async fn columns(comparison: &mut Comparison) {
    for (sql_type, literal, values) in types() {
        let body = async |actor: &mut Actor| {
            let table = "CREATE TABLE T (Id int NOT NULL PRIMARY KEY, A int NULL";
            actor.batch(&format!("{table}, V {sql_type} NULL, B nvarchar(9) NULL)")).await;
            actor.batch(&format!("INSERT INTO T VALUES (-1, 1, {literal}, N'b')")).await;
            actor.batch("INSERT INTO T (Id) VALUES (-2)").await;
            for (id, value) in (0i32..).zip(&values) {
                let params: [&dyn ToSql; 2] = [&id, value];
                actor.execute("INSERT INTO T (Id, V) VALUES (@P1, @P2)", &params).await;
                actor
                    .query("UPDATE T SET V = @P2, A = 3 OUTPUT inserted.V WHERE Id = @P1", &params)
                    .await;
                actor.query("SELECT @P2 AS p, A, V FROM T WHERE Id = @P1", &params).await;
            }
            actor.batch("SELECT * FROM T ORDER BY Id").await;
            actor.batch("SELECT V, V, V, V FROM T WHERE V IS NULL OR Id < 0 ORDER BY Id").await;
            actor.query("SELECT B, V, A FROM T WHERE Id < @P1 ORDER BY Id", &[&3]).await;
            actor.query("SELECT Id FROM T WHERE V = @P1", &[&values[0]]).await;
            actor.metadata("T", &["*"]).await;
        };
        comparison.case(&format!("{sql_type}: a column beside others"), body).await;
    }
    let body = async |actor: &mut Actor| {
        let all = "CREATE TABLE T (X xml NULL, T text NULL, N ntext NULL, I image NULL, V sql_variant NULL, R rowversion)";
        actor.batch(all).await;
        let insert = "INSERT INTO T (X, T, N, I, V) VALUES (@P1, @P2, @P3, @P4, @P5)";
        let values = [xml("<a/>"), text("t"), text("n"), bytes(vec![1]), text("v")];
        let params: Vec<&dyn ToSql> = values.iter().map(|v| v as &dyn ToSql).collect();
        actor.execute(insert, &params).await;
        actor.batch("INSERT INTO T (T) VALUES ('only this'), (NULL)").await;
        actor.query("SELECT * FROM T WHERE X IS NULL OR @P1 = 1", &[&1]).await;
        actor.batch("SELECT R, V, I, N, T, X FROM T; SELECT COUNT(*) FROM T").await;
    };
    comparison.case("all of them in one row", body).await;
    let body = async |actor: &mut Actor| {
        for sql in [
            "CREATE TABLE T (H hierarchyid)",
            "CREATE TABLE T (G geography)",
            "DECLARE @t text",
            "SELECT 1 WHERE CAST(N'<a/>' AS xml) = N'<a/>'",
        ] {
            actor.batch(sql).await;
            actor.query(sql, &[&1]).await;
        }
    };
    comparison.case("what is refused of them", body).await;
}

async fn variants(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        for value in [
            "CAST(1 AS bit)",
            "CAST(200 AS tinyint)",
            "CAST(-2 AS smallint)",
            "42",
            "CAST(-1 AS bigint)",
            "CAST(1.5 AS real)",
            "CAST(2.5 AS float)",
            "CAST(12.3456 AS decimal(9,4))",
            "CAST(-1.25 AS money)",
            "CAST(1.25 AS smallmoney)",
            "CAST('2024-02-03' AS date)",
            "CAST('10:11:12.123' AS time(3))",
            "CAST('2024-02-03T10:11:12' AS datetime)",
            "CAST('2024-02-03T10:11:12' AS smalldatetime)",
            "CAST('2024-02-03T10:11:12.1234567' AS datetime2)",
            "CAST('2024-02-03T10:11:12 +02:00' AS datetimeoffset)",
            "'caf\u{e9}'",
            "CAST('ab' AS char(4))",
            "N'\u{4f60}'",
            "CAST(N'ab' AS nchar(4))",
            "0x0102",
            "CAST(0x01 AS binary(3))",
            "CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier)",
            "NULL",
        ] {
            actor.batch(&format!("SELECT CAST({value} AS sql_variant) AS v")).await;
        }
    };
    comparison.case("sql_variant: every type in it", body).await;
}

async fn procedures(comparison: &mut Comparison) {
    for (sql_type, _, values) in types() {
        let body = async |actor: &mut Actor| {
            actor.batch(&format!("CREATE TABLE T (Id int NOT NULL, V {sql_type} NULL)")).await;
            let sql = format!(
                "CREATE PROCEDURE Keep @Id int, @V {sql_type} AS BEGIN INSERT INTO T VALUES (@Id, @V); \
                 SELECT V FROM T WHERE Id = @Id; RETURN 3; END"
            );
            actor.batch(&sql).await;
            for (id, value) in (0i32..).zip(&values) {
                let mut command = Command::new("Keep");
                command.bind_param("@Id", id);
                command.bind_param("@V", value.clone());
                actor.command(command).await;
                actor.query("EXEC Keep @P1, @P2", &[&id, value]).await;
            }
        };
        comparison.case(&format!("{sql_type}: a procedure's parameter"), body).await;
    }
    let body = async |actor: &mut Actor| {
        actor
            .batch("CREATE PROCEDURE Outs @X xml OUTPUT, @R varbinary(8) OUTPUT AS SET @X = CAST(N'<o/>' AS xml); SET @R = 0x0102")
            .await;
        let mut command = Command::new("Outs");
        command.bind_out_param("@X", xml("<i/>"));
        command.bind_out_param("@R", vec![0u8]);
        actor.command(command).await;
    };
    comparison.case("xml: an output", body).await;
}

async fn versions(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        actor.batch("CREATE TABLE T (Id int NOT NULL, A int NULL, R rowversion)").await;
        actor.query("INSERT INTO T (Id) OUTPUT inserted.R VALUES (@P1), (@P2)", &[&1, &2]).await;
        actor
            .query("UPDATE T SET A = @P1 OUTPUT inserted.Id, inserted.R WHERE Id = 2", &[&5])
            .await;
        let read = actor.client.query("SELECT R FROM T WHERE Id = @P1", &[&1]).await.unwrap();
        let row = read.into_row().await.unwrap().unwrap();
        let version: Vec<u8> = row.get::<&[u8], _>(0).unwrap().to_vec();
        for _ in 0..2 {
            let sql = "UPDATE T SET A = 9 WHERE Id = @P1 AND R = @P2";
            actor.execute(sql, &[&1, &version]).await;
        }
        actor.execute("UPDATE T SET R = @P1", &[&version]).await;
        actor.execute("INSERT INTO T (Id, R) VALUES (3, @P1)", &[&version]).await;
        actor.query("SELECT Id, R, A FROM T WHERE R > @P1 ORDER BY R", &[&version]).await;
        actor.metadata("T", &["*"]).await;
    };
    comparison.case("rowversion: read, compared, and changed with its row", body).await;
}

async fn loads(comparison: &mut Comparison) {
    for (sql_type, _, values) in types() {
        let body = async |actor: &mut Actor| {
            actor.batch(&format!("CREATE TABLE T (Id int NOT NULL, V {sql_type} NULL)")).await;
            let rows = values.iter().map(|value| vec![ColumnData::I32(Some(1)), value.clone()]);
            let options = SqlBulkCopyOptions::EMPTY;
            actor.bulk("T", &["*"], options, &[], rows.collect()).await;
        };
        comparison.case(&format!("{sql_type}: a bulk load"), body).await;
    }
}
