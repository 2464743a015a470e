//! Every type as a column, as a parameter and in a result, with NULL and the ends of its range.

use std::borrow::Cow;

use tiberius::{
    ColumnData, ToSql, Uuid,
    numeric::Numeric,
    time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time},
};

use super::comparison::{Actor, Comparison};

type Values = Vec<ColumnData<'static>>;

fn text(value: impl Into<String>) -> ColumnData<'static> {
    ColumnData::String(Some(Cow::Owned(value.into())))
}

fn bytes(value: Vec<u8>) -> ColumnData<'static> {
    ColumnData::Binary(Some(Cow::Owned(value)))
}

fn numeric(value: i128, scale: u8) -> ColumnData<'static> {
    ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)))
}

/// 9999-12-31 in days since 0001-01-01.
const LAST_DAY: u32 = 3_652_058;
const LAST_TICK: u64 = 24 * 3_600 * 10_000_000 - 1;

fn datetime2(days: u32, ticks: u64, scale: u8) -> DateTime2 {
    DateTime2::new(Date::new(days), Time::new(ticks, scale))
}

/// A column's type and what is bound for it.
fn types() -> Vec<(&'static str, Values)> {
    let offset = |minutes| DateTimeOffset::new(datetime2(738_000, 123_456_789, 7), minutes);
    let megabyte = "m\u{e4}".repeat(1 << 18);
    vec![
        (
            "bit",
            vec![ColumnData::Bit(Some(true)), ColumnData::Bit(Some(false)), ColumnData::Bit(None)],
        ),
        ("tinyint", vec![ColumnData::U8(Some(0)), ColumnData::U8(Some(255)), ColumnData::U8(None)]),
        (
            "smallint",
            vec![
                ColumnData::I16(Some(i16::MIN)),
                ColumnData::I16(Some(i16::MAX)),
                ColumnData::I16(None),
            ],
        ),
        (
            "int",
            vec![
                ColumnData::I32(Some(i32::MIN)),
                ColumnData::I32(Some(i32::MAX)),
                ColumnData::I32(None),
            ],
        ),
        (
            "bigint",
            vec![
                ColumnData::I64(Some(i64::MIN)),
                ColumnData::I64(Some(i64::MAX)),
                ColumnData::I64(None),
            ],
        ),
        (
            "real",
            vec![
                ColumnData::F32(Some(f32::MIN)),
                ColumnData::F32(Some(-0.0)),
                ColumnData::F32(Some(1.5e-30)),
                ColumnData::F32(None),
            ],
        ),
        (
            "float",
            vec![
                ColumnData::F64(Some(f64::MAX)),
                ColumnData::F64(Some(5e-324)),
                ColumnData::F64(None),
            ],
        ),
        (
            "decimal(38,0)",
            vec![
                numeric(10i128.pow(38) - 1, 0),
                numeric(1 - 10i128.pow(38), 0),
                ColumnData::Numeric(None),
            ],
        ),
        (
            "decimal(9,4)",
            vec![numeric(123_456_789, 4), numeric(-1, 4), numeric(0, 4), numeric(15, 1)],
        ),
        (
            "numeric(18,2)",
            vec![
                numeric(-999_999, 2),
                ColumnData::I32(Some(7)),
                ColumnData::F64(Some(2.25)),
                text("3.75"),
            ],
        ),
        (
            "money",
            vec![
                ColumnData::F64(Some(-1.25)),
                numeric(9_223_372_036_854_775_807, 4),
                ColumnData::I32(Some(5)),
                ColumnData::F64(None),
            ],
        ),
        (
            "smallmoney",
            vec![
                ColumnData::F64(Some(214_748.25)),
                ColumnData::F32(Some(0.5)),
                ColumnData::F32(None),
            ],
        ),
        (
            "date",
            vec![
                ColumnData::Date(Some(Date::new(0))),
                ColumnData::Date(Some(Date::new(LAST_DAY))),
                ColumnData::Date(None),
                text("2024-02-29"),
            ],
        ),
        (
            "time",
            vec![
                ColumnData::Time(Some(Time::new(0, 7))),
                ColumnData::Time(Some(Time::new(LAST_TICK, 7))),
                ColumnData::Time(None),
            ],
        ),
        (
            "time(0)",
            vec![
                ColumnData::Time(Some(Time::new(86_399, 0))),
                ColumnData::Time(Some(Time::new(123_456_789, 7))),
            ],
        ),
        (
            "datetime2",
            vec![
                ColumnData::DateTime2(Some(datetime2(0, 0, 7))),
                ColumnData::DateTime2(Some(datetime2(LAST_DAY, LAST_TICK, 7))),
                ColumnData::DateTime2(None),
            ],
        ),
        (
            "datetime2(3)",
            vec![
                ColumnData::DateTime2(Some(datetime2(738_000, 86_399_999, 3))),
                ColumnData::DateTime2(Some(datetime2(738_000, 123_456_789, 7))),
            ],
        ),
        (
            "datetimeoffset",
            vec![
                ColumnData::DateTimeOffset(Some(offset(0))),
                ColumnData::DateTimeOffset(Some(offset(-840))),
                ColumnData::DateTimeOffset(Some(offset(840))),
                ColumnData::DateTimeOffset(None),
            ],
        ),
        (
            "datetime",
            vec![
                ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
                ColumnData::DateTime(Some(DateTime::new(45_000, 25_919_999))),
                ColumnData::DateTime(None),
                ColumnData::DateTime2(Some(datetime2(738_000, 1_234_567, 7))),
            ],
        ),
        (
            "smalldatetime",
            vec![
                ColumnData::SmallDateTime(Some(SmallDateTime::new(0, 0))),
                ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1_439))),
                ColumnData::SmallDateTime(None),
            ],
        ),
        (
            "nvarchar(10)",
            vec![
                text(""),
                text("gr\u{fc}n "),
                text("\u{1f600}\u{4f60}"),
                text("1234567890"),
                ColumnData::String(None),
            ],
        ),
        (
            "nvarchar(4000)",
            vec![
                text("x".repeat(4_000)),
                text("\u{4f60}".repeat(1_333)),
                text("\u{4f60}".repeat(4_000)),
            ],
        ),
        (
            "nvarchar(max)",
            vec![
                text("x".repeat(4_001)),
                text("\u{1f600}".repeat(3_000)),
                text(megabyte.clone()),
                text(""),
                ColumnData::String(None),
            ],
        ),
        (
            "varchar(10)",
            vec![text("\u{fc}\u{20ac}"), text("a "), text("\u{4f60}"), ColumnData::String(None)],
        ),
        ("varchar(max)", vec![text(megabyte), text("")]),
        ("char(5)", vec![text("ab"), text("abcde"), text("")]),
        ("nchar(5)", vec![text("ab"), text("\u{4f60}")]),
        (
            "varbinary(10)",
            vec![bytes(vec![]), bytes(vec![0; 10]), bytes(vec![255]), ColumnData::Binary(None)],
        ),
        ("varbinary(8000)", vec![bytes(vec![7; 8_000])]),
        (
            "varbinary(max)",
            vec![bytes(vec![9; 8_001]), bytes(vec![1; 1 << 20]), ColumnData::Binary(None)],
        ),
        ("binary(4)", vec![bytes(vec![1, 2]), bytes(vec![1, 2, 3, 4])]),
        (
            "uniqueidentifier",
            vec![
                ColumnData::Guid(Some(Uuid::nil())),
                ColumnData::Guid(Some(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10))),
                ColumnData::Guid(None),
            ],
        ),
        ("xml", vec![text("<a/>")]),
        ("sql_variant", vec![ColumnData::I32(Some(1)), text("x")]),
        ("text", vec![text("some text")]),
        ("ntext", vec![text("some \u{4f60} text")]),
        ("image", vec![bytes(vec![1, 2, 3])]),
        ("rowversion", vec![bytes(vec![0; 8])]),
        ("hierarchyid", vec![bytes(vec![0x58])]),
        ("sysname", vec![text("name")]),
    ]
}

