//! `CertificateDirectory` on files that OpenSSL made, beside OpenSSL itself.

use std::sync::Arc;

use always_encrypted::{
    crypto::{Cek, CmkError, CmkPrivateKey, Envelope},
    keystore::{
        CertificateDirectory, FilePasswords, InMemoryKeyStore, KeyFileProblem, KeyStoreError,
        KeyStoreProvider, MSSQL_CNG_STORE, MSSQL_CSP_PROVIDER, NewCmk, NewKeyFile, RSA_OAEP,
        StoreLocation,
    },
};

use crate::{
    run::{Case, cases},
    tools::Bench,
};

const PASSWORD: &str = "s3cret";

pub fn cases() -> Vec<Case> {
    cases![
        a_pfx_in_every_encoding_that_is_exported_gives_its_key,
        a_pfx_with_an_empty_password_needs_none,
        a_password_beyond_ascii_opens_what_openssl_sealed_with_it,
        a_wrong_password_is_told_from_damage_although_there_is_no_mac,
        a_pfx_with_a_chain_and_names_serves_its_own_certificate_only,
        a_pfx_with_several_keys_serves_each,
        a_key_in_every_pem_form_serves_beside_its_certificate,
        a_key_that_cannot_be_used_says_why_and_how_to_mend_it,
        openssl_makes_the_signature_of_our_envelope_byte_for_byte,
        openssl_opens_our_envelope_and_we_open_openssls,
        envelopes_of_cng_and_csp_are_signed_as_openssl_signs_a_digest,
        openssl_reads_every_kind_of_key_that_we_make,
    ]
}

async fn open(bench: &Bench, dir: &str, passwords: FilePasswords) -> CertificateDirectory {
    CertificateDirectory::open_with(bench.path(dir), passwords).await.unwrap()
}

/// That the key of `<name>.crt` serves and is the one in `<name>.key`.
async fn assert_serves(bench: &Bench, store: &CertificateDirectory, name: &str, what: &str) {
    assert_eq!(store.skipped().len(), 0, "{what}: {:?}", store.skipped());
    let thumbprint = bench.thumbprint(name);
    let served: Vec<String> = store.thumbprints().iter().map(ToString::to_string).collect();
    assert_eq!(served, [thumbprint.as_str()], "{what}");
    let cek = Cek::from([7; 32]);
    let envelope = store.wrap_cek(&thumbprint, RSA_OAEP, &cek).await.unwrap();
    let pem = String::from_utf8(bench.read(&format!("{name}.key"))).unwrap();
    let key = CmkPrivateKey::from_pem(&pem).unwrap();
    assert!(Envelope::parse(&envelope).unwrap().unwrap_with(&key).is_ok(), "{what}");
}

async fn a_pfx_in_every_encoding_that_is_exported_gives_its_key() {
    let bench = Bench::new();
    bench.certificate("a");
    for (number, how) in [
        // OpenSSL 3; Windows since 2019 with AES.
        "",
        "-keypbe AES-256-CBC -certpbe AES-256-CBC -macalg sha256 -iter 2000",
        "-keypbe AES-128-CBC -certpbe AES-192-CBC",
        // Windows before, and as its default to this day; OpenSSL 1.
        "-legacy",
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
        "-legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-RC2-40 -macalg sha1",
        "-legacy -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-RC2-40 -macalg sha256",
        // With the attributes that Windows adds to keys.
        "-keysig -LMK -name le-1234 -CSP Microsoft_Software_Key_Storage_Provider",
        "-keyex -LMK -legacy",
        "-certpbe NONE",
        "-keypbe NONE -certpbe NONE",
        "-nomac",
        "-noiter -nomaciter",
        "-macalg sha384",
        "-macalg sha512",
    ]
    .iter()
    .enumerate()
    {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&format!(
            "pkcs12 -export -inkey a.key -in a.crt -passout pass:{PASSWORD} {how} -out {dir}/a.pfx"
        ));
        let store = open(&bench, &dir, FilePasswords::same(PASSWORD)).await;
        assert_serves(&bench, &store, "a", how).await;
    }
}

