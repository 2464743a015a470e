//! SET ROWCOUNT, FMTONLY, NOEXEC and PARSEONLY are the driver's to set, and the server then answers our own questions
//! in part or not at all. Nothing may be sent on the strength of what is missing, nor kept for others.

mod support;

use always_encrypted::{SessionError, metadata::DescribeFault};
use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";

fn insert() -> Vec<u8> {
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    executesql(INSERT, "@P1 int,@P2 nvarchar(4000)", &params)
}

fn key() -> (i32, TestKey) {
    (1, TestKey::new(1))
}

fn verdicts() -> [Verdict; 2] {
    [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)]
}

/// A connection whose driver has set the option.
fn having_set(mut harness: Harness, option: &str) -> Harness {
    harness.app(&batch(option));
    harness.server(&message(REPLY, &done(0)));
    harness.drain_to_server();
    harness.drain_to_app();
    harness
}

/// What becomes of an insert that is described so.
fn refused(option: &str, answer: &[u8]) -> DescribeFault {
    let mut harness = having_set(Harness::logged_in(), option);
    harness.app(&insert());
    let reply = harness.server(&message(REPLY, answer));
    assert!(harness.drain_to_server().is_empty(), "{option}: something was sent");
    harness.assert_never_sent(SECRET);
    assert!(harness.cache.is_empty(), "{option}: something was kept");
    let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    let name = option.split(' ').nth(1).unwrap();
    assert!(error.to_string().contains("SET ROWCOUNT"), "{error}");
    assert!(error.to_string().contains(name), "{option} is not in: {error}");
    harness.assert_usable();
    match error {
        SessionError::Describe(fault) => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn under_rowcount_a_verdict_that_was_cut_off_sends_nothing() {
    let answer = description(&[key()], &verdicts()[..1]);
    let fault = refused("SET ROWCOUNT 1", &answer);
    assert_eq!(fault, DescribeFault::ParameterMissing { name: "@P2".into() });
    // The first of two keys is there, the second is what it was about.
    let verdicts = [Verdict::encrypted(1, "@P1", 1, 1), Verdict::encrypted(2, "@P2", 2, 2)];
    let fault = refused("SET ROWCOUNT 2", &description(&[key()], &verdicts));
    assert_eq!(fault, DescribeFault::KeyMissing { name: "@P2".into(), ordinal: 2 });
}

#[test]
fn under_fmtonly_a_description_of_metadata_alone_sends_nothing() {
    let fault = refused("SET FMTONLY ON", &description(&[], &[]));
    assert!(matches!(fault, DescribeFault::ParameterMissing { .. }), "{fault}");
}

#[test]
fn under_noexec_and_parseonly_no_answer_sends_nothing() {
    for option in ["SET NOEXEC ON", "SET PARSEONLY ON"] {
        for answer in [done_proc(0), done(0), vec![]] {
            let fault = refused(option, &answer);
            assert!(matches!(fault, DescribeFault::ParameterMissing { .. }), "{fault}");
        }
    }
}

#[test]
fn what_the_catalogue_has_been_cut_to_is_not_kept() {
    let id = || CatalogueCol("Id", "int", 4, 10, 0, 0, 0);
    let content = || CatalogueCol("Content", "varchar", 100, 0, 0, 1252, 2);
    let mut cut = having_set(Harness::with_catalogue(), "SET ROWCOUNT 1");
    assert!(asks_catalogue(&cut.app(&insert())));
    cut.server(&message(REPLY, &catalogue(&[&[id()]])));
    // Without its type it is described as short as it is, and is refused, or encrypted all the same.
    cut.drain_to_server();
    cut.server(&message(REPLY, &description(&[key()], &verdicts())));
    cut.provide_keys();
    assert!(!cut.drain_to_server().is_empty());
    cut.assert_never_sent(SECRET);
    assert!(cut.cache.is_empty(), "what was cut was kept");
    // Another connection of the same pool asks for itself.
    let mut whole = Harness::beside(&cut);
    assert!(asks_catalogue(&whole.app(&insert())));
    whole.server(&message(REPLY, &catalogue(&[&[id(), content()]])));
    whole.drain_to_server();
    whole.server(&message(REPLY, &description(&[key()], &verdicts())));
    whole.provide_keys();
    assert!(!whole.drain_to_server().is_empty());
    assert!(!whole.cache.is_empty(), "what is whole is kept");
}

#[test]
fn what_is_known_already_holds_whatever_is_set() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    harness.server(&message(REPLY, &description(&[key()], &verdicts())));
    harness.provide_keys();
    harness.drain_to_server();
    harness.server(&message(REPLY, &done_proc(0)));
    for option in ["SET ROWCOUNT 1", "SET FMTONLY ON", "SET NOEXEC ON"] {
        harness = having_set(harness, option);
        let mut sent = harness.app(&insert());
        harness.provide_keys();
        sent.extend(harness.drain_to_server());
        assert!(!sent.is_empty(), "{option}: it is asked anew");
        harness.assert_never_sent(SECRET);
        harness.server(&message(REPLY, &done_proc(0)));
    }
}

#[test]
fn under_noexec_a_bulk_load_whose_columns_are_not_told_sends_nothing() {
    let mut harness = having_set(Harness::logged_in(), "SET NOEXEC ON");
    harness.app(&batch("INSERT BULK Messages (Id int, Content nvarchar(4000))"));
    let reply = harness.server(&message(REPLY, &done(0)));
    assert!(harness.drain_to_server().is_empty(), "the load was announced");
    let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    assert!(error.to_string().contains("NOEXEC"), "{error}");
    harness.app(&message(BULK, SECRET.as_bytes()));
    harness.assert_never_sent(SECRET);
}
