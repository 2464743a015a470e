//! Statements on encrypted columns, in every form in which applications write them, and what comes
//! of those that cannot be.
//!
//! Each case has a database of its own with the tables of [`world`]. Every string in it that belongs
//! into an encrypted column holds [`world::SECRET`], which must not be on the wire when a case ends.

mod bulk;
mod changes;
mod faults;
mod gate;
mod merges;
mod misfits;
mod moments;
mod neighbours;
mod options;
mod procedures;
mod reads;
mod sessions;
mod settings;
mod world;
mod writes;

#[path = "../database/mod.rs"]
mod database;

use world::{Cases, World};

#[tokio::test]
async fn statements_on_encrypted_columns_do_what_they_do_on_others() {
    let mut cases = Cases::new();
    writes::cases(&mut cases).await;
    merges::cases(&mut cases).await;
    neighbours::cases(&mut cases).await;
    reads::cases(&mut cases).await;
    procedures::cases(&mut cases).await;
    bulk::cases(&mut cases).await;
    sessions::cases(&mut cases).await;
    settings::cases(&mut cases).await;
    options::cases(&mut cases).await;
    moments::cases(&mut cases).await;
    faults::cases(&mut cases).await;
    misfits::cases(&mut cases).await;
    changes::cases(&mut cases).await;
    cases.conclude();
}

#[tokio::test]
async fn a_case_that_fails_or_lets_the_secret_out_is_counted_as_failed() {
    let mut cases = Cases::new();
    cases.case("passes", async |_: &World| {}).await;
    cases.case("fails", async |_: &World| panic!("on purpose")).await;
    let leaks = async |world: &World| {
        let sql = format!("SELECT N'{}'", world::SECRET);
        world.client().await.simple_query(sql).await.unwrap().into_results().await.unwrap();
    };
    cases.case("leaks", leaks).await;
    assert_eq!(cases.failed(), ["fails", "leaks"]);
}
