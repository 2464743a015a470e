//! What is known of a statement goes out of date: nothing is executed twice for it, and no value goes
//! out in the clear on the strength of it.

mod support;

use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARED: &str = "@P1 int,@P2 nvarchar(4000)";
/// ENVCHANGE 8 and 10: a transaction has begun, and has been rolled back.
const BEGUN: [u8; 14] = [0xE3, 11, 0, 8, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0];
const ROLLED_BACK: [u8; 14] = [0xE3, 11, 0, 10, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0];
const CHANGE: &str = "DROP TABLE Messages; CREATE TABLE Messages (Id int, Content nvarchar(100))";

fn request(text: &str) -> Vec<u8> {
    executesql(text, DECLARED, &[Param::int("@P1", 7), Param::text("@P2", SECRET)])
}

fn encrypted() -> Vec<u8> {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    message(REPLY, &description(&[(1, TestKey::new(1))], &verdicts))
}

fn plain() -> Vec<u8> {
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")];
    message(REPLY, &description(&[], &verdicts))
}

fn reply(tokens: &[&[u8]]) -> Vec<u8> {
    message(REPLY, &tokens.concat())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = utf16(text);
    bytes.windows(text.len()).any(|w| w == text)
}

/// DONEINPROC or DONEPROC with a count.
fn counted(token: u8, status: u16, count: u64) -> Vec<u8> {
    let mut out = vec![token];
    out.extend(status.to_le_bytes());
    out.extend([0xC3, 0]);
    out.extend(count.to_le_bytes());
    out
}

/// Everything that a request sends once its keys are there.
fn send(harness: &mut Harness, request: &[u8]) -> Vec<u8> {
    let mut sent = harness.app(request);
    harness.provide_keys();
    sent.extend(harness.drain_to_server());
    sent
}

/// A session that knows a statement.
fn knowing(text: &str, verdicts: Vec<u8>) -> Harness {
    let mut harness = Harness::logged_in();
    learn(&mut harness, text, verdicts);
    harness
}

fn learn(harness: &mut Harness, text: &str, verdicts: Vec<u8>) {
    assert!(!harness.app(&request(text)).is_empty());
    harness.server(&verdicts);
    harness.drain_to_server();
    harness.server(&message(REPLY, &done(0)));
}

#[test]
fn a_batch_that_may_have_done_some_of_its_work_is_not_sent_again() {
    for text in [
        format!("EXEC('INSERT d SELECT 1'); INSERT log DEFAULT VALUES; {INSERT}"),
        format!("SET NOCOUNT ON; INSERT audit VALUES (1); {INSERT}"),
        format!("INSERT log VALUES (1) {INSERT}"),
    ] {
        for number in [206, 33514] {
            let mut harness = knowing(&text, encrypted());
            assert!(holds(&send(&mut harness, &request(&text)), &text));
            let answer = harness.server(&reply(&[&error(number, "out of date"), &done(2)]));
            assert_eq!(
                Harness::error_number(&answer),
                Some(number),
                "the application learns of it"
            );
            assert!(harness.drain_to_server().is_empty(), "{text} went out again");
            // The next time it is described afresh.
            assert!(holds(&harness.app(&request(&text)), "sp_describe_parameter_encryption"));
        }
    }
}

#[test]
fn a_count_behind_the_error_says_that_something_was_done() {
    let mut harness = knowing(INSERT, encrypted());
    send(&mut harness, &request(INSERT));
    let tokens = [error(206, "clash"), counted(0xFF, 0x13, 1), counted(0xFE, 0, 0)].concat();
    let answer = harness.server(&message(REPLY, &tokens));
    assert_eq!(messages(&answer), [(REPLY, tokens)], "all of it reaches the driver");
    assert!(harness.drain_to_server().is_empty());
    harness.assert_usable();
}

#[test]
fn rows_behind_the_error_reach_the_driver() {
    let select = "SELECT Id FROM Messages WHERE Id = @P1 AND Content = @P2";
    let mut harness = knowing(select, encrypted());
    send(&mut harness, &request(select));
    let columns = [Col::Plain("Id", INT.to_vec())];
    let rows = [row(&[byte(&7i32.to_le_bytes())]), done(0)].concat();
    let sent = [error(206, "clash"), col_metadata(Some(&[]), &columns), rows.clone()].concat();
    let answer = harness.server(&message(REPLY, &sent));
    let expected = [error(206, "clash"), col_metadata(None, &columns), rows].concat();
    assert_eq!(messages(&answer), [(REPLY, expected)]);
}

