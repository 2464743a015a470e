//! `bulk_insert` and its variants, and `column_metadata`.

use std::borrow::Cow;

use tiberius::{
    ColumnData, SortOrder, SqlBulkCopyOption, SqlBulkCopyOptions, numeric::Numeric, time::Date,
};

use super::comparison::{Actor, Comparison};

type Row = Vec<ColumnData<'static>>;

const PLAIN: SqlBulkCopyOptions = SqlBulkCopyOptions::EMPTY;

fn text(value: &str) -> ColumnData<'static> {
    ColumnData::String(Some(Cow::Owned(value.to_owned())))
}

fn person(id: i32, name: Option<&str>) -> Row {
    vec![
        ColumnData::I32(Some(id)),
        name.map_or(ColumnData::String(None), text),
        ColumnData::Date(Some(Date::new(700_000))),
        ColumnData::Numeric(Some(Numeric::new_with_scale(i128::from(id) * 100, 2))),
        ColumnData::Binary(Some(Cow::Owned(vec![id as u8; 3]))),
    ]
}

fn visit(person: i32, place: Option<&str>) -> Row {
    vec![ColumnData::I32(Some(person)), place.map_or(ColumnData::String(None), text)]
}

pub async fn cases(comparison: &mut Comparison) {
    variants(comparison).await;
    faults(comparison).await;
    let body = async |actor: &mut Actor| {
        actor.metadata("People", &["*"]).await;
        actor.metadata("dbo.Visits", &["Place", "Id"]).await;
        actor.metadata("[odd ]] name's]", &["*"]).await;
        actor.metadata("Nowhere", &["*"]).await;
        actor.metadata("People", &["Nothing"]).await;
        actor.metadata("bad name;", &["*"]).await;
    };
    comparison.case("column_metadata", body).await;
}

async fn variants(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        let rows = vec![person(70, Some("Kim")), person(71, None)];
        actor.bulk("People", &["*"], PLAIN, &[], rows).await;
        actor.query("SELECT Name FROM People WHERE Id = @P1", &[&70]).await;
    };
    comparison.case("bulk: all columns", body).await;
    let body = async |actor: &mut Actor| {
        let rows = vec![vec![text("Lea"), ColumnData::I32(Some(72))]];
        actor.bulk("dbo.People", &["Name", "Id"], PLAIN, &[], rows).await;
    };
    comparison.case("bulk: some columns, in another order", body).await;
    let body = async |actor: &mut Actor| {
        let rows = vec![visit(1, Some("Bonn")), visit(2, None)];
        actor.bulk("Visits", &["*"], PLAIN, &[], rows).await;
    };
    comparison.case("bulk: the identity is the server's", body).await;
    let body = async |actor: &mut Actor| {
        let row = vec![ColumnData::I32(Some(500)), ColumnData::I32(Some(1)), text("Bern")];
        actor.bulk("Visits", &["*"], SqlBulkCopyOption::KeepIdentity.into(), &[], vec![row]).await;
        actor.execute("INSERT INTO Visits (Person) VALUES (@P1)", &[&3]).await;
    };
    comparison.case("bulk: the identity is ours", body).await;
    let body = async |actor: &mut Actor| {
        let options = SqlBulkCopyOption::CheckConstraints
            | SqlBulkCopyOption::TableLock
            | SqlBulkCopyOption::KeepNulls
            | SqlBulkCopyOption::FireTriggers;
        let order = [("Person", SortOrder::Ascending), ("Place", SortOrder::Descending)];
        let rows = vec![visit(1, None), visit(2, Some("Linz"))];
        actor.bulk("Visits", &["Person", "Place"], options, &order, rows).await;
    };
    comparison.case("bulk: every option, and an order", body).await;
    let body = async |actor: &mut Actor| {
        actor.bulk("People", &["*"], PLAIN, &[], vec![]).await;
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: no rows", body).await;
    let body = async |actor: &mut Actor| {
        let rows = (1_000..6_000).map(|n| person(n, Some("many"))).collect();
        actor.bulk("People", &["*"], PLAIN, &[], rows).await;
    };
    comparison.case("bulk: five thousand rows", body).await;
    let body = async |actor: &mut Actor| {
        actor
            .batch(
                "CREATE TABLE Large (Id int NOT NULL, T nvarchar(max) NULL, B varbinary(max) NULL)",
            )
            .await;
        let row = |id, n: usize| {
            let bytes = ColumnData::Binary(Some(Cow::Owned(vec![id as u8; n])));
            vec![ColumnData::I32(Some(id)), text(&"\u{e4}".repeat(n)), bytes]
        };
        let rows = vec![row(1, 0), row(2, 8_001), row(3, 1 << 20)];
        actor.bulk("Large", &["*"], PLAIN, &[], rows).await;
    };
    comparison.case("bulk: large values", body).await;
    let body = async |actor: &mut Actor| {
        let row = vec![ColumnData::I32(Some(1)), text("x"), ColumnData::I32(None)];
        actor.bulk("[odd ]] name's]", &["*"], PLAIN, &[], vec![row]).await;
    };
    comparison.case("bulk: odd names", body).await;
    let body = async |actor: &mut Actor| {
        actor.unseen("BEGIN TRAN").await;
        actor.bulk("People", &["*"], PLAIN, &[], vec![person(80, None)]).await;
        actor.unseen("ROLLBACK").await;
        actor.bulk("People", &["*"], PLAIN, &[], vec![person(81, None)]).await;
    };
    comparison.case("bulk: in a transaction that is rolled back", body).await;
}

async fn faults(comparison: &mut Comparison) {
    let body = async |actor: &mut Actor| {
        actor.bulk("Nowhere", &["*"], PLAIN, &[], vec![person(1, None)]).await;
        actor.bulk("People", &["Nothing"], PLAIN, &[], vec![person(1, None)]).await;
        actor.bulk("bad name;", &["*"], PLAIN, &[], vec![]).await;
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: no such table or column", body).await;
    let body = async |actor: &mut Actor| {
        let rows = vec![person(90, None), person(1, Some("twice")), person(91, None)];
        actor.bulk("People", &["*"], PLAIN, &[], rows).await;
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: a duplicate key", body).await;
    let body = async |actor: &mut Actor| {
        let rows = vec![person(92, Some("123456789012345678901")), person(93, None)];
        actor.bulk("People", &["*"], PLAIN, &[], rows).await;
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: a string that is too long", body).await;
    let body = async |actor: &mut Actor| {
        let wrong = vec![text("no number"), text("x"), text("y"), text("z"), text("-")];
        let short = vec![ColumnData::I32(Some(94))];
        actor.bulk("People", &["*"], PLAIN, &[], vec![wrong, short, person(95, None)]).await;
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: rows that the driver refuses", body).await;
    let body = async |actor: &mut Actor| {
        let load = actor.client.bulk_insert("People").await;
        let seen = load.map(drop).map_err(|e| e.to_string());
        actor.outcome("a load without rows and without end", seen);
        actor.batch("SELECT 1").await;
    };
    comparison.case("bulk: given up before the first row", body).await;
}
