//! What goes out.

use super::*;

#[test]
fn login_asks_for_the_feature_and_hides_its_acknowledgement() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    let reply = messages(&harness.drain_to_app()).pop().unwrap().1;
    let at = usize::from(u16::from_be_bytes([reply[6], reply[7]]));
    assert_eq!(reply[at], 0x02, "the driver must not try TLS of its own");
    harness.session.receive_from_app(&login7(), Instant::now());
    assert!(!harness.session.login_tls_ends(), "LOGIN7 itself goes under TLS");
    let login = harness.drain_to_server();
    assert!(messages(&login)[0].1.ends_with(&[4, 1, 0, 0, 0, 1, 0xFF]));
    assert!(harness.session.login_tls_ends());
    assert!(!harness.session.login_tls_ends(), "it is said once");
    let features = [0xAE, 4, 1, 0, 0, 0, 1, 0x0A, 1, 0, 0, 0, 1, 0xFF];
    let reply = harness.server(&message(REPLY, &login_reply(&features)));
    let expected = login_reply(&[0xAE, 0x0A, 1, 0, 0, 0, 1, 0xFF]);
    assert_eq!(messages(&reply), [(REPLY, expected)]);
}

#[test]
fn a_parameter_of_an_encrypted_column_leaves_as_a_cell_of_its_key() {
    let mut harness = Harness::logged_in();
    let describe = messages(&harness.app(&insert()));
    let text = &describe[0].1;
    let find = |s: &str| text.windows(s.len() * 2).any(|w| w == utf16(s));
    assert!(find("sp_describe_parameter_encryption") && find(INSERT));
    assert!(find("@P1 int,@P2 nvarchar(27)"), "declared as long as the value, not as 4,000");
    assert!(text.starts_with(&all_headers()), "the same transaction");

    assert!(harness.server(&message(REPLY, &content_is_encrypted())).is_empty());
    let request = harness.drain_to_server();
    let (plaintext, trailer) = open_last_parameter(&request, &TestKey::new(1));
    assert_eq!(plaintext, utf16(SECRET));
    let mut expected = nvarchar(27);
    expected.extend([2, 2, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 1]);
    assert_eq!(trailer, expected);
    let payload = &messages(&request)[0].1;
    let declared = utf16("@P1 int,@P2 nvarchar(27)");
    assert!(payload.windows(declared.len()).any(|w| w == declared));
    harness.assert_never_sent(SECRET);

    let reply = harness.server(&message(REPLY, &done(0x10)));
    assert_eq!(messages(&reply), [(REPLY, done(0x10))]);
    harness.assert_usable();
}

#[test]
fn of_several_requests_in_a_message_each_is_described_and_encrypted() {
    let mut harness = Harness::logged_in();
    let one = messages(&insert()).pop().unwrap().1;
    let plain = executesql("SELECT @P1", "@P1 int", &[Param::int("@P1", 7)]);
    let plain = messages(&plain).pop().unwrap().1[all_headers().len()..].to_vec();
    let again = one[all_headers().len()..].to_vec();
    let payload = [&one[..], &[0xFF], &plain, &[0xFF], &again].concat();
    let describe = harness.app(&message(RPC, &payload));
    assert!(holds(&describe, INSERT));
    harness.server(&message(REPLY, &content_is_encrypted()));
    let describe = harness.drain_to_server();
    assert!(holds(&describe, "SELECT @P1") && !holds(&describe, INSERT), "the third is known");
    harness.server(&message(REPLY, &description(&[], &[Verdict::plain(1, "@P1")])));
    let sent = messages(&harness.drain_to_server()).pop().unwrap().1;
    let plain_at = sent.windows(plain.len() + 1).position(|w| w[1..] == plain && w[0] == 0xFF);
    assert!(plain_at.is_some(), "the plain request is not as it came");
    let name = [vec![3], utf16("@P2"), vec![0x08, 0xA5, 0xFF, 0xFF]].concat();
    assert_eq!(sent.windows(name.len()).filter(|w| *w == name).count(), 2);
    harness.assert_never_sent(SECRET);
    harness.server(&message(REPLY, &done(0)));
    harness.assert_usable();
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = utf16(text);
    bytes.windows(text.len()).any(|w| w == text)
}

