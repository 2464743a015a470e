//! Values of many packets: what comes out is what short ones would come out as, and one that lies
//! takes nothing with it but itself.

mod support;

use std::time::Instant;

use support::*;

/// More than a packet, a piece or a window of anything.
const LONG: usize = 300_000;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn text() -> Vec<u8> {
    utf16(&"long, longer, longest. ".repeat(LONG / 46))
}

/// The name and type of a column, and its base type if it is encrypted, under the first key.
fn columns() -> [Col; 6] {
    let varbinary_max = VARBINARY_MAX.to_vec();
    [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("Short", VARBINARY.to_vec(), 0, nvarchar(20)),
        Col::Encrypted("Text", varbinary_max.clone(), 0, nvarchar(u16::MAX)),
        Col::Plain("Plain", varbinary_max.clone()),
        Col::Encrypted("Nothing", varbinary_max.clone(), 0, varbinary_max.clone()),
        Col::Encrypted("Bytes", varbinary_max.clone(), 1, varbinary_max),
    ]
}

fn shown_columns() -> [Col; 6] {
    [
        Col::Plain("Id", INT.to_vec()),
        Col::Plain("Short", nvarchar(20)),
        Col::Plain("Text", nvarchar(u16::MAX)),
        Col::Plain("Plain", VARBINARY_MAX.to_vec()),
        Col::Plain("Nothing", VARBINARY_MAX.to_vec()),
        Col::Plain("Bytes", VARBINARY_MAX.to_vec()),
    ]
}

fn id(n: i32) -> Vec<u8> {
    byte(&n.to_le_bytes())
}

/// A value in chunks that does not say beforehand how long it is.
fn unknown_total(data: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = plp(data, chunk);
    out[..8].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    out
}

/// NBCROW with the fifth value taken away.
fn nbc_row(values: &[Vec<u8>]) -> Vec<u8> {
    [vec![0xD2, 0b1_0000], values.concat()].concat()
}

/// What the server sends, with `text_cell` as the long cell of the second row, and what the
/// application is to get of the rows.
fn result(text_cell: &[u8]) -> (Vec<u8>, [Vec<u8>; 5]) {
    let keys = [TestKey::new(1), TestKey::new(2)];
    let [first, second] = &keys;
    let short = |text: &str| ushort(&cell(first, &utf16(text)));
    let null = || vec![0xFF; 8];
    let long = bytes(LONG);
    let short_row = |n: i32| {
        row(&[id(n), short("one"), null(), plp(b"", 1), null(), plp(&cell(second, b"x"), 9)])
    };
    let rows = [
        short_row(1),
        nbc_row(&[
            id(2),
            short("two"),
            unknown_total(text_cell, 70_001),
            plp(&long, 50_000),
            plp(&cell(second, &long), 4000),
        ]),
        row(&[
            id(3),
            vec![0xFF; 2],
            plp(&cell(first, &utf16("short again")), 4000),
            unknown_total(&long, 100_000),
            plp(&cell(first, b""), 4000),
            plp(&cell(second, &bytes(65_536 - 49)), 1 << 20),
        ]),
        short_row(4),
        short_row(5),
    ];
    let whole = |data: &[u8]| plp(data, usize::MAX);
    let shown_short_row =
        |n: i32| row(&[id(n), ushort(&utf16("one")), null(), plp(b"", 1), null(), whole(b"x")]);
    let shown = [
        shown_short_row(1),
        nbc_row(&[id(2), ushort(&utf16("two")), whole(&text()), plp(&long, 50_000), whole(&long)]),
        row(&[
            id(3),
            vec![0xFF; 2],
            whole(&utf16("short again")),
            unknown_total(&long, 100_000),
            plp(b"", 1),
            whole(&bytes(65_536 - 49)),
        ]),
        shown_short_row(4),
        shown_short_row(5),
    ];
    let from_server = [col_metadata(Some(&keys), &columns()), rows.concat(), done(0x10)].concat();
    (from_server, shown)
}

fn text_cell() -> Vec<u8> {
    cell(&TestKey::new(1), &text())
}

/// The payload of the one message that the application gets.
fn ask(harness: &mut Harness, from_server: &[u8]) -> Vec<u8> {
    harness.app(&batch("SELECT * FROM Files"));
    let reply = messages(&harness.server(&message(REPLY, from_server)));
    assert_eq!(reply.len(), 1);
    reply.into_iter().next().unwrap().1
}

