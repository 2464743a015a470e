//! `Pkcs11KeyStore` on SoftHSM.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use always_encrypted::{
    crypto::{Cek, CmkPrivateKey, CmkPublicKey, Envelope, InvalidEnvelope, cmk_metadata_message},
    keystore::{
        InMemoryKeyStore, KeyStoreError, KeyStoreProvider, Pkcs11Error, Pkcs11KeyStore, RSA_OAEP,
        TokenPin,
    },
};
use cryptoki::{
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, KeyType, ObjectClass},
};
use futures_util::FutureExt as _;

use crate::{
    run::{Case, cases},
    soft_hsm::{Hsm, PIN, calls, module},
    tools::Bench,
};

pub fn cases() -> Vec<Case> {
    cases![
        a_key_made_in_the_token_stays_there_and_opens_what_it_wrapped,
        a_key_of_a_taken_label_or_of_a_useless_kind_is_not_made,
        a_key_of_openssl_signs_as_openssl_does_and_opens_what_it_wrapped_in_memory,
        a_key_that_may_not_hash_signs_the_digest_and_it_is_the_same_signature,
        a_private_key_that_shows_no_modulus_takes_it_from_its_public_key,
        a_public_key_that_somebody_else_stored_under_the_id_is_not_believed,
        an_envelope_of_another_key_or_a_changed_one_is_refused_before_the_token_decrypts,
        a_wrong_pin_costs_one_attempt_however_many_queries_come,
        a_wrong_pin_that_the_module_reports_as_any_failure_costs_one_attempt,
        a_key_store_with_another_pin_does_not_use_the_login_of_the_first,
        a_path_of_no_key_costs_the_same_however_many_keys_there_are,
        thirty_two_unwraps_share_four_sessions_and_one_login,
        futures_that_are_dropped_on_the_way_cost_no_session,
        sessions_that_were_lost_are_opened_anew,
        a_logout_by_another_part_of_the_process_is_made_good,
        a_module_that_was_finalized_is_initialised_anew,
        a_token_that_is_pulled_is_an_error_that_says_so_and_serves_when_it_is_back,
        a_module_or_token_that_is_not_there_is_an_error_with_the_remedy,
        keys_that_cannot_serve_are_told_apart,
        a_key_that_may_only_decrypt_reads_rows_and_signs_nothing,
        two_keys_of_one_label_are_refused_until_the_id_is_named,
        a_path_of_the_server_chooses_neither_token_nor_module_nor_pin,
    ]
}

const KEY_PATH: &str = "pkcs11:object=cmk;type=private";

fn cek() -> Cek {
    Cek::from([7; 32])
}

async fn wrap(store: &Pkcs11KeyStore, path: &str) -> Vec<u8> {
    store.wrap_cek(path, RSA_OAEP, &cek()).await.unwrap()
}

async fn opens(store: &Pkcs11KeyStore, path: &str, envelope: &[u8]) {
    let opened = store.unwrap_cek(path, RSA_OAEP, envelope).await;
    assert_eq!(opened.unwrap_or_else(|error| panic!("{error}")).expose(), cek().expose());
}

