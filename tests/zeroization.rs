//! What the library gives back to the allocator holds no key and no plaintext: the allocator looks.
//!
//! The stack and registers are not looked at: what moves leaves copies there that no library can wipe.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    time::Instant,
};

use always_encrypted::{
    Config,
    crypto::{Cek, CellKey, CmkPrivateKey, EncryptionType, Envelope},
    tds::WipedBuffer,
};
use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use rsa::{pkcs8::DecodePrivateKey, traits::PrivateKeyParts};
use sha2::{Sha256, block_api::compress256};
use support::*;

struct Searching;

thread_local! {
    /// What the thread's freed blocks are searched for; nothing outside of `findings_in`.
    static SECRETS: Cell<&'static [Vec<u8>]> = const { Cell::new(&[]) };
    static FINDINGS: Cell<usize> = const { Cell::new(0) };
}

fn search(block: &[u8]) {
    let secrets = SECRETS.try_with(Cell::take).unwrap_or_default();
    if secrets.is_empty() {
        return;
    }
    if let Some(at) = secrets.iter().position(|s| memmem::find(block, s).is_some()) {
        FINDINGS.set(FINDINGS.get() + 1);
        let trace = Backtrace::force_capture();
        println!("secret {at} in a freed block of {} bytes\n{trace}", block.len());
    }
    SECRETS.set(secrets);
}

// SAFETY: everything is handed on to the system's allocator, for memory that is zero to begin with,
// so that all of a block may be read and no block shows what an earlier one held. `realloc` is the
// trait's own, which frees the old block here.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        search(unsafe { std::slice::from_raw_parts(ptr, layout.size()) });
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// How many blocks with one of `secrets` in them `work` frees. What it takes by value it frees too.
fn findings_in(secrets: &[&[u8]], work: impl FnOnce()) -> usize {
    // Not freed, so that it is not found itself.
    let secrets: Vec<Vec<u8>> = secrets.iter().map(|s| s.to_vec()).collect();
    FINDINGS.set(0);
    SECRETS.set(secrets.leak());
    work();
    SECRETS.set(&[]);
    FINDINGS.get()
}

const KEY: [u8; 32] = *b"\x9a\x01\xfeKEY-OF-CELLS-31-and-more\x80\x7f\xc3\x05\x11";

/// No two pieces of it are alike, and no buffer holds it by chance.
const PLAINTEXT: &[u8] =
    b"\x01\x99meet at the northern harbour at dawn, alone; bring the second key\xfe";
const PIECE: &[u8] = b"northern harbour";
const TEXT: &str = "meet at the northern harbour at dawn";

fn derived(purpose: &str) -> [u8; 32] {
    let salt = format!(
        "Microsoft SQL Server cell {purpose} key with encryption algorithm:\
         AEAD_AES_256_CBC_HMAC_SHA256 and key length:256"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&KEY).unwrap();
    mac.update(&utf16(&salt));
    mac.finalize().into_bytes().into()
}

/// The state of SHA-256 behind the pad of a key, as it lies in memory.
fn hmac_state(key: &[u8; 32], pad: u8) -> Vec<u8> {
    let mut block = [pad; 64];
    block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19u32,
    ];
    compress256(&mut state, &[block]);
    state.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The CEK and all that `CellKey` makes of it, in halves.
fn keys() -> Vec<Vec<u8>> {
    let (encryption, mac, iv) = (derived("encryption"), derived("MAC"), derived("IV"));
    let mut all = vec![KEY.to_vec(), encryption.to_vec(), mac.to_vec(), iv.to_vec()];
    for key in [mac, iv] {
        all.extend([hmac_state(&key, 0x36), hmac_state(&key, 0x5c)]);
    }
    all.iter().flat_map(|key| [key[..16].to_vec(), key[16..].to_vec()]).collect()
}

fn key_findings_in(work: impl FnOnce()) -> usize {
    let keys = keys();
    findings_in(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), work)
}

#[test]
fn what_is_not_wiped_is_found() {
    let (plain, mut grown) = (PLAINTEXT.to_vec(), PLAINTEXT.to_vec());
    assert_eq!(findings_in(&[PIECE], || drop(plain)), 1);
    assert_eq!(findings_in(&[PIECE], || grown.reserve(1 << 16)), 1);
    let key = Box::new(KEY);
    assert_eq!(key_findings_in(|| drop(key)), 1);
    assert_eq!(key_findings_in(|| drop(Box::new(hmac_state(&derived("MAC"), 0x36)))), 1);
    assert_eq!(findings_in(&[PIECE], || drop(vec![1u8; 100])), 0);
    assert_eq!(grown, PLAINTEXT);
}

