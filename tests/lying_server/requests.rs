//! The application's own mistakes.

use super::*;

fn refused_request(request: &[u8]) -> SessionError {
    let mut harness = Harness::logged_in();
    harness.app(request);
    let reply = harness.drain_to_app();
    let error = harness.errors.last().expect("the request was not refused").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
    error
}

#[test]
fn a_value_without_a_declaration_is_not_sent() {
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    let error = refused_request(&executesql(INSERT, "@P1 int", &params));
    assert!(matches!(error, SessionError::Request(_)));
}

#[test]
fn a_statement_is_recognised_under_every_spelling_of_its_procedure() {
    let declared = "@P1 int,@P2 nvarchar(4000)";
    for name in
        ["sp_executesql;1", "sys.[sp_executesql] ", "\"SP_ExecuteSQL\"", "master..sp_executesql"]
    {
        let mut harness = Harness::logged_in();
        let params = [
            Param::text("", INSERT),
            Param::text("", declared),
            Param::int("@P1", 7),
            Param::text("@P2", SECRET),
        ];
        let describe = harness.app(&call(name, &params));
        let text = utf16(INSERT);
        assert!(describe.windows(text.len()).any(|w| w == text), "{name}: not described");
        harness.server(&message(REPLY, &describe_with(Verdict::encrypted(2, NAME, 2, 1))));
        assert!(!harness.drain_to_server().is_empty());
        harness.assert_never_sent(SECRET);
    }
    for name in ["sp_prepexec;1", "sys.[sp_execute] ", "a b", "p; DROP TABLE t", "[open"] {
        refused_request(&call(name, &[Param::text("@P2", SECRET)]));
    }
}

#[test]
fn a_statement_that_is_no_text_is_not_sent() {
    let mut half = messages(&insert()).pop().unwrap().1;
    let at = half.windows(6).position(|w| w == utf16("INS")).unwrap();
    half[at..at + 2].copy_from_slice(&[0x00, 0xD8]);
    refused_request(&message(RPC, &half));
}

#[test]
fn a_message_of_packets_of_two_kinds_is_not_sent_on() {
    let mut harness = Harness::logged_in();
    let mut request = message_in(RPC, &messages(&insert()).pop().unwrap().1, 100);
    let last = request.len() - (request.len() % 100);
    request[last] = BATCH;
    harness.app(&request);
    harness.assert_never_sent(SECRET);
    assert!(harness.session.is_closed());
}

#[test]
fn two_values_for_one_declaration_are_not_sent() {
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET), Param::text("@P2", "other")];
    let error = refused_request(&executesql(INSERT, "@P1 int,@P2 nvarchar(4000)", &params));
    assert!(matches!(error, SessionError::Request(_)));
    // By position and by name at once.
    let params = [Param::int("", 7), Param::text("@P1", SECRET)];
    let error = refused_request(&executesql(INSERT, "@P1 int,@P2 nvarchar(4000)", &params));
    assert!(matches!(error, SessionError::Request(_)));
}

#[test]
fn a_procedure_with_two_values_of_one_name_is_not_called() {
    let mut harness = Harness::logged_in();
    harness.app(&call("p", &[Param::text("@P2", SECRET), Param::text("@P2", "other")]));
    let verdicts = [Verdict::plain(1, "@P2"), Verdict::plain(2, "@P2")];
    harness.server(&message(REPLY, &description(&[], &verdicts)));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn a_reply_that_comes_before_its_request_is_whole_waits_for_it() {
    let mut harness = Harness::logged_in();
    let request = batch(&"SELECT 1 -- ".repeat(1000));
    let first = u16::from_be_bytes([request[2], request[3]]) as usize;
    assert!(first < request.len());
    harness.app(&request[..first]);
    assert!(harness.server(&message(REPLY, &done(0))).is_empty());
    harness.app(&request[first..]);
    assert_eq!(messages(&harness.drain_to_app()), [(REPLY, done(0))]);
    harness.assert_usable();
}

#[test]
fn requests_that_cannot_be_looked_after_are_not_sent() {
    let mut tvp = Param::int("@P2", 1);
    tvp.2 = vec![0xF3, 0, 0, 0];
    let mut encrypted = Param::text("@P2", SECRET);
    encrypted.1 = 0x08;
    let declared = "@P1 int,@P2 nvarchar(4000)";
    let mut prepared = messages(&insert()).pop().unwrap().1;
    prepared[24] = 12;
    for (request, number) in [
        // A table without an end.
        (executesql(INSERT, declared, &[Param::int("@P1", 7), tvp]), 16_040_050),
        (executesql(INSERT, declared, &[Param::int("@P1", 7), encrypted]), 16_040_051),
        // Of no handle that is known.
        (message(RPC, &prepared), 16_040_053),
        (call("[sys].[sp_Execute]", &[Param::text("@P2", SECRET), Param::int("", 1)]), 16_040_053),
        // Values where the procedures' own parameters belong.
        (call("sp_prepexec", &[Param::text("@P2", SECRET)]), 16_040_050),
        (call("sp_execute", &[Param::text("@P2", SECRET)]), 16_040_050),
        (call("sp_prepexecrpc", &[Param::text("@P2", SECRET)]), 16_040_051),
        (call("sp_cursor", &[Param::text("@P2", SECRET)]), 16_040_051),
    ] {
        let error = refused_request(&request);
        assert_eq!(error.number(), number, "{error}");
    }
}

#[test]
fn a_value_of_another_type_than_its_declaration_is_not_encrypted_as_it() {
    let mut harness = Harness::logged_in();
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    harness.app(&executesql(INSERT, "@P1 int,@P2 varbinary(100)", &params));
    let answer = describe_with(Verdict::encrypted(2, NAME, 2, 1));
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(Harness::error_number(&reply), Some(16_040_043));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}
