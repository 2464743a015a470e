//! Encrypted output parameters on their way back: whose value each of them is.

mod support;

use support::*;

/// An output parameter that goes in as NULL.
fn out(name: &'static str) -> Param {
    let mut param = Param::null(name);
    param.1 = 1;
    param
}

/// A RETURNVALUE of an encrypted nvarchar(36), and the same in the clear.
fn returned(ordinal: u16, name: &str, key: &TestKey, text: &str) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![0xAC];
    value.extend(ordinal.to_le_bytes());
    value.push(name.len() as u8);
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

/// Three parameters, of which the second and the third are under a key each.
fn description_of(names: [&'static str; 3]) -> Vec<u8> {
    let [a, b, c] = names;
    description(
        &[(1, TestKey::new(1)), (2, TestKey::new(2))],
        &[Verdict::plain(1, a), Verdict::encrypted(2, b, 2, 1), Verdict::encrypted(3, c, 2, 2)],
    )
}

/// `{call dbo.P(?, ?, ?)}` as JDBC and ODBC send it, up to its response.
fn called(chop: usize) -> Harness {
    let mut harness = Harness::logged_in();
    harness.chop = chop;
    harness.app(&call("dbo.P", &[Param::int("", 1), out(""), out("")]));
    harness.server(&message(REPLY, &description_of(["@ae0", "@ae1", "@ae2"])));
    assert!(!harness.drain_to_server().is_empty());
    harness
}

/// The same through sp_executesql, whose own two parameters come first.
fn executed() -> Harness {
    let mut harness = Harness::logged_in();
    harness.app(&executesql(
        "EXEC dbo.P @P1, @P2 OUTPUT, @P3 OUTPUT",
        "@P1 int,@P2 nvarchar(36) OUTPUT,@P3 nvarchar(36) OUTPUT",
        &[Param::int("", 1), out(""), out("")],
    ));
    harness.server(&message(REPLY, &description_of(["@P1", "@P2", "@P3"])));
    assert!(!harness.drain_to_server().is_empty());
    harness
}

fn respond(harness: &mut Harness, values: &[Vec<u8>]) -> Vec<u8> {
    harness.server(&message(REPLY, &[values.concat(), done_proc(0)].concat()))
}

/// Each value decrypted, in the order in which they came.
fn assert_shown(mut harness: Harness, values: [(Vec<u8>, Vec<u8>); 2]) {
    let (sent, shown): (Vec<_>, Vec<_>) = values.into_iter().unzip();
    let reply = respond(&mut harness, &sent);
    assert_eq!(messages(&reply), [(REPLY, [shown.concat(), done_proc(0)].concat())]);
    harness.assert_usable();
}

/// The error of this number, and nothing of what the cells hold.
fn assert_refused(mut harness: Harness, values: &[Vec<u8>], number: u32) {
    let reply = respond(&mut harness, values);
    assert_eq!(Harness::error_number(&reply), Some(number));
    let never = utf16("never");
    assert!(!reply.windows(never.len()).any(|w| w == never), "a value under a wrong name");
    harness.assert_usable();
}

const NOT_THE_KEYS: u32 = 16_040_020;
const NOT_DESCRIBED: u32 = 16_040_012;

#[test]
fn outputs_without_a_name_go_by_their_ordinal_in_any_order() {
    let (first, second) = (TestKey::new(1), TestKey::new(2));
    for chop in [0, 1, 7] {
        let values = [returned(1, "", &first, "one"), returned(2, "", &second, "two")];
        assert_shown(called(chop), values);
        // Large values come last.
        let values = [returned(2, "", &second, "two"), returned(1, "", &first, "one")];
        assert_shown(called(chop), values);
    }
}

#[test]
fn the_parameters_of_sp_executesql_itself_count() {
    let (first, second) = (TestKey::new(1), TestKey::new(2));
    let values = [returned(3, "", &first, "one"), returned(4, "", &second, "two")];
    assert_shown(executed(), values);
    assert_refused(executed(), &[returned(1, "", &first, "never").0], NOT_DESCRIBED);
    assert_refused(executed(), &[returned(2, "", &first, "never").0], NOT_DESCRIBED);
}

#[test]
fn a_server_may_name_what_the_request_did_not() {
    let (first, second) = (TestKey::new(1), TestKey::new(2));
    let values = [returned(1, "@in", &first, "one"), returned(2, "@out", &second, "two")];
    assert_shown(called(0), values);
}

#[test]
fn swapped_ordinals_are_not_believed() {
    let (first, second) = (TestKey::new(1), TestKey::new(2));
    let values = [returned(2, "", &first, "never").0, returned(1, "", &second, "never").0];
    assert_refused(called(0), &values, NOT_THE_KEYS);
    let values = [returned(4, "", &first, "never").0, returned(3, "", &second, "never").0];
    assert_refused(executed(), &values, NOT_THE_KEYS);
}

#[test]
fn ordinals_that_no_encrypted_output_has_are_refused() {
    let key = TestKey::new(1);
    // The first is a parameter, but a plain one.
    for ordinal in [0, 3, 4, 255, 256, 0x8001, u16::MAX] {
        assert_refused(called(0), &[returned(ordinal, "", &key, "never").0], NOT_DESCRIBED);
    }
}

#[test]
fn the_same_output_does_not_come_twice() {
    let key = TestKey::new(1);
    let values = [returned(1, "", &key, "one").0, returned(1, "", &key, "never").0];
    assert_refused(called(0), &values, NOT_DESCRIBED);
}

#[test]
fn an_output_with_a_name_does_not_go_by_its_ordinal() {
    let named = || {
        let mut harness = Harness::logged_in();
        harness.app(&call("dbo.P", &[Param::int("@a", 1), out("@b"), out("@c")]));
        harness.server(&message(REPLY, &description_of(["@a", "@b", "@c"])));
        assert!(!harness.drain_to_server().is_empty());
        harness
    };
    let (first, second) = (TestKey::new(1), TestKey::new(2));
    // The ordinals are those of the other.
    assert_shown(named(), [returned(2, "@b", &first, "one"), returned(1, "@c", &second, "two")]);
    for name in ["", "@d"] {
        assert_refused(named(), &[returned(1, name, &first, "never").0], NOT_DESCRIBED);
    }
    assert_refused(named(), &[returned(1, "@c", &first, "never").0], NOT_THE_KEYS);
    let twice = [returned(1, "@b", &first, "one").0, returned(1, "@b", &first, "never").0];
    assert_refused(named(), &twice, NOT_DESCRIBED);
}