#[test]
fn of_several_calls_none_is_sent_again() {
    let mut harness = knowing(INSERT, encrypted());
    let one = messages(&request(INSERT)).pop().unwrap().1;
    let log = executesql("INSERT log VALUES (1)", "", &[]);
    let log = messages(&log).pop().unwrap().1[all_headers().len()..].to_vec();
    let payload = [&one[..], &[0xFF], &log].concat();
    assert!(holds(&send(&mut harness, &message(RPC, &payload)), "INSERT log"));
    let answer = harness.server(&reply(&[
        &error(33514, "stale"),
        &counted(0xFE, 3, 0),
        &counted(0xFF, 0x11, 1),
        &counted(0xFE, 0, 0),
    ]));
    assert_eq!(Harness::error_number(&answer), Some(33514));
    assert!(harness.drain_to_server().is_empty());
}

#[test]
fn a_reset_goes_out_with_the_next_message_if_its_own_is_refused() {
    let mut harness = knowing(INSERT, plain());
    let mut bad = executesql(
        "SELECT @P1 /* always-encrypted: fource @P1 */",
        "@P1 int",
        &[Param::int("@P1", 7)],
    );
    bad[1] |= 0x08;
    assert!(send(&mut harness, &bad).is_empty());
    assert_eq!(Harness::error_number(&harness.drain_to_app()), Some(16_040_052));
    let next = harness.app(&batch("SELECT 1"));
    assert_eq!(next[1], 0x09, "the server has not been reset");
    harness.server(&message(REPLY, &done(0)));
    assert_eq!(harness.app(&batch("SELECT 1"))[1], 0x01, "once is enough");
}

#[test]
fn what_ends_the_transaction_during_the_catalogues_question_reaches_the_application() {
    let mut harness = Harness::with_catalogue();
    assert!(asks_catalogue(&harness.app(&request(INSERT))));
    let answer = harness.server(&reply(&[&ROLLED_BACK, &error(1205, "deadlock"), &done(2)]));
    assert_eq!(Harness::error_number(&answer), Some(1205));
    assert!(harness.drain_to_server().is_empty(), "the request went on without its transaction");
    harness.assert_usable();
}

#[test]
fn a_change_of_the_table_makes_what_was_prepared_void() {
    let mut harness = Harness::logged_in();
    let out = Param("", 1, INT.to_vec(), vec![0]);
    let parameters = [out, Param::text("", DECLARED), Param::text("", INSERT), Param::int("", 1)];
    harness.app(&call_by_id(11, &parameters));
    harness.server(&plain());
    harness.drain_to_server();
    harness.server(&reply(&[&return_int(0, Some(5)), &done_proc(0)]));
    harness.app(&batch(CHANGE));
    harness.server(&message(REPLY, &done(0)));
    let values = [Param::int("", 5), Param::int("", 7), Param::text("", SECRET)];
    let asked = send(&mut harness, &call_by_id(12, &values));
    assert!(holds(&asked, "sp_describe_parameter_encryption"));
    harness.server(&encrypted());
    harness.drain_to_server();
    harness.assert_never_sent(SECRET);
}

#[test]
fn what_only_one_connection_sees_is_not_told_to_others() {
    let mut first = Harness::logged_in();
    let mut other = Harness::beside(&first);
    other.has_catalogue = false;
    first.app(&batch(&format!("BEGIN TRAN; {CHANGE}")));
    first.server(&reply(&[&BEGUN, &done(0)]));
    learn(&mut first, INSERT, plain());
    // Nor does it take the word of the others.
    assert!(holds(&first.app(&request(INSERT)), "sp_describe_parameter_encryption"));
    first.server(&plain());
    first.drain_to_server();
    first.server(&message(REPLY, &done(0)));
    first.app(&batch("ROLLBACK"));
    first.server(&reply(&[&ROLLED_BACK, &done(0)]));
    send(&mut other, &request(INSERT));
    other.assert_never_sent(SECRET);
    // After the transaction it is like the others again.
    learn(&mut first, "INSERT INTO Messages (Content, Id) VALUES (@P2, @P1)", encrypted());
    assert_eq!(first.cache.len(), 1);
}

#[test]
fn an_answer_from_before_a_change_is_not_kept_after_it() {
    let mut first = Harness::logged_in();
    let mut late = Harness::beside(&first);
    late.has_catalogue = false;
    late.app(&request(INSERT));
    first.app(&batch(CHANGE));
    first.server(&message(REPLY, &done(0)));
    late.server(&plain());
    late.drain_to_server();
    late.server(&message(REPLY, &done(0)));
    send(&mut first, &request(INSERT));
    first.assert_never_sent(SECRET);
    assert!(first.cache.is_empty());
}

#[test]
fn what_belongs_to_a_connection_or_an_identity_is_asked_for_each_time() {
    let call_own = call("#p", &[Param::text("@x", SECRET)]);
    let mut first = Harness::logged_in();
    first.app(&call_own);
    first.server(&message(REPLY, &description(&[], &[Verdict::plain(1, "@x")])));
    first.drain_to_server();
    first.server(&message(REPLY, &done(0)));
    let mut other = Harness::beside(&first);
    other.has_catalogue = false;
    send(&mut other, &call_own);
    other.assert_never_sent(SECRET);

    let mut harness = knowing(INSERT, plain());
    harness.app(&batch("EXECUTE AS USER = 'somebody'"));
    harness.server(&message(REPLY, &done(0)));
    assert!(holds(&harness.app(&request(INSERT)), "sp_describe_parameter_encryption"));
}