#[test]
fn a_null_keeps_flag_and_trailer_and_needs_no_key() {
    let mut harness = Harness::logged_in();
    harness.keys.clear();
    harness.app(&executesql(INSERT, DECLARATIONS, &[Param::int("@P1", 7), Param::null("@P2")]));
    harness.server(&message(REPLY, &content_is_encrypted()));
    let request = messages(&harness.drain_to_server()).pop().unwrap().1;
    let mut expected = [vec![3], utf16("@P2"), vec![0x08, 0xA5, 0xFF, 0xFF]].concat();
    expected.extend([0xFF; 8]);
    expected.extend(nvarchar(1));
    assert!(request.windows(expected.len()).any(|w| w == expected));
}

#[test]
fn a_long_value_in_many_chunks_and_packets_is_encrypted_whole() {
    let mut harness = Harness::logged_in();
    let long: String = (0..60_000u32).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
    let request = executesql(
        INSERT,
        "@P1 int,@P2 nvarchar(max)",
        &[Param::int("@P1", 7), Param::long_text("@P2", &long, 777)],
    );
    harness.app(&request);
    harness.server(&message(REPLY, &content_is_encrypted()));
    let request = harness.drain_to_server();
    let (plaintext, trailer) = open_last_parameter(&request, &TestKey::new(1));
    assert_eq!(plaintext, utf16(&long));
    assert!(trailer.starts_with(&nvarchar(u16::MAX)));
    assert!(request.chunks(4096).all(|packet| packet[0] == RPC), "cut to the packet size");
}

#[test]
fn a_repeated_statement_is_described_once_whatever_the_lengths_of_its_values() {
    let mut harness = Harness::logged_in();
    insert_once(&mut harness);
    let params = [Param::int("@P1", 8), Param::text("@P2", "short")];
    let again = harness.app(&executesql(INSERT, DECLARATIONS, &params));
    assert!(again.is_empty(), "asked again");
    harness.provide_keys();
    let (plaintext, _) = open_last_parameter(&harness.drain_to_server(), &TestKey::new(1));
    assert_eq!(plaintext, utf16("short"));
    assert_eq!(harness.cache.len(), 1);
}

#[test]
fn a_statement_without_encrypted_parameters_passes_byte_for_byte() {
    let mut harness = Harness::logged_in();
    let request = insert();
    harness.app(&request);
    let plain = description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]);
    harness.server(&message(REPLY, &plain));
    assert_eq!(harness.drain_to_server(), request);
}

#[test]
fn with_the_setting_off_everything_passes_and_nothing_is_negotiated() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), false);
    harness.app(&prelogin());
    harness.drain_to_app();
    assert_eq!(harness.app(&login7()), login7());
    let reply = message(REPLY, &login_reply(&[]));
    assert_eq!(harness.server(&reply), reply);
    let request = insert();
    assert_eq!(harness.app(&request), request);
    let answer = message(REPLY, &[0xD1, 1, 2, 3]);
    assert_eq!(harness.server(&answer), answer);
}

#[test]
fn ciphertext_is_passed_through_only_where_the_statement_says_so() {
    let mut harness = Harness::logged_in();
    let text = "INSERT BULK t ([c] varbinary(97)) WITH (ALLOW_ENCRYPTED_VALUE_MODIFICATIONS)";
    assert_eq!(harness.app(&batch(text)), batch(text));
}

#[test]
fn stale_metadata_is_asked_for_anew_and_the_request_sent_once_more() {
    let mut harness = Harness::logged_in();
    insert_once(&mut harness);

    // From the cache now; the key has been rotated behind our back.
    assert!(harness.app(&insert()).is_empty());
    harness.provide_keys();
    harness.drain_to_server();
    let stale = [error(33514, "stale"), error(8180, "not prepared"), done(2)].concat();
    assert!(harness.server(&message(REPLY, &stale)).is_empty(), "the driver sees none of it");
    let describe = harness.drain_to_server();
    let call = utf16("sp_describe_parameter_encryption");
    assert!(describe.windows(call.len()).any(|w| w == call));
    let rotated = description(
        &[(1, TestKey::new(2))],
        &[Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)],
    );
    harness.server(&message(REPLY, &rotated));
    let (plaintext, _) = open_last_parameter(&harness.drain_to_server(), &TestKey::new(2));
    assert_eq!(plaintext, utf16(SECRET));
    // A server that says so for ever is believed after the second time.
    let reply = harness.server(&message(REPLY, &stale));
    assert_eq!(Harness::error_number(&reply), Some(33514));
    assert!(harness.cache.is_empty(), "the doubted description is forgotten");
    harness.assert_usable();
}