#[test]
fn a_cek_is_wiped_with_its_clones() {
    let count = key_findings_in(|| {
        let cek = Box::new(Cek::from(KEY));
        let clone = cek.clone();
        drop(cek);
        let ceks = vec![Cek::clone(&clone), Cek::try_from(&KEY[..]).unwrap()];
        println!("{ceks:?}");
        drop(ceks);
    });
    assert_eq!(count, 0);
}

#[test]
fn the_keys_of_cells_are_wiped() {
    let count = key_findings_in(|| {
        let key = std::sync::Arc::new(CellKey::new(&Cek::from(KEY)));
        let cell = key.encrypt(PLAINTEXT, EncryptionType::Deterministic).unwrap();
        assert_eq!(key.decrypt(&cell).unwrap().as_slice(), PLAINTEXT);
        drop(key);
    });
    assert_eq!(count, 0);
}

#[test]
fn what_the_cipher_returns_is_wiped() {
    let key = CellKey::new(&Cek::from(KEY));
    let block = &PLAINTEXT[..16];
    let padding = [0x2C; 16];
    let secrets = [PIECE, block, &padding];
    let count = findings_in(&secrets, || {
        for encryption_type in [EncryptionType::Deterministic, EncryptionType::Randomized] {
            let mut cell = key.encrypt(PLAINTEXT, encryption_type).unwrap();
            drop(key.decrypt(&cell).unwrap());
            cell[1] ^= 1;
            assert!(key.decrypt(&cell).is_err());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_plaintext_with_bad_padding_is_wiped() {
    // PaddingInconsistent of tests/vectors: 0x41, and padding that is none. The tag holds.
    let document: serde_json::Value =
        serde_json::from_str(include_str!("vectors/cell.json")).unwrap();
    let groups = document["testGroups"].as_array().unwrap();
    let tests = groups.iter().flat_map(|g| g["tests"].as_array().unwrap());
    let bad = tests.filter(|t| t["flags"].to_string().contains("\"PaddingInconsistent\""));
    let key = CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)));
    let mut cells = 0;
    for test in bad {
        let text = test["cell"].as_str().unwrap();
        let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        let cell: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        let count = findings_in(&[&[0x41; 8]], || assert!(key.decrypt(&cell).is_err()));
        assert_eq!(count, 0, "{}", test["comment"]);
        cells += 1;
    }
    assert!(cells >= 4);
}

#[test]
fn a_buffer_is_wiped_as_it_grows_moves_and_goes() {
    let count = findings_in(&[PIECE], || {
        let mut buffer = WipedBuffer::default();
        for round in 0..2000 {
            buffer.extend(PLAINTEXT);
            if round % 3 == 0 {
                buffer.consume(PLAINTEXT.len());
            }
            buffer.spare(PLAINTEXT.len()).extend_from_slice(PLAINTEXT);
        }
        buffer.truncate(PLAINTEXT.len() * 100);
        drop(buffer);
        let mut large = WipedBuffer::default();
        for _ in 0..40_000 {
            large.extend(PLAINTEXT);
        }
        large.clear();
    });
    assert_eq!(count, 0);
}

#[test]
fn opening_and_making_an_envelope_leaves_no_key() {
    let cmk = CmkPrivateKey::from_pem(include_str!("fixtures/keystore/pair.key")).unwrap();
    let cek = Cek::from(KEY);
    let mut bytes = Vec::new();
    let count = key_findings_in(|| bytes = Envelope::wrap(&cek, PATH, &cmk).unwrap());
    assert_eq!(count, 0, "wrapping");
    let count = key_findings_in(|| {
        let opened = Envelope::parse(&bytes).unwrap().unwrap_with(&cmk).unwrap();
        assert_eq!(opened.expose(), &KEY);
    });
    assert_eq!(count, 0, "opening");
}

// ---- the session -------------------------------------------------------------------------------

/// Drives a session as `Harness` does, without a copy of what passes.
struct Quiet(Harness);

impl Quiet {
    fn logged_in() -> Self {
        let mut harness = Harness::logged_in();
        harness.has_catalogue = true;
        Self(harness)
    }

    fn app(&mut self, bytes: &[u8], chunk: usize) {
        for piece in bytes.chunks(chunk) {
            self.0.session.receive_from_app(piece, Instant::now());
        }
        self.refuse_catalogue();
    }

    fn server(&mut self, bytes: &[u8], chunk: usize) {
        for piece in bytes.chunks(chunk) {
            self.0.session.receive_from_server(piece, Instant::now());
            self.0.provide_keys();
            self.refuse_catalogue();
        }
    }

    fn refuse_catalogue(&mut self) {
        while asks_catalogue(self.0.session.to_server()) {
            self.sent();
            let refusal = [error(229, "permission denied"), done(2)].concat();
            self.0.session.receive_from_server(&message(REPLY, &refusal), Instant::now());
        }
    }

    /// Takes what waits for the server, in pieces; returns how much it was.
    fn sent(&mut self) -> usize {
        let mut sent = 0;
        while !self.0.session.to_server().is_empty() {
            let len = self.0.session.to_server().len().min(1000);
            self.0.session.sent_to_server(len);
            sent += len;
        }
        sent
    }

    fn taken(&mut self) -> usize {
        let mut taken = 0;
        while !self.0.session.to_app().is_empty() {
            let len = self.0.session.to_app().len().min(1000);
            self.0.session.taken_by_app(len);
            taken += len;
        }
        taken
    }
}

/// Two texts: one that fits its packet, one of many packets.
fn texts() -> [String; 2] {
    [TEXT.to_owned(), TEXT.repeat(3000)]
}

/// The text as the driver gives it and in one byte a character, and the number. Not the keys: the
/// harness makes them on the stack, whence they get into the padding of what is moved.
fn session_findings_in(work: impl FnOnce()) -> usize {
    let wide = utf16("northern harbour");
    findings_in(&[&wide[..16], &wide[16..], PIECE, &SECRET_INT.to_le_bytes()], work)
}

const SECRET_INT: i32 = 0x7E57_5EC1;

const INSERT: &str = "INSERT INTO Messages (Id, Content) VALUES (@P1, @P2)";

fn insert(text: &str, chunk: usize) -> Vec<u8> {
    let params = [Param::int("@P1", SECRET_INT), Param::long_text("@P2", text, chunk)];
    executesql(INSERT, "@P1 int,@P2 nvarchar(max)", &params)
}

fn described() -> Vec<u8> {
    let verdicts = [Verdict::encrypted(1, "@P1", 1, 1), Verdict::encrypted(2, "@P2", 2, 1)];
    message(REPLY, &description(&[(1, TestKey::new(1))], &verdicts))
}

#[test]
fn a_parameter_leaves_nothing() {
    for text in texts() {
        for chunk in [1 << 20, 4096, 997] {
            let (request, answer) = (insert(&text, 3000), described());
            let fine = message(REPLY, &done(0));
            let mut quiet = Quiet::logged_in();
            let count = session_findings_in(|| {
                for round in 0..2 {
                    quiet.app(&request, chunk);
                    if round == 0 {
                        quiet.sent();
                        quiet.server(&answer, chunk);
                    }
                    quiet.0.provide_keys();
                    assert!(quiet.sent() > 2 * text.len(), "round {round}");
                    quiet.server(&fine, chunk);
                    quiet.taken();
                }
                drop(quiet);
            });
            assert_eq!(count, 0, "{} characters in pieces of {chunk}", text.len());
        }
    }
}

#[test]
fn a_parameter_that_is_refused_leaves_nothing() {
    let short = [Param::int("@P1", SECRET_INT), Param::text("@P2", TEXT)];
    // Too long for what is declared, refused by the server's description, and forced but plain.
    let too_long = executesql(INSERT, "@P1 int,@P2 nvarchar(5)", &short);
    let unknown = message(REPLY, &[error(208, "Invalid object name"), done(2)].concat());
    let forced = format!("/* always-encrypted: force @P2 */ {INSERT}");
    let forced = executesql(&forced, "@P1 int,@P2 nvarchar(50)", &short);
    let plain = [Verdict::plain(1, "@P1"), Verdict::plain(2, "@P2")];
    let plain = message(REPLY, &description(&[], &plain));
    let lies = message(REPLY, &description(&[], &[Verdict::encrypted(1, "@P1", 1, 1)]));
    let cases = [(&too_long, described()), (&forced, plain), (&forced, unknown), (&forced, lies)];
    for (at, (request, answer)) in cases.into_iter().enumerate() {
        let mut quiet = Quiet::logged_in();
        let count = session_findings_in(|| {
            quiet.app(request, 512);
            quiet.sent();
            quiet.server(&answer, 512);
            assert!(quiet.taken() > 0, "case {at}");
            drop(quiet);
        });
        assert_eq!(count, 0, "case {at}");
    }
}

#[test]
fn a_connection_that_ends_with_a_request_under_way_leaves_nothing() {
    for text in texts() {
        let request = insert(&text, 3000);
        for len in [request.len() / 2, request.len()] {
            let mut quiet = Quiet::logged_in();
            let count = session_findings_in(|| {
                quiet.app(&request[..len], 4096);
                drop(quiet);
            });
            assert_eq!(count, 0, "{len} bytes");
        }
    }
}

#[test]
fn a_row_leaves_nothing() {
    let key = TestKey::new(1);
    let columns = [
        Col::Encrypted("Id", VARBINARY.to_vec(), 0, INT.to_vec()),
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
        Col::Encrypted("Name", VARBINARY.to_vec(), 0, nvarchar(50)),
    ];
    for text in texts() {
        let id = ushort(&cell(&key, &i64::from(SECRET_INT).to_le_bytes()));
        let content = plp(&cell(&key, &utf16(&text)), 5000);
        let name = ushort(&cell(&key, &utf16(TEXT)));
        let row = row(&[id, content, name]);
        let metadata = col_metadata(Some(std::slice::from_ref(&key)), &columns);
        let response = message(REPLY, &[&metadata[..], &row, &row, &done(0)].concat());
        let select = batch("SELECT Id, Content, Name FROM Messages");
        for chunk in [1 << 20, 4096, 997] {
            for all in [true, false] {
                let mut quiet = Quiet::logged_in();
                let count = session_findings_in(|| {
                    quiet.app(&select, chunk);
                    quiet.sent();
                    let end = if all { response.len() } else { response.len() * 2 / 3 };
                    quiet.server(&response[..end], chunk);
                    if all {
                        assert!(quiet.taken() > 2 * text.len());
                    }
                    drop(quiet);
                });
                assert_eq!(count, 0, "{} characters in pieces of {chunk}, {all}", text.len());
            }
        }
    }
}

#[test]
fn a_row_whose_last_cell_is_bad_leaves_nothing() {
    let key = TestKey::new(1);
    let columns = [
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
        Col::Encrypted("Name", VARBINARY.to_vec(), 0, nvarchar(50)),
    ];
    let mut bad = cell(&key, &utf16(TEXT));
    bad[5] ^= 1;
    // Another type's normal form: it decrypts, and is then refused.
    let odd = cell(&key, &utf16(TEXT)[1..]);
    for last in [bad, odd] {
        let row = row(&[plp(&cell(&key, &utf16(TEXT)), 5000), ushort(&last)]);
        let metadata = col_metadata(Some(std::slice::from_ref(&key)), &columns);
        let response = message(REPLY, &[metadata, row, done(0)].concat());
        let mut quiet = Quiet::logged_in();
        let count = session_findings_in(|| {
            quiet.app(&batch("SELECT Content, Name FROM Messages"), 4096);
            quiet.sent();
            quiet.server(&response, 4096);
            quiet.taken();
            drop(quiet);
        });
        assert_eq!(count, 0);
    }
}

/// COLMETADATA of a bulk load as a driver writes it: an int and an nvarchar(max).
fn load_metadata() -> Vec<u8> {
    let mut load = vec![0x81, 2, 0];
    for (info, name) in [(INT.to_vec(), "Id"), (nvarchar(u16::MAX), "Content")] {
        load.extend([0, 0, 0, 0, 9, 0]);
        load.extend(info);
        load.push(name.len() as u8);
        load.extend(utf16(name));
    }
    load
}

#[test]
fn a_bulk_load_leaves_nothing() {
    const ANNOUNCE: &str = "INSERT BULK dbo.Messages ([Id] int, [Content] nvarchar(max))";
    let columns = [
        Col::Encrypted("Id", VARBINARY.to_vec(), 0, INT.to_vec()),
        Col::Encrypted("Content", VARBINARY_MAX.to_vec(), 0, nvarchar(u16::MAX)),
    ];
    let columns = col_metadata(Some(&[TestKey::new(1)]), &columns);
    let columns = message(REPLY, &[columns, done(0x10)].concat());
    let fine = message(REPLY, &done(0x10));
    for text in texts() {
        let row = row(&[byte(&SECRET_INT.to_le_bytes()), plp(&utf16(&text), 1000)]);
        let whole = [&load_metadata()[..], &row, &row, &done(0)].concat();
        // The second row has a length of an int that no int has.
        let mut broken = [&load_metadata()[..], &row].concat();
        broken.extend([0xD1, 3, 1, 2, 3]);
        broken.extend(plp(&utf16(&text), 1000));
        for load in [whole, broken] {
            let load = message_in(BULK, &load, 600);
            for end in [load.len(), load.len() / 2] {
                let mut quiet = Quiet::logged_in();
                quiet.app(&batch(ANNOUNCE), 4096);
                quiet.sent();
                quiet.server(&columns, 4096);
                quiet.sent();
                quiet.server(&message(REPLY, &done(0)), 4096);
                let count = session_findings_in(|| {
                    quiet.app(&load[..end], 997);
                    quiet.sent();
                    if end == load.len() {
                        quiet.server(&fine, 4096);
                    }
                    quiet.taken();
                    drop(quiet);
                });
                assert_eq!(count, 0, "{} characters, {end} bytes", text.len());
            }
        }
    }
}

/// NULL of a bounded varbinary has two bytes, and eight where it is shown as one of `(max)`.
#[test]
fn a_row_that_grows_by_its_nulls_leaves_nothing() {
    let key = TestKey::new(1);
    let mut columns = vec![Col::Encrypted("Text", VARBINARY.to_vec(), 0, nvarchar(100))];
    let null = || Col::Encrypted("Null", VARBINARY.to_vec(), 0, VARBINARY_MAX.to_vec());
    columns.resize_with(301, null);
    let mut values = vec![vec![0xFF; 2]; columns.len()];
    values[0] = ushort(&cell(&key, &utf16(TEXT)));
    let metadata = col_metadata(Some(&[key]), &columns);
    // The row comes in a packet of its own, so that it goes where nothing else has made room.
    let metadata = message_in(REPLY, &metadata, 8 + metadata.len());
    let row = message(REPLY, &[row(&values), done(0)].concat());
    let mut reply = [metadata, row].concat();
    reply[1] = 0;
    let mut quiet = Quiet::logged_in();
    quiet.app(&batch("SELECT * FROM Messages"), 4096);
    quiet.sent();
    let count = session_findings_in(|| {
        quiet.server(&reply, 4096);
        assert!(quiet.taken() > 300 * 8);
        drop(quiet);
    });
    assert_eq!(count, 0);
}

#[test]
fn an_output_parameter_leaves_nothing() {
    let key = TestKey::new(1);
    let mut request = Param::text("@P1", TEXT);
    request.1 = 1;
    let request = executesql(
        "EXEC dbo.p @P1 OUTPUT",
        "@P1 nvarchar(50) OUTPUT",
        std::slice::from_ref(&request),
    );
    let verdicts = [Verdict::encrypted(1, "@P1", 2, 1)];
    let answer = message(REPLY, &description(&[(1, key.clone())], &verdicts));
    let mut value = vec![0xAC, 1, 0, 3];
    value.extend(utf16("@P1"));
    value.extend([1, 0, 0, 0, 0, 0, 8]);
    value.extend(VARBINARY);
    value.extend([0; 4]);
    value.extend(nvarchar(50));
    value.extend([2, 2, 1]);
    value.extend(ushort(&cell(&key, &utf16(TEXT))));
    let reply = message(REPLY, &[value, done_proc(0)].concat());
    for chunk in [4096, 100] {
        let mut quiet = Quiet::logged_in();
        let count = session_findings_in(|| {
            quiet.app(&request, chunk);
            quiet.sent();
            quiet.server(&answer, chunk);
            quiet.sent();
            quiet.server(&reply, chunk);
            let shown = quiet.0.session.to_app();
            assert!(memmem::find(shown, PIECE_WIDE).is_some(), "{shown:02x?}");
            quiet.taken();
            drop(quiet);
        });
        assert_eq!(count, 0, "in pieces of {chunk}");
    }
}

/// "northern" in UTF-16.
const PIECE_WIDE: &[u8] = b"n\0o\0r\0t\0h\0e\0r\0n\0";

#[test]
fn a_converted_parameter_leaves_nothing() {
    // Declared text of one byte a character; a number that becomes text is none.
    let texts = [TEXT.to_owned(), TEXT.repeat(200)];
    for (text, declaration) in texts.iter().zip(["varchar(50)", "varchar(8000)"]) {
        let params = [Param::int("@P1", SECRET_INT), Param::long_text("@P2", text, 3000)];
        let request = executesql(INSERT, &format!("@P1 bigint,@P2 {declaration}"), &params);
        let answer = described();
        let mut quiet = Quiet::logged_in();
        let count = session_findings_in(|| {
            quiet.app(&request, 997);
            quiet.sent();
            quiet.server(&answer, 997);
            quiet.sent();
            quiet.taken();
            drop(quiet);
        });
        assert_eq!(count, 0, "{declaration}");
    }
}

#[test]
fn settings_leave_no_password() {
    const GOOD: &str = "Server=h;User Id=sa;Password=\"northern harbour\"\"s\";Encrypt=no";
    const ODD: &str = "Server=h;Password=northern harbour at dawn;Pasword=1";
    let count = findings_in(&[PIECE, PIECE_WIDE], || {
        let config = Config::from_ado_string(GOOD).unwrap();
        println!("{config:?}");
        drop(config.clone().password(TEXT).password("x"));
        drop(config);
        assert!(Config::from_ado_string(ODD).is_err());
    });
    assert_eq!(count, 0);
}

/// The private exponent in any form, and the primes as they are encoded. The primes as numbers are
/// left behind by `rsa` 0.10 and `crypto-bigint` 0.7 themselves, whenever they compute: how often is
/// printed, and SECURITY.md says so.
#[test]
fn a_master_key_leaves_neither_exponent_nor_encoding() {
    let pem = include_str!("fixtures/keystore/pair.key");
    let private = rsa::PrivateKey::from_pkcs8_pem(pem).unwrap();
    let piece = |number: &rsa::BoxedUint| {
        let big_endian = number.to_be_bytes();
        big_endian[big_endian.len() / 2..][..16].to_vec()
    };
    let in_limbs = |piece: &[u8]| piece.iter().rev().copied().collect::<Vec<u8>>();
    let d = piece(private.d());
    let encoded: Vec<Vec<u8>> = private.primes().iter().map(|p| piece(p)).collect();
    let numbers: Vec<Vec<u8>> = encoded.iter().map(|p| in_limbs(p)).collect();
    // In the base64 of the file too, wherever its lines break.
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let lines = lines.skip(6).map(|line| line.as_bytes()[..line.len().min(16)].to_vec());
    let mut strict = vec![d.clone(), in_limbs(&d)];
    strict.extend(encoded);
    strict.extend(lines);

    let cek = Cek::from(KEY);
    let bytes = {
        let cmk = CmkPrivateKey::from_pem(pem).unwrap();
        Envelope::wrap(&cek, PATH, &cmk).unwrap()
    };
    for (secrets, is_strict) in [(strict, true), (numbers, false)] {
        let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let mut cmk = None;
        let reading = findings_in(&secrets, || cmk = Some(CmkPrivateKey::from_pem(pem).unwrap()));
        let cmk = cmk.unwrap();
        let signing = findings_in(&secrets, || drop(cmk.sign(b"message").unwrap()));
        let writing = findings_in(&secrets, || drop(cmk.to_pkcs8_pem().unwrap()));
        let opening = findings_in(&secrets, || {
            drop(Envelope::parse(&bytes).unwrap().unwrap_with(&cmk).unwrap());
        });
        let dropping = findings_in(&secrets, || drop(cmk));
        let all = [reading, signing, writing, opening, dropping];
        println!("reading, signing, writing, opening, dropping: {all:?}");
        assert!(!is_strict || all == [0; 5], "{all:?}");
    }
}

#[test]
fn a_password_in_the_login_leaves_nothing() {
    let mut login = vec![0; 94];
    login.extend(utf16(TEXT));
    let len = login.len() as u32;
    login[..4].copy_from_slice(&len.to_le_bytes());
    let login = message(LOGIN7, &login);
    let mut harness = Harness::new(always_encrypted::policy::TrustedKeyPaths::any(), true);
    harness.app(&prelogin());
    let reply = message(REPLY, &login_reply(&ACKNOWLEDGED));
    let count = session_findings_in(|| {
        harness.session.receive_from_app(&login, Instant::now());
        let len = harness.session.to_server().len();
        assert!(len > login.len());
        harness.session.sent_to_server(len);
        harness.session.receive_from_server(&reply, Instant::now());
        drop(harness);
    });
    assert_eq!(count, 0);
}
