//! No `Debug` shows a secret: every public type that holds one is shown, and the text is searched for
//! it in every form in which bytes are written. And no two randomized cells have one IV.

mod support;

use std::{
    collections::HashSet,
    fmt::{Debug, Write},
    sync::Arc,
    time::Instant,
};

use always_encrypted::{
    Config, Connector,
    client::CertificateSource,
    crypto::{Cek, CellKey, CmkPrivateKey, EncryptionType, Envelope},
    keystore::{CertificateDirectory, FilePasswords, InMemoryKeyStore, KeyStores, RSA_OAEP},
    tds::{Reader, ReplyTokens, ReturnValue, RpcMessage, WipedBuffer},
    value::{Length, SqlType, normalize},
};
use support::*;
use tiberius::AuthMethod;

/// Neither text nor bytes that anything else shows.
const KEY: [u8; 32] = *b"\x9a\x01\xfeKEY-OF-CELLS-31-and-more\x80\x7f\xc3\x05\x11";
const TEXT: &str = "northern harbour at dawn";

/// Pieces of `secret` in every form that it could be shown in, each of at least six bytes of it.
fn forms(secret: &[u8]) -> Vec<String> {
    let piece = &secret[..secret.len().min(8)];
    let joined = |separator: &str, byte: &dyn Fn(&u8) -> String| {
        piece.iter().map(byte).collect::<Vec<_>>().join(separator)
    };
    let mut forms = vec![
        joined(", ", &|b| b.to_string()),
        joined(", ", &|b| format!("{b:x}")),
        joined(", ", &|b| format!("{b:02x}")),
        joined(", ", &|b| format!("{b:#x}")),
        joined(", ", &|b| format!("{b:#04x}")),
        joined("", &|b| format!("{b:02x}")),
        joined(":", &|b| format!("{b:02x}")),
        piece.escape_ascii().to_string(),
        String::from_utf8_lossy(secret).into_owned(),
        format!("{:?}", String::from_utf8_lossy(secret)).trim_matches('"').to_owned(),
    ];
    if secret.len() >= 16 {
        // UTF-16 shown as text.
        let units: Vec<u16> =
            secret.as_chunks::<2>().0.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
        forms.push(String::from_utf16_lossy(&units));
    }
    forms.extend(base64(secret));
    forms
}

/// The middle of the base64 of `secret`, wherever it begins within three bytes.
fn base64(secret: &[u8]) -> Vec<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |bytes: &[u8]| {
        let groups = bytes.as_chunks::<3>().0.iter();
        let digits = groups.flat_map(|&[a, b, c]| {
            let bits = u32::from_be_bytes([0, a, b, c]);
            [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize] as char)
        });
        digits.take(8).collect::<String>()
    };
    (0..3).filter(|&skip| secret.len() >= skip + 6).map(|skip| encode(&secret[skip..])).collect()
}

/// The form of `secret` that `text` shows, if any: however it is broken into lines, and in either case.
fn shows(text: &str, secret: &[u8]) -> Option<String> {
    let fold = |text: &str| text.to_lowercase().split_whitespace().collect::<String>();
    let text = fold(text);
    forms(secret).iter().map(|form| fold(form)).find(|form| form.len() >= 6 && text.contains(form))
}

/// `{:?}` and `{:#?}` of `value` hold none of `secrets`.
#[track_caller]
fn assert_hides(what: &str, value: &dyn Debug, secrets: &[&[u8]]) {
    let mut text = format!("{value:?}");
    write!(text, "\n{value:#?}\n{value:x?}\n{value:X?}").unwrap();
    for secret in secrets {
        if let Some(form) = shows(&text, secret) {
            panic!("{what} shows {form:?}:\n{text}");
        }
    }
    assert!(!text.is_empty());
}

