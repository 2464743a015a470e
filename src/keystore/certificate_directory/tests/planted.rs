//! Files that were put there to do harm, and servers that make the most of them.

use std::sync::{atomic::AtomicBool, mpsc};

use super::*;

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
        assert_eq!(store.files.begun.load(Ordering::SeqCst), 2);
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
