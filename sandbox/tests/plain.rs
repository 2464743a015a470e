//! An ordinary client, tiberius, on the paths without Always Encrypted.

use always_encrypted_sandbox::Sandbox;
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

async fn connect(sandbox: &Sandbox) -> Client<Compat<TcpStream>> {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(sandbox.port());
    config.encryption(EncryptionLevel::NotSupported);
    config.authentication(AuthMethod::sql_server(sandbox.user(), sandbox.password()));
    let tcp = TcpStream::connect(sandbox.addr()).await.unwrap();
    Client::connect(config, tcp.compat_write()).await.unwrap()
}

async fn run(client: &mut Client<Compat<TcpStream>>, sql: &str) {
    client.simple_query(sql).await.unwrap().into_results().await.unwrap();
}

fn number(error: &tiberius::error::Error) -> u32 {
    match error {
        tiberius::error::Error::Server(token) => token.code(),
        other => panic!("not an error of the server: {other}"),
    }
}

async fn fails(client: &mut Client<Compat<TcpStream>>, sql: &str) -> u32 {
    let error = match client.simple_query(sql).await {
        Err(error) => error,
        Ok(stream) => stream.into_results().await.expect_err(sql),
    };
    number(&error)
}

#[tokio::test]
async fn rows_written_are_rows_read() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut client = connect(&sandbox).await;
    run(&mut client, "CREATE TABLE dbo.Users (Id int IDENTITY(1,1) PRIMARY KEY, Name nvarchar(50) NOT NULL, Age int NULL)").await;
    let result = client
        .execute(
            "INSERT INTO dbo.Users (Name, Age) VALUES (@P1, @P2), (N'Béa', 7)",
            &[&"Ada 😀", &36i32],
        )
        .await
        .unwrap();
    assert_eq!(result.total(), 2);
    let rows = client
        .query("SELECT Id, Name, Age FROM Users WHERE Age >= @P1 ORDER BY Age DESC", &[&7i32])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let got: Vec<_> = rows
        .iter()
        .map(|r| {
            (r.get::<i32, _>(0).unwrap(), r.get::<&str, _>(1).unwrap(), r.get::<i32, _>(2).unwrap())
        })
        .collect();
    assert_eq!(got, [(1, "Ada 😀", 36), (2, "Béa", 7)]);
    let updated = client
        .execute("UPDATE Users SET Age = Age + 1 WHERE Name = N'ADA 😀  '", &[])
        .await
        .unwrap();
    assert_eq!(updated.total(), 1, "the default collation ignores case and trailing blanks");
    let row = client
        .query("SELECT COUNT(*), MAX(Age), TOTAL = SUM(Age) FROM Users", &[])
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (Some(2i32), Some(37i32), Some(44i32)));
    assert_eq!(
        client.execute("DELETE FROM Users WHERE Id IN (1, 5)", &[]).await.unwrap().total(),
        1
    );
    let statistics = sandbox.statistics();
    assert_eq!((statistics.connections, statistics.batches, statistics.rpcs), (1, 1, 5));
}

#[tokio::test]
async fn errors_leave_the_connection_usable() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut client = connect(&sandbox).await;
    assert_eq!(fails(&mut client, "SELECT * FROM nowhere").await, 208);
    assert_eq!(fails(&mut client, "SELECT FROM WHERE").await, 102);
    run(&mut client, "CREATE TABLE t (id int PRIMARY KEY, n tinyint)").await;
    assert_eq!(fails(&mut client, "SELECT nothing FROM t").await, 207);
    run(&mut client, "INSERT INTO t VALUES (1, 2)").await;
    assert_eq!(fails(&mut client, "INSERT INTO t VALUES (1, 2)").await, 2627);
    assert_eq!(fails(&mut client, "INSERT INTO t VALUES (2, 256)").await, 220);
    assert_eq!(fails(&mut client, "INSERT INTO t VALUES (NULL, 1)").await, 515);
    assert_eq!(fails(&mut client, "SELECT id / 0 FROM t").await, 8134);
    assert_eq!(fails(&mut client, "SELECT SUM(id) OVER (ORDER BY id) FROM t").await, 49999);
    let row = client
        .simple_query("SELECT COUNT(*) FROM t")
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(1));
}