#[test]
fn long_cells_come_out_as_short_ones_do_however_they_arrive() {
    let (from_server, shown) = result(&text_cell());
    let expected = [col_metadata(None, &shown_columns()), shown.concat(), done(0x10)].concat();
    for chop in [0, 61, 4096, 5000, 100_000] {
        let mut harness = Harness::logged_in();
        harness.chop = chop;
        assert!(ask(&mut harness, &from_server) == expected, "chopped by {chop}");
        harness.assert_usable();
    }
}

#[test]
fn long_rows_of_a_plain_result_pass_byte_for_byte() {
    let columns = [
        Col::Plain("Id", INT.to_vec()),
        Col::Plain("A", VARBINARY_MAX.to_vec()),
        Col::Plain("B", nvarchar(u16::MAX)),
    ];
    let mut plain = col_metadata(None, &columns);
    let mut stored = col_metadata(Some(&[]), &columns);
    for n in 0..12 {
        let len = [0, 30, 70_000, 65_500, 300_000, 4000][n as usize % 6];
        let value = |data: &[u8]| if n % 4 == 3 { vec![0xFF; 8] } else { plp(data, 9000) };
        let text = unknown_total(&utf16(&"x".repeat(len / 3)), 8000);
        let row = row(&[id(n), value(&bytes(len)), text]);
        plain.extend(&row);
        stored.extend(&row);
    }
    plain.extend(done(0x10));
    stored.extend(done(0x10));
    for chop in [0, 777] {
        let mut harness = Harness::logged_in();
        harness.chop = chop;
        assert!(ask(&mut harness, &stored) == plain);
        harness.assert_usable();
    }
}

#[test]
fn a_long_cell_that_has_been_tampered_with_ends_the_result_after_the_rows_before_it() {
    let good = text_cell();
    let with = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let foreign = cell(&TestKey::new(2), &text());
    let odd = cell(&TestKey::new(1), &text()[1..]);
    let bad = [with(0), with(20), with(40), with(200_000), with(good.len() - 1), foreign];
    let bad = bad.into_iter().map(|bad| (bad, 16_040_020));
    let cut = [(good[..good.len() - 16].to_vec(), 16_040_020)];
    for (bad, number) in bad.chain(cut).chain([(odd, 16_040_021)]) {
        let (from_server, shown) = result(&bad);
        let mut harness = Harness::logged_in();
        let reply = ask(&mut harness, &from_server);
        let before = [col_metadata(None, &shown_columns()), shown[0].clone()].concat();
        assert!(reply.starts_with(&before));
        let rest = &reply[before.len()..];
        assert_eq!(rest[0], 0xAA, "an error stands behind the first row");
        assert!(rest.len() < 2000, "nothing of the second row and what follows it is passed on");
        assert!(rest.ends_with(&done(2)));
        let found = u32::from_le_bytes(rest[3..7].try_into().unwrap());
        assert_eq!(found, number);
        let error = harness.errors.last().unwrap().to_string();
        assert!(error.contains("Text"), "{error}");
        harness.assert_usable();
    }
}

#[test]
fn chunks_of_a_long_cell_that_do_not_add_up_end_the_connection() {
    let (mut from_server, shown) = result(&text_cell());
    let total = (u64::MAX - 1).to_le_bytes();
    let at = from_server.windows(8).position(|w| w == total).unwrap();
    from_server[at..at + 8].copy_from_slice(&(text_cell().len() as u64 + 1).to_le_bytes());
    let mut harness = Harness::logged_in();
    let reply = ask(&mut harness, &from_server);
    assert!(harness.session.is_closed());
    let before = [col_metadata(None, &shown_columns()), shown[0].clone()].concat();
    assert!(reply.starts_with(&before) && reply.len() < before.len() + 2000);
}

#[test]
fn a_response_that_ends_inside_a_long_row_ends_the_connection() {
    let (from_server, _) = result(&text_cell());
    for len in [150_000, 300_500, 500_000] {
        let mut harness = Harness::logged_in();
        ask(&mut harness, &from_server[..len]);
        assert!(harness.session.is_closed(), "{len}");
    }
}

