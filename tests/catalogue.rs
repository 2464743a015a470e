//! The types of columns: asked for once, believed with care, forgotten in time.

mod support;

use std::time::Instant;

use always_encrypted::session::SessionError;
use support::*;

const SECRET: &str = "grün ist die Hoffnung";
const INSERT: &str = "INSERT INTO dbo.Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARED: &str = "@P1 int,@P2 nvarchar(4000)";

fn id() -> CatalogueCol {
    CatalogueCol("Id", "int", 4, 10, 0, 0, 0)
}

/// `Content varchar(100)` in code page 1252, randomized.
fn varchar(bytes: i32) -> CatalogueCol {
    CatalogueCol("Content", "varchar", bytes, 0, 0, 1252, 2)
}

fn insert(text: &str) -> Vec<u8> {
    executesql(INSERT, DECLARED, &[Param::int("@P1", 7), Param::text("@P2", text)])
}

fn encrypted() -> Vec<u8> {
    description(
        &[(1, TestKey::new(1))],
        &[Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)],
    )
}

fn answer(payload: &[u8]) -> Vec<u8> {
    message(REPLY, payload)
}

fn refusal(text: &str) -> Vec<u8> {
    answer(&[error(206, text), done(2)].concat())
}

/// What a statement that is known sends at once.
fn sent_at_once(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let mut sent = harness.app(request);
    harness.provide_keys();
    sent.extend(harness.drain_to_server());
    sent
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = utf16(text);
    bytes.windows(text.len()).any(|w| w == text)
}

/// The plaintext of the encrypted parameter @P2, and the TYPE_INFO behind it.
fn opened(request: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let payload = messages(request).pop().unwrap().1;
    let name = [vec![3], utf16("@P2"), vec![0x08, 0xA5, 0xFF, 0xFF]].concat();
    let at = payload.windows(name.len()).position(|w| w == name).expect("no encrypted @P2");
    let rest = &payload[at + name.len()..];
    let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
    let cell = &rest[12..12 + len];
    let plaintext = TestKey::new(1).cell_key().decrypt(cell).unwrap().to_vec();
    (plaintext, rest[12 + len + 4..].to_vec())
}

#[test]
fn a_string_is_declared_and_encrypted_as_its_column_has_it() {
    let mut harness = Harness::with_catalogue();
    let asked = harness.app(&insert(SECRET));
    assert!(asks_catalogue(&asked) && holds(&asked, "[dbo].[Messages]"));
    assert!(messages(&asked)[0].1.starts_with(&all_headers()), "the same transaction");
    harness.server(&answer(&catalogue(&[&[id(), varchar(100)]])));
    let describe = harness.drain_to_server();
    assert!(holds(&describe, "@P1 int,@P2 varchar(100)"));
    harness.server(&answer(&encrypted()));
    let request = harness.drain_to_server();
    assert!(holds(&request, "@P1 int,@P2 varchar(100)"));
    let (plaintext, trailer) = opened(&request);
    assert_eq!(plaintext, b"gr\xFCn ist die Hoffnung");
    assert_eq!(trailer[..3], [0xA7, 100, 0]);
    harness.assert_never_sent(SECRET);
    harness.server(&answer(&done(0)));

    // The statement is known now, and for another one the table is.
    let again = sent_at_once(&mut harness, &insert("kurz"));
    assert_eq!(opened(&again).0, b"kurz");
    harness.server(&answer(&done(0)));
    let other = INSERT.replace("Id, Content", "Id,Content");
    let describe = harness.app(&executesql(
        &other,
        DECLARED,
        &[Param::int("@P1", 7), Param::text("@P2", SECRET)],
    ));
    assert!(!asks_catalogue(&describe) && holds(&describe, "@P2 varchar(100)"));
}

#[test]
fn a_plain_column_leaves_the_parameter_as_it_came() {
    let mut harness = Harness::with_catalogue();
    let plain = CatalogueCol("Content", "varchar", 100, 0, 0, 1252, 0);
    harness.app(&insert("anything"));
    harness.server(&answer(&catalogue(&[&[id(), plain]])));
    let describe = harness.drain_to_server();
    assert!(holds(&describe, "@P2 nvarchar(8)"), "as short as its value");
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")];
    harness.server(&answer(&description(&[], &verdicts)));
    assert_eq!(harness.drain_to_server(), insert("anything"));
}

