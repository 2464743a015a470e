//! What the server answers: metadata, rows, cells, lengths.

use super::*;

#[test]
fn a_name_that_is_too_long_for_the_server_is_not_kept_in_an_error() {
    let mut answer = description_keys(&[]);
    let columns = [
        Col::Plain("o", INT.to_vec()),
        Col::Plain("n", nvarchar(u16::MAX)),
        Col::Plain("a", INT.to_vec()),
        Col::Plain("t", INT.to_vec()),
        Col::Plain("k", INT.to_vec()),
        Col::Plain("v", INT.to_vec()),
    ];
    answer.extend(col_metadata(Some(&[]), &columns));
    let zero = byte(&[0; 4]);
    let name = plp(&utf16(&"x".repeat(100_000)), usize::MAX);
    answer.extend(row(&[zero.clone(), name, zero.clone(), zero.clone(), zero.clone(), zero]));
    answer.extend(done(0));
    let error = refused_describe(&answer);
    assert!(error.to_string().len() < 500);
}

#[test]
fn a_structure_over_thousands_of_packets_arrives_whole() {
    // A megabyte of column metadata and 1.6 MB of an output parameter in packets of 64 bytes: read
    // anew for each of them this would take minutes.
    let name = "abcdefghijklmnopqrstuvwxyz".repeat(4);
    let name: &'static str = name.leak();
    let many: Vec<Col> = (0..4096).map(|_| Col::Plain(name, INT.to_vec())).collect();
    let metadata = col_metadata(Some(&[]), &many);
    let mut value = vec![0xAC, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    value.extend(VARBINARY_MAX);
    value.extend(plp(&vec![7; 1_600_000], 40));
    for token in [metadata, value] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT 1"));
        let answer = [token, done(0)].concat();
        let reply = harness.server(&message_in(REPLY, &answer, 64));
        assert!(!reply.is_empty());
        harness.assert_usable();
    }
}

#[test]
fn rows_without_columns_close_the_connection() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT 1"));
    harness.server(&message(REPLY, &[vec![0xD1], done(0)].concat()));
    assert!(harness.session.is_closed());
}

fn content_row(id: i32, cell: &[u8]) -> Vec<u8> {
    row(&[byte(&id.to_le_bytes()), ushort(cell)])
}

#[test]
fn a_tampered_cell_ends_the_result_after_the_rows_before_it() {
    let key = TestKey::new(1);
    let good = cell(&key, &utf16("fine"));
    let foreign = cell(&TestKey::new(2), &utf16("fine"));
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for bad in [&flipped[..], &foreign, &good[..64], &good[..0], &[1; 65]] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT * FROM Messages"));
        let mut answer = one_column(&key);
        answer.extend(content_row(1, &good));
        answer.extend(content_row(2, &good));
        answer.extend(content_row(3, bad));
        answer.extend(content_row(4, &good));
        answer.extend(done(0x10));
        let reply = harness.server(&message(REPLY, &answer));
        let payload = messages(&reply).pop().unwrap().1;
        let fine = ushort(&utf16("fine"));
        let rows = payload.windows(fine.len()).filter(|w| *w == fine).count();
        assert_eq!(rows, 2, "the rows before the bad one arrive, none after it");
        assert_eq!(Harness::error_number(&reply), Some(16_040_020));
        let text = harness.errors.last().unwrap().to_string();
        assert!(text.contains("column Content") && text.contains(PATH), "{text}");
        harness.assert_usable();
    }
}

#[test]
fn a_cell_of_another_type_than_its_column_is_an_error_and_no_wrong_value() {
    let key = TestKey::new(1);
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT 1"));
    let mut answer = one_column(&key);
    answer.extend(content_row(1, &cell(&key, b"odd")));
    answer.extend(content_row(1, &cell(&key, &utf16(&"x".repeat(101)))));
    answer.extend(done(0));
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(Harness::error_number(&reply), Some(16_040_021));
    harness.assert_usable();
}

