//! TLS, transactions, attention, files, and clients that behave badly.

mod wire;

use std::time::Duration;

use always_encrypted_sandbox::{Encryption, Sandbox};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncWriteCompatExt;
use wire::{Param, Wire};

const SOON: Duration = Duration::from_secs(20);

async fn version_over(
    server: Encryption,
    client: EncryptionLevel,
) -> Result<String, tiberius::error::Error> {
    let sandbox = Sandbox::builder().encryption(server).start().await.unwrap();
    let mut config = Config::new();
    config.host("localhost");
    config.port(sandbox.port());
    config.encryption(client);
    config.trust_cert();
    config.authentication(AuthMethod::sql_server(sandbox.user(), sandbox.password()));
    let tcp = TcpStream::connect(sandbox.addr()).await.unwrap();
    let mut client = Client::connect(config, tcp.compat_write()).await?;
    let long = "x".repeat(100_000);
    let row =
        client.query("SELECT @@VERSION, @P1", &[&long.as_str()]).await?.into_row().await?.unwrap();
    assert_eq!(row.get::<&str, _>(1), Some(long.as_str()));
    Ok(row.get::<&str, _>(0).unwrap().to_owned())
}

#[tokio::test]
async fn tls_is_what_both_sides_want() {
    for (server, client) in [
        (Encryption::NotSupported, EncryptionLevel::NotSupported),
        (Encryption::Off, EncryptionLevel::NotSupported),
        (Encryption::Off, EncryptionLevel::Off),
        (Encryption::Off, EncryptionLevel::On),
        (Encryption::On, EncryptionLevel::On),
        (Encryption::On, EncryptionLevel::Required),
        (Encryption::Strict, EncryptionLevel::Strict),
    ] {
        let version = timeout(SOON, version_over(server, client)).await.unwrap();
        assert!(
            version.as_ref().is_ok_and(|v| v.contains("SQL Server")),
            "{server:?} {client:?}: {version:?}"
        );
    }
    for (server, client) in [
        (Encryption::NotSupported, EncryptionLevel::Required),
        (Encryption::On, EncryptionLevel::NotSupported),
    ] {
        let refused = timeout(SOON, version_over(server, client)).await;
        assert!(refused.is_ok_and(|version| version.is_err()), "{server:?} {client:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_error_18456() {
    let sandbox = Sandbox::builder().login("app", "Secret").start().await.unwrap();
    assert_eq!(Wire::login(&sandbox, "app", "secret", None, 4096).await.1.numbers(), [18456]);
    assert_eq!(Wire::login(&sandbox, "sa", "Secret", None, 4096).await.1.numbers(), [18456]);
    Wire::login(&sandbox, "APP", "Secret", None, 4096).await.1.ok();
}

#[tokio::test]
async fn transactions_cover_rows_and_tables() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut one = Wire::connect(&sandbox, None).await;
    let mut other = Wire::connect(&sandbox, None).await;
    one.batch("CREATE TABLE t (id int)").await.ok();
    let began =
        one.batch("BEGIN TRAN; INSERT INTO t VALUES (1); CREATE TABLE u (id int)").await.ok();
    assert!(began.changes.contains(&8));
    let count = "SELECT COUNT(*) FROM t";
    assert_eq!(other.batch(count).await.ok().sets[0].rows[0][0], Some(vec![0; 4]), "not committed");
    assert_eq!(other.batch("SELECT * FROM u").await.numbers(), [208]);
    one.batch("SAVE TRAN s; INSERT INTO t VALUES (2); ROLLBACK TRAN s; BEGIN TRAN; COMMIT")
        .await
        .ok();
    assert_eq!(
        one.batch("SELECT @@TRANCOUNT").await.ok().sets[0].rows[0][0],
        Some(vec![1, 0, 0, 0])
    );
    assert!(one.batch("COMMIT").await.ok().changes.contains(&9));
    assert_eq!(other.batch(count).await.ok().sets[0].rows[0][0], Some(vec![1, 0, 0, 0]));
    let rolled_back =
        one.batch("BEGIN TRAN; DELETE FROM t; DROP TABLE u; ROLLBACK TRAN").await.ok();
    assert!(rolled_back.changes.contains(&10));
    assert_eq!(one.batch(count).await.ok().sets[0].rows[0][0], Some(vec![1, 0, 0, 0]));
    other.batch("SELECT * FROM u").await.ok();
    assert_eq!(one.batch("COMMIT").await.numbers(), [3902]);
    assert_eq!(one.batch("ROLLBACK").await.numbers(), [3903]);
}

#[tokio::test]
async fn a_transaction_ends_with_its_connection() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut one = Wire::connect(&sandbox, None).await;
    one.batch("CREATE TABLE t (id int)").await.ok();
    one.batch("BEGIN TRAN; INSERT INTO t VALUES (1)").await.ok();
    let mut other = Wire::connect(&sandbox, None).await;
    let waiting = other.batch("INSERT INTO t VALUES (2)");
    drop(one);
    timeout(SOON, waiting).await.unwrap().ok();
    assert_eq!(other.batch("SELECT id FROM t").await.ok().sets[0].rows, [[Some(vec![2, 0, 0, 0])]]);
}