fn error_of<T>(result: Result<T, KeyStoreError>) -> Pkcs11Error {
    match result {
        Err(KeyStoreError::Pkcs11(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it worked"),
    }
}

/// A key that OpenSSL made, in the token as `cmk` with the id 01, and in memory.
fn import(hsm: &Hsm, bench: &Bench) -> CmkPrivateKey {
    bench.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem");
    let path = bench.path("key.pem");
    let words = ["--import", path.to_str().unwrap(), "--token", hsm.label, "--label", "cmk"];
    bench.run("softhsm2-util", &[&words[..], &["--id", "01", "--pin", PIN]].concat());
    CmkPrivateKey::from_pem(&fs::read_to_string(path).unwrap()).unwrap()
}

async fn a_key_made_in_the_token_stays_there_and_opens_what_it_wrapped() {
    let hsm = Hsm::new("made here");
    let store = hsm.store();
    let path = store.create_cmk("cmk 1", 3072).await.unwrap();
    assert_eq!(path, "pkcs11:token=made%20here;object=cmk%201;type=private");
    let envelope = wrap(&store, &path).await;
    let parsed = Envelope::parse(&envelope).unwrap();
    assert_eq!((parsed.key_path(), parsed.ciphertext().len()), (path.clone(), 384));

    let session = hsm.session();
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label("cmk 1".into())];
    let keys = session.find_objects(&private).unwrap();
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Id];
    let attributes = session.get_attributes(keys[0], &wanted).unwrap();
    let [Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Id(id)] =
        &attributes[..]
    else {
        panic!("{attributes:?}");
    };
    let hex: String = id.iter().map(|byte| format!("%{byte:02x}")).collect();
    for path in [path.clone(), "cmk 1".into(), format!("pkcs11:id={hex}")] {
        opens(&store, &path, &envelope).await;
    }
    let signature = store.sign_cmk_metadata(&path, true).await.unwrap();
    assert!(store.verify_cmk_metadata(&path, true, &signature).await.unwrap());
    assert!(!store.verify_cmk_metadata(&path, false, &signature).await.unwrap());
}

async fn a_key_of_a_taken_label_or_of_a_useless_kind_is_not_made() {
    let hsm = Hsm::new("taken");
    let store = hsm.store();
    store.create_cmk("cmk", 2048).await.unwrap();
    let taken = Pkcs11Error::LabelTaken { token: "taken".into(), label: "cmk".into() };
    assert_eq!(error_of(store.create_cmk("cmk", 2048).await), taken);
    for bits in [0, 1024, 2049, 16384] {
        let error = store.create_cmk("new", bits).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::KeySize { .. }), "{error}");
    }
    for label in ["", " ", "a\nb"] {
        let error = error_of(store.create_cmk(label, 2048).await);
        assert!(matches!(error, Pkcs11Error::InvalidLabel { .. }), "{error}");
    }
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
    assert_eq!(hsm.session().find_objects(&private).unwrap().len(), 1);
}

async fn a_key_of_openssl_signs_as_openssl_does_and_opens_what_it_wrapped_in_memory() {
    let (hsm, bench) = (Hsm::new("imported"), Bench::new());
    let key = import(&hsm, &bench);
    let store = hsm.builder().name("MY_STORE").build();
    let envelope = wrap(&store, KEY_PATH).await;
    let parsed = Envelope::parse(&envelope).unwrap();
    fs::write(bench.path("signed"), parsed.signed_bytes()).unwrap();
    let openssl = bench.openssl("dgst -sha256 -sign key.pem signed");
    assert_eq!(parsed.signature(), openssl);
    assert_eq!(parsed.signature(), key.sign(parsed.signed_bytes()).unwrap());

    let memory = InMemoryKeyStore::new("MY_STORE").with_key(KEY_PATH, key);
    let theirs = memory.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await.unwrap();
    assert_eq!(theirs.expose(), cek().expose());
    opens(&store, KEY_PATH, &memory.wrap_cek(KEY_PATH, RSA_OAEP, &cek()).await.unwrap()).await;

    fs::write(bench.path("signed"), cmk_metadata_message("MY_STORE", KEY_PATH, true)).unwrap();
    let ours = store.sign_cmk_metadata(KEY_PATH, true).await.unwrap();
    assert_eq!(ours, bench.openssl("dgst -sha256 -sign key.pem signed"));
    assert_eq!(ours, memory.sign_cmk_metadata(KEY_PATH, true).await.unwrap());
}

