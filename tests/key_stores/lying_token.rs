//! `Pkcs11KeyStore` on a token that lies: SoftHSM behind a module, `lying_token.c`, that tells one lie
//! at a time, of the key `liar` where it is about a key. The key `honest` is for seeing that others go
//! on working.

use std::{fs, sync::Arc, time::Duration};

use always_encrypted::{
    crypto::{Cek, InvalidEnvelope},
    keystore::{
        CekError, EncryptedCekValue, KeyStoreError, KeyStoreProvider, KeyStores, PKCS11,
        Pkcs11Error, Pkcs11KeyStore, Pkcs11KeyStoreBuilder, RSA_OAEP, TokenPin,
    },
};

use crate::{
    run::{Case, cases},
    soft_hsm::{Hsm, MODULE, PIN},
    tools::Bench,
};

pub fn cases() -> Vec<Case> {
    cases![
        a_pin_that_the_token_says_is_locked_is_not_sent,
        a_pin_with_one_attempt_left_is_sent_only_when_somebody_asks,
        a_pin_of_which_the_token_counts_failures_is_sent_once,
        a_login_that_is_refused_is_not_repeated_until_somebody_asks,
        a_device_that_goes_during_the_login_serves_when_it_is_back,
        a_session_or_handle_that_goes_between_search_and_decryption_is_made_good,
        what_is_lost_again_and_again_is_an_error_and_ends_when_the_token_recovers,
        a_decryption_of_another_length_than_a_key_has_is_an_error_that_says_so,
        a_length_that_cannot_be_ends_neither_the_process_nor_the_sessions,
        a_signature_that_is_not_the_keys_is_not_given_out,
        an_attribute_that_is_not_there_or_cannot_be_that_long_is_told_apart,
        a_search_that_never_ends_or_finds_more_than_it_may_is_an_error,
        a_decryption_that_hangs_takes_one_session_and_the_time_limit,
    ]
}

/// A token with the keys `liar` and `honest`, and an envelope of each.
struct Liar {
    hsm: Hsm,
    bench: Bench,
}

impl Liar {
    fn new(label: &'static str) -> Self {
        let (hsm, bench) = (Hsm::new(label), Bench::new());
        hsm.generate("liar", &[1], 2048, &[]);
        hsm.generate("honest", &[2], 2048, &[]);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/key_stores/lying_token.c");
        let define = |name: &str, path: &str| format!("-D{name}=\"{path}\"");
        let lie = define("LIE", bench.path("lie").to_str().unwrap());
        let calls = define("CALLS", bench.path("calls").to_str().unwrap());
        let module = define("MODULE", MODULE);
        let words = ["-std=gnu11", "-w", "-shared", "-fPIC", &lie, &calls, &module, source, "-ldl"];
        bench.run("cc", &[&words[..], &["-o", "liar.so"]].concat());
        Self { hsm, bench }
    }

    fn builder(&self) -> Pkcs11KeyStoreBuilder {
        let pin = TokenPin::secret(PIN.to_owned());
        Pkcs11KeyStore::builder(self.bench.path("liar.so")).token_label(self.hsm.label).pin(pin)
    }

    fn store(&self) -> Pkcs11KeyStore {
        self.builder().build()
    }

    /// From now on: `<function> <lie> [once]`.
    fn tells(&self, lie: &str) {
        self.bench.write("next lie", lie.as_bytes());
        fs::rename(self.bench.path("next lie"), self.bench.path("lie")).unwrap();
    }

    fn tells_the_truth(&self) {
        fs::remove_file(self.bench.path("lie")).unwrap();
    }

    /// How often the function was called so far.
    fn calls(&self, function: &str) -> usize {
        let calls = fs::read_to_string(self.bench.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| *line == function).count()
    }
}

fn cek() -> Cek {
    Cek::from([7; 32])
}

async fn wrap(store: &Pkcs11KeyStore, key: &str) -> Vec<u8> {
    store.wrap_cek(key, RSA_OAEP, &cek()).await.unwrap()
}

async fn opens(store: &Pkcs11KeyStore, key: &str, envelope: &[u8]) {
    let opened = store.unwrap_cek(key, RSA_OAEP, envelope).await;
    assert_eq!(opened.unwrap_or_else(|error| panic!("{error}")).expose(), cek().expose());
}

async fn refusal(store: &Pkcs11KeyStore, envelope: &[u8]) -> KeyStoreError {
    match store.unwrap_cek("liar", RSA_OAEP, envelope).await {
        Err(error) => error,
        Ok(_) => panic!("it opened"),
    }
}

