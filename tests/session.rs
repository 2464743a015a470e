//! The session against a scripted driver and a scripted server: what passes and what comes out.

mod support;

use std::time::Instant;

use always_encrypted::policy::TrustedKeyPaths;
use proptest::prelude::*;
use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARATIONS: &str = "@P1 int,@P2 nvarchar(4000)";

fn insert() -> Vec<u8> {
    executesql(INSERT, DECLARATIONS, &[Param::int("@P1", 7), Param::text("@P2", SECRET)])
}

fn content_is_encrypted() -> Vec<u8> {
    description(
        &[(1, TestKey::new(1))],
        &[Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)],
    )
}

/// An insert from its describe to its end, after which its description is known.
fn insert_once(harness: &mut Harness) {
    harness.app(&insert());
    harness.server(&message(REPLY, &content_is_encrypted()));
    harness.drain_to_server();
    harness.server(&message(REPLY, &done(0)));
}

/// Takes the encrypted last parameter of a request apart: the cell's plaintext and the trailer.
fn open_last_parameter(request: &[u8], key: &TestKey) -> (Vec<u8>, Vec<u8>) {
    let (kind, payload) = messages(request).pop().unwrap();
    assert_eq!(kind, RPC);
    // Status fEncrypted, perhaps with fByRefValue.
    let name = |status| [vec![3], utf16("@P2"), vec![status, 0xA5, 0xFF, 0xFF]].concat();
    let find = |name: &[u8]| payload.windows(name.len()).position(|w| w == name);
    let at = find(&name(0x08)).or_else(|| find(&name(0x09))).expect("no encrypted @P2");
    let name = name(0x08);
    let rest = &payload[at + name.len()..];
    let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
    let cell = &rest[12..12 + len];
    (key.cell_key().decrypt(cell).unwrap().to_vec(), rest[12 + len + 4..].to_vec())
}

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

/// A result with everything in it: plain and encrypted columns, NULL both ways, chunks.
fn result() -> (Vec<u8>, Vec<u8>) {
    let (k1, k2) = (TestKey::new(1), TestKey::new(2));
    let encrypted = [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("Sender", VARBINARY.to_vec(), 1, nvarchar(36)),
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
        Col::Encrypted("Flag", VARBINARY.to_vec(), 1, vec![0x68, 1]),
    ];
    let plain = [
        Col::Plain("Id", INT.to_vec()),
        Col::Plain("Sender", nvarchar(36)),
        Col::Plain("Content", nvarchar(u16::MAX)),
        Col::Plain("Flag", vec![0x68, 1]),
    ];
    let mut from_server = col_metadata(Some(&[k1.clone(), k2.clone()]), &encrypted);
    let mut to_app = col_metadata(None, &plain);
    let id = byte(&7i32.to_le_bytes());
    let (sender, content) = (utf16("alice"), utf16(&SECRET.repeat(300)));
    let one = 1i64.to_le_bytes();
    from_server.extend(row(&[
        id.clone(),
        ushort(&cell(&k2, &sender)),
        plp(&cell(&k1, &content), 1000),
        ushort(&cell(&k2, &one)),
    ]));
    to_app.extend(row(&[id.clone(), ushort(&sender), plp(&content, usize::MAX), byte(&[1])]));
    from_server.extend(row(&[
        id.clone(),
        vec![0xFF, 0xFF],
        vec![0xFF; 8],
        ushort(&cell(&k2, &one)),
    ]));
    to_app.extend(row(&[id.clone(), vec![0xFF, 0xFF], vec![0xFF; 8], byte(&[1])]));
    // NBCROW: Sender and Flag are NULL by the bitmap.
    let nbc = |values: &[Vec<u8>]| [vec![0xD2, 0b1010], values.concat()].concat();
    from_server.extend(nbc(&[id.clone(), plp(&cell(&k1, b""), 1000)]));
    to_app.extend(nbc(&[id, plp(b"", 1000)]));
    let end = done(0x10);
    from_server.extend(&end);
    to_app.extend(&end);
    (from_server, to_app)
}

