//! Microsoft's mssql-tds in the matrix.

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use mssql_tds::{
    connection::{
        bulk_copy::{BulkCopy, BulkLoadRow},
        client_context::{ClientContext, ColumnEncryptionSetting},
        tds_client::{PreparedStatement, ResultSet, TdsClient},
    },
    connection_provider::tds_connection_provider::TdsConnectionProvider,
    core::{EncryptionOptions, EncryptionSetting, TdsResult},
    datatypes::{
        column_values::{
            ColumnValues, SqlDate, SqlDateTime, SqlDateTime2, SqlDateTimeOffset, SqlMoney,
            SqlSmallDateTime, SqlSmallMoney, SqlTime,
        },
        decoder::DecimalParts,
        sql_string::{EncodingType, SqlString},
        sqltypes::SqlType,
    },
    message::{
        bulk_load::StreamingBulkLoadWriter,
        parameters::rpc_parameters::{RpcParameter, StatusFlags},
    },
    security::RsaKeyStoreProvider,
};

// Shared with programs that need more of it.
#[allow(dead_code)]
#[path = "../../rust/src/cases.rs"]
mod cases;
#[path = "../../rust/src/civil.rs"]
mod civil;

use cases::{Case, Kind, Result, hex, one_line, tables, unhex};
use civil::{DAYS_TO_1900, clock, days, show_clock, show_date, split_type};

const USAGE: &str = "interop-mssql-tds write|read|search DIR CASES NAME";
/// The unit of `SqlTime::time_nanoseconds`, whatever its name says, is 100 ns.
const SCALE_OF_SQL_TIME: u8 = 7;

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

struct Program {
    dir: PathBuf,
    name: String,
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, dir, case_file, name] = arguments.as_slice() else {
        return Err("arguments are missing".into());
    };
    let cases = cases::cases(case_file)?;
    let program = Program { dir: dir.into(), name: name.clone() };
    match mode.as_str() {
        "write" => program.write(&cases).await,
        "read" => program.read(&cases).await,
        "search" => program.search(&cases).await,
        other => Err(format!("no such mode: {other}").into()),
    }
}

impl Program {
    async fn connect(&self) -> Result<TdsClient> {
        let port = fs::read_to_string(self.dir.join("port"))?;
        let path = fs::read_to_string(self.dir.join("path"))?;
        let mut keys = RsaKeyStoreProvider::new();
        keys.add_key_from_pem(&path, &fs::read(self.dir.join("cmk.pem"))?)?;
        let mut context = ClientContext::default();
        // For the negative matrix.
        context.user_name = std::env::var("INTEROP_USER").unwrap_or_else(|_| "sa".into());
        context.password = "Interop-1433!".into();
        context.database = "sandbox".into();
        context.encryption_options = EncryptionOptions {
            mode: EncryptionSetting::PreferOff,
            trust_server_certificate: true,
            host_name_in_cert: None,
            server_certificate: None,
        };
        // For the negative matrix.
        let off = std::env::var("INTEROP_AE").is_ok_and(|setting| setting == "off");
        if !off {
            context.column_encryption_setting = ColumnEncryptionSetting::Enabled;
        }
        if let Ok(path) = std::env::var("INTEROP_TRUST") {
            context.register_trusted_master_key_paths("127.0.0.1", vec![path]);
        }
        context.register_column_encryption_key_store_provider(
            "MSSQL_CERTIFICATE_STORE",
            Arc::new(keys),
        );
        let server = format!("tcp:127.0.0.1,{port}");
        Ok(TdsConnectionProvider {}.create_client(context, &server, None).await?)
    }