#[test]
fn the_search_finds_what_is_shown() {
    let text = TEXT.to_owned();
    let shown: [&dyn Debug; 6] =
        [&KEY, &KEY.to_vec(), &Some(&KEY[..]), &text, &text.as_bytes(), &utf16(TEXT)];
    let secrets = [&KEY[..], &KEY, &KEY, text.as_bytes(), text.as_bytes(), &utf16(TEXT)];
    for (value, secret) in shown.into_iter().zip(secrets) {
        for text in [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}")] {
            assert!(shows(&text, secret).is_some(), "{text}");
        }
    }
    assert!(shows("x mgH+S0VZLU9G x", &KEY).is_some(), "{:?}", base64(&KEY));
    assert!(shows("9A01FE4B45592D4F", &KEY).is_some());
    assert!(shows("Cek(..)", &KEY).is_none());
}

#[test]
fn keys_are_not_shown() {
    let cek = Cek::from(KEY);
    let cell_key = CellKey::new(&cek);
    assert_hides("Cek", &cek, &[&KEY]);
    assert_hides("a Cek among others", &vec![Some(cek.clone())], &[&KEY]);
    // What is derived from it: the first of its bytes, from a key of which the vectors know them.
    let known = CellKey::new(&Cek::from(std::array::from_fn(|i| i as u8)));
    let derived: [&[u8]; 3] = [
        &[0x6c, 0x00, 0x21, 0xc6, 0xbd, 0xb8, 0x6c, 0xa2],
        &[0xa9, 0x35, 0x1d, 0xf2, 0xfd, 0x2a, 0x87, 0x57],
        &[0x7b, 0x1e, 0xe9, 0xe7, 0x32, 0x24, 0x48, 0xdb],
    ];
    assert_hides("CellKey", &known, &derived);
    assert_eq!(format!("{cell_key:?}"), "CellKey(..)");

    let pem = include_str!("fixtures/keystore/pair.key");
    let cmk = CmkPrivateKey::from_pem(pem).unwrap();
    // Nothing but the length: neither prime nor exponent has a place in so short a text.
    assert_eq!(format!("{cmk:?}"), "CmkPrivateKey(2048 bits, ..)");
    let bytes = Envelope::wrap(&cek, PATH, &cmk).unwrap();
    assert_hides("Envelope", &Envelope::parse(&bytes).unwrap(), &[&KEY]);
    let broken = Envelope::parse(&bytes[..bytes.len() - 1]).unwrap().unwrap_with(&cmk);
    assert_hides("InvalidEnvelope", &broken, &[&KEY]);

    let plaintext =
        cell_key.decrypt(&cell_key.encrypt(&KEY, EncryptionType::Randomized).unwrap()).unwrap();
    assert_eq!(plaintext.as_slice(), KEY);
    let request = KeyRequestOf(&bytes);
    assert_hides("an encrypted value", &request.value(), &[&KEY, request.0]);
}

struct KeyRequestOf<'a>(&'a [u8]);

impl KeyRequestOf<'_> {
    fn value(&self) -> always_encrypted::session::KeyRequest {
        let value = always_encrypted::keystore::EncryptedCekValue {
            envelope: self.0.to_vec(),
            provider_name: PROVIDER.to_owned(),
            key_path: PATH.to_owned(),
            algorithm: RSA_OAEP.to_owned(),
        };
        always_encrypted::session::KeyRequest { id: 1, values: vec![value] }
    }
}

#[tokio::test]
async fn key_stores_show_no_key_and_no_password() {
    let cmk = CmkPrivateKey::from_pem(include_str!("fixtures/keystore/pair.key")).unwrap();
    let envelope = Envelope::wrap(&Cek::from(KEY), PATH, &cmk).unwrap();
    let store = InMemoryKeyStore::new(PROVIDER).with_key(PATH, cmk);
    assert_hides("InMemoryKeyStore", &store, &[&KEY]);
    let builder = KeyStores::builder().provider(store);
    assert_hides("KeyStoresBuilder", &builder, &[&KEY]);
    let stores = builder.build().unwrap();
    let value = KeyRequestOf(&envelope).value().values.remove(0);
    let cell_key = stores.cell_key(&[value]).await.unwrap();
    assert_eq!(stores.statistics().unwraps, 1, "the key is in the cache");
    assert_hides("KeyStores with a key in its cache", &stores, &[&KEY]);
    assert_hides("the key", &cell_key, &[&KEY]);

    let secret = TEXT.as_bytes();
    let per_file = FilePasswords::per_file(|_| Some(TEXT.to_owned().into()));
    for passwords in [FilePasswords::same(TEXT), per_file] {
        assert_hides("FilePasswords", &passwords, &[secret]);
        let folder = tempfile::tempdir().unwrap();
        let directory = CertificateDirectory::open_with(folder.path(), passwords).await.unwrap();
        assert_hides("CertificateDirectory", &directory, &[secret]);
    }
}

