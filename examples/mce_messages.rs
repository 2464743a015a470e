//! A chat engine's messages in a database that cannot read them.
//!
//! Two application servers share one database and one column master key. They write and read
//! messages with ordinary tiberius calls; the database, its file and the wire hold ciphertext only,
//! and at the end this program looks for itself.
//!
//! ```text
//! cargo run --example mce_messages
//! ```

use std::{error::Error, path::Path, process::ExitCode};

use always_encrypted::{
    Client, Connector,
    admin::{create_column_encryption_key, create_column_master_key},
    crypto::Cek,
    keystore::{
        CertificateDirectory, KeyStoreProvider, KeyStores, MSSQL_CERTIFICATE_STORE, RSA_OAEP,
        StoreLocation,
    },
};
use always_encrypted_sandbox::{Encryption, Sandbox};
use chrono::{DateTime, Duration, FixedOffset, TimeZone};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const INSERT: &str = "INSERT INTO dbo.Messages (MessageId, GroupId, SenderId, Content, Timestamp, Context) \
     VALUES (@P1, @P2, @P3, @P4, @P5, @P6)";
const USERS: [(&str, &str); 4] = [
    ("4f0c1c1e-aaaa-4b6e-9c39-5b8e2d1f0001", "Amara Okafor"),
    ("4f0c1c1e-bbbb-4b6e-9c39-5b8e2d1f0002", "Beatriz Lima"),
    ("4f0c1c1e-cccc-4b6e-9c39-5b8e2d1f0003", "Chen Wei"),
    ("4f0c1c1e-dddd-4b6e-9c39-5b8e2d1f0004", "Dmitri Volkov"),
];

/// A message as the application knows it.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    id: String,
    group: String,
    sender: String,
    content: Option<String>,
    timestamp: DateTime<FixedOffset>,
    context: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let database = dir.path().join("mce.db");
    let key_dir = dir.path().join("keys");
    std::fs::create_dir(&key_dir)?;

    println!("1. A SQL Server stand-in, its tables in one file. TLS for the login only, so that");
    println!("   what is recorded of the wire is what the server saw.");
    let sandbox =
        Sandbox::builder().file(&database).encryption(Encryption::Off).record(true).start().await?;

    println!("2. The security administrator makes a master key and, with it, wraps a column key.");
    let (key_path, envelope) = make_keys(&key_dir).await?;
    println!("   master key: {key_path}");
    println!("   wrapped column key: {} bytes, of which the database may know all", envelope.len());

    println!("3. The DBA creates keys and tables. No key store is at hand on this connection.");
    let plain_string = sandbox.connection_string();
    let mut dba = connect(&plain_string, KeyStores::builder().build()?).await?;
    create_schema(&mut dba, &key_path, &envelope).await?;
    let after_set_up = sandbox.recorded();

    println!("4. Two application servers connect, each with the keys, each with one more setting.");
    let encrypted_string = format!("{plain_string};Column Encryption Setting=enabled");
    let mut servers = Vec::new();
    for _ in 0..2 {
        let keys = CertificateDirectory::open(&key_dir).await?;
        let keys = KeyStores::builder().provider(keys).build()?;
        servers.push(connect(&encrypted_string, keys).await?);
    }

    println!("5. They write messages with ordinary `client.execute` calls, taking turns.");
    let messages = compose();
    for (n, message) in messages.iter().enumerate() {
        write(&mut servers[n % 2], message).await?;
    }
    let describes = sandbox.statistics().describes;
    println!("   {} messages, and the server was asked {describes} times how", messages.len());
    // UTF-16 from elsewhere that holds half a character: it becomes an error, never a '?'.
    let half = [0x0068, 0x0069, 0xD83D];
    match String::from_utf16(&half) {
        Err(error) => println!("   a message with half an emoji is refused: {error}"),
        Ok(_) => return Err("half an emoji passed for a whole one".into()),
    }

    println!("6. And read them back: a range of time, and one sender by equality.");
    let read_back = read_range(&mut servers[1], &messages).await?;
    let by_sender = read_sender(&mut servers[0], &messages).await?;
    println!("   {read_back} by time range, all as written; {by_sender} of {}", USERS[1].1);

    println!("7. The same three rows, with the keys and without:\n");
    show_rows(&mut servers[0], &mut dba, &messages).await?;

    println!("8. Is any of it in the database's file, or on the wire?");
    drop((servers, dba));
    let recorded = sandbox.recorded();
    sandbox.shutdown().await;
    let found = search(&messages, &database, &recorded, &after_set_up)?;

    println!(
        "\nok: {} messages written, {read_back} read back, {found} plaintexts on the wire or at rest",
        messages.len()
    );
    if found != 0 || read_back != messages.len() {
        return Err("plaintext was found, or a message is missing".into());
    }
    Ok(())
}

