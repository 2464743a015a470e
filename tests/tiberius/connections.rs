//! Connections: TLS, logins, servers that are not there or know nothing of it.

use super::*;

#[tokio::test]
async fn every_kind_of_tls_carries_it() {
    for (encryption, settings) in [
        (Encryption::NotSupported, "Encrypt=false"),
        (Encryption::Off, "Encrypt=false"),
        (Encryption::Off, "Encrypt=true"),
        (Encryption::On, "Encrypt=false"),
        (Encryption::On, "Encrypt=true"),
    ] {
        let sandbox = Sandbox::builder().encryption(encryption).start().await.unwrap();
        let text = format!(
            "Server=tcp:127.0.0.1,{};Database=sandbox;User Id={};Password={};\
             TrustServerCertificate=true;Column Encryption Setting=Enabled;{settings}",
            sandbox.port(),
            sandbox.user(),
            sandbox.password()
        );
        let keys = KeyStores::builder().build().unwrap();
        let connector = Connector::from_ado_string(&text, keys).unwrap();
        let mut client = connector.connect().await.unwrap();
        let row = client.query("SELECT @P1", &[&42i32]).await.unwrap();
        let row = row.into_row().await.unwrap().unwrap();
        assert_eq!(row.get::<i32, _>(0), Some(42), "{encryption:?} {settings}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_a_pinned_one_is_not() {
    let sandbox = Sandbox::builder().encryption(Encryption::On).start().await.unwrap();
    let text = |more: &str| {
        format!(
            "Server=127.0.0.1,{};User Id={};Password={};Encrypt=true;\
             Column Encryption Setting=Enabled;{more}",
            sandbox.port(),
            sandbox.user(),
            sandbox.password()
        )
    };
    let connect = async |text: &str| {
        let keys = KeyStores::builder().build().unwrap();
        Connector::from_ado_string(text, keys).unwrap().connect().await
    };
    assert!(matches!(connect(&text("")).await, Err(Error::Connect(_))));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, sandbox.certificate_pem()).unwrap();
    let pinned = format!("ServerCertificate={}", file.path().display());
    connect(&text(&pinned)).await.unwrap();
}

#[tokio::test]
async fn strict_encryption_carries_it() {
    let sandbox = Sandbox::builder().encryption(Encryption::Strict).start().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, sandbox.certificate_pem()).unwrap();
    let text = format!(
        "Server=localhost,{};User Id={};Password={};Encrypt=strict;ServerCertificate={};\
         Column Encryption Setting=Enabled",
        sandbox.port(),
        sandbox.user(),
        sandbox.password(),
        file.path().display()
    );
    let keys = KeyStores::builder().build().unwrap();
    let mut client = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap();
    let row = client.query("SELECT @P1", &[&42i32]).await.unwrap();
    assert_eq!(row.into_row().await.unwrap().unwrap().get::<i32, _>(0), Some(42));
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_and_no_hang() {
    let database = Database::start().await;
    let connector = database.connector.clone();
    let mut client = database.connect().await;
    client.simple_query("SELECT 1").await.unwrap().into_results().await.unwrap();
    database.sandbox.shutdown().await;
    let query = async {
        match client.query("SELECT @P1", &[&1]).await {
            Ok(stream) => stream.into_results().await.map(drop).unwrap_err(),
            Err(error) => error,
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), query).await.expect("it hangs");
    if let Some(typed) = connector.error_behind(&error) {
        assert!(matches!(*typed, SessionError::ConnectionCut), "{typed}");
    } else {
        assert!(matches!(error, tiberius::error::Error::Io { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_always_encrypted_is_refused_at_login() {
    let sandbox = Sandbox::builder().always_encrypted(false).start().await.unwrap();
    let text = format!("{};Column Encryption Setting=Enabled", sandbox.connection_string());
    let keys = KeyStores::builder().build().unwrap();
    let error = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap_err();
    let Error::Session(error) = &error else { panic!("{error}") };
    assert!(matches!(**error, SessionError::NotAcknowledged));
}

#[tokio::test]
async fn without_the_setting_the_application_sees_ciphertext_and_cannot_write() {
    let database = Database::start().await;
    messages(&database).await;
    database.connect().await.execute(INSERT, &[&1, &"a", &SECRET]).await.unwrap();
    let mut plain = database.dba().await;
    let row = plain.query("SELECT Content FROM Messages", &[]).await.unwrap();
    let row = row.into_row().await.unwrap().unwrap();
    let cell: &[u8] = row.get(0).unwrap();
    assert_eq!((cell[0], cell.len()), (1, 49 + 16 * (SECRET.len() * 2 / 16 + 1)));
    let error = plain.execute(INSERT, &[&2, &"a", &"plain text"]).await.unwrap_err();
    assert_eq!(error.code(), Some(206));
}

#[tokio::test]
async fn wrong_credentials_are_the_drivers_error() {
    let sandbox = Sandbox::start().await.unwrap();
    let text = format!(
        "Server=127.0.0.1,{};User Id=sa;Password=wrong;Encrypt=false;TrustServerCertificate=true;\
         Column Encryption Setting=Enabled",
        sandbox.port()
    );
    let keys = KeyStores::builder().build().unwrap();
    let error = Connector::from_ado_string(&text, keys).unwrap().connect().await.unwrap_err();
    let Error::Driver(error) = error else { panic!("{error}") };
    assert_eq!(error.code(), Some(18456));
}
