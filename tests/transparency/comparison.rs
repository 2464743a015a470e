//! Runs a case with and without Always Encrypted and compares what the application saw.

use std::{fmt::Debug, io::Write as _, time::Duration};

use always_encrypted::{Client, Connector, keystore::KeyStores};
use always_encrypted_sandbox::Sandbox;
use futures_util::TryStreamExt as _;
use tiberius::{
    ColumnData, ColumnOrderHint, Command, CommandItem, Query, QueryItem, SqlBulkCopyOptions, ToSql,
    TokenRow,
};

/// What every case finds in its database.
const SCHEMA: &[&str] = &[
    "CREATE TABLE People (Id int NOT NULL PRIMARY KEY, Name nvarchar(20) NULL, \
     Born date NULL, Salary decimal(10,2) NULL, Photo varbinary(max) NULL)",
    "INSERT INTO People VALUES (1, N'Ada', '1815-12-10', 10.50, 0x0102), \
     (2, N'Bea', NULL, NULL, NULL), (3, N'Cai', '2001-02-03', -7.25, 0x)",
    "CREATE TABLE Visits (Id int IDENTITY(1,1) NOT NULL PRIMARY KEY, Person int NOT NULL, \
     Place varchar(30) NULL DEFAULT 'here')",
    "INSERT INTO Visits (Person, Place) VALUES (1, 'Paris'), (1, NULL), (3, 'Rome')",
    "CREATE TABLE [odd ]] name's] ([a b] int NULL, [c]]d] nvarchar(9) NULL, [e'f] int NULL)",
];

/// No case takes as long, so one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cases that have run.
#[derive(Default)]
pub struct Comparison {
    cases: usize,
    known: usize,
    refused: Vec<String>,
    failures: Vec<(String, String)>,
}

impl Comparison {
    /// Runs a case both ways.
    pub async fn case(&mut self, name: &str, body: impl AsyncFn(&mut Actor)) {
        self.case_with("", name, body).await;
    }

    /// The same with more settings in the connection string.
    pub async fn case_with(&mut self, settings: &str, name: &str, body: impl AsyncFn(&mut Actor)) {
        self.cases += 1;
        let without = transcript(false, settings, &body).await;
        let with = transcript(true, settings, &body).await;
        // The stand-in's number for what it cannot do: such a case shows little.
        if without.iter().any(|line| line.contains("code: 49999")) {
            self.refused.push(name.to_owned());
        }
        if let Some(difference) = difference(&without, &with) {
            self.failures.push((name.to_owned(), difference));
        }
    }

    /// A case that cannot be the same, for the reason that `main.rs` gives. With Always Encrypted the
    /// application sees `with`. It fails when there is no difference any more.
    pub async fn differs(&mut self, name: &str, with: &str, body: impl AsyncFn(&mut Actor)) {
        self.known += 1;
        let alone = transcript(false, "", &body).await;
        let encrypting = transcript(true, "", &body).await;
        let says_so = encrypting.iter().any(|line| line.contains(with));
        if alone == encrypting || !says_so {
            let same = if says_so { "it does not differ" } else { "another difference" };
            self.failures.push((name.to_owned(), format!("  {same}: {encrypting:?}")));
        }
    }

    /// The names of the cases that differed, and how.
    pub fn failures(&self) -> &[(String, String)] {
        &self.failures
    }

    /// Says how many were the same, past the test's captured output, and fails if any was not.
    pub fn conclude(self) {
        let all = self.cases + self.known;
        let mut out = std::io::stdout();
        writeln!(out, "{} of {all} transparency cases pass", all - self.failures.len()).unwrap();
        writeln!(out, "{} of them are differences that are known", self.known).unwrap();
        if !self.refused.is_empty() {
            let refused = self.refused.join("; ");
            writeln!(out, "the stand-in refuses {} of them: {refused}", self.refused.len())
                .unwrap();
        }
        let report: Vec<String> =
            self.failures.iter().map(|(name, how)| format!("{name}\n{how}")).collect();
        assert!(report.is_empty(), "{}", report.join("\n\n"));
    }
}