/// The security administrator's part. Knows keys, and no database.
async fn make_keys(dir: &Path) -> Result<(String, Vec<u8>)> {
    let store = CertificateDirectory::open(dir).await?;
    let key_path = store.create_cmk(StoreLocation::CurrentUser, "MCE messages").await?.to_string();
    let envelope = store.wrap_cek(&key_path, RSA_OAEP, &Cek::generate()?).await?;
    Ok((key_path, envelope))
}

/// The DBA's part. Knows a database, and no keys.
async fn create_schema(dba: &mut Client, key_path: &str, envelope: &[u8]) -> Result<()> {
    let encrypted = |kind: &str| {
        format!(
            "ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = MessagesCek, ENCRYPTION_TYPE = {kind}, \
             ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256')"
        )
    };
    let statements = [
        create_column_master_key("MessagesCmk", MSSQL_CERTIFICATE_STORE, key_path),
        create_column_encryption_key("MessagesCek", "MessagesCmk", envelope),
        format!(
            "CREATE TABLE dbo.Messages (\
             MessageId nvarchar(36) NOT NULL PRIMARY KEY, GroupId nvarchar(36) NOT NULL, \
             SenderId nvarchar(36) COLLATE Latin1_General_BIN2 {} NOT NULL, \
             Content nvarchar(max) {} NULL, Timestamp datetimeoffset NOT NULL, \
             Context nvarchar(max) {} NULL)",
            encrypted("DETERMINISTIC"),
            encrypted("RANDOMIZED"),
            encrypted("RANDOMIZED"),
        ),
        "CREATE TABLE dbo.Users (UserId nvarchar(36) NOT NULL PRIMARY KEY, \
         DisplayName nvarchar(100) NOT NULL)"
            .to_owned(),
    ];
    for statement in statements {
        dba.simple_query(statement).await?.into_results().await?;
    }
    for (id, name) in USERS {
        dba.execute("INSERT INTO dbo.Users (UserId, DisplayName) VALUES (@P1, @P2)", &[&id, &name])
            .await?;
    }
    Ok(())
}

async fn connect(connection_string: &str, keys: KeyStores) -> Result<Client> {
    Ok(Connector::from_ado_string(connection_string, keys)?.connect().await?)
}

/// A few hundred messages, the awkward ones among them.
fn compose() -> Vec<Message> {
    let start = chrono::Utc.with_ymd_and_hms(2024, 3, 15, 9, 0, 0).unwrap().fixed_offset();
    let words = ["convoy", "rendezvous", "harbour", "frequency", "supplies", "weather", "bridge"];
    let mut contents: Vec<Option<String>> = (0..300usize)
        .map(|n| {
            let pick = |k: usize| words[(n * 7 + k * 3 + n / 7) % words.len()];
            Some(format!("#{n}: {} and {} at the {}, confirm", pick(0), pick(1), pick(2)))
        })
        .collect();
    contents.extend([
        Some("x".repeat(3_999)),
        Some("y".repeat(4_000)),
        Some("z".repeat(4_001)),
        Some("a page of the log; ".repeat(100_000 / 19 + 1)[..100_000].to_owned()),
        Some(String::new()),
        None,
        Some("thumbs up \u{1F44D}\u{1F3FD}, family \u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}".into()),
        Some("\u{0928}\u{092E}\u{0938}\u{094D}\u{0924}\u{0947} \u{4F60}\u{597D} \u{05E9}\u{05DC}\u{05D5}\u{05DD}".into()),
    ]);
    let message = |(n, content): (usize, Option<String>)| Message {
        id: format!("00000000-0000-4000-8000-{n:012}"),
        group: format!("group-{}", n % 5),
        sender: USERS[n % USERS.len()].0.to_owned(),
        content,
        timestamp: start + Duration::seconds(n as i64 * 17),
        context: (n % 3 != 0).then(|| format!("{{\"classification\":\"restricted\",\"seq\":{n}}}")),
    };
    contents.into_iter().enumerate().map(message).collect()
}

/// What an application does today. Nothing of it knows of encryption.
async fn write(client: &mut Client, m: &Message) -> Result<()> {
    let written = client
        .execute(INSERT, &[&m.id, &m.group, &m.sender, &m.content, &m.timestamp, &m.context])
        .await?;
    match written.rows_affected() {
        [1] => Ok(()),
        other => Err(format!("message {}: {other:?} rows written", m.id).into()),
    }
}

const SELECT: &str =
    "SELECT MessageId, GroupId, SenderId, Content, Timestamp, Context FROM dbo.Messages";

