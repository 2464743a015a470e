//! What the server says of a statement and its keys.

use super::*;

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
