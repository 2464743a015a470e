//! Time, failures and lies, against a vault within the process whose clock is the test's. The REST
//! interface itself is in tests/key_stores/azure.rs.

use std::sync::{
    MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use azure_core::{
    base64::{decode_url_safe, encode_url_safe},
    credentials::{AccessToken, TokenRequestOptions},
    http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode, headers::Headers},
    time::{Duration as AzureDuration, OffsetDateTime},
};
use rsa::traits::PublicKeyParts as _;
use tokio::time::Instant;

use super::*;
use crate::{crypto::CmkPrivateKey, keystore::RSA_OAEP};

const HOST: &str = "contoso.vault.azure.net";
const PATH: &str = "https://contoso.vault.azure.net/keys/cmk";
const V1: &str = "11111111111111111111111111111111";
const V2: &str = "22222222222222222222222222222222";

/// A vault with one key, in versions of which the last is current.
struct Fake {
    versions: Mutex<Vec<(&'static str, CmkPrivateKey)>>,
    /// What to answer to an authorised request in place of the truth.
    fault: Mutex<Option<Fault>>,
    /// The number of the first token that is good; every token that is handed out counts up.
    good_token: AtomicUsize,
    tokens: AtomicUsize,
    gets: AtomicUsize,
    operations: AtomicUsize,
}

type Fault = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;

enum Reply {
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    Never,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            versions: Mutex::new(vec![(V1, CmkPrivateKey::generate(2048).unwrap())]),
            fault: Mutex::new(None),
            good_token: AtomicUsize::new(1),
            tokens: AtomicUsize::new(0),
            gets: AtomicUsize::new(0),
            operations: AtomicUsize::new(0),
        })
    }

    fn store(self: &Arc<Self>) -> AzureKeyVault {
        self.builder().build().unwrap()
    }

    fn builder(self: &Arc<Self>) -> AzureKeyVaultBuilder {
        let transport = Transport::new(Arc::new(Wire(Arc::clone(self))));
        AzureKeyVault::builder(Arc::new(Tokens(Arc::clone(self)))).transport(transport)
    }

    fn rotate(&self) {
        self.versions().push((V2, CmkPrivateKey::generate(2048).unwrap()));
    }

    fn versions(&self) -> MutexGuard<'_, Vec<(&'static str, CmkPrivateKey)>> {
        self.versions.lock().unwrap()
    }

    fn fail(&self, fault: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
    }

    /// The first `times` authorised requests are answered with this.
    fn fail_times(&self, mut times: usize, status: u16, headers: &[(&'static str, &'static str)]) {
        let headers = headers.to_vec();
        self.fail(move |_| {
            times = times.checked_sub(1)?;
            Some(Reply::Answer(status, headers.clone(), String::new()))
        });
    }

    fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn counts(&self) -> (usize, usize) {
        (self.gets.load(Ordering::Relaxed), self.operations.load(Ordering::Relaxed))
    }

    fn answer(&self, request: &Request) -> Reply {
        let url = request.url();
        assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some(HOST), None));
        let token = request.headers().get_optional_str(&"authorization".into());
        let number = token.and_then(|token| token.strip_prefix("Bearer token-")?.parse().ok());
        if number.is_none_or(|number: usize| number < self.good_token.load(Ordering::Relaxed)) {
            let challenge = "Bearer authorization=\"https://login.example/t\", \
                             resource=\"https://vault.azure.net\"";
            return Reply::Answer(401, vec![("www-authenticate", challenge)], String::new());
        }
        let fault = self.fault.lock().unwrap().as_mut().and_then(|fault| fault(request));
        let get = url.path().matches('/').count() < 4;
        let counter = if get { &self.gets } else { &self.operations };
        counter.fetch_add(1, Ordering::Relaxed);
        fault.unwrap_or_else(|| Reply::Answer(200, Vec::new(), self.truth(request)))
    }

    fn truth(&self, request: &Request) -> String {
        let versions = self.versions();
        let segments: Vec<&str> = request.url().path().trim_matches('/').split('/').collect();
        assert_eq!(&segments[..2], ["keys", "cmk"]);
        let version = match segments.get(2) {
            Some(id) => versions.iter().find(|(version, _)| version == id).unwrap(),
            None => versions.last().unwrap(),
        };
        let kid = format!("{PATH}/{}", version.0);
        let Some(operation) = segments.get(3) else { return bundle(&kid, &version.1) };
        let Body::Bytes(body) = request.body() else { panic!("a stream") };
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let value = decode_url_safe(body["value"].as_str().unwrap()).unwrap();
        let result = match (*operation, body["alg"].as_str().unwrap()) {
            ("unwrapkey", "RSA-OAEP") => version.1.oaep_decrypt(&value).unwrap().to_vec(),
            ("sign", "RS256") => version.1.rsa().pkcs1v15_sign_prehash::<Sha256>(&value).unwrap(),
            other => panic!("{other:?}"),
        };
        serde_json::json!({ "kid": kid, "value": encode_url_safe(result) }).to_string()
    }
}