#[test]
fn a_batch_of_several_packets_is_read_to_its_end() {
    let long = |tail: &str| batch(&format!("SELECT 1 -- {}\n{tail}", "x".repeat(3000)));
    let mut harness = Harness::logged_in();
    assert!(harness.app(&long("/* always-encrypted: force @P1 */")).is_empty());
    assert_eq!(Harness::error_number(&harness.drain_to_app()), Some(16_040_014));
    let mut harness = knowing(INSERT, encrypted());
    harness.app(&long("ALTER TABLE Messages ADD c int"));
    harness.server(&message(REPLY, &done(0)));
    assert!(harness.cache.is_empty());
    let plain = long("SELECT 2");
    assert_eq!(harness.app(&plain), plain);
}

#[test]
fn of_a_type_that_no_column_vouches_for_only_ascii_is_certain() {
    let clash = "Operand type clash: nvarchar(1) encrypted with (encryption_type = 'RANDOMIZED') is \
                 incompatible with varchar(20) encrypted with (encryption_type = 'RANDOMIZED')";
    for (value, number) in [("e", None), ("\u{e9}", Some(16_040_043))] {
        let mut harness = Harness::logged_in();
        let parameters = [Param::text("@P2", value)];
        harness.app(&executesql("SELECT LOWER(@P2)", "@P2 nvarchar(4000)", &parameters));
        harness.server(&reply(&[&error(206, clash), &done(2)]));
        assert!(holds(&harness.drain_to_server(), "@P2 varchar(20)"));
        let verdicts = [Verdict::encrypted(1, "@P2", 2, 1)];
        let answer = message(REPLY, &description(&[(1, TestKey::new(1))], &verdicts));
        let told = harness.server(&answer);
        assert_eq!(Harness::error_number(&told), number, "{value}");
    }
}

#[test]
fn a_stated_type_of_a_plain_parameter_is_in_the_code_page_that_it_is_declared_with() {
    let statement = "SELECT 1 WHERE @P1 = 'x' /* always-encrypted: type @P1 varchar(20) */";
    for (value, expected) in [("\u{fc}", Some(0xFC)), ("\u{416}", None)] {
        let mut harness = Harness::logged_in();
        let parameters = [Param::text("@P1", value)];
        harness.app(&executesql(statement, "@P1 nvarchar(4000)", &parameters));
        harness.server(&message(REPLY, &description(&[], &[Verdict::plain(1, "@P1")])));
        let sent = harness.drain_to_server();
        let tail = sent.iter().rev().take(3).rev().copied().collect::<Vec<_>>();
        assert_eq!(expected.map(|byte| vec![1, 0, byte]), (!sent.is_empty()).then_some(tail));
    }
    let mut harness = Harness::logged_in();
    let unknown = "SELECT @P1 /* always-encrypted: type @P9 int */";
    harness.app(&executesql(unknown, "@P1 int", &[Param::int("@P1", 7)]));
    assert_eq!(Harness::error_number(&harness.drain_to_app()), Some(16_040_052));
}

/// Sends what is known and whose key is not to be had; expects that the server is asked anew.
fn asked_anew(harness: &mut Harness) {
    harness.app(&request(INSERT));
    harness.provide_keys();
    harness.refuse_catalogue();
    let asked = harness.drain_to_server();
    assert!(holds(&asked, "sp_describe_parameter_encryption"), "the old word was the last");
    assert_eq!(messages(&asked).len(), 1, "more was sent");
}

#[test]
fn a_key_that_cannot_be_opened_any_more_is_asked_for_as_the_server_now_names_it() {
    let mut harness = knowing(INSERT, encrypted());
    // The master key has been rotated, and the old one taken away.
    harness.keys.retain(|key| key.id == 2);
    asked_anew(&mut harness);
    let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
    harness.server(&message(REPLY, &description(&[(1, TestKey::new(2))], &verdicts)));
    assert!(holds(&harness.drain_to_server(), INSERT));
    harness.server(&message(REPLY, &done(0)));
    // That is what is known from now on.
    assert!(holds(&send(&mut harness, &request(INSERT)), INSERT));
    harness.assert_never_sent(SECRET);
}

#[test]
fn a_key_that_cannot_be_opened_is_not_asked_for_a_third_time() {
    let mut harness = knowing(INSERT, encrypted());
    harness.keys.clear();
    asked_anew(&mut harness);
    let answer = harness.server(&encrypted());
    assert_eq!(Harness::error_number(&answer), Some(16_040_030));
    assert!(harness.drain_to_server().is_empty());
    harness.assert_never_sent(SECRET);
    harness.assert_usable();
}