#[test]
fn a_value_that_its_column_cannot_hold_is_not_sent_and_the_error_names_the_column() {
    for (value, column) in [
        ("ωμέγα", varchar(100)),
        (SECRET, varchar(5)),
        (SECRET, CatalogueCol("Content", "int", 4, 10, 0, 0, 2)),
    ] {
        let mut harness = Harness::with_catalogue();
        harness.app(&insert(value));
        harness.server(&answer(&catalogue(&[&[id(), column]])));
        harness.drain_to_server();
        let reply = harness.server(&answer(&encrypted()));
        assert_eq!(Harness::error_number(&reply), Some(16_040_043));
        assert!(harness.drain_to_server().is_empty());
        let error = harness.errors.last().unwrap().to_string();
        assert!(error.contains("@P2") && error.contains("column Messages.Content"), "{error}");
        assert!(!error.contains(value), "{error}");
        harness.assert_never_sent(value);
        harness.assert_usable();
    }
}

#[test]
fn a_clash_with_a_known_type_asks_the_catalogue_again() {
    let mut harness = Harness::with_catalogue();
    harness.app(&insert(SECRET));
    harness.server(&answer(&catalogue(&[&[id(), varchar(100)]])));
    harness.drain_to_server();
    harness.server(&answer(&encrypted()));
    harness.drain_to_server();
    harness.server(&answer(&done(0)));

    // Meanwhile somebody has made the column longer. The first try rests on what was known.
    let other = format!("{INSERT} -- another");
    let request = executesql(&other, DECLARED, &[Param::int("@P1", 7), Param::text("@P2", SECRET)]);
    assert!(holds(&harness.app(&request), "@P2 varchar(100)"));
    harness.server(&refusal("Operand type clash: varchar(100) and varchar(200)"));
    assert!(asks_catalogue(&harness.drain_to_server()));
    harness.server(&answer(&catalogue(&[&[id(), varchar(200)]])));
    assert!(holds(&harness.drain_to_server(), "@P2 varchar(200)"));
    harness.server(&answer(&encrypted()));
    assert_eq!(opened(&harness.drain_to_server()).0, b"gr\xFCn ist die Hoffnung");
}

#[test]
fn a_clash_teaches_the_type_of_a_parameter_that_nothing_else_tells() {
    let statement = "EXEC('INSERT Messages VALUES (@a)') SELECT LOWER(@P2)";
    let request = executesql(statement, "@P2 nvarchar(4000)", &[Param::text("@P2", "abc")]);
    let mut harness = Harness::with_catalogue();
    assert!(holds(&harness.app(&request), "@P2 nvarchar(3)"));
    harness.server(&refusal(
        "Operand type clash: nvarchar(3) encrypted with (encryption_type = 'RANDOMIZED') is \
         incompatible with varchar(20) encrypted with (encryption_type = 'RANDOMIZED')",
    ));
    assert!(holds(&harness.drain_to_server(), "@P2 varchar(20)"));
    // A server that always refuses is not asked for ever.
    let mut reply = Vec::new();
    for _ in 0..4 {
        reply = harness.server(&refusal("Operand type clash: varchar(20) and char(7)"));
        if harness.drain_to_server().is_empty() {
            break;
        }
    }
    assert_eq!(Harness::error_number(&reply), Some(206), "the server's error reaches the driver");
    harness.assert_usable();
}

#[test]
fn a_refusal_that_ends_the_transaction_is_not_tried_again() {
    let statement = "SELECT LOWER(@P2)";
    let mut harness = Harness::with_catalogue();
    harness.app(&executesql(statement, "@P2 nvarchar(4000)", &[Param::text("@P2", "abc")]));
    // ENVCHANGE 10: the transaction has been rolled back.
    let rolled_back = [0xE3, 11, 0, 10, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0];
    let text = "Operand type clash: nvarchar(3) is incompatible with varchar(20)";
    let reply = harness.server(&answer(&[&rolled_back[..], &error(206, text), &done(2)].concat()));
    assert_eq!(Harness::error_number(&reply), Some(206));
    assert!(harness.drain_to_server().is_empty());
}

