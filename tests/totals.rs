//! COMPUTE BY: totals between the rows. They pass as they come, and the rows beside them are
//! decrypted.

mod support;

use support::*;

/// A column of totals: operator, operand, user type, flags, TYPE_INFO with its table's name, name.
fn total(operand: u16, flags: u16, type_info: &[u8], name: &str) -> Vec<u8> {
    let mut out = vec![0x4D];
    out.extend(operand.to_le_bytes());
    out.extend([0; 4]);
    out.extend(flags.to_le_bytes());
    out.extend(type_info);
    out.push(name.len() as u8);
    out.extend(utf16(name));
    out
}

fn alt_metadata(id: u16, by: &[u16], columns: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0x88];
    out.extend((columns.len() as u16).to_le_bytes());
    out.extend(id.to_le_bytes());
    out.push(by.len() as u8);
    out.extend(by.iter().flat_map(|n| n.to_le_bytes()));
    out.extend(columns.concat());
    out
}

fn alt_row(id: u16, values: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0xD3];
    out.extend(id.to_le_bytes());
    out.extend(values.concat());
    out
}

fn int(n: i32) -> Vec<u8> {
    byte(&n.to_le_bytes())
}

/// text of the table `dbo.t`.
fn text() -> Vec<u8> {
    let mut out = vec![0x23, 0xFF, 0xFF, 0xFF, 0x7F, 9, 4, 0xD0, 0, 0x34, 2];
    for part in ["dbo", "t"] {
        out.extend((part.len() as u16).to_le_bytes());
        out.extend(utf16(part));
    }
    out
}