fn token_error(error: KeyStoreError) -> Pkcs11Error {
    match error {
        KeyStoreError::Pkcs11(error) => error,
        other => panic!("{other}"),
    }
}

/// The token's error, for all that connect at once and one who comes after.
async fn all_refused(store: &Arc<Pkcs11KeyStore>, is_it: impl Fn(&Pkcs11Error) -> bool) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.wrap_cek("honest", RSA_OAEP, &cek()).await })
        })
        .collect();
    for task in tasks {
        let error = token_error(task.await.unwrap().unwrap_err());
        assert!(is_it(&error), "{error}");
    }
    let error = token_error(store.connect().await.unwrap_err());
    assert!(is_it(&error), "{error}");
}

async fn a_pin_that_the_token_says_is_locked_is_not_sent() {
    let liar = Liar::new("locked");
    let store = Arc::new(liar.store());
    // CKF_USER_PIN_LOCKED.
    liar.tells("C_GetTokenInfo 0x40000");
    let locked = |error: &Pkcs11Error| matches!(error, Pkcs11Error::PinLocked { .. });
    all_refused(&store, locked).await;
    store.retry_pin();
    all_refused(&store, locked).await;
    assert_eq!(liar.calls("C_Login"), 0);
    let said = store.connect().await.unwrap_err().to_string();
    assert!(said.contains("security officer") && said.contains("retry_pin"), "{said}");

    // Unlocked again: that is for somebody to say.
    liar.tells_the_truth();
    all_refused(&store, locked).await;
    assert_eq!(liar.calls("C_Login"), 0);
    store.retry_pin();
    opens(&store, "liar", &wrap(&store, "liar").await).await;
    assert_eq!(liar.calls("C_Login"), 1);
}

async fn a_pin_with_one_attempt_left_is_sent_only_when_somebody_asks() {
    let liar = Liar::new("final");
    let store = Arc::new(liar.store());
    // CKF_USER_PIN_FINAL_TRY and CKF_USER_PIN_COUNT_LOW.
    liar.tells("C_GetTokenInfo 0x30000");
    let last = |error: &Pkcs11Error| matches!(error, Pkcs11Error::LastAttempt { .. });
    all_refused(&store, last).await;
    assert_eq!(liar.calls("C_Login"), 0);
    store.retry_pin();
    opens(&store, "liar", &wrap(&store, "liar").await).await;
    assert_eq!(liar.calls("C_Login"), 1);

    // The one attempt that was asked for is over; that sessions are lost is no reason for another.
    liar.hsm.session().logout().unwrap();
    all_refused(&store, last).await;
    assert_eq!(liar.calls("C_Login"), 1);
}

async fn a_pin_of_which_the_token_counts_failures_is_sent_once() {
    let liar = Liar::new("low");
    // CKF_USER_PIN_COUNT_LOW.
    liar.tells("C_GetTokenInfo 0x10000");
    let wrong = Arc::new(liar.builder().pin(TokenPin::secret("wrong-3".to_owned())).build());
    all_refused(&wrong, |error| matches!(error, Pkcs11Error::WrongPin { .. })).await;
    assert_eq!(liar.calls("C_Login"), 1);
    let right = liar.store();
    opens(&right, "liar", &wrap(&right, "liar").await).await;
    assert_eq!(liar.calls("C_Login"), 2);
}

async fn a_login_that_is_refused_is_not_repeated_until_somebody_asks() {
    for (label, code, remedy) in [
        ("incorrect", "0xA0", "refused the PIN"),
        ("gone", "0xA4", "security officer"),
        ("invalid", "0xA1", "refused the PIN"),
        ("expired", "0xA3", "security officer set the user PIN"),
        ("broken", "0x30", "check the PIN and the device"),
    ] {
        let liar = Liar::new(label);
        let store = Arc::new(liar.store());
        liar.tells(&format!("C_Login {code}"));
        all_refused(&store, |error| error.to_string().contains(remedy)).await;
        assert_eq!(liar.calls("C_Login"), 1, "{code}");
        liar.tells_the_truth();
        // Not that of another key store of this process either.
        all_refused(&Arc::new(liar.store()), |error| error.to_string().contains(remedy)).await;
        assert_eq!(liar.calls("C_Login"), 1, "{code}");
        store.retry_pin();
        opens(&store, "liar", &wrap(&store, "liar").await).await;
        assert_eq!(liar.calls("C_Login"), 2, "{code}");
    }
}