async fn a_key_that_may_not_hash_signs_the_digest_and_it_is_the_same_signature() {
    let hsm = Hsm::new("no hash");
    let bare = [MechanismType::RSA_PKCS, MechanismType::RSA_PKCS_OAEP];
    hsm.generate("cmk", &[1], 2048, &[Attribute::AllowedMechanisms(bare.into())]);
    let key = hsm.session().find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    let whole = hsm.session().sign(&Mechanism::Sha256RsaPkcs, key, b"x");
    assert!(whole.is_err(), "this key shows nothing: it may hash");
    let store = hsm.store();
    // It verifies what it signs; a signature is a function of the message.
    opens(&store, KEY_PATH, &wrap(&store, KEY_PATH).await).await;

    let none = [MechanismType::SHA512_RSA_PKCS];
    hsm.generate("none", &[2], 2048, &[Attribute::AllowedMechanisms(none.into())]);
    let error = error_of(store.wrap_cek("none", RSA_OAEP, &cek()).await);
    assert!(matches!(error, Pkcs11Error::NoMechanism { .. }), "{error}");
}

async fn a_private_key_that_shows_no_modulus_takes_it_from_its_public_key() {
    let (hsm, bench) = (Hsm::new("halves"), Bench::new());
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.reticent(&bench).build();
    let envelope = wrap(&store, KEY_PATH).await;
    opens(&store, KEY_PATH, &envelope).await;
    opens(&hsm.store(), KEY_PATH, &envelope).await;

    let session = hsm.session();
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    session.update_attributes(private, &[Attribute::Sign(false)]).unwrap();
    opens(&store, KEY_PATH, &envelope).await;

    let public = session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap()[0];
    session.destroy_object(public).unwrap();
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    assert_eq!(error, Pkcs11Error::NoPublicKey { key_path: KEY_PATH.into() });
}

async fn a_public_key_that_somebody_else_stored_under_the_id_is_not_believed() {
    let (hsm, bench) = (Hsm::new("planted"), Bench::new());
    hsm.generate("cmk", &[1], 2048, &[]);
    let session = hsm.session();
    let public = session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap()[0];
    let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
    let [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] =
        &session.get_attributes(public, &wanted).unwrap()[..]
    else {
        panic!("a public key without its numbers");
    };
    let real = CmkPublicKey::from_components(modulus, exponent).unwrap();

    bench.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out evil.pem");
    let numbers = numbers(&bench.openssl("rsa -in evil.pem -noout -text"));
    let pem = fs::read_to_string(bench.path("evil.pem")).unwrap();
    let evil = CmkPrivateKey::from_pem(&pem).unwrap();
    let mut envelope = Envelope::wrap_unsigned(&cek(), KEY_PATH, &real).unwrap();
    envelope.extend(evil.sign(&envelope).unwrap());
    let plant = |modulus: &[u8]| {
        let object = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Id(vec![1]),
            Attribute::Modulus(modulus.to_vec()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        session.create_object(&object).unwrap();
    };

    let store = hsm.reticent(&bench).build();
    let ours = wrap(&store, KEY_PATH).await;
    // The same numbers twice are no question.
    plant(modulus);
    opens(&store, KEY_PATH, &ours).await;
    plant(&numbers["modulus"]);
    let decrypted = calls("C_DecryptInit");
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    assert_eq!(error, Pkcs11Error::AmbiguousPublicKey { key_path: KEY_PATH.into() });

    for key in session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap() {
        session.destroy_object(key).unwrap();
    }
    plant(&numbers["modulus"]);
    let planted = Pkcs11Error::FalsePublicKey { key_path: KEY_PATH.into() };
    for envelope in [&envelope, &ours] {
        assert_eq!(error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, envelope).await), planted);
    }
    assert_eq!(error_of(store.wrap_cek(KEY_PATH, RSA_OAEP, &cek()).await), planted);
    assert_eq!(calls("C_DecryptInit"), decrypted);
    let private = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    session.update_attributes(private, &[Attribute::Sign(false)]).unwrap();
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    // What it cannot decrypt SoftHSM calls a general error.
    let failed = |e: &Pkcs11Error| matches!(e, Pkcs11Error::Failed { function, .. } if function == "C_Decrypt");
    assert!(error == planted || failed(&error), "{error}");
}

