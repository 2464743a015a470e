//! A driver and a server made of bytes, for tests of the session: written from MS-TDS, with nothing
//! of the library's own reading or writing.
#![allow(dead_code)]

use std::{sync::Arc, time::Instant};

use always_encrypted::{
    crypto::{Cek, CellKey, EncryptionType},
    metadata::MetadataCache,
    policy::TrustedKeyPaths,
    session::{ErrorLog, KeyRequest, Session, SessionConfig},
    tds::prelogin_reply,
};

pub const BATCH: u8 = 0x01;
pub const RPC: u8 = 0x03;
pub const REPLY: u8 = 0x04;
pub const ATTENTION: u8 = 0x06;
pub const BULK: u8 = 0x07;
pub const LOGIN7: u8 = 0x10;
pub const PRELOGIN: u8 = 0x12;

pub const PROVIDER: &str = "TEST_STORE";
pub const PATH: &str = "test/key";

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub fn b_varchar(text: &str) -> Vec<u8> {
    let mut out = vec![text.encode_utf16().count() as u8];
    out.extend(utf16(text));
    out
}

pub fn us_varchar(text: &str) -> Vec<u8> {
    let mut out = (text.encode_utf16().count() as u16).to_le_bytes().to_vec();
    out.extend(utf16(text));
    out
}

/// A message in packets of at most `size` bytes.
pub fn message_in(kind: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let mut chunks: Vec<&[u8]> = payload.chunks(size - 8).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let mut out = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        let len = (chunk.len() + 8) as u16;
        out.extend([kind, u8::from(i + 1 == chunks.len())]);
        out.extend(len.to_be_bytes());
        out.extend([0, 0, (i as u8).wrapping_add(1), 0]);
        out.extend(*chunk);
    }
    out
}

pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    message_in(kind, payload, 4096)
}

/// The messages in a stream of packets: kind and payload.
pub fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut out, mut payload) = (Vec::new(), Vec::new());
    while bytes.len() >= 8 {
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        payload.extend_from_slice(&bytes[8..len]);
        if bytes[1] & 1 == 1 {
            out.push((bytes[0], std::mem::take(&mut payload)));
        }
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty() && payload.is_empty(), "a message is not complete");
    out
}

// ---- what a driver sends --------------------------------------------------------------------

pub fn prelogin() -> Vec<u8> {
    message(PRELOGIN, &[0, 0, 6, 0, 1, 0xFF, 2])
}

pub fn login7() -> Vec<u8> {
    let mut login = vec![0; 94];
    login.extend(utf16("host and user"));
    let len = login.len() as u32;
    login[..4].copy_from_slice(&len.to_le_bytes());
    message(LOGIN7, &login)
}

