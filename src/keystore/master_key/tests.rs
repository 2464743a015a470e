use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{crypto::CmkPrivateKey, keystore::local_key::LocalKey};

/// A store that may sign with another key than it shows.
struct Store {
    shown: CmkPrivateKey,
    used: CmkPrivateKey,
    decryptions: AtomicUsize,
}

impl Store {
    fn new() -> Self {
        let shown = CmkPrivateKey::generate(2048).unwrap();
        let used = CmkPrivateKey::from_pem(&shown.to_pkcs8_pem().unwrap()).unwrap();
        Self { shown, used, decryptions: AtomicUsize::new(0) }
    }
}

impl MasterKey for Store {
    fn public_key(&self) -> Arc<CmkPublicKey> {
        Arc::new(self.shown.public_key())
    }

    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>> {
        self.decryptions.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.used.oaep_decrypt(ciphertext).ok_or(InvalidEnvelope::Ciphertext.into())
        })
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        Box::pin(async move { Ok(self.used.sign(message)?) })
    }
}

#[tokio::test]
async fn what_a_key_elsewhere_wrapped_is_what_a_key_in_memory_opens() {
    let store = Store::new();
    let cek = Cek::generate().unwrap();
    let envelope = wrap("S", &store, "Some/Path", &cek).await.unwrap();
    let parsed = Envelope::parse(&envelope).unwrap();
    assert_eq!(parsed.key_path(), "Some/Path");
    assert_eq!(parsed.unwrap_with(&store.used).unwrap().expose(), cek.expose());
    assert_eq!(unwrap("S", &store, &envelope).await.unwrap().expose(), cek.expose());
}

#[tokio::test]
async fn what_is_named_as_sqlclients_cng_provider_signs_as_that_does_and_reads_both_forms() {
    let store = Store::new();
    let cek = Cek::generate().unwrap();
    let envelope = wrap("mssql_cng_store", &store, "p/k", &cek).await.unwrap();
    let parsed = Envelope::parse(&envelope).unwrap();
    assert_eq!(parsed.verify(&store.public_key()), Err(InvalidEnvelope::Signature));
    assert_eq!(parsed.verify_as(&[SignatureForm::OverDigest], &store.public_key()), Ok(()));
    assert!(unwrap("MSSQL_CNG_STORE", &store, &envelope).await.is_ok());
    assert!(unwrap("OTHER", &store, &envelope).await.is_err());
    let plain = wrap("OTHER", &store, "p/k", &cek).await.unwrap();
    assert!(unwrap("MSSQL_CNG_STORE", &store, &plain).await.is_ok());
}

#[tokio::test]
async fn a_false_envelope_never_reaches_the_store() {
    let store = Store::new();
    let good = wrap("S", &store, "p", &Cek::generate().unwrap()).await.unwrap();
    for at in [0, 1, 3, 5, 6, 300, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let error = unwrap("S", &store, &bad).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidEnvelope(_)), "{at}: {error}");
    }
    assert_eq!(store.decryptions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_store_that_signs_with_another_key_gives_no_envelope() {
    let mut store = Store::new();
    store.used = CmkPrivateKey::generate(2048).unwrap();
    let error = wrap("S", &store, "p", &Cek::generate().unwrap()).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
    let error = sign_metadata("S", &store, "p", true).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
}

#[tokio::test]
async fn a_metadata_signature_holds_for_its_own_path_and_flag_only() {
    let store = Store::new();
    let signature = sign_metadata("S", &store, "p", true).await.unwrap();
    assert!(verify_metadata("S", &store, "P", true, &signature).await.unwrap());
    assert!(!verify_metadata("S", &store, "p", false, &signature).await.unwrap());
    assert!(!verify_metadata("S", &store, "q", true, &signature).await.unwrap());
    assert!(!verify_metadata("S", &store, "p", true, &[]).await.unwrap());
}

#[tokio::test]
async fn under_a_name_of_microsofts_the_signatures_are_those_of_a_key_in_memory() {
    let store = Store::new();
    let cek = Cek::generate().unwrap();
    let key = Arc::new(CmkPrivateKey::from_pem(&store.shown.to_pkcs8_pem().unwrap()).unwrap());
    for name in ["MSSQL_CNG_STORE", "mssql_csp_provider", "MSSQL_JAVA_KEYSTORE"] {
        let key = LocalKey { provider: name, key: Arc::clone(&key) };
        let ours = wrap(name, &store, "p", &cek).await.unwrap();
        assert_eq!(unwrap(name, &key, &ours).await.unwrap().expose(), cek.expose());
        let theirs = wrap(name, &key, "p", &cek).await.unwrap();
        assert_eq!(unwrap(name, &store, &theirs).await.unwrap().expose(), cek.expose());
        let ours = sign_metadata(name, &store, "p", true).await.unwrap();
        assert_eq!(ours, sign_metadata(name, &key, "p", true).await.unwrap());
        assert!(verify_metadata(name, &store, "p", true, &ours).await.unwrap());
    }
    let plain = wrap("S", &store, "p", &cek).await.unwrap();
    unwrap("MSSQL_CNG_STORE", &store, &plain).await.unwrap();
    let digest = wrap("MSSQL_CNG_STORE", &store, "p", &cek).await.unwrap();
    let error = unwrap("S", &store, &digest).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)));
}