#[test]
fn a_key_that_is_not_to_be_had_fails_the_result_and_not_the_connection() {
    let mut harness = Harness::logged_in();
    harness.keys.clear();
    harness.app(&batch("SELECT 1"));
    let key = TestKey::new(1);
    let mut answer = one_column(&key);
    answer.extend(content_row(1, &cell(&key, &utf16("x"))));
    answer.extend(done(0));
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(Harness::error_number(&reply), Some(16_040_030));
    assert!(harness.errors.last().unwrap().to_string().starts_with("column Content"));
    harness.assert_usable();
}

#[test]
fn a_key_that_is_not_to_be_had_stops_the_request() {
    let mut harness = Harness::logged_in();
    harness.keys.clear();
    harness.app(&insert());
    harness.server(&message(REPLY, &describe_with(Verdict::encrypted(2, NAME, 2, 1))));
    harness.provide_keys();
    assert_eq!(Harness::error_number(&harness.drain_to_app()), None, "delivered above");
    assert!(harness.drain_to_server().is_empty());
    assert!(matches!(harness.errors.last().as_deref(), Some(SessionError::Key { .. })));
    harness.assert_usable();
}

#[test]
fn a_server_that_names_its_own_master_key_gets_nothing_encrypted_under_it() {
    let mut harness = Harness::new(TrustedKeyPaths::only(["another/key"]), true);
    harness.log_in(&ACKNOWLEDGED);
    harness.app(&insert());
    let reply = harness.server(&message(REPLY, &describe_with(Verdict::encrypted(2, NAME, 2, 1))));
    assert_eq!(Harness::error_number(&reply), Some(16_040_031));
    assert!(harness.session.take_key_requests().is_empty(), "the key store was asked");
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn a_key_that_an_enclave_is_to_have_is_refused_whatever_its_signature() {
    let answer = |enclave| {
        let mut out = description_keys_for_enclaves(&[key()], Some(enclave));
        let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, NAME, 2, 1)];
        out.extend(description_parameters(&verdicts));
        out.extend([0x79, 0, 0, 0, 0]);
        out.extend(done(0));
        out
    };
    for signature in [None, Some(&[][..]), Some(&[7; 256][..])] {
        let mut harness = Harness::logged_in();
        harness.app(&insert());
        harness.server(&message(REPLY, &answer((Some(true), signature))));
        assert!(harness.session.take_key_requests().is_empty(), "a key store was asked");
        let fault = describe_fault(&answer((Some(true), signature)));
        let DescribeFault::EnclaveRequested { provider, key_path } = &fault else {
            panic!("{fault}")
        };
        assert_eq!((provider.as_str(), key_path.as_str()), (PROVIDER, TestKey::new(1).path));
    }
    // The columns alone are no request: a later server may send them unasked.
    for requested in [Some(false), None] {
        let mut harness = Harness::logged_in();
        harness.app(&insert());
        harness.server(&message(REPLY, &answer((requested, Some(&[7; 256])))));
        assert!(!harness.drain_to_server().is_empty(), "refused");
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn metadata_that_lies_closes_the_connection() {
    let key = TestKey::new(1);
    let keys = std::slice::from_ref(&key);
    let outside =
        col_metadata(Some(keys), &[Col::Encrypted("C", VARBINARY.to_vec(), 1, nvarchar(1))]);
    let not_binary = col_metadata(Some(keys), &[Col::Encrypted("C", nvarchar(9), 0, nvarchar(1))]);
    let xml =
        col_metadata(Some(keys), &[Col::Encrypted("C", VARBINARY.to_vec(), 0, vec![0xF1, 0])]);
    let mut norm = one_column(&key);
    let at = norm.len() - b_len("Content") - 1;
    norm[at] = 2;
    let mut algorithm = one_column(&key);
    algorithm[at - 2] = 7;
    let mut kind = one_column(&key);
    kind[at - 1] = 3;
    for lie in [outside, not_binary, xml, norm, algorithm, kind, vec![0xD0], vec![0x88, 1, 0]] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT 1"));
        harness.server(&message(REPLY, &[lie, done(0)].concat()));
        assert!(harness.session.is_closed());
        let error = harness.errors.last().unwrap();
        assert!(matches!(*error, SessionError::ServerMalformed(_)) && error.is_servers_fault());
    }
}

