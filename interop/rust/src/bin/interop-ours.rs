//! This project in the matrix: tiberius through `Connector`.

use std::{fs, path::PathBuf, process::ExitCode};

use always_encrypted::{
    Client, Connector,
    crypto::CmkPrivateKey,
    keystore::{CertificateDirectory, InMemoryKeyStore, KeyStores},
    policy::TrustedKeyPaths,
};
use interop::{
    JAVA_ALIAS, MSSQL_JAVA_KEYSTORE, PASSWORD, USER,
    cases::{Case, Kind, Result, cases, one_line, tables},
    value::{self, Writable},
};
use tiberius::{ColumnData, Command, IntoSql, TokenRow};

const USAGE: &str = "interop-ours write|read|search|plain DIR CASES NAME [java]";

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
    /// Without keys, as a DBA.
    plain: bool,
    /// The key as the JVM's key store has it, rather than as the certificate store has it.
    java: bool,
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mode, dir, case_file, name) = match arguments.as_slice() {
        [mode, dir, case_file, name, ..] => (mode.as_str(), dir, case_file, name),
        _ => return Err("arguments are missing".into()),
    };
    let cases = cases(case_file)?;
    let program = Program {
        dir: dir.into(),
        name: name.clone(),
        plain: mode == "plain",
        java: arguments.get(4).is_some_and(|which| which == "java"),
    };
    match mode {
        "write" => program.write(&cases).await,
        "read" | "plain" => program.read(&cases).await,
        "search" => program.search(&cases).await,
        other => Err(format!("no such mode: {other}").into()),
    }
}

impl Program {
    async fn connect(&self) -> Result<Client> {
        let port = fs::read_to_string(self.dir.join("port"))?;
        // For the negative matrix, as are INTEROP_AE and INTEROP_TRUST.
        let user = std::env::var("INTEROP_USER").unwrap_or_else(|_| USER.to_owned());
        let mut connection = format!(
            "Server=tcp:127.0.0.1,{port};Database=sandbox;User Id={user};Password={PASSWORD};\
             Encrypt=false;TrustServerCertificate=true"
        );
        let mut stores = KeyStores::builder();
        if !self.plain && std::env::var("INTEROP_AE").as_deref() != Ok("off") {
            connection.push_str(";Column Encryption Setting=enabled");
            stores = if self.java {
                let key = CmkPrivateKey::from_pem(&fs::read_to_string(self.dir.join("cmk.pem"))?)?;
                stores
                    .provider(InMemoryKeyStore::new(MSSQL_JAVA_KEYSTORE).with_key(JAVA_ALIAS, key))
            } else {
                stores.provider(CertificateDirectory::open(self.dir.join("pair")).await?)
            };
        }
        let mut connector = Connector::from_ado_string(&connection, stores.build()?)?;
        if let Ok(path) = std::env::var("INTEROP_TRUST") {
            connector = connector.trusted_key_paths(TrustedKeyPaths::only([path]));
        }
        Ok(connector.connect().await?)
    }

    async fn write(&self, cases: &[Case]) -> Result<()> {
        match self.name.split_once('.') {
            Some((_, "bulk")) => self.load(cases).await,
            _ => self.execute(cases).await,
        }
    }

