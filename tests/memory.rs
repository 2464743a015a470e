//! What a large value costs: the most memory that the session holds at a time, as a multiple of the
//! value's bytes.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use support::*;

struct Measuring;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// All that was ever asked for.
static TOTAL: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        TOTAL.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// The tests share one allocator, so they run one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// Large enough that the buffers that are there for values of any length do not count.
const LEN: usize = 8 << 20;

/// The most memory that `work` holds beyond what is there before, in multiples of `LEN`.
fn multiple_of_len(work: impl FnOnce()) -> f64 {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    work();
    (MOST.load(Relaxed) - before) as f64 / LEN as f64
}

fn text() -> String {
    "0123456789abcdef".repeat(LEN / 32)
}

#[test]
fn a_large_parameter_is_held_once_in_the_clear_and_once_as_its_cell() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let request = executesql(
        "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)",
        "@P1 int,@P2 nvarchar(max)",
        &[Param::int("@P1", 7), Param::long_text("@P2", &text(), 8000)],
    );
    let answer = description(
        &[(1, TestKey::new(1))],
        &[Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)],
    );
    let mut harness = Harness::logged_in();
    let mut sent = 0;
    let multiple = multiple_of_len(|| {
        for packet in request.chunks(4096) {
            harness.session.receive_from_app(packet, Instant::now());
        }
        harness.refuse_catalogue();
        harness.session.sent_to_server(usize::MAX);
        harness.session.receive_from_server(&message(REPLY, &answer), Instant::now());
        harness.provide_keys();
        assert!(harness.session.to_server_len() > LEN, "what is not cut into packets yet counts");
        while !harness.session.to_server().is_empty() {
            let len = harness.session.to_server().len().min(65_536);
            harness.session.sent_to_server(len);
            sent += len;
        }
    });
    assert!(sent > LEN);
    assert_eq!(harness.session.to_server_len(), 0);
    println!("a parameter of {LEN} bytes: at most {multiple:.2} times its size");
    assert!(multiple < 2.1, "{multiple}");
}

#[test]
fn a_large_cell_is_held_once() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = TestKey::new(1);
    let columns = [Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX))];
    let stored = cell(&key, &utf16(&text()));
    let rows = [col_metadata(Some(&[key]), &columns), row(&[plp(&stored, 8000)]), done(0)].concat();
    let response = message(REPLY, &rows);
    drop((stored, rows));
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT Content FROM Messages"));
    let mut taken = 0;
    let multiple = multiple_of_len(|| {
        for packet in response.chunks(4096) {
            harness.session.receive_from_server(packet, Instant::now());
            harness.provide_keys();
            while !harness.session.to_app().is_empty() {
                let len = harness.session.to_app().len();
                harness.session.taken_by_app(len);
                taken += len;
            }
        }
    });
    assert!(taken > LEN);
    println!("a cell of {LEN} bytes: at most {multiple:.2} times its size");
    assert!(multiple < 1.1, "{multiple}");
}

#[test]
fn a_large_value_of_a_bulk_load_is_held_twice_and_a_little() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let content = || nvarchar(u16::MAX);
    let encrypted = Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, content());
    let answer = [col_metadata(Some(&[TestKey::new(1)]), &[encrypted]), done(0x10)].concat();
    let mut load = vec![0x81, 1, 0, 0, 0, 0, 0, 9, 0];
    load.extend(content());
    load.push(7);
    load.extend(utf16("Content"));
    load.extend(row(&[plp(&utf16(&text()), 8000)]));
    load.extend(done(0));
    let load = message(BULK, &load);
    let mut harness = Harness::logged_in();
    harness.app(&batch("INSERT BULK Messages ([Content] nvarchar(max))"));
    harness.server(&message(REPLY, &answer));
    harness.server(&message(REPLY, &done(0)));
    let announced = harness.drain_to_server().len();
    let mut sent = 0;
    let multiple = multiple_of_len(|| {
        for packet in load.chunks(4096) {
            harness.session.receive_from_app(packet, Instant::now());
            while !harness.session.to_server().is_empty() {
                let len = harness.session.to_server().len();
                harness.session.sent_to_server(len);
                sent += len;
            }
        }
    });
    assert!(announced > 0 && sent > LEN);
    println!("a loaded value of {LEN} bytes: at most {multiple:.2} times its size");
    assert!(multiple < 2.3, "{multiple}");
}