#[test]
fn the_key_of_a_long_cell_is_asked_for_when_it_begins_and_its_failure_is_walked_over() {
    let (from_server, shown) = result(&text_cell());
    let before = [col_metadata(None, &shown_columns()), shown[0].clone()].concat();
    // The row before needs the second key only.
    let first = TestKey::new(1);
    let rows = [
        col_metadata(Some(&[first.clone(), TestKey::new(2)]), &columns()),
        row(&[id(1), vec![0xFF; 2], vec![0xFF; 8], vec![0xFF; 8], vec![0xFF; 8], vec![0xFF; 8]]),
    ]
    .concat();
    let second_row = from_server.windows(2).position(|w| w == [0xD2, 0b1_0000]).unwrap();
    let from_server = [&rows, &from_server[second_row..]].concat();
    let mut harness = Harness::logged_in();
    harness.keys.remove(0);
    harness.app(&batch("SELECT * FROM Files"));
    let packets = message(REPLY, &from_server);
    let (begun, rest) = packets.split_at(4096 * 20);
    harness.session.receive_from_server(begun, Instant::now());
    assert_eq!(harness.session.take_key_requests().len(), 1);
    let mut reply = harness.drain_to_app();
    harness.session.provide_key(
        1,
        Err(always_encrypted::keystore::CekError::NoValues),
        Instant::now(),
    );
    reply.extend(harness.server(rest));
    let reply = messages(&reply).pop().unwrap().1;
    let metadata = col_metadata(None, &shown_columns());
    assert!(reply.starts_with(&metadata) && !reply.starts_with(&before));
    assert!(reply.ends_with(&done(2)));
    harness.assert_usable();
}

#[test]
fn a_result_cancelled_inside_a_long_row_ends_with_the_acknowledgement() {
    let (from_server, shown) = result(&text_cell());
    let packets = message(REPLY, &from_server);
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT * FROM Files"));
    let mut reply = harness.server(&packets[..4096 * 30]);
    let attention = message(ATTENTION, &[]);
    assert_eq!(harness.app(&attention), attention);
    reply.extend(harness.server(&packets[4096 * 30..]));
    reply.extend(harness.server(&message(REPLY, &done(0x20))));
    let reply = messages(&reply).pop().unwrap().1;
    assert!(reply.starts_with(&[col_metadata(None, &shown_columns()), shown[0].clone()].concat()));
    assert!(reply.ends_with(&done(0x20)));
    harness.assert_usable();
}

#[test]
fn long_text_of_a_utf8_collation_is_shown_as_nvarchar() {
    let utf8 = |id: u8| vec![id, 0xFF, 0xFF, 9, 4, 0xD0, 0x04, 0x34];
    let content = "Grüße, 🦀. ".repeat(20_000);
    let columns = [Col::Encrypted("Text", VARBINARY_MAX.to_vec(), 0, utf8(0xA7))];
    let first = TestKey::new(1);
    let stored = |data: &[u8]| {
        let cell = cell(&first, data);
        let metadata = col_metadata(Some(std::slice::from_ref(&first)), &columns);
        [metadata, row(&[plp(&cell, 5000)]), done(0x10)].concat()
    };
    let mut harness = Harness::logged_in();
    let reply = ask(&mut harness, &stored(content.as_bytes()));
    let shown = [Col::Plain("Text", utf8(0xE7))];
    let shown = [col_metadata(None, &shown), row(&[plp(&utf16(&content), usize::MAX)]), done(0x10)];
    assert!(reply == shown.concat());
    let reply = ask(&mut harness, &stored(&content.as_bytes()[..content.len() - 3]));
    assert!(reply.ends_with(&done(2)), "half a character is no text");
    harness.assert_usable();
}

#[test]
fn an_authentic_long_cell_of_a_short_type_is_no_value_of_it() {
    let first = TestKey::new(1);
    for base in [INT.to_vec(), nvarchar(100), vec![0xAF, 10, 0, 9, 4, 0xD0, 0, 0x34]] {
        let columns = [Col::Encrypted("N", VARBINARY_MAX.to_vec(), 0, base)];
        let metadata = col_metadata(Some(std::slice::from_ref(&first)), &columns);
        let long = row(&[plp(&cell(&first, &bytes(LONG)), 8000)]);
        let mut harness = Harness::logged_in();
        let reply = ask(&mut harness, &[metadata, long, done(0)].concat());
        assert!(reply.ends_with(&done(2)) && reply.len() < 2000);
        harness.assert_usable();
    }
}

