//! What passes through a session.

use super::*;

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
