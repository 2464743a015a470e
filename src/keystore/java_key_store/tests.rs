use std::fs;

use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::*;
use crate::{
    crypto::{Cek, Envelope, InvalidEnvelope, SignatureForm, cmk_metadata_message},
    keystore::{KeyStoreProvider, RSA_OAEP},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keystore/");
const PASSWORD: &str = "s3cret";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{FIXTURES}{name}")).unwrap()
}

fn hex_fixture(name: &str) -> Vec<u8> {
    let text = String::from_utf8(fixture(name)).unwrap();
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn copied(name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::copy(format!("{FIXTURES}{name}"), &path).unwrap();
    (dir, path)
}

fn store(name: &str) -> JavaKeyStore {
    JavaKeyStore::from_bytes(&fixture(name), PASSWORD).unwrap()
}

fn problem(result: Result<JavaKeyStore, KeyStoreError>) -> KeyFileProblem {
    match result {
        Err(KeyStoreError::UnusableKeyFile(file)) => file.problem,
        other => panic!("{other:?}"),
    }
}

/// The integrity of what was changed, so that the change itself is what is found.
fn resealed(mut data: Vec<u8>) -> Vec<u8> {
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let hash = Sha1::new().chain_update(password).chain_update(b"Mighty Aphrodite");
    let digest = hash.chain_update(&data).finalize();
    data.extend_from_slice(&digest);
    data
}

#[tokio::test]
async fn an_envelope_of_jdbc_opens_from_both_kinds_of_file_by_an_alias_in_any_case() {
    for name in ["java.jks", "java.p12"] {
        let store = store(name);
        for alias in ["Messages", "messages", "MESSAGES"] {
            let envelope = hex_fixture("java.envelope.hex");
            let cek = store.unwrap_cek(alias, "rsa_oaep", &envelope).await.unwrap();
            assert_eq!(cek.expose(), &std::array::from_fn::<u8, 32, _>(|i| i as u8), "{name}");
        }
        let envelope = store.wrap_cek("Messages", RSA_OAEP, &Cek::from([3; 32])).await.unwrap();
        assert_eq!(Envelope::parse(&envelope).unwrap().key_path(), "messages");
        assert!(store.unwrap_cek("messages", RSA_OAEP, &envelope).await.is_ok());
    }
}

#[tokio::test]
async fn a_cmk_signature_is_that_of_jdbc_and_one_over_the_message_is_believed_too() {
    let store = store("java.p12");
    let signature = hex_fixture("java.cmk-signature.hex");
    assert_eq!(store.sign_cmk_metadata("Messages", true).await.unwrap(), signature);
    assert!(store.verify_cmk_metadata("messages", true, &signature).await.unwrap());
    let message = cmk_metadata_message(MSSQL_JAVA_KEYSTORE, "Messages", true);
    let key = store.key("messages").await.unwrap().key;
    let plain = key.sign_as(SignatureForm::OverMessage, &message).unwrap();
    assert!(store.verify_cmk_metadata("Messages", true, &plain).await.unwrap());
    assert!(!store.verify_cmk_metadata("Other", true, &plain).await.is_ok_and(|holds| holds));
}

#[tokio::test]
async fn without_enclave_computations_there_is_no_signature_to_make_or_believe() {
    let store = store("java.jks");
    let error = store.sign_cmk_metadata("Messages", false).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::NoMetadataSignature { .. }), "{error}");
    let signature = hex_fixture("java.cmk-signature.hex");
    assert!(!store.verify_cmk_metadata("Messages", false, &signature).await.unwrap());
}

#[tokio::test]
async fn a_changed_envelope_is_refused_by_its_signature() {
    let mut envelope = hex_fixture("java.envelope.hex");
    let middle = envelope.len() / 2;
    envelope[middle] ^= 1;
    let error = store("java.jks").unwrap_cek("messages", RSA_OAEP, &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
}

#[tokio::test]
async fn a_key_under_its_own_password_says_so_and_stops_no_other() {
    let store = store("java.jks");
    assert_eq!(store.aliases(), ["messages"]);
    assert_eq!(store.skipped(), [("other".to_owned(), KeyFileProblem::KeyPassword)]);
    let error = store.sign_cmk_metadata("other", true).await.unwrap_err();
    assert!(error.to_string().contains("-keypasswd"), "{error}");
    assert!(store.sign_cmk_metadata("messages", true).await.is_ok());
}

#[tokio::test]
async fn an_alias_that_is_not_there_is_told_with_those_that_are() {
    let error = store("java.jks").sign_cmk_metadata("nobody", true).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::KeyNotFound { .. }));
    let text = error.to_string();
    assert!(text.contains("\"messages\", \"other\"") && text.contains("nobody"), "{text}");
    let error = store("java.jks").sign_cmk_metadata(" ", true).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidKeyPath { .. }));
}