/// Lengths, totals, tokens, bitmaps, cells: whatever is changed, the session goes on or closes, and
/// says nothing that was not sent.
#[test]
fn a_long_row_with_any_bytes_changed_is_an_error_or_a_row() {
    let first = TestKey::new(1);
    let columns = [
        Col::Encrypted("A", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
        Col::Plain("B", VARBINARY_MAX.to_vec()),
        Col::Encrypted("C", VARBINARY.to_vec(), 0, INT.to_vec()),
    ];
    let cells = [cell(&first, &utf16(&"a".repeat(33_000))), cell(&first, &7i64.to_le_bytes())];
    let of = |token: &[u8]| {
        let [a, c] = &cells;
        [token, &plp(a, 9000), &plp(&bytes(3000), 700), &ushort(c)].concat()
    };
    let metadata = col_metadata(Some(std::slice::from_ref(&first)), &columns);
    let good = [metadata.clone(), of(&[0xD1]), of(&[0xD2, 0]), of(&[0xD1]), done(0x10)].concat();
    let mut seed = 12_345u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for round in 0..120 {
        let mut bad = good.clone();
        for _ in 0..1 + round % 3 {
            let row = metadata.len() + random(3) * (of(&[0xD1]).len());
            // Near the ends of its chunks there is most to break.
            let at = match random(3) {
                0 => row + random(30),
                1 => row + 13 + 9004 * random(8) + random(8),
                _ => row + random(of(&[0xD1]).len()),
            };
            let at = at.min(bad.len() - 1);
            bad[at] ^= 1 << random(8);
        }
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT * FROM T"));
        let reply = harness.server(&message(REPLY, &bad));
        if harness.session.is_closed() {
            assert!(Harness::error_number(&reply).is_some());
        } else {
            assert_eq!(messages(&reply).len(), 1);
            harness.assert_usable();
        }
    }
}

/// Many rows in each packet, one of them bad.
#[test]
fn of_the_rows_of_a_packet_those_before_a_bad_cell_arrive() {
    let keys = [TestKey::new(1), TestKey::new(2)];
    let columns = [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("A", VARBINARY.to_vec(), 0, nvarchar(40)),
        Col::Encrypted("B", VARBINARY.to_vec(), 1, INT.to_vec()),
    ];
    let shown = [
        Col::Plain("Id", INT.to_vec()),
        Col::Plain("A", nvarchar(40)),
        Col::Plain("B", INT.to_vec()),
    ];
    let value = |n: i32| (utf16(&format!("row number {n}")), i64::from(n) * 1000);
    const ROWS: i32 = 100;
    for bad in [0, 1, 17, 57, 99] {
        for column in ["A", "B"] {
            let mut stored = col_metadata(Some(&keys), &columns);
            let mut expected = col_metadata(None, &shown);
            for n in 0..ROWS {
                let (a, b) = value(n);
                let mut cells = [cell(&keys[0], &a), cell(&keys[1], &b.to_le_bytes())];
                if n == bad {
                    cells[usize::from(column == "B")][50] ^= 1;
                }
                // One in ten is NULL.
                let null = n % 10 == 9 && n != bad;
                let [a_cell, b_cell] = cells.map(|cell| ushort(&cell));
                stored.extend(row(&[id(n), a_cell, if null { vec![0xFF; 2] } else { b_cell }]));
                if n < bad {
                    let b = if null { byte(&[]) } else { byte(&(n * 1000).to_le_bytes()) };
                    expected.extend(row(&[id(n), ushort(&a), b]));
                }
            }
            stored.extend(done(0x10));
            for size in [512, 4096, 32_767] {
                let mut harness = Harness::logged_in();
                harness.app(&batch("SELECT * FROM T"));
                let reply = messages(&harness.server(&message_in(REPLY, &stored, size)));
                let reply = &reply[0].1;
                assert!(reply.starts_with(&expected), "row {bad}, packets of {size}");
                assert_eq!(reply[expected.len()], 0xAA);
                assert!(reply.ends_with(&done(2)));
                let error = harness.errors.last().unwrap().to_string();
                assert!(error.contains(&format!("column {column}")), "{error}");
                harness.assert_usable();
            }
        }
    }
}
