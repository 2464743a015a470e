//! The crate mssql-client in the matrix.

use std::{fs, path::PathBuf, process::ExitCode};

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use mssql_auth::{EncryptionError, InMemoryKeyStore};
use mssql_client::{
    Client, Config, EncryptionConfig, KeyStoreProvider, Ready, SmallDateTime, SqlValue, ToSql,
    binary, char as fixed_char, datetime, datetime2, datetimeoffset, nchar, null, numeric, time,
};
use rust_decimal::Decimal;

// Shared with programs that need more of it.
#[allow(dead_code)]
#[path = "../../rust/src/cases.rs"]
mod cases;
#[allow(dead_code)]
#[path = "../../rust/src/civil.rs"]
mod civil;

use cases::{Case, Kind, Result, cases, hex, one_line, tables, unhex};
use civil::split_type;

const USAGE: &str = "interop-mssql-client write|read|search DIR CASES NAME";

/// The crate's own key store, whose name is fixed, under another name. It wants the provider of the
/// first value of a column encryption key.
struct Renamed {
    name: &'static str,
    keys: InMemoryKeyStore,
}

#[async_trait::async_trait]
impl KeyStoreProvider for Renamed {
    fn provider_name(&self) -> &str {
        self.name
    }

    async fn decrypt_cek(
        &self,
        path: &str,
        algorithm: &str,
        envelope: &[u8],
    ) -> std::result::Result<Vec<u8>, EncryptionError> {
        self.keys.decrypt_cek(path, algorithm, envelope).await
    }
}

type Parameter = Box<dyn ToSql + Send + Sync>;

struct Program {
    dir: PathBuf,
    name: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, dir, case_file, name] = arguments.as_slice() else {
        return Err("arguments are missing".into());
    };
    let cases = cases(case_file)?;
    let program = Program { dir: dir.into(), name: name.clone() };
    match mode.as_str() {
        "write" => program.write(&cases).await,
        "read" => program.read(&cases).await,
        "search" => program.search(&cases).await,
        other => Err(format!("no such mode: {other}").into()),
    }
}

impl Program {
    async fn connect(&self) -> Result<Client<Ready>> {
        let port = fs::read_to_string(self.dir.join("port"))?;
        let path = fs::read_to_string(self.dir.join("path"))?;
        // For the negative matrix, as is INTEROP_AE.
        let user = std::env::var("INTEROP_USER").unwrap_or_else(|_| "sa".to_owned());
        let mut config = Config::from_connection_string(&format!(
            "Server=127.0.0.1,{port};Database=sandbox;User Id={user};Password=Interop-1433!;\
             TrustServerCertificate=true;Encrypt=no_tls"
        ))?;
        if std::env::var("INTEROP_AE").as_deref() != Ok("off") {
            let pem = fs::read_to_string(self.dir.join("cmk.pem"))?;
            let mut encryption = EncryptionConfig::new();
            for (name, path) in
                [("MSSQL_CERTIFICATE_STORE", path.as_str()), ("MSSQL_JAVA_KEYSTORE", "aecmk")]
            {
                let mut keys = InMemoryKeyStore::new();
                keys.add_key(path, &pem)?;
                encryption = encryption.with_provider(Renamed { name, keys });
            }
            config = config.with_column_encryption(encryption);
        }
        Ok(Client::connect(config).await?)
    }

    async fn write(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for case in cases {
            let outcome = match value(case)? {
                Err(reason) => format!("skip {reason}"),
                Ok(value) => {
                    let sql = if self.name.ends_with(".procedure") {
                        // Its own calls of procedures go unencrypted.
                        format!("EXEC dbo.put_{} @p1, @p2, @p3", case.table)
                    } else {
                        format!("INSERT INTO dbo.{} (w, n, v) VALUES (@p1, @p2, @p3)", case.table)
                    };
                    match client.execute(&sql, &[&self.name, &case.name, &*value]).await {
                        Ok(1) => "ok".to_owned(),
                        Ok(rows) => format!("FAIL {rows} rows"),
                        Err(error) => {
                            client = self.connect().await?;
                            format!("FAIL {}", one_line(error))
                        }
                    }
                }
            };
            println!("{}\t{}\t{}\t{outcome}", self.name, case.table, case.name);
        }
        Ok(())
    }

