//! A server that lies, errs, or is not there any more. In each case: a typed error that names whose
//! fault it is, no plaintext sent, no panic, and the connection usable unless the stream is lost.

mod support;

use std::time::Instant;

use always_encrypted::{SessionError, metadata::DescribeFault, policy::TrustedKeyPaths};
use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";

fn insert() -> Vec<u8> {
    let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    executesql(INSERT, "@P1 int,@P2 nvarchar(4000)", &params)
}

/// Answers the describe of an insert with `answer` and expects that nothing is sent on its strength.
fn refused_describe(answer: &[u8]) -> SessionError {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let reply = harness.server(&message(REPLY, answer));
    assert!(harness.drain_to_server().is_empty(), "something was sent");
    harness.assert_never_sent(SECRET);
    assert!(harness.cache.is_empty(), "the lie was kept");
    let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
    assert_eq!(Harness::error_number(&reply), Some(error.number()));
    harness.assert_usable();
    error
}

fn describe_fault(answer: &[u8]) -> DescribeFault {
    match refused_describe(answer) {
        SessionError::Describe(fault) => fault,
        other => panic!("{other}"),
    }
}

fn key() -> (i32, TestKey) {
    (1, TestKey::new(1))
}

const NAME: &str = "@P2";

fn describe_with(verdict: Verdict) -> Vec<u8> {
    description(&[key()], &[Verdict::plain(1, "@P1"), verdict])
}

#[test]
fn a_server_that_answers_describe_with_nothing_gets_no_plaintext() {
    for answer in [done(0), [vec![0x79, 0, 0, 0, 0], done(0)].concat(), vec![]] {
        let fault = describe_fault(&answer);
        assert!(matches!(fault, DescribeFault::ParameterMissing { .. }), "{fault}");
    }
}

#[test]
fn a_server_that_describes_the_keys_and_not_the_parameters_gets_no_plaintext() {
    let fault = describe_fault(&[description_keys(&[key()]), done(0)].concat());
    assert!(matches!(fault, DescribeFault::ParameterMissing { .. }), "{fault}");
}

#[test]
fn a_server_that_says_plain_of_a_forced_parameter_gets_no_plaintext() {
    let mut harness = Harness::logged_in();
    let forced = format!("{INSERT} /* always-encrypted: force @P2 */");
    let declared = "@P1 int,@P2 nvarchar(4000)";
    let params = || [Param::int("@P1", 7), Param::text("@P2", SECRET)];
    let lie = description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]);
    for _ in 0..2 {
        let describe = harness.app(&executesql(&forced, declared, &params()));
        assert!(!describe.is_empty(), "the lie was kept");
        let reply = harness.server(&message(REPLY, &lie));
        assert_eq!(Harness::error_number(&reply), Some(16_040_014));
        assert!(harness.drain_to_server().is_empty());
    }
    harness.app(&executesql(&forced, declared, &params()));
    harness.server(&message(REPLY, &describe_with(Verdict::encrypted(2, NAME, 2, 1))));
    assert!(!harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
}

#[test]
fn a_comment_that_forces_what_does_not_exist_or_cannot_be_read_stops_the_request() {
    for (comment, number) in
        [("force @P3", 16_040_014), ("force @p2", 16_040_014), ("forced @P2", 16_040_052)]
    {
        let mut harness = Harness::logged_in();
        let statement = format!("{INSERT} /* always-encrypted: {comment} */");
        let params = [Param::int("@P1", 7), Param::text("@P2", SECRET)];
        let describe = harness.app(&executesql(&statement, "@P1 int,@P2 nvarchar(4000)", &params));
        let mut reply = harness.drain_to_app();
        if !describe.is_empty() {
            let answer = describe_with(Verdict::encrypted(2, NAME, 2, 1));
            reply = harness.server(&message(REPLY, &answer));
        }
        assert_eq!(Harness::error_number(&reply), Some(number), "{comment}");
        assert!(harness.drain_to_server().is_empty());
        harness.assert_usable();
    }
}

