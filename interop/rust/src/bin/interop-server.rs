//! Starts the sandbox with the keys and tables of the matrix, and serves until it is stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use always_encrypted::{
    Client, Connector,
    admin::{create_column_encryption_key, create_column_master_key},
    crypto::{Cek, CmkPrivateKey},
    keystore::{
        CertificateDirectory, InMemoryKeyStore, KeyStoreProvider, KeyStores,
        MSSQL_CERTIFICATE_STORE, RSA_OAEP, StoreLocation,
    },
};
use always_encrypted_sandbox::{Encryption, Sandbox};
use interop::{
    BLIND_USERS, JAVA_ALIAS, MSSQL_JAVA_KEYSTORE, PASSWORD, USER,
    cases::{Case, Kind, Result, cases, hex, tables},
};

const USAGE: &str = "\
interop-server --dir DIR --cases FILE [--port N]

Writes into DIR: pair/ (certificate and key of the master key, PEM), cmk.pem (the key alone),
cmk.p12 and its password in p12-password, path (the master key's path in the certificate store),
then port, when clients may come.";

/// Of the file cmk.p12, whose key is of no use to anyone.
const P12_PASSWORD: &str = "changeit";
/// The key of the deterministic columns: the certificate store's value comes first.
const CEK: &str = "Cek";
/// The key of the randomized columns: the JVM's value comes first.
const CEK_IN_OTHER_ORDER: &str = "Kec";

/// A column encryption key, with its values by master key in their order.
struct ColumnKey {
    name: &'static str,
    values: Vec<(&'static str, Vec<u8>)>,
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
    let mut dir = None;
    let mut case_file = None;
    let mut port = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("an option has no value")?;
        match argument.as_str() {
            "--dir" => dir = Some(PathBuf::from(value)),
            "--cases" => case_file = Some(PathBuf::from(value)),
            "--port" => port = value.parse()?,
            other => return Err(format!("no such option: {other}").into()),
        }
    }
    let dir = dir.ok_or("--dir is missing")?;
    let cases = cases(case_file.ok_or("--cases is missing")?)?;

    let (path, column_keys) = make_keys(&dir).await?;
    let mut builder = Sandbox::builder()
        .file(dir.join("server.db"))
        .port(port)
        .login(USER, PASSWORD)
        .encryption(Encryption::Off);
    for (user, _) in BLIND_USERS {
        builder = builder.add_login(user, PASSWORD);
    }
    let sandbox = builder.start().await?;
    let keys = KeyStores::builder().build()?;
    let mut dba = Connector::from_ado_string(&sandbox.connection_string(), keys)?.connect().await?;
    create_keys(&mut dba, &path, &column_keys).await?;
    for table in tables(&cases) {
        run_batch(&mut dba, create_table(table)).await?;
        for procedure in create_procedures(table) {
            run_batch(&mut dba, procedure).await?;
        }
    }
    for (user, definitions) in BLIND_USERS {
        let grant = "SELECT, INSERT, EXECUTE ON SCHEMA::dbo";
        let sql = format!("GRANT {grant} TO {user}; DENY VIEW ANY {definitions} TO {user}");
        run_batch(&mut dba, sql).await?;
    }
    fs::write(dir.join("path"), &path)?;
    // Whole, or not there.
    fs::write(dir.join("port.new"), sandbox.port().to_string())?;
    fs::rename(dir.join("port.new"), dir.join("port"))?;
    println!("listening on {}", sandbox.addr());
    std::future::pending::<()>().await;
    Ok(())
}

/// The master key in its files; the column keys, each wrapped for two providers. Returns the master
/// key's path in the certificate store and the column keys.
async fn make_keys(dir: &Path) -> Result<(String, Vec<ColumnKey>)> {
    let pair = dir.join("pair");
    fs::create_dir_all(&pair)?;
    let store = CertificateDirectory::open(&pair).await?;
    let path = store.create_cmk(StoreLocation::CurrentUser, "interop master key").await?;
    let path = path.to_string();

    let mut key_file = None;
    let mut certificate_file = None;
    for entry in fs::read_dir(&pair)? {
        let file = entry?.path();
        let text = fs::read_to_string(&file)?;
        if text.contains("PRIVATE KEY") {
            key_file = Some(file);
        } else {
            certificate_file = Some(file);
        }
    }
    let key_file = key_file.ok_or("no key was written")?;
    let certificate_file = certificate_file.ok_or("no certificate was written")?;
    fs::copy(&key_file, dir.join("cmk.pem"))?;
    fs::copy(&certificate_file, dir.join("cmk.crt"))?;
    fs::write(dir.join("p12-password"), P12_PASSWORD)?;
    let exported = Command::new("openssl")
        .args(["pkcs12", "-export", "-name", JAVA_ALIAS, "-inkey"])
        .arg(&key_file)
        .arg("-in")
        .arg(&certificate_file)
        .arg("-passout")
        .arg(format!("file:{}", dir.join("p12-password").display()))
        .arg("-out")
        .arg(dir.join("cmk.p12"))
        .status()?;
    if !exported.success() {
        return Err("openssl made no PKCS#12 file".into());
    }

    let key = CmkPrivateKey::from_pem(&fs::read_to_string(&key_file)?)?;
    let java = InMemoryKeyStore::new(MSSQL_JAVA_KEYSTORE).with_key(JAVA_ALIAS, key);
    let mut keys = Vec::new();
    for name in [CEK, CEK_IN_OTHER_ORDER] {
        let cek = Cek::generate()?;
        let windows = store.wrap_cek(&path, RSA_OAEP, &cek).await?;
        let java = java.wrap_cek(JAVA_ALIAS, RSA_OAEP, &cek).await?;
        // What a proxy looks for on the wire.
        fs::write(dir.join(format!("{name}-windows.envelope")), &windows)?;
        fs::write(dir.join(format!("{name}-java.envelope")), &java)?;
        let mut values = vec![("Cmk", windows), ("JavaCmk", java)];
        if name == CEK_IN_OTHER_ORDER {
            values.reverse();
        }
        keys.push(ColumnKey { name, values });
    }
    Ok((path, keys))
}

async fn create_keys(dba: &mut Client, path: &str, keys: &[ColumnKey]) -> Result<()> {
    run_batch(dba, create_column_master_key("Cmk", MSSQL_CERTIFICATE_STORE, path)).await?;
    run_batch(dba, create_column_master_key("JavaCmk", MSSQL_JAVA_KEYSTORE, JAVA_ALIAS)).await?;
    for ColumnKey { name, values } in keys {
        for (number, (master_key, envelope)) in values.iter().enumerate() {
            let statement = if number == 0 {
                create_column_encryption_key(name, master_key, envelope)
            } else {
                format!(
                    "ALTER COLUMN ENCRYPTION KEY {name} ADD VALUE (COLUMN_MASTER_KEY = {master_key}, \
                     ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x{})",
                    hex(envelope)
                )
            };
            run_batch(dba, statement).await?;
        }
    }
    Ok(())
}

/// `w` is who wrote the row, `n` the name of the case, `v` its value.
fn create_table(table: &Case) -> String {
    let collation = match (&table.collation, table.kind) {
        // Randomized text may have any collation: here it is the database's.
        (Some(collation), Kind::Deterministic) => format!("COLLATE {collation} "),
        _ => String::new(),
    };
    let (kind, key) = match table.kind {
        Kind::Deterministic => ("DETERMINISTIC", CEK),
        Kind::Randomized => ("RANDOMIZED", CEK_IN_OTHER_ORDER),
    };
    format!(
        "CREATE TABLE dbo.{} (w nvarchar(30) NOT NULL, n nvarchar(30) NOT NULL, \
         v {} {collation}ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = {key}, ENCRYPTION_TYPE = {kind}, \
         ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL, PRIMARY KEY (w, n))",
        table.table, table.sql_type
    )
}

/// `put_TABLE` inserts a row, `get_TABLE` gives the value of one.
fn create_procedures(table: &Case) -> [String; 2] {
    let Case { table, sql_type, .. } = table;
    let key = "@w nvarchar(30), @n nvarchar(30)";
    [
        format!(
            "CREATE PROCEDURE dbo.put_{table} {key}, @v {sql_type} AS \
             INSERT INTO dbo.{table} (w, n, v) VALUES (@w, @n, @v)"
        ),
        format!(
            "CREATE PROCEDURE dbo.get_{table} {key}, @v {sql_type} OUTPUT AS \
             SELECT @v = v FROM dbo.{table} WHERE w = @w AND n = @n"
        ),
    ]
}

async fn run_batch(dba: &mut Client, sql: String) -> Result<()> {
    match dba.simple_query(sql.as_str()).await {
        Ok(stream) => stream.into_results().await.map(drop),
        Err(error) => Err(error),
    }
    .map_err(|error| format!("{sql}: {error}").into())
}