/// The numbers of an RSA key, from what `openssl rsa -text` prints: a name, then lines of hexadecimal.
fn numbers(text: &[u8]) -> HashMap<String, Vec<u8>> {
    let (mut numbers, mut name) = (HashMap::new(), String::new());
    for line in String::from_utf8_lossy(text).lines() {
        match line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            Some(next) => name = next.to_owned(),
            None => {
                let digits = line.trim().split(':').filter(|pair| !pair.is_empty());
                let bytes = digits.map(|pair| u8::from_str_radix(pair, 16));
                if let Ok(bytes) = bytes.collect::<Result<Vec<u8>, _>>() {
                    numbers.entry(name.clone()).or_insert_with(Vec::new).extend(bytes);
                }
            }
        }
    }
    for number in numbers.values_mut() {
        // A sign byte, which is no part of the number.
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        number.drain(..zeros);
    }
    numbers
}

async fn an_envelope_of_another_key_or_a_changed_one_is_refused_before_the_token_decrypts() {
    let hsm = Hsm::new("foreign");
    let store = hsm.spied().build();
    store.create_cmk("cmk", 2048).await.unwrap();
    let good = wrap(&store, KEY_PATH).await;
    let other = CmkPrivateKey::generate(2048).unwrap();
    let mut envelopes = vec![Envelope::wrap(&cek(), KEY_PATH, &other).unwrap(), good[1..].into()];
    for at in [1, 3, 5, 100, good.len() - 300, good.len() - 1] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        envelopes.push(changed);
    }
    let before = calls("C_DecryptInit");
    for envelope in envelopes {
        let error = store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidEnvelope(_)), "{error}");
    }
    let error = store.unwrap_cek(KEY_PATH, "RSA1_5", &good).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::UnsupportedAlgorithm { .. }), "{error}");
    assert_eq!(calls("C_DecryptInit"), before);
    opens(&store, KEY_PATH, &good).await;
    assert_eq!(calls("C_DecryptInit"), before + 1);
}

async fn a_wrong_pin_costs_one_attempt_however_many_queries_come() {
    let (hsm, bench) = (Hsm::new("wrong pin"), Bench::new());
    hsm.generate("cmk", &[1], 2048, &[]);
    let file = bench.path("pin");
    fs::write(&file, "wrong-1\n").unwrap();
    let store = Arc::new(hsm.spied().pin(TokenPin::in_file(&file)).build());
    let wrong = Pkcs11Error::WrongPin { token: "wrong pin".into() };
    let before = calls("C_Login");

    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.wrap_cek(KEY_PATH, RSA_OAEP, &cek()).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(error_of(task.await.unwrap()), wrong);
    }
    assert_eq!(error_of(store.connect().await), wrong);
    assert_eq!(calls("C_Login"), before + 1);

    store.retry_pin();
    assert_eq!(error_of(store.connect().await), wrong);
    assert_eq!(error_of(store.connect().await), wrong);
    assert_eq!(calls("C_Login"), before + 2);

    fs::write(&file, PIN).unwrap();
    store.connect().await.unwrap();
    wrap(&store, KEY_PATH).await;
    assert_eq!(calls("C_Login"), before + 3);
    assert!(!format!("{store:?} {wrong} {wrong:?}").contains("wrong-1"));
}

async fn a_wrong_pin_that_the_module_reports_as_any_failure_costs_one_attempt() {
    let (hsm, bench) = (Hsm::new("unclear"), Bench::new());
    let store = hsm.reticent(&bench).pin(TokenPin::secret("wrong-2".to_owned())).build();
    let another = hsm.reticent(&bench).pin(TokenPin::secret("wrong-2".to_owned())).build();
    let before = calls("C_Login");
    for store in [&store, &store, &another] {
        let error = error_of(store.connect().await);
        let code = "CKR_FUNCTION_FAILED";
        assert!(matches!(&error, Pkcs11Error::LoginFailed { code: c, .. } if c == code), "{error}");
        assert_eq!(calls("C_Login"), before + 1);
    }
    store.retry_pin();
    error_of(store.connect().await);
    error_of(store.connect().await);
    assert_eq!(calls("C_Login"), before + 2);
    hsm.reticent(&bench).build().connect().await.unwrap();
}