/// A value of it, behind a pointer of four bytes.
fn text_value(text: &str) -> Vec<u8> {
    let mut out = vec![4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
    out
}

/// `SELECT a, secret … ORDER BY a COMPUTE SUM(a), MAX(t) BY a COMPUTE COUNT(n)`: the tokens as the
/// server sends them and as the driver gets them.
fn tokens() -> Vec<(Vec<u8>, Vec<u8>)> {
    let key = TestKey::new(1);
    let secret = |text: &str| ushort(&cell(&key, &utf16(text)));
    let columns = [
        Col::Plain("a", INT.to_vec()),
        Col::Encrypted("secret", VARBINARY.to_vec(), 0, nvarchar(20)),
    ];
    let shown = [Col::Plain("a", INT.to_vec()), Col::Plain("secret", nvarchar(20))];
    let same = |token: Vec<u8>| (token.clone(), token);
    let by = [total(1, 1, &INT, "sum"), total(3, 1, &text(), "")];
    let all = [total(4, 1, &[0xE7, 0xFF, 0xFF, 9, 4, 0xD0, 0, 0x34], "n")];
    vec![
        (col_metadata(Some(&[TestKey::new(1)]), &columns), col_metadata(None, &shown)),
        same(alt_metadata(1, &[1, 2], &by)),
        same(alt_metadata(0x201, &[], &all)),
        (row(&[int(5), secret("dawn")]), row(&[int(5), ushort(&utf16("dawn"))])),
        same(alt_row(1, &[int(5), text_value("t")])),
        (row(&[int(6), secret("")]), row(&[int(6), ushort(&[])])),
        same(alt_row(1, &[byte(&[]), vec![0]])),
        same(alt_row(0x201, &[plp(&utf16("twelve"), 5)])),
        same(done(0x10)),
    ]
}

/// Both sides of it in one piece.
fn both() -> (Vec<u8>, Vec<u8>) {
    let (sent, shown): (Vec<_>, Vec<_>) = tokens().into_iter().unzip();
    (sent.concat(), shown.concat())
}

fn asked() -> Harness {
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT … COMPUTE …"));
    harness
}

#[test]
fn totals_pass_byte_for_byte_however_they_are_cut() {
    for size in 9..60 {
        for chop in [0, 1, 5] {
            let (sent, shown) = both();
            let mut harness = asked();
            harness.chop = chop;
            let reply = harness.server(&message_in(REPLY, &sent, size));
            assert_eq!(messages(&reply), [(REPLY, shown)], "packets of {size}, pieces of {chop}");
            harness.chop = 0;
            harness.assert_usable();
        }
    }
}

#[test]
fn a_message_that_ends_within_totals_costs_the_connection() {
    let (sent, _) = both();
    for len in 1..sent.len() {
        let mut harness = asked();
        let reply = harness.server(&message(REPLY, &sent[..len]));
        let (mut rest, mut whole) = (len, Vec::new());
        for (token, shown) in tokens() {
            let Some(left) = rest.checked_sub(token.len()) else { break };
            rest = left;
            whole.extend(shown);
        }
        assert_eq!(harness.session.is_closed(), rest > 0, "{len} bytes");
        let payload = messages(&reply).into_iter().flat_map(|(_, payload)| payload);
        let payload: Vec<u8> = payload.collect();
        let behind = payload.strip_prefix(&whole[..]).expect("whole tokens pass");
        assert_eq!(behind.first().copied(), (rest > 0).then_some(0xAA), "{len} bytes");
    }
}

/// The connection ends, and nothing behind the lie is passed on.
fn assert_closes(tokens: &[Vec<u8>]) {
    let mut harness = asked();
    let behind = error(50_000, "behind the lie");
    let reply = harness.server(&message(REPLY, &[tokens.concat(), behind, done(2)].concat()));
    assert!(harness.session.is_closed());
    let text = utf16("behind the lie");
    assert!(!reply.windows(text.len()).any(|w| w == text));
}

#[test]
fn totals_of_an_unknown_id_are_refused() {
    let metadata = col_metadata(Some(&[]), &[Col::Plain("a", INT.to_vec())]);
    let sum = || alt_metadata(1, &[], &[total(1, 1, &INT, "")]);
    assert_closes(&[metadata.clone(), alt_row(1, &[int(1)])]);
    assert_closes(&[metadata.clone(), sum(), alt_row(0x101, &[int(1)])]);
    // Those of another result set are gone.
    assert_closes(&[metadata.clone(), sum(), metadata, alt_row(1, &[int(1)])]);
}

#[test]
fn metadata_of_the_same_id_replace_those_before() {
    let tokens = [
        col_metadata(Some(&[]), &[Col::Plain("a", INT.to_vec())]),
        alt_metadata(1, &[], &[total(1, 1, &INT, ""), total(1, 1, &INT, "")]),
        alt_metadata(1, &[], &[total(1, 1, &INT, "")]),
        alt_row(1, &[int(1)]),
        done(0),
    ];
    let mut harness = asked();
    let reply = harness.server(&message(REPLY, &tokens.concat()));
    let mut expected = col_metadata(None, &[Col::Plain("a", INT.to_vec())]);
    expected.extend(tokens[1..].concat());
    assert_eq!(messages(&reply), [(REPLY, expected)]);
    harness.assert_usable();
}

#[test]
fn a_total_cannot_be_encrypted() {
    let metadata = col_metadata(Some(&[]), &[Col::Plain("a", INT.to_vec())]);
    assert_closes(&[metadata, alt_metadata(1, &[], &[total(1, 0x0801, &VARBINARY, "")])]);
}

#[test]
fn lengths_that_lie_cost_the_connection_and_no_memory() {
    let metadata = col_metadata(Some(&[]), &[Col::Plain("a", INT.to_vec())]);
    let sum = || alt_metadata(1, &[], &[total(1, 1, &INT, "")]);
    let counts = [0u16, 2, 4096, 4097, u16::MAX].map(|count| {
        let mut token = sum();
        token[1..3].copy_from_slice(&count.to_le_bytes());
        token
    });
    let mut by = sum();
    by[5] = 255;
    let mut name = sum();
    *name.last_mut().unwrap() = 255;
    for token in counts.into_iter().chain([by, name]) {
        assert_closes(&[metadata.clone(), token]);
    }
    let total_of = |info: &[u8], value: &[u8]| {
        [alt_metadata(1, &[], &[total(1, 1, info, "")]), alt_row(1, &[value.to_vec()])].concat()
    };
    for token in [
        total_of(&VARBINARY, &[0xFE, 0xFF]),
        total_of(
            &VARBINARY_MAX,
            &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        total_of(&text(), &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
    ] {
        assert_closes(&[metadata.clone(), token]);
    }
}

#[test]
fn totals_have_no_more_columns_than_there_can_be_over_all_ids() {
    let metadata = col_metadata(Some(&[]), &[Col::Plain("a", INT.to_vec())]);
    let many = vec![total(1, 1, &INT, ""); 2048];
    let [first, second, third] = [1, 2, 3].map(|id| alt_metadata(id, &[], &many));
    let mut harness = asked();
    let two = [metadata.clone(), first.clone(), second.clone(), done(0)].concat();
    harness.server(&message(REPLY, &two));
    harness.assert_usable();
    assert_closes(&[metadata, first, second, third]);
}

#[test]
fn totals_in_an_answer_of_ours_are_refused() {
    let mut harness = Harness::logged_in();
    harness.app(&executesql("SELECT @P1", "@P1 int", &[Param::int("@P1", 1)]));
    let answer = description(&[], &[Verdict::plain(1, "@P1")]);
    let answer = [alt_metadata(1, &[], &[total(1, 1, &INT, "")]), answer].concat();
    let reply = harness.server(&message(REPLY, &answer));
    assert!(Harness::error_number(&reply).is_some_and(|n| n > 16_040_000));
    harness.assert_usable();
}