fn message_of(row: &tiberius::Row) -> Result<Message> {
    let text = |name: &str| -> Result<Option<String>> {
        Ok(row.try_get::<&str, _>(name)?.map(str::to_owned))
    };
    let timestamp: DateTime<FixedOffset> = row.try_get("Timestamp")?.ok_or("no timestamp")?;
    Ok(Message {
        id: text("MessageId")?.ok_or("no id")?,
        group: text("GroupId")?.ok_or("no group")?,
        sender: text("SenderId")?.ok_or("no sender")?,
        content: text("Content")?,
        timestamp,
        context: text("Context")?,
    })
}

async fn read_range(client: &mut Client, messages: &[Message]) -> Result<usize> {
    let from = messages.first().ok_or("no messages")?.timestamp;
    let query = format!("{SELECT} WHERE Timestamp >= @P1 ORDER BY Timestamp");
    let rows = client.query(query, &[&from]).await?.into_first_result().await?;
    for (row, expected) in rows.iter().zip(messages) {
        let read = message_of(row)?;
        if read != *expected {
            return Err(format!("message {} came back different", expected.id).into());
        }
    }
    Ok(rows.len())
}

async fn read_sender(client: &mut Client, messages: &[Message]) -> Result<usize> {
    let sender = USERS[1].0;
    let query = format!("{SELECT} WHERE SenderId = @P1 ORDER BY MessageId");
    let rows = client.query(query, &[&sender]).await?.into_first_result().await?;
    let expected = messages.iter().filter(|m| m.sender == sender).count();
    let read = rows.iter().map(message_of).collect::<Result<Vec<_>>>()?;
    if read.len() != expected || read.iter().any(|m| m.sender != sender) {
        return Err("equality on the encrypted column found other messages".into());
    }
    Ok(expected)
}

async fn show_rows(app: &mut Client, dba: &mut Client, messages: &[Message]) -> Result<()> {
    let query = format!("{SELECT} WHERE MessageId = @P1");
    for message in [&messages[0], &messages[1], &messages[306]] {
        let row = app.query(query.as_str(), &[&message.id]).await?.into_row().await?;
        let seen = message_of(&row.ok_or("a message is missing")?)?;
        let row = dba.query(query.as_str(), &[&message.id]).await?.into_row().await?;
        let row = row.ok_or("a message is missing")?;
        println!("   message {}", seen.id);
        for (column, value) in
            [("SenderId", Some(seen.sender)), ("Content", seen.content), ("Context", seen.context)]
        {
            let cell: Option<&[u8]> = row.try_get(column)?;
            if cell.is_some() != value.is_some() {
                return Err(format!("{column} is NULL for one and not for the other").into());
            }
            println!("     {column:9} with    {}", value.as_deref().unwrap_or("NULL"));
            println!("     {:9} without {}", "", cell.map_or("NULL".into(), hex_head));
        }
        println!();
    }
    Ok(())
}

fn hex_head(bytes: &[u8]) -> String {
    let head: String = bytes.iter().take(24).map(|b| format!("{b:02x}")).collect();
    format!("0x{head}… ({} bytes)", bytes.len())
}

/// Counts what can be read: every content and context in the file and in all that was sent and
/// received, and every sender in what came after the users (who are plain) were written.
fn search(
    messages: &[Message],
    database: &Path,
    recorded: &always_encrypted_sandbox::Recorded,
    after_set_up: &always_encrypted_sandbox::Recorded,
) -> Result<usize> {
    let mut places = vec![
        ("sent to the server", recorded.from_clients.clone()),
        ("sent by the server", recorded.to_clients.clone()),
    ];
    for suffix in ["", "-wal", "-journal"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        if let Ok(bytes) = std::fs::read(&path) {
            places.push(("in the database file", bytes));
        }
    }
    let secrets: Vec<&str> = messages
        .iter()
        .flat_map(|m| [m.content.as_deref(), m.context.as_deref()])
        .flatten()
        .filter(|s| s.len() >= 8)
        .map(|s| &s[..s.char_indices().nth(40).map_or(s.len(), |(at, _)| at)])
        .collect();
    let mut found = 0;
    for (place, bytes) in &places {
        let hits = secrets.iter().filter(|s| occurs(s, bytes)).count();
        println!("   {:>9} bytes {place}: {hits} of {} plaintexts", bytes.len(), secrets.len());
        found += hits;
    }
    for (all, set_up) in [
        (&recorded.from_clients, after_set_up.from_clients.len()),
        (&recorded.to_clients, after_set_up.to_clients.len()),
    ] {
        // What comes back to an application without keys is ciphertext as well.
        let later = all.get(set_up..).unwrap_or_default();
        found += USERS.iter().filter(|(id, _)| occurs(id, later)).count();
    }
    Ok(found)
}

fn occurs(text: &str, bytes: &[u8]) -> bool {
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    contains(bytes, text.as_bytes()) || contains(bytes, &utf16)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