#[test]
fn a_server_that_leaves_a_parameter_out_gets_no_plaintext() {
    let fault = describe_fault(&description(&[], &[Verdict::plain(1, "@P1")]));
    assert_eq!(fault, DescribeFault::ParameterMissing { name: NAME.into() });
}

#[test]
fn a_server_that_renames_a_parameter_gets_no_plaintext() {
    for name in ["@P3", "@p2", "@P2 ", ""] {
        let fault = describe_fault(&describe_with(Verdict::plain(2, name)));
        assert_eq!(fault, DescribeFault::ParameterInvented { name: name.into() });
    }
}

#[test]
fn a_server_that_describes_more_parameters_than_there_are_gets_no_plaintext() {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2"), Verdict::plain(3, "@P3")];
    let fault = describe_fault(&description(&[], &verdicts));
    assert_eq!(fault, DescribeFault::ParameterInvented { name: "@P3".into() });
}

#[test]
fn a_server_that_describes_a_parameter_twice_gets_no_plaintext() {
    let verdicts =
        [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1), Verdict::plain(2, "@P2")];
    let fault = describe_fault(&description(&[key()], &verdicts));
    assert_eq!(fault, DescribeFault::ParameterRepeated { name: NAME.into() });
}

#[test]
fn a_server_that_says_plain_and_encrypted_at_once_gets_no_plaintext() {
    for verdict in [
        Verdict(2, NAME, 2, 0, 1, 1),
        Verdict(2, NAME, 0, 0, 1, 0),
        Verdict(2, NAME, 2, 0, 0, 1),
        Verdict(2, NAME, 0, 1, 1, 1),
    ] {
        let fault = describe_fault(&describe_with(verdict));
        assert_eq!(fault, DescribeFault::Contradiction { name: NAME.into() });
    }
}

#[test]
fn a_server_that_names_a_key_it_does_not_list_gets_no_plaintext() {
    for ordinal in [0, 2, -1, i32::MAX] {
        let fault = describe_fault(&describe_with(Verdict::encrypted(2, NAME, 1, ordinal)));
        let ordinal = i64::from(ordinal);
        assert_eq!(fault, DescribeFault::KeyMissing { name: NAME.into(), ordinal });
    }
}

#[test]
fn a_server_that_describes_one_key_in_two_ways_gets_no_plaintext() {
    let other = (1, TestKey::new(2));
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, NAME, 1, 1)];
    let fault = describe_fault(&description(&[key(), other], &verdicts));
    assert_eq!(fault, DescribeFault::KeyContradiction { ordinal: 1 });
}

#[test]
fn an_unknown_algorithm_type_or_normalization_version_gets_no_plaintext() {
    for verdict in [
        Verdict(2, NAME, 1, 1, 1, 1),
        Verdict(2, NAME, 2, 3, 1, 1),
        Verdict(2, NAME, 2, 1, 1, 2),
        Verdict(2, NAME, 2, 1, 1, 0),
    ] {
        let fault = describe_fault(&describe_with(verdict));
        assert_eq!(fault, DescribeFault::UnknownEncryption { name: NAME.into() });
    }
}

#[test]
fn an_answer_cut_at_any_byte_gets_no_plaintext() {
    let whole = describe_with(Verdict::encrypted(2, NAME, 2, 1));
    for len in 0..whole.len() {
        let mut harness = Harness::logged_in();
        harness.app(&insert());
        harness.server(&message(REPLY, &whole[..len]));
        harness.assert_never_sent(SECRET);
        assert!(
            harness.drain_to_server().is_empty(),
            "{len} of {} bytes were believed",
            whole.len()
        );
    }
}

#[test]
fn an_answer_with_any_byte_changed_gets_no_plaintext() {
    // A changed byte may turn "encrypted" into "plain" only where it says so in every column.
    let whole = describe_with(Verdict::encrypted(2, NAME, 2, 1));
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut answer = whole.clone();
            answer[at] ^= flip;
            let mut harness = Harness::logged_in();
            harness.app(&insert());
            harness.server(&message(REPLY, &answer));
            harness.drain_to_server();
            harness.assert_never_sent(SECRET);
        }
    }
}