pub async fn cases(comparison: &mut Comparison) {
    for (sql_type, values) in types() {
        let body = async |actor: &mut Actor| {
            actor
                .batch(&format!("CREATE TABLE T (Id int NOT NULL PRIMARY KEY, V {sql_type} NULL)"))
                .await;
            for (id, value) in values.iter().enumerate() {
                let id = id as i32;
                actor.execute("INSERT INTO T (Id, V) VALUES (@P1, @P2)", &[&id, value]).await;
                actor.query("SELECT Id, V, @P1 AS P FROM T WHERE V = @P1", &[value]).await;
                actor.execute("UPDATE T SET V = @P2 WHERE Id = @P1", &[&id, value]).await;
            }
            actor.query("SELECT V FROM T ORDER BY Id", &[]).await;
            actor.metadata("T", &["*"]).await;
        };
        comparison.case(&format!("{sql_type} as column and parameter"), body).await;
    }
    let body = async |actor: &mut Actor| {
        for (_, values) in types() {
            for value in &values {
                actor.query("SELECT @P1 AS p", &[value]).await;
            }
        }
    };
    comparison.case("every parameter comes back without a column", body).await;
    let body = async |actor: &mut Actor| {
        let all: Values = types().into_iter().flat_map(|(_, values)| values).collect();
        let params: Vec<&dyn ToSql> = all.iter().map(|v| v as &dyn ToSql).collect();
        let names: Vec<String> = (1..=params.len()).map(|n| format!("@P{n} AS c{n}")).collect();
        actor.query(&format!("SELECT {}", names.join(", ")), &params).await;
    };
    comparison.case("all of them in one request", body).await;
    let body = async |actor: &mut Actor| {
        let literals = "SELECT CAST(NULL AS bit), CAST(1 AS tinyint), CAST(-1.5 AS real), CAST(2 AS money), \
             CAST(3 AS smallmoney), CAST('2024-01-02' AS date), CAST('10:11:12' AS time(3)), \
             CAST('2024-01-02 10:11' AS smalldatetime), CAST('2024-01-02T10:11:12' AS datetime), \
             CAST(N'x' AS nchar(3)), CAST(0x0102 AS binary(4)), CAST(1 AS decimal(38,10))";
        actor.batch(literals).await;
        actor.query(literals, &[]).await;
    };
    comparison.case("types of expressions", body).await;
}