async fn a_key_store_with_another_pin_does_not_use_the_login_of_the_first() {
    let hsm = Hsm::new("tenants");
    hsm.generate("cmk", &[1], 2048, &[]);
    let first = hsm.store();
    let envelope = wrap(&first, KEY_PATH).await;
    let second = hsm.builder().pin(TokenPin::secret("of-another".to_owned())).build();
    let error = error_of(second.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    assert_eq!(error, Pkcs11Error::AnotherLogin { token: "tenants".into() });
    // By whatever module; and the right PIN is welcome.
    let third = hsm.spied().pin(TokenPin::secret("of-another".to_owned())).build();
    assert_eq!(error_of(third.connect().await), error);
    opens(&hsm.spied().build(), KEY_PATH, &envelope).await;
    opens(&first, KEY_PATH, &envelope).await;
}

async fn a_path_of_no_key_costs_the_same_however_many_keys_there_are() {
    let hsm = Hsm::new("many");
    hsm.generate("cmk", &[1], 2048, &[]);
    let session = hsm.session();
    let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
    let copy = |count: u8| {
        for n in 0..count {
            session.copy_object(key, &[Attribute::Label(vec![b'k', n])]).unwrap();
        }
    };
    let store = hsm.spied().build();
    store.connect().await.unwrap();
    let cost = async || {
        let spent = || (calls("C_GetAttributeValue"), calls("C_FindObjects"));
        let before = spent();
        let error = error_of(store.wrap_cek("nothing", RSA_OAEP, &cek()).await);
        assert!(matches!(&error, Pkcs11Error::KeyNotFound { .. }), "{error}");
        assert!(error.to_string().contains(" and more; "), "{error}");
        let after = spent();
        (after.0 - before.0, after.1 - before.1)
    };
    copy(9);
    let of_ten = cost().await;
    copy(30);
    assert_eq!(cost().await, of_ten);
}

async fn thirty_two_unwraps_share_four_sessions_and_one_login() {
    let hsm = Hsm::new("crowd");
    hsm.generate("cmk", &[1], 2048, &[]);
    let (logins, opened) = (calls("C_Login"), calls("C_OpenSession"));
    let store = Arc::new(hsm.spied().sessions(4).build());
    let envelope = Arc::new(wrap(&store, KEY_PATH).await);
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (store, envelope) = (Arc::clone(&store), Arc::clone(&envelope));
            tokio::spawn(async move { opens(&store, KEY_PATH, &envelope).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(calls("C_Login"), logins + 1);
    let opened = calls("C_OpenSession") - opened;
    assert!((2..=5).contains(&opened), "{opened} sessions");
}

async fn futures_that_are_dropped_on_the_way_cost_no_session() {
    let hsm = Hsm::new("dropped");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.builder().sessions(2).build();
    let envelope = wrap(&store, KEY_PATH).await;
    for turns in 0..12 {
        let mut call = store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope);
        for _ in 0..turns {
            let _ = (&mut call).now_or_never();
            tokio::task::yield_now().await;
        }
    }
    opens(&store, KEY_PATH, &envelope).await;
}

async fn sessions_that_were_lost_are_opened_anew() {
    let hsm = Hsm::new("lost");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, KEY_PATH).await;
    for _ in 0..3 {
        // Whoever starts the module anew leaves every session handle void.
        module().finalize().unwrap();
        let _again = module();
        opens(&store, KEY_PATH, &envelope).await;
    }
}

async fn a_logout_by_another_part_of_the_process_is_made_good() {
    let hsm = Hsm::new("logout");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, KEY_PATH).await;
    hsm.session().logout().unwrap();
    opens(&store, KEY_PATH, &envelope).await;
    // What is really not there is still told from what only a login shows.
    hsm.session().logout().unwrap();
    let error = error_of(store.unwrap_cek("nothing", RSA_OAEP, &envelope).await);
    assert!(matches!(error, Pkcs11Error::KeyNotFound { keys, .. } if keys.len() == 1));
}

