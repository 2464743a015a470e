use std::fs;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::{
    crypto::{Cek, CmkError, Envelope, InvalidEnvelope},
    keystore::{
        CmkCertificate, KeyFileProblem, KeyStoreProvider, MSSQL_CNG_STORE, RSA_OAEP,
        key_file::{MAX_FILE_LEN, write},
    },
};

mod planted;
mod warnings;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keystore/");
const PASSWORD: &str = "s3cret";
const MODERN: &str = "F5164E4BC85BCAE67EB678D83D7BD0009F55B804";
const LEGACY: &str = "142F0312C92493C4C164323ED3F5D05585166880";
const PAIR: &str = "18D8A1AAA133E3ABB00D471337BDC0CC2350BB97";

/// A directory with copies of fixtures, each under the name that it is to have.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (fixture, name) in files {
        add(&dir, fixture, name);
    }
    dir
}

fn add(dir: &TempDir, fixture: &str, name: &str) {
    fs::copy(format!("{FIXTURES}{fixture}"), dir.path().join(name)).unwrap();
}

async fn open(dir: &TempDir) -> CertificateDirectory {
    CertificateDirectory::open_with(dir.path(), FilePasswords::same(PASSWORD)).await.unwrap()
}

/// The thumbprints and the problems of a directory with these fixtures.
async fn contents(files: &[(&str, &str)]) -> (Vec<String>, Vec<KeyFileProblem>) {
    let dir = directory(files);
    let store = open(&dir).await;
    let problems = store.skipped().iter().map(|file| file.problem.clone()).collect();
    (store.thumbprints().iter().map(Thumbprint::to_string).collect(), problems)
}

fn hex_fixture(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(format!("{FIXTURES}{name}")).unwrap();
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[tokio::test]
async fn an_envelope_that_openssl_made_opens_by_every_form_of_the_path() {
    let dir = directory(&[("modern.pfx", "modern.pfx")]);
    let store = open(&dir).await;
    let envelope = hex_fixture("modern.envelope.hex");
    for path in [
        format!("CurrentUser/My/{MODERN}"),
        format!("localmachine/my/{}", MODERN.to_lowercase()),
        format!("My/{MODERN}"),
        MODERN.to_owned(),
    ] {
        let cek = store.unwrap_cek(&path, "rsa_oaep", &envelope).await.unwrap();
        let expected: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(cek.expose(), &expected);
    }
}

#[tokio::test]
async fn a_cmk_signature_that_openssl_made_verifies_and_ours_is_the_same() {
    let dir = directory(&[("modern.pfx", "modern.pfx")]);
    let store = open(&dir).await;
    let path = format!("CurrentUser/My/{MODERN}");
    let signature = hex_fixture("modern.cmk-signature.hex");
    assert!(store.verify_cmk_metadata(&path, true, &signature).await.unwrap());
    assert!(!store.verify_cmk_metadata(&path, false, &signature).await.unwrap());
    assert_eq!(store.sign_cmk_metadata(&path, true).await.unwrap(), signature);
    let renamed = open(&dir).await.named("ANOTHER_NAME");
    assert!(!renamed.verify_cmk_metadata(&path, true, &signature).await.unwrap());
}

#[tokio::test]
async fn a_changed_envelope_is_refused_by_its_signature() {
    let dir = directory(&[("modern.pfx", "modern.pfx")]);
    let store = open(&dir).await;
    let mut envelope = hex_fixture("modern.envelope.hex");
    let middle = envelope.len() / 2;
    envelope[middle] ^= 1;
    let error = store.unwrap_cek(MODERN, RSA_OAEP, &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
}

#[tokio::test]
async fn the_envelope_carries_the_path_as_it_was_given() {
    let dir = directory(&[("modern.pfx", "modern.pfx")]);
    let store = open(&dir).await;
    let path = format!("CurrentUser/my/{}", MODERN.to_lowercase());
    let envelope = store.wrap_cek(&path, RSA_OAEP, &Cek::from([3; 32])).await.unwrap();
    assert_eq!(Envelope::parse(&envelope).unwrap().key_path(), path);
    assert!(store.unwrap_cek(MODERN, RSA_OAEP, &envelope).await.is_ok());
}

#[tokio::test]
async fn every_kind_of_key_file_is_read() {
    for files in [
        &[("pair.crt", "a.crt"), ("pair.key", "a.key")][..],
        &[("pair.crt", "a.CER"), ("pair-pkcs1.key", "a.KEY")],
        &[("pair.crt", "a.pem"), ("pair-encrypted.key", "a.key")],
        &[("pair.crt", "a.b.crt"), ("pair.key", "a.b.pem")],
    ] {
        assert_eq!(contents(files).await, (vec![PAIR.into()], vec![]), "{files:?}");
    }
    assert_eq!(contents(&[("legacy.pfx", "old.P12")]).await, (vec![LEGACY.into()], vec![]));
    assert_eq!(contents(&[("modern.pfx", "new.pfx")]).await, (vec![MODERN.into()], vec![]));
}

#[tokio::test]
async fn one_pem_file_may_hold_both_with_text_between_and_der_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(format!("{FIXTURES}{name}")).unwrap();
    let both = format!(
        "Bag Attributes\r\n{}subject=CN\n{}{}\n",
        read("pair.key"),
        read("modern.crt"),
        read("pair.crt").replace('\n', "\r\n"),
    );
    fs::write(dir.path().join("both.pem"), both).unwrap();
    assert_eq!(open(&dir).await.thumbprints(), [PAIR.parse().unwrap()]);

    let dir = tempfile::tempdir().unwrap();
    for (name, to) in
        [("pair.crt", "a.cer"), ("pair-encrypted.key", "a.key"), ("pair-pkcs1.key", "b.key")]
    {
        let text = read(name);
        let (_, der) = x509_cert::der::pem::decode_vec(text.as_bytes()).unwrap();
        fs::write(dir.path().join(to), der).unwrap();
    }
    fs::copy(dir.path().join("a.cer"), dir.path().join("b.cer")).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap()]);
    assert!(store.skipped().is_empty(), "{:?}", store.skipped());
}