    async fn search(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for case in cases.iter().filter(|c| c.kind == Kind::Deterministic && c.value.is_some()) {
            let Ok(value) = value(case)? else { continue };
            let sql =
                format!("SELECT w FROM dbo.{} WHERE v = @p1 AND n = @p2 ORDER BY w", case.table);
            let found = match query(&mut client, &sql, &[&*value, &case.name]).await {
                Ok(rows) => rows.iter().map(|row| plain(&row[0])).collect::<Vec<_>>().join(" "),
                Err(error) => {
                    client = self.connect().await?;
                    format!("FAIL {}", one_line(error))
                }
            };
            println!("{}\t{}\t{}\t{found}", self.name, case.table, case.name);
        }
        Ok(())
    }

    async fn read(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let all = format!("SELECT w, n, v FROM dbo.{}", table.table);
            match query(&mut client, &all, &[]).await {
                Ok(rows) => rows.iter().for_each(|row| self.print(table, row)),
                Err(_) => {
                    client = self.connect().await?;
                    self.read_one_by_one(&mut client, table).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds the row whose cell cannot be read.
    async fn read_one_by_one(&self, client: &mut Client<Ready>, table: &Case) -> Result<()> {
        let names = format!("SELECT w, n FROM dbo.{}", table.table);
        for row in query(client, &names, &[]).await? {
            let (writer, name) = (plain(&row[0]), plain(&row[1]));
            let one = format!(
                "SELECT w, n, v FROM dbo.{} WHERE w = N'{writer}' AND n = N'{name}'",
                table.table
            );
            match query(client, &one, &[]).await {
                Ok(rows) => rows.iter().for_each(|row| self.print(table, row)),
                Err(error) => {
                    *client = self.connect().await?;
                    let error = one_line(error);
                    println!("{}\t{writer}\t{}\t{name}\tFAIL {error}", self.name, table.table);
                }
            }
        }
        Ok(())
    }

    fn print(&self, table: &Case, row: &[SqlValue]) {
        if let [writer, name, value] = row {
            let value = show(&table.sql_type, value);
            println!("{}\t{}\t{}\t{}\t{value}", self.name, plain(writer), table.table, plain(name));
        }
    }
}

async fn query(
    client: &mut Client<Ready>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Vec<SqlValue>>> {
    let rows = client.query(sql, parameters).await?.collect_all().await?;
    let cells = |row: &mssql_client::Row| {
        let count = row.columns().len();
        (0..count)
            .map(|at| row.get_raw(at).ok_or_else(|| "the cell cannot be decoded".into()))
            .collect::<Result<Vec<_>>>()
    };
    rows.iter().map(cells).collect()
}

fn plain(value: &SqlValue) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

/// The value of a case, or why there is none.
fn value(case: &Case) -> Result<std::result::Result<Parameter, &'static str>> {
    let (base, numbers) = split_type(&case.sql_type);
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let short = |at: usize| u8::try_from(number(at)).unwrap_or(0);
    let length = u16::try_from(number(0)).unwrap_or(0);
    let Some(text) = case.value.as_deref() else { return Ok(typed_null(base)) };
    let whole = || -> Result<NaiveDateTime> {
        Ok(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")?)
    };
    let chars = || -> Result<String> { Ok(String::from_utf8(unhex(&text[2..])?)?) };
    Ok(Ok(match base {
        "bit" => Box::new(text == "1"),
        "tinyint" => Box::new(text.parse::<u8>()?),
        "smallint" => Box::new(text.parse::<i16>()?),
        "int" => Box::new(text.parse::<i32>()?),
        "bigint" => Box::new(text.parse::<i64>()?),
        "real" => Box::new(f32::from_bits(u32::from_str_radix(text, 16)?)),
        "float" => Box::new(f64::from_bits(u64::from_str_radix(text, 16)?)),
        "decimal" | "numeric" => match Decimal::from_str_exact(text) {
            Ok(value) => Box::new(numeric(value, short(0), short(1))),
            Err(_) => return Ok(Err("decimals have 96 bits")),
        },
        "money" => Box::new(mssql_client::Money(text.parse()?)),
        "smallmoney" => Box::new(mssql_client::SmallMoney(text.parse()?)),
        "date" => Box::new(text.parse::<NaiveDate>()?),
        "time" => Box::new(time(text.parse::<NaiveTime>()?, short(0))),
        "datetime2" => Box::new(datetime2(whole()?, short(0))),
        "datetimeoffset" => {
            let value = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %:z")?;
            Box::new(datetimeoffset(value, short(0)))
        }
        "datetime" => Box::new(datetime(whole()?)),
        "smalldatetime" => {
            Box::new(SmallDateTime(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M")?))
        }
        "char" => Box::new(fixed_char(chars()?, length)),
        "nchar" => Box::new(nchar(chars()?, length)),
        "varchar" => return Ok(Err("there is no varchar")),
        "nvarchar" => Box::new(chars()?),
        "binary" => Box::new(binary(unhex(&text[2..])?, length)),
        "varbinary" => Box::new(unhex(&text[2..])?),
        "uniqueidentifier" => Box::new(uuid::Uuid::parse_str(text)?),
        other => return Err(format!("no such type: {other}").into()),
    }))
}

fn typed_null(base: &str) -> std::result::Result<Parameter, &'static str> {
    Ok(match base {
        "bit" => Box::new(null::<bool>()),
        "tinyint" => Box::new(null::<u8>()),
        "smallint" => Box::new(null::<i16>()),
        "int" => Box::new(null::<i32>()),
        "bigint" => Box::new(null::<i64>()),
        "real" => Box::new(null::<f32>()),
        "float" => Box::new(null::<f64>()),
        "date" => Box::new(null::<NaiveDate>()),
        "nvarchar" => Box::new(null::<String>()),
        "varbinary" => Box::new(null::<Vec<u8>>()),
        "uniqueidentifier" => Box::new(null::<uuid::Uuid>()),
        _ => return Err("there is no NULL of the type"),
    })
}

fn show(sql_type: &str, value: &SqlValue) -> String {
    let (base, numbers) = split_type(sql_type);
    let scale = numbers.first().copied().unwrap_or(0);
    let clock = |whole: &str, scale| match scale {
        0 => whole.to_owned(),
        _ => format!("{whole}.FRACTION"),
    };
    // chrono has no fractions of 1, 2, 4, 5, 7 digits.
    let cut = |shown: String, nanoseconds: u32, scale: usize| {
        shown.replace("FRACTION", &format!("{nanoseconds:09}")[..scale])
    };
    let when = |value: &NaiveDateTime, scale: usize| {
        let layout = clock("%Y-%m-%d %H:%M:%S", scale);
        cut(value.format(&layout).to_string(), value.and_utc().timestamp_subsec_nanos(), scale)
    };
    match value {
        SqlValue::Null => "NULL".to_owned(),
        SqlValue::Bool(v) => u8::from(*v).to_string(),
        SqlValue::TinyInt(v) => v.to_string(),
        SqlValue::SmallInt(v) => v.to_string(),
        SqlValue::Int(v) => v.to_string(),
        SqlValue::BigInt(v) => v.to_string(),
        SqlValue::Float(v) => format!("{:08x}", v.to_bits()),
        SqlValue::Double(v) => format!("{:016x}", v.to_bits()),
        SqlValue::Decimal(v) if base.ends_with("money") => format!("{v:.4}"),
        SqlValue::Decimal(v) => v.to_string(),
        SqlValue::Date(v) => v.format("%Y-%m-%d").to_string(),
        SqlValue::Time(v) => {
            let nanoseconds = chrono::Timelike::nanosecond(v);
            cut(v.format(&clock("%H:%M:%S", scale.into())).to_string(), nanoseconds, scale.into())
        }
        SqlValue::DateTime(v) if base == "smalldatetime" => v.format("%Y-%m-%d %H:%M").to_string(),
        SqlValue::DateTime(v) if base == "datetime" => when(v, 3),
        SqlValue::DateTime(v) => when(v, scale.into()),
        SqlValue::DateTimeOffset(v) => {
            let v: &DateTime<FixedOffset> = v;
            format!("{} {}", when(&v.naive_local(), scale.into()), v.format("%:z"))
        }
        SqlValue::String(v) => format!("u:{}", hex(v.as_bytes())),
        SqlValue::Binary(v) => format!("x:{}", hex(v)),
        SqlValue::Uuid(v) => v.to_string(),
        other => format!("unexpected {other:?}"),
    }
}