async fn a_module_that_was_finalized_is_initialised_anew() {
    let hsm = Hsm::new("finalized");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, KEY_PATH).await;
    module().finalize().unwrap();
    opens(&store, KEY_PATH, &envelope).await;
}

async fn a_token_that_is_pulled_is_an_error_that_says_so_and_serves_when_it_is_back() {
    let hsm = Hsm::new("pulled");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, KEY_PATH).await;
    hsm.remove();
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    // SoftHSM goes on with an empty token until it is started anew.
    assert!(matches!(error, Pkcs11Error::KeyNotFound { .. }), "{error}");
    module().finalize().unwrap();
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    assert!(matches!(error, Pkcs11Error::TokenNotFound { .. }), "{error}");

    let back = Hsm::new("pulled");
    back.generate("cmk", &[1], 2048, &[]);
    opens(&store, KEY_PATH, &wrap(&store, KEY_PATH).await).await;
}

async fn a_module_or_token_that_is_not_there_is_an_error_with_the_remedy() {
    let (hsm, bench) = (Hsm::new("here"), Bench::new());
    let text = bench.path("text.so");
    fs::write(&text, "no library").unwrap();
    for module in [PathBuf::from("/nowhere/module.so"), text, "libc.so.6".into()] {
        let store = Pkcs11KeyStore::builder(&module).build();
        let error = error_of(store.connect().await);
        assert!(matches!(error, Pkcs11Error::ModuleNotLoadable { .. }), "{error}");
        assert!(error.to_string().contains(module.to_str().unwrap()), "{error}");
    }
    let error = error_of(hsm.builder().token_label("elsewhere").build().connect().await);
    let shown = error.to_string();
    assert!(shown.contains("the label \"elsewhere\"") && shown.contains("\"here\""), "{shown}");
    let error = error_of(hsm.builder().token_serial("00").build().connect().await);
    assert!(matches!(error, Pkcs11Error::TokenNotFound { .. }), "{error}");
    let error = error_of(hsm.builder().slot(u64::MAX).build().connect().await);
    assert!(matches!(error, Pkcs11Error::TokenNotFound { .. }), "{error}");

    let twins = hsm.builder().token_label("twin");
    Hsm::new("twin");
    twins.clone().build().connect().await.unwrap();
    Hsm::new("twin 2").rename("twin");
    let error = error_of(twins.build().connect().await);
    assert!(matches!(error, Pkcs11Error::AmbiguousToken { .. }), "{error}");

    let none = hsm.builder().pin(TokenPin::in_file(bench.path("none"))).build();
    let error = error_of(none.connect().await);
    assert!(matches!(error, Pkcs11Error::NoPin { .. }), "{error}");
}

async fn keys_that_cannot_serve_are_told_apart() {
    let hsm = Hsm::new("unfit");
    let store = hsm.store();
    hsm.generate("short", &[1], 1024, &[]);
    hsm.generate("ask", &[2], 2048, &[Attribute::AlwaysAuthenticate(true)]);
    let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let (token, label) = (Attribute::Token(true), Attribute::Label("curve".into()));
    let public = [token.clone(), label.clone(), Attribute::EcParams(p256)];
    let private = [token, label, Attribute::Private(true)];
    let curve = hsm.session().generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private);
    curve.unwrap();

    let refused = async |path: &str| error_of(store.wrap_cek(path, RSA_OAEP, &cek()).await);
    let short = Pkcs11Error::KeyTooShort { key_path: "short".into(), bits: 1024 };
    assert_eq!(refused("short").await, short);
    assert_eq!(refused("ask").await, Pkcs11Error::PinForEachUse { key_path: "ask".into() });
    assert_eq!(refused("curve").await, Pkcs11Error::NotRsa { key_path: "curve".into() });
    let error = refused("none").await.to_string();
    for word in ["\"none\"", "\"unfit\"", "object=short;id=%01", "object=curve"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // A public key alone is not a key to open anything with.
    let error = refused("pkcs11:object=short;type=private;id=%02").await;
    assert!(matches!(error, Pkcs11Error::KeyNotFound { .. }), "{error}");
}

