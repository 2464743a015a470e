//! Values of all types.

use super::*;

/// Writes values to a deterministic and a randomized column of a type and reads them back, also by
/// equality.
async fn round_trip<T>(database: &Database, sql_type: &str, values: &[T])
where
    T: FromSqlOwned + PartialEq + std::fmt::Debug + Clone + ToSql,
    Option<T>: ToSql,
    for<'a> T: IntoSql<'a>,
{
    let table = format!("T{}", sql_type.replace(['(', ')', ','], "_"));
    let collation = if sql_type.contains("char") { "COLLATE Latin1_General_BIN2" } else { "" };
    let create = format!(
        "CREATE TABLE {table} (Id int NOT NULL PRIMARY KEY, D {sql_type} {collation} {}, \
         R {sql_type} {})",
        encrypted("DETERMINISTIC"),
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &create).await;
    let mut client = database.connect().await;
    let insert = format!("INSERT INTO {table} (Id, D, R) VALUES (@P1, @P2, @P3)");
    for (id, value) in values.iter().enumerate() {
        let id = id as i32;
        let written = client.execute(insert.as_str(), &[&id, value, value]).await;
        written.unwrap_or_else(|e| panic!("{sql_type} {value:?}: {e}"));
    }
    let null: Option<T> = None;
    client.execute(insert.as_str(), &[&-1, &null, &null]).await.unwrap();

    let select = format!("SELECT D, R FROM {table} WHERE Id >= 0 ORDER BY Id");
    let rows = client.query(select, &[]).await.unwrap().into_first_result().await.unwrap();
    assert_eq!(rows.len(), values.len());
    for (row, value) in rows.into_iter().zip(values) {
        let mut cells = row.into_iter();
        for column in ["D", "R"] {
            let read = T::from_sql_owned(cells.next().unwrap()).unwrap();
            assert_eq!(read.as_ref(), Some(value), "{sql_type} {column}");
        }
    }
    let by_value = format!("SELECT COUNT(*) FROM {table} WHERE D = @P1");
    for value in values {
        let row = client.query(by_value.as_str(), &[value]).await.unwrap();
        let found = row.into_row().await.unwrap().unwrap().get::<i32, _>(0).unwrap();
        let equal = values.iter().filter(|v| *v == value).count();
        assert_eq!(found as usize, equal, "{sql_type}: {value:?} by equality");
    }
    let nulls = format!("SELECT D, R FROM {table} WHERE Id = -1");
    let row = client.query(nulls, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    for cell in row {
        assert_eq!(T::from_sql_owned(cell).unwrap(), None, "{sql_type} NULL");
    }
}

#[tokio::test]
async fn every_type_of_the_main_path_comes_back_as_it_was_bound() {
    let database = Database::start().await;
    round_trip(&database, "bit", &[true, false]).await;
    round_trip(&database, "tinyint", &[0u8, 1, 255]).await;
    round_trip(&database, "smallint", &[0i16, i16::MIN, i16::MAX]).await;
    round_trip(&database, "int", &[0i32, -1, i32::MIN, i32::MAX]).await;
    round_trip(&database, "bigint", &[0i64, 42, i64::MIN, i64::MAX]).await;
    let texts = ["", "a", "a ", "A", "gr\u{fc}\u{df}e", "\u{1F600}\u{4F60}"].map(String::from);
    round_trip(&database, "nvarchar(36)", &texts).await;
    let long = [3_999, 4_000, 4_001, 100_000].map(|n| "\u{e4}".repeat(n));
    round_trip(&database, "nvarchar(max)", &long).await;
    round_trip(&database, "nvarchar(4000)", &["\u{4F60}".repeat(4_000)]).await;
    round_trip(&database, "varbinary(40)", &[vec![], vec![0], vec![0xFF; 40]]).await;
    round_trip(&database, "varbinary(8000)", &[vec![7u8; 8_000]]).await;
    round_trip(&database, "varbinary(max)", &[vec![], vec![9u8; 8_001], vec![1; 300_000]]).await;
    round_trip(&database, "uniqueidentifier", &[Uuid::nil(), Uuid::max()]).await;
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap();
    let naive = [
        day(1, 1, 1).and_hms_opt(0, 0, 0).unwrap(),
        day(2024, 3, 15).and_hms_nano_opt(13, 14, 15, 123_456_700).unwrap(),
        day(9999, 12, 31).and_hms_nano_opt(23, 59, 59, 999_999_900).unwrap(),
    ];
    round_trip::<NaiveDateTime>(&database, "datetime2", &naive).await;
    // DateTime<Utc> would be declared datetime2 by tiberius; only one with an offset is not.
    let hours = FixedOffset::east_opt(5 * 3600 + 1800).unwrap();
    let at: Vec<DateTime<FixedOffset>> = naive[1..2]
        .iter()
        .flat_map(|n| [Utc.from_utc_datetime(n).fixed_offset(), hours.from_utc_datetime(n)])
        .collect();
    round_trip(&database, "datetimeoffset", &at[..1]).await;
    round_trip(&database, "datetimeoffset(7)", &at[1..]).await;
    round_trip(&database, "real", &[0f32, -3.5, f32::MAX]).await;
    round_trip(&database, "float", &[0f64, 3.5, f64::MIN]).await;
    round_trip(&database, "date", &[day(1, 1, 1), day(9999, 12, 31)]).await;
}

#[tokio::test]
async fn a_value_that_its_column_does_not_hold_is_refused_before_anything_is_sent() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let long = "x".repeat(37);
    let error = client.execute(INSERT, &[&1, &long, &"y"]).await.unwrap_err();
    let behind = database.connector.error_behind(&error).unwrap();
    assert!(matches!(*behind, SessionError::Conversion { .. }), "{behind}");
    for part in ["@P2", "column Messages.", "nvarchar(36)", "make the column longer"] {
        assert!(behind.to_string().contains(part), "{behind}");
    }
    client.execute(INSERT, &[&1, &"x", &"y"]).await.unwrap();
}
