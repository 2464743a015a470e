//! Table-valued parameters.

use super::*;

/// `[dbo].[Ids] (int)` with two rows.
fn table(name: &'static str) -> Param {
    let mut info = vec![0xF3, 0, 3];
    info.extend(utf16("dbo"));
    info.push(3);
    info.extend(utf16("Ids"));
    info.extend([1, 0, 0, 0, 0, 0, 0, 0, 0x26, 4, 0, 0]);
    let rows = vec![1, 4, 1, 0, 0, 0, 1, 4, 2, 0, 0, 0, 0];
    Param(name, 0, info, rows)
}

const WITH_TABLE: &str = "INSERT INTO Messages (Id, Content) SELECT Id, @P2 FROM @P1";
const WITH_TABLE_DECLARED: &str = "@P1 dbo.Ids READONLY,@P2 nvarchar(4000)";

#[test]
fn a_table_passes_as_it_is_beside_what_is_encrypted() {
    let table_bytes = [&table("").2[..], &table("").3].concat();
    let text =
        executesql(WITH_TABLE, WITH_TABLE_DECLARED, &[table("@P1"), Param::text("@P2", SECRET)]);
    let by_call = call("p", &[table("@P1"), Param::text("@P2", SECRET)]);
    for (request, declared) in [(text, "dbo.Ids READONLY"), (by_call, "[dbo].[Ids] READONLY")] {
        let mut harness = Harness::logged_in();
        let describe = harness.app(&request);
        assert!(holds(&describe, &format!("@P1 {declared},@P2 nvarchar(27)")), "{declared}");
        harness.server(&content_is_encrypted());
        let sent = harness.drain_to_server();
        assert_encrypted(&sent);
        assert!(sent.windows(table_bytes.len()).any(|w| w == table_bytes), "the table was changed");
        harness.assert_never_sent(SECRET);

        let mut harness = Harness::logged_in();
        harness.app(&request);
        harness.server(&nothing_is_encrypted());
        assert_eq!(harness.drain_to_server(), request);
    }
}

#[test]
fn a_table_that_is_said_to_be_encrypted_or_is_forced_is_not_sent() {
    let lie = description(
        &[(1, TestKey::new(1))],
        &[Verdict::encrypted(1, "@P1", 2, 1), Verdict::plain(2, "@P2")],
    );
    let plain = description(&[], &[Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")]);
    let forced = format!("{WITH_TABLE} /* always-encrypted: force @P1 */");
    let stated = format!("{WITH_TABLE} /* always-encrypted: type @P1 int */");
    for (statement, answer, number) in [
        (WITH_TABLE, &lie, 16_040_010),
        (&forced, &lie, 16_040_010),
        (&forced, &plain, 16_040_014),
        (&stated, &plain, 16_040_042),
    ] {
        let mut harness = Harness::logged_in();
        let params = [table("@P1"), Param::text("@P2", SECRET)];
        harness.app(&executesql(statement, WITH_TABLE_DECLARED, &params));
        let reply = harness.server(&message(REPLY, answer));
        assert_eq!(Harness::error_number(&reply), Some(number));
        assert!(harness.drain_to_server().is_empty());
        harness.assert_never_sent(SECRET);
        if number == 16_040_010 {
            let error = harness.errors.last().unwrap();
            let SessionError::Describe(DescribeFault::TableValued { name }) = &*error else {
                panic!("{error}")
            };
            assert_eq!(name, "@P1");
            assert!(harness.cache.is_empty(), "the lie was kept");
        }
        harness.assert_usable();
    }
}

#[test]
fn a_table_cut_at_any_byte_is_not_sent() {
    let mut params = messages(&executesql(WITH_TABLE, WITH_TABLE_DECLARED, &[])).pop().unwrap().1;
    let start = params.len();
    let of_table = messages(&call("p", &[table("@P1")])).pop().unwrap().1;
    params.extend(&of_table[all_headers().len() + 2 + 2 + 2..]);
    for len in start + 1..params.len() {
        let mut harness = Harness::logged_in();
        assert!(harness.app(&message(RPC, &params[..len])).is_empty(), "{len} bytes");
        let error = harness.errors.last().unwrap();
        assert!(matches!(*error, SessionError::Request(_)), "{error}");
        harness.drain_to_app();
        harness.assert_usable();
    }
}
