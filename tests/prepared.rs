//! Prepared statements, server cursors and table-valued parameters: what is encrypted by what was
//! prepared, and what is not sent because nobody knows what was.

mod support;

use always_encrypted::{SessionError, metadata::DescribeFault, policy::TrustedKeyPaths};
use always_encrypted_sandbox::Sandbox;
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARED: &str = "@P1 int,@P2 nvarchar(100)";

const CURSOROPEN: u16 = 2;
const CURSORPREPARE: u16 = 3;
const CURSOREXECUTE: u16 = 4;
const CURSORPREPEXEC: u16 = 5;
const CURSORUNPREPARE: u16 = 6;
const CURSORFETCH: u16 = 7;
const PREPARE: u16 = 11;
const EXECUTE: u16 = 12;
const PREPEXEC: u16 = 13;
const PREPEXECRPC: u16 = 14;
const UNPREPARE: u16 = 15;

/// An int that comes back, NULL on its way there.
fn out() -> Param {
    Param("", 1, INT.to_vec(), vec![0])
}

fn text(text: &str) -> Param {
    Param::text("", text)
}

fn null_text() -> Param {
    Param("", 0, nvarchar(4000), vec![0xFF, 0xFF])
}

fn number(n: i32) -> Param {
    Param::int("", n)
}

fn prepare(statement: &str) -> Vec<u8> {
    call_by_id(PREPARE, &[out(), text(DECLARED), text(statement), number(1)])
}

fn prepexec(handle: Param, statement: &str) -> Vec<u8> {
    let own = [handle, text(DECLARED), text(statement)];
    call_by_id(PREPEXEC, &[&own[..], &[number(7), text(SECRET)]].concat())
}

fn execute(handle: i32) -> Vec<u8> {
    call_by_id(EXECUTE, &[number(handle), number(7), text(SECRET)])
}

fn content_is_encrypted() -> Vec<u8> {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    message(REPLY, &description(&[(1, TestKey::new(1))], &verdicts))
}

fn nothing_is_encrypted() -> Vec<u8> {
    message(REPLY, &description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]))
}

fn handles(handles: &[i32]) -> Vec<u8> {
    let values = handles.iter().flat_map(|handle| return_int(0, Some(*handle)));
    message(REPLY, &values.chain(done_proc(0)).collect::<Vec<u8>>())
}

/// Prepares a statement whose content is encrypted.
fn prepare_encrypted(harness: &mut Harness, statement: &str, handle: i32) {
    harness.app(&prepare(statement));
    harness.server(&content_is_encrypted());
    assert!(!harness.drain_to_server().is_empty(), "it was not prepared");
    harness.server(&handles(&[handle]));
}

/// Prepares a statement of which nothing is encrypted.
fn prepare_plain(harness: &mut Harness, statement: &str, handle: i32) {
    harness.app(&prepare(statement));
    harness.server(&nothing_is_encrypted());
    assert_eq!(harness.drain_to_server(), prepare(statement), "it does not pass as it came");
    harness.server(&handles(&[handle]));
}

/// The driver writes and keys are provided; returns what is for the server.
fn send(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let mut sent = harness.app(request);
    harness.provide_keys();
    sent.extend(harness.drain_to_server());
    sent
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = utf16(text);
    bytes.windows(text.len()).any(|w| w == text)
}

/// The plaintext of the encrypted last parameter of a request, and what follows the cell.
fn open_last(request: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (kind, payload) = messages(request).pop().expect("nothing was sent");
    assert_eq!(kind, RPC);
    let head = [0x08, 0xA5, 0xFF, 0xFF];
    let at = payload.windows(4).rposition(|w| w == head).expect("nothing is encrypted") + 4;
    let len = u64::from_le_bytes(payload[at..at + 8].try_into().unwrap()) as usize;
    let cell = &payload[at + 12..at + 12 + len];
    let plaintext = TestKey::new(1).cell_key().decrypt(cell).unwrap().to_vec();
    (plaintext, payload[at + 12 + len + 4..].to_vec())
}

fn assert_encrypted(request: &[u8]) {
    assert_eq!(open_last(request).0, utf16(SECRET));
}

/// The request is refused without a word to the server.
fn refused(harness: &mut Harness, request: &[u8]) -> SessionError {
    assert!(send(harness, request).is_empty(), "something was sent");
    let reply = harness.drain_to_app();
    let error = harness.errors.last().expect("the request was not refused").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    harness.assert_never_sent(SECRET);
    error
}

// ---- statements -----------------------------------------------------------------------------