#[tokio::test]
async fn a_file_that_gives_no_key_says_why() {
    use KeyFileProblem as P;
    for (files, problem) in [
        (&[("pair.crt", "a.crt"), ("pair-legacy-encrypted.key", "a.key")][..], P::OldEncryptedPem),
        (&[("modern.crt", "a.crt"), ("pair.key", "a.key")], P::KeyMismatch),
        (&[("pair.crt", "a.crt")], P::NoPrivateKey),
        (&[("pair.crt", "a.crt"), ("pair.key", "b.key")], P::NoPrivateKey),
        (&[("pair.key", "a.key")], P::NoCertificate),
        (&[("nokey.pfx", "a.pfx")], P::NoPrivateKey),
        (&[("ec.pfx", "a.pfx")], P::NotRsa),
        (&[("short.pfx", "a.pfx")], P::Key(CmkError::ModulusTooSmall { bits: 1024 })),
    ] {
        let (thumbprints, problems) = contents(files).await;
        assert!(thumbprints.is_empty(), "{files:?}");
        assert_eq!(problems[0], problem, "{files:?}");
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_named_by_its_file() {
    let dir = directory(&[("modern.crt", "right.crt"), ("pair.key", "right.key")]);
    let store = open(&dir).await;
    let error = store.unwrap_cek(MODERN, RSA_OAEP, &hex_fixture("modern.envelope.hex")).await;
    let Err(KeyStoreError::UnusableKeyFile(file)) = error else { panic!("{error:?}") };
    assert_eq!(file.problem, KeyFileProblem::KeyMismatch);
    assert_eq!(file.path, dir.path().join("right.crt"));
}

#[tokio::test]
async fn a_bad_file_does_not_stop_the_others_and_is_named_when_a_key_is_missing() {
    let dir = directory(&[("modern.pfx", "good.pfx"), ("pair.crt", "alone.crt")]);
    fs::write(dir.path().join("junk.pfx"), [0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]).unwrap();
    fs::write(dir.path().join("junk.pem"), "-----BEGIN PRIVATE KEY-----\n????\n-----END").unwrap();
    fs::write(dir.path().join("empty.key"), "").unwrap();
    let huge = fs::File::create(dir.path().join("huge.pfx")).unwrap();
    huge.set_len(MAX_FILE_LEN + 1).unwrap();
    fs::create_dir(dir.path().join("folder.pfx")).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [MODERN.parse().unwrap()]);

    let missing = format!("LocalMachine/My/{LEGACY}");
    let error = store.sign_cmk_metadata(&missing, true).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::KeyNotFound { .. }));
    let text = error.to_string();
    let directory = dir.path().display().to_string();
    for part in [
        missing.as_str(),
        MSSQL_CERTIFICATE_STORE,
        directory.as_str(),
        "junk.pfx",
        "junk.pem",
        "empty.key",
        "huge.pfx",
        "alone.crt",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("good.pfx") && !text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn truncated_and_damaged_files_are_problems_and_no_panics() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(format!("{FIXTURES}modern.pfx")).unwrap();
    for (i, at) in (0..bytes.len()).step_by(97).enumerate() {
        fs::write(dir.path().join(format!("short{i}.pfx")), &bytes[..at]).unwrap();
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        fs::write(dir.path().join(format!("damaged{i}.pfx")), damaged).unwrap();
    }
    let store = open(&dir).await;
    assert!(store.thumbprints().is_empty());
}

