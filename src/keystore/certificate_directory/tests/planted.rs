//! Files that were put there to do harm, and servers that make the most of them.

use std::sync::{atomic::AtomicBool, mpsc};

use super::*;
use crate::keystore::key_file::pkcs12::{der_value, without_mac};

/// Passwords that are long in coming while it is shut.
struct Gate {
    shut: Arc<AtomicBool>,
    entered: Arc<sync::Notify>,
    held_up: mpsc::Sender<()>,
}

impl Gate {
    fn new() -> (Self, FilePasswords) {
        let (held_up, wait) = mpsc::channel::<()>();
        let gate = Self { shut: Arc::default(), entered: Arc::default(), held_up };
        let (shut, entered) = (Arc::clone(&gate.shut), Arc::clone(&gate.entered));
        let wait = Mutex::new(wait);
        let passwords = FilePasswords::per_file(move |_| {
            if shut.load(Ordering::SeqCst) {
                entered.notify_one();
                // Ends when the gate opens, or the test.
                let _ = wait.lock().unwrap().recv();
            }
            Some(Zeroizing::new(PASSWORD.to_owned()))
        });
        (gate, passwords)
    }

    fn open(self) {
        self.shut.store(false, Ordering::SeqCst);
        drop(self.held_up);
    }
}

#[test]
fn callers_that_wait_for_a_slow_reading_leave_the_blocking_pool_to_others() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let (gate, passwords) = Gate::new();
    runtime.block_on(async move {
        let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
        let store = Arc::new(store);
        gate.shut.store(true, Ordering::SeqCst);
        add(&dir, "legacy.pfx", "b.pfx");
        let ask = |_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.sign_cmk_metadata(LEGACY, true).await })
        };
        // Those that may cause a reading, and as many that may not.
        let calls: Vec<_> = (0..2 * READINGS_IN_A_ROW).map(ask).collect();
        gate.entered.notified().await;
        let other = tokio::task::spawn_blocking(|| ());
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, other).await.expect("a thread is left").unwrap();
        gate.open();
        for call in calls {
            assert!(call.await.unwrap().is_ok(), "the reading serves all");
        }
        // The first, the one that was held up, and one for those that asked after that had begun.
        assert!(store.files.begun.load(Ordering::SeqCst) <= 3);
    });
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_let_a_second_reading_begin() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let (gate, passwords) = Gate::new();
    let store = CertificateDirectory::open_with(dir.path(), passwords).await.unwrap();
    gate.shut.store(true, Ordering::SeqCst);
    add(&dir, "legacy.pfx", "b.pfx");
    tokio::select! {
        biased;
        () = gate.entered.notified() => {}
        _ = store.sign_cmk_metadata(LEGACY, true) => panic!("the reading is held up"),
    }
    assert!(store.files.current.try_lock().is_err(), "it goes on");
    gate.open();
    assert!(store.sign_cmk_metadata(LEGACY, true).await.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_link_that_does_not_say_where_it_leads_is_not_followed() {
    use std::os::{fd::AsRawFd, unix::fs::symlink};
    let elsewhere = directory(&[("modern.pfx", "a.pfx")]);
    let target = elsewhere.path().join("a.pfx");
    // It opens, and its target's name is gone.
    let open_file = fs::File::open(&target).unwrap();
    fs::remove_file(&target).unwrap();
    let descriptor = format!("/proc/self/fd/{}", open_file.as_raw_fd());
    assert!(fs::read(&descriptor).is_ok() && fs::canonicalize(&descriptor).is_err());
    let dir = tempfile::tempdir().unwrap();
    symlink(descriptor, dir.path().join("out.pfx")).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), []);
    let skipped = store.skipped();
    assert!(
        matches!(&skipped[..], [file] if matches!(file.problem, KeyFileProblem::Unreadable { .. })),
        "{skipped:?}"
    );
}

/// A key encrypted by a million rounds, which a file may ask for, under a password that nobody knows.
fn costly_key() -> Vec<u8> {
    use pkcs5::{EncryptionScheme, pbes2::Parameters};
    use x509_cert::der::Encode;
    let parameters =
        Parameters::generate_pbkdf2_sha256_aes256cbc(1_000_000, &[7; 16], [7; 16]).unwrap();
    let scheme = EncryptionScheme::from(parameters).to_der().unwrap();
    der_value(0x30, &[&scheme, &der_value(0x04, &[&[0; 32]])])
}