#[test]
fn what_is_prepared_is_described_and_its_values_are_encrypted_by_it() {
    for names in [["11", "12"], ["sp_prepare;1", "sys.[SP_Execute]"]] {
        let mut harness = Harness::logged_in();
        let by = |name: &str, params: &[Param]| match name.parse() {
            Ok(id) => call_by_id(id, params),
            Err(_) => call(name, params),
        };
        let prepare = [out(), text(DECLARED), text(INSERT), number(1)];
        let describe = harness.app(&by(names[0], &prepare));
        assert!(holds(&describe, "sp_describe_parameter_encryption") && holds(&describe, INSERT));
        assert!(holds(&describe, DECLARED), "no value, so nothing to be as short as");
        assert!(harness.server(&content_is_encrypted()).is_empty());
        let sent = harness.drain_to_server();
        assert!(holds(&sent, DECLARED) && holds(&sent, INSERT));
        let answer = handles(&[3]);
        assert_eq!(harness.server(&answer), answer, "the driver gets its handle");

        let values = [number(3), number(7), text(SECRET)];
        for _ in 0..2 {
            let sent = send(&mut harness, &by(names[1], &values));
            let (plaintext, trailer) = open_last(&sent);
            assert_eq!(plaintext, utf16(SECRET));
            assert!(trailer.starts_with(&nvarchar(100)), "the type that was prepared");
            harness.server(&message(REPLY, &done_proc(0)));
        }
        harness.assert_never_sent(SECRET);
        harness.assert_usable();
    }
}

#[test]
fn sp_prepexec_encrypts_at_once_and_declares_for_later_values() {
    let mut harness = Harness::logged_in();
    assert!(holds(&harness.app(&prepexec(out(), INSERT)), DECLARED));
    harness.server(&content_is_encrypted());
    let sent = harness.drain_to_server();
    assert!(holds(&sent, DECLARED), "a longer value may follow");
    assert_encrypted(&sent);
    harness.server(&handles(&[1]));
    let longer = "x".repeat(100);
    let sent = send(&mut harness, &call_by_id(EXECUTE, &[number(1), number(7), text(&longer)]));
    assert_eq!(open_last(&sent).0, utf16(&longer));
    harness.server(&message(REPLY, &done_proc(0)));
    let too_long = "x".repeat(101);
    let request = call_by_id(EXECUTE, &[number(1), number(7), text(&too_long)]);
    assert!(send(&mut harness, &request).is_empty());
    assert!(matches!(
        harness.errors.last().as_deref(),
        Some(SessionError::Parameter { .. } | SessionError::Conversion { .. })
    ));
    harness.assert_never_sent(SECRET);
}

#[test]
fn values_may_be_named_and_in_any_order() {
    let mut harness = Harness::logged_in();
    prepare_encrypted(&mut harness, INSERT, 1);
    let values = [number(1), Param::text("@P2", SECRET), Param::int("@P1", 7)];
    assert_encrypted(&send(&mut harness, &call_by_id(EXECUTE, &values)));
    harness.assert_never_sent(SECRET);
}

#[test]
fn a_statement_of_which_nothing_is_encrypted_passes_as_it_came() {
    let mut harness = Harness::logged_in();
    prepare_plain(&mut harness, "SELECT @P1, @P2", 5);
    assert_eq!(send(&mut harness, &execute(5)), execute(5));
    harness.server(&message(REPLY, &done_proc(0)));
    // Without declarations nothing is asked.
    let plain = call_by_id(PREPARE, &[out(), null_text(), text("SELECT 1"), number(1)]);
    assert_eq!(harness.app(&plain), plain);
    harness.server(&handles(&[6]));
    let execute = call_by_id(EXECUTE, &[number(6)]);
    assert_eq!(harness.app(&execute), execute);
    harness.server(&message(REPLY, &done_proc(0)));
    let error = refused_request(&mut harness, 6);
    assert!(matches!(error, SessionError::Request(_)), "it has no parameters: {error}");
    harness.assert_usable();
}

fn refused_request(harness: &mut Harness, handle: i32) -> SessionError {
    assert!(send(harness, &execute(handle)).is_empty(), "something was sent");
    harness.drain_to_app();
    harness.errors.last().unwrap().as_ref().clone()
}

#[test]
fn values_under_an_unknown_handle_are_not_sent_and_no_values_are() {
    let mut harness = Harness::logged_in();
    let null = Param("", 0, INT.to_vec(), vec![0]);
    for (handle, shown) in [
        (number(9), Some(9)),
        (null, None),
        (Param("", 0, vec![0x26, 8], byte(&(1i64 << 40).to_le_bytes())), None),
        (Param::text("", "9"), None),
    ] {
        let request = call_by_id(EXECUTE, &[handle, number(7), text(SECRET)]);
        match refused(&mut harness, &request) {
            SessionError::UnknownHandle { handle } => assert_eq!(handle, shown),
            other => panic!("{other}"),
        }
    }
    refused(&mut harness, &call("[sys].[sp_Execute]", &[Param::text("@P2", SECRET), number(1)]));
    let execute = call_by_id(EXECUTE, &[number(9)]);
    assert_eq!(harness.app(&execute), execute);
    harness.server(&message(REPLY, &done_proc(0)));
    harness.assert_usable();
}

