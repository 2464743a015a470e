//! Bulk loads into encrypted columns.

use always_encrypted::Client;
use tiberius::{
    ColumnData, IntoSql as _, SortOrder, SqlBulkCopyOption, SqlBulkCopyOptions, TokenRow,
    error::Error,
};

use super::world::{ADA, BEA, Cases, World, assert_usable, day, moment, money, rows};

type Row<'a> = Vec<ColumnData<'a>>;

async fn load<'a>(
    client: &'a mut Client,
    table: &'a str,
    columns: &'a [&'a str],
    options: SqlBulkCopyOptions,
    data: Vec<Row<'a>>,
) -> Result<u64, Error> {
    let order = [("Id", SortOrder::Ascending)];
    let order = if options.contains(SqlBulkCopyOption::TableLock) { &order[..] } else { &[] };
    // The hint must live as long as the load.
    let order: &'static [(&'static str, SortOrder)] = Vec::leak(order.to_vec());
    let mut load = client.bulk_insert_with_options(table, columns, options, order).await?;
    for cells in data {
        let mut row = TokenRow::new();
        cells.into_iter().for_each(|cell| row.push(cell));
        load.send(row).await?;
    }
    Ok(load.finalize().await?.total())
}

fn person(id: i32, name: Option<&'static str>) -> Row<'static> {
    vec![
        id.into_sql(),
        name.into_sql(),
        name.map(|_| "m@zq7kx2w9").into_sql(),
        name.map(|_| 36).into_sql(),
        name.map(|_| money(105_000)).into_sql(),
        name.map(|_| day(1815, 12, 10)).into_sql(),
        name.map(|_| moment()).into_sql(),
        name.map(|_| "zq7kx2w9 bio").into_sql(),
        name.map(|_| vec![1u8, 2]).into_sql(),
        Some("plain").into_sql(),
    ]
}

pub async fn cases(cases: &mut Cases) {
    let none = SqlBulkCopyOptions::EMPTY;
    let body = async |world: &World| {
        let mut client = world.client().await;
        let data = vec![person(1, Some(ADA)), person(2, None)];
        assert_eq!(load(&mut client, "People", &["*"], none, data).await.unwrap(), 2);
        assert_eq!(
            rows(&mut client, "SELECT * FROM People ORDER BY Id", &[]).await,
            [
                "1 zq7kx2w9 Ada m@zq7kx2w9 36 10.5000 1815-12-10 2024-03-15 13:14:15.678 zq7kx2w9 bio [01, 02] plain",
                "2 NULL NULL NULL NULL NULL NULL NULL NULL plain",
            ]
        );
        let sql = "SELECT Id FROM People WHERE Name = @P1 AND Email = @P2 AND Age = @P3";
        assert_eq!(rows(&mut client, sql, &[&ADA, &"m@zq7kx2w9", &36]).await, ["1"]);
    };
    cases.case("bulk: every type, and by equality", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let data =
            vec![vec![BEA.into_sql(), 5.into_sql()], vec![None::<&str>.into_sql(), 6.into_sql()]];
        let columns = &["Name", "Id"];
        assert_eq!(load(&mut client, "dbo.People", columns, none, data).await.unwrap(), 2);
        assert_eq!(world.names().await, ["5 zq7kx2w9 Bea", "6 NULL"]);
    };
    cases.case("bulk: some columns in another order", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let options = SqlBulkCopyOption::KeepIdentity
            | SqlBulkCopyOption::TableLock
            | SqlBulkCopyOption::CheckConstraints
            | SqlBulkCopyOption::KeepNulls;
        let row = vec![
            500.into_sql(),
            ADA.into_sql(),
            "zq7kx2w9 Rome".into_sql(),
            2.5f64.into_sql(),
            1.into_sql(),
        ];
        assert_eq!(load(&mut client, "Visits", &["*"], options, vec![row]).await.unwrap(), 1);
        let read = rows(&mut client, "SELECT Id, Person, Place, Cost FROM Visits", &[]).await;
        assert_eq!(read, ["500 zq7kx2w9 Ada zq7kx2w9 Rome 2.5"]);
    };
    cases.case("bulk: options and identity", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let data = (0..3_000).map(|id| person(id, Some(ADA))).collect();
        assert_eq!(load(&mut client, "People", &["*"], none, data).await.unwrap(), 3_000);
        let sql = "SELECT COUNT(*) FROM People WHERE Name = @P1";
        assert_eq!(rows(&mut client, sql, &[&ADA]).await, ["3000"]);
    };
    cases.case("bulk: three thousand rows", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        client.begin_transaction().await.unwrap();
        load(&mut client, "People", &["*"], none, vec![person(1, Some(ADA))]).await.unwrap();
        client.rollback_transaction().await.unwrap();
        assert!(world.names().await.is_empty());
    };
    cases.case("bulk: in a transaction that is rolled back", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let data = vec![person(1, Some(ADA)), person(1, Some(BEA))];
        let error = load(&mut client, "People", &["*"], none, data).await.unwrap_err();
        assert_eq!(error.code(), Some(2627), "{error}");
        assert!(world.names().await.is_empty());
        assert_usable(&mut client).await;
    };
    cases.case("bulk: a duplicate key takes all of it back", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        let long: &'static str = "zq7kx2w9 a name of forty-one characters, no less";
        let data = vec![person(1, Some(ADA)), person(2, Some(long)), person(3, Some(BEA))];
        load(&mut client, "People", &["*"], none, data).await.unwrap_err();
        assert!(world.names().await.is_empty());
        assert_usable(&mut client).await;
    };
    cases.case("bulk: a value that is too long takes all of it back", body).await;

    let body = async |world: &World| {
        let mut client = world.client().await;
        for rows in [0, 1, 500] {
            let mut load = client.bulk_insert("People").await.unwrap();
            for id in 0..rows {
                let mut row = TokenRow::new();
                person(id, Some(ADA)).into_iter().for_each(|cell| row.push(cell));
                load.send(row).await.unwrap();
            }
            drop(load);
            // Given up in the middle of a message: this connection may be lost, the table is not.
            client = world.client().await;
            assert!(world.names().await.is_empty());
        }
    };
    cases.case("bulk: given up half-way", body).await;
}