/// What nothing of is encrypted does not cost more.
#[test]
fn a_large_plain_value_is_held_once() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let columns = [Col::Plain("Content", VARBINARY_MAX.to_vec())];
    let rows = [col_metadata(Some(&[]), &columns), row(&[plp(&vec![7; LEN], 8000)]), done(0)];
    let response = message(REPLY, &rows.concat());
    let mut harness = Harness::logged_in();
    harness.app(&batch("SELECT Content FROM Files"));
    let mut taken = 0;
    let multiple = multiple_of_len(|| {
        for packet in response.chunks(4096) {
            harness.session.receive_from_server(packet, Instant::now());
            while !harness.session.to_app().is_empty() {
                let len = harness.session.to_app().len();
                harness.session.taken_by_app(len);
                taken += len;
            }
        }
    });
    assert!(taken > LEN);
    println!("a plain value of {LEN} bytes: at most {multiple:.2} times its size");
    assert!(multiple < 1.1, "{multiple}");
}

/// As UTF-16 it may be twice as long as its cell, which goes as that comes.
#[test]
fn a_large_text_of_a_utf8_collation_is_held_as_utf16_and_no_more() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = TestKey::new(1);
    let utf8 = vec![0xA7, 0xFF, 0xFF, 9, 4, 0xD0, 0x04, 0x34];
    let columns = [Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, utf8)];
    for (text, most) in [("0123456789abcdef", 2.1), ("\u{4e2d}\u{1f980}\u{e9}", 1.6)] {
        let text = text.repeat(LEN / text.len());
        let stored = cell(&key, text.as_bytes());
        let metadata = col_metadata(Some(std::slice::from_ref(&key)), &columns);
        let rows = [metadata, row(&[plp(&stored, 8000)]), done(0)].concat();
        let response = message(REPLY, &rows);
        drop((stored, rows));
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT Content FROM Messages"));
        let mut taken = 0;
        let multiple = multiple_of_len(|| {
            for packet in response.chunks(4096) {
                harness.session.receive_from_server(packet, Instant::now());
                harness.provide_keys();
                while !harness.session.to_app().is_empty() {
                    let len = harness.session.to_app().len();
                    harness.session.taken_by_app(len);
                    taken += len;
                }
            }
        });
        assert!(taken > 2 * text.encode_utf16().count());
        println!("UTF-8 of {LEN} bytes: at most {multiple:.2} times its size");
        assert!(multiple < most, "{multiple}");
    }
}

/// Each block that is asked for is wiped when it goes, so it must not be sized by what a server says
/// that its columns could hold.
#[test]
fn rows_of_nulls_cost_what_they_are_and_not_what_their_types_could_hold() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    const COLUMNS: usize = 300;
    let char_8000 = || vec![0xAF, 0x40, 0x1F, 9, 4, 0xD0, 0x04, 0x34];
    let result = |wire: &[u8], first: &[u8], null: &[u8], rows: usize| {
        let mut columns = vec![Col::Plain("First", VARBINARY_MAX.to_vec())];
        columns.resize_with(COLUMNS, || Col::Encrypted("C", wire.to_vec(), 0, char_8000()));
        let mut values = vec![null.to_vec(); COLUMNS];
        values[0] = plp(first, 8000);
        let rows = row(&values).repeat(rows);
        [col_metadata(Some(&[TestKey::new(1)]), &columns), rows, done(0)].concat()
    };
    let short = result(&VARBINARY, b"", &[0xFF; 2], 50);
    let long = result(&VARBINARY_MAX, &[7; 100_000], &[0xFF; 8], 1);
    for (name, response) in [("short rows", short), ("a long row", long)] {
        let response = message(REPLY, &response);
        let mut harness = Harness::logged_in();
        harness.app(&batch("SELECT * FROM Wide"));
        let before = TOTAL.load(Relaxed);
        for packet in response.chunks(4096) {
            harness.session.receive_from_server(packet, Instant::now());
            harness.session.taken_by_app(usize::MAX);
        }
        let total = TOTAL.load(Relaxed) - before;
        println!("{name} of {} bytes in all: {total} bytes were asked for", response.len());
        assert!(total < 4 << 20, "{name}: {total}");
    }
}
