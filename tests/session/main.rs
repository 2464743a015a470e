//! The session against a scripted driver and a scripted server: what passes and what comes out.

mod cancelling;
mod environment;
mod loads;
mod requests;
mod results;

#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use always_encrypted::policy::TrustedKeyPaths;
use proptest::prelude::*;
use support::*;

const SECRET: &str = "the plan is to meet at dawn";
const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";
const DECLARATIONS: &str = "@P1 int,@P2 nvarchar(4000)";

fn insert() -> Vec<u8> {
    executesql(INSERT, DECLARATIONS, &[Param::int("@P1", 7), Param::text("@P2", SECRET)])
}

fn content_is_encrypted() -> Vec<u8> {
    description(
        &[(1, TestKey::new(1))],
        &[Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)],
    )
}

/// An insert from its describe to its end, after which its description is known.
fn insert_once(harness: &mut Harness) {
    harness.app(&insert());
    harness.server(&message(REPLY, &content_is_encrypted()));
    harness.drain_to_server();
    harness.server(&message(REPLY, &done(0)));
}

/// Takes the encrypted last parameter of a request apart: the cell's plaintext and the trailer.
fn open_last_parameter(request: &[u8], key: &TestKey) -> (Vec<u8>, Vec<u8>) {
    let (kind, payload) = messages(request).pop().unwrap();
    assert_eq!(kind, RPC);
    // Status fEncrypted, perhaps with fByRefValue.
    let name = |status| [vec![3], utf16("@P2"), vec![status, 0xA5, 0xFF, 0xFF]].concat();
    let find = |name: &[u8]| payload.windows(name.len()).position(|w| w == name);
    let at = find(&name(0x08)).or_else(|| find(&name(0x09))).expect("no encrypted @P2");
    let name = name(0x08);
    let rest = &payload[at + name.len()..];
    let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
    let cell = &rest[12..12 + len];
    (key.cell_key().decrypt(cell).unwrap().to_vec(), rest[12 + len + 4..].to_vec())
}

/// A result with everything in it: plain and encrypted columns, NULL both ways, chunks.
fn result() -> (Vec<u8>, Vec<u8>) {
    let (k1, k2) = (TestKey::new(1), TestKey::new(2));
    let encrypted = [
        Col::Plain("Id", INT.to_vec()),
        Col::Encrypted("Sender", VARBINARY.to_vec(), 1, nvarchar(36)),
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
        Col::Encrypted("Flag", VARBINARY.to_vec(), 1, vec![0x68, 1]),
    ];
    let plain = [
        Col::Plain("Id", INT.to_vec()),
        Col::Plain("Sender", nvarchar(36)),
        Col::Plain("Content", nvarchar(u16::MAX)),
        Col::Plain("Flag", vec![0x68, 1]),
    ];
    let mut from_server = col_metadata(Some(&[k1.clone(), k2.clone()]), &encrypted);
    let mut to_app = col_metadata(None, &plain);
    let id = byte(&7i32.to_le_bytes());
    let (sender, content) = (utf16("alice"), utf16(&SECRET.repeat(300)));
    let one = 1i64.to_le_bytes();
    from_server.extend(row(&[
        id.clone(),
        ushort(&cell(&k2, &sender)),
        plp(&cell(&k1, &content), 1000),
        ushort(&cell(&k2, &one)),
    ]));
    to_app.extend(row(&[id.clone(), ushort(&sender), plp(&content, usize::MAX), byte(&[1])]));
    from_server.extend(row(&[
        id.clone(),
        vec![0xFF, 0xFF],
        vec![0xFF; 8],
        ushort(&cell(&k2, &one)),
    ]));
    to_app.extend(row(&[id.clone(), vec![0xFF, 0xFF], vec![0xFF; 8], byte(&[1])]));
    // NBCROW: Sender and Flag are NULL by the bitmap.
    let nbc = |values: &[Vec<u8>]| [vec![0xD2, 0b1010], values.concat()].concat();
    from_server.extend(nbc(&[id.clone(), plp(&cell(&k1, b""), 1000)]));
    to_app.extend(nbc(&[id, plp(b"", 1000)]));
    let end = done(0x10);
    from_server.extend(&end);
    to_app.extend(&end);
    (from_server, to_app)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_input_is_chopped_the_output_is_the_same(chop in 1usize..3000) {
        let run = |chop: usize| {
            let mut harness = Harness::logged_in();
            harness.chop = chop;
            let mut to_server = harness.app(&insert());
            harness.server(&message_in(REPLY, &content_is_encrypted(), 600));
            // The cell is randomized, so only its shape can be compared.
            to_server.extend((harness.drain_to_server().len() as u64).to_le_bytes());
            let mut to_app = harness.server(&message(REPLY, &done(0x10)));
            to_server.extend(harness.app(&batch("SELECT * FROM Messages")));
            to_app.extend(harness.server(&message_in(REPLY, &RESULT.0, 700)));
            (to_server, to_app)
        };
        prop_assert_eq!(run(0), run(chop));
    }
}

static RESULT: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(result);
