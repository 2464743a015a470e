//! Whatever a server names as a key path, and a vault answers: a token goes to vaults and nowhere else,
//! nothing is believed that is not the key's, and no error shows a secret or breaks a line.
//!
//! An input is the key path in its first line, in the second the request that is answered by the rest
//! (`get`, `unwrapkey`, `sign` or `challenge`) and the status. What comes before it is answered truly.
#![no_main]

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex},
};

use always_encrypted::{
    crypto::{Cek, CmkPrivateKey, Envelope, cmk_metadata_message},
    keystore::{
        AZURE_KEY_VAULT, AZURE_KEY_VAULT_DOMAINS, AzureKeyPath, AzureKeyVault, KeyStoreError,
        KeyStoreProvider, RSA_OAEP,
    },
};
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, HttpClient, Request, StatusCode, Transport, Url,
        headers::{HeaderName, Headers},
    },
    time::{Duration, OffsetDateTime},
};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

/// A path and the answer to it, true but for the host.
const TRUE: &str = include_str!("../seeds/azure_key_vault/get");
const TOKEN: &str = "secret-token";
const CHALLENGE: &str =
    "Bearer authorization=\"https://login.example/t\", resource=\"https://vault.azure.net\"";

static CMK: LazyLock<CmkPrivateKey> = LazyLock::new(|| {
    CmkPrivateKey::from_pem(include_str!("../../tests/fixtures/keystore/pair.key")).unwrap()
});
static ENVELOPE: LazyLock<Vec<u8>> =
    LazyLock::new(|| Envelope::wrap(&Cek::from([7; 32]), "p", &CMK).unwrap());
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
});

#[derive(Clone)]
struct Vault {
    path: String,
    liar: String,
    status: u16,
    answer: Vec<u8>,
    /// The host of the last request, whose credential is asked for a token.
    host: Arc<Mutex<String>>,
}

impl Vault {
    fn reply(&self, request: &Request) -> (u16, Headers, Vec<u8>) {
        let url = request.url();
        check_host(url);
        *self.host.lock().unwrap() = url.host_str().unwrap().to_owned();
        let mut headers = Headers::new();
        if request.headers().get_optional_str(&HeaderName::from("authorization")).is_none() {
            let challenge = match self.liar.as_str() {
                "challenge" => String::from_utf8_lossy(&self.answer).into_owned(),
                _ => CHALLENGE.to_owned(),
            };
            headers.insert("www-authenticate", challenge);
            return (401, headers, Vec::new());
        }
        let operation = url.path_segments().and_then(|mut all| all.nth(3)).unwrap_or("get");
        if operation == self.liar {
            headers.insert("content-type", "application/json");
            return (self.status, headers, self.answer.clone());
        }
        match operation {
            "get" => (200, headers, self.key().into_bytes()),
            _ => (200, headers, b"{}".to_vec()),
        }
    }

    /// The true key, at the path that was asked for.
    fn key(&self) -> String {
        let path: AzureKeyPath = self.path.parse().unwrap();
        let version = path.version().unwrap_or("1");
        let kid = format!("https://{}/keys/{}/{version}", path.host(), path.name());
        let (theirs, answer) = (TRUE.lines().next().unwrap(), TRUE.lines().nth(2).unwrap());
        answer.replace(theirs, &kid)
    }
}

/// A vault's host, for nothing else may see a token.
fn check_host(url: &Url) {
    let host = url.host_str().unwrap();
    assert_eq!((url.scheme(), url.port(), url.username()), ("https", None, ""), "{url}");
    assert!(
        AZURE_KEY_VAULT_DOMAINS.iter().any(|domain| {
            host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }),
        "{url}"
    );
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

#[async_trait::async_trait]
impl HttpClient for Vault {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, headers, body) = self.reply(request);
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(status), headers, body))
    }
}

#[async_trait::async_trait]
impl TokenCredential for Vault {
    /// A token is for the vault's own domain, whatever the vault says it is for.
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let host = self.host.lock().unwrap().clone();
        for scope in scopes {
            let resource = Url::parse(scope).unwrap();
            let resource = resource.host_str().unwrap_or_default();
            assert!(host.ends_with(&format!(".{resource}")), "a token for {scope} goes to {host}");
        }
        let expires = OffsetDateTime::now_utc() + Duration::hours(1);
        Ok(AccessToken::new(TOKEN.to_owned(), expires))
    }
}

/// What we take for a key path means the same to those who send requests.
fn check_path(text: &str) {
    let Ok(path) = text.parse::<AzureKeyPath>() else { return };
    assert_eq!(path.to_string().parse().as_ref(), Ok(&path));
    let url = Url::parse(text).unwrap();
    assert_eq!(url.host_str(), Some(path.host()), "{text}");
    assert_eq!((url.port(), url.username(), url.query()), (None, "", None), "{text}");
    let segments: Vec<_> = url.path().trim_matches('/').split('/').collect();
    let ours = ["keys", path.name()].into_iter().chain(path.version());
    assert!(segments.iter().map(|s| s.to_ascii_lowercase()).eq(ours), "{text}");
}

fn check_error(error: &KeyStoreError) {
    let text = error.to_string();
    assert!(!text.contains(TOKEN) && !format!("{error:?}").contains(TOKEN), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

async fn ask(vault: Vault) {
    let transport = Transport::new(Arc::new(vault.clone()));
    let store =
        AzureKeyVault::builder(Arc::new(vault.clone())).transport(transport).build().unwrap();
    let (path, message) = (&vault.path, cmk_metadata_message(AZURE_KEY_VAULT, &vault.path, true));
    match store.sign_cmk_metadata(path, true).await {
        Ok(signature) => {
            let holds = store.verify_cmk_metadata(path, true, &signature).await;
            assert!(holds.unwrap());
            if vault.liar != "get" {
                assert!(CMK.public_key().verify(&message, &signature));
            }
        }
        Err(error) => check_error(&error),
    }
    match store.unwrap_cek(path, RSA_OAEP, &ENVELOPE).await {
        // The vault may say what it likes here: the cells' own authentication tells.
        Ok(cek) => assert_eq!(cek.expose().len(), 32),
        Err(error) => check_error(&error),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(lines.next().unwrap_or_default());
    let (Ok(path), Ok(how)) = (line(), line()) else { return };
    if data.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()) {
        // Whoever knows it may say it.
        return;
    }
    check_path(path);
    let (liar, status) = how.split_once(' ').unwrap_or((how, "200"));
    let status = status.parse().unwrap_or(200);
    if !(200..600).contains(&status) {
        return;
    }
    let answer = lines.next().unwrap_or_default().to_vec();
    let (path, liar) = (path.to_owned(), liar.to_owned());
    RUNTIME.block_on(ask(Vault { path, liar, status, answer, host: Arc::default() }));
});