pub fn all_headers() -> Vec<u8> {
    let mut out = 22u32.to_le_bytes().to_vec();
    out.extend(18u32.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(0x1122_3344u64.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out
}

/// A parameter of a request: name, status, TYPE_INFO, value.
#[derive(Clone)]
pub struct Param(pub &'static str, pub u8, pub Vec<u8>, pub Vec<u8>);

impl Param {
    /// As tiberius sends a string: nvarchar(4000), no collation.
    pub fn text(name: &'static str, text: &str) -> Self {
        let data = utf16(text);
        let mut value = (data.len() as u16).to_le_bytes().to_vec();
        value.extend(data);
        Self(name, 0, vec![0xE7, 0x40, 0x1F, 0, 0, 0, 0, 0], value)
    }

    /// nvarchar(max) in chunks of `chunk` bytes, total unknown.
    pub fn long_text(name: &'static str, text: &str, chunk: usize) -> Self {
        let data = utf16(text);
        let mut value = 0xFFFF_FFFF_FFFF_FFFEu64.to_le_bytes().to_vec();
        for piece in data.chunks(chunk) {
            value.extend((piece.len() as u32).to_le_bytes());
            value.extend(piece);
        }
        value.extend([0; 4]);
        Self(name, 0, vec![0xE7, 0xFF, 0xFF, 0, 0, 0, 0, 0], value)
    }

    pub fn int(name: &'static str, n: i32) -> Self {
        let mut value = vec![4];
        value.extend(n.to_le_bytes());
        Self(name, 0, vec![0x26, 4], value)
    }

    /// A value of a CLR type, in chunks.
    pub fn clr(name: &'static str, [database, schema, type_name]: [&str; 3], value: &[u8]) -> Self {
        let mut type_info = vec![0xF0];
        type_info.extend([b_varchar(database), b_varchar(schema), b_varchar(type_name)].concat());
        Self(name, 0, type_info, plp(value, 3))
    }

    /// NULL as tiberius sends it: without a type.
    pub fn null(name: &'static str) -> Self {
        Self(name, 0, vec![0x1F], vec![])
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(b_varchar(self.0));
        out.push(self.1);
        out.extend(&self.2);
        out.extend(&self.3);
    }
}

pub fn executesql(statement: &str, declarations: &str, params: &[Param]) -> Vec<u8> {
    let mut out = all_headers();
    out.extend([0xFF, 0xFF, 10, 0, 0, 0]);
    for (name, text) in [("stmt", statement), ("params", declarations)] {
        let mut param = Param::text("x", text);
        param.0 = "";
        out.extend(b_varchar(name));
        out.push(0);
        out.extend(&param.2);
        out.extend(&param.3);
    }
    for param in params {
        param.write(&mut out);
    }
    message(RPC, &out)
}

pub fn call(procedure: &str, params: &[Param]) -> Vec<u8> {
    let mut out = all_headers();
    out.extend(us_varchar(procedure));
    out.extend([0, 0]);
    for param in params {
        param.write(&mut out);
    }
    message(RPC, &out)
}

pub fn batch(text: &str) -> Vec<u8> {
    let mut out = all_headers();
    out.extend(utf16(text));
    message(BATCH, &out)
}

// ---- what a server sends --------------------------------------------------------------------

pub fn login_reply(features: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // ENVCHANGE 1: database "db".
    let mut body = vec![1];
    body.extend(b_varchar("db"));
    body.extend(b_varchar("master"));
    out.push(0xE3);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    // ENVCHANGE 7: collation.
    out.extend([0xE3, 8, 0, 7, 5, 9, 4, 0xD0, 0, 0x34, 0]);
    // LOGINACK.
    let mut body = vec![1, 0x74, 0, 0, 4];
    body.extend(b_varchar("test"));
    body.extend([16, 0, 0, 0]);
    out.push(0xAD);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    out.extend(features);
    out.extend(done(0));
    out
}

pub const ACKNOWLEDGED: [u8; 8] = [0xAE, 4, 1, 0, 0, 0, 1, 0xFF];

pub fn done(status: u16) -> Vec<u8> {
    let mut out = vec![0xFD];
    out.extend(status.to_le_bytes());
    out.extend([0; 10]);
    out
}

pub fn error(number: u32, text: &str) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend([1, 16]);
    body.extend(us_varchar(text));
    body.extend(b_varchar("srv"));
    body.extend(b_varchar(""));
    body.extend(1u32.to_le_bytes());
    let mut out = vec![0xAA];
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
    out
}

/// A CEK as both sides know it.
#[derive(Clone)]
pub struct TestKey {
    pub id: u32,
    pub envelope: Vec<u8>,
    pub path: &'static str,
    pub cek: Cek,
}

impl TestKey {
    pub fn new(id: u32) -> Self {
        Self { id, envelope: vec![1, id as u8, 7, 7], path: PATH, cek: Cek::from([id as u8; 32]) }
    }

    pub fn cell_key(&self) -> CellKey {
        CellKey::new(&self.cek)
    }

    fn table_entry(&self) -> Vec<u8> {
        let mut out = 5u32.to_le_bytes().to_vec();
        out.extend(self.id.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend([9; 8]);
        out.push(1);
        out.extend((self.envelope.len() as u16).to_le_bytes());
        out.extend(&self.envelope);
        out.extend(b_varchar(PROVIDER));
        out.extend(us_varchar(self.path));
        out.extend(b_varchar("RSA_OAEP"));
        out
    }
}

/// A column of a result.
pub enum Col {
    /// Name and TYPE_INFO.
    Plain(&'static str, Vec<u8>),
    /// Name, wire TYPE_INFO, ordinal of the key, base TYPE_INFO.
    Encrypted(&'static str, Vec<u8>, u16, Vec<u8>),
}

pub const INT: [u8; 2] = [0x26, 4];
pub const VARBINARY: [u8; 3] = [0xA5, 0x40, 0x1F];
pub const VARBINARY_MAX: [u8; 3] = [0xA5, 0xFF, 0xFF];

pub fn nvarchar(n: u16) -> Vec<u8> {
    let len = if n == u16::MAX { n } else { 2 * n };
    let mut out = vec![0xE7];
    out.extend(len.to_le_bytes());
    out.extend([9, 4, 0xD0, 0, 0x34]);
    out
}

pub fn col_metadata(keys: Option<&[TestKey]>, columns: &[Col]) -> Vec<u8> {
    let mut out = vec![0x81];
    out.extend((columns.len() as u16).to_le_bytes());
    if let Some(keys) = keys {
        out.extend((keys.len() as u16).to_le_bytes());
        for key in keys {
            out.extend(key.table_entry());
        }
    }
    for column in columns {
        out.extend([0; 4]);
        match column {
            Col::Plain(name, type_info) => {
                out.extend([9, 0]);
                out.extend(type_info);
                out.extend(b_varchar(name));
            }
            Col::Encrypted(name, type_info, ordinal, base) => {
                out.extend([9, 8]);
                out.extend(type_info);
                out.extend(ordinal.to_le_bytes());
                out.extend([0; 4]);
                out.extend(base);
                out.extend([2, 2, 1]);
                out.extend(b_varchar(name));
            }
        }
    }
    out
}

pub fn ushort(data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u16).to_le_bytes().to_vec();
    out.extend(data);
    out
}

pub fn byte(data: &[u8]) -> Vec<u8> {
    let mut out = vec![data.len() as u8];
    out.extend(data);
    out
}

/// PLP in chunks of `chunk` bytes.
pub fn plp(data: &[u8], chunk: usize) -> Vec<u8> {
    let mut out = (data.len() as u64).to_le_bytes().to_vec();
    for piece in data.chunks(chunk) {
        out.extend((piece.len() as u32).to_le_bytes());
        out.extend(piece);
    }
    out.extend([0; 4]);
    out
}

pub fn row(values: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0xD1];
    out.extend(values.concat());
    out
}

/// What describe says of one parameter: ordinal, name, algorithm, type, key, norm.
pub struct Verdict(pub i32, pub &'static str, pub u8, pub u8, pub i32, pub u8);

impl Verdict {
    pub fn plain(ordinal: i32, name: &'static str) -> Self {
        Self(ordinal, name, 0, 0, 0, 0)
    }

    pub fn encrypted(ordinal: i32, name: &'static str, kind: u8, key: i32) -> Self {
        Self(ordinal, name, 2, kind, key, 1)
    }
}

fn int(n: i32) -> Vec<u8> {
    byte(&n.to_le_bytes())
}

/// The answer to sp_describe_parameter_encryption, keys with their ordinals.
pub fn description(keys: &[(i32, TestKey)], verdicts: &[Verdict]) -> Vec<u8> {
    let mut out = description_keys(keys);
    out.extend(description_parameters(verdicts));
    out.extend([0x79, 0, 0, 0, 0]);
    out.extend(done(0));
    out
}

pub fn description_keys(keys: &[(i32, TestKey)]) -> Vec<u8> {
    description_keys_for_enclaves(keys, None)
}

/// The keys, with is_requested_by_enclave and column_master_key_signature if they are given.
pub fn description_keys_for_enclaves(
    keys: &[(i32, TestKey)],
    enclave: Option<(Option<bool>, Option<&[u8]>)>,
) -> Vec<u8> {
    let plain = |name, info: &[u8]| Col::Plain(name, info.to_vec());
    let binary8 = [0xAD, 8, 0];
    let mut columns = vec![
        plain("column_encryption_key_ordinal", &INT),
        plain("database_id", &INT),
        plain("column_encryption_key_id", &INT),
        plain("column_encryption_key_version", &INT),
        plain("column_encryption_key_metadata_version", &binary8),
        plain("column_encryption_key_encrypted_value", &VARBINARY),
        Col::Plain("column_master_key_store_provider_name", nvarchar(128)),
        Col::Plain("column_master_key_path", nvarchar(4000)),
        Col::Plain("column_encryption_key_encryption_algorithm_name", nvarchar(128)),
    ];
    if enclave.is_some() {
        columns.push(plain("is_requested_by_enclave", &[0x68, 1]));
        columns.push(plain("column_master_key_signature", &VARBINARY));
    }
    let mut out = col_metadata(Some(&[]), &columns);
    for (ordinal, key) in keys {
        let mut values = vec![
            int(*ordinal),
            int(5),
            int(key.id as i32),
            int(1),
            ushort(&[9; 8]),
            ushort(&key.envelope),
            ushort(&utf16(PROVIDER)),
            ushort(&utf16(key.path)),
            ushort(&utf16("RSA_OAEP")),
        ];
        if let Some((requested, signature)) = enclave {
            values.push(requested.map_or(vec![0], |flag| byte(&[u8::from(flag)])));
            values.push(signature.map_or(vec![0xFF, 0xFF], ushort));
        }
        out.extend(row(&values));
    }
    out.extend([0xFF, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}

pub fn description_parameters(verdicts: &[Verdict]) -> Vec<u8> {
    let tiny = || vec![0x26, 1];
    let columns = [
        Col::Plain("parameter_ordinal", INT.to_vec()),
        Col::Plain("parameter_name", nvarchar(128)),
        Col::Plain("column_encryption_algorithm", tiny()),
        Col::Plain("column_encryption_type", tiny()),
        Col::Plain("column_encryption_key_ordinal", INT.to_vec()),
        Col::Plain("column_encryption_normalization_rule_version", tiny()),
    ];
    let mut out = col_metadata(Some(&[]), &columns);
    for Verdict(ordinal, name, algorithm, kind, key, norm) in verdicts {
        out.extend(row(&[
            int(*ordinal),
            ushort(&utf16(name)),
            byte(&[*algorithm]),
            byte(&[*kind]),
            int(*key),
            byte(&[*norm]),
        ]));
    }
    out.extend([0xFF, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// A column as the catalogue has it: name, type, max_length, precision, scale, code page (0 is none),
/// encryption type (0 is none).
pub struct CatalogueCol(
    pub &'static str,
    pub &'static str,
    pub i32,
    pub i32,
    pub i32,
    pub i32,
    pub i32,
);

/// One result set for each object.
pub fn catalogue(objects: &[&[CatalogueCol]]) -> Vec<u8> {
    let names = ["name", "name", "max_length", "precision", "scale", "", "encryption_type", "", ""];
    let of = |(i, name)| Col::Plain(name, if i < 2 { nvarchar(128) } else { INT.to_vec() });
    let columns: Vec<Col> = names.into_iter().enumerate().map(of).collect();
    let mut out = Vec::new();
    for object in objects {
        out.extend(col_metadata(Some(&[]), &columns));
        for CatalogueCol(name, type_name, length, precision, scale, code_page, kind) in *object {
            let or_null = |n: i32| if n == 0 { byte(&[]) } else { int(n) };
            out.extend(row(&[
                ushort(&utf16(name)),
                ushort(&utf16(type_name)),
                int(*length),
                int(*precision),
                int(*scale),
                or_null(*code_page),
                or_null(*kind),
                int(0),
                int(0),
            ]));
        }
        out.extend([0xFF, 0x11, 0, 0xC1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    out.extend([0x79, 0, 0, 0, 0]);
    out.extend([0xFE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}

/// Whether what is for the server is a question about the catalogue.
pub fn asks_catalogue(bytes: &[u8]) -> bool {
    ["sys.columns c LEFT JOIN", "sys.parameters p LEFT JOIN"].iter().any(|text| {
        let text = utf16(text);
        bytes.windows(text.len()).any(|w| w == text)
    })
}

// ---- a session with its runner --------------------------------------------------------------

pub struct Harness {
    pub session: Session,
    pub errors: Arc<ErrorLog>,
    pub cache: Arc<MetadataCache>,
    pub keys: Vec<TestKey>,
    /// Everything that was ever for the server.
    pub sent: Vec<u8>,
    /// How the bytes are cut on their way in; 0 is not at all.
    pub chop: usize,
    /// Whether the test answers questions about the catalogue; otherwise they are refused.
    pub has_catalogue: bool,
}

impl Harness {
    pub fn new(trusted: TrustedKeyPaths, column_encryption: bool) -> Self {
        Self::with(trusted, column_encryption, Arc::default())
    }

    fn with(trusted: TrustedKeyPaths, column_encryption: bool, cache: Arc<MetadataCache>) -> Self {
        let errors = Arc::new(ErrorLog::default());
        let session = Session::new(
            SessionConfig {
                column_encryption: column_encryption.into(),
                trusted_key_paths: trusted,
                metadata_cache: cache.clone(),
                errors: errors.clone(),
                prelogin_reply: prelogin_reply([16, 0, 0, 0, 0, 0], None, None),
            },
            Instant::now(),
        );
        let keys = vec![TestKey::new(1), TestKey::new(2)];
        Self { session, errors, cache, keys, sent: Vec::new(), chop: 0, has_catalogue: false }
    }

    /// A session that has logged in, with a catalogue that the test speaks for.
    pub fn with_catalogue() -> Self {
        let mut harness = Self::logged_in();
        harness.has_catalogue = true;
        harness
    }

    /// A session that has logged in, with what another knows.
    pub fn beside(other: &Self) -> Self {
        let mut harness = Self::with(TrustedKeyPaths::any(), true, other.cache.clone());
        harness.log_in(&ACKNOWLEDGED);
        harness.has_catalogue = other.has_catalogue;
        harness
    }

    /// A session that has logged in with Always Encrypted.
    pub fn logged_in() -> Self {
        let mut harness = Self::new(TrustedKeyPaths::any(), true);
        harness.log_in(&ACKNOWLEDGED);
        assert!(!harness.session.is_closed());
        harness
    }

    pub fn log_in(&mut self, features: &[u8]) -> Vec<u8> {
        self.app(&prelogin());
        self.app(&login7());
        self.server(&message(REPLY, &login_reply(features)))
    }

    /// The driver writes; returns what is for the server.
    pub fn app(&mut self, bytes: &[u8]) -> Vec<u8> {
        let chunk = if self.chop == 0 { bytes.len().max(1) } else { self.chop };
        for piece in bytes.chunks(chunk) {
            self.session.receive_from_app(piece, Instant::now());
            self.refuse_catalogue();
        }
        self.drain_to_server()
    }

    /// Refuses to answer a question about the catalogue, as a server does that hides it.
    pub fn refuse_catalogue(&mut self) {
        if self.has_catalogue || !asks_catalogue(self.session.to_server()) {
            return;
        }
        let asked = self.drain_to_server();
        let refusal = [error(229, "permission denied"), done(2)].concat();
        self.session.receive_from_server(&message(REPLY, &refusal), Instant::now());
        assert_eq!(messages(&asked).len(), 1);
    }

    /// The server sends; returns what is for the driver. Keys are provided as they are asked for.
    pub fn server(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let chunk = if self.chop == 0 { bytes.len().max(1) } else { self.chop };
        for piece in bytes.chunks(chunk) {
            self.session.receive_from_server(piece, Instant::now());
            self.refuse_catalogue();
            self.provide_keys();
            out.extend(self.drain_to_app());
        }
        out
    }

    pub fn provide_keys(&mut self) {
        loop {
            let requests = self.session.take_key_requests();
            if requests.is_empty() {
                return;
            }
            for KeyRequest { id, values } in requests {
                let found =
                    values.iter().find_map(|v| self.keys.iter().find(|k| k.envelope == v.envelope));
                let key = found
                    .map(|k| Arc::new(k.cell_key()))
                    .ok_or(always_encrypted::keystore::CekError::NoValues);
                self.session.provide_key(id, key, Instant::now());
            }
        }
    }

    pub fn drain_to_server(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while !self.session.to_server().is_empty() {
            out.extend(self.session.to_server());
            self.session.sent_to_server(self.session.to_server().len());
        }
        self.sent.extend(&out);
        out
    }

    pub fn drain_to_app(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while !self.session.to_app().is_empty() {
            out.extend(self.session.to_app());
            self.session.taken_by_app(self.session.to_app().len());
        }
        out
    }

    /// The number of the first error of ours in a response to the driver.
    pub fn error_number(reply: &[u8]) -> Option<u32> {
        let (_, payload) = messages(reply).pop()?;
        let at = payload.iter().position(|&b| b == 0xAA)?;
        Some(u32::from_le_bytes(payload[at + 3..at + 7].try_into().ok()?))
    }

    /// Nothing that was sent holds the text, in either width.
    pub fn assert_never_sent(&self, secret: &str) {
        let holds = |needle: &[u8]| self.sent.windows(needle.len()).any(|w| w == needle);
        assert!(!holds(&utf16(secret)), "{secret:?} was sent as UTF-16");
        assert!(!holds(secret.as_bytes()), "{secret:?} was sent as bytes");
    }

    /// A request goes through in the clear and is answered: the connection is in order.
    pub fn assert_usable(&mut self) {
        let request = batch("SELECT 1");
        assert_eq!(self.app(&request), request, "the next request does not pass");
        let reply = self.server(&message(REPLY, &done(0)));
        assert_eq!(messages(&reply), [(REPLY, done(0))]);
    }
}

pub fn cell(key: &TestKey, plaintext: &[u8]) -> Vec<u8> {
    key.cell_key().encrypt(plaintext, EncryptionType::Randomized).unwrap()
}

// ---- what is prepared -----------------------------------------------------------------------

/// A call by ProcID.
pub fn call_by_id(id: u16, params: &[Param]) -> Vec<u8> {
    message(RPC, &[all_headers(), call_in_message(id, params)].concat())
}

/// A call of a message with several: without ALL_HEADERS.
pub fn call_in_message(id: u16, params: &[Param]) -> Vec<u8> {
    let mut out = vec![0xFF, 0xFF];
    out.extend(id.to_le_bytes());
    out.extend([0, 0]);
    params.iter().for_each(|param| param.write(&mut out));
    out
}

/// RETURNVALUE of an int; `None` is NULL.
pub fn return_int(ordinal: u16, value: Option<i32>) -> Vec<u8> {
    let mut out = vec![0xAC];
    out.extend(ordinal.to_le_bytes());
    out.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(INT);
    out.extend(value.map_or(vec![0], int));
    out
}

pub fn done_proc(status: u16) -> Vec<u8> {
    let mut out = done(status);
    out[0] = 0xFE;
    out
}