#[test]
fn a_result_arrives_as_if_it_had_never_been_encrypted() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT * FROM Messages"));
    let (from_server, to_app) = result();
    let reply = harness.server(&message(REPLY, &from_server));
    assert_eq!(messages(&reply), [(REPLY, to_app)]);
    harness.assert_usable();
}

#[test]
fn several_result_sets_have_keys_of_their_own() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT 1; SELECT 2"));
    let (k1, k2) = (TestKey::new(1), TestKey::new(2));
    let (mut from_server, mut to_app) = (Vec::new(), Vec::new());
    for key in [k1, k2] {
        let encrypted = [Col::Encrypted("C", VARBINARY.to_vec(), 0, nvarchar(9))];
        from_server.extend(col_metadata(Some(std::slice::from_ref(&key)), &encrypted));
        from_server.extend(row(&[ushort(&cell(&key, &utf16("hi")))]));
        from_server.extend(done(1));
        to_app.extend(col_metadata(None, &[Col::Plain("C", nvarchar(9))]));
        to_app.extend(row(&[ushort(&utf16("hi"))]));
        to_app.extend(done(1));
    }
    let reply = harness.server(&message(REPLY, &from_server));
    assert_eq!(messages(&reply), [(REPLY, to_app)]);
}

#[test]
fn a_procedure_is_described_through_its_call_and_its_output_decrypted() {
    let mut harness = Harness::logged_in();
    let mut out_param = Param::text("@P2", SECRET);
    out_param.1 = 1;
    let describe = harness.app(&call("dbo.AddMessage", &[Param::int("@P1", 1), out_param]));
    let expected = utf16("EXEC [dbo].[AddMessage] @P1=@P1, @P2=@P2 OUTPUT");
    assert!(describe.windows(expected.len()).any(|w| w == expected));
    harness.server(&message(REPLY, &content_is_encrypted()));
    let (plaintext, _) = open_last_parameter(&harness.drain_to_server(), &TestKey::new(1));
    assert_eq!(plaintext, utf16(SECRET));
    harness.assert_never_sent(SECRET);

    let (value, shown) = output("@P2", &TestKey::new(1), "answer");
    let (value, shown) = ([value, done(0)].concat(), [shown, done(0)].concat());
    let reply = harness.server(&message(REPLY, &value));
    assert_eq!(messages(&reply), [(REPLY, shown)]);
}

#[test]
fn a_clr_value_passes_as_it_came_beside_an_encrypted_one() {
    let point = Param::clr("@P1", ["", "dbo", "Point"], b"12345678");
    let pass = |request: &[u8], declared: &str| {
        let mut harness = Harness::logged_in();
        let describe = harness.app(request);
        let declared = utf16(declared);
        assert!(describe.windows(declared.len()).any(|w| w == declared));
        harness.server(&message(REPLY, &content_is_encrypted()));
        let request = harness.drain_to_server();
        let (plaintext, _) = open_last_parameter(&request, &TestKey::new(1));
        assert_eq!(plaintext, utf16(SECRET));
        let bytes = [&point.2[..], &point.3].concat();
        assert!(request.windows(bytes.len()).any(|w| w == bytes));
    };
    let parameters = [point.clone(), Param::text("@P2", SECRET)];
    pass(&call("p", &parameters), "@P1 [dbo].[Point],@P2 nvarchar(27)");
    let declared = "@P1 dbo.Point,@P2 nvarchar(4000)";
    pass(&executesql(INSERT, declared, &parameters), "@P1 dbo.Point,@P2 nvarchar(27)");
}

#[test]
fn a_clr_type_is_declared_by_the_names_that_it_has() {
    for (names, declared) in [
        (["", "", "geography"], "@P1 [geography]"),
        (["db", "", "a]b"], "@P1 [db]..[a]]b]"),
        (["db", "dbo", "P"], "@P1 [db].[dbo].[P]"),
    ] {
        let mut harness = Harness::logged_in();
        let describe = harness.app(&call("p", &[Param::clr("@P1", names, b"1")]));
        let declared = utf16(declared);
        assert!(describe.windows(declared.len()).any(|w| w == declared), "{names:?}");
    }
    let mut harness = Harness::logged_in();
    assert!(harness.app(&call("p", &[Param::clr("@P1", ["", "dbo", ""], b"1")])).is_empty());
    assert!(Harness::error_number(&harness.drain_to_app()).is_some());
    harness.assert_usable();
}

