//! Servers that lie about what they prepared.

use super::*;

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