#[test]
fn an_answer_without_end_is_given_up() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let filler = vec![0xA5; 60_000];
    let mut packet = vec![REPLY, 0];
    packet.extend(((filler.len() + 8) as u16).to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(&filler);
    for _ in 0..400 {
        harness.session.receive_from_server(&packet, Instant::now());
        if harness.session.is_closed() {
            harness.assert_never_sent(SECRET);
            return;
        }
    }
    panic!("24 megabytes of description were taken in");
}

#[test]
fn an_error_in_place_of_a_description_reaches_the_application_as_the_servers() {
    let mut harness = Harness::logged_in();
    harness.app(&insert());
    let answer = [error(206, "Operand type clash"), error(8180, "not prepared"), done(2)].concat();
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(messages(&reply), [(REPLY, answer)]);
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn a_server_that_does_not_acknowledge_the_feature_is_refused() {
    for features in [&[][..], &[0xAE, 0xFF], &[0xAE, 0x0A, 1, 0, 0, 0, 1, 0xFF]] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        let reply = harness.log_in(features);
        assert!(harness.session.is_closed());
        assert!(matches!(harness.errors.last().as_deref(), Some(SessionError::NotAcknowledged)));
        assert_eq!(Harness::error_number(&reply), Some(16_040_001));
        assert!(
            harness.app(&insert()).is_empty(),
            "a request went to a server without the feature"
        );
    }
}

#[test]
fn a_server_that_ends_the_login_without_accepting_it_gets_no_request() {
    for reply in [done(0), [&ACKNOWLEDGED[..], &done(0)].concat(), vec![]] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.app(&prelogin());
        harness.app(&login7());
        harness.server(&message(REPLY, &reply));
        assert!(harness.session.is_closed());
        assert!(harness.app(&insert()).is_empty());
        harness.assert_never_sent(SECRET);
    }
}

#[test]
fn a_request_before_the_login_has_ended_is_not_sent() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    assert!(harness.app(&insert()).is_empty());
    assert!(harness.session.is_closed());
    harness.assert_never_sent(SECRET);
}

#[test]
fn after_a_refused_login_nothing_more_is_sent() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    let refusal = [error(18456, "Login failed"), done(2)].concat();
    harness.server(&message(REPLY, &refusal));
    assert!(harness.app(&insert()).is_empty());
    harness.assert_never_sent(SECRET);
}

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
fn columns_whose_values_have_no_bytes_are_refused_and_so_are_too_many() {
    let nothing = [Col::Plain("c", vec![0x1F])];
    let many: Vec<Col> = (0..4097).map(|_| Col::Plain("c", INT.to_vec())).collect();
    for columns in [&nothing[..], &many] {
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT 1"));
        harness.server(&message(REPLY, &[col_metadata(Some(&[]), columns), done(0)].concat()));
        assert!(harness.session.is_closed());
    }
}

#[test]
fn a_key_with_more_values_than_there_can_be_is_refused() {
    let keys: Vec<(i32, TestKey)> = (0..9).map(|_| key()).collect();
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, NAME, 2, 1)];
    let fault = describe_fault(&description(&keys, &verdicts));
    assert!(matches!(fault, DescribeFault::TooLong { .. }), "{fault}");
}

#[test]
fn a_third_result_set_in_a_description_is_refused() {
    let mut answer = describe_with(Verdict::encrypted(2, NAME, 2, 1));
    answer.extend(description_parameters(&[Verdict::plain(2, "@P2")]));
    answer.extend(done(0));
    assert!(matches!(describe_fault(&answer), DescribeFault::Malformed(_)));
}

#[test]
fn rows_without_columns_close_the_connection() {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT 1"));
    harness.server(&message(REPLY, &[vec![0xD1], done(0)].concat()));
    assert!(harness.session.is_closed());
}