/// A RETURNVALUE of an encrypted nvarchar(36), and the same in the clear.
fn output(name: &str, key: &TestKey, text: &str) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![0xAC, 1, 0, name.len() as u8];
    value.extend(utf16(name));
    value.extend([1, 0, 0, 0, 0]);
    let mut shown = value.clone();
    value.extend([0, 8]);
    value.extend(VARBINARY);
    value.extend([0; 4]);
    value.extend(nvarchar(36));
    value.extend([2, 2, 1]);
    value.extend(ushort(&cell(key, &utf16(text))));
    shown.extend([0, 0]);
    shown.extend(nvarchar(36));
    shown.extend(ushort(&utf16(text)));
    (value, shown)
}

#[test]
fn an_output_that_goes_in_as_null_comes_back_decrypted_and_is_not_declared_shorter() {
    let mut harness = Harness::logged_in();
    let mut out_param = Param::null("@P2");
    out_param.1 = 1;
    let declared = "@P1 int,@P2 nvarchar(36) OUTPUT";
    let describe = harness.app(&executesql(
        "EXEC p @P1, @P2 OUTPUT",
        declared,
        &[Param::int("@P1", 1), out_param],
    ));
    assert!(describe.windows(2 * declared.len()).any(|w| w == utf16(declared)));
    harness.server(&message(REPLY, &content_is_encrypted()));
    assert!(!harness.drain_to_server().is_empty());
    let (value, shown) = output("@P2", &TestKey::new(1), "answer");
    let reply = harness.server(&message(REPLY, &[value, done(0)].concat()));
    assert_eq!(messages(&reply), [(REPLY, [shown, done(0)].concat())]);
}

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
fn text_of_a_utf8_collation_arrives_as_nvarchar() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT 1"));
    let key = TestKey::new(1);
    let utf8 = vec![0xA7, 20, 0, 9, 4, 0, 0x26, 0];
    let column = [Col::Encrypted("C", VARBINARY.to_vec(), 0, utf8)];
    let mut from_server = col_metadata(Some(std::slice::from_ref(&key)), &column);
    from_server.extend(row(&[ushort(&cell(&key, "gr\u{fc}\u{df}".as_bytes()))]));
    from_server.extend(done(0));
    let reply = messages(&harness.server(&message(REPLY, &from_server))).pop().unwrap().1;
    let shown = ushort(&utf16("gr\u{fc}\u{df}"));
    assert!(reply.windows(shown.len()).any(|w| w == shown));
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

/// COLMETADATA of a bulk load as a driver writes it: an int and an nvarchar.
fn load_metadata(max: u16) -> Vec<u8> {
    let mut load = vec![0x81, 2, 0];
    for (info, name) in [(INT.to_vec(), "Id"), (nvarchar(max), "Content")] {
        load.extend([0, 0, 0, 0, 9, 0]);
        load.extend(info);
        load.push(name.len() as u8);
        load.extend(utf16(name));
    }
    load
}

const ANNOUNCE: &str =
    "INSERT BULK dbo.Messages ([Id] int, [Content] nvarchar(max)) WITH (TABLOCK)";

/// What the server answers about the columns of a load.
fn load_columns(encrypted: bool) -> Vec<u8> {
    let content = if encrypted {
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX))
    } else {
        Col::Plain("Content", nvarchar(u16::MAX))
    };
    let keys = if encrypted { vec![TestKey::new(1)] } else { vec![] };
    [col_metadata(Some(&keys), &[Col::Plain("Id", INT.to_vec()), content]), done(0x10)].concat()
}