#[tokio::test]
async fn derivations_that_would_hold_the_host_up_together_are_refused_before_the_first() {
    use x509_cert::der::pem::{LineEnding, encode_string};
    let key = costly_key();
    let dir = directory(&[("pair.crt", "a.crt")]);
    let pem = encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, &key).unwrap();
    fs::write(dir.path().join("a.key"), pem.repeat(5)).unwrap();
    // Five shrouded key bags in one unencrypted safe.
    let oid = |last: &[u8]| der_value(0x06, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01], last]);
    let bag = der_value(0x30, &[&oid(&[12, 10, 1, 2]), &der_value(0xa0, &[&key])]);
    let data = |parts: &[&[u8]]| {
        let octets = der_value(0x04, &[&der_value(0x30, parts)]);
        der_value(0x30, &[&oid(&[7, 1]), &der_value(0xa0, &[&octets])])
    };
    let safes = data(&[&data(&[&bag[..]; 5])]);
    let pfx = der_value(0x30, &[&[0x02, 0x01, 0x03], &safes]);
    fs::write(dir.path().join("b.pfx"), pfx).unwrap();
    let store = open(&dir).await;
    let skipped = store.skipped();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped.iter().all(|f| f.problem == KeyFileProblem::TooCostly), "{skipped:?}");
    let error = store.sign_cmk_metadata(PAIR, true).await;
    let Err(KeyStoreError::UnusableKeyFile(file)) = error else { panic!("{error:?}") };
    assert_eq!(file.path, dir.path().join("a.crt"), "whose certificate is known all the same");
}

#[tokio::test]
async fn a_file_of_more_keys_and_certificates_than_any_holds_is_refused() {
    let dir = directory(&[("pair.key", "a.key")]);
    let certificate = fs::read_to_string(format!("{FIXTURES}pair.crt")).unwrap();
    fs::write(dir.path().join("a.crt"), certificate.repeat(255)).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [PAIR.parse().unwrap()]);
    fs::write(dir.path().join("a.crt"), certificate.repeat(256)).unwrap();
    store.rescan().await.unwrap();
    assert_eq!(store.thumbprints(), []);
    let text = store.skipped()[0].to_string();
    assert!(text.contains("more than 256 keys and certificates"), "{text}");
}

#[tokio::test]
async fn a_file_that_the_password_does_not_vouch_for_serves_with_a_warning() {
    let dir = directory(&[("modern.pfx", "a.pfx")]);
    let unauthenticated = |w: &KeyFileWarning| matches!(w, KeyFileWarning::Unauthenticated { path } if path.ends_with("b.pfx"));
    let sealed = fs::read(format!("{FIXTURES}legacy.pfx")).unwrap();
    fs::write(dir.path().join("b.pfx"), without_mac(&sealed)).unwrap();
    let store = open(&dir).await;
    assert_eq!(store.thumbprints().len(), 2);
    let count = store
        .warnings()
        .iter()
        .filter(|w| matches!(w, KeyFileWarning::Unauthenticated { .. }))
        .count();
    assert_eq!(count, 1, "{:?}", store.warnings());
    assert!(store.warnings().iter().any(unauthenticated));
}

#[tokio::test]
async fn what_one_reading_does_has_an_end_and_the_next_goes_on_behind_it() {
    use crate::keystore::key_file::ReadingBudget;
    let dir = directory(&[("modern.pfx", "a.pfx"), ("legacy.pfx", "b.pfx"), ("pair.crt", "c.crt")]);
    add(&dir, "pair-encrypted.key", "c.key");
    let passwords = FilePasswords::same(PASSWORD);
    // The dearest has 2048 rounds for its MAC, five blocks of them for its parts.
    let read = |previous: &scan::Index| {
        let budget = ReadingBudget::of(6 * 2048);
        scan::Index::read(dir.path(), &passwords, previous, budget).unwrap()
    };
    let problems = |index: &scan::Index| -> Vec<_> {
        index.skipped().iter().map(|file| file.problem.clone()).collect()
    };
    let first = read(&scan::Index::default());
    assert!(first.thumbprints().contains(&MODERN.parse().unwrap()));
    assert!(problems(&first).contains(&KeyFileProblem::ReadingTooCostly));
    let text = first.skipped()[0].to_string();
    assert!(text.contains("b.pfx") && text.contains("waits for the next"), "{text}");
    // What has been opened costs nothing.
    let second = read(&first);
    assert_eq!((second.thumbprints().len(), problems(&second)), (3, vec![]));
    assert_eq!(second.loads(), first.loads() + problems(&first).len() as u64);
    assert_eq!(read(&second).loads(), second.loads(), "nothing is opened twice");
}

#[tokio::test]
async fn files_that_lie_about_their_work_keep_no_other_from_its_own() {
    use x509_cert::der::pem::{LineEnding, encode_string};
    let dir = directory(&[("modern.pfx", "z.pfx")]);
    let pem = encode_string("ENCRYPTED PRIVATE KEY", LineEnding::LF, &costly_key()).unwrap();
    for name in ["a.key", "b.key", "c.key"] {
        fs::write(dir.path().join(name), pem.repeat(256)).unwrap();
    }
    let store = open(&dir).await;
    assert_eq!(store.thumbprints(), [MODERN.parse().unwrap()]);
    let skipped = store.skipped();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(skipped.iter().all(|f| f.problem == KeyFileProblem::TooCostly), "{skipped:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_name_of_a_directory_forges_no_line_in_a_log() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys\n12:00 INFO all is well \u{1b}[2K\u{202e}");
    fs::create_dir(&dir).unwrap();
    let store = CertificateDirectory::open(&dir).await.unwrap();
    let text = store.sign_cmk_metadata(PAIR, true).await.unwrap_err().to_string();
    assert!(text.contains(r"keys\n12:00"), "{text:?} does not tell which");
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
}
