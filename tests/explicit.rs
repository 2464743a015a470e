//! Cells and values of one column by hand: what the wire wrote is read, and the other way round.

mod database;

use std::sync::Arc;

use always_encrypted::{
    Client, ColumnCipher, Connector, SessionError,
    client::{ColumnCipherError, ColumnValueError},
    crypto::{Cek, CellKey, CmkPrivateKey, EncryptionType},
    keystore::{InMemoryKeyStore, KeyStores},
    policy::TrustedKeyPaths,
    value::{ConversionType, SqlType},
};
use always_encrypted_sandbox::Sandbox;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use database::{Database, PATH, PROVIDER, encrypted, run};
use tiberius::{ColumnData, FromSqlOwned, ToSql, Uuid, numeric::Numeric};

const SECRET: &str = "meet at the northern harbour at dawn";
const DISABLED: &str = "/* always-encrypted: encryption Disabled */";
const INSERT: &str = "INSERT INTO dbo.Messages (Id, Sender, Content) VALUES (@P1, @P2, @P3)";

async fn messages(database: &Database) {
    let sql = format!(
        "CREATE TABLE dbo.Messages (Id int NOT NULL PRIMARY KEY, \
         Sender nvarchar(36) COLLATE Latin1_General_BIN2 {} NULL, Content nvarchar(max) {} NULL)",
        encrypted("DETERMINISTIC"),
        encrypted("RANDOMIZED")
    );
    run(&mut database.dba().await, &sql).await;
}

/// What is stored, as it is stored.
async fn cells(client: &mut Client, select: &str) -> Vec<Option<Vec<u8>>> {
    let rows = client.query(format!("{DISABLED} {select}"), &[]).await.unwrap();
    let row = rows.into_row().await.unwrap().expect("a row");
    row.into_iter().map(|cell| Vec::<u8>::from_sql_owned(cell).unwrap()).collect()
}

#[tokio::test]
async fn what_went_through_the_wire_is_decrypted_by_hand() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    client.execute(INSERT, &[&1, &"alice", &SECRET]).await.unwrap();
    let connector = &database.connector;
    let sender = connector.column_cipher(&mut client, "dbo.Messages", "Sender").await.unwrap();
    let content = connector.column_cipher(&mut client, "[Messages]", "[content]").await.unwrap();
    assert_eq!(sender.sql_type().to_string(), "nvarchar(36)");
    assert_eq!(sender.encryption_type(), EncryptionType::Deterministic);
    assert_eq!(content.encryption_type(), EncryptionType::Randomized);
    assert_eq!(connector.key_stores().statistics().unwraps, 1);
    assert_eq!(database.sandbox.statistics().describes, 1, "looking up needs none");

    let stored = cells(&mut client, "SELECT Sender, Content FROM dbo.Messages").await;
    let [Some(first), Some(second)] = &stored[..] else { panic!("{stored:?}") };
    assert_eq!(sender.decrypt_as::<String>(first).unwrap(), "alice");
    assert_eq!(content.decrypt(second).unwrap(), ColumnData::String(Some(SECRET.into())));
    assert_eq!(sender.encrypt(&"alice").unwrap().as_ref(), Some(first));
    database.assert_never_on_the_wire(SECRET);
    database.assert_never_on_the_wire("alice");
}

#[tokio::test]
async fn a_client_without_the_setting_looks_a_column_up_as_well() {
    let database = Database::start().await;
    messages(&database).await;
    let mut dba = database.dba().await;
    let cipher = database.connector.column_cipher(&mut dba, "Messages", "Content").await.unwrap();
    assert_eq!(cipher.column(), "Messages.Content");
}

/// Writes a value to a deterministic column through the wire, and compares with what is made and read
/// by hand.
async fn agrees<T>(database: &Database, declaration: &str, values: &[T])
where
    T: FromSqlOwned + ToSql + PartialEq + std::fmt::Debug,
{
    let table = format!("T{}", declaration.replace(['(', ')', ','], "_"));
    let collation = if declaration.contains("char") { "COLLATE Latin1_General_BIN2" } else { "" };
    let create = format!(
        "CREATE TABLE {table} (Id int NOT NULL PRIMARY KEY, C {declaration} {collation} {} NULL)",
        encrypted("DETERMINISTIC")
    );
    run(&mut database.dba().await, &create).await;
    let mut client = database.connect().await;
    let cipher = database.connector.column_cipher(&mut client, &table, "C").await.unwrap();
    let insert = format!("INSERT INTO {table} (Id, C) VALUES (@P1, @P2)");
    for (id, value) in values.iter().enumerate() {
        let id = id as i32;
        client.execute(insert.as_str(), &[&id, value]).await.unwrap_or_else(|error| {
            panic!("{declaration} {value:?}: {error}");
        });
        let select = format!("SELECT C FROM {table} WHERE Id = {id}");
        let stored = cells(&mut client, &select).await.remove(0).expect("a cell");
        let made = cipher.encrypt(value).unwrap();
        assert_eq!(made.as_ref(), Some(&stored), "{declaration} {value:?}");
        assert_eq!(cipher.decrypt_as::<T>(&stored).unwrap(), *value, "{declaration}");
        // The wire and the hand read the same.
        let row = client.query(select, &[]).await.unwrap().into_row().await.unwrap().unwrap();
        let read = row.into_iter().next().unwrap();
        assert_eq!(cipher.decrypt(&stored).unwrap(), read, "{declaration} {value:?}");
    }
}