    /// A bulk load for each table, or for each case where that fails.
    async fn load(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let mut rows = Vec::new();
            for case in cases.iter().filter(|case| case.table == table.table) {
                match value::parse_for_load(&case.sql_type, case.value.as_deref())? {
                    Writable::Skip(reason) => self.outcome(case, &format!("skip {reason}")),
                    Writable::Value(value) => rows.push((case, value)),
                }
            }
            if self.send(&mut client, &table.table, &rows).await.is_ok() {
                rows.iter().for_each(|(case, _)| self.outcome(case, "ok"));
                continue;
            }
            client = self.connect().await?;
            for row in rows {
                match self.send(&mut client, &table.table, std::slice::from_ref(&row)).await {
                    Ok(()) => self.outcome(row.0, "ok"),
                    Err(error) => {
                        client = self.connect().await?;
                        self.outcome(row.0, &format!("FAIL {}", one_line(error)));
                    }
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        client: &mut Client,
        table: &str,
        rows: &[(&Case, value::Value)],
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let table = format!("dbo.{table}");
        let mut load = client.bulk_insert(&table).await?;
        for (case, value) in rows {
            let mut row = TokenRow::with_capacity(3);
            row.push(self.name.clone().into_sql());
            row.push(case.name.clone().into_sql());
            row.push(value.clone().into_sql());
            load.send(row).await?;
        }
        match load.finalize().await?.total() {
            count if count == rows.len() as u64 => Ok(()),
            count => Err(format!("{count} rows").into()),
        }
    }

    fn outcome(&self, case: &Case, outcome: &str) {
        println!("{}\t{}\t{}\t{outcome}", self.name, case.table, case.name);
    }

    async fn execute(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        // For the negative matrix.
        let force = match std::env::var_os("INTEROP_FORCE") {
            Some(_) => " /* always-encrypted: force @P3 */",
            None => "",
        };
        for case in cases {
            let outcome = match value::parse(&case.sql_type, case.value.as_deref())? {
                Writable::Skip(reason) => format!("skip {reason}"),
                Writable::Value(value) if self.by_procedure() => {
                    match self.put(&mut client, case, value).await {
                        Ok(()) => "ok".to_owned(),
                        Err(error) => {
                            client = self.connect().await?;
                            format!("FAIL {}", one_line(error))
                        }
                    }
                }
                Writable::Value(value) => {
                    let sql = format!(
                        "INSERT INTO dbo.{} (w, n, v) VALUES (@P1, @P2, @P3){force}",
                        case.table
                    );
                    match client.execute(sql, &[&self.name, &case.name, &value]).await {
                        Ok(done) if done.rows_affected() == [1] => "ok".to_owned(),
                        Ok(done) => format!("FAIL {:?} rows", done.rows_affected()),
                        Err(error) => {
                            client = self.connect().await?;
                            format!("FAIL {}", one_line(error))
                        }
                    }
                }
            };
            self.outcome(case, &outcome);
        }
        Ok(())
    }

    fn by_procedure(&self) -> bool {
        self.name.ends_with(".procedure")
    }

    async fn put(&self, client: &mut Client, case: &Case, value: value::Value) -> Result<()> {
        let mut command = Command::new(format!("dbo.put_{}", case.table));
        command.bind_param("@w", self.name.clone());
        command.bind_param("@n", case.name.clone());
        command.bind_param("@v", value);
        let result = command.exec(client).await?.into_command_result().await?;
        match result.rows_affected() {
            [1] => Ok(()),
            rows => Err(format!("{rows:?} rows").into()),
        }
    }

    /// The value of a row by an output parameter.
    async fn get(&self, client: &mut Client, table: &Case, row: [&str; 2]) -> Result<String> {
        let placeholder = match value::placeholder(&table.sql_type)? {
            Writable::Skip(reason) => return Ok(format!("skip {reason}")),
            Writable::Value(placeholder) => placeholder,
        };
        let mut command = Command::new(format!("dbo.get_{}", table.table));
        command.bind_param("@w", row[0].to_owned());
        command.bind_param("@n", row[1].to_owned());
        command.bind_out_param("@v", placeholder);
        let result = command.exec(client).await?.into_command_result().await?;
        let value: Option<value::Value> = result.try_return_value("@v")?;
        Ok(value.ok_or("no value")?.print(&table.sql_type))
    }

    /// What procedures wrote, by an output parameter.
    async fn read_outputs(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let names = format!(
                "SELECT w, n, NULL AS v FROM dbo.{} WHERE w LIKE N'%.procedure'",
                table.table
            );
            for [writer, name, _] in rows(&mut client, &names, table).await? {
                let value = match self.get(&mut client, table, [&writer, &name]).await {
                    Ok(value) => value,
                    Err(error) => {
                        client = self.connect().await?;
                        format!("FAIL {}", one_line(error))
                    }
                };
                self.print(table, &[writer, name, value]);
            }
        }
        Ok(())
    }

    async fn read(&self, cases: &[Case]) -> Result<()> {
        if self.by_procedure() {
            return self.read_outputs(cases).await;
        }
        let mut client = self.connect().await?;
        for table in tables(cases) {
            let all = format!("SELECT w, n, v FROM dbo.{}", table.table);
            match rows(&mut client, &all, table).await {
                Ok(rows) => {
                    for row in rows {
                        self.print(table, &row);
                    }
                }
                Err(_) => {
                    client = self.connect().await?;
                    self.read_one_by_one(&mut client, table).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds the row whose cell cannot be read.
    async fn read_one_by_one(&self, client: &mut Client, table: &Case) -> Result<()> {
        let names = format!("SELECT w, n, NULL AS v FROM dbo.{}", table.table);
        for [writer, name, _] in rows(client, &names, table).await? {
            let one = format!(
                "SELECT w, n, v FROM dbo.{} WHERE w = N'{writer}' AND n = N'{name}'",
                table.table
            );
            match rows(client, &one, table).await {
                Ok(rows) => rows.iter().for_each(|row| self.print(table, row)),
                Err(error) => {
                    *client = self.connect().await?;
                    let error = format!("FAIL {}", one_line(error));
                    self.print(table, &[writer, name, error]);
                }
            }
        }
        Ok(())
    }

    fn print(&self, table: &Case, [writer, name, value]: &[String; 3]) {
        println!("{}\t{writer}\t{}\t{name}\t{value}", self.name, table.table);
    }

    /// By equality: who has a row with the value of the case.
    async fn search(&self, cases: &[Case]) -> Result<()> {
        let mut client = self.connect().await?;
        for case in cases.iter().filter(|case| case.kind == Kind::Deterministic) {
            let Writable::Value(value) = value::parse(&case.sql_type, case.value.as_deref())?
            else {
                continue;
            };
            if case.value.is_none() {
                continue;
            }
            let sql =
                format!("SELECT w FROM dbo.{} WHERE v = @P1 AND n = @P2 ORDER BY w", case.table);
            let found = match client.query(sql, &[&value, &case.name]).await {
                Ok(stream) => stream.into_first_result().await,
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(rows) => {
                    let writers =
                        rows.iter().map(|row| Ok(row.try_get::<&str, _>(0)?.unwrap_or("")));
                    writers.collect::<Result<Vec<_>>>()?.join(" ")
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
}

/// Writer, case and value of each row.
async fn rows(client: &mut Client, sql: &str, table: &Case) -> Result<Vec<[String; 3]>> {
    let rows = client.simple_query(sql).await?.into_first_result().await?;
    let texts = rows.into_iter().map(|row| {
        let mut cells = row.cells().map(|(_, data)| match data {
            ColumnData::String(Some(text)) => (text.to_string(), data),
            _ => (String::new(), data),
        });
        match (cells.next(), cells.next(), cells.next()) {
            (Some((writer, _)), Some((name, _)), Some((_, value))) => {
                Ok([writer, name, value::print(&table.sql_type, value)])
            }
            _ => Err("a row has fewer than three columns".into()),
        }
    });
    texts.collect()
}