async fn a_key_that_may_only_decrypt_reads_rows_and_signs_nothing() {
    let hsm = Hsm::new("readers");
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, KEY_PATH).await;
    let may = |kind: Attribute| {
        let session = hsm.session();
        let private = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
        let key = session.find_objects(&private).unwrap()[0];
        session.update_attributes(key, &[kind]).unwrap();
    };
    let refused = |attribute| Pkcs11Error::NotAllowed { key_path: KEY_PATH.into(), attribute };
    may(Attribute::Sign(false));
    opens(&store, KEY_PATH, &envelope).await;
    let error = error_of(store.wrap_cek(KEY_PATH, RSA_OAEP, &cek()).await);
    assert_eq!(error, refused("CKA_SIGN"));
    assert_eq!(error_of(store.sign_cmk_metadata(KEY_PATH, true).await), refused("CKA_SIGN"));
    may(Attribute::Decrypt(false));
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &envelope).await);
    assert_eq!(error, refused("CKA_DECRYPT"));
}

async fn two_keys_of_one_label_are_refused_until_the_id_is_named() {
    let hsm = Hsm::new("two");
    let store = hsm.store();
    hsm.generate("cmk", &[1], 2048, &[]);
    let first = wrap(&store, KEY_PATH).await;
    hsm.generate("cmk", &[2], 2048, &[]);
    let error = error_of(store.unwrap_cek(KEY_PATH, RSA_OAEP, &first).await);
    let Pkcs11Error::AmbiguousKey { mut keys, .. } = error else { panic!("{error}") };
    keys.sort();
    let named = |id: &str| format!("pkcs11:object=cmk;id={id};type=private");
    assert_eq!(keys, [named("%01"), named("%02")]);
    opens(&store, &keys[0], &first).await;
    let error = store.unwrap_cek(&keys[1], RSA_OAEP, &first).await.unwrap_err();
    let signature = InvalidEnvelope::Signature;
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(e) if e == signature), "{error}");
}

async fn a_path_of_the_server_chooses_neither_token_nor_module_nor_pin() {
    let (hsm, other) = (Hsm::new("ours"), Hsm::new("theirs"));
    other.generate("cmk", &[1], 2048, &[]);
    hsm.generate("cmk", &[1], 2048, &[]);
    let store = hsm.store();
    let envelope = wrap(&store, "pkcs11:token=ours;object=cmk").await;
    let model = "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;object=cmk";
    opens(&store, model, &envelope).await;
    for path in ["token=theirs", "serial=0", "model=x", "manufacturer=x", "token=OURS"] {
        let path = format!("pkcs11:{path};object=cmk;type=private");
        let error = error_of(store.unwrap_cek(&path, RSA_OAEP, &envelope).await);
        assert!(matches!(error, Pkcs11Error::AnotherToken { .. }), "{error}");
    }
    // A module that cannot be loaded shows that a bad path loads none.
    let untouched = Pkcs11KeyStore::builder("/nowhere/module.so").build();
    for path in [
        "pkcs11:object=cmk?module-path=/tmp/evil.so",
        "pkcs11:object=cmk?pin-source=file:/etc/shadow",
        "pkcs11:object=cmk;pin-value=1",
        "pkcs11:object=cmk;slot-id=1",
        "pkcs11:token=ours",
        "",
    ] {
        let error = untouched.unwrap_cek(path, RSA_OAEP, &envelope).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidKeyPath { .. }), "{error}");
    }
}