#[tokio::test]
async fn cells_made_by_hand_are_those_of_the_wire_for_every_type() {
    let database = Database::start().await;
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).unwrap();
    let at = day(2024, 3, 15).and_hms_milli_opt(13, 14, 15, 500).unwrap();
    agrees(&database, "bit", &[true, false]).await;
    agrees(&database, "tinyint", &[0u8, 255]).await;
    agrees(&database, "smallint", &[i16::MIN, i16::MAX]).await;
    agrees(&database, "int", &[i32::MIN, i32::MAX]).await;
    agrees(&database, "bigint", &[i64::MIN, i64::MAX]).await;
    agrees(&database, "real", &[f32::MIN, 1.5]).await;
    agrees(&database, "float", &[f64::MAX, -0.1]).await;
    let decimals = [Numeric::new_with_scale(-12_345, 4), Numeric::new_with_scale(0, 4)];
    agrees(&database, "decimal(18,4)", &decimals).await;
    agrees(&database, "numeric(38,0)", &[Numeric::new_with_scale(10i128.pow(37), 0)]).await;
    agrees(&database, "money", &[12.5f64, -1.0]).await;
    agrees(&database, "smallmoney", &[-214748.25f64]).await;
    agrees(&database, "date", &[day(1, 1, 1), day(9999, 12, 31)]).await;
    agrees(&database, "time(3)", &[NaiveTime::from_hms_milli_opt(23, 59, 59, 999).unwrap()]).await;
    agrees::<NaiveDateTime>(&database, "datetime", &[at]).await;
    agrees(&database, "smalldatetime", &[day(2024, 3, 15).and_hms_opt(13, 14, 0).unwrap()]).await;
    agrees(&database, "datetime2(3)", &[at]).await;
    let offset = FixedOffset::east_opt(5 * 3_600 + 1_800).unwrap();
    let local = DateTime::<FixedOffset>::from_naive_utc_and_offset(at, offset);
    agrees(&database, "datetimeoffset(7)", &[local]).await;
    let texts = ["", "a ", "gr\u{fc}\u{df}e"].map(String::from);
    agrees(&database, "varchar(20)", &texts).await;
    agrees(&database, "varchar(max)", &["v".repeat(9_000)]).await;
    agrees(&database, "char(5)", &["abcde".to_owned()]).await;
    agrees(&database, "nchar(2)", &["\u{1f44d}".to_owned()]).await;
    agrees(&database, "nvarchar(36)", &texts).await;
    agrees(&database, "binary(4)", &[vec![0u8, 1, 2, 0xFF]]).await;
    agrees(&database, "varbinary(max)", &[vec![], vec![7u8; 9_000]]).await;
    agrees(&database, "uniqueidentifier", &[Uuid::from_u128(0x0123_4567_89ab_cdef)]).await;
}

#[tokio::test]
async fn a_cell_that_was_changed_or_is_of_another_key_does_not_open() {
    let database = Database::start().await;
    messages(&database).await;
    let mut dba = database.dba().await;
    let envelope = database.wrap(&Cek::generate().unwrap()).await;
    let other = always_encrypted::admin::create_column_encryption_key("Other", "Cmk", &envelope);
    run(&mut dba, &other).await;
    let with = encrypted("RANDOMIZED").replace("= Cek,", "= Other,");
    run(&mut dba, &format!("CREATE TABLE O (Id int NOT NULL PRIMARY KEY, C nvarchar(max) {with})"))
        .await;
    let mut client = database.connect().await;
    client.execute(INSERT, &[&1, &"alice", &SECRET]).await.unwrap();
    let connector = &database.connector;
    let content = connector.column_cipher(&mut client, "Messages", "Content").await.unwrap();
    let elsewhere = connector.column_cipher(&mut client, "O", "C").await.unwrap();
    let mut cell = cells(&mut client, "SELECT Content FROM Messages").await.remove(0).unwrap();
    let error = elsewhere.decrypt(&cell).unwrap_err();
    assert!(matches!(&error, ColumnValueError::Cell { column, .. } if column == "O.C"), "{error}");
    *cell.last_mut().unwrap() ^= 1;
    let error = content.decrypt(&cell).unwrap_err();
    assert!(matches!(&error, ColumnValueError::Cell { .. }), "{error}");
}