#[tokio::test]
async fn transaction_manager_requests_are_transactions() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let headers = Wire::batch_payload("");
    let request = |tail: &[u8]| [&headers[..], tail].concat();
    wire.batch("CREATE TABLE t (id int)").await.ok();
    for (end, change, count) in [(8u8, 10u8, 0u8), (7, 9, 1)] {
        wire.send(0x0E, &request(&[5, 0, 0, 0])).await;
        assert_eq!(wire.receive().await.ok().changes, [8]);
        wire.batch("INSERT INTO t VALUES (1)").await.ok();
        wire.send(0x0E, &request(&[end, 0, 0, 0])).await;
        assert_eq!(wire.receive().await.ok().changes, [change]);
        let rows = wire.batch("SELECT COUNT(*) FROM t").await.ok();
        assert_eq!(rows.sets[0].rows[0][0], Some(vec![count, 0, 0, 0]));
    }
}

#[tokio::test]
async fn an_attention_stops_a_long_answer() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("CREATE TABLE t (a int, b nvarchar(4000))").await.ok();
    let rows = vec!["(1, N'0123456789012345678901234567890123456789')"; 1000].join(",");
    wire.batch(&format!("INSERT INTO t VALUES {rows}")).await.ok();
    wire.send(1, &Wire::batch_payload("SELECT x.b, y.b FROM t x CROSS JOIN t y CROSS JOIN t z"))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    wire.send(6, &[]).await;
    let reply = timeout(SOON, wire.receive()).await.unwrap();
    assert_eq!(reply.dones.last().map(|d| d.1 & 0x20), Some(0x20));
    assert!(reply.sets[0].rows.len() < 1_000_000);
    wire.batch("SELECT 1").await.ok();
    // One that stops a statement which sends nothing.
    wire.send(1, &Wire::batch_payload("SELECT COUNT(*) FROM t x CROSS JOIN t y CROSS JOIN t z"))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    wire.send(6, &[]).await;
    let reply = timeout(SOON, wire.receive()).await.unwrap();
    assert_eq!(reply.dones.last().map(|d| d.1 & 0x20), Some(0x20));
    // One that stops a wait for somebody else's transaction.
    let mut other = Wire::connect(&sandbox, None).await;
    other.batch("BEGIN TRAN; DELETE FROM t WHERE a = 0").await.ok();
    wire.send(1, &Wire::batch_payload("DELETE FROM t")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    wire.send(6, &[]).await;
    let reply = timeout(SOON, wire.receive()).await.unwrap();
    assert_eq!(reply.dones.last().map(|d| d.1 & 0x20), Some(0x20));
    other.batch("ROLLBACK").await.ok();
    // And one that comes when there is nothing to stop.
    wire.send(6, &[]).await;
    assert_eq!(wire.receive().await.dones, [(0xFD, 0x20, 0)]);
    wire.batch("SELECT 1").await.ok();
}

#[tokio::test]
async fn several_calls_in_one_message_are_several_answers() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let call = |n| {
        let params = [Param::text("", "SELECT @a"), Param::text("", "@a int"), Param::int("@a", n)];
        Wire::call_by_name("sp_executesql", &params)
    };
    let reply = wire.rpc(&[call(1), call(2)]).await.ok();
    assert_eq!(reply.sets.len(), 2);
    let ends: Vec<_> = reply.dones.iter().map(|d| (d.0, d.1)).collect();
    assert_eq!(ends, [(0xFF, 0x11), (0xFE, 0x01), (0xFF, 0x11), (0xFE, 0x00)]);
}

#[tokio::test]
async fn prepared_statements_run_by_handle() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    let (declare, sql) = (Param::text("", "@a int"), Param::text("", "SELECT @a + 1"));
    let prepexec = [Param::null("@h"), declare.clone(), sql.clone(), Param::int("", 1)];
    let reply = wire.rpc(&[Wire::call_by_id(13, &prepexec)]).await.ok();
    assert_eq!(reply.sets[0].rows[0][0], Some(vec![2, 0, 0, 0]));
    let handle = reply.return_values[0];
    let again =
        wire.rpc(&[Wire::call_by_id(12, &[Param::int("", handle), Param::int("", 6)])]).await.ok();
    assert_eq!(again.sets[0].rows[0][0], Some(vec![7, 0, 0, 0]));
    wire.rpc(&[Wire::call_by_id(15, &[Param::int("", handle)])]).await.ok();
    let gone =
        wire.rpc(&[Wire::call_by_id(12, &[Param::int("", handle), Param::int("", 6)])]).await;
    assert_eq!(gone.numbers(), [8179]);
    let bad = [Param::null("@h"), declare, Param::text("", "SELECT FROM"), Param::int("", 1)];
    assert_eq!(wire.rpc(&[Wire::call_by_id(11, &bad)]).await.numbers(), [102, 8180]);
}

