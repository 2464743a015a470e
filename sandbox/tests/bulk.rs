//! INSERT BULK and the load that follows it.

mod wire;

use always_encrypted_sandbox::{Encryption, Sandbox};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel, IntoRow};
use tokio_util::compat::TokioAsyncWriteCompatExt;
use wire::{Bulk, Scheme, Wire, cell};

const NVARCHAR_11: &[u8] = &[0xE7, 22, 0, 0x09, 0x04, 0xD0, 0x00, 0x34];
const NCHAR_MAX: &[u8] = &[0xE7, 0xFF, 0xFF, 0x09, 0x04, 0xD0, 0x00, 0x34];
const INT: &[u8] = &[0x26, 4];
const VARBINARY_81: &[u8] = &[0xA5, 81, 0];

const SETUP: &str = "
CREATE COLUMN MASTER KEY CMK1 WITH (KEY_STORE_PROVIDER_NAME = 'TEST', KEY_PATH = 'some/path');
CREATE COLUMN ENCRYPTION KEY CEK1 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030405);
CREATE COLUMN ENCRYPTION KEY CEK2 WITH VALUES
    (COLUMN_MASTER_KEY = CMK1, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x0102030406);
CREATE TABLE dbo.People (
    Id int NOT NULL PRIMARY KEY,
    SSN nvarchar(11) COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK1,
        ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL,
    Other int ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = CEK2,
        ENCRYPTION_TYPE = RANDOMIZED, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL);
CREATE TABLE dbo.Plain (Id int IDENTITY(1,1) PRIMARY KEY, Name nvarchar(10) NOT NULL, N int NOT NULL DEFAULT 7)";

const INSERT: &str =
    "INSERT BULK dbo.People ([Id] int, [SSN] varbinary(81)) WITH (TABLOCK, KEEP_NULLS)";

async fn prepared() -> (Sandbox, Wire, Scheme) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    wire.batch(SETUP).await.ok();
    let scheme =
        wire.schemes("INSERT INTO People (Id, SSN) VALUES (1, @s)", "@s nvarchar(11)").await;
    (sandbox, wire, scheme[0].clone().unwrap())
}

fn encrypted(scheme: &Scheme) -> Bulk {
    Bulk::new(true).key(scheme).column("Id", INT, None).column(
        "SSN",
        VARBINARY_81,
        Some((0, NVARCHAR_11, scheme)),
    )
}

fn row(bulk: Bulk, id: i32, cell: Option<&[u8]>) -> Bulk {
    let id = id.to_le_bytes();
    let value = match cell {
        None => vec![0xFF, 0xFF],
        Some(cell) => [&(cell.len() as u16).to_le_bytes()[..], cell].concat(),
    };
    bulk.row(&[&[&[4][..], &id].concat(), &value])
}

#[tokio::test]
async fn cells_that_are_loaded_come_back() {
    let (_sandbox, mut wire, scheme) = prepared().await;
    wire.batch(INSERT).await.ok();
    let load = row(row(encrypted(&scheme), 1, Some(&cell(2, 7))), 2, None);
    assert_eq!(wire.load(load).await.ok().affected(), 2);
    let set = wire.batch("SELECT Id, SSN FROM People ORDER BY Id").await.ok().sets.remove(0);
    assert_eq!(set.rows[0][1], Some(cell(2, 7)));
    assert_eq!(set.rows[1][1], None);
    assert!(set.columns[1].crypto.is_some());
}

