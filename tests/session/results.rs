//! What comes back: rows and outputs.

use super::*;

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