#[tokio::test]
async fn a_column_that_is_plain_or_not_there_is_said_to_be() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let connector = &database.connector;
    let mut failing = async |table, column| {
        connector.column_cipher(&mut client, table, column).await.map(drop).unwrap_err()
    };
    let error = failing("dbo.Messages", "Id").await;
    assert!(matches!(error, ColumnCipherError::NotEncrypted { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "column Messages.Id is not encrypted, the server says; its values need no cipher"
    );
    for (table, column) in [("Messages", "Contents"), ("Massages", "Content"), ("x.Messages", "Id")]
    {
        let error = failing(table, column).await;
        assert!(matches!(error, ColumnCipherError::UnknownColumn { .. }), "{error}");
    }
    // Nothing of it is run.
    let error = failing("Messages; DROP TABLE Messages", "Content").await;
    assert!(matches!(error, ColumnCipherError::Name { .. }), "{error}");
    let error = failing("Messages", "Content' OR 1 = 1 --").await;
    assert!(matches!(error, ColumnCipherError::UnknownColumn { .. }), "{error}");
    let sql = "SELECT COUNT(*) FROM dbo.Messages";
    let row = client.query(sql, &[]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(0));
}

#[tokio::test]
async fn an_untrusted_path_is_refused_before_a_key_store_is_asked() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let wary = database.connector.trusted_key_paths(TrustedKeyPaths::only(["vault/other"]));
    let error = wary.column_cipher(&mut client, "Messages", "Content").await.unwrap_err();
    let ColumnCipherError::UntrustedKeyPath { key_path, .. } = &error else { panic!("{error}") };
    assert_eq!(key_path, PATH);
    assert_eq!(wary.key_stores().statistics().unwraps, 0);
    let trusting = database.connector.trusted_key_paths(TrustedKeyPaths::only([PATH]));
    trusting.column_cipher(&mut client, "Messages", "Content").await.unwrap();
}

#[tokio::test]
async fn a_key_store_that_fails_says_why_and_is_asked_again_the_next_time() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let wrong = Arc::new(CmkPrivateKey::generate(2048).unwrap());
    for store in [InMemoryKeyStore::new(PROVIDER), database::store(&wrong)] {
        let keys = KeyStores::builder().provider(store).build().unwrap();
        let connector = database.connector_with(keys);
        let error = connector.column_cipher(&mut client, "Messages", "Content").await.unwrap_err();
        assert!(matches!(error, ColumnCipherError::Key { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Messages.Content") && text.contains(PATH), "{text}");
    }
    database.connector.column_cipher(&mut client, "Messages", "Content").await.unwrap();
}

#[tokio::test]
async fn a_login_that_may_not_see_keys_is_told_which_permissions_it_lacks() {
    let password = "Reader-1433!";
    let builder = Sandbox::builder().add_login("reader", password);
    let database = Database::start_with(builder, "").await;
    messages(&database).await;
    let mut dba = database.dba().await;
    run(&mut dba, "GRANT SELECT ON dbo.Messages TO reader").await;
    let text = format!(
        "Server=tcp:127.0.0.1,{};User Id=reader;Password={password};Encrypt=false;\
         TrustServerCertificate=true;Column Encryption Setting=Enabled",
        database.sandbox.port()
    );
    let keys = KeyStores::builder().provider(database::store(&database.cmk)).build().unwrap();
    let connector = Connector::from_ado_string(&text, keys).unwrap();
    let mut client = connector.connect().await.unwrap();
    connector.column_cipher(&mut client, "Messages", "Content").await.unwrap();
    for hidden in ["MASTER", "ENCRYPTION"] {
        let permission = format!("VIEW ANY COLUMN {hidden} KEY DEFINITION");
        run(&mut dba, &format!("REVOKE {permission} FROM public")).await;
        let error = connector.column_cipher(&mut client, "Messages", "Content").await.unwrap_err();
        assert!(matches!(error, ColumnCipherError::HiddenKey { .. }), "{hidden}: {error}");
        assert!(error.to_string().contains(&permission), "{error}");
        run(&mut dba, &format!("GRANT {permission} TO public")).await;
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_and_no_hang() {
    let database = Database::start().await;
    messages(&database).await;
    let mut client = database.connect().await;
    let connector = database.connector.clone();
    database.sandbox.shutdown().await;
    let asking = connector.column_cipher(&mut client, "Messages", "Content");
    let limit = std::time::Duration::from_secs(20);
    let error = tokio::time::timeout(limit, asking).await.expect("it hangs").unwrap_err();
    match &error {
        ColumnCipherError::Session(typed) => {
            assert!(matches!(**typed, SessionError::ConnectionCut), "{typed}");
        }
        other => assert!(matches!(other, ColumnCipherError::Driver(_)), "{other}"),
    }
}

#[tokio::test]
async fn a_cipher_needs_no_connection() {
    let declared = |text| ConversionType {
        sql_type: SqlType::parse_declaration(text).unwrap(),
        code_page: None,
    };
    let key = Arc::new(CellKey::new(&Cek::generate().unwrap()));
    let cipher =
        ColumnCipher::new("T.C", declared("decimal(18,4)"), EncryptionType::Deterministic, key);
    let price = Numeric::new_with_scale(1_995, 2);
    let cell = cipher.encrypt(&price).unwrap().unwrap();
    assert_eq!(cipher.decrypt_as::<Numeric>(&cell).unwrap(), price);
    assert_eq!(cipher.encrypt(&None::<Numeric>).unwrap(), None);
}
