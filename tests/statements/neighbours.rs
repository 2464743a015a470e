//! Columns of types that cannot be encrypted (xml, text, ntext, image, sql_variant, rowversion) beside columns that
//! are.

use std::borrow::Cow;

use always_encrypted::Client;
use tiberius::{ColumnData, Command, ToSql, TokenRow, xml::XmlData};

use super::{
    database::{encrypted, run},
    world::{ADA, BEA, Cases, World, affected, refused, rows},
};

async fn table(world: &World) {
    let bin2 = "COLLATE Latin1_General_BIN2";
    let (deterministic, randomized) = (encrypted("DETERMINISTIC"), encrypted("RANDOMIZED"));
    let sql = format!(
        "CREATE TABLE Notes (Id int NOT NULL, Doc xml NULL, Name nvarchar(40) {bin2} {deterministic} NULL, \
         Body text NULL, Secret nvarchar(max) {randomized} NULL, Wide ntext NULL, Picture image NULL, \
         Any sql_variant NULL, Version rowversion)"
    );
    run(&mut world.dba().await, &sql).await;
}

fn xml(value: &str) -> ColumnData<'static> {
    ColumnData::Xml(Some(Cow::Owned(XmlData::new(value))))
}

const INSERT: &str = "INSERT INTO Notes (Id, Doc, Name, Body, Secret, Wide, Picture, Any) \
                      VALUES (@P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8)";
const SELECT: &str = "SELECT Id, Name, Body, Secret, Wide, Picture, Any FROM Notes WHERE Name = @P1 OR Id > @P2 ORDER BY Id";

async fn filled(world: &World) -> Client {
    table(world).await;
    let mut client = world.client().await;
    let nothing: Option<&str> = None;
    let ada: [&dyn ToSql; 8] =
        [&1, &xml("<a/>"), &ADA, &"caf\u{e9}", &"zq7kx2w9 s", &"\u{4f60}", &vec![1u8, 2], &7];
    let bea: [&dyn ToSql; 8] = [
        &2,
        &ColumnData::Xml(None),
        &BEA,
        &nothing,
        &nothing,
        &nothing,
        &None::<Vec<u8>>,
        &nothing,
    ];
    for row in [ada, bea] {
        assert_eq!(affected(&mut client, INSERT, &row).await, [1]);
    }
    client
}