#[tokio::test]
async fn passwords_come_from_a_file_or_by_file_and_a_wrong_one_is_told_from_none() {
    let dir = directory(&[("modern.pfx", "a.pfx"), ("legacy.pfx", "b.pfx")]);
    add(&dir, "pair.crt", "c.crt");
    add(&dir, "pair-encrypted.key", "c.key");
    let problems = async |passwords: FilePasswords| {
        let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
        store.skipped().iter().map(|file| file.problem.clone()).collect::<Vec<_>>()
    };
    let wrong = vec![KeyFileProblem::WrongPassword; 3];
    assert_eq!(problems(FilePasswords::same("wrong")).await, wrong);
    assert_eq!(problems(FilePasswords::none()).await, vec![KeyFileProblem::NoPassword; 3]);

    fs::write(dir.path().join("password"), format!("{PASSWORD}\r\n")).unwrap();
    assert_eq!(problems(FilePasswords::in_file(dir.path().join("password"))).await, []);
    let missing = problems(FilePasswords::in_file(dir.path().join("nowhere"))).await;
    assert!(matches!(&missing[..], [KeyFileProblem::PasswordFile { message }, ..]
        if message.contains("nowhere")));

    let by_file = FilePasswords::per_file(|path| {
        path.ends_with("a.pfx").then(|| Zeroizing::new(PASSWORD.to_owned()))
    });
    assert_eq!(problems(by_file).await, vec![KeyFileProblem::NoPassword; 2]);
}

#[tokio::test]
async fn a_certificate_that_comes_later_is_found_and_one_that_left_is_forgotten() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let store = open(&dir).await;
    assert!(store.sign_cmk_metadata(PAIR, true).await.is_err());
    add(&dir, "pair.crt", "late.crt");
    assert!(matches!(
        store.sign_cmk_metadata(PAIR, true).await,
        Err(KeyStoreError::UnusableKeyFile(_))
    ));
    add(&dir, "pair.key", "late.key");
    assert!(store.sign_cmk_metadata(PAIR, true).await.is_ok());
    fs::remove_file(dir.path().join("a.pfx")).unwrap();
    store.rescan().await.unwrap();
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap()]);
}

#[tokio::test]
async fn unknown_thumbprints_do_not_unlock_the_same_files_again() {
    use std::sync::atomic::AtomicUsize;
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let unlocked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&unlocked);
    let passwords = FilePasswords::per_file(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Some(Zeroizing::new(PASSWORD.to_owned()))
    });
    let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
    for _ in 0..5 {
        assert!(store.sign_cmk_metadata(LEGACY, true).await.is_err());
    }
    assert_eq!(unlocked.load(Ordering::SeqCst), 1);
    assert!(store.sign_cmk_metadata(MODERN, true).await.is_ok());
}

#[tokio::test]
async fn unknown_thumbprints_do_not_unlock_files_that_failed_again() {
    let dir = directory(&[("modern.pfx", "a.pfx"), ("legacy.pfx", "b.pfx")]);
    add(&dir, "pair.crt", "c.crt");
    add(&dir, "pair-encrypted.key", "c.key");
    let password = Arc::new(Mutex::new("wrong"));
    let given = Arc::clone(&password);
    let passwords = FilePasswords::per_file(move |path| {
        let given = *given.lock().unwrap();
        let right = path.ends_with("a.pfx");
        Some(Zeroizing::new(if right { PASSWORD } else { given }.to_owned()))
    });
    let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
    let missing = "00".repeat(Thumbprint::LEN);
    for _ in 0..5 {
        assert!(store.sign_cmk_metadata(&missing, true).await.is_err());
    }
    assert_eq!(store.files.index().loads(), 3, "each once");
    // What might make a difference is tried: another file, another password.
    add(&dir, "pair-encrypted.key", "b.key");
    fs::write(dir.path().join("b.pfx"), "something else").unwrap();
    store.rescan().await.unwrap();
    assert_eq!(store.files.index().loads(), 5);
    *password.lock().unwrap() = PASSWORD;
    store.rescan().await.unwrap();
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap(), MODERN.parse().unwrap()]);
}