async fn a_pfx_with_an_empty_password_needs_none() {
    let bench = Bench::new();
    bench.certificate("a");
    for (number, how) in
        ["", "-legacy", "-nomac", "-keypbe NONE -certpbe NONE -nomac"].iter().enumerate()
    {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&format!(
            "pkcs12 -export -inkey a.key -in a.crt -passout pass: {how} -out {dir}/a.pfx"
        ));
        let store = open(&bench, &dir, FilePasswords::none()).await;
        assert_serves(&bench, &store, "a", how).await;
        let store = open(&bench, &dir, FilePasswords::same("")).await;
        assert_serves(&bench, &store, "a", how).await;
    }
}

async fn a_password_beyond_ascii_opens_what_openssl_sealed_with_it() {
    let bench = Bench::new();
    bench.certificate("a");
    let password = "Schlüssel-ключ-🔑";
    for (number, how) in ["", "-legacy"].iter().enumerate() {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&format!(
            "pkcs12 -export -inkey a.key -in a.crt -passout pass:{password} {how} -out {dir}/a.pfx"
        ));
        let store = open(&bench, &dir, FilePasswords::same(password)).await;
        assert_serves(&bench, &store, "a", how).await;
    }
}

async fn a_wrong_password_is_told_from_damage_although_there_is_no_mac() {
    let bench = Bench::new();
    bench.certificate("a");
    for (number, how) in ["", "-legacy"].iter().enumerate() {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&format!(
            "pkcs12 -export -inkey a.key -in a.crt -passout pass:{PASSWORD} -nomac -noiter {how} \
             -out {dir}/a.pfx"
        ));
        // One in 256 passwords leaves what looks like padding.
        for password in 0..1000 {
            let store = open(&bench, &dir, FilePasswords::same(password.to_string())).await;
            let skipped = store.skipped();
            assert_eq!(skipped[0].problem, KeyFileProblem::WrongPassword, "{how} {password}");
        }
    }
}

/// A root, and a certificate `leaf` that it issued.
fn chain(bench: &Bench) {
    bench.certificate("root");
    bench.openssl("req -newkey rsa:2048 -nodes -subj /CN=leaf -keyout leaf.key -out leaf.csr");
    bench.openssl(
        "x509 -req -in leaf.csr -CA root.crt -CAkey root.key -set_serial 7 -days 30 -out leaf.crt",
    );
}

async fn a_pfx_with_a_chain_and_names_serves_its_own_certificate_only() {
    let bench = Bench::new();
    chain(&bench);
    for (number, how) in ["", "-legacy"].iter().enumerate() {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&format!(
            "pkcs12 -export -inkey leaf.key -in leaf.crt -certfile root.crt -name Messages \
             -caname Issuer -passout pass:{PASSWORD} {how} -out {dir}/a.p12"
        ));
        let store = open(&bench, &dir, FilePasswords::same(PASSWORD)).await;
        assert_serves(&bench, &store, "leaf", how).await;
    }
}

async fn a_pfx_with_several_keys_serves_each() {
    let bench = Bench::new();
    bench.subdir("keys");
    for alias in ["one", "two", "three"] {
        bench.keytool(&format!(
            "-genkeypair -alias {alias} -dname CN={alias} -keyalg RSA -keysize 2048 -storetype \
             PKCS12 -keystore keys/all.pfx -storepass {PASSWORD}"
        ));
    }
    let store = open(&bench, "keys", FilePasswords::same(PASSWORD)).await;
    assert_eq!(store.skipped().len(), 0, "{:?}", store.skipped());
    assert_eq!(store.thumbprints().len(), 3);
}