async fn a_device_that_goes_during_the_login_serves_when_it_is_back() {
    let liar = Liar::new("unplugged");
    let store = liar.store();
    for function in ["C_Login", "C_OpenSession"] {
        liar.tells(&format!("{function} 0x32"));
        let error = token_error(store.connect().await.unwrap_err());
        let Pkcs11Error::Failed { function: failed, code } = &error else { panic!("{error}") };
        assert_eq!((failed.as_str(), code.as_str()), (function, "CKR_DEVICE_REMOVED"));
        assert!(error.to_string().contains("check that the device is there"), "{error}");
    }
    liar.tells_the_truth();
    opens(&store, "liar", &wrap(&store, "liar").await).await;
}

/// What is lost: a session, two ways; the device, two ways; the login; the key's handle.
const LOST: [&str; 6] = ["0xB3", "0xB0", "0x32", "0x30", "0x101", "0x60"];

async fn a_session_or_handle_that_goes_between_search_and_decryption_is_made_good() {
    let liar = Liar::new("between");
    let store = liar.store();
    let envelope = wrap(&store, "liar").await;
    for function in ["C_DecryptInit", "C_Decrypt", "C_FindObjects", "C_GetAttributeValue"] {
        for code in LOST {
            liar.tells(&format!("{function} {code} once"));
            opens(&store, "liar", &envelope).await;
            assert!(!liar.bench.path("lie").exists(), "{function} {code} was not told");
        }
    }
}

async fn what_is_lost_again_and_again_is_an_error_and_ends_when_the_token_recovers() {
    let liar = Liar::new("again");
    let store = liar.store();
    let (envelope, honest) = (wrap(&store, "liar").await, wrap(&store, "honest").await);
    for code in LOST {
        liar.tells(&format!("C_DecryptInit {code}"));
        for _ in 0..3 {
            let (before, logins) = (liar.calls("C_DecryptInit"), liar.calls("C_Login"));
            let error = token_error(refusal(&store, &envelope).await);
            assert!(
                matches!(&error, Pkcs11Error::Failed { function, .. } if function == "C_DecryptInit"),
                "{error}"
            );
            assert!(error.to_string().contains("; "), "no remedy: {error}");
            assert_eq!(liar.calls("C_DecryptInit"), before + 2, "{code}");
            assert!(liar.calls("C_Login") <= logins + 2, "{code}");
            opens(&store, "honest", &honest).await;
        }
        liar.tells_the_truth();
        opens(&store, "liar", &envelope).await;
    }
}

async fn a_decryption_of_another_length_than_a_key_has_is_an_error_that_says_so() {
    let liar = Liar::new("lengths");
    let store = liar.store();
    let (envelope, honest) = (wrap(&store, "liar").await, wrap(&store, "honest").await);
    for lie in ["short", "none", "long", "longer-than-asked", "endless"] {
        liar.tells(&format!("C_Decrypt {lie}"));
        let error = refusal(&store, &envelope).await;
        let KeyStoreError::InvalidEnvelope(InvalidEnvelope::CekLength { found }) = error else {
            panic!("{lie}: {error}");
        };
        match lie {
            "short" => assert_eq!(found, 31),
            "none" => assert_eq!(found, 0),
            // No more than there was room for.
            _ => assert!((33..=256).contains(&found), "{lie}: {found}"),
        }
        opens(&store, "honest", &honest).await;
    }
    liar.tells_the_truth();
    opens(&store, "liar", &envelope).await;
}

async fn a_length_that_cannot_be_ends_neither_the_process_nor_the_sessions() {
    let liar = Liar::new("huge");
    let store = liar.builder().sessions(2).build();
    let (envelope, honest) = (wrap(&store, "liar").await, wrap(&store, "honest").await);
    let open = || liar.calls("C_OpenSession") - liar.calls("C_CloseSession");
    for lie in ["C_Decrypt huge", "C_Sign huge", "C_GetAttributeValue 64-bit"] {
        opens(&store, "liar", &envelope).await;
        let before = open();
        liar.tells(lie);
        for _ in 0..5 {
            let error = match lie {
                "C_Sign huge" => store.sign_cmk_metadata("liar", true).await.unwrap_err(),
                _ => refusal(&store, &envelope).await,
            };
            let error = token_error(error);
            let Pkcs11Error::ImpossibleAnswer { function, .. } = &error else { panic!("{error}") };
            assert!(lie.starts_with(function), "{lie}: {error}");
            opens(&store, "honest", &honest).await;
        }
        liar.tells_the_truth();
        assert!(open() <= before, "{lie}: {} sessions, then {}", before, open());
    }
    opens(&store, "liar", &envelope).await;
}