#[tokio::test]
async fn a_changed_password_file_has_failed_files_tried_again() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let file = dir.path().join("password");
    fs::write(&file, "wrong").unwrap();
    let passwords = FilePasswords::in_file(&file);
    let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
    store.rescan().await.unwrap();
    assert_eq!((store.thumbprints().len(), store.files.index().loads()), (0, 1));
    fs::write(&file, PASSWORD).unwrap();
    assert!(store.sign_cmk_metadata(MODERN, true).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unknown_thumbprints_have_the_directory_read_now_and_then_only() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let store = open(&dir).await;
    let missing = "00".repeat(Thumbprint::LEN);
    let begun = || store.files.begun.load(Ordering::SeqCst);
    for _ in 0..50 {
        assert!(matches!(
            store.sign_cmk_metadata(&missing, true).await,
            Err(KeyStoreError::KeyNotFound { .. })
        ));
    }
    assert_eq!(begun(), 1 + u64::from(READINGS_IN_A_ROW));
    assert!(store.sign_cmk_metadata(MODERN, true).await.is_ok(), "what is known still serves");
    add(&dir, "pair.crt", "late.crt");
    add(&dir, "pair.key", "late.key");
    assert!(store.sign_cmk_metadata(PAIR, true).await.is_err());
    tokio::time::advance(READING_INTERVAL).await;
    assert!(store.sign_cmk_metadata(PAIR, true).await.is_ok());
}

#[tokio::test]
async fn a_mapped_path_serves_its_certificate_under_the_name_of_another_provider() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let path = "Microsoft Software Key Storage Provider/MyKey";
    let store = open(&dir).await.named(MSSQL_CNG_STORE).with_alias(path, MODERN.parse().unwrap());
    let cek = Cek::from([9; 32]);
    let envelope = store.wrap_cek(path, RSA_OAEP, &cek).await.unwrap();
    assert_eq!(Envelope::parse(&envelope).unwrap().key_path(), path);
    let opened = store.unwrap_cek(&path.to_lowercase(), RSA_OAEP, &envelope).await.unwrap();
    assert_eq!(opened.expose(), cek.expose());
    // A signature of the usual kind is read too; that of these providers nowhere else.
    let usual = open(&dir).await;
    let single = usual.wrap_cek(MODERN, RSA_OAEP, &cek).await.unwrap();
    assert!(store.unwrap_cek(path, RSA_OAEP, &single).await.is_ok());
    let refused = usual.unwrap_cek(MODERN, RSA_OAEP, &envelope).await.unwrap_err();
    assert!(matches!(refused, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
    let unmapped = store.wrap_cek("Another Provider/Key", RSA_OAEP, &cek).await.unwrap_err();
    assert!(matches!(unmapped, KeyStoreError::InvalidKeyPath { .. }));
    let file = usual.sign_cmk_metadata(path, true).await.unwrap_err();
    assert!(matches!(file, KeyStoreError::InvalidKeyPath { .. }));
}

#[tokio::test]
async fn a_derivation_that_would_hold_the_host_up_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pem = fs::read_to_string(format!("{FIXTURES}pair-encrypted.key")).unwrap();
    let (_, mut der) = x509_cert::der::pem::decode_vec(pem.as_bytes()).unwrap();
    // The rounds, 2048, become eight million; the byte that this takes is taken from the salt.
    let rounds = der.windows(4).position(|w| w == [0x02, 0x02, 0x08, 0x00]).unwrap();
    let salt = (0..rounds)
        .rev()
        .find(|&at| der[at] == 0x04 && usize::from(der[at + 1]) == rounds - at - 2);
    let salt = salt.unwrap();
    der[salt + 1] -= 1;
    der.remove(salt + 2);
    der.splice(rounds - 1..rounds + 3, [0x02, 0x03, 0x7f, 0xff, 0xff]);
    fs::write(dir.path().join("a.key"), der).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.skipped()[0].problem, KeyFileProblem::TooCostly);
}