#[test]
fn an_answer_of_the_catalogue_that_is_none_stops_the_request() {
    let honest = catalogue(&[&[id(), varchar(100)]]);
    let two = catalogue(&[&[id()], &[varchar(100)]]);
    let mut cut: Vec<Vec<u8>> = (1..honest.len()).map(|len| honest[..len].to_vec()).collect();
    cut.push(two);
    for lie in cut {
        let mut harness = Harness::with_catalogue();
        harness.app(&insert(SECRET));
        let reply = harness.server(&answer(&lie));
        assert!(harness.drain_to_server().is_empty(), "went on after {} bytes", lie.len());
        assert_eq!(Harness::error_number(&reply), Some(16_040_010), "{} bytes", lie.len());
        harness.assert_never_sent(SECRET);
        harness.assert_usable();
    }
}

#[test]
fn no_lie_about_a_type_gets_plaintext() {
    for name in ["int", "nvarchar", "varbinary", "xml", "nonsense", "datetime2", "money"] {
        for length in [-1, 0, 1, 8, 30_000] {
            let mut harness = Harness::with_catalogue();
            harness.app(&insert(SECRET));
            let lie = CatalogueCol("Content", name, length, 99, 99, 7, 2);
            harness.server(&answer(&catalogue(&[&[id(), lie]])));
            harness.drain_to_server();
            harness.server(&answer(&encrypted()));
            harness.drain_to_server();
            harness.assert_never_sent(SECRET);
        }
    }
}

/// A session whose insert is known.
fn with_known_insert() -> Harness {
    let mut harness = Harness::with_catalogue();
    harness.app(&insert(SECRET));
    harness.server(&answer(&catalogue(&[&[id(), varchar(100)]])));
    harness.drain_to_server();
    harness.server(&answer(&encrypted()));
    harness.drain_to_server();
    harness.server(&answer(&done(0)));
    harness
}

#[test]
fn a_clash_at_execution_describes_anew_once_if_nothing_was_executed() {
    let mut harness = with_known_insert();
    opened(&sent_at_once(&mut harness, &insert(SECRET)));
    let reply = harness.server(&refusal("Operand type clash"));
    assert!(reply.is_empty());
    assert!(asks_catalogue(&harness.drain_to_server()));
    harness.server(&answer(&catalogue(&[&[id(), varchar(200)]])));
    harness.drain_to_server();
    harness.server(&answer(&encrypted()));
    assert_eq!(opened(&harness.drain_to_server()).1[..3], [0xA7, 200, 0]);
    let reply = harness.server(&refusal("Operand type clash"));
    assert_eq!(Harness::error_number(&reply), Some(206));
    assert!(harness.drain_to_server().is_empty());
}

#[test]
fn a_statement_that_changes_a_table_makes_what_is_known_of_it_void() {
    for change in [
        batch("ALTER TABLE Messages ALTER COLUMN Content varchar(200)"),
        executesql("DROP TABLE Messages", "", &[]),
    ] {
        let mut harness = with_known_insert();
        assert_eq!(harness.app(&change), change);
        harness.server(&answer(&done(0)));
        assert!(asks_catalogue(&harness.app(&insert(SECRET))));
    }
    let mut harness = with_known_insert();
    harness.app(&batch("SELECT CreatedAt FROM Messages"));
    harness.server(&answer(&done(0)));
    assert!(!asks_catalogue(&harness.app(&insert(SECRET))));
}

#[test]
fn of_two_sessions_with_the_same_statement_one_asks() {
    let mut first = Harness::with_catalogue();
    let mut second = Harness::beside(&first);
    assert!(asks_catalogue(&first.app(&insert(SECRET))));
    assert!(second.app(&insert(SECRET)).is_empty());
    assert!(second.session.awaited_description().is_some());
    first.server(&answer(&catalogue(&[&[id(), varchar(100)]])));
    first.drain_to_server();
    first.server(&answer(&encrypted()));
    second.session.stop_waiting(false, Instant::now());
    second.provide_keys();
    assert_eq!(opened(&second.drain_to_server()).0, b"gr\xFCn ist die Hoffnung");
    second.server(&answer(&done(0)));
    second.assert_usable();
}

