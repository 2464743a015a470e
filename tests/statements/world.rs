//! The database of a case, and the count of cases.

use std::{io::Write as _, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use always_encrypted::{
    Client, Connector, SessionError, crypto::CmkPrivateKey, keystore::KeyStores,
};
use always_encrypted_sandbox::Sandbox;
use chrono::{NaiveDate, NaiveDateTime};
use futures_util::FutureExt as _;
use tiberius::{ColumnData, Row, ToSql, error::Error, numeric::Numeric};

use super::{
    database::{self, Database, encrypted, run},
    gate::{Moods, MoodyStore},
};

/// In every string that is encrypted. It must never be on the wire.
pub const SECRET: &str = "zq7kx2w9";
pub const ADA: &str = "zq7kx2w9 Ada";
pub const BEA: &str = "zq7kx2w9 Bea";
pub const CAI: &str = "zq7kx2w9 Cai";

/// No case takes as long, so one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tables. `Cek` encrypts all of it but the `Salary`, which `Pay` does.
fn schema() -> String {
    let deterministic = encrypted("DETERMINISTIC");
    let randomized = encrypted("RANDOMIZED");
    let pay = randomized.replace("= Cek,", "= Pay,");
    let bin2 = "COLLATE Latin1_General_BIN2";
    format!(
        "CREATE TABLE People (Id int NOT NULL PRIMARY KEY, \
         Name nvarchar(40) {bin2} {deterministic} NULL, \
         Email varchar(60) {bin2} {deterministic} NULL, Age int {deterministic} NULL, \
         Salary decimal(18,4) {pay} NULL, Born date {randomized} NULL, \
         Seen datetime2(3) {randomized} NULL, Bio nvarchar(max) {randomized} NULL, \
         Photo varbinary(max) {randomized} NULL, Plain nvarchar(20) NULL);
         CREATE TABLE Visits (Id int IDENTITY(1,1) NOT NULL PRIMARY KEY, \
         Person nvarchar(40) {bin2} {deterministic} NULL, Place varchar(30) {randomized} NULL, \
         Cost money {randomized} NULL, Day int NULL)"
    )
}

pub const INSERT_NAME: &str = "INSERT INTO People (Id, Name) VALUES (@P1, @P2)";

pub struct World {
    pub database: Database,
    /// The envelope of the CEK that `Salary` is encrypted with.
    pub pay: Vec<u8>,
}

impl World {
    async fn start(cmk: &Arc<CmkPrivateKey>) -> Self {
        let builder = Sandbox::builder().record(true);
        let database = Database::start_with_key(builder, "", cmk.clone()).await;
        let mut dba = database.dba().await;
        let pay = database.create_cek(&mut dba, "Pay").await;
        run(&mut dba, &schema()).await;
        Self { database, pay }
    }

    /// A connection that encrypts.
    pub async fn client(&self) -> Client {
        self.database.connect().await
    }

    /// One without keys and without Always Encrypted.
    pub async fn dba(&self) -> Client {
        self.database.dba().await
    }

    pub fn connection_string(&self, port: u16, settings: &str) -> String {
        let sandbox = &self.database.sandbox;
        let own = format!(",{};", sandbox.port());
        let text = sandbox.connection_string().replace(&own, &format!(",{port};"));
        format!("{text};{settings}")
    }

    /// A connector with nothing in its caches.
    pub fn connector(&self, settings: &str) -> Connector {
        let keys = KeyStores::builder().provider(database::store(&self.database.cmk));
        let text = self.connection_string(self.database.sandbox.port(), settings);
        Connector::from_ado_string(&text, keys.build().unwrap()).unwrap()
    }

    /// The same for that port, with a key store whose mood can be set.
    pub fn moody_connector(&self, port: u16, settings: &str) -> (Connector, Moods) {
        let (store, moods) = MoodyStore::new(database::store(&self.database.cmk));
        let keys = KeyStores::builder().provider(store).build().unwrap();
        let settings = format!("Column Encryption Setting=Enabled;{settings}");
        let text = self.connection_string(port, &settings);
        (Connector::from_ado_string(&text, keys).unwrap(), moods)
    }

    /// A connection that encrypts, and three people.
    pub async fn populated(&self) -> Client {
        let mut client = self.client().await;
        let sql = "INSERT INTO People (Id, Name, Email, Age, Salary, Born, Seen, Bio, Photo, Plain) \
                   VALUES (@P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8, @P9, @P10)";
        let (born, seen) = (day(1815, 12, 10), moment());
        let ada: [&dyn ToSql; 10] = [
            &1,
            &ADA,
            &"ada@zq7kx2w9.example",
            &36,
            &money(105_000),
            &born,
            &seen,
            &"zq7kx2w9 wrote notes",
            &vec![1u8, 2],
            &"first",
        ];
        let nothing: Option<&str> = None;
        let bea: [&dyn ToSql; 10] = [
            &2,
            &BEA,
            &nothing,
            &None::<i32>,
            &None::<Numeric>,
            &None::<NaiveDate>,
            &None::<NaiveDateTime>,
            &nothing,
            &None::<Vec<u8>>,
            &nothing,
        ];
        let cai: [&dyn ToSql; 10] = [
            &3,
            &CAI,
            &"cai@zq7kx2w9.example",
            &36,
            &money(-1),
            &born,
            &seen,
            &"",
            &Vec::<u8>::new(),
            &"third",
        ];
        for person in [ada, bea, cai] {
            assert_eq!(affected(&mut client, sql, &person).await, [1]);
        }
        client
    }

    /// The names by id, read by a connection of their own.
    pub async fn names(&self) -> Vec<String> {
        let sql = "SELECT Id, Name FROM People ORDER BY Id";
        rows(&mut self.client().await, sql, &[]).await
    }

    pub fn typed(&self, error: &Error) -> Arc<SessionError> {
        let typed = self.database.connector.error_behind(error);
        typed.unwrap_or_else(|| panic!("not ours: {error}"))
    }
}

pub fn day(y: i32, m: u32, d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(y, m, d).unwrap()
}

/// 2024-03-15 13:14:15.678
pub fn moment() -> NaiveDateTime {
    day(2024, 3, 15).and_hms_milli_opt(13, 14, 15, 678).unwrap()
}

/// A number of ten-thousandths.
pub fn money(value: i128) -> Numeric {
    Numeric::new_with_scale(value, 4)
}

/// The rows of all results, as text.
pub async fn rows(client: &mut Client, sql: &str, params: &[&dyn ToSql]) -> Vec<String> {
    try_rows(client, sql, params).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

pub async fn try_rows(
    client: &mut Client,
    sql: &str,
    params: &[&dyn ToSql],
) -> Result<Vec<String>, Error> {
    let results = client.query(sql, params).await?.into_results().await?;
    Ok(results.into_iter().flatten().map(shown).collect())
}

/// How many rows each statement has changed.
pub async fn affected(client: &mut Client, sql: &str, params: &[&dyn ToSql]) -> Vec<u64> {
    let done = client.execute(sql, params).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected().to_vec()
}

/// The error of a statement that fails. The connection goes on.
pub async fn refused(client: &mut Client, sql: &str, params: &[&dyn ToSql]) -> Error {
    let error = match try_rows(client, sql, params).await {
        Ok(rows) => panic!("{sql} was not refused: {rows:?}"),
        Err(error) => error,
    };
    assert_usable(client).await;
    error
}

pub async fn assert_usable(client: &mut Client) {
    let row = tokio::time::timeout(Duration::from_secs(20), rows(client, "SELECT 7, @P1", &[&8]));
    assert_eq!(row.await.expect("the next query hangs"), ["7 8"]);
}

/// `1 zq7kx2w9 Ada NULL`
pub fn shown(row: Row) -> String {
    let cells: Vec<String> = row.into_iter().map(shown_cell).collect();
    cells.join(" ")
}

pub fn shown_cell(cell: ColumnData<'static>) -> String {
    use tiberius::FromSqlOwned as _;
    let text = match cell {
        ColumnData::I32(value) => value.map(|v| v.to_string()),
        ColumnData::I64(value) => value.map(|v| v.to_string()),
        ColumnData::F64(value) => value.map(|v| v.to_string()),
        ColumnData::String(value) => value.map(String::from),
        ColumnData::Binary(value) => value.map(|v| format!("{v:02X?}")),
        ColumnData::Numeric(value) => value.map(|v| v.to_string()),
        date @ ColumnData::Date(_) => {
            NaiveDate::from_sql_owned(date).unwrap().map(|v| v.to_string())
        }
        time @ ColumnData::DateTime2(_) => {
            NaiveDateTime::from_sql_owned(time).unwrap().map(|v| v.to_string())
        }
        other => Some(format!("{other:?}")),
    };
    text.unwrap_or_else(|| "NULL".to_owned())
}

/// The cases that have run.
pub struct Cases {
    cmk: Arc<CmkPrivateKey>,
    count: usize,
    failures: Vec<(String, String)>,
}

impl Cases {
    pub fn new() -> Self {
        let cmk = Arc::new(CmkPrivateKey::generate(2048).unwrap());
        Self { cmk, count: 0, failures: Vec::new() }
    }

    /// Runs a case, which panics if something is not as it should be.
    pub async fn case(&mut self, name: &str, body: impl AsyncFn(&World)) {
        self.count += 1;
        let whole = async {
            let world = World::start(&self.cmk).await;
            body(&world).await;
            world.database.assert_never_on_the_wire(SECRET);
        };
        let outcome = AssertUnwindSafe(tokio::time::timeout(PATIENCE, whole)).catch_unwind().await;
        let failure = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(_)) => "it hangs".to_owned(),
            Err(panic) => match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => {
                    panic.downcast::<&str>().map_or_else(|_| "?".into(), |t| t.to_string())
                }
            },
        };
        self.failures.push((name.to_owned(), failure));
    }

    pub fn failed(&self) -> Vec<&str> {
        self.failures.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Says how many passed, past the test's captured output, and fails if any did not.
    pub fn conclude(self) {
        let passed = self.count - self.failures.len();
        // Not println, whose output is captured.
        let mut out = std::io::stdout();
        writeln!(out, "{passed} of {} statement cases pass", self.count).unwrap();
        let report: Vec<String> =
            self.failures.iter().map(|(name, how)| format!("{name}\n  {how}")).collect();
        assert!(report.is_empty(), "{}", report.join("\n\n"));
    }
}