#[test]
fn an_acknowledgement_of_another_version_is_refused() {
    for version in [0, 2, 3, 9] {
        let mut harness = Harness::new(TrustedKeyPaths::any(), true);
        harness.log_in(&[0xAE, 4, 1, 0, 0, 0, version, 0xFF]);
        let error = harness.errors.last().unwrap();
        assert!(matches!(*error, SessionError::AcknowledgedVersion { version: v } if v == version));
        assert!(harness.session.is_closed());
    }
}

#[test]
fn a_login_that_is_refused_is_the_servers_error_and_not_ours() {
    let mut harness = Harness::new(TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    harness.app(&login7());
    harness.drain_to_app();
    let refusal = [error(18456, "Login failed for user 'x'."), done(2)].concat();
    let reply = harness.server(&message(REPLY, &refusal));
    assert_eq!(messages(&reply), [(REPLY, refusal)]);
    assert!(harness.errors.last().is_none());
}

fn one_column(key: &TestKey) -> Vec<u8> {
    let columns = [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("Content", VARBINARY.to_vec(), 0, nvarchar(100)),
    ];
    col_metadata(Some(std::slice::from_ref(key)), &columns)
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

// ---- the application's own mistakes ---------------------------------------------------------

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

/// A session in which a load into an encrypted column has been announced.
fn announced() -> Harness {
    let mut harness = Harness::logged_in();
    harness.app(&batch(ANNOUNCE));
    let answer = [one_column(&TestKey::new(1)), done(0)].concat();
    harness.server(&message(REPLY, &answer));
    harness.drain_to_server();
    harness.server(&message(REPLY, &done(0)));
    harness
}

#[test]
fn a_load_that_failed_and_is_cancelled_too_gets_one_acknowledgement() {
    let bad = load(&VARBINARY, &ushort(&utf16(SECRET)));
    let attention = message(ATTENTION, &[]);
    for whole in [true, false] {
        let mut harness = announced();
        let mut load = message(BULK, &bad);
        if !whole {
            load[1] = 0;
        }
        let sent = harness.app(&load);
        assert!(sent.ends_with(&attention));
        assert!(harness.app(&attention).is_empty(), "ours is on its way");
        let reply = harness.server(&message(REPLY, &done(0x20)));
        let (_, payload) = messages(&reply).pop().unwrap();
        assert!(payload.ends_with(&done(0x20)));
        assert_eq!(Harness::error_number(&reply), Some(16_040_042));
        harness.assert_usable();
    }
}

#[test]
fn a_load_that_the_driver_takes_back_is_taken_back_from_the_server() {
    let mut harness = announced();
    let mut load = message(BULK, &load(&nvarchar(100), &ushort(&utf16(SECRET))));
    load[1] = 0x03;
    let sent = harness.app(&load);
    assert_eq!((sent[0], sent[1], sent.len()), (BULK, 0x03, 8));
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}

#[test]
fn a_bulk_load_that_was_not_announced_is_not_sent() {
    let mut harness = Harness::logged_in();
    let load = load(&nvarchar(100), &ushort(&utf16(SECRET)));
    assert!(harness.app(&message_in(BULK, &load, 64)).is_empty());
    assert_eq!(Harness::error_number(&harness.drain_to_app()), Some(16_040_050));
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
    // An announcement does not hold for the load after the next request.
    let mut harness = announced();
    harness.assert_usable();
    assert!(harness.app(&message(BULK, &load)).is_empty());
    harness.assert_never_sent(SECRET);
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

const ANNOUNCE: &str = "INSERT BULK Messages ([Id] int, [Content] nvarchar(100))";

/// A bulk load as a driver sends it, its content of `info`.
fn load(info: &[u8], value: &[u8]) -> Vec<u8> {
    let mut load = vec![0x81, 2, 0, 0, 0, 0, 0, 9, 0];
    load.extend(INT);
    load.push(2);
    load.extend(utf16("Id"));
    load.extend([0, 0, 0, 0, 9, 0]);
    load.extend(info);
    load.push(7);
    load.extend(utf16("Content"));
    load.extend(row(&[byte(&[1, 0, 0, 0]), value.to_vec()]));
    load.extend(done(0));
    load
}

fn renamed_load(name: &str) -> Vec<u8> {
    let load = load(&nvarchar(100), &ushort(&utf16(SECRET)));
    let old = [vec![7], utf16("Content")].concat();
    let at = load.windows(old.len()).position(|w| w == old).unwrap();
    let new = [vec![name.len() as u8], utf16(name)].concat();
    [&load[..at], &new, &load[at + old.len()..]].concat()
}

#[test]
fn a_server_that_lies_about_the_columns_of_a_bulk_load_gets_no_rows() {
    let key = TestKey::new(1);
    let swapped = [
        Col::Encrypted("Content", VARBINARY.to_vec(), 0, nvarchar(100)),
        Col::Plain("Id", INT.to_vec()),
    ];
    let renamed = [Col::Plain("Id", INT.to_vec()), Col::Plain("content", nvarchar(100))];
    let answers = [
        done(0),
        [col_metadata(Some(std::slice::from_ref(&key)), &swapped), done(0)].concat(),
        [col_metadata(Some(&[]), &renamed), done(0)].concat(),
        [col_metadata(Some(&[]), &renamed[..1]), done(0)].concat(),
        vec![0x81, 2, 0],
    ];
    for answer in answers {
        let mut harness = Harness::logged_in();
        harness.app(&batch(ANNOUNCE));
        let reply = harness.server(&message(REPLY, &answer));
        let number = Harness::error_number(&reply);
        assert!(matches!(number, Some(16_040_010 | 16_040_013)), "{number:?}");
        assert!(harness.drain_to_server().is_empty(), "the load was announced");
        harness.assert_usable();
    }
}

#[test]
fn an_error_about_the_columns_of_a_bulk_load_is_the_servers() {
    let mut harness = Harness::logged_in();
    harness.app(&batch(ANNOUNCE));
    let answer = [error(208, "Invalid object name"), done(2)].concat();
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(messages(&reply), [(REPLY, answer)]);
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn a_bulk_load_without_its_key_is_not_announced() {
    let mut harness = Harness::logged_in();
    harness.keys.clear();
    harness.app(&batch(ANNOUNCE));
    let answer = [one_column(&TestKey::new(1)), done(0)].concat();
    let reply = harness.server(&message(REPLY, &answer));
    assert_eq!(Harness::error_number(&reply), Some(16_040_030));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn a_bulk_load_that_goes_wrong_is_taken_back_and_the_connection_goes_on() {
    let too_long = ushort(&utf16(&"x".repeat(101)));
    let mut cut = load(&nvarchar(100), &ushort(&utf16(SECRET)));
    cut.truncate(cut.len() - 20);
    let loads = [
        // Longer than the column, of another type than the column, cut, no load at all.
        load(&nvarchar(200), &too_long),
        load(&VARBINARY, &ushort(&utf16(SECRET))),
        cut,
        done(0),
        // Fewer columns than announced, another name, no columns.
        renamed_load("content"),
        renamed_load(""),
        [vec![0x81, 0, 0], done(0)].concat(),
        [vec![0x81, 0xFF, 0xFF], done(0)].concat(),
    ];
    for load in loads {
        let mut harness = announced();
        let sent = harness.app(&message(BULK, &load));
        assert!(sent.ends_with(&message(ATTENTION, &[])), "the server still waits for rows");
        let ignored = &sent[sent.len() - 16..sent.len() - 8];
        assert_eq!(ignored[..2], [BULK, 0x03], "the message must be ignored");
        harness.assert_never_sent(SECRET);
        let reply = harness.server(&message(REPLY, &done(0x20)));
        let error = harness.errors.last().unwrap().number();
        assert_eq!(Harness::error_number(&reply), Some(error));
        assert_eq!(messages(&reply).len(), 1);
        harness.assert_usable();
    }
}
