//! The session between a scripted server and a driver that takes whatever comes: rows with one
//! encrypted column, the same rows in the clear, and their cells without a session.
//!
//! ```text
//! cargo bench --bench session
//! ```
//!
//! Compare within one run: what a row costs beyond one in the clear is what its cell costs. Rows that
//! arrive one by one (`singly`) have their cells decrypted one by one, those of a packet in batches.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use support::*;

fn main() {
    divan::main();
}

const ROWS: usize = 20_000;
/// Bytes of a value's plaintext.
const SIZES: [usize; 3] = [16, 64, 1000];
/// The stream reads so much at a time, and a packet is so long.
const READ: usize = 32 * 1024;
const PACKET: usize = 4096;

/// What a server answers, and how much of it is read at a time.
struct Arriving {
    response: Vec<u8>,
    read: usize,
}

fn value(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n * 31 + i * 7) as u8).collect()
}

fn varbinary() -> Vec<u8> {
    VARBINARY.to_vec()
}

/// The rows as most servers send them, or each in a packet of its own that arrives alone.
fn arriving(key: Option<&TestKey>, len: usize, singly: bool) -> Arriving {
    let columns = [
        Col::Plain("Id", INT.to_vec()),
        match key {
            Some(_) => Col::Encrypted("Content", varbinary(), 0, varbinary()),
            None => Col::Plain("Content", varbinary()),
        },
    ];
    let keys = key.map(std::slice::from_ref).unwrap_or_default();
    let mut out = col_metadata(Some(keys), &columns);
    let before_rows = out.len();
    let cell_key = key.map(TestKey::cell_key);
    for n in 0..ROWS {
        let value = value(n, len);
        let stored = match &cell_key {
            Some(key) => {
                key.encrypt(&value, always_encrypted::crypto::EncryptionType::Randomized).unwrap()
            }
            None => value,
        };
        out.extend(row(&[byte(&(n as i32).to_le_bytes()), ushort(&stored)]));
    }
    let packet = match singly {
        true => (out.len() - before_rows) / ROWS + 8,
        false => PACKET,
    };
    out.extend(done(0x10));
    Arriving { response: message_in(REPLY, &out, packet), read: if singly { packet } else { READ } }
}

/// All of it through the session, as the stream does it.
fn pass(harness: &mut Harness, arriving: &Arriving) -> usize {
    let mut taken = 0;
    for bytes in arriving.response.chunks(arriving.read) {
        harness.session.receive_from_server(bytes, Instant::now());
        harness.provide_keys();
        while !harness.session.to_app().is_empty() {
            let len = harness.session.to_app().len();
            taken += black_box(harness.session.to_app()).len();
            harness.session.taken_by_app(len);
        }
    }
    taken
}

fn bench_rows(bencher: Bencher<'_, '_>, arriving: &Arriving, len: usize) {
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(ROWS * len))
        .with_inputs(|| {
            let mut harness = Harness::logged_in();
            harness.app(&batch("SELECT * FROM Messages"));
            harness
        })
        .bench_local_refs(|harness| pass(harness, arriving));
}

#[divan::bench(args = SIZES)]
fn rows_encrypted(bencher: Bencher<'_, '_>, len: usize) {
    bench_rows(bencher, &arriving(Some(&TestKey::new(1)), len, false), len);
}

#[divan::bench(args = SIZES)]
fn rows_encrypted_singly(bencher: Bencher<'_, '_>, len: usize) {
    bench_rows(bencher, &arriving(Some(&TestKey::new(1)), len, true), len);
}

#[divan::bench(args = SIZES)]
fn rows_in_the_clear(bencher: Bencher<'_, '_>, len: usize) {
    bench_rows(bencher, &arriving(None, len, false), len);
}

#[divan::bench(args = SIZES)]
fn rows_in_the_clear_singly(bencher: Bencher<'_, '_>, len: usize) {
    bench_rows(bencher, &arriving(None, len, true), len);
}

#[divan::bench(args = SIZES)]
fn cells_alone(bencher: Bencher<'_, '_>, len: usize) {
    let key = TestKey::new(1);
    let cells: Vec<Vec<u8>> = (0..ROWS).map(|n| cell(&key, &value(n, len))).collect();
    let key = key.cell_key();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(ROWS * len))
        .with_inputs(|| cells.clone())
        .bench_local_refs(|cells| {
            for cell in cells {
                black_box(key.decrypt_in_place(cell)).unwrap();
            }
        });
}