async fn a_key_in_every_pem_form_serves_beside_its_certificate() {
    let bench = Bench::new();
    bench.certificate("a");
    let pkcs8 = |how: &str| format!("pkcs8 -topk8 -in a.key -passout pass:{PASSWORD} {how}");
    for (number, how) in [
        "rsa -in a.key -traditional".to_owned(),
        "pkcs8 -topk8 -nocrypt -in a.key".to_owned(),
        pkcs8(""),
        pkcs8("-v2 aes-128-cbc"),
        pkcs8("-v2 aes-192-cbc -v2prf hmacWithSHA384"),
        pkcs8("-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000"),
        // The default of OpenSSL 1.0, and its cipher before that.
        pkcs8("-v2 aes-256-cbc -v2prf hmacWithSHA1"),
        pkcs8("-v2 des3"),
        pkcs8("-scrypt"),
        pkcs8("-scrypt -scrypt_N 1024 -scrypt_r 4 -scrypt_p 2"),
        pkcs8("-outform DER"),
        // PKCS#12's own schemes, as some guides have it for old programs' sake.
        pkcs8("-v1 PBE-SHA1-3DES"),
        pkcs8("-v1 PBE-SHA1-3DES -iter 5000 -outform DER"),
        pkcs8("-v1 PBE-SHA1-RC2-40 -provider legacy -provider default"),
        "rsa -in a.key -traditional -outform DER".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        std::fs::copy(bench.path("a.crt"), bench.path(&format!("{dir}/a.crt"))).unwrap();
        bench.openssl(&format!("{how} -out {dir}/a.key"));
        let store = open(&bench, &dir, FilePasswords::same(PASSWORD)).await;
        assert_serves(&bench, &store, "a", how).await;
    }
}

fn unsupported(algorithm: &str) -> KeyFileProblem {
    KeyFileProblem::UnsupportedEncryption { algorithm: algorithm.into() }
}

async fn a_key_that_cannot_be_used_says_why_and_how_to_mend_it() {
    use KeyFileProblem as P;
    let bench = Bench::new();
    bench.certificate("a");
    bench.openssl("req -x509 -newkey rsa:1024 -nodes -subj /CN=s -keyout s.key -out s.crt");
    bench.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=e -keyout e.key \
         -out e.crt",
    );
    let export = format!("pkcs12 -export -passout pass:{PASSWORD}");
    for (number, (how, expected, remedy)) in [
        (
            format!("{export} -inkey s.key -in s.crt -out DIR/s.pfx"),
            P::Key(CmkError::ModulusTooSmall { bits: 1024 }),
            "2048",
        ),
        (format!("{export} -inkey e.key -in e.crt -out DIR/e.pfx"), P::NotRsa, "RSA keys of 2048"),
        (format!("{export} -nokeys -in a.crt -out DIR/n.pfx"), P::NoPrivateKey, "export"),
        (
            "pkcs12 -export -passout pass:other -inkey a.key -in a.crt -out DIR/w.pfx".to_owned(),
            P::WrongPassword,
            "password",
        ),
        (
            "pkcs8 -topk8 -passout pass:other -in a.key -out DIR/w.key".to_owned(),
            P::WrongPassword,
            "password",
        ),
        (
            "rsa -in a.key -traditional -aes256 -passout pass:s3cret -out DIR/o.key".to_owned(),
            P::OldEncryptedPem,
            "openssl pkcs8",
        ),
        (
            format!("pkcs8 -topk8 -passout pass:{PASSWORD} -in a.key -iter 2000000 -out DIR/c.key"),
            P::TooCostly,
            "openssl pkcs8",
        ),
        (
            format!(
                "pkcs8 -topk8 -passout pass:{PASSWORD} -in a.key -scrypt -scrypt_N 1024 \
                 -scrypt_r 1 -scrypt_p 17 -out DIR/c.key"
            ),
            P::TooCostly,
            "openssl pkcs8",
        ),
        ("rsa -in a.key -traditional -out DIR/k.key".to_owned(), P::NoCertificate, "thumbprint"),
        (
            // What OpenSSL 1.0 wrote unless told otherwise.
            format!(
                "pkcs8 -topk8 -passout pass:{PASSWORD} -in a.key -v1 PBE-MD5-DES -provider legacy \
                 -provider default -out DIR/m.key"
            ),
            unsupported("pbeWithMD5AndDES-CBC"),
            "openssl pkcs8",
        ),
        (
            format!(
                "{export} -inkey a.key -in a.crt -legacy -keypbe PBE-SHA1-RC4-128 -out DIR/r.pfx"
            ),
            unsupported("pbeWithSHAAnd128BitRC4"),
            "exporting it with AES-256",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = format!("keys{number}");
        bench.subdir(&dir);
        bench.openssl(&how.replace("DIR", &dir));
        // One that serves, whatever becomes of the other.
        bench.openssl(&format!("{export} -inkey a.key -in a.crt -out {dir}/good.pfx"));
        let store = open(&bench, &dir, FilePasswords::same(PASSWORD)).await;
        assert_eq!(store.thumbprints().len(), 1, "{how}");
        let skipped = store.skipped();
        let problems: Vec<_> = skipped.iter().map(|file| file.problem.clone()).collect();
        assert_eq!(problems, [expected], "{how}");
        assert!(problems[0].to_string().contains(remedy), "{}", problems[0]);
    }
}

