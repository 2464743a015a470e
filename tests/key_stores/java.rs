//! `JavaKeyStore` on files that keytool made, beside the provider of Microsoft's JDBC driver.

use always_encrypted::{
    crypto::{Cek, CmkError, Envelope},
    keystore::{
        CertificateDirectory, FilePasswords, JavaKeyStore, KeyFileProblem, KeyFileWarning,
        KeyStoreError, KeyStoreProvider, RSA_OAEP,
    },
};

use crate::{
    run::{Case, cases},
    tools::{Bench, hex, unhex},
};

const PASSWORD: &str = "s3cret";

pub fn cases() -> Vec<Case> {
    cases![
        jdbc_and_we_open_each_others_envelopes_of_every_kind_of_key_store,
        jdbc_and_we_sign_and_believe_the_same_definitions,
        jdbc_and_keytool_open_a_key_store_that_we_made,
        jdbc_refuses_what_we_refuse,
        a_key_store_of_many_entries_gives_its_private_keys,
        keys_that_are_of_no_use_say_so_and_stop_no_other,
        a_wrong_password_is_told_for_every_kind_of_key_store,
        keytool_adds_and_removes_keys_while_we_run,
        an_expired_certificate_serves_with_a_warning,
        the_certificate_directory_reads_what_keytool_exports,
    ]
}

/// The kinds of key store, as words for keytool. The last is what Java 8 wrote as PKCS#12.
const KINDS: [(&str, &str); 3] = [
    ("jks", "-storetype JKS"),
    ("p12", "-storetype PKCS12"),
    ("old.p12", "-storetype PKCS12 -J-Dkeystore.pkcs12.legacy"),
];

fn generate(bench: &Bench, file: &str, kind: &str, alias: &str, more: &str) {
    bench.keytool(&format!(
        "-genkeypair -alias {alias} -dname CN={alias} -validity 365 {kind} -keystore {file} \
         -storepass {PASSWORD} -keypass {PASSWORD} {more}"
    ));
}

const RSA: &str = "-keyalg RSA -keysize 2048";

async fn open(bench: &Bench, file: &str) -> JavaKeyStore {
    JavaKeyStore::open(bench.path(file), FilePasswords::same(PASSWORD)).await.unwrap()
}

fn question(operation: &str, file: &str, alias: &str, rest: &str) -> String {
    format!("{operation} {file} {PASSWORD} {alias} {rest}")
}

async fn jdbc_and_we_open_each_others_envelopes_of_every_kind_of_key_store() {
    let bench = Bench::new();
    let cek = Cek::generate().unwrap();
    let mut questions = Vec::new();
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "Messages", RSA);
        let store = open(&bench, &file).await;
        let envelope = store.wrap_cek("Messages", RSA_OAEP, &cek).await.unwrap();
        questions.push(question("decrypt", &file, "messages", &hex(&envelope)));
        questions.push(question("encrypt", &file, "Messages", &hex(cek.expose())));
    }
    let answers = bench.jdbc(&questions);
    for ((suffix, _), answers) in KINDS.iter().zip(answers.chunks(2)) {
        let file = format!("keys.{suffix}");
        assert_eq!(unhex(&answers[0]), cek.expose(), "JDBC on our envelope: {file}");
        let envelope = unhex(&answers[1]);
        assert_eq!(Envelope::parse(&envelope).unwrap().key_path(), "messages");
        let store = open(&bench, &file).await;
        let opened = store.unwrap_cek("Messages", RSA_OAEP, &envelope).await.unwrap();
        assert_eq!(opened.expose(), cek.expose(), "we on JDBC's envelope: {file}");
    }
}

