//! What was committed survives the end of the process, and many clients at once do not get in each other's way.

mod wire;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use always_encrypted_sandbox::Sandbox;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};
use wire::{Param, Wire, cell};

/// Killed with the test, whatever becomes of it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with its port.
fn serve(file: &std::path::Path) -> (Server, u16) {
    let child = Command::new(env!("CARGO_BIN_EXE_always-encrypted-sandbox"))
        .args(["--port", "0", "--file"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split(';').next().unwrap();
    (server, address.rsplit(',').next().unwrap().parse().unwrap())
}

async fn connect(port: u16) -> Client<Compat<TcpStream>> {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(port);
    config.encryption(EncryptionLevel::NotSupported);
    config.authentication(AuthMethod::sql_server("sa", "Sandbox-1433!"));
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    Client::connect(config, tcp.compat_write()).await.unwrap()
}

async fn run(client: &mut Client<Compat<TcpStream>>, sql: &str) {
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_has_lost_nothing_that_was_committed() {
    let folder = Folder(std::env::temp_dir().join(format!("sandbox-kill-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("kept.db");
    let mut committed = Vec::new();
    for round in 0..3i32 {
        let (mut server, port) = serve(&file);
        let mut client = connect(port).await;
        if round == 0 {
            run(&mut client, "CREATE TABLE Kept (Id int PRIMARY KEY, Text nvarchar(100))").await;
            run(
                &mut client,
                "CREATE PROC Keep @id int AS INSERT INTO Kept (Id, Text) VALUES (@id, N'kept')",
            )
            .await;
        }
        for n in 0..30 {
            let id = round * 100 + n;
            client.execute("EXEC Keep @P1", &[&id]).await.unwrap();
            committed.push(id);
        }
        run(&mut client, "BEGIN TRAN; INSERT INTO Kept (Id) VALUES (-1)").await;
        server.0.kill().unwrap();
        server.0.wait().unwrap();
    }
    let sandbox = Sandbox::builder().file(&file).start().await.unwrap();
    let mut client = connect(sandbox.port()).await;
    let rows = client.query("SELECT Id FROM Kept ORDER BY Id", &[]).await.unwrap();
    let rows = rows.into_first_result().await.unwrap();
    let kept: Vec<i32> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(kept, committed);
}

#[tokio::test]
async fn many_clients_write_and_read_at_once() {
    const CLIENTS: i32 = 40;
    const ROWS: i32 = 10;
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    let sql = "CREATE COLUMN MASTER KEY M WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'p');
        CREATE COLUMN ENCRYPTION KEY E WITH VALUES (COLUMN_MASTER_KEY = M, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01);
        CREATE TABLE Many (Id int PRIMARY KEY, Secret int ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = E,
            ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256'))";
    wire.batch(sql).await.ok();
    const INSERT: &str = "INSERT INTO Many (Id, Secret) VALUES (@id, @s)";
    const DECLARED: &str = "@id int, @s int";
    let sandbox = std::sync::Arc::new(sandbox);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let sandbox = std::sync::Arc::clone(&sandbox);
        clients.spawn(async move {
            let mut wire = Wire::connect(&sandbox, Some(1)).await;
            let scheme = wire.schemes(INSERT, DECLARED).await[1].clone().unwrap();
            for n in 0..ROWS {
                let id = client * ROWS + n;
                let secret = cell(1, id as u8);
                let encrypted = Param::encrypted("@s", Some(&secret), &[0x26, 4], &scheme);
                wire.execute(INSERT, DECLARED, &[Param::int("@id", id), encrypted]).await.ok();
                let sql = format!("SELECT Secret FROM Many WHERE Id = {id}");
                assert_eq!(wire.batch(&sql).await.ok().sets[0].rows, [[Some(secret)]]);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let rows = wire.batch("SELECT COUNT(*) FROM Many").await.ok().sets.remove(0).rows;
    assert_eq!(rows[0][0], Some((CLIENTS * ROWS).to_le_bytes().to_vec()));
}