#[test]
fn a_bulk_load_to_plain_columns_gains_the_empty_cek_table() {
    let mut harness = Harness::logged_in();
    let asked = messages(&harness.app(&batch(ANNOUNCE))).pop().unwrap().1;
    assert!(asked.ends_with(&utf16("SELECT TOP 0 [Id], [Content] FROM dbo.Messages")));
    assert!(harness.server(&message(REPLY, &load_columns(false))).is_empty());
    assert_eq!(harness.drain_to_server(), batch(ANNOUNCE), "the announcement passes as it was");
    harness.server(&message(REPLY, &done(0)));
    let mut load = load_metadata(u16::MAX);
    for _ in 0..2000 {
        load.extend(row(&[byte(&[1, 2, 3, 4]), plp(&utf16("x"), 9)]));
    }
    load.extend(done(0));
    let sent = messages(&harness.app(&message(BULK, &load))).pop().unwrap();
    let mut expected = load.clone();
    expected.splice(3..3, [0, 0]);
    assert_eq!(sent, (BULK, expected));
    harness.server(&message(REPLY, &done(0)));
    harness.assert_usable();
}

#[test]
fn a_bulk_load_to_encrypted_columns_brings_cells_however_it_is_cut() {
    for chop in [0, 1, 7, 100] {
        let mut harness = Harness::logged_in();
        harness.chop = chop;
        harness.app(&batch(ANNOUNCE));
        harness.server(&message(REPLY, &load_columns(true)));
        let announced = messages(&harness.drain_to_server()).pop().unwrap().1;
        let expected =
            "INSERT BULK dbo.Messages ([Id] int, [Content] varbinary(max)) WITH (TABLOCK)";
        assert!(announced.ends_with(&utf16(expected)));
        harness.server(&message(REPLY, &done(0)));

        let id = byte(&7i32.to_le_bytes());
        let mut load = load_metadata(u16::MAX);
        load.extend(row(&[id.clone(), plp(&utf16(SECRET), 10)]));
        load.extend(row(&[id.clone(), vec![0xFF; 8]]));
        load.extend(row(&[id.clone(), plp(&utf16(&SECRET.repeat(200)), 1000)]));
        load.extend(done(0));
        let (kind, sent) = messages(&harness.app(&message_in(BULK, &load, 600))).pop().unwrap();
        assert_eq!(kind, BULK);
        harness.assert_never_sent(SECRET);

        // COLMETADATA: one key without values, the column as varbinary(max) with its encryption.
        let mut head = vec![0x81, 2, 0, 1, 0];
        head.extend([5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
        head.extend([0, 0, 0, 0, 9, 0, 0x26, 4, 2]);
        head.extend(utf16("Id"));
        head.extend([0, 0, 0, 0, 9, 8, 0xA5, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]);
        head.extend(nvarchar(u16::MAX));
        head.extend([2, 2, 1, 7]);
        head.extend(utf16("Content"));
        assert!(sent.starts_with(&head));
        let mut rest = &sent[head.len()..];
        let key = TestKey::new(1).cell_key();
        for expected in [Some(SECRET.to_owned()), None, Some(SECRET.repeat(200))] {
            assert_eq!(rest[..6], [&[0xD1][..], &id].concat());
            rest = &rest[6..];
            let Some(expected) = expected else {
                assert_eq!(rest[..8], [0xFF; 8]);
                rest = &rest[8..];
                continue;
            };
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let cell = &rest[12..12 + len];
            assert_eq!(key.decrypt(cell).unwrap().to_vec(), utf16(&expected));
            rest = &rest[12 + len + 4..];
        }
        assert_eq!(rest, done(0));
        let reply = harness.server(&message(REPLY, &done(0x10)));
        assert_eq!(messages(&reply), [(REPLY, done(0x10))]);
        harness.assert_usable();
    }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_input_is_chopped_the_output_is_the_same(chop in 1usize..3000) {
        let run = |chop: usize| {
            let mut harness = Harness::logged_in();
            harness.chop = chop;
            let mut to_server = harness.app(&insert());
            harness.server(&message_in(REPLY, &content_is_encrypted(), 600));
            // The cell is randomized, so only its shape can be compared.
            to_server.extend((harness.drain_to_server().len() as u64).to_le_bytes());
            let mut to_app = harness.server(&message(REPLY, &done(0x10)));
            to_server.extend(harness.app(&batch("SELECT * FROM Messages")));
            to_app.extend(harness.server(&message_in(REPLY, &RESULT.0, 700)));
            (to_server, to_app)
        };
        prop_assert_eq!(run(0), run(chop));
    }
}

static RESULT: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(result);
