//! Cursors of the server.

use super::*;

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