async fn jdbc_and_we_sign_and_believe_the_same_definitions() {
    let bench = Bench::new();
    generate(&bench, "keys.p12", "-storetype PKCS12", "messages", RSA);
    let store = open(&bench, "keys.p12").await;
    let ours = store.sign_cmk_metadata("Messages", true).await.unwrap();
    let verify = |signature: &[u8], flag: &str| {
        question("verify", "keys.p12", "Messages", &format!("{flag} {}", hex(signature)))
    };
    let mut changed = ours.clone();
    changed[7] ^= 1;
    let answers = bench.jdbc(&[
        question("sign", "keys.p12", "Messages", "true"),
        question("sign", "keys.p12", "Messages", "false"),
        verify(&ours, "true"),
        verify(&ours, "false"),
        verify(&changed, "true"),
    ]);
    assert_eq!(unhex(&answers[0]), ours, "signatures of this kind are the same bytes");
    assert_eq!(answers[1..4], ["null", "true", "false"]);
    assert!(answers[4].starts_with("refused: "), "{}", answers[4]);
    assert!(store.verify_cmk_metadata("Messages", true, &ours).await.unwrap());
    assert!(!store.verify_cmk_metadata("Messages", true, &changed).await.unwrap());
    assert!(!store.verify_cmk_metadata("Messages", false, &ours).await.unwrap());
}

async fn jdbc_and_keytool_open_a_key_store_that_we_made() {
    let bench = Bench::new();
    let (path, passwords) = (bench.path("made.p12"), FilePasswords::same(PASSWORD));
    let store = JavaKeyStore::create(path, passwords, "Messages", 3072).await.unwrap();
    let cek = Cek::generate().unwrap();
    let envelope = store.wrap_cek("messages", RSA_OAEP, &cek).await.unwrap();
    let line = question("decrypt", "made.p12", "Messages", &hex(&envelope));
    assert_eq!(unhex(&bench.jdbc(&[line])[0]), cek.expose());
    let listed = format!("-list -v -alias messages -keystore made.p12 -storepass {PASSWORD}");
    let listed = String::from_utf8(bench.keytool(&listed)).unwrap();
    for words in ["PrivateKeyEntry", "CN=messages", "3072-bit RSA"] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
}

async fn jdbc_refuses_what_we_refuse() {
    let bench = Bench::new();
    generate(&bench, "keys.jks", "-storetype JKS", "messages", RSA);
    let store = open(&bench, "keys.jks").await;
    let envelope = store.wrap_cek("messages", RSA_OAEP, &Cek::generate().unwrap()).await.unwrap();
    let mut changed = envelope.clone();
    changed[30] ^= 1;
    let answers = bench.jdbc(&[
        question("decrypt", "keys.jks", "messages", &hex(&changed)),
        question("decrypt", "keys.jks", "nobody", &hex(&envelope)),
        question("decrypt", "nowhere.jks", "messages", &hex(&envelope)),
        format!("decrypt keys.jks wrong messages {}", hex(&envelope)),
    ]);
    assert!(answers.iter().all(|answer| answer.starts_with("refused: ")), "{answers:?}");
    let error = store.unwrap_cek("messages", RSA_OAEP, &changed).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(_)), "{error}");
    let error = store.unwrap_cek("nobody", RSA_OAEP, &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::KeyNotFound { .. }), "{error}");
}

async fn a_key_store_of_many_entries_gives_its_private_keys() {
    let bench = Bench::new();
    bench.certificate("trusted");
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "first", RSA);
        bench.keytool(&format!(
            "-importcert -noprompt -alias trusted -file trusted.crt {kind} -keystore {file} \
             -storepass {PASSWORD}"
        ));
        generate(&bench, &file, kind, "second", RSA);
        // A chain of two: the first signs the second.
        let word = format!("{kind} -keystore {file} -storepass {PASSWORD}");
        bench.keytool(&format!("-certreq -alias second -file request {word}"));
        bench
            .keytool(&format!("-gencert -alias first -infile request -outfile signed -rfc {word}"));
        bench.keytool(&format!("-importcert -noprompt -alias second -file signed {word}"));
        if suffix != "jks" {
            bench.keytool(&format!("-genseckey -alias secret -keyalg AES -keysize 256 {word}"));
        }
        let store = open(&bench, &file).await;
        assert_eq!(store.aliases(), ["first", "second"], "{file}");
        assert_eq!(store.skipped(), [], "{file}");
        let envelope = store.wrap_cek("second", RSA_OAEP, &Cek::from([1; 32])).await.unwrap();
        assert!(store.unwrap_cek("second", RSA_OAEP, &envelope).await.is_ok());
        assert!(store.unwrap_cek("first", RSA_OAEP, &envelope).await.is_err());
        let trusted = store.sign_cmk_metadata("trusted", true).await.unwrap_err();
        assert!(matches!(trusted, KeyStoreError::KeyNotFound { .. }));
    }
}