#[test]
fn what_is_given_up_or_reset_is_forgotten() {
    let mut reset = batch("SELECT 1");
    reset[1] |= 0x08;
    let unprepare = call_by_id(UNPREPARE, &[number(1)]);
    for request in [unprepare, call("sp_unprepare", &[number(1)]), reset] {
        let mut harness = Harness::logged_in();
        prepare_encrypted(&mut harness, INSERT, 1);
        assert_eq!(harness.app(&request), request);
        harness.server(&message(REPLY, &done_proc(0)));
        let error = refused(&mut harness, &execute(1));
        assert!(matches!(error, SessionError::UnknownHandle { handle: Some(1) }), "{error}");
        // The number is free for another statement.
        prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
        assert_eq!(send(&mut harness, &execute(1)), execute(1));
    }
}

#[test]
fn a_statement_may_be_prepared_anew_under_its_own_handle() {
    let mut harness = Harness::logged_in();
    prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
    let mut handle = number(1);
    handle.1 = 1;
    harness.app(&prepexec(handle, INSERT));
    harness.server(&content_is_encrypted());
    assert_encrypted(&harness.drain_to_server());
    harness.server(&handles(&[1]));
    assert_encrypted(&send(&mut harness, &execute(1)));
}

#[test]
fn several_calls_in_a_message_each_get_their_handle() {
    let mut harness = Harness::logged_in();
    let of = |statement| call_in_message(PREPARE, &[out(), text(DECLARED), text(statement)]);
    let calls = [all_headers(), of(INSERT), vec![0xFF], of("SELECT @P1, @P2")].concat();
    harness.app(&message(RPC, &calls));
    harness.server(&content_is_encrypted());
    harness.drain_to_server();
    harness.server(&nothing_is_encrypted());
    harness.drain_to_server();
    let answer = [return_int(0, Some(1)), done_proc(1), return_int(0, Some(2)), done_proc(0)];
    harness.server(&message(REPLY, &answer.concat()));
    assert_encrypted(&send(&mut harness, &execute(1)));
    harness.server(&message(REPLY, &done_proc(0)));
    assert_eq!(send(&mut harness, &execute(2)), execute(2));
}

#[test]
fn stale_metadata_is_asked_for_anew_with_the_types_that_were_prepared() {
    let mut harness = Harness::logged_in();
    prepare_encrypted(&mut harness, INSERT, 1);
    send(&mut harness, &execute(1));
    let stale = message(REPLY, &[error(33514, "stale"), done_proc(2)].concat());
    assert!(harness.server(&stale).is_empty());
    let describe = harness.drain_to_server();
    assert!(holds(&describe, "sp_describe_parameter_encryption") && holds(&describe, DECLARED));
    // The column has another key by now.
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    let answer = description(&[(1, TestKey::new(2))], &verdicts);
    harness.server(&message(REPLY, &answer));
    let again = messages(&harness.drain_to_server()).pop().unwrap().1;
    assert!(again.ends_with(&[2, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 1]), "the new key");
    // A second time it is the application's to know.
    assert_eq!(Harness::error_number(&harness.server(&stale)), Some(33514));
    // What was learnt holds for the next execution.
    let next = messages(&send(&mut harness, &execute(1))).pop().unwrap().1;
    assert!(next.ends_with(&[2, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 1]));
    harness.assert_never_sent(SECRET);
}