fn bundle(kid: &str, key: &CmkPrivateKey) -> String {
    let n = encode_url_safe(key.rsa().n().to_be_bytes_trimmed_vartime());
    let e = encode_url_safe(key.rsa().e().to_be_bytes_trimmed_vartime());
    serde_json::json!({ "key": { "kid": kid, "kty": "RSA", "n": n, "e": e } }).to_string()
}

struct Wire(Arc<Fake>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait::async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.0.answer(request) {
            Reply::Never => std::future::pending().await,
            Reply::Answer(status, headers, body) => {
                let mut map = Headers::new();
                for (name, value) in headers {
                    map.insert(name, value);
                }
                Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), map, body))
            }
        }
    }
}

struct Tokens(Arc<Fake>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[async_trait::async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://vault.azure.net/.default"]);
        let number = self.0.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let expires = OffsetDateTime::now_utc() + AzureDuration::hours(1);
        Ok(AccessToken::new(format!("token-{number}"), expires))
    }
}

fn versioned() -> String {
    format!("{PATH}/{V1}")
}

async fn wrapped(store: &AzureKeyVault, path: &str) -> Vec<u8> {
    store.wrap_cek(path, RSA_OAEP, &Cek::from([7; 32])).await.unwrap()
}

async fn open(store: &AzureKeyVault, path: &str, envelope: &[u8]) -> Result<(), KeyStoreError> {
    let cek = store.unwrap_cek(path, RSA_OAEP, envelope).await?;
    assert_eq!(cek.expose(), &[7; 32]);
    Ok(())
}

fn problem(error: KeyStoreError) -> AzureKeyVaultProblem {
    match error {
        KeyStoreError::AzureKeyVault(error) => error.problem,
        other => panic!("{other}"),
    }
}