#[test]
fn whoever_has_waited_long_enough_or_sees_the_other_fail_asks_by_itself() {
    for too_long in [true, false] {
        let mut first = Harness::with_catalogue();
        let mut second = Harness::beside(&first);
        first.app(&insert(SECRET));
        second.app(&insert(SECRET));
        if !too_long {
            drop(first);
        }
        second.session.stop_waiting(too_long, Instant::now());
        assert!(asks_catalogue(&second.drain_to_server()));
    }
}

#[test]
fn a_request_that_waits_for_another_connection_can_be_cancelled() {
    let mut first = Harness::with_catalogue();
    let mut second = Harness::beside(&first);
    first.app(&insert(SECRET));
    second.app(&insert(SECRET));
    assert!(second.app(&message(ATTENTION, &[])).is_empty());
    assert_eq!(messages(&second.drain_to_app()), [(REPLY, done(0x20))]);
    assert!(second.session.awaited_description().is_none());
    second.assert_usable();
}

#[test]
fn a_stated_type_holds_for_a_plain_parameter_too() {
    let statement =
        "SELECT Id FROM Messages WHERE Amount = @P1 /* always-encrypted: type @P1 money */";
    let mut harness = Harness::logged_in();
    let describe = harness.app(&executesql(statement, "@P1 int", &[Param::int("@P1", 7)]));
    assert!(holds(&describe, "@P1 money"));
    harness.server(&answer(&description(&[], &[Verdict::plain(1, "@P1")])));
    let request = messages(&harness.drain_to_server()).pop().unwrap().1;
    assert!(holds(&request, "@P1 money"));
    let value = [vec![3], utf16("@P1"), vec![0, 0x6E, 8, 8, 0, 0, 0, 0, 0x70, 0x11, 1, 0]].concat();
    assert!(request.windows(value.len()).any(|w| w == value), "70,000 tenths of a thousandth");
}

#[test]
fn a_statement_has_a_setting_of_its_own() {
    let hint = |setting: &str| format!("{INSERT} /* always-encrypted: encryption {setting} */");
    for setting in ["ResultSetOnly", "Disabled"] {
        let mut harness = Harness::logged_in();
        let params = [Param::int("@P1", 7), Param::text("@P2", "not a secret")];
        let request = executesql(&hint(setting), DECLARED, &params);
        assert_eq!(harness.app(&request), request, "sent as it is, without a question");
        let key = TestKey::new(1);
        let base = nvarchar(50);
        let columns = [Col::Encrypted("Content", VARBINARY.to_vec(), 0, base.clone())];
        let stored = cell(&key, &utf16("clear"));
        let rows =
            [col_metadata(Some(&[key]), &columns), row(&[ushort(&stored)]), done(0)].concat();
        let shown = messages(&harness.server(&answer(&rows))).pop().unwrap().1;
        if setting == "Disabled" {
            let plain = [Col::Plain("Content", VARBINARY.to_vec())];
            let mut expected = col_metadata(None, &plain);
            expected.extend(row(&[ushort(&stored)]));
            assert_eq!(shown, [expected, done(0)].concat());
        } else {
            assert!(holds(&shown, "clear"));
        }
    }
    // A statement that forces what its setting does not encrypt contradicts itself.
    let statement = format!("{} /* always-encrypted: force @P2 */", hint("Disabled"));
    let mut harness = Harness::logged_in();
    harness.app(&executesql(
        &statement,
        DECLARED,
        &[Param::int("@P1", 7), Param::text("@P2", SECRET)],
    ));
    assert!(matches!(*harness.errors.last().unwrap(), SessionError::PlainParameter { .. }));
    harness.assert_never_sent(SECRET);
}

#[test]
fn a_batch_has_a_setting_of_its_own() {
    let text = "SELECT Content FROM Messages /* always-encrypted: encryption Disabled */";
    let mut harness = Harness::logged_in();
    assert_eq!(harness.app(&batch(text)), batch(text));
    let key = TestKey::new(1);
    let columns = [Col::Encrypted("Content", VARBINARY.to_vec(), 0, nvarchar(50))];
    let stored = cell(&key, &utf16("clear"));
    let rows = [col_metadata(Some(&[key]), &columns), row(&[ushort(&stored)]), done(0)].concat();
    let shown = messages(&harness.server(&answer(&rows))).pop().unwrap().1;
    assert!(!holds(&shown, "clear") && shown.windows(stored.len()).any(|w| w == stored));
    harness.assert_usable();
}
