//! `CertificateDirectory` on files that OpenSSL made.

use always_encrypted::keystore::{CertificateDirectory, FilePasswords};

use crate::{
    run::{Case, cases},
    tools::Bench,
};

pub fn cases() -> Vec<Case> {
    cases![a_pfx_with_a_password_gives_its_key]
}

async fn a_pfx_with_a_password_gives_its_key() {
    let bench = Bench::new();
    let keys = bench.subdir("keys");
    bench.openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=a -keyout a.key -out a.crt");
    bench.openssl("pkcs12 -export -inkey a.key -in a.crt -passout pass:s3cret -out keys/a.pfx");
    let store = CertificateDirectory::open_with(keys, FilePasswords::same("s3cret")).await.unwrap();
    assert_eq!(store.thumbprints().len(), 1);
}