#[tokio::test]
async fn a_new_pfx_serves_and_is_written_only_if_it_would() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let new = NewCmk::new("CMK_1").location(StoreLocation::LocalMachine).file(NewKeyFile::Pfx);
    let path = store.create_cmk_as(new.clone()).await.unwrap();
    assert!(path.to_string().starts_with("LocalMachine/My/"));
    assert_eq!(store.thumbprints(), [path.thumbprint]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    let without = CertificateDirectory::open(dir.path()).await.unwrap();
    let error = without.create_cmk_as(new.clone()).await.unwrap_err();
    assert!(matches!(
        error,
        KeyStoreError::UnusableKeyFile(UnusableKeyFile { problem: KeyFileProblem::NoPassword, .. })
    ));
    for bits in [1024, 2047, 8192] {
        let error = store.create_cmk_as(new.clone().bits(bits)).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::KeySize { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn callers_that_miss_at_once_are_served_by_one_reading() {
    let dir = directory(&[("pair.crt", "a.crt"), ("pair.key", "a.key")]);
    let store = open(&dir).await;
    let files = &store.files;
    let begun = files.begun.load(Ordering::SeqCst);
    let read = async |begun| files.rescan_unless_newer_than(&store.name, begun).await;
    read(begun).await.unwrap();
    read(begun).await.unwrap();
    assert_eq!(files.begun.load(Ordering::SeqCst), begun + 1);
    // A reading that failed serves nobody.
    let moved = dir.path().with_extension("moved");
    fs::rename(dir.path(), &moved).unwrap();
    for _ in 0..2 {
        assert!(read(begun + 1).await.is_err());
    }
    assert!(store.sign_cmk_metadata(PAIR, true).await.is_ok(), "what was known stays");
    fs::rename(&moved, dir.path()).unwrap();
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    let error = CertificateDirectory::open("/nowhere/keys").await.unwrap_err();
    assert!(matches!(&error, KeyStoreError::Io { kind: std::io::ErrorKind::NotFound, .. }));
    assert!(error.to_string().contains("/nowhere/keys"));
}

#[tokio::test]
async fn a_directory_of_too_many_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..=scan::MAX_FILES {
        fs::write(dir.path().join(format!("{i}.txt")), "").unwrap();
    }
    assert!(CertificateDirectory::open(dir.path()).await.is_ok(), "other files do not count");
    for i in 0..=scan::MAX_FILES {
        fs::write(dir.path().join(format!("{i}.key")), "").unwrap();
    }
    let error = CertificateDirectory::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::TooManyFiles { limit: scan::MAX_FILES, .. }));
}

#[tokio::test]
async fn a_path_that_sqlclient_would_refuse_is_refused() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let store = open(&dir).await;
    for path in ["", "CurrentUser/Root/00", "https://vault.azure.net/keys/a"] {
        let error = store.wrap_cek(path, RSA_OAEP, &Cek::from([1; 32])).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidKeyPath { .. }), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_new_key_is_for_its_owner_only_and_serves_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let path = store.create_cmk(StoreLocation::CurrentUser, "CMK_1").await.unwrap();
    assert_eq!(path.location, Some(StoreLocation::CurrentUser));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.path().join(format!("{}.key", path.thumbprint));
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let path = path.to_string();
    let envelope = store.wrap_cek(&path, RSA_OAEP, &Cek::from([9; 32])).await.unwrap();
    let other = CertificateDirectory::open(dir.path()).await.unwrap();
    let cek = other.unwrap_cek(&path, RSA_OAEP, &envelope).await.unwrap();
    assert_eq!(cek.expose(), &[9; 32]);
}

#[test]
fn writing_a_key_overwrites_nothing_and_leaves_no_half() {
    let pem = fs::read_to_string(format!("{FIXTURES}pair.key")).unwrap();
    let key = CmkPrivateKey::from_pem(&pem).unwrap();
    let certificate = CmkCertificate::self_signed(&key, "CMK", Duration::from_secs(60)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files =
        ["crt", "key"].map(|e| dir.path().join(certificate.thumbprint().to_string() + "." + e));
    for (there, not_there) in [(0, 1), (1, 0)] {
        fs::write(&files[there], "precious").unwrap();
        let error = write::pem_pair(dir.path(), &key, &certificate).unwrap_err();
        assert!(matches!(error, KeyStoreError::Io { kind: std::io::ErrorKind::AlreadyExists, .. }));
        assert_eq!(fs::read_to_string(&files[there]).unwrap(), "precious");
        assert!(!files[not_there].exists());
        fs::remove_file(&files[there]).unwrap();
    }
}

#[tokio::test]
async fn debug_shows_no_password() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let text = format!("{:?} {:?}", open(&dir).await, FilePasswords::same(PASSWORD));
    assert!(text.contains(MODERN) && !text.contains(PASSWORD), "{text}");
}