#[test]
fn settings_show_no_password() {
    let secret = TEXT.as_bytes();
    let text = format!("Server=localhost;User Id=sa;Password={TEXT}");
    let config = Config::from_ado_string(&text).unwrap();
    assert_hides("Config", &config, &[secret]);
    assert_hides("Config", &Config::new().server("h").user("sa").password(TEXT), &[secret]);
    let method = AuthMethod::sql_server("sa", TEXT);
    let with_method = Config::new().server("h").authentication(method);
    assert_hides("Config with a method", &with_method, &[secret]);
    let with_token = Config::new().server("h").authentication(AuthMethod::aad_token(TEXT));
    assert_hides("Config with a token", &with_token, &[secret]);
    let connector = Connector::new(config, KeyStores::builder().build().unwrap()).unwrap();
    assert_hides("Connector", &connector, &[secret]);

    for wrong in [
        format!("Server=h;User Id=sa;Password={TEXT};Nonsense=1"),
        format!("Server=h;User Id=sa;Password={TEXT};Encrypt=perhaps"),
        format!("Server=h;User Id=sa;Password=\"{TEXT}"),
        format!("Server=h;Password=x;Password={TEXT};Integrated Security=true"),
        format!("Password={TEXT}"),
        format!("Server=h;User Id=sa;Pasword={TEXT}"),
    ] {
        let result = Config::from_ado_string(&wrong).and_then(|c| c.validate().map(|()| c));
        assert_hides(&wrong, &result, &[secret]);
        if let Err(error) = result {
            assert!(!error.to_string().contains(TEXT), "{error}");
        }
    }
    let pem = format!("-----BEGIN CERTIFICATE-----\n{TEXT}");
    assert_hides("CertificateSource", &CertificateSource::from(pem), &[secret]);
}