/// The first line in which two transcripts differ.
fn difference(without: &[String], with: &[String]) -> Option<String> {
    let lines = without.len().max(with.len());
    let at = (0..lines).find(|at| without.get(*at) != with.get(*at))?;
    let shown = |transcript: &[String]| match transcript.get(at) {
        Some(line) => line.chars().take(600).collect(),
        None => "(nothing)".to_owned(),
    };
    Some(format!("  line {at} without: {}\n  line {at} with:    {}", shown(without), shown(with)))
}

async fn transcript(
    encrypts: bool,
    settings: &str,
    body: &impl AsyncFn(&mut Actor),
) -> Vec<String> {
    let mut actor = Actor::start(encrypts, settings).await;
    if tokio::time::timeout(PATIENCE, body(&mut actor)).await.is_err() {
        actor.note("it hangs");
    }
    if tokio::time::timeout(PATIENCE, actor.look_around()).await.is_err() {
        actor.note("the connection hangs afterwards");
    }
    actor.transcript
}

/// An application. Whatever it does and sees is written down.
pub struct Actor {
    pub client: Client,
    pub sandbox: Sandbox,
    pub encrypts: bool,
    transcript: Vec<String>,
}

impl Actor {
    async fn start(encrypts: bool, settings: &str) -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let mut dba = connect(&sandbox, "Column Encryption Setting=Disabled").await;
        for sql in SCHEMA {
            dba.simple_query(*sql).await.unwrap().into_results().await.unwrap();
        }
        let setting = if encrypts { "Enabled" } else { "Disabled" };
        let settings = format!("Column Encryption Setting={setting};{settings}");
        let client = connect(&sandbox, &settings).await;
        Self { client, sandbox, encrypts, transcript: Vec::new() }
    }

    /// Another connection, without Always Encrypted.
    pub async fn somebody_else(&self) -> Client {
        connect(&self.sandbox, "Column Encryption Setting=Disabled").await
    }

    pub fn note(&mut self, line: impl Into<String>) {
        self.transcript.push(line.into());
    }

    pub fn outcome<T: Debug, E: Debug>(&mut self, what: &str, outcome: Result<T, E>) {
        self.note(format!("{what}: {outcome:?}"));
    }

    /// Does something of which the transcript says nothing.
    pub async fn unseen(&mut self, sql: &'static str) {
        self.client.simple_query(sql).await.unwrap().into_results().await.unwrap();
    }

    /// `simple_query`.
    pub async fn batch(&mut self, sql: &str) {
        let Self { client, transcript, .. } = self;
        match client.simple_query(sql).await {
            Ok(stream) => items(stream, transcript).await,
            Err(error) => transcript.push(format!("error: {error:?}")),
        }
    }

    /// `Client::query`.
    pub async fn query(&mut self, sql: &str, params: &[&dyn ToSql]) {
        let Self { client, transcript, .. } = self;
        match client.query(sql, params).await {
            Ok(stream) => items(stream, transcript).await,
            Err(error) => transcript.push(format!("error: {error:?}")),
        }
    }

    /// `Client::execute`.
    pub async fn execute(&mut self, sql: &str, params: &[&dyn ToSql]) {
        let outcome = self.client.execute(sql, params).await;
        self.outcome("affected", outcome.map(|done| done.rows_affected().to_vec()));
    }

    /// `Query::query`.
    pub async fn bound(&mut self, query: Query<'_>) {
        let Self { client, transcript, .. } = self;
        match query.query(client).await {
            Ok(stream) => items(stream, transcript).await,
            Err(error) => transcript.push(format!("error: {error:?}")),
        }
    }

    /// `Query::execute`.
    pub async fn bound_execute(&mut self, query: Query<'_>) {
        let outcome = query.execute(&mut self.client).await;
        self.outcome("affected", outcome.map(|done| done.rows_affected().to_vec()));
    }

    /// `Command::exec`.
    pub async fn command(&mut self, command: Command<'_>) {
        let Self { client, transcript, .. } = self;
        let mut stream = match command.exec(client).await {
            Ok(stream) => stream,
            Err(error) => return transcript.push(format!("error: {error:?}")),
        };
        loop {
            match stream.try_next().await {
                Ok(Some(CommandItem::Row(row))) => transcript.push(shown_row(row)),
                Ok(Some(item)) => transcript.push(format!("{item:?}")),
                Ok(None) => return transcript.push("end".to_owned()),
                Err(error) => return transcript.push(format!("error: {error:?}")),
            }
        }
    }

    /// `bulk_insert_with_options`, with everything that each row says.
    pub async fn bulk(
        &mut self,
        table: &str,
        columns: &[&str],
        options: SqlBulkCopyOptions,
        order: &[ColumnOrderHint<'_>],
        rows: Vec<Vec<ColumnData<'static>>>,
    ) {
        let Self { client, transcript, .. } = self;
        let load = client.bulk_insert_with_options(table, columns, options, order).await;
        let mut load = match load {
            Ok(load) => load,
            Err(error) => return transcript.push(format!("no load: {error:?}")),
        };
        for cells in rows {
            let mut row = TokenRow::new();
            cells.into_iter().for_each(|cell| row.push(cell));
            if let Err(error) = load.send(row).await {
                transcript.push(format!("row: {error:?}"));
            }
        }
        let outcome = load.finalize().await.map(|done| done.rows_affected().to_vec());
        self.outcome("loaded", outcome);
    }

    /// `column_metadata`.
    pub async fn metadata(&mut self, table: &str, columns: &[&str]) {
        let outcome = self.client.column_metadata(table, columns).await;
        self.outcome("metadata", outcome);
    }

    /// The transaction and the tables, as this connection and as another one sees them.
    async fn look_around(&mut self) {
        self.note("afterwards");
        self.batch("SELECT @@TRANCOUNT, SCOPE_IDENTITY()").await;
        let tables = self.tables().await;
        for table in &tables {
            self.batch(&format!("SELECT * FROM {table}")).await;
        }
        let other = self.somebody_else().await;
        let own = std::mem::replace(&mut self.client, other);
        self.note("as another connection sees it");
        let tables = self.tables().await;
        for table in &tables {
            self.batch(&format!("SELECT * FROM {table}")).await;
        }
        drop(own);
    }

    async fn tables(&mut self) -> Vec<String> {
        let sql = "SELECT s.name, t.name FROM sys.tables t \
                   JOIN sys.schemas s ON s.schema_id = t.schema_id ORDER BY 1, 2";
        let rows = match self.client.simple_query(sql).await {
            Ok(stream) => stream.into_first_result().await,
            Err(error) => Err(error),
        };
        let quoted = |name: Option<&str>| format!("[{}]", name.unwrap().replace(']', "]]"));
        match rows {
            Ok(rows) => rows.iter().map(|r| quoted(r.get(0)) + "." + &quoted(r.get(1))).collect(),
            Err(error) => {
                self.note(format!("no list of tables: {error:?}"));
                Vec::new()
            }
        }
    }
}

async fn connect(sandbox: &Sandbox, settings: &str) -> Client {
    let text = format!("{};{settings}", sandbox.connection_string());
    let keys = KeyStores::builder().build().unwrap();
    Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap()
}

/// Everything that a stream gives.
async fn items(mut stream: tiberius::QueryStream<'_>, transcript: &mut Vec<String>) {
    loop {
        match stream.try_next().await {
            Ok(Some(QueryItem::Row(row))) => transcript.push(shown_row(row)),
            Ok(Some(QueryItem::Metadata(metadata))) => transcript.push(format!("{metadata:?}")),
            Ok(None) => return transcript.push("end".to_owned()),
            Err(error) => return transcript.push(format!("error: {error:?}")),
        }
    }
}

pub fn shown_row(row: tiberius::Row) -> String {
    let index = row.result_index();
    format!("row of {index}: {:?}", row.into_iter().collect::<Vec<_>>())
}