async fn openssl_makes_the_signature_of_our_envelope_byte_for_byte() {
    let bench = Bench::new();
    bench.certificate("a");
    bench.subdir("keys");
    bench.openssl(&format!(
        "pkcs12 -export -inkey a.key -in a.crt -passout pass:{PASSWORD} -out keys/a.pfx"
    ));
    let store = open(&bench, "keys", FilePasswords::same(PASSWORD)).await;
    let path = format!("CurrentUser/My/{}", bench.thumbprint("a"));
    let envelope = store.wrap_cek(&path, RSA_OAEP, &Cek::generate().unwrap()).await.unwrap();
    let parsed = Envelope::parse(&envelope).unwrap();
    bench.write("prefix", parsed.signed_bytes());
    assert_eq!(bench.openssl("dgst -sha256 -sign a.key prefix"), parsed.signature());
}

async fn openssl_opens_our_envelope_and_we_open_openssls() {
    const OAEP: &str = "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1 -pkeyopt \
                        rsa_mgf1_md:sha1";
    let bench = Bench::new();
    bench.certificate("a");
    bench.subdir("keys");
    bench.openssl("rsa -in a.key -traditional -out keys/a.key");
    std::fs::copy(bench.path("a.crt"), bench.path("keys/a.crt")).unwrap();
    let store = open(&bench, "keys", FilePasswords::none()).await;
    let (path, cek) = (format!("CurrentUser/My/{}", bench.thumbprint("a")), Cek::from([42; 32]));
    let envelope = store.wrap_cek(&path, RSA_OAEP, &cek).await.unwrap();
    let parsed = Envelope::parse(&envelope).unwrap();
    bench.write("ciphertext", parsed.ciphertext());
    let opened = bench.openssl(&format!("pkeyutl -decrypt -inkey a.key {OAEP} -in ciphertext"));
    assert_eq!(opened, cek.expose());

    bench.write("cek", cek.expose());
    let made = bench.openssl(&format!("pkeyutl -encrypt -certin -inkey a.crt {OAEP} -in cek"));
    let head = envelope.len() - 512;
    let mut theirs = [&envelope[..head], &made].concat();
    bench.write("prefix", &theirs);
    theirs.extend(bench.openssl("dgst -sha256 -sign a.key prefix"));
    let opened = store.unwrap_cek(&path, RSA_OAEP, &theirs).await.unwrap();
    assert_eq!(opened.expose(), cek.expose());
}