fn b_len(text: &str) -> usize {
    1 + 2 * text.len()
}

#[test]
fn lengths_that_lie_are_waited_for_or_refused_and_never_allocated() {
    let huge = [
        vec![0x81, 0xFE, 0xFF, 0xFF, 0xFF],
        vec![0xE4, 0xFF, 0xFF, 0xFF, 0xFF],
        [
            col_metadata(Some(&[]), &[Col::Plain("C", vec![0x62, 0, 0, 0, 0])]),
            vec![0xD1, 0xFF, 0xFF, 0xFF, 0xFF],
        ]
        .concat(),
        [
            col_metadata(Some(&[]), &[Col::Plain("C", VARBINARY_MAX.to_vec())]),
            vec![0xD1, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0x7F],
        ]
        .concat(),
    ];
    for lie in huge {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT 1"));
        harness.server(&message(REPLY, &lie));
        assert!(harness.session.is_closed(), "a token that does not end with its message");
    }
}

#[test]
fn an_encrypted_output_that_was_not_described_is_refused() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("EXEC p"));
    let mut value = vec![0xAC, 1, 0, 3];
    value.extend(utf16("@P2"));
    value.extend([1, 0, 0, 0, 0, 0, 8]);
    value.extend(VARBINARY);
    value.extend([0; 4]);
    value.extend(nvarchar(36));
    value.extend([2, 2, 1]);
    value.extend(ushort(&cell(&TestKey::new(1), &utf16("answer"))));
    value.extend(done(0));
    let reply = harness.server(&message(REPLY, &value));
    assert_eq!(Harness::error_number(&reply), Some(16_040_012));
    harness.assert_usable();
}

#[test]
fn a_connection_cut_at_any_byte_ends_without_plaintext_panic_or_hang() {
    let key = TestKey::new(1);
    let mut result = one_column(&key);
    result.extend(content_row(1, &cell(&key, &utf16(SECRET))));
    result.extend(done(0x10));
    let script = [
        message(REPLY, &login_reply(&ACKNOWLEDGED)),
        message_in(REPLY, &describe_with(Verdict::encrypted(2, NAME, 2, 1)), 512),
        message(REPLY, &done(0)),
        message_in(REPLY, &result, 128),
    ];
    let total: usize = script.iter().map(Vec::len).sum();
    for cut in 0..total {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.app(&prelogin());
        let (mut left, mut to_app) = (cut, Vec::new());
        for (step, bytes) in script.iter().enumerate() {
            match step {
                0 => drop(harness.app(&login7())),
                1 => drop(harness.app(&insert())),
                3 => drop(harness.app(&batch("SELECT 1"))),
                _ => {}
            }
            let now = bytes.len().min(left);
            left -= now;
            to_app.extend(harness.server(&bytes[..now]));
            harness.drain_to_server();
            if now < bytes.len() {
                break;
            }
        }
        harness.session.server_closed();
        assert!(harness.session.is_closed(), "cut at {cut}");
        assert!(harness.errors.last().is_some(), "cut at {cut} went unnoticed");
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn a_message_that_is_no_reply_closes_the_connection() {
    for packet in [vec![0x03, 1, 0, 8, 0, 0, 1, 0], vec![0x04, 1, 0, 3, 0, 0, 1, 0]] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT 1"));
        harness.server(&packet);
        assert!(harness.session.is_closed());
    }
}