#[test]
fn a_wrong_password_a_missing_one_and_a_file_of_another_kind_are_told_apart() {
    use KeyFileProblem as P;
    for name in ["java.jks", "java.p12"] {
        let wrong = problem(JavaKeyStore::from_bytes(&fixture(name), "wrong"));
        assert_eq!(wrong, P::WrongPassword, "{name}");
    }
    let path = Path::new("a.jks");
    let none = Entries::read(path, &fixture("java.jks"), &FilePasswords::none()).err();
    assert_eq!(none, Some(P::NoPassword));
    let jceks = [&[0xCE; 4][..], &fixture("java.jks")[4..]].concat();
    for (bytes, word) in [(jceks.as_slice(), "JCEKS"), (b"hello", "PKCS#12"), (b"", "PKCS#12")] {
        let problem = problem(JavaKeyStore::from_bytes(bytes, PASSWORD));
        assert!(matches!(problem, P::Malformed { .. }), "{problem}");
        assert!(problem.to_string().contains(word), "{problem}");
    }
}

#[test]
fn every_truncation_and_every_changed_byte_is_refused() {
    let bytes = fixture("java.jks");
    for len in 0..bytes.len() {
        assert!(jks_of(&bytes[..len]).is_err(), "{len} bytes");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert!(jks_of(&changed).is_err(), "byte {at}");
    }
}

fn jks_of(bytes: &[u8]) -> Result<usize, KeyFileProblem> {
    super::super::key_file::jks::read(bytes, PASSWORD).map(|entries| entries.len())
}

#[test]
fn lengths_and_counts_that_lie_are_found_although_the_digest_holds() {
    let sealed = fixture("java.jks");
    let data = &sealed[..sealed.len() - 20];
    for (at, lie) in [(4, 3u32), (4, 0), (8, u32::MAX), (8, 4), (8, 1), (12, 3), (12, 0)] {
        let mut data = data.to_vec();
        data[at..at + 4].copy_from_slice(&lie.to_be_bytes());
        let lying = resealed(data);
        let refused = jks_of(&lying).unwrap_err();
        assert!(matches!(refused, KeyFileProblem::Malformed { .. }), "{at} {lie}: {refused}");
    }
    let trailing = resealed([data, &[0]].concat());
    assert!(matches!(jks_of(&trailing), Err(KeyFileProblem::Malformed { .. })));
    for len in 0..data.len() {
        let cut = resealed(data[..len].to_vec());
        assert!(matches!(jks_of(&cut), Err(KeyFileProblem::Malformed { .. })), "{len}");
    }
    assert_eq!(jks_of(&resealed(data.to_vec())), Ok(2));
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_one_that_does_not_is_not() {
    let (dir, path) = copied("java.p12");
    let store = JavaKeyStore::open(&path, FilePasswords::same(PASSWORD)).await.unwrap();
    let times = || store.source.loaded.lock().unwrap().times;
    for _ in 0..5 {
        assert!(store.sign_cmk_metadata("nobody", true).await.is_err());
        assert!(store.sign_cmk_metadata("messages", true).await.is_ok());
    }
    assert_eq!(times(), 1);
    fs::write(&path, b"half a key store").unwrap();
    for _ in 0..5 {
        let error = store.sign_cmk_metadata("messages", true).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::UnusableKeyFile(_)), "{error}");
    }
    assert_eq!(times(), 2, "what failed is not tried again");
    let next = dir.path().join("next");
    fs::copy(format!("{FIXTURES}java.jks"), &next).unwrap();
    fs::rename(&next, &path).unwrap();
    assert!(store.sign_cmk_metadata("messages", true).await.is_ok());
    fs::remove_file(&path).unwrap();
    assert!(store.sign_cmk_metadata("messages", true).await.is_err());
}

#[tokio::test]
async fn a_wrong_password_is_tried_again_when_its_file_changes() {
    let (dir, path) = copied("java.jks");
    let file = dir.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let store = JavaKeyStore::open(&path, FilePasswords::in_file(&file)).await.unwrap();
    fs::write(&file, "wrong").unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert!(store.sign_cmk_metadata("messages", true).await.is_err());
    fs::write(&file, PASSWORD).unwrap();
    assert!(store.sign_cmk_metadata("messages", true).await.is_ok());
}

