//! Parameters of a procedure whose types cannot be encrypted: described as what they are, and sent as they came.

mod support;

use always_encrypted::SessionError;
use support::*;

const SECRET: &str = "the plan is to meet at dawn";

fn long(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u32).to_le_bytes()[..], value].concat()
}

/// A parameter of each type, and how it must be declared.
fn parameters() -> Vec<(Param, &'static str)> {
    let collation = [9, 4, 0xD0, 0, 0x34];
    let with_collation = |head: &[u8]| [head, &collation].concat();
    vec![
        (
            Param("@a", 0, with_collation(&[0x23, 0xFF, 0xFF, 0xFF, 0x7F]), long(b"caf\xe9")),
            "@a text",
        ),
        (
            Param("@b", 0, with_collation(&[0x63, 0xFE, 0xFF, 0xFF, 0x7F]), long(&utf16("x"))),
            "@b ntext",
        ),
        (Param("@c", 0, vec![0x22, 0xFF, 0xFF, 0xFF, 0x7F], vec![0xFF; 4]), "@c image"),
        (Param("@d", 0, vec![0xF1, 0], plp(&utf16("<a/>"), 3)), "@d xml"),
        (
            Param(
                "@e",
                0,
                [vec![0xF1, 1, 0], b_varchar("s"), us_varchar("c")].concat(),
                plp(&[], 1),
            ),
            "@e xml([s].[c])",
        ),
        (
            Param("@f", 0, vec![0x62, 0x49, 0x1F, 0, 0], long(&[0x38, 0, 5, 0, 0, 0])),
            "@f sql_variant",
        ),
        (Param("@g", 0, vec![0xF4], plp(b"{}", 2)), "@g json"),
        (Param("@h", 0, vec![0xF5, 20, 0, 0], vec![0xFF, 0xFF]), "@h vector(3)"),
    ]
}

#[test]
fn each_is_declared_by_its_own_type_and_passes_as_it_came() {
    let all = parameters();
    let mut sent: Vec<Param> = all.iter().map(|(param, _)| param.clone()).collect();
    sent.push(Param::int("@i", 5));
    let mut declared: Vec<&str> = all.iter().map(|(_, declared)| *declared).collect();
    declared.push("@i int");
    let request = call("dbo.Keep", &sent);
    let mut harness = Harness::logged_in();
    let describe = harness.app(&request);
    let text = utf16(&declared.join(","));
    assert!(describe.windows(text.len()).any(|w| w == text), "{:?}", messages(&describe));
    let names = ["@a", "@b", "@c", "@d", "@e", "@f", "@g", "@h", "@i"];
    let verdicts: Vec<Verdict> =
        (1..).zip(names).map(|(ordinal, name)| Verdict::plain(ordinal, name)).collect();
    harness.server(&message(REPLY, &description(&[], &verdicts)));
    assert_eq!(harness.drain_to_server(), request);
}

#[test]
fn a_server_that_says_that_one_is_encrypted_does_not_get_it() {
    for (mut param, declared) in parameters() {
        if param.2[0] == 0xF1 && param.2[1] == 0 {
            param.3 = plp(&utf16(SECRET), 4);
        }
        let request = call("dbo.Keep", &[param.clone()]);
        let mut harness = Harness::logged_in();
        harness.app(&request);
        let verdict = Verdict::encrypted(1, param.0, 1, 1);
        let reply =
            harness.server(&message(REPLY, &description(&[(1, TestKey::new(1))], &[verdict])));
        harness.provide_keys();
        assert!(harness.drain_to_server().is_empty(), "{declared} was sent");
        harness.assert_never_sent(SECRET);
        let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
        assert_eq!(Harness::error_number(&reply), Some(error.number()));
        assert!(!matches!(error, SessionError::Describe(_)), "{error}");
        let type_name = declared.split_once(' ').unwrap().1;
        assert!(error.to_string().contains(type_name), "{error}");
        harness.assert_usable();
    }
}

#[test]
fn a_type_that_nobody_can_declare_is_not_sent() {
    // An intn of three bytes.
    let odd = Param("@a", 0, vec![0x26, 3], vec![3, 1, 2, 3]);
    let mut harness = Harness::logged_in();
    assert!(harness.app(&call("dbo.Keep", &[odd])).is_empty());
    let error = harness.errors.last().expect("no error was recorded").as_ref().clone();
    assert!(matches!(error, SessionError::Request(_)), "{error}");
    assert_eq!(Harness::error_number(&harness.drain_to_app()), Some(error.number()));
    harness.assert_usable();
}