#[tokio::test]
async fn packets_of_any_agreed_size_carry_any_value() {
    let sandbox = Sandbox::start().await.unwrap();
    for size in [512, 4096, 32767] {
        let (mut wire, reply) = Wire::login(&sandbox, "sa", sandbox.password(), None, size).await;
        reply.ok();
        let long = "y".repeat(200_001);
        let reply =
            wire.execute("SELECT @v", "@v nvarchar(max)", &[Param::text("@v", &long)]).await.ok();
        assert_eq!(reply.sets[0].rows[0][0], Some(wire::utf16(&long)));
    }
}

#[tokio::test]
async fn a_file_keeps_everything() {
    let folder = std::env::temp_dir().join(format!("sandbox-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("kept.db");
    let _ = std::fs::remove_file(&path);
    let md_version = {
        let sandbox = Sandbox::builder().file(&path).start().await.unwrap();
        let mut wire = Wire::connect(&sandbox, Some(1)).await;
        wire.batch(
            "CREATE COLUMN MASTER KEY M WITH (KEY_STORE_PROVIDER_NAME = 'T', KEY_PATH = 'p');
             CREATE COLUMN ENCRYPTION KEY K WITH VALUES (COLUMN_MASTER_KEY = M, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01);
             CREATE TABLE t (id int IDENTITY(5, 5) PRIMARY KEY, name nvarchar(10) DEFAULT N'none', s int ENCRYPTED WITH
                (COLUMN_ENCRYPTION_KEY = K, ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256'));
             INSERT INTO t (s) VALUES (NULL)",
        )
        .await
        .ok();
        let scheme = wire.schemes("UPDATE t SET s = @s", "@s int").await.remove(0).unwrap();
        sandbox.shutdown().await;
        scheme.md_version
    };
    let sandbox = Sandbox::builder().file(&path).start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch("INSERT INTO t (name) VALUES (N'next')").await.ok();
    let rows = wire.batch("SELECT id, name FROM t ORDER BY id").await.ok().sets.remove(0).rows;
    let utf16 = |text| Some(wire::utf16(text));
    assert_eq!(
        rows,
        [[Some(vec![5, 0, 0, 0]), utf16("none")], [Some(vec![10, 0, 0, 0]), utf16("next")]]
    );
    let scheme = wire.schemes("UPDATE t SET s = @s", "@s int").await.remove(0).unwrap();
    assert_eq!(scheme.md_version, md_version);
    drop(sandbox);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn shutting_down_closes_every_connection() {
    let sandbox = Sandbox::builder().record(true).start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, None).await;
    wire.batch("SELECT N'seen'").await.ok();
    let recorded = sandbox.recorded();
    let seen = wire::utf16("seen");
    assert!(recorded.from_clients.windows(8).any(|w| w == seen));
    assert!(recorded.to_clients.windows(8).any(|w| w == seen));
    let addr = sandbox.addr();
    sandbox.shutdown().await;
    let mut rest = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut wire.tcp, &mut rest);
    assert!(timeout(SOON, closed).await.is_ok());
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_hostile_client_harms_nobody_else() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut good = Wire::connect(&sandbox, Some(1)).await;
    for bytes in [
        &[0x12u8, 1, 0, 8, 0, 0, 1, 0][..],
        &[0x12, 1, 0, 0, 0, 0, 1, 0],
        &[0x10, 1, 0, 12, 0, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0xFF; 300],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut wire = Wire::raw(&sandbox).await;
        tokio::io::AsyncWriteExt::write_all(&mut wire.tcp, bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::io::AsyncReadExt::read_to_end(&mut wire.tcp, &mut rest);
        assert!(timeout(SOON, closed).await.is_ok());
    }
    // A logged-in client: every request cut at every byte gets an answer and keeps the connection.
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    let params = [Param::text("", "SELECT @a"), Param::text("", "@a int"), Param::int("@a", 1)];
    let whole = [&Wire::batch_payload("")[..], &Wire::call_by_id(10, &params)].concat();
    for end in 0..whole.len() {
        wire.send(3, &whole[..end]).await;
        timeout(SOON, wire.receive()).await.unwrap();
    }
    for end in 0..24 {
        wire.send(1, &whole[..end]).await;
        timeout(SOON, wire.receive()).await.unwrap();
        wire.send(0x0E, &whole[..end]).await;
        timeout(SOON, wire.receive()).await.unwrap();
    }
    let deep = format!("SELECT {}1", "1+".repeat(60_000));
    assert_eq!(wire.batch(&deep).await.numbers(), [8631]);
    let deep = format!("SELECT 1 WHERE {}1=1", "1=1 AND ".repeat(40_000));
    assert_eq!(wire.batch(&deep).await.numbers(), [8631]);
    good.batch("SELECT 1").await.ok();
}