#[tokio::test]
async fn a_load_under_another_scheme_loads_nothing() {
    let (_sandbox, mut wire, scheme) = prepared().await;
    let other = wire.schemes("UPDATE People SET Other = @o", "@o int").await[0].clone().unwrap();
    let lies: [(Scheme, &[u8], i32); 7] = [
        (Scheme { kind: 2, ..scheme.clone() }, NVARCHAR_11, 206),
        (Scheme { kind: 1, ..other.clone() }, NVARCHAR_11, 206),
        (scheme.clone(), INT, 206),
        (Scheme { norm: 2, ..scheme.clone() }, NVARCHAR_11, 33514),
        (Scheme { algorithm: 1, ..scheme.clone() }, NVARCHAR_11, 33514),
        (Scheme { md_version: [0; 8], ..scheme.clone() }, NVARCHAR_11, 33514),
        (Scheme { cek_id: 99, ..scheme.clone() }, NVARCHAR_11, 33514),
    ];
    for (lie, base, number) in lies {
        wire.batch(INSERT).await.ok();
        let load = Bulk::new(true).key(&lie).column("Id", INT, None).column(
            "SSN",
            VARBINARY_81,
            Some((0, base, &lie)),
        );
        let reply = wire.load(row(load, 1, Some(&cell(2, 7)))).await;
        assert_eq!(reply.numbers(), [number], "{lie:?}");
    }
    let mut no_cell = cell(2, 7);
    no_cell[0] = 2;
    for bytes in [no_cell, vec![1; 64], vec![1; 66]] {
        wire.batch(INSERT).await.ok();
        let load = row(row(encrypted(&scheme), 1, Some(&cell(2, 7))), 2, Some(&bytes));
        assert_eq!(wire.load(load).await.numbers(), [4815]);
    }
    let rows = wire.batch("SELECT COUNT(*) FROM People").await.ok().sets.remove(0).rows;
    assert_eq!(rows[0][0], Some(vec![0; 4]), "a load is all or nothing");
}

#[tokio::test]
async fn plaintext_is_refused_before_it_is_sent() {
    let (sandbox, mut wire, _) = prepared().await;
    for sql in [
        "INSERT BULK People (Id int, SSN nvarchar(11))",
        "INSERT BULK People (Id int, SSN nvarchar(11) COLLATE Latin1_General_BIN2) WITH (ALLOW_ENCRYPTED_VALUE_MODIFICATIONS)",
    ] {
        assert_eq!(wire.batch(sql).await.numbers(), [206], "{sql}");
    }
    let mut plain = Wire::connect(&sandbox, None).await;
    assert_eq!(plain.batch(INSERT).await.numbers(), [206]);
    wire.batch(INSERT).await.ok();
    let load = Bulk::new(true).column("Id", INT, None).column("SSN", VARBINARY_81, None);
    assert_eq!(wire.load(row(load, 1, Some(&cell(2, 7)))).await.numbers(), [206]);
}

#[tokio::test]
async fn whoever_may_modify_encrypted_values_needs_no_keys() {
    let (sandbox, mut wire, _) = prepared().await;
    let sql =
        "INSERT BULK People (Id int, SSN varbinary(81)) WITH (ALLOW_ENCRYPTED_VALUE_MODIFICATIONS)";
    let mut plain = Wire::connect(&sandbox, None).await;
    for (client, id, ae) in [(&mut wire, 1, true), (&mut plain, 2, false)] {
        client.batch(sql).await.ok();
        let load = Bulk::new(ae).column("Id", INT, None).column("SSN", VARBINARY_81, None);
        assert_eq!(client.load(row(load, id, Some(&cell(2, 5)))).await.ok().affected(), 1);
        client.batch(sql).await.ok();
        let load = Bulk::new(ae).column("Id", INT, None).column("SSN", &[0xA5, 0x40, 0x1F], None);
        assert_eq!(client.load(row(load, 9, Some(&[1; 97]))).await.numbers(), [4815]);
    }
    let set = wire.batch("SELECT SSN FROM People").await.ok().sets.remove(0);
    assert_eq!(set.rows, [[Some(cell(2, 5))], [Some(cell(2, 5))]]);
}