async fn keys_that_are_of_no_use_say_so_and_stop_no_other() {
    let bench = Bench::new();
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "ec", "-keyalg EC -groupname secp256r1");
        generate(&bench, &file, kind, "short", "-keyalg RSA -keysize 1024");
        generate(&bench, &file, kind, "good", RSA);
        let store = open(&bench, &file).await;
        assert_eq!(store.aliases(), ["good"], "{file}");
        let short = KeyFileProblem::Key(CmkError::ModulusTooSmall { bits: 1024 });
        let expected = [("ec".to_owned(), KeyFileProblem::NotRsa), ("short".to_owned(), short)];
        assert_eq!(store.skipped(), expected, "{file}");
        let error = store.sign_cmk_metadata("ec", true).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::UnusableKeyFile(_)), "{error}");
    }
    // Only JKS has passwords of single keys.
    bench.keytool(
        "-keypasswd -alias good -storetype JKS -keystore keys.jks -storepass s3cret -keypass s3cret \
         -new another",
    );
    let store = open(&bench, "keys.jks").await;
    assert!(store.skipped().contains(&("good".to_owned(), KeyFileProblem::KeyPassword)));
}

async fn a_wrong_password_is_told_for_every_kind_of_key_store() {
    let bench = Bench::new();
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "messages", RSA);
        for (passwords, expected) in [
            (FilePasswords::same("wrong"), KeyFileProblem::WrongPassword),
            (FilePasswords::none(), KeyFileProblem::NoPassword),
        ] {
            let error = JavaKeyStore::open(bench.path(&file), passwords).await.unwrap_err();
            let KeyStoreError::UnusableKeyFile(unusable) = error else { panic!("{error}") };
            assert_eq!(unusable.problem, expected, "{file}");
        }
    }
    generate(&bench, "keys.jceks", "-storetype JCEKS", "messages", RSA);
    let passwords = FilePasswords::same(PASSWORD);
    let error = JavaKeyStore::open(bench.path("keys.jceks"), passwords).await.unwrap_err();
    assert!(error.to_string().contains("JCEKS"), "{error}");
}

async fn keytool_adds_and_removes_keys_while_we_run() {
    let bench = Bench::new();
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "first", RSA);
        let store = open(&bench, &file).await;
        assert!(store.sign_cmk_metadata("second", true).await.is_err());
        generate(&bench, &file, kind, "second", RSA);
        assert!(store.sign_cmk_metadata("second", true).await.is_ok(), "{file}");
        bench.keytool(&format!(
            "-delete -alias first {kind} -keystore {file} -storepass {PASSWORD}"
        ));
        assert!(store.sign_cmk_metadata("first", true).await.is_err(), "{file}");
    }
}

async fn an_expired_certificate_serves_with_a_warning() {
    let bench = Bench::new();
    for (suffix, kind) in KINDS {
        let file = format!("keys.{suffix}");
        generate(&bench, &file, kind, "old", &format!("{RSA} -startdate -2y"));
        let store = open(&bench, &file).await;
        let expired = |w: &KeyFileWarning| matches!(w, KeyFileWarning::Expired { .. });
        assert_eq!(store.warnings().iter().filter(|w| expired(w)).count(), 1, "{file}");
        assert!(store.sign_cmk_metadata("old", true).await.is_ok());
    }
}

async fn the_certificate_directory_reads_what_keytool_exports() {
    let bench = Bench::new();
    let keys = bench.subdir("keys");
    for (index, (suffix, kind)) in KINDS.iter().enumerate().skip(1) {
        generate(&bench, &format!("keys/{suffix}"), kind, &format!("key{index}"), RSA);
    }
    // Java writes neither MAC nor encryption of certificates if told so.
    let bare = "-storetype PKCS12 -J-Dkeystore.pkcs12.macAlgorithm=NONE \
                -J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE";
    generate(&bench, "keys/bare.p12", bare, "bare", RSA);
    std::fs::rename(bench.path("keys/p12"), bench.path("keys/new.p12")).unwrap();
    let passwords = FilePasswords::same(PASSWORD);
    let store = CertificateDirectory::open_with(keys, passwords).await.unwrap();
    assert_eq!(store.skipped().len(), 0, "{:?}", store.skipped());
    assert_eq!(store.thumbprints().len(), 3);
}
