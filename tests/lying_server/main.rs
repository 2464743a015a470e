//! A server that lies, errs, or is not there any more. In each case: a typed error that names whose
//! fault it is, no plaintext sent, no panic, and the connection usable unless the stream is lost.

mod descriptions;
mod loads;
mod login;
mod requests;
mod results;

#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use always_encrypted::{SessionError, metadata::DescribeFault, policy::TrustedKeyPaths};
use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";

fn insert() -> Vec<u8> {
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    executesql(INSERT, "@P1 int,@P2 nvarchar(4000)", &params)
}

/// Answers the describe of an insert with `answer` and expects that nothing is sent on its strength.
fn refused_describe(answer: &[u8]) -> SessionError {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let reply = harness.server(&message(REPLY, answer));
    assert!(harness.drain_to_server().is_empty(), "something was sent");
    harness.assert_never_sent(SECRET);
    assert!(harness.cache.is_empty(), "the lie was kept");
    let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    harness.assert_usable();
    error
}

fn describe_fault(answer: &[u8]) -> DescribeFault {
    match refused_describe(answer) {
        SessionError::Describe(fault) => fault,
        other => panic!("{other}"),
    }
}

fn key() -> (i32, TestKey) {
    (1, TestKey::new(1))
}

const NAME: &str = "@P2";

fn describe_with(verdict: Verdict) -> Vec<u8> {
    description(&[key()], &[Verdict::plain(1, "@P1"), verdict])
}

fn one_column(key: &TestKey) -> Vec<u8> {
    let columns = [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("Content", VARBINARY.to_vec(), 0, nvarchar(100)),
    ];
    col_metadata(Some(std::slice::from_ref(key)), &columns)
}