#[tokio::test]
async fn a_load_out_of_turn_is_an_error_and_the_session_lives() {
    let (_sandbox, mut wire, scheme) = prepared().await;
    let load = || row(encrypted(&scheme), 1, None);
    assert_eq!(wire.load(load()).await.numbers(), [4002]);
    wire.batch(INSERT).await.ok();
    wire.batch("SELECT 1").await.ok();
    assert_eq!(wire.load(load()).await.numbers(), [4002]);
    wire.batch(INSERT).await.ok();
    let cut = Bulk(load().0[..20].to_vec());
    assert_eq!(wire.load(cut).await.numbers(), [4002]);
    wire.batch("INSERT BULK People (Id int)").await.ok();
    assert_eq!(wire.load(load()).await.numbers(), [4002]);
    assert_eq!(wire.batch("INSERT BULK People (Nope int)").await.numbers(), [207]);
    assert_eq!(wire.batch("INSERT BULK Nothing (Id int)").await.numbers(), [208]);
    wire.batch(INSERT).await.ok();
    assert_eq!(wire.load(load()).await.ok().affected(), 1);
    wire.batch(INSERT).await.ok();
    assert_eq!(wire.load(load()).await.numbers(), [2627]);
}

#[tokio::test]
async fn defaults_and_identities_are_filled_in() {
    let (_sandbox, mut wire, _) = prepared().await;
    let name = |text: &str| {
        [
            &(text.len() as u64 * 2).to_le_bytes()[..],
            &(text.len() as u32 * 2).to_le_bytes(),
            &wire::utf16(text),
            &[0; 4],
        ]
        .concat()
    };
    let load = |text: &str, number: &[u8]| {
        Bulk::new(true)
            .column("Name", NCHAR_MAX, None)
            .column("N", INT, None)
            .row(&[&name(text), number])
    };
    wire.batch("INSERT BULK Plain (Name nvarchar(10), N int)").await.ok();
    wire.load(load("Ada", &[0])).await.ok();
    wire.batch("INSERT BULK Plain (Name nvarchar(10), N int) WITH (KEEP_NULLS)").await.ok();
    assert_eq!(wire.load(load("Ada", &[0])).await.numbers(), [515]);
    wire.batch("INSERT BULK Plain (Name nvarchar(10), N int)").await.ok();
    assert_eq!(wire.load(load("longer than ten", &[4, 1, 0, 0, 0])).await.numbers(), [2628]);
    // An identity column in the list means that its values are kept.
    wire.batch("INSERT BULK Plain (Id int, Name nvarchar(10))").await.ok();
    let kept = Bulk::new(true)
        .column("Id", INT, None)
        .column("Name", NCHAR_MAX, None)
        .row(&[&[4, 40, 0, 0, 0], &name("Bea")]);
    wire.load(kept).await.ok();
    wire.batch("INSERT INTO Plain (Name) VALUES (N'Cai')").await.ok();
    let set = wire.batch("SELECT Id, N FROM Plain ORDER BY Id").await.ok().sets.remove(0);
    let ids: Vec<u8> = set.rows.iter().map(|row| row[0].as_ref().unwrap()[0]).collect();
    assert_eq!(ids.last(), Some(&41));
    assert_eq!(set.rows[0][1], Some(vec![7, 0, 0, 0]));
}

#[tokio::test]
async fn tiberius_loads_a_plain_table() {
    let sandbox = Sandbox::builder().encryption(Encryption::NotSupported).start().await.unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(sandbox.port());
    config.encryption(EncryptionLevel::NotSupported);
    config.authentication(AuthMethod::sql_server(sandbox.user(), sandbox.password()));
    let tcp = tokio::net::TcpStream::connect(sandbox.addr()).await.unwrap();
    let mut client = Client::connect(config, tcp.compat_write()).await.unwrap();
    let sql = "CREATE TABLE Loaded (Id int IDENTITY PRIMARY KEY, A int NOT NULL, B float NULL, C nvarchar(20) NULL)";
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
    let mut load = client.bulk_insert("Loaded").await.unwrap();
    for n in 0..1000i32 {
        load.send((n, Some(f64::from(n)), Some("text")).into_row()).await.unwrap();
    }
    assert_eq!(load.finalize().await.unwrap().total(), 1000);
    let rows = client.query("SELECT COUNT(*), SUM(A), MAX(Id) FROM Loaded", &[]).await.unwrap();
    let row = rows.into_row().await.unwrap().unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (Some(1000i32), Some(499_500i32), Some(1000i32))
    );
}