async fn a_signature_that_is_not_the_keys_is_not_given_out() {
    let liar = Liar::new("signatures");
    let store = liar.store();
    for lie in ["false", "short"] {
        liar.tells(&format!("C_Sign {lie}"));
        for error in [
            store.wrap_cek("liar", RSA_OAEP, &cek()).await.unwrap_err(),
            store.sign_cmk_metadata("liar", true).await.unwrap_err(),
        ] {
            assert!(matches!(error, KeyStoreError::InvalidEnvelope(_)), "{lie}: {error}");
        }
        wrap(&store, "honest").await;
    }
    liar.tells_the_truth();
    opens(&store, "liar", &wrap(&store, "liar").await).await;
}

async fn an_attribute_that_is_not_there_or_cannot_be_that_long_is_told_apart() {
    let liar = Liar::new("attributes");
    let store = liar.store();
    let (envelope, honest) = (wrap(&store, "liar").await, wrap(&store, "honest").await);
    liar.tells("C_GetAttributeValue unavailable");
    let error = token_error(refusal(&store, &envelope).await);
    assert_eq!(error, Pkcs11Error::NoPublicKey { key_path: "liar".into() });
    // What a module of 32 bits calls unavailable: four gigabytes, which nobody should set aside.
    for lie in ["32-bit", "64-bit"] {
        liar.tells(&format!("C_GetAttributeValue {lie}"));
        let error = token_error(refusal(&store, &envelope).await);
        assert!(
            matches!(&error, Pkcs11Error::ImpossibleAnswer { function, .. }
                if *function == "C_GetAttributeValue"),
            "{error}"
        );
        opens(&store, "honest", &honest).await;
    }
    liar.tells_the_truth();
    opens(&store, "liar", &envelope).await;
}

async fn a_search_that_never_ends_or_finds_more_than_it_may_is_an_error() {
    let liar = Liar::new("search");
    let store = liar.store();
    let (envelope, honest) = (wrap(&store, "liar").await, wrap(&store, "honest").await);
    liar.tells("C_FindObjects endless");
    let before = liar.calls("C_FindObjects");
    let error = token_error(refusal(&store, &envelope).await);
    assert!(matches!(&error, Pkcs11Error::AmbiguousKey { keys, .. } if keys.len() < 16), "{error}");
    assert!(liar.calls("C_FindObjects") <= before + 2);
    opens(&store, "honest", &honest).await;
    liar.tells("C_FindObjects too-many");
    let error = token_error(refusal(&store, &envelope).await);
    // Beyond those that were asked for there are no handles.
    assert!(
        matches!(&error, Pkcs11Error::Failed { code, .. } if code == "CKR_OBJECT_HANDLE_INVALID"),
        "{error}"
    );
    opens(&store, "honest", &honest).await;
    liar.tells_the_truth();
    opens(&store, "liar", &envelope).await;
}

async fn a_decryption_that_hangs_takes_one_session_and_the_time_limit() {
    let liar = Liar::new("hangs");
    let store = Arc::new(liar.builder().sessions(2).build());
    let envelope = Arc::new(wrap(&store, "liar").await);
    let honest = wrap(&store, "honest").await;
    let begun = liar.calls("C_DecryptInit");
    liar.tells("C_Decrypt hang");
    let mut hanging = Vec::new();
    for count in 1..=2 {
        // One session is left for others as long as one call hangs.
        opens(&store, "honest", &honest).await;
        let (store, envelope) = (Arc::clone(&store), Arc::clone(&envelope));
        hanging.push(tokio::spawn(async move { opens(&store, "liar", &envelope).await }));
        while liar.calls("C_DecryptInit") < begun + count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    let limit = Duration::from_millis(50);
    let provider: Arc<dyn KeyStoreProvider> = store.clone();
    let stores = KeyStores::builder().provider_arc(provider).call_time_limit(limit);
    let stores = stores.build().unwrap();
    let value = EncryptedCekValue {
        envelope: honest.clone(),
        provider_name: PKCS11.into(),
        key_path: "honest".into(),
        algorithm: RSA_OAEP.into(),
    };
    let sessions = liar.calls("C_OpenSession");
    let Err(CekError::NoneOpened { attempts }) = stores.cell_key(&[value]).await else {
        panic!("it opened on a session that there is not");
    };
    let error = &attempts[0].error;
    assert!(matches!(error, KeyStoreError::TimedOut { .. }), "{error}");
    assert_eq!(liar.calls("C_OpenSession"), sessions);

    liar.tells_the_truth();
    for call in hanging {
        call.await.unwrap();
    }
    opens(&store, "honest", &honest).await;
}