fn unavailable(outcome: Result<(), KeyStoreError>) -> String {
    match outcome {
        Err(error @ KeyStoreError::Unavailable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_public_half_is_asked_for_once_an_hour() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    for _ in 0..3 {
        open(&store, &versioned(), &envelope).await.unwrap();
    }
    assert_eq!(fake.counts(), (1, 4));
    tokio::time::advance(DEFAULT_VAULT_KEY_TTL).await;
    open(&store, &versioned(), &envelope).await.unwrap();
    assert_eq!(fake.counts(), (2, 5));
    assert_eq!(fake.tokens.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_vault_asks_for_is_kept() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    fake.fail_times(1, 429, &[("retry-after", "7")]);
    let began = Instant::now();
    open(&store, &versioned(), &envelope).await.unwrap();
    let took = began.elapsed();
    assert!((7..8).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_longer_than_the_call_may_take_fails_at_once() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    for after in ["20", "3600", "18446744073709551615"] {
        fake.fail_times(1, 429, &[("retry-after", after)]);
        let began = Instant::now();
        let error = unavailable(open(&store, &versioned(), &envelope).await);
        assert!(error.contains("429, retry after"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        open(&store, &versioned(), &envelope).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_service_is_asked_six_times_and_within_the_limit() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    for status in [500, 502, 503, 504, 429] {
        let before = fake.counts().1;
        fake.fail_times(usize::MAX, status, &[]);
        let began = Instant::now();
        let error = unavailable(open(&store, &versioned(), &envelope).await);
        assert!(error.contains(&status.to_string()), "{error}");
        assert_eq!(fake.counts().1 - before, 6, "{status}");
        assert!(began.elapsed() < DEFAULT_VAULT_CALL_TIMEOUT);
        // And one failure less is none.
        fake.fail_times(5, status, &[]);
        open(&store, &versioned(), &envelope).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_never_answers_costs_the_limit_and_no_more() {
    let fake = Fake::new();
    let limit = Duration::from_secs(3);
    let store = fake.builder().call_timeout(limit).build().unwrap();
    let envelope = wrapped(&store, &versioned()).await;
    fake.fail(|_| Some(Reply::Never));
    let began = Instant::now();
    let error = unavailable(open(&store, &versioned(), &envelope).await);
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(error.contains("no result within 3s"), "{error}");
    fake.heal();
    open(&store, &versioned(), &envelope).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_is_renewed_and_a_refused_one_is_not_kept() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    fake.good_token.store(2, Ordering::Relaxed);
    open(&store, &versioned(), &envelope).await.unwrap();
    assert_eq!(fake.tokens.load(Ordering::Relaxed), 2);
    // The third token will not do, the fourth will.
    fake.good_token.store(4, Ordering::Relaxed);
    let error = open(&store, &versioned(), &envelope).await.unwrap_err();
    assert!(matches!(problem(error), AzureKeyVaultProblem::Unauthenticated { .. }));
    assert_eq!(fake.tokens.load(Ordering::Relaxed), 3);
    open(&store, &versioned(), &envelope).await.unwrap();
    assert_eq!(fake.tokens.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_credential_without_a_token_says_why_and_is_asked_once() {
    #[derive(Debug)]
    struct Broken;

    #[async_trait::async_trait]
    impl TokenCredential for Broken {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            let kind = azure_core::error::ErrorKind::Credential;
            Err(azure_core::Error::with_message(kind, "no managed identity on this host"))
        }
    }

    let fake = Fake::new();
    let transport = Transport::new(Arc::new(Wire(Arc::clone(&fake))));
    let store = AzureKeyVault::builder(Arc::new(Broken)).transport(transport).build().unwrap();
    let began = Instant::now();
    let error = store.sign_cmk_metadata(&versioned(), true).await.unwrap_err();
    let message = "no managed identity on this host".into();
    assert_eq!(problem(error), AzureKeyVaultProblem::NoToken { message });
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_another_host_gets_no_request_and_no_token() {
    let fake = Fake::new();
    let envelope = wrapped(&fake.store(), &versioned()).await;
    let (before, tokens) = (fake.counts(), fake.tokens.load(Ordering::Relaxed));
    let store = fake.store();
    for path in [
        "https://evil.example/keys/cmk",
        "https://evilvault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net@evil.example/keys/cmk",
        "https://contoso.vault.azure.net.evil.example/keys/cmk",
        "http://contoso.vault.azure.net/keys/cmk",
        "https://contoso.vault.azure.net:444/keys/cmk",
    ] {
        let error = open(&store, path, &envelope).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidKeyPath { .. }), "{path}: {error}");
    }
    let strict = fake.builder().vaults(["Fabrikam.vault.azure.net"]).build().unwrap();
    let error = open(&strict, &versioned(), &envelope).await.unwrap_err();
    assert!(error.to_string().contains("asks no vault but fabrikam.vault.azure.net"), "{error}");
    let error = strict.create_cmk(HOST, "cmk", 2048, false).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidKeyPath { .. }), "{error}");
    assert_eq!((fake.counts(), fake.tokens.load(Ordering::Relaxed)), (before, tokens));
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_a_path_without_a_version_opens_what_is_new_and_says_so_of_the_rest() {
    let fake = Fake::new();
    let store = fake.store();
    let old = wrapped(&store, PATH).await;
    fake.rotate();
    let new = wrapped(&fake.store(), PATH).await;
    // What is known of the key holds for an hour,
    open(&store, PATH, &old).await.unwrap();
    let gets = fake.counts().0;
    // but not against an envelope of another version, once it is not quite fresh.
    tokio::time::advance(FRESH).await;
    open(&store, PATH, &new).await.unwrap();
    assert_eq!(fake.counts().0, gets + 1);
    let error = open(&store, PATH, &old).await.unwrap_err();
    assert!(error.to_string().contains("rotated"), "{error}");
    assert_eq!(problem(error), AzureKeyVaultProblem::Rotated { current: V2.into() });
    // However many envelopes are false, the vault is asked twice a minute.
    for _ in 0..5 {
        open(&store, PATH, &old).await.unwrap_err();
    }
    assert_eq!(fake.counts().0, gets + 1);
    // With its version the old key goes on.
    open(&store, &versioned(), &old).await.unwrap();
    let error = open(&store, &versioned(), &new).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrapped_under_a_path_without_a_version_is_of_the_current_one() {
    let fake = Fake::new();
    let store = fake.store();
    wrapped(&store, PATH).await;
    fake.rotate();
    tokio::time::advance(FRESH).await;
    let envelope = wrapped(&store, PATH).await;
    open(&store, &format!("{PATH}/{V2}"), &envelope).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_false_envelope_costs_the_vault_nothing() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    let before = fake.counts();
    for at in [0, 1, 3, 6, 300, envelope.len() - 1] {
        let mut bad = envelope.clone();
        bad[at] ^= 1;
        let error = open(&store, &versioned(), &bad).await.unwrap_err();
        assert!(matches!(error, KeyStoreError::InvalidEnvelope(_)), "{at}: {error}");
    }
    assert_eq!(fake.counts(), before);
    let error = store.unwrap_cek(&versioned(), "RSA-OAEP-256", &envelope).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::UnsupportedAlgorithm { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_another_key_is_not_believed() {
    let fake = Fake::new();
    let key = CmkPrivateKey::generate(2048).unwrap();
    let n = encode_url_safe([0xC3; 128]);
    let short = format!(r#"{{"key":{{"kid":"{PATH}/{V1}","kty":"RSA","n":"{n}","e":"AQAB"}}}}"#);
    for body in [
        bundle(&format!("https://fabrikam.vault.azure.net/keys/cmk/{V1}"), &key),
        bundle(&format!("https://{HOST}/keys/other/{V1}"), &key),
        bundle(&format!("{PATH}/{V2}"), &key),
        bundle(PATH, &key),
        bundle("", &key),
        "{}".into(),
        "[]".into(),
        "no JSON".into(),
        r#"{"key":{"kty":"RSA"}}"#.into(),
        format!(r#"{{"key":{{"kid":"{PATH}/{V1}","kty":"RSA"}}}}"#),
        format!(r#"{{"key":{{"kid":"{PATH}/{V1}","kty":"RSA","n":"*","e":"AQAB"}}}}"#),
        format!(r#"{{"key":{{"kid":"{PATH}/{V1}","kty":"EC"}}}}"#),
        format!(r#"{{"key":{{"kid":"{PATH}/{V1}","kty":"oct-HSM"}}}}"#),
        short,
    ] {
        let answer = body.clone();
        fake.fail(move |_| Some(Reply::Answer(200, Vec::new(), answer.clone())));
        let outcome = fake.store().sign_cmk_metadata(&versioned(), true).await;
        let error = outcome.unwrap_err();
        match &error {
            KeyStoreError::AzureKeyVault(AzureKeyVaultError {
                problem:
                    AzureKeyVaultProblem::UnexpectedAnswer { .. } | AzureKeyVaultProblem::NotRsa { .. },
                ..
            })
            | KeyStoreError::Cmk(_) => {}
            other => panic!("{body}: {other}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unwrapped_key_of_another_length_is_no_key() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&store, &versioned()).await;
    for length in [0, 31, 33, 4096] {
        let value = encode_url_safe(vec![7; length]);
        fake.fail(move |_| {
            Some(Reply::Answer(200, Vec::new(), format!(r#"{{"value":"{value}"}}"#)))
        });
        let error = open(&store, &versioned(), &envelope).await.unwrap_err();
        let found = InvalidEnvelope::CekLength { found: length };
        assert!(matches!(error, KeyStoreError::InvalidEnvelope(e) if e == found), "{error}");
    }
    fake.fail(|_| Some(Reply::Answer(200, Vec::new(), "{}".into())));
    let error = open(&store, &versioned(), &envelope).await.unwrap_err();
    assert!(matches!(problem(error), AzureKeyVaultProblem::UnexpectedAnswer { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_signs_with_another_key_gives_no_envelope() {
    let fake = Fake::new();
    let store = fake.store();
    wrapped(&store, &versioned()).await;
    fake.versions()[0].1 = CmkPrivateKey::generate(2048).unwrap();
    let error = store.wrap_cek(&versioned(), RSA_OAEP, &Cek::from([7; 32])).await.unwrap_err();
    assert!(matches!(error, KeyStoreError::InvalidEnvelope(InvalidEnvelope::Signature)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_failure_is_remembered() {
    let fake = Fake::new();
    let store = fake.store();
    let envelope = wrapped(&fake.store(), &versioned()).await;
    let body = r#"{"error":{"code":"KeyNotFound","message":"A key\nwas not found"}}"#;
    fake.fail(move |_| Some(Reply::Answer(404, Vec::new(), body.into())));
    let error = open(&store, &versioned(), &envelope).await.unwrap_err();
    let message = "A key was not found".to_owned();
    assert_eq!(problem(error), AzureKeyVaultProblem::NotFound { message });
    fake.heal();
    open(&store, &versioned(), &envelope).await.unwrap();
}

/// The next request for a key is answered after seven seconds, by this or the truth.
fn answer_late(fake: &Fake, reply: Option<(u16, &'static str)>) {
    let mut first = true;
    fake.fail(move |_| {
        if std::mem::take(&mut first) {
            return Some(Reply::Answer(429, vec![("retry-after", "7")], String::new()));
        }
        reply.map(|(status, body)| Reply::Answer(status, Vec::new(), body.into()))
    });
}

/// How many of a thousand that ask at once are told that the signature holds, and the others' errors.
async fn thousand(store: &AzureKeyVault, signature: &[u8]) -> (usize, Vec<KeyStoreError>) {
    let path = versioned();
    let asking = (0..1000).map(|_| store.verify_cmk_metadata(&path, true, signature));
    let (mut held, mut errors) = (0, Vec::new());
    for outcome in futures_util::future::join_all(asking).await {
        match outcome {
            Ok(holds) => held += usize::from(holds),
            Err(error) => errors.push(error),
        }
    }
    (held, errors)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_ask_for_a_key_at_once_make_one_request() {
    let fake = Fake::new();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    for ttl in [DEFAULT_VAULT_KEY_TTL, Duration::ZERO] {
        let store = fake.builder().key_ttl(ttl).build().unwrap();
        let gets = fake.counts().0;
        answer_late(&fake, None);
        let (held, errors) = thousand(&store, &signature).await;
        assert!(held == 1000 && errors.is_empty(), "{held}, {errors:?}");
        // One that is told to come later, and comes.
        assert_eq!(fake.counts().0, gets + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_goes_to_those_who_wait_for_it_and_to_nobody_after() {
    let fake = Fake::new();
    let store = fake.store();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let gets = fake.counts().0;
    answer_late(&fake, Some((403, "{}")));
    let (_, errors) = thousand(&store, &signature).await;
    assert_eq!((errors.len(), fake.counts().0), (1000, gets + 2));
    for error in errors {
        assert!(matches!(problem(error), AzureKeyVaultProblem::Forbidden { .. }));
    }
    assert!(store.verify_cmk_metadata(&versioned(), true, &signature).await.is_err());
    assert_eq!(fake.counts().0, gets + 3);
    fake.heal();
    assert!(store.verify_cmk_metadata(&versioned(), true, &signature).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_one_has_no_time_for_is_no_failure_of_those_who_have() {
    let fake = Fake::new();
    let store = fake.store();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let gets = fake.counts().0;
    // The second pause ends after 21 of the 20 seconds that those have who came first.
    let mut pauses = ["6", "15"].into_iter();
    fake.fail(move |_| {
        let pause = pauses.next()?;
        Some(Reply::Answer(429, vec![("retry-after", pause)], String::new()))
    });
    let path = versioned();
    let late = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.verify_cmk_metadata(&path, true, &signature).await
    };
    let ((held, errors), late) =
        futures_util::future::join(thousand(&store, &signature), late).await;
    assert!(late.unwrap());
    assert_eq!((held, errors.len()), (0, 1000));
    for error in errors {
        assert!(error.to_string().contains("429, retry after 15s"), "{error}");
    }
    // Of those who came first one asked, twice, and of those who have time left one, once.
    assert_eq!(fake.counts().0, gets + 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_shared_with_another_credential() {
    let fake = Fake::new();
    let (one, other) = (fake.store(), fake.store());
    let signature = one.sign_cmk_metadata(&versioned(), true).await.unwrap();
    let strangers = fake.store();
    let (gets, tokens) = (fake.counts().0, fake.tokens.load(Ordering::Relaxed));
    answer_late(&fake, None);
    let path = versioned();
    let (first, second) = futures_util::future::join(
        other.verify_cmk_metadata(&path, true, &signature),
        strangers.verify_cmk_metadata(&path, true, &signature),
    )
    .await;
    assert!(first.unwrap() && second.unwrap());
    // Of each its own, and one that is told to come later.
    assert_eq!(fake.counts().0, gets + 3);
    assert_eq!(fake.tokens.load(Ordering::Relaxed), tokens + 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_makes_the_request_may_give_up_or_be_set_aside() {
    let fake = Fake::new();
    let signature = fake.store().sign_cmk_metadata(&versioned(), true).await.unwrap();
    let path = versioned();
    for gives_up in [true, false] {
        let store = fake.store();
        answer_late(&fake, None);
        let mut first = store.verify_cmk_metadata(&path, true, &signature);
        assert!(futures_util::poll!(&mut first).is_pending());
        let gets = fake.counts().0;
        let first = (!gives_up).then_some(first);
        let (held, errors) = thousand(&store, &signature).await;
        assert!(held == 1000 && errors.is_empty(), "{held}, {errors:?}");
        assert_eq!(fake.counts().0, gets + 1);
        if let Some(first) = first {
            assert!(first.await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_and_vaults_that_a_server_names_do_not_pile_up() {
    let fake = Fake::new();
    let store = fake.store();
    for n in 0..2 * MOST_VAULTS {
        store.locate(&format!("https://v{n}.vault.azure.net/keys/cmk")).unwrap();
        assert!(store.vaults.lock().unwrap().len() <= MOST_VAULTS);
    }
}

#[test]
fn a_builder_refuses_names_that_are_no_hosts() {
    let fake = Fake::new();
    for name in ["", "vault", "https://contoso.vault.azure.net", "a..b", "10.0.0.1"] {
        assert!(fake.builder().vaults([name]).build().is_err(), "{name}");
        assert!(fake.builder().domain(name).build().is_err(), "{name}");
    }
    let store = fake.builder().domain("Vault.Local.Example").build().unwrap();
    assert!(store.locate("https://x.vault.local.example/keys/cmk").is_ok());
    assert!(store.locate("https://x.vault.azure.net/keys/cmk").is_ok());
    let https = AzureKeyVault::builder(Arc::new(Tokens(fake)));
    assert!(https.root_certificate("no certificate").build().is_err());
}