#[test]
fn callers_that_wait_for_a_slow_reading_block_neither_the_pool_nor_whoever_looks() {
    use std::{
        sync::{
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
        time::Duration,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    let (_dir, path) = copied("java.jks");
    let (held_up, wait) = mpsc::channel::<()>();
    let (shut, entered) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
    let (is_shut, enter, wait) = (Arc::clone(&shut), Arc::clone(&entered), Mutex::new(wait));
    let passwords = FilePasswords::per_file(move |_| {
        if is_shut.load(Ordering::SeqCst) {
            enter.notify_one();
            // Ends when the sender goes, at the latest with the test.
            let _ = wait.lock().unwrap().recv();
        }
        Some(zeroize::Zeroizing::new(PASSWORD.to_owned()))
    });
    runtime.block_on(async move {
        let store = Arc::new(JavaKeyStore::open(&path, passwords).await.unwrap());
        let times = store.source.loaded().times;
        shut.store(true, Ordering::SeqCst);
        fs::write(&path, fixture("java.p12")).unwrap();
        let ask = |_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.sign_cmk_metadata("messages", true).await })
        };
        let calls: Vec<_> = (0..8).map(ask).collect();
        entered.notified().await;
        let other = tokio::task::spawn_blocking(|| ());
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, other).await.expect("a thread is left").unwrap();
        assert!(store.source.loaded.try_lock().is_ok(), "what is known can be looked at");
        assert_eq!(store.aliases(), ["messages"]);
        shut.store(false, Ordering::SeqCst);
        drop(held_up);
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
        assert_eq!(store.source.loaded().times, times + 1, "one reading serves all");
    });
}

#[test]
fn a_file_that_the_password_does_not_vouch_for_is_warned_of() {
    let sealed = fixture("java.p12");
    assert_eq!(*JavaKeyStore::from_bytes(&sealed, PASSWORD).unwrap().warnings(), []);
    let open = pkcs12::without_mac(&sealed);
    let store = JavaKeyStore::from_bytes(&open, PASSWORD).unwrap();
    assert_eq!(store.aliases(), ["messages"]);
    assert!(matches!(*store.warnings(), [KeyFileWarning::Unauthenticated { .. }]));
}

#[cfg(unix)]
#[tokio::test]
async fn the_name_of_a_key_store_forges_no_line_in_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys\n12:00 INFO all is well \u{1b}[2K\u{202e}");
    fs::copy(format!("{FIXTURES}java.jks"), &path).unwrap();
    let store = JavaKeyStore::open(&path, FilePasswords::same(PASSWORD)).await.unwrap();
    let text = store.sign_cmk_metadata("nobody", true).await.unwrap_err().to_string();
    assert!(text.contains(r"keys\n12:00"), "{text:?} does not tell which");
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_it() {
    let error = JavaKeyStore::open("/nowhere/keys.jks", FilePasswords::none()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/keys.jks"), "{error}");
}

#[tokio::test]
async fn a_new_key_store_serves_its_alias_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.p12");
    let create = |alias: &'static str, bits| {
        JavaKeyStore::create(path.clone(), FilePasswords::same(PASSWORD), alias, bits)
    };
    assert!(matches!(create("a", 1024).await, Err(KeyStoreError::KeySize { bits: 1024 })));
    assert!(create("", 2048).await.is_err());
    assert!(!path.exists());
    let store = create("Messages", 2048).await.unwrap();
    assert_eq!(store.aliases(), ["messages"]);
    assert_eq!(*store.warnings(), []);
    let before = fs::read(&path).unwrap();
    let error = create("Messages", 2048).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::Io { kind: std::io::ErrorKind::AlreadyExists, .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
    let none = JavaKeyStore::create(dir.path().join("b"), FilePasswords::none(), "a", 2048).await;
    assert_eq!(problem(none), KeyFileProblem::NoPassword);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn debug_shows_no_password() {
    let text = format!("{:?}", store("java.jks"));
    assert!(text.contains("messages") && !text.contains(PASSWORD), "{text}");
}

#[test]
fn a_parser_that_panics_takes_nobody_along() {
    let refused = guarded(|| panic!("a byte that nobody thought of")).err();
    assert!(matches!(refused, Some(KeyFileProblem::Malformed { .. })), "{refused:?}");
}