#[test]
fn what_carries_values_shows_none() {
    let (wide, narrow) = (utf16(TEXT), TEXT.as_bytes());
    let secrets: [&[u8]; 2] = [&wide, narrow];

    let mut buffer = WipedBuffer::default();
    buffer.extend(narrow);
    assert_hides("WipedBuffer", &buffer, &secrets);

    let params = [Param::text("@P1", TEXT), Param::long_text("@P2", TEXT, 10)];
    let request = executesql("SELECT @P1, @P2", "@P1 nvarchar(50),@P2 nvarchar(max)", &params);
    let payload = messages(&request).remove(0).1;
    let mut reader = Reader::new(&wide);
    assert_hides("Reader", &reader, &secrets);
    reader.u8("a byte").unwrap();
    assert_hides("Reader", &reader, &[&wide[1..]]);
    let message = RpcMessage::read(&payload).unwrap();
    assert_hides("RpcMessage", &message, &secrets);
    assert_hides("RpcRequest", &message.requests[0], &secrets);
    for parameter in &message.requests[0].parameters {
        assert_hides("Parameter", parameter, &secrets);
    }

    let columns = [Col::Plain("c", nvarchar(50)), Col::Plain("b", VARBINARY.to_vec())];
    let reply = [col_metadata(Some(&[]), &columns), row(&[ushort(&wide), ushort(narrow)])].concat();
    let mut tokens = ReplyTokens::new(&reply);
    assert_hides("ReplyTokens", &tokens, &secrets);
    let mut seen = 0;
    while let Some(token) = tokens.next_token().unwrap() {
        assert_hides("ReplyToken", &token, &secrets);
        seen += 1;
    }
    assert_eq!(seen, 2);

    let mut value = vec![0xAC, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    value.extend(nvarchar(50));
    value.extend(ushort(&wide));
    let value = ReturnValue::read(&value).unwrap().unwrap();
    assert_eq!(value.data.as_deref(), Some(&wide[..]));
    assert_hides("ReturnValue", &value, &secrets);
    let other = [vec![0xAA], ushort(narrow)].concat();
    let mut other = ReplyTokens::new(&other);
    assert_hides("another token", &other.next_token(), &secrets);

    let too_long = SqlType::NVarChar(Length::Bounded(3));
    let mut out = Vec::new();
    assert_hides("ValueError", &normalize(too_long, &wide, &mut out), &secrets);
}

#[test]
fn a_session_shows_nothing_of_what_passes() {
    let (wide, narrow) = (utf16(TEXT), TEXT.as_bytes());
    let secrets: [&[u8]; 4] = [&wide, narrow, &[1; 32], &[2; 32]];
    let mut harness = Harness::logged_in();
    let key = TestKey::new(1);
    let params = [Param::int("@P1", 7), Param::text("@P2", TEXT)];
    let insert = "INSERT INTO T (Id, C) VALUES (@P1, @P2)";
    // Refused, with an error in the log: the value is longer than is declared.
    for declarations in ["@P1 int,@P2 nvarchar(50)", "@P1 int,@P2 nvarchar(3)"] {
        harness.app(&executesql(insert, declarations, &params));
        assert_hides("Session that asks", &harness.session, &secrets);
        let verdicts = [Verdict::plain(1, "@P1"), Verdict::encrypted(2, "@P2", 2, 1)];
        let answer = message(REPLY, &description(&[(1, key.clone())], &verdicts));
        harness.session.receive_from_server(&answer, Instant::now());
        assert_hides("Session that fetches keys", &harness.session, &secrets);
        harness.provide_keys();
        assert_hides("Session that sends", &harness.session, &secrets);
        harness.drain_to_server();
        harness.server(&message(REPLY, &done(0)));
    }
    harness.app(&batch("SELECT C FROM T"));
    let columns = [Col::Encrypted("C", VARBINARY.to_vec(), 0, nvarchar(50))];
    let rows = [
        col_metadata(Some(std::slice::from_ref(&key)), &columns),
        row(&[ushort(&cell(&key, &wide))]),
        row(&[ushort(&cell(&key, &wide[1..]))]),
    ];
    let rows = message(REPLY, &[&rows.concat()[..], &done(0)].concat());
    harness.session.receive_from_server(&rows, Instant::now());
    harness.provide_keys();
    assert_hides("Session with rows", &harness.session, &secrets);
    assert_hides("MetadataCache", &harness.cache, &secrets);
    assert_hides("ErrorLog", &harness.errors, &secrets);
    let pending: Arc<_> = harness.cache.clone();
    assert_hides("MetadataCache", &pending, &secrets);
}

/// IVs are random, and there are enough bits in them: by chance a pair is alike once in 10^26 runs.
#[test]
fn a_million_randomized_cells_have_as_many_ivs() {
    const CELLS: usize = 1_000_000;
    let key = Arc::new(CellKey::new(&Cek::from(KEY)));
    // Each thread has a generator of its own; they must not begin alike.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let key = key.clone();
            std::thread::spawn(move || {
                let mut out = [0; 65];
                let mut ivs = Vec::with_capacity(CELLS / 4);
                for _ in 0..CELLS / 4 {
                    key.encrypt_into(b"same", EncryptionType::Randomized, &mut out).unwrap();
                    ivs.push(u128::from_le_bytes(out[33..49].try_into().unwrap()));
                }
                ivs
            })
        })
        .collect();
    let ivs: Vec<u128> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    assert_eq!(ivs.iter().collect::<HashSet<_>>().len(), CELLS);
    // No bit stands still or leans: half of ten thousand, give or take seven standard deviations.
    for bit in 0..128 {
        let ones = ivs.iter().step_by(100).filter(|&&iv| iv >> bit & 1 == 1).count();
        assert!(ones.abs_diff(5000) < 350, "bit {bit}: {ones}");
    }
}
