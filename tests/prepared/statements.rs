//! Statements that are prepared and executed.

use super::*;

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
