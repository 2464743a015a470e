//! Requests that are given up, cancelled or timed out at each moment of their way.

use std::time::Duration;

use always_encrypted::{Client, Connector};
use tiberius::error::Error;

use super::{
    gate::{Gate, Mood, Moods},
    world::{ADA, BEA, Cases, INSERT_NAME, World, assert_usable, rows},
};

const MOMENTS: [&str; 4] = [
    "the catalogue is asked",
    "the statement is described",
    "the key is fetched",
    "it is executed",
];

/// A connection on which a request can be held at one of the moments.
struct Held {
    connector: Connector,
    client: Client,
    gate: Gate,
    moods: Moods,
    moment: usize,
}

impl Held {
    async fn at(world: &World, moment: usize, settings: &str) -> Self {
        let gate = Gate::before(world.database.sandbox.port()).await;
        let (connector, moods) = world.moody_connector(gate.port, settings);
        let client = connector.connect().await.unwrap();
        match moment {
            0 => gate.hold_after(0),
            1 => gate.hold_after(1),
            2 => moods.set(Mood::Hangs),
            _ => gate.hold_after(2),
        }
        Self { connector, client, gate, moods, moment }
    }

    /// Sends a request and gives it up once it is held.
    async fn give_up(&mut self) {
        let Self { client, gate, moods, moment, .. } = self;
        let is_held = async {
            match moment {
                2 => moods.is_asked(1).await,
                _ => gate.is_holding().await,
            }
        };
        tokio::select! {
            done = client.execute(INSERT_NAME, &[&1, &ADA]) => panic!("it was not held: {done:?}"),
            () = is_held => {}
        }
    }

    fn release(&self) {
        self.gate.open();
        self.moods.set(Mood::Works);
    }
}

pub async fn cases(cases: &mut Cases) {
    for (moment, name) in MOMENTS.iter().enumerate() {
        let body = async |world: &World| {
            let mut held = Held::at(world, moment, "").await;
            held.give_up().await;
            let release = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                // A key store that never answers does not hold up anything.
                held.gate.open();
            };
            let (cancelled, ()) = tokio::join!(held.client.cancel_query(), release);
            cancelled.unwrap();
            assert_usable(&mut held.client).await;
            // Before it is executed, a cancelled request has not been sent.
            let executed = !world.names().await.is_empty();
            assert_eq!(executed, moment == 3);
            held.release();
            held.client.execute(INSERT_NAME, &[&2, &BEA]).await.unwrap();
            let sql = "SELECT Id FROM People WHERE Name = @P1";
            assert_eq!(rows(&mut held.client, sql, &[&BEA]).await, ["2"]);
        };
        cases.case(&format!("cancelled while {name}"), body).await;

        let body = async |world: &World| {
            let mut held = Held::at(world, moment, "").await;
            held.give_up().await;
            held.release();
            assert_usable(&mut held.client).await;
            held.client.execute(INSERT_NAME, &[&2, &BEA]).await.unwrap();
            let names = world.names().await;
            assert!(
                names == ["1 zq7kx2w9 Ada", "2 zq7kx2w9 Bea"] || names == ["2 zq7kx2w9 Bea"],
                "{names:?}"
            );
        };
        cases.case(&format!("dropped while {name}"), body).await;

        let body = async |world: &World| {
            let mut held = Held::at(world, moment, "Command Timeout=1").await;
            let error = held.client.execute(INSERT_NAME, &[&1, &ADA]).await.unwrap_err();
            let Error::Io { kind, .. } = &error else { panic!("{error}") };
            assert_eq!(*kind, std::io::ErrorKind::TimedOut, "{error}");
            held.release();
            // tiberius gives such a connection up; another one of the same connector works.
            held.client.simple_query("SELECT 1").await.map(drop).unwrap_err();
            let mut other = held.connector.connect().await.unwrap();
            other.execute(INSERT_NAME, &[&2, &BEA]).await.unwrap();
        };
        cases.case(&format!("timed out while {name}"), body).await;

        let body = async |world: &World| {
            // The connections of one connector ask once for all; what one has begun and given up
            // must not stop the other.
            let mut held = Held::at(world, moment, "").await;
            held.give_up().await;
            if moment == 2 {
                // The key is the same for both.
                held.moods.set(Mood::Works);
            }
            let waits = async {
                let mut other = held.connector.connect().await.unwrap();
                other.execute(INSERT_NAME, &[&2, &BEA]).await.unwrap();
            };
            tokio::time::timeout(Duration::from_secs(10), waits).await.expect("the other waits");
            held.release();
            assert_usable(&mut held.client).await;
        };
        cases.case(&format!("another connection while {name}"), body).await;
    }

    let body = async |world: &World| {
        world.populated().await;
        let gate = Gate::before(world.database.sandbox.port()).await;
        let (connector, moods) = world.moody_connector(gate.port, "");
        let mut client = connector.connect().await.unwrap();
        moods.set(Mood::Hangs);
        for cancels in [true, false] {
            let read = rows(&mut client, "SELECT Id, Name FROM People", &[]);
            let short = Duration::from_millis(100);
            assert!(tokio::time::timeout(short, read).await.is_err());
            if cancels {
                client.cancel_query().await.unwrap();
                assert_usable(&mut client).await;
            }
        }
        moods.set(Mood::Works);
        assert_usable(&mut client).await;
        assert_eq!(rows(&mut client, "SELECT Name FROM People WHERE Id = 1", &[]).await, [ADA]);
    };
    cases.case("a result that waits for its key, cancelled and dropped", body).await;

    let body = async |world: &World| {
        let gate = Gate::before(world.database.sandbox.port()).await;
        let (connector, moods) = world.moody_connector(gate.port, "");
        let mut client = connector.connect().await.unwrap();
        moods.set(Mood::Hangs);
        let short = Duration::from_millis(100);
        let begun = tokio::time::timeout(short, client.bulk_insert("People")).await;
        assert!(begun.is_err());
        drop(begun);
        client.cancel_query().await.unwrap();
        assert_usable(&mut client).await;
        moods.set(Mood::Works);
        let mut load = client.bulk_insert_columns("People", &["Id", "Name"]).await.unwrap();
        load.send(tiberius::IntoRow::into_row((1, ADA))).await.unwrap();
        assert_eq!(load.finalize().await.unwrap().total(), 1);
        assert_eq!(world.names().await, ["1 zq7kx2w9 Ada"]);
    };
    cases.case("a bulk load that waits for its key, cancelled", body).await;

    let body = async |world: &World| {
        // Whatever the moment, within a few milliseconds.
        let mut client = world.client().await;
        for micros in (0..40).map(|n| n * 75) {
            let limit = Duration::from_micros(micros);
            let id = 100 + micros as i32;
            let params: [&dyn tiberius::ToSql; 2] = [&id, &ADA];
            let insert = client.execute(INSERT_NAME, &params);
            let outcome = tokio::time::timeout(limit, insert).await;
            if outcome.is_err() && micros % 2 == 0 {
                client.cancel_query().await.unwrap();
            }
            assert_usable(&mut client).await;
        }
    };
    cases.case("cancelled and dropped after some microseconds", body).await;
}
