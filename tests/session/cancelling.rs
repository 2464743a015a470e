//! Requests and results that are given up.

use super::*;

#[test]
fn a_request_cancelled_during_its_describe_is_never_sent() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let attention = message(ATTENTION, &[]);
    assert_eq!(harness.app(&attention), attention);
    // The describe's answer may come first, then the acknowledgement.
    assert!(harness.server(&message(REPLY, &content_is_encrypted())).is_empty());
    let reply = harness.server(&message(REPLY, &done(0x20)));
    assert_eq!(messages(&reply), [(REPLY, done(0x20))]);
    assert!(harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn a_request_cancelled_while_it_waits_for_a_key_is_never_sent() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    harness
        .session
        .receive_from_server(&message(REPLY, &content_is_encrypted()), std::time::Instant::now());
    let requests = harness.session.take_key_requests();
    assert!(harness.app(&message(ATTENTION, &[])).is_empty(), "the server knows of nothing");
    assert_eq!(messages(&harness.drain_to_app()), [(REPLY, done(0x20))]);
    // The key comes too late.
    let key = std::sync::Arc::new(TestKey::new(1).cell_key());
    harness.session.provide_key(requests[0].id, Ok(key), std::time::Instant::now());
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn a_result_cancelled_half_way_ends_with_the_acknowledgement() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT * FROM Messages"));
    let (from_server, _) = result();
    let packets = message_in(REPLY, &from_server, 512);
    harness.server(&packets[..512]);
    let attention = message(ATTENTION, &[]);
    assert_eq!(harness.app(&attention), attention);
    harness.server(&packets[512..]);
    let reply = harness.server(&message(REPLY, &done(0x20)));
    assert_eq!(messages(&reply), [(REPLY, done(0x20))]);
    harness.assert_usable();
}

#[test]
fn a_cancelled_result_asks_for_no_key_any_more() {
    let mut harness = Harness::logged_in();
    harness.keys.clear();
    harness.app(&batch("SELECT * FROM Messages"));
    let attention = message(ATTENTION, &[]);
    assert_eq!(harness.app(&attention), attention);
    // The rows were on their way already.
    let (from_server, _) = result();
    let mut reply = Vec::new();
    for bytes in [message(REPLY, &from_server), message(REPLY, &done(0x20))] {
        harness.session.receive_from_server(&bytes, std::time::Instant::now());
        assert!(harness.session.take_key_requests().is_empty());
        reply.extend(harness.drain_to_app());
    }
    assert!(messages(&reply).pop().unwrap().1.ends_with(&done(0x20)));
    harness.assert_usable();
}
