//! Values that their columns do not hold. Nothing is sent, and the error says what to do.

use always_encrypted::SessionError;
use tiberius::{ToSql, Uuid, numeric::Numeric};

use super::world::{ADA, Cases, World, affected, assert_usable, day, moment, money, rows};

pub async fn cases(cases: &mut Cases) {
    let far = Numeric::new_with_scale(10i128.pow(20), 0);
    let long = format!("zq7kx2w9 {}", "x".repeat(40));
    let east = chrono::FixedOffset::east_opt(3_600).unwrap();
    let offset = chrono::TimeZone::from_utc_datetime(&east, &moment());
    /// A column, a value, and what the error must say of the two types and the way out.
    type Misfit<'a> = (&'a str, &'a dyn ToSql, &'a [&'a str]);
    let (fine, at, nobody) = (Numeric::new_with_scale(123_456, 5), moment(), Uuid::nil());
    let bytes = vec![1u8, 2];
    let misfits: Vec<Misfit<'_>> = vec![
        ("Name", &long, &["nvarchar(40)", "49", "shorter"]),
        ("Email", &long, &[]),
        ("Email", &"zq7kx2w9 \u{4f60}", &["varchar(60)", "nvarchar", "code page"]),
        ("Age", &ADA, &["int", "nvarchar", "i32"]),
        ("Age", &i64::MAX, &["int", "bigint", "range"]),
        ("Age", &1.5f64, &["int", "float", "round"]),
        ("Age", &true, &[]),
        ("Salary", &far, &["decimal(18,4)", "range"]),
        ("Salary", &fine, &["decimal(18,4)", "digits", "round"]),
        ("Salary", &"10.50", &["decimal(18,4)", "nvarchar"]),
        ("Born", &at, &["date", "datetime2", "time of day"]),
        ("Born", &"zq7kx2w9 2024-01-01", &["date", "nvarchar", "NaiveDate"]),
        ("Seen", &offset, &["datetime2(3)", "datetimeoffset", "offset"]),
        ("Seen", &5i32, &["datetime2(3)", "int"]),
        ("Photo", &ADA, &["varbinary(max)", "nvarchar"]),
        ("Bio", &bytes, &["nvarchar(max)", "varbinary"]),
        ("Bio", &nobody, &[]),
    ];
    for (number, (column, value, says)) in misfits.into_iter().enumerate() {
        let body = async |world: &World| {
            let mut client = world.client().await;
            for sql in [
                format!("INSERT INTO People (Id, {column}) VALUES (@P1, @P2)"),
                format!("UPDATE p SET p.{column} = @P2 FROM People AS p WHERE p.Id = @P1"),
            ] {
                match client.execute(&sql, &[&1, value]).await {
                    // A value that fits after all: without demands on its error it may.
                    Ok(_) => assert!(says.is_empty(), "{sql} was not refused"),
                    Err(error) if says.is_empty() => {
                        assert!(world.database.connector.error_behind(&error).is_some(), "{error}");
                    }
                    Err(error) => {
                        let typed = world.typed(&error);
                        let conversion = matches!(*typed, SessionError::Conversion { .. });
                        assert!(conversion, "{typed}");
                        let text = error.to_string();
                        let place = format!("People.{column}");
                        for word in says.iter().copied().chain(["@P2", &place]) {
                            assert!(text.contains(word), "{word} is not in: {text}");
                        }
                        assert!(rows(&mut client, "SELECT Id FROM People", &[]).await.is_empty());
                    }
                }
                assert_usable(&mut client).await;
            }
        };
        cases.case(&format!("misfit {number}: for {column}"), body).await;
    }

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO People (Id, Email, Age, Salary, Born, Seen, Name) \
                   VALUES (@P1, @P2, @P3, @P4, @P5, @P6, @P7)";
        let at_noon = day(2024, 1, 2).and_hms_opt(12, 0, 0).unwrap();
        let odd: [&[&dyn ToSql]; 3] = [
            &[
                &1i64,
                &"zq7kx2w9 \u{fc}\u{20ac}",
                &7i64,
                &2i32,
                &day(2024, 1, 2),
                &at_noon,
                &"zq7kx2w9",
            ],
            &[
                &2u8,
                &"",
                &7u8,
                &2.25f64,
                &at_noon.date().and_hms_opt(0, 0, 0).unwrap(),
                &day(2024, 1, 2),
                &"",
            ],
            &[
                &3i16,
                &"zq7kx2w9",
                &7.0f64,
                &Numeric::new_with_scale(20, 1),
                &day(2024, 1, 2),
                &moment(),
                &"\u{1f600} zq7kx2w9",
            ],
        ];
        for params in odd {
            assert_eq!(affected(&mut client, sql, params).await, [1]);
        }
        let sql = "SELECT Email, Age, Salary, Born, Seen, Name FROM People ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            [
                "zq7kx2w9 \u{fc}\u{20ac} 7 2.0000 2024-01-02 2024-01-02 12:00:00 zq7kx2w9",
                " 7 2.2500 2024-01-02 2024-01-02 00:00:00 ",
                "zq7kx2w9 7 2.0000 2024-01-02 2024-03-15 13:14:15.678 \u{1f600} zq7kx2w9",
            ]
        );
        let sql = "SELECT Id FROM People WHERE Age = @P1 AND Email = @P2";
        assert_eq!(rows(&mut client, sql, &[&7i16, &"zq7kx2w9"]).await, ["3"]);
    };
    cases.case("values of other types that fit", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let sql = "INSERT INTO Visits (Cost) VALUES (@P1)";
        affected(&mut client, sql, &[&money(12_345)]).await;
        affected(&mut client, sql, &[&2.5f64]).await;
        let error = client.execute(sql, &[&Numeric::new_with_scale(123_456, 5)]).await.unwrap_err();
        assert!(error.to_string().contains("Visits.Cost"), "{error}");
        assert_eq!(rows(&mut client, "SELECT Cost FROM Visits", &[]).await, ["1.2345", "2.5"]);
    };
    cases.case("money from numbers", body).await;
}
