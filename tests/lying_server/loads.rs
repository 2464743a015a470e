//! Bulk loads.

use super::*;

const ANNOUNCE: &str = "INSERT BULK Messages ([Id] int, [Content] nvarchar(100))";

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