#[test]
fn a_key_that_cannot_be_opened_any_more_is_asked_for_anew_with_the_types_that_were_prepared() {
    let mut harness = Harness::logged_in();
    prepare_encrypted(&mut harness, INSERT, 1);
    // Its master key has been rotated since, and the old one taken away.
    harness.keys.retain(|key| key.id == 2);
    let describe = send(&mut harness, &execute(1));
    assert!(holds(&describe, "sp_describe_parameter_encryption") && holds(&describe, DECLARED));
    assert_eq!(messages(&describe).len(), 1, "more was sent");
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    harness.server(&message(REPLY, &description(&[(1, TestKey::new(2))], &verdicts)));
    let sent = messages(&harness.drain_to_server()).pop().expect("it was not sent").1;
    assert!(sent.ends_with(&[2, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 1]), "the new key");
    harness.server(&message(REPLY, &done_proc(0)));
    // If the server's word is still the old one, that is that.
    harness.keys.clear();
    send(&mut harness, &execute(1));
    let reply = harness.server(&content_is_encrypted());
    assert_eq!(Harness::error_number(&reply), Some(16_040_030));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn what_cannot_be_described_as_it_was_prepared_is_the_servers_error() {
    let mut harness = Harness::logged_in();
    prepare_encrypted(&mut harness, INSERT, 1);
    send(&mut harness, &execute(1));
    harness.server(&message(REPLY, &[error(33514, "stale"), done_proc(2)].concat()));
    harness.drain_to_server();
    let clash = "Operand type clash: nvarchar(100) is incompatible with nvarchar(10)";
    let reply = harness.server(&message(REPLY, &[error(206, clash), done_proc(2)].concat()));
    assert_eq!(Harness::error_number(&reply), Some(206));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn hints_of_what_was_prepared_hold_when_it_is_executed() {
    let mut harness = Harness::logged_in();
    let forced = format!("{INSERT} /* always-encrypted: force @P2 */");
    prepare_encrypted(&mut harness, &forced, 1);
    assert_encrypted(&send(&mut harness, &execute(1)));
    harness.server(&message(REPLY, &done_proc(0)));
    // What is switched off is not described, neither then nor later.
    let off = format!("{INSERT} /* always-encrypted: encryption Disabled */");
    assert_eq!(harness.app(&prepare(&off)), prepare(&off));
    harness.server(&handles(&[2]));
    assert_eq!(send(&mut harness, &execute(2)), execute(2));
}

// ---- servers that lie -----------------------------------------------------------------------

#[test]
fn a_server_that_lies_about_what_is_prepared_gets_no_plaintext() {
    let forced = format!("{INSERT} /* always-encrypted: force @P2 */");
    for request in [prepare(&forced), prepexec(out(), &forced)] {
        let mut harness = Harness::logged_in();
        harness.app(&request);
        let reply = harness.server(&nothing_is_encrypted());
        assert_eq!(Harness::error_number(&reply), Some(16_040_014));
        assert!(harness.drain_to_server().is_empty());
        let error = refused(&mut harness, &execute(1));
        assert!(matches!(error, SessionError::UnknownHandle { .. }), "{error}");
        harness.assert_usable();
    }
}

#[test]
fn a_description_cut_at_any_byte_prepares_nothing() {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    let whole = description(&[(1, TestKey::new(1))], &verdicts);
    for len in 0..whole.len() {
        for request in [prepare(INSERT), prepexec(out(), INSERT)] {
            let mut harness = Harness::logged_in();
            harness.app(&request);
            harness.server(&message(REPLY, &whole[..len]));
            assert!(harness.drain_to_server().is_empty(), "{len} bytes were believed");
            send(&mut harness, &execute(1));
            harness.assert_never_sent(SECRET);
        }
    }
}

#[test]
fn an_answer_cut_at_any_byte_leaves_no_handle_that_could_be_mistaken() {
    let whole = [return_int(0, Some(2)), done_proc(0)].concat();
    for len in 0..whole.len() {
        let mut harness = Harness::logged_in();
        prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
        harness.app(&prepare(INSERT));
        harness.server(&content_is_encrypted());
        harness.drain_to_server();
        harness.server(&message(REPLY, &whole[..len]));
        send(&mut harness, &execute(2));
        harness.drain_to_server();
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn a_handle_of_two_statements_is_that_of_neither() {
    for second_is_plain in [true, false] {
        let mut harness = Harness::logged_in();
        let (plain, encrypted) = ("SELECT @P1, @P2", INSERT);
        if second_is_plain {
            prepare_encrypted(&mut harness, encrypted, 1);
            prepare_plain(&mut harness, plain, 1);
        } else {
            prepare_plain(&mut harness, plain, 1);
            prepare_encrypted(&mut harness, encrypted, 1);
        }
        let error = refused(&mut harness, &execute(1));
        assert!(matches!(error, SessionError::AmbiguousHandle { handle: Some(1) }), "{error}");
        assert!(error.is_servers_fault());
        // One of the two is given up, the other lives on, and so does the doubt.
        harness.app(&call_by_id(UNPREPARE, &[number(1)]));
        harness.server(&message(REPLY, &done_proc(0)));
        let error = refused(&mut harness, &execute(1));
        assert!(matches!(error, SessionError::AmbiguousHandle { .. }), "{error}");
        harness.assert_usable();
    }
}

#[test]
fn after_an_answer_with_more_handles_than_were_asked_for_nothing_prepared_is_executed() {
    for values in [[1, 2], [2, 1]] {
        let mut harness = Harness::logged_in();
        prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
        harness.app(&prepare(INSERT));
        harness.server(&content_is_encrypted());
        harness.drain_to_server();
        harness.server(&handles(&values));
        for handle in [1, 2] {
            let error = refused(&mut harness, &execute(handle));
            assert!(matches!(error, SessionError::AmbiguousHandle { .. }), "{error}");
        }
        // Nor what is prepared afterwards, until the connection is reset.
        harness.app(&prepare(INSERT));
        harness.server(&handles(&[3]));
        harness.drain_to_server();
        refused(&mut harness, &execute(3));
        let mut reset = batch("SELECT 1");
        reset[1] |= 0x08;
        harness.app(&reset);
        harness.server(&message(REPLY, &done(0)));
        harness.app(&prepare(INSERT));
        harness.drain_to_server();
        harness.server(&handles(&[3]));
        assert_encrypted(&send(&mut harness, &execute(3)));
    }
}

#[test]
fn a_value_of_a_lower_ordinal_than_the_handle_s_casts_doubt_on_its_number() {
    let mut harness = Harness::logged_in();
    prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
    // An output parameter, so two values are in order.
    let content = Param("", 1, nvarchar(100), ushort(&utf16(SECRET)));
    let own = [out(), text("@P1 int OUTPUT,@P2 nvarchar(100) OUTPUT"), text(INSERT)];
    let mut id = number(7);
    id.1 = 1;
    harness.app(&call_by_id(PREPEXEC, &[&own[..], &[id, content]].concat()));
    harness.server(&content_is_encrypted());
    harness.drain_to_server();
    let answer = [return_int(3, Some(2)), return_int(0, Some(1)), done_proc(0)].concat();
    harness.server(&message(REPLY, &answer));
    let error = refused(&mut harness, &execute(1));
    assert!(matches!(error, SessionError::AmbiguousHandle { .. }), "{error}");
}

#[test]
fn calls_that_cannot_be_told_apart_teach_no_handle() {
    // A DONEPROC too many moves the second handle to a third call.
    let mut harness = Harness::logged_in();
    let of = |statement| call_in_message(PREPARE, &[out(), text(DECLARED), text(statement)]);
    let calls = [all_headers(), of("SELECT @P1, @P2"), vec![0xFF], of(INSERT)].concat();
    harness.app(&message(RPC, &calls));
    harness.server(&nothing_is_encrypted());
    harness.drain_to_server();
    harness.server(&content_is_encrypted());
    harness.drain_to_server();
    let answer = [done_proc(1), return_int(0, Some(1)), done_proc(1), return_int(0, Some(2))];
    harness.server(&message(REPLY, &[answer.concat(), done_proc(0)].concat()));
    for handle in [1, 2] {
        let error = refused(&mut harness, &execute(handle));
        assert!(matches!(error, SessionError::AmbiguousHandle { .. }), "{error}");
    }
}

#[test]
fn a_null_for_a_handle_and_an_error_leave_nothing_to_execute() {
    for answer in [
        [return_int(0, None), done_proc(0)].concat(),
        [error(8180, "not prepared"), done_proc(2)].concat(),
        done_proc(0),
    ] {
        let mut harness = Harness::logged_in();
        harness.app(&prepare(INSERT));
        harness.server(&content_is_encrypted());
        harness.drain_to_server();
        harness.server(&message(REPLY, &answer));
        for handle in [0, 1] {
            let error = refused(&mut harness, &execute(handle));
            assert!(matches!(error, SessionError::UnknownHandle { .. }), "{error}");
        }
        harness.assert_usable();
    }
}

#[test]
fn more_statements_than_are_kept_are_not_prepared() {
    let mut harness = Harness::logged_in();
    let plain = || call_by_id(PREPARE, &[out(), null_text(), text("SELECT 1"), number(1)]);
    for handle in 0..4096 {
        harness.app(&plain());
        harness.server(&handles(&[handle]));
    }
    harness.sent.clear();
    let error = refused(&mut harness, &plain());
    assert!(matches!(error, SessionError::TooManyPrepared { .. }), "{error}");
    harness.app(&call_by_id(UNPREPARE, &[number(17)]));
    harness.server(&message(REPLY, &done_proc(0)));
    assert_eq!(harness.app(&plain()), plain());
}

#[test]
fn values_where_a_procedure_s_own_parameters_belong_are_not_sent() {
    let mut harness = Harness::logged_in();
    prepare_encrypted(&mut harness, INSERT, 1);
    let own = || [out(), text(DECLARED), text(INSERT)];
    for request in [
        call_by_id(PREPEXEC, &[&[text(SECRET)], &own()[1..], &[number(7), text("x")]].concat()),
        call_by_id(PREPARE, &[&own()[..], &[text(SECRET)]].concat()),
        // A value without declaration; two values for one.
        call_by_id(PREPARE, &[&own()[..], &[number(1), number(7), text(SECRET)]].concat()),
        call_by_id(PREPEXEC, &[&own()[..], &[number(7), text("x"), text(SECRET)]].concat()),
        call_by_id(EXECUTE, &[number(1), number(7), text("x"), text(SECRET)]),
        call_by_id(EXECUTE, &[number(1), number(7), Param::text("@P1", SECRET)]),
        call_by_id(CURSOROPEN, &[out(), text(INSERT), text(SECRET), number(1), out()]),
    ] {
        let error = refused(&mut harness, &request);
        assert!(matches!(error, SessionError::Request(_)), "{error}");
    }
    for request in [
        call_by_id(PREPEXECRPC, &[out(), text("p"), text(SECRET)]),
        call_by_id(99, &[text(SECRET)]),
        call("sp_cursor_of_tomorrow", &[text(SECRET)]),
    ] {
        let error = refused(&mut harness, &request);
        assert!(matches!(error, SessionError::Unsupported { .. }), "{error}");
    }
}

// ---- cursors --------------------------------------------------------------------------------

const SELECT: &str = "SELECT Id FROM Messages WHERE Id > @P1 AND Content = @P2";

#[test]
fn a_cursor_s_parameters_are_encrypted_however_it_is_opened() {
    let options = || [number(0x1008), number(1), out()];
    let values = || [number(7), text(SECRET)];
    let open = [&[out(), text(SELECT)], &options()[..], &[text(DECLARED)], &values()].concat();
    let prepexec =
        [&[out(), out(), text(DECLARED), text(SELECT)], &options()[..], &values()].concat();
    for request in [call_by_id(CURSOROPEN, &open), call_by_id(CURSORPREPEXEC, &prepexec)] {
        let mut harness = Harness::logged_in();
        assert!(holds(&harness.app(&request), SELECT));
        harness.server(&content_is_encrypted());
        assert_encrypted(&harness.drain_to_server());
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn handles_of_cursors_are_not_those_of_statements() {
    let mut harness = Harness::logged_in();
    prepare_plain(&mut harness, "SELECT @P1, @P2", 1);
    let prepare = [out(), text(DECLARED), text(SELECT), number(1), number(0x1008), number(1)];
    assert!(holds(&harness.app(&call_by_id(CURSORPREPARE, &prepare)), SELECT));
    harness.server(&content_is_encrypted());
    harness.drain_to_server();
    harness.server(&handles(&[1]));
    let own = [number(1), out(), number(8), number(1), out()];
    let open = call_by_id(CURSOREXECUTE, &[&own[..], &[number(7), text(SECRET)]].concat());
    assert_encrypted(&send(&mut harness, &open));
    harness.server(&message(REPLY, &done_proc(0)));
    harness.assert_never_sent(SECRET);
    assert_eq!(send(&mut harness, &execute(1)), execute(1));
    harness.server(&message(REPLY, &done_proc(0)));
    let mut harness = Harness::logged_in();
    harness.app(&call_by_id(CURSORPREPARE, &prepare));
    harness.server(&content_is_encrypted());
    harness.drain_to_server();
    harness.server(&handles(&[1]));
    harness.app(&call_by_id(CURSORUNPREPARE, &[number(1)]));
    harness.server(&message(REPLY, &done_proc(0)));
    let error = refused(&mut harness, &open);
    assert!(matches!(error, SessionError::UnknownHandle { .. }), "{error}");
}

#[test]
fn a_cursor_s_rows_are_decrypted_and_a_positioned_update_with_values_is_refused() {
    let mut harness = Harness::logged_in();
    let fetch = call_by_id(CURSORFETCH, &[number(1), number(2), number(0), number(1)]);
    assert_eq!(harness.app(&fetch), fetch);
    let key = TestKey::new(1);
    let columns = [Col::Encrypted("Content", VARBINARY.to_vec(), 0, nvarchar(100))];
    let mut answer = col_metadata(Some(std::slice::from_ref(&key)), &columns);
    answer.extend(row(&[ushort(&cell(&key, &utf16("fine")))]));
    answer.extend(done_proc(0));
    assert!(holds(&harness.server(&message(REPLY, &answer)), "fine"));

    let cursor = |values: &[Param]| {
        let own = [number(1), number(33), number(1), text("Messages")];
        call_by_id(1, &[&own[..], values].concat())
    };
    assert_eq!(harness.app(&cursor(&[])), cursor(&[]), "a row may be deleted");
    harness.server(&message(REPLY, &done_proc(0)));
    for request in [
        cursor(&[Param::text("@Content", SECRET)]),
        call_by_id(1, &[number(1), number(33), number(1), Param::text("@Content", SECRET)]),
        call("sp_cursor", &[number(1), Param::text("@Content", SECRET)]),
    ] {
        let error = refused(&mut harness, &request);
        assert!(matches!(error, SessionError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("sp_cursor"), "{error}");
    }
    harness.assert_usable();
}

// ---- table-valued parameters ----------------------------------------------------------------

/// `[dbo].[Ids] (int)` with two rows.
fn table(name: &'static str) -> Param {
    let mut info = vec![0xF3, 0, 3];
    info.extend(utf16("dbo"));
    info.push(3);
    info.extend(utf16("Ids"));
    info.extend([1, 0, 0, 0, 0, 0, 0, 0, 0x26, 4, 0, 0]);
    let rows = vec![1, 4, 1, 0, 0, 0, 1, 4, 2, 0, 0, 0, 0];
    Param(name, 0, info, rows)
}

const WITH_TABLE: &str = "INSERT INTO Messages (Id, Content) SELECT Id, @P2 FROM @P1";
const WITH_TABLE_DECLARED: &str = "@P1 dbo.Ids READONLY,@P2 nvarchar(4000)";

#[test]
fn a_table_passes_as_it_is_beside_what_is_encrypted() {
    let table_bytes = [&table("").2[..], &table("").3].concat();
    let text =
        executesql(WITH_TABLE, WITH_TABLE_DECLARED, &[table("@P1"), Param::text("@P2", SECRET)]);
    let by_call = call("p", &[table("@P1"), Param::text("@P2", SECRET)]);
    for (request, declared) in [(text, "dbo.Ids READONLY"), (by_call, "[dbo].[Ids] READONLY")] {
        let mut harness = Harness::logged_in();
        let describe = harness.app(&request);
        assert!(holds(&describe, &format!("@P1 {declared},@P2 nvarchar(27)")), "{declared}");
        harness.server(&content_is_encrypted());
        let sent = harness.drain_to_server();
        assert_encrypted(&sent);
        assert!(sent.windows(table_bytes.len()).any(|w| w == table_bytes), "the table was changed");
        harness.assert_never_sent(SECRET);

        let mut harness = Harness::logged_in();
        harness.app(&request);
        harness.server(&nothing_is_encrypted());
        assert_eq!(harness.drain_to_server(), request);
    }
}

#[test]
fn a_table_that_is_said_to_be_encrypted_or_is_forced_is_not_sent() {
    let lie = description(
        &[(1, TestKey::new(1))],
        &[Verdict::encrypted(1, "@P1", 2, 1), Verdict::plain(2, "@P2")],
    );
    let plain = description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]);
    let forced = format!("{WITH_TABLE} /* always-encrypted: force @P1 */");
    let stated = format!("{WITH_TABLE} /* always-encrypted: type @P1 int */");
    for (statement, answer, number) in [
        (WITH_TABLE, &lie, 16_040_010),
        (&forced, &lie, 16_040_010),
        (&forced, &plain, 16_040_014),
        (&stated, &plain, 16_040_042),
    ] {
        let mut harness = Harness::logged_in();
        let params = [table("@P1"), Param::text("@P2", SECRET)];
        harness.app(&executesql(statement, WITH_TABLE_DECLARED, &params));
        let reply = harness.server(&message(REPLY, answer));
        assert_eq!(Harness::error_number(&reply), Some(number));
        assert!(harness.drain_to_server().is_empty());
        harness.assert_never_sent(SECRET);
        if number == 16_040_010 {
            let error = harness.errors.last().unwrap();
            let SessionError::Describe(DescribeFault::TableValued { name }) = &*error else {
                panic!("{error}")
            };
            assert_eq!(name, "@P1");
            assert!(harness.cache.is_empty(), "the lie was kept");
        }
        harness.assert_usable();
    }
}

#[test]
fn a_table_cut_at_any_byte_is_not_sent() {
    let mut params = messages(&executesql(WITH_TABLE, WITH_TABLE_DECLARED, &[])).pop().unwrap().1;
    let start = params.len();
    let of_table = messages(&call("p", &[table("@P1")])).pop().unwrap().1;
    params.extend(&of_table[all_headers().len() + 2 + 2 + 2..]);
    for len in start + 1..params.len() {
        let mut harness = Harness::logged_in();
        assert!(harness.app(&message(RPC, &params[..len])).is_empty(), "{len} bytes");
        let error = harness.errors.last().unwrap();
        assert!(matches!(*error, SessionError::Request(_)), "{error}");
        harness.drain_to_app();
        harness.assert_usable();
    }
}

// ---- end to end -----------------------------------------------------------------------------

/// A driver of bytes, the session, and the stand-in server behind it.
struct EndToEnd {
    sandbox: Sandbox,
    harness: Harness,
    tcp: TcpStream,
}

impl EndToEnd {
    async fn log_in() -> Self {
        let sandbox = Sandbox::builder().record(true).start().await.unwrap();
        let tcp = TcpStream::connect(sandbox.addr()).await.unwrap();
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.has_catalogue = true;
        let login = login7_of(sandbox.user(), sandbox.password());
        let mut server = Self { sandbox, harness, tcp };
        // The runner's own PRELOGIN, and the driver's, which the session answers.
        let ours = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 16, 0, 0, 0, 0, 0, 2];
        server.tcp.write_all(&message(PRELOGIN, &ours)).await.unwrap();
        server.tcp.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
        server.harness.app(&prelogin());
        server.harness.drain_to_app();
        server.ask(&login).await;
        assert!(!server.harness.session.is_closed());
        server
    }

    /// A request of the driver's, and the answer that it gets.
    async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let mut for_server = self.harness.app(request);
        let mut reply = self.harness.drain_to_app();
        loop {
            self.harness.provide_keys();
            for_server.extend(self.harness.drain_to_server());
            reply.extend(self.harness.drain_to_app());
            self.tcp.write_all(&for_server).await.unwrap();
            for_server.clear();
            if ends_message(&reply) {
                return messages(&reply).pop().unwrap().1;
            }
            let mut bytes = Vec::with_capacity(4096);
            assert!(self.tcp.read_buf(&mut bytes).await.unwrap() > 0, "the server hung up");
            reply.extend(self.harness.server(&bytes));
        }
    }

    async fn batch(&mut self, sql: &str) -> Vec<u8> {
        let reply = self.ask(&message(BATCH, &[headers(), utf16(sql)].concat())).await;
        assert!(!has_error(&reply), "{sql}: {}", lossy(&reply));
        reply
    }

    async fn call(&mut self, id: u16, params: &[Param]) -> Vec<u8> {
        let reply =
            self.ask(&message(RPC, &[headers(), call_in_message(id, params)].concat())).await;
        assert!(!has_error(&reply), "ProcID {id}: {}", lossy(&reply));
        reply
    }
}

/// ALL_HEADERS outside of a transaction.
fn headers() -> Vec<u8> {
    let mut out = all_headers();
    out[10..18].fill(0);
    out
}

fn ends_message(mut packets: &[u8]) -> bool {
    while packets.len() >= 8 {
        let len = usize::from(u16::from_be_bytes([packets[2], packets[3]]));
        if packets[1] & 1 == 1 {
            return true;
        }
        packets = &packets[len..];
    }
    false
}

/// Whether the last DONE of a response says so.
fn has_error(reply: &[u8]) -> bool {
    reply[reply.len() - 12] & 0x02 != 0
}

fn lossy(reply: &[u8]) -> String {
    reply.iter().filter(|b| (32..127).contains(*b)).map(|b| char::from(*b)).collect()
}

/// The int that a response returns first.
fn handle_of(reply: &[u8]) -> i32 {
    let at = reply.windows(2).rposition(|w| w == INT).expect("no int is returned");
    i32::from_le_bytes(reply[at + 3..at + 7].try_into().unwrap())
}

fn login7_of(user: &str, password: &str) -> Vec<u8> {
    let scrambled: Vec<u8> = utf16(password).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
    let fields = [utf16("host"), utf16(user), scrambled, utf16("wire"), utf16("server")];
    let rest = [vec![], utf16("lib"), vec![], utf16("sandbox")];
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for field in fields.into_iter().chain(rest) {
        table.extend((94 + data.len() as u16).to_le_bytes());
        table.extend((field.len() as u16 / 2).to_le_bytes());
        data.extend(field);
    }
    table.extend([0; 22]);
    let mut out = ((94 + data.len()) as u32).to_le_bytes().to_vec();
    out.extend(0x7400_0004u32.to_le_bytes());
    out.extend(4096u32.to_le_bytes());
    out.extend([0; 12]);
    out.extend([0xE0, 0x03, 0, 0]);
    out.extend([0; 8]);
    out.extend(table);
    out.extend(data);
    message(LOGIN7, &out)
}

const SCHEMA: &str = "
CREATE COLUMN MASTER KEY Cmk WITH (KEY_STORE_PROVIDER_NAME = 'TEST_STORE', KEY_PATH = 'test/key');
CREATE COLUMN ENCRYPTION KEY Cek WITH VALUES
    (COLUMN_MASTER_KEY = Cmk, ALGORITHM = 'RSA_OAEP', ENCRYPTED_VALUE = 0x01010707);
CREATE TABLE Messages (Id int NOT NULL PRIMARY KEY, Content nvarchar(100)
    COLLATE Latin1_General_BIN2 ENCRYPTED WITH (COLUMN_ENCRYPTION_KEY = Cek,
    ENCRYPTION_TYPE = DETERMINISTIC, ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_256') NULL)";

#[tokio::test]
async fn a_raw_driver_prepares_executes_and_gives_up_against_the_stand_in() {
    let mut server = EndToEnd::log_in().await;
    server.batch(SCHEMA).await;
    let own = [text(DECLARED), text(INSERT)];
    let prepared = server.call(PREPARE, &[&[out()], &own[..], &[number(1)]].concat()).await;
    let first = handle_of(&prepared);
    let values = [number(1), text(SECRET)];
    let prepexec = server.call(PREPEXEC, &[&[out()], &own[..], &values].concat()).await;
    let second = handle_of(&prepexec);
    assert_ne!(first, second);
    server.call(EXECUTE, &[number(first), number(2), text(SECRET)]).await;
    server.call(EXECUTE, &[number(second), number(3), text("something else")]).await;
    // What is deterministic is found by its value, and decrypted on its way back.
    let own = [
        out(),
        text("@P1 nvarchar(100)"),
        text("SELECT Id, Content FROM Messages WHERE Content = @P1"),
    ];
    let found = server.call(PREPEXEC, &[&own[..], &[text(SECRET)]].concat()).await;
    let secret = utf16(SECRET);
    assert_eq!(found.windows(secret.len()).filter(|w| *w == secret).count(), 2);
    server.call(UNPREPARE, &[number(first)]).await;
    let refused = call_by_id(EXECUTE, &[number(first), number(4), text(SECRET)]);
    let reply = message_in(REPLY, &server.ask(&refused).await, 30_000);
    assert_eq!(Harness::error_number(&reply), Some(16_040_053));
    server.harness.assert_never_sent(SECRET);
    let recorded = server.sandbox.recorded().from_clients;
    assert!(!recorded.windows(secret.len()).any(|w| w == secret));
}
