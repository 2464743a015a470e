//! What the server changes about the connection.

use super::*;

/// ENVCHANGE 10: the transaction is rolled back.
const ROLLED_BACK: [u8; 14] = [0xE3, 11, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn a_rollback_during_the_describe_reaches_the_driver_before_the_error() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let deadlock = error(1205, "deadlock victim");
    let answer = [&ROLLED_BACK[..], &deadlock, &done(2)].concat();
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(messages(&reply), [(REPLY, answer)]);
    harness.assert_usable();
}

#[test]
fn a_change_of_the_environment_in_a_describe_is_followed_and_handed_on() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let change = database_change("other");
    let answer = [change.clone(), content_is_encrypted()].concat();
    assert!(harness.server(&message(REPLY, &answer)).is_empty());
    harness.drain_to_server();
    let reply = harness.server(&message(REPLY, &done(0)));
    assert_eq!(messages(&reply), [(REPLY, [change, done(0)].concat())]);
    // The same statement is another one in the other database.
    assert!(!harness.app(&insert()).is_empty());
}

#[test]
fn a_request_whose_transaction_was_rolled_back_is_not_sent_again() {
    let mut harness = Harness::logged_in();
    insert_once(&mut harness);
    harness.app(&insert());
    harness.provide_keys();
    harness.drain_to_server();
    let stale = [&error(33514, "stale")[..], &ROLLED_BACK, &done(2)].concat();
    let reply = harness.server(&message_in(REPLY, &stale, 32));
    assert_eq!(messages(&reply), [(REPLY, stale)]);
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn what_the_server_changes_after_an_error_of_ours_comes_before_the_end() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT Content FROM Messages; COMMIT"));
    let key = TestKey::new(1);
    let column = [Col::Encrypted("C", VARBINARY.to_vec(), 0, nvarchar(9))];
    let mut answer = col_metadata(Some(std::slice::from_ref(&key)), &column);
    answer.extend(row(&[ushort(&[1; 65])]));
    answer.extend(done(1));
    answer.extend(ROLLED_BACK);
    answer.extend(done(0));
    let reply = messages(&harness.server(&message(REPLY, &answer))).pop().unwrap().1;
    let end = [&ROLLED_BACK[..], &done(2)].concat();
    assert!(reply.ends_with(&end), "the driver stops reading at the last DONE");
    harness.assert_usable();
}

/// ENVCHANGE 1: the current database.
fn database_change(name: &str) -> Vec<u8> {
    let mut body = vec![1, name.len() as u8];
    body.extend(utf16(name));
    body.push(2);
    body.extend(utf16("db"));
    let mut out = vec![0xE3];
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    out
}

#[test]
fn after_a_reset_a_statement_is_one_of_the_logins_database_again() {
    for resets_itself in [true, false] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("USE other"));
        harness.server(&message(REPLY, &[database_change("other"), done(0)].concat()));
        harness.app(&insert());
        let plain = description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]);
        harness.server(&message(REPLY, &plain));
        assert_eq!(harness.drain_to_server(), insert());
        harness.server(&message(REPLY, &done(0)));

        // The reset brings back the login's database, where the column is encrypted.
        let sent = harness.sent.len();
        let mut request = insert();
        if resets_itself {
            request[1] |= 0x08;
        } else {
            let mut other = batch("SELECT 1");
            other[1] |= 0x08;
            harness.app(&other);
            harness.server(&message(REPLY, &done(0)));
        }
        harness.app(&request);
        harness.server(&message(REPLY, &content_is_encrypted()));
        harness.drain_to_server();
        let later = harness.sent.split_off(sent);
        assert!(!later.windows(SECRET.len() * 2).any(|w| w == utf16(SECRET)));
    }
}

#[test]
fn a_packet_size_that_the_server_sets_holds_for_what_we_send() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    let mut reply = vec![0xE3, 13, 0, 4, 3];
    reply.extend(utf16("512"));
    reply.push(2);
    reply.extend(utf16("40"));
    let len = (reply.len() - 3) as u16;
    reply[1..3].copy_from_slice(&len.to_le_bytes());
    reply.extend(login_reply(&ACKNOWLEDGED));
    harness.app(&prelogin());
    harness.app(&login7());
    harness.server(&message(REPLY, &reply));
    let statement = format!("{INSERT} -- {}", "long ".repeat(200));
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    let sent = harness.app(&executesql(&statement, DECLARATIONS, &params));
    assert_eq!(u16::from_be_bytes([sent[2], sent[3]]), 512);
}

#[test]
fn a_reset_of_the_session_goes_out_once_and_with_the_first_question() {
    let mut harness = Harness::with_catalogue();
    let mut request = insert();
    request[1] |= 0x08;
    let question = harness.app(&request);
    assert!(asks_catalogue(&question));
    assert_eq!(question[1], 0x09);
    harness.server(&message(REPLY, &[error(229, "permission denied"), done(2)].concat()));
    assert_eq!(harness.drain_to_server()[1], 0x01);
    harness.server(&message(REPLY, &content_is_encrypted()));
    assert_eq!(harness.drain_to_server()[1], 0x01);
}