async fn envelopes_of_cng_and_csp_are_signed_as_openssl_signs_a_digest() {
    let bench = Bench::new();
    bench.certificate("a");
    let pem = String::from_utf8(bench.read("a.key")).unwrap();
    let key = Arc::new(CmkPrivateKey::from_pem(&pem).unwrap());
    let cek = Cek::from([42; 32]);
    for (name, path) in [
        (MSSQL_CNG_STORE, "Microsoft Software Key Storage Provider/Messages"),
        (MSSQL_CSP_PROVIDER, "Microsoft Enhanced RSA and AES Cryptographic Provider/Messages"),
        // Case does not count in a provider's name.
        ("mssql_cng_store", "Provider/Key"),
    ] {
        let store = InMemoryKeyStore::new(name).with_key(path, Arc::clone(&key));
        let envelope = store.wrap_cek(path, RSA_OAEP, &cek).await.unwrap();
        let parsed = Envelope::parse(&envelope).unwrap();
        bench.write("prefix", parsed.signed_bytes());
        bench.openssl("dgst -sha256 -binary -out digest prefix");
        assert_eq!(bench.openssl("dgst -sha256 -sign a.key digest"), parsed.signature(), "{name}");
        assert_eq!(
            store.unwrap_cek(path, RSA_OAEP, &envelope).await.unwrap().expose(),
            cek.expose()
        );
        // Under any other name such a signature is none.
        let other = InMemoryKeyStore::new("ANOTHER").with_key(path, Arc::clone(&key));
        let refused = other.unwrap_cek(path, RSA_OAEP, &envelope).await.unwrap_err();
        assert!(matches!(refused, KeyStoreError::InvalidEnvelope(_)), "{refused}");
        let usual = other.wrap_cek(path, RSA_OAEP, &cek).await.unwrap();
        assert!(store.unwrap_cek(path, RSA_OAEP, &usual).await.is_ok());
        let mut changed = envelope.clone();
        changed[20] ^= 1;
        assert!(store.unwrap_cek(path, RSA_OAEP, &changed).await.is_err());
    }
}

async fn openssl_reads_every_kind_of_key_that_we_make() {
    let bench = Bench::new();
    bench.subdir("keys");
    let store = open(&bench, "keys", FilePasswords::same(PASSWORD)).await;
    for (file, bits, location) in [
        (NewKeyFile::Pfx, 2048, StoreLocation::LocalMachine),
        (NewKeyFile::Pfx, 3072, StoreLocation::CurrentUser),
        (NewKeyFile::PemPair, 4096, StoreLocation::CurrentUser),
    ] {
        let new = NewCmk::new("Messages").bits(bits).location(location).file(file);
        let made = store.create_cmk_as(new).await.unwrap();
        let name = format!("keys/{}", made.thumbprint);
        let (certificate, key) = match file {
            NewKeyFile::Pfx => {
                let read = format!("pkcs12 -in {name}.pfx -passin pass:{PASSWORD} -nodes");
                let listed = String::from_utf8(bench.openssl(&read)).unwrap();
                assert!(listed.contains("friendlyName: Messages"), "{listed}");
                bench.write("all.pem", listed.as_bytes());
                ("all.pem".to_owned(), "all.pem".to_owned())
            }
            _ => (format!("{name}.crt"), format!("{name}.key")),
        };
        bench.openssl(&format!("x509 -in {certificate} -out made.crt"));
        assert_eq!(bench.thumbprint("made"), made.thumbprint.to_string());
        let words = bench.openssl(&format!("rsa -in {key} -check -noout -text"));
        let words = String::from_utf8(words).unwrap();
        assert!(words.contains("RSA key ok") && words.contains(&format!("{bits} bit")), "{words}");
        bench.openssl("verify -CAfile made.crt made.crt");
        #[cfg(unix)]
        for entry in std::fs::read_dir(bench.path("keys")).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
    assert_eq!(store.thumbprints().len(), 3);
}