pub async fn cases(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = filled(world).await;
        let read = rows(&mut client, SELECT, &[&ADA, &1]).await;
        assert_eq!(
            read,
            [
                "1 zq7kx2w9 Ada caf\u{e9} zq7kx2w9 s \u{4f60} [01, 02] 7",
                "2 zq7kx2w9 Bea NULL NULL NULL NULL NULL",
            ]
        );
        let all = client.simple_query("SELECT * FROM Notes ORDER BY Id").await.unwrap();
        let all = all.into_first_result().await.unwrap();
        let doc: Option<&XmlData> = all[0].get("Doc");
        assert_eq!(doc.map(ToString::to_string).as_deref(), Some("<a/>"));
        assert_eq!(all[0].get::<&str, _>("Secret"), Some("zq7kx2w9 s"));
        assert_eq!(all[0].get::<&[u8], _>("Version").map(<[u8]>::len), Some(8));
        assert_eq!(all[1].get::<&str, _>("Name"), Some(BEA));
    };
    cases.case("types that cannot be encrypted: written and read beside others", body).await;

    let body = async |world: &World| {
        let mut client = filled(world).await;
        let long = "\u{20ac}".repeat(30_000);
        let sql = "UPDATE Notes SET Body = @P2, Secret = @P3, Doc = @P4 OUTPUT inserted.Name, inserted.Doc, inserted.Secret \
                   WHERE Name = @P1";
        let secret = format!("zq7kx2w9 {long}");
        let document = xml(&format!("<a>{long}</a>"));
        let params: [&dyn ToSql; 4] = [&ADA, &long, &secret, &document];
        let read = client.query(sql, &params).await.unwrap().into_first_result().await.unwrap();
        assert_eq!(read[0].get::<&str, _>("Name"), Some(ADA));
        assert_eq!(read[0].get::<&str, _>("Secret"), Some(secret.as_str()));
        let sql = "SELECT Body, Name FROM Notes WHERE Id = @P1";
        assert_eq!(rows(&mut client, sql, &[&1]).await, [format!("{long} {ADA}")]);
    };
    cases.case("types that cannot be encrypted: long values beside encrypted ones", body).await;

    let body = async |world: &World| {
        let mut client = filled(world).await;
        let sql = "CREATE PROCEDURE Keep @Id int, @Doc xml, @Name nvarchar(40), @Body text, @Secret nvarchar(max), \
                   @Any sql_variant AS BEGIN INSERT INTO Notes (Id, Doc, Name, Body, Secret, Any) \
                   VALUES (@Id, @Doc, @Name, @Body, @Secret, @Any); SELECT Name, Body, Secret, Any FROM Notes WHERE Id = @Id; END";
        run(&mut world.dba().await, sql).await;
        for id in [5, 6] {
            let mut command = Command::new("Keep");
            command.bind_param("@Id", id);
            command.bind_param("@Doc", xml("<p/>"));
            command.bind_param("@Name", "zq7kx2w9 Kim");
            command.bind_param("@Body", "open");
            command.bind_param("@Secret", "zq7kx2w9 k");
            command.bind_param("@Any", "v");
            let done =
                command.exec(&mut client).await.unwrap().into_command_result().await.unwrap();
            let row = &done.to_query_result(0).unwrap()[0];
            let read: [Option<&str>; 4] = std::array::from_fn(|i| row.get(i));
            assert_eq!(read.map(Option::unwrap), ["zq7kx2w9 Kim", "open", "zq7kx2w9 k", "v"]);
        }
    };
    cases.case("types that cannot be encrypted: parameters of a procedure", body).await;

    let body = async |world: &World| {
        let mut client = filled(world).await;
        let version = "SELECT Version FROM Notes WHERE Name = @P1";
        let row = client.query(version, &[&ADA]).await.unwrap().into_row().await.unwrap().unwrap();
        let seen: Vec<u8> = row.get::<&[u8], _>(0).unwrap().to_vec();
        let sql = "UPDATE Notes SET Secret = @P1 WHERE Name = @P2 AND Version = @P3";
        let params: [&dyn ToSql; 3] = [&"zq7kx2w9 new", &ADA, &seen];
        assert_eq!(affected(&mut client, sql, &params).await, [1]);
        assert_eq!(affected(&mut client, sql, &params).await, [0], "the version has changed");
    };
    cases.case("rowversion guards an encrypted column", body).await;

    let body = async |world: &World| {
        table(world).await;
        let mut client = world.client().await;
        // tiberius writes no image in a load.
        let columns = ["Id", "Doc", "Name", "Body", "Secret", "Wide"];
        let load = client.bulk_insert_with_options("Notes", &columns, Default::default(), &[]);
        let mut load = load.await.unwrap();
        let text = |text: &'static str| ColumnData::String(Some(text.into()));
        for id in 1..=3 {
            let mut row = TokenRow::new();
            row.push(ColumnData::I32(Some(id)));
            row.push(xml("<l/>"));
            row.push(text(ADA));
            row.push(if id == 2 { ColumnData::String(None) } else { text("caf\u{e9}") });
            row.push(text("zq7kx2w9 s"));
            row.push(text("\u{4f60}"));
            load.send(row).await.unwrap();
        }
        assert_eq!(load.finalize().await.unwrap().rows_affected(), [3]);
        let sql = "SELECT Id, Body, Name, Wide, Secret FROM Notes WHERE Name = @P1 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[&ADA]).await,
            [
                "1 caf\u{e9} zq7kx2w9 Ada \u{4f60} zq7kx2w9 s",
                "2 NULL zq7kx2w9 Ada \u{4f60} zq7kx2w9 s",
                "3 caf\u{e9} zq7kx2w9 Ada \u{4f60} zq7kx2w9 s",
            ]
        );
    };
    cases.case("types that cannot be encrypted: a bulk load beside others", body).await;

    let body = async |world: &World| {
        let mut client = filled(world).await;
        // An encrypted column takes none of these types: nothing of the value is sent.
        let sql = "UPDATE Notes SET Name = @P1 WHERE Id = 1";
        let error = refused(&mut client, sql, &[&xml("<zq7kx2w9/>")]).await;
        let typed = world.typed(&error);
        assert!(typed.to_string().contains("@P1"), "{typed}");
        assert_eq!(rows(&mut client, "SELECT Name FROM Notes WHERE Id = @P1", &[&1]).await, [ADA]);
    };
    cases.case("xml for an encrypted column", body).await;
}
