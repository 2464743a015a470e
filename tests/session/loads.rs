//! Bulk loads.

use super::*;

/// COLMETADATA of a bulk load as a driver writes it: an int and an nvarchar.
fn load_metadata(max: u16) -> Vec<u8> {
    let mut load = vec![0x81, 2, 0];
    for (info, name) in [(INT.to_vec(), "Id"), (nvarchar(max), "Content")] {
        load.extend([0, 0, 0, 0, 9, 0]);
        load.extend(info);
        load.push(name.len() as u8);
        load.extend(utf16(name));
    }
    load
}

const ANNOUNCE: &str =
    "INSERT BULK dbo.Messages ([Id] int, [Content] nvarchar(max)) WITH (TABLOCK)";

/// What the server answers about the columns of a load.
fn load_columns(encrypted: bool) -> Vec<u8> {
    let content = if encrypted {
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX))
    } else {
        Col::Plain("Content", nvarchar(u16::MAX))
    };
    let keys = if encrypted { vec![TestKey::new(1)] } else { vec![] };
    [col_metadata(Some(&keys), &[Col::Plain("Id", INT.to_vec()), content]), done(0x10)].concat()
}

#[test]
fn a_bulk_load_to_plain_columns_gains_the_empty_cek_table() {
    let mut harness = Harness::logged_in();
    let asked = messages(&harness.app(&batch(ANNOUNCE))).pop().unwrap().1;
    assert!(asked.ends_with(&utf16("SELECT TOP 0 [Id], [Content] FROM dbo.Messages")));
    assert!(harness.server(&message(REPLY, &load_columns(false))).is_empty());
    assert_eq!(harness.drain_to_server(), batch(ANNOUNCE), "the announcement passes as it was");
    harness.server(&message(REPLY, &done(0)));
    let mut load = load_metadata(u16::MAX);
    for _ in 0..2000 {
        load.extend(row(&[byte(&[1, 2, 3, 4]), plp(&utf16("x"), 9)]));
    }
    load.extend(done(0));
    let sent = messages(&harness.app(&message(BULK, &load))).pop().unwrap();
    let mut expected = load.clone();
    expected.splice(3..3, [0, 0]);
    assert_eq!(sent, (BULK, expected));
    harness.server(&message(REPLY, &done(0)));
    harness.assert_usable();
}

#[test]
fn a_bulk_load_to_encrypted_columns_brings_cells_however_it_is_cut() {
    for chop in [0, 1, 7, 100] {
        let mut harness = Harness::logged_in();
        harness.chop = chop;
        harness.app(&batch(ANNOUNCE));
        harness.server(&message(REPLY, &load_columns(true)));
        let announced = messages(&harness.drain_to_server()).pop().unwrap().1;
        let expected =
            "INSERT BULK dbo.Messages ([Id] int, [Content] varbinary(max)) WITH (TABLOCK)";
        assert!(announced.ends_with(&utf16(expected)));
        harness.server(&message(REPLY, &done(0)));

        let id = byte(&7i32.to_le_bytes());
        let mut load = load_metadata(u16::MAX);
        load.extend(row(&[id.clone(), plp(&utf16(SECRET), 10)]));
        load.extend(row(&[id.clone(), vec![0xFF; 8]]));
        load.extend(row(&[id.clone(), plp(&utf16(&SECRET.repeat(200)), 1000)]));
        load.extend(done(0));
        let (kind, sent) = messages(&harness.app(&message_in(BULK, &load, 600))).pop().unwrap();
        assert_eq!(kind, BULK);
        harness.assert_never_sent(SECRET);

        // COLMETADATA: one key without values, the column as varbinary(max) with its encryption.
        let mut head = vec![0x81, 2, 0, 1, 0];
        head.extend([5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 0]);
        head.extend([0, 0, 0, 0, 9, 0, 0x26, 4, 2]);
        head.extend(utf16("Id"));
        head.extend([0, 0, 0, 0, 9, 8, 0xA5, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]);
        head.extend(nvarchar(u16::MAX));
        head.extend([2, 2, 1, 7]);
        head.extend(utf16("Content"));
        assert!(sent.starts_with(&head));
        let mut rest = &sent[head.len()..];
        let key = TestKey::new(1).cell_key();
        for expected in [Some(SECRET.to_owned()), None, Some(SECRET.repeat(200))] {
            assert_eq!(rest[..6], [&[0xD1][..], &id].concat());
            rest = &rest[6..];
            let Some(expected) = expected else {
                assert_eq!(rest[..8], [0xFF; 8]);
                rest = &rest[8..];
                continue;
            };
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let cell = &rest[12..12 + len];
            assert_eq!(key.decrypt(cell).unwrap().to_vec(), utf16(&expected));
            rest = &rest[12 + len + 4..];
        }
        assert_eq!(rest, done(0));
        let reply = harness.server(&message(REPLY, &done(0x10)));
        assert_eq!(messages(&reply), [(REPLY, done(0x10))]);
        harness.assert_usable();
    }
}