    /// A bulk load for each table, or for each case where that fails.
    async fn load(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let cases: Vec<&Case> = cases.iter().filter(|c| c.table == table.table).collect();
            let whole = self.send(&mut client, &cases).await;
            if whole.is_err() {
                client = self.connect().await?;
            }
            for case in &cases {
                let outcome = match &whole {
                    Ok(()) => Ok(()),
                    Err(_) => self.send(&mut client, &[case]).await,
                };
                let outcome = match outcome {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => {
                        client = self.connect().await?;
                        format!("FAIL {}", one_line(error))
                    }
                };
                println!("{}\t{}\t{}\t{outcome}", self.name, case.table, case.name);
            }
        }
        Ok(())
    }

    async fn send(&self, client: &mut TdsClient, cases: &[&Case]) -> Result<()> {
        let text = |text: &str| ColumnValues::String(SqlString::from_utf8_string(text.to_owned()));
        let rows = cases
            .iter()
            .map(|case| Ok(Row([text(&self.name), text(&case.name), cell(value(case)?)])))
            .collect::<Result<Vec<Row>>>()?;
        let table = format!("dbo.{}", cases[0].table);
        let sent = BulkCopy::new(client, table).write_to_server_zerocopy(rows).await?;
        match sent.rows_affected {
            count if count == cases.len() as u64 => Ok(()),
            count => Err(format!("{count} rows").into()),
        }
    }

    async fn write(&self, cases: &[Case]) -> Result<()> {
        if self.name.ends_with(".bulk") {
            return self.load(cases).await;
        }
        let prepared = self.name.ends_with(".prepared");
        let mut client = self.connect().await?;
        let mut statement = PreparedStatement::new("");
        for case in cases {
            let sql = format!("INSERT INTO dbo.{} (w, n, v) VALUES (@w, @n, @v)", case.table);
            if statement.sql() != sql {
                statement = PreparedStatement::new(&sql);
            }
            let parameters = vec![
                parameter("@w", name(&self.name)),
                parameter("@n", name(&case.name)),
                parameter("@v", value(case)?),
            ];
            let outcome = if prepared {
                execute_prepared(&mut client, &mut statement, parameters).await
            } else if self.by_procedure() {
                call(&mut client, format!("dbo.put_{}", case.table), parameters).await.map(drop)
            } else {
                execute(&mut client, sql, parameters).await.map(drop)
            };
            let outcome = match outcome {
                Ok(()) => "ok".to_owned(),
                Err(error) => {
                    client = self.connect().await?;
                    statement = PreparedStatement::new("");
                    format!("FAIL {}", one_line(error))
                }
            };
            println!("{}\t{}\t{}\t{outcome}", self.name, case.table, case.name);
        }
        Ok(())
    }

    async fn search(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        let sought = cases.iter().filter(|c| c.kind == Kind::Deterministic && c.value.is_some());
        for case in sought {
            let sql =
                format!("SELECT w FROM dbo.{} WHERE v = @v AND n = @n ORDER BY w", case.table);
            let parameters = vec![parameter("@v", value(case)?), parameter("@n", name(&case.name))];
            let found = match execute(&mut client, sql, parameters).await {
                Ok(rows) => {
                    let writers: Vec<String> =
                        rows.iter().map(|row| row.first().map_or(String::new(), plain)).collect();
                    writers.join(" ")
                }
                Err(error) => {
                    client = self.connect().await?;
                    format!("FAIL {}", one_line(error))
                }
            };
            println!("{}\t{}\t{}\t{found}", self.name, case.table, case.name);
        }
        Ok(())
    }

    fn by_procedure(&self) -> bool {
        self.name.ends_with(".procedure")
    }

    /// What procedures wrote, by an output parameter.
    async fn read_outputs(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let names = format!("SELECT w, n FROM dbo.{} WHERE w LIKE N'%.procedure'", table.table);
            for row in execute(&mut client, names, Vec::new()).await? {
                let (writer, case) = (plain(&row[0]), plain(&row[1]));
                let shown = match self.get(&mut client, table, &writer, &case).await {
                    Ok(value) => show(&table.sql_type, &value),
                    Err(error) => {
                        client = self.connect().await?;
                        format!("FAIL {}", one_line(error))
                    }
                };
                println!("{}\t{writer}\t{}\t{case}\t{shown}", self.name, table.table);
            }
        }
        Ok(())
    }

    /// The value of a row by an output parameter.
    async fn get(
        &self,
        client: &mut TdsClient,
        table: &Case,
        writer: &str,
        case: &str,
    ) -> Result<ColumnValues> {
        let start = placeholder(&table.sql_type);
        let output = value(&Case { value: start, ..table.clone() })?;
        let parameters = vec![
            parameter("@w", name(writer)),
            parameter("@n", name(case)),
            RpcParameter::new(Some("@v".to_owned()), StatusFlags::BY_REF_VALUE, output),
        ];
        let procedure = format!("dbo.get_{}", table.table);
        let mut values = call(client, procedure, parameters).await?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err("not one value".into()),
        }
    }

    async fn read(&self, cases: &[Case]) -> Result<()> {
        if self.by_procedure() {
            return self.read_outputs(cases).await;
        }
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let all = format!("SELECT w, n, v FROM dbo.{}", table.table);
            match execute(&mut client, all, Vec::new()).await {
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
    async fn read_one_by_one(&self, client: &mut TdsClient, table: &Case) -> Result<()> {
        let names = format!("SELECT w, n FROM dbo.{}", table.table);
        for row in execute(client, names, Vec::new()).await? {
            let (writer, name) = (plain(&row[0]), plain(&row[1]));
            let one = format!(
                "SELECT w, n, v FROM dbo.{} WHERE w = N'{writer}' AND n = N'{name}'",
                table.table
            );
            match execute(client, one, Vec::new()).await {
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

    fn print(&self, table: &Case, row: &[ColumnValues]) {
        if let [writer, name, value] = row {
            let value = show(&table.sql_type, value);
            println!("{}\t{}\t{}\t{}\t{value}", self.name, plain(writer), table.table, plain(name));
        }
    }
}

/// A row of a bulk load.
struct Row([ColumnValues; 3]);

#[async_trait::async_trait]
impl BulkLoadRow for Row {
    async fn write_to_packet(
        &self,
        writer: &mut StreamingBulkLoadWriter<'_>,
        column: &mut usize,
    ) -> TdsResult<()> {
        for value in &self.0 {
            writer.write_column_value(*column, value).await?;
            *column += 1;
        }
        Ok(())
    }
}

/// The value of a parameter as a bulk load takes it.
fn cell(value: SqlType) -> ColumnValues {
    use ColumnValues as Cell;
    let cell = match value {
        SqlType::Bit(v) => v.map(Cell::Bit),
        SqlType::TinyInt(v) => v.map(Cell::TinyInt),
        SqlType::SmallInt(v) => v.map(Cell::SmallInt),
        SqlType::Int(v) => v.map(Cell::Int),
        SqlType::BigInt(v) => v.map(Cell::BigInt),
        SqlType::Real(v) => v.map(Cell::Real),
        SqlType::Float(v) => v.map(Cell::Float),
        SqlType::Decimal(v) => v.map(Cell::Decimal),
        SqlType::Numeric(v) => v.map(Cell::Numeric),
        SqlType::Money(v) => v.map(Cell::Money),
        SqlType::SmallMoney(v) => v.map(Cell::SmallMoney),
        SqlType::Date(v) => v.map(Cell::Date),
        SqlType::Time(v) => v.map(Cell::Time),
        SqlType::DateTime2(v) => v.map(Cell::DateTime2),
        SqlType::DateTimeOffset(v) => v.map(Cell::DateTimeOffset),
        SqlType::DateTime(v) => v.map(Cell::DateTime),
        SqlType::SmallDateTime(v) => v.map(Cell::SmallDateTime),
        SqlType::Char(v, _) | SqlType::Varchar(v, _) | SqlType::VarcharMax(v) => {
            v.map(Cell::String)
        }
        SqlType::NChar(v, _) | SqlType::NVarchar(v, _) | SqlType::NVarcharMax(v) => {
            v.map(Cell::String)
        }
        SqlType::Binary(v, _) | SqlType::VarBinary(v, _) | SqlType::VarBinaryMax(v) => {
            v.map(Cell::Bytes)
        }
        SqlType::Uuid(v) => v.map(Cell::Uuid),
        _ => None,
    };
    cell.unwrap_or(Cell::Null)
}

async fn execute(
    client: &mut TdsClient,
    sql: String,
    parameters: Vec<RpcParameter>,
) -> Result<Vec<Vec<ColumnValues>>> {
    if parameters.is_empty() {
        client.execute(sql, ()).await?;
    } else {
        client.execute_sp_executesql(sql, parameters, ()).await?;
    }
    let mut rows = Vec::new();
    let mut on_rows = client.on_rows();
    if !on_rows {
        on_rows = client.advance_to_rows().await?;
    }
    while on_rows {
        while let Some(row) = client.next_row().await? {
            rows.push(row);
        }
        on_rows = client.advance_to_rows().await?;
    }
    client.close_query().await?;
    Ok(rows)
}

/// By RPC. Returns the outputs.
async fn call(
    client: &mut TdsClient,
    procedure: String,
    parameters: Vec<RpcParameter>,
) -> Result<Vec<ColumnValues>> {
    client.execute_stored_procedure(procedure, None, Some(parameters), ()).await?;
    while client.advance_to_rows().await? {
        while client.next_row().await?.is_some() {}
    }
    let values = client.get_return_values().into_iter().map(|returned| returned.value).collect();
    client.close_query().await?;
    Ok(values)
}

/// sp_prepexec the first time, then sp_execute.
async fn execute_prepared(
    client: &mut TdsClient,
    statement: &mut PreparedStatement,
    parameters: Vec<RpcParameter>,
) -> Result<()> {
    client.execute_prepared(statement, parameters, &mut None, ()).await?;
    Ok(client.close_query().await?)
}

fn parameter(name: &str, value: SqlType) -> RpcParameter {
    RpcParameter::new(Some(name.to_owned()), StatusFlags::NONE, value)
}

fn name(text: &str) -> SqlType {
    SqlType::NVarchar(Some(SqlString::from_utf8_string(text.to_owned())), 30)
}

fn plain(value: &ColumnValues) -> String {
    match value {
        ColumnValues::String(text) => text.to_utf8_string(),
        other => format!("{other:?}"),
    }
}

fn value(case: &Case) -> Result<SqlType> {
    let text = case.value.as_deref();
    let (base, numbers) = split_type(&case.sql_type);
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let short = |at: usize| u8::try_from(number(at)).unwrap_or(0);
    Ok(match base {
        "bit" => SqlType::Bit(text.map(|t| t == "1")),
        "tinyint" => SqlType::TinyInt(text.map(str::parse).transpose()?),
        "smallint" => SqlType::SmallInt(text.map(str::parse).transpose()?),
        "int" => SqlType::Int(text.map(str::parse).transpose()?),
        "bigint" => SqlType::BigInt(text.map(str::parse).transpose()?),
        "real" => SqlType::Real(match text {
            Some(text) => Some(f32::from_bits(u32::from_str_radix(text, 16)?)),
            None => None,
        }),
        "float" => SqlType::Float(match text {
            Some(text) => Some(f64::from_bits(u64::from_str_radix(text, 16)?)),
            None => None,
        }),
        "decimal" => SqlType::Decimal(decimal(text, short(0), short(1))?),
        "numeric" => SqlType::Numeric(decimal(text, short(0), short(1))?),
        "money" => SqlType::Money(match text {
            Some(text) => {
                let units: i64 = text.replace('.', "").parse()?;
                let [high, low] = [(units >> 32) as i32, units as i32];
                Some(SqlMoney { lsb_part: low, msb_part: high })
            }
            None => None,
        }),
        "smallmoney" => SqlType::SmallMoney(match text {
            Some(text) => Some(SqlSmallMoney { int_val: text.replace('.', "").parse()? }),
            None => None,
        }),
        "date" => SqlType::Date(match text {
            Some(text) => Some(SqlDate::create(u32::try_from(days(text)?)?)?),
            None => None,
        }),
        "time" => SqlType::Time(text.map(time).transpose()?),
        "datetime2" => SqlType::DateTime2(text.map(|t| datetime2(t, 0)).transpose()?),
        "datetimeoffset" => SqlType::DateTimeOffset(text.map(datetimeoffset).transpose()?),
        "datetime" => SqlType::DateTime(match text {
            Some(text) => {
                let (day, time) = text.split_once(' ').ok_or("no time of day")?;
                Some(SqlDateTime {
                    days: i32::try_from(days(day)? - DAYS_TO_1900)?,
                    time: u32::try_from((clock(time)?.0 * 300 + 500) / 1000)?,
                })
            }
            None => None,
        }),
        "smalldatetime" => SqlType::SmallDateTime(match text {
            Some(text) => {
                let (day, time) = text.split_once(' ').ok_or("no time of day")?;
                Some(SqlSmallDateTime {
                    days: u16::try_from(days(day)? - DAYS_TO_1900)?,
                    time: u16::try_from(clock(time)?.0 / 60)?,
                })
            }
            None => None,
        }),
        "char" => SqlType::Char(narrow(text)?, number(0)),
        "varchar" if number(0) == 0 => SqlType::VarcharMax(narrow(text)?),
        "varchar" => SqlType::Varchar(narrow(text)?, number(0)),
        "nchar" => SqlType::NChar(wide(text)?, number(0)),
        "nvarchar" if number(0) == 0 => SqlType::NVarcharMax(wide(text)?),
        "nvarchar" => SqlType::NVarchar(wide(text)?, number(0)),
        "binary" => SqlType::Binary(bytes(text)?, number(0)),
        "varbinary" if number(0) == 0 => SqlType::VarBinaryMax(bytes(text)?),
        "varbinary" => SqlType::VarBinary(bytes(text)?, number(0)),
        "uniqueidentifier" => SqlType::Uuid(text.map(uuid::Uuid::parse_str).transpose()?),
        other => return Err(format!("no such type: {other}").into()),
    })
}

/// What an output parameter is before the call: NULL, but where the driver takes precision or scale
/// from the value.
fn placeholder(sql_type: &str) -> Option<String> {
    let (base, numbers) = split_type(sql_type);
    let digits = |count: u16| "7".repeat(count.into());
    let clock = |time: &str, scale: u16| match scale {
        0 => time.to_owned(),
        _ => format!("{time}.{}", digits(scale)),
    };
    match (base, numbers.as_slice()) {
        ("decimal" | "numeric", &[precision, scale]) if scale > 0 => {
            Some(format!("{:0>1}.{}", digits(precision - scale), digits(scale)))
        }
        ("decimal" | "numeric", &[precision, _]) => Some(digits(precision)),
        ("time", &[scale]) => Some(clock("07:07:07", scale)),
        ("datetime2", &[scale]) => Some(clock("1977-07-07 07:07:07", scale)),
        ("datetimeoffset", &[scale]) => {
            Some(format!("{} +07:00", clock("1977-07-07 07:07:07", scale)))
        }
        _ => None,
    }
}

fn decimal(text: Option<&str>, precision: u8, scale: u8) -> Result<Option<DecimalParts>> {
    Ok(text.map(|text| DecimalParts::from_string(text, precision, scale)).transpose()?)
}

fn string(text: &str) -> Result<String> {
    let digits = text.strip_prefix("u:").ok_or("text does not begin with u:")?;
    Ok(String::from_utf8(unhex(digits)?)?)
}

fn wide(text: Option<&str>) -> Result<Option<SqlString>> {
    Ok(text.map(string).transpose()?.map(SqlString::from_utf8_string))
}

/// In the code page of the columns' collation, which the application must know.
fn narrow(text: Option<&str>) -> Result<Option<SqlString>> {
    let Some(text) = text.map(string).transpose()? else { return Ok(None) };
    let (encoded, _, _) = encoding_rs::WINDOWS_1252.encode(&text);
    Ok(Some(SqlString::new(encoded.into_owned(), EncodingType::DelayedSet)))
}

fn bytes(text: Option<&str>) -> Result<Option<Vec<u8>>> {
    text.map(|text| unhex(text.strip_prefix("x:").ok_or("bytes do not begin with x:")?)).transpose()
}

fn time(text: &str) -> Result<SqlTime> {
    let (units, scale) = clock(text)?;
    let finer = 10u64.pow((SCALE_OF_SQL_TIME - scale).into());
    Ok(SqlTime { time_nanoseconds: units * finer, scale })
}

/// The date and time `minutes` later.
fn datetime2(text: &str, minutes: i64) -> Result<SqlDateTime2> {
    let (day, time_of_day) = text.split_once(' ').ok_or("no time of day")?;
    let time = time(time_of_day)?;
    let day_units = 86_400 * 10i64.pow(SCALE_OF_SQL_TIME.into());
    let units = i64::try_from(time.time_nanoseconds)? + minutes * (day_units / 1440);
    Ok(SqlDateTime2 {
        days: u32::try_from(days(day)? + units.div_euclid(day_units))?,
        time: SqlTime {
            time_nanoseconds: units.rem_euclid(day_units).unsigned_abs(),
            scale: time.scale,
        },
    })
}

/// On the wire it is the time in UTC.
fn datetimeoffset(text: &str) -> Result<SqlDateTimeOffset> {
    let (local, offset) = text.rsplit_once(' ').ok_or("no offset")?;
    let (hours, minutes) = offset[1..].split_once(':').ok_or("no minutes of the offset")?;
    let minutes = hours.parse::<i16>()? * 60 + minutes.parse::<i16>()?;
    let offset = if offset.starts_with('-') { -minutes } else { minutes };
    Ok(SqlDateTimeOffset { datetime2: datetime2(local, -i64::from(offset))?, offset })
}

fn show(sql_type: &str, value: &ColumnValues) -> String {
    match value {
        ColumnValues::Null => "NULL".to_owned(),
        ColumnValues::Bit(v) => u8::from(*v).to_string(),
        ColumnValues::TinyInt(v) => v.to_string(),
        ColumnValues::SmallInt(v) => v.to_string(),
        ColumnValues::Int(v) => v.to_string(),
        ColumnValues::BigInt(v) => v.to_string(),
        ColumnValues::Real(v) => format!("{:08x}", v.to_bits()),
        ColumnValues::Float(v) => format!("{:016x}", v.to_bits()),
        ColumnValues::Decimal(v) | ColumnValues::Numeric(v) => v.to_decimal_string(),
        ColumnValues::Money(v) => {
            show_money(i64::from(v.msb_part) << 32 | i64::from(v.lsb_part as u32))
        }
        ColumnValues::SmallMoney(v) => show_money(v.int_val.into()),
        ColumnValues::Date(v) => show_date(v.get_days().into()),
        ColumnValues::Time(v) => show_time(v.time_nanoseconds, v.scale),
        ColumnValues::DateTime2(v) => show_datetime2(v, 0),
        ColumnValues::DateTimeOffset(v) => {
            let local = show_datetime2(&v.datetime2, v.offset.into());
            let sign = if v.offset < 0 { '-' } else { '+' };
            let minutes = v.offset.unsigned_abs();
            format!("{local} {sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
        ColumnValues::DateTime(v) => {
            let milliseconds = (u64::from(v.time) * 1000 + 150) / 300;
            let date = show_date(i64::from(v.days) + DAYS_TO_1900);
            format!("{date} {}", show_clock(milliseconds, 3))
        }
        ColumnValues::SmallDateTime(v) => {
            let date = show_date(i64::from(v.days) + DAYS_TO_1900);
            format!("{date} {:02}:{:02}", v.time / 60, v.time % 60)
        }
        ColumnValues::String(v) => format!("u:{}", hex(v.to_utf8_string().as_bytes())),
        ColumnValues::Bytes(v) => format!("x:{}", hex(v)),
        ColumnValues::Uuid(v) => v.to_string(),
        other => format!("unexpected {other:?} for {sql_type}"),
    }
}

fn show_money(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let units = units.unsigned_abs();
    format!("{sign}{}.{:04}", units / 10_000, units % 10_000)
}

fn show_time(units: u64, scale: u8) -> String {
    show_clock(units / 10u64.pow((SCALE_OF_SQL_TIME - scale).into()), scale)
}

fn show_datetime2(value: &SqlDateTime2, minutes: i64) -> String {
    let day = 86_400 * 10i64.pow(SCALE_OF_SQL_TIME.into());
    let units = i64::try_from(value.time.time_nanoseconds).unwrap_or(0) + minutes * (day / 1440);
    let date = show_date(i64::from(value.days) + units.div_euclid(day));
    format!("{date} {}", show_time(units.rem_euclid(day).unsigned_abs(), value.time.scale))
}
