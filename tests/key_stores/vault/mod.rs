//! A stand-in for Azure Key Vault: the part of its REST interface that a key store needs, over HTTPS,
//! with RSA keys in memory.
//!
//! It checks what the service is documented to check, and answers as the service does: the token and
//! its challenge, `api-version`, the caller's permissions, the key's state, its permitted operations
//! and dates, the algorithm, and the sizes. Source: the REST reference of Azure Key Vault, its page on
//! error codes, and the errors quoted in the trouble-shooting pages of Microsoft's client libraries.

#![allow(dead_code, reason = "the example needs a part of it")]

mod https;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use azure_core::{
    base64::{decode_url_safe, encode_url_safe},
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    time::{Duration, OffsetDateTime},
};
use rsa::{PrivateKey, traits::PublicKeyParts as _};
use serde_json::{Value, json};

const SCOPE: &str = "https://vault.azure.net/.default";
const EVERYTHING: [&str; 4] = ["get", "unwrapKey", "sign", "create"];
const ALL_OPS: [&str; 6] = ["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify"];

/// A vault and the identity that may use it.
#[derive(Clone)]
pub struct VaultStandIn {
    host: String,
    address: SocketAddr,
    root_pem: String,
    state: Arc<Mutex<State>>,
}

struct State {
    host: String,
    keys: HashMap<String, Vec<Version>>,
    /// What the identity may do.
    permissions: Vec<String>,
    /// The one token that is good, and how many there have been.
    token: Option<String>,
    tokens: usize,
    /// Answers to the next authorised requests, in place of what they ask for.
    faults: VecDeque<Answer>,
    requests: Vec<String>,
}

struct Version {
    id: String,
    key: Arc<PrivateKey>,
    kty: String,
    enabled: bool,
    ops: Vec<String>,
    not_before: Option<u64>,
    expires: Option<u64>,
}

pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl VaultStandIn {
    /// Listens on a port of this host for the vault at `host`, with a certificate of its own authority.
    pub async fn start(host: &str) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            host: host.to_owned(),
            keys: HashMap::new(),
            permissions: EVERYTHING.map(str::to_owned).to_vec(),
            token: None,
            tokens: 0,
            faults: VecDeque::new(),
            requests: Vec::new(),
        }));
        let answering = Arc::clone(&state);
        let answer = move |request: &Request| {
            answering.lock().unwrap_or_else(PoisonError::into_inner).answer(request)
        };
        let (address, root_pem) = https::serve(host, Arc::new(answer)).await?;
        Ok(Self { host: host.to_owned(), address, root_pem, state })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that vouches for the vault.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A credential whose tokens the vault takes.
    pub fn credential(&self) -> Arc<dyn TokenCredential> {
        Arc::new(Identity { state: Arc::clone(&self.state) })
    }

    /// A new version of the key, as `az keyvault key create` or a rotation makes it. Its path.
    pub fn create(&self, name: &str, bits: usize) -> String {
        let key = PrivateKey::new(&mut rand::rngs::SysRng, bits).unwrap();
        self.state().add(name, key, "RSA")
    }

    /// Says of the version at `path` what kind of key it is.
    pub fn set_kty(&self, path: &str, kty: &str) {
        self.state().version_at(path).kty = kty.to_owned();
    }

    pub fn set_enabled(&self, path: &str, enabled: bool) {
        self.state().version_at(path).enabled = enabled;
    }

    pub fn set_ops(&self, path: &str, ops: &[&str]) {
        self.state().version_at(path).ops = ops.iter().map(|op| (*op).to_owned()).collect();
    }

    /// From a minute ago on.
    pub fn set_expired(&self, path: &str) {
        self.state().version_at(path).expires = Some(now() - 60);
    }

    /// For another hour.
    pub fn set_not_yet_valid(&self, path: &str) {
        self.state().version_at(path).not_before = Some(now() + 3600);
    }

    pub fn delete(&self, name: &str) {
        self.state().keys.remove(&name.to_ascii_lowercase());
    }

    /// What the identity may do, of `get`, `unwrapKey`, `sign` and `create`.
    pub fn permit(&self, permissions: &[&str]) {
        self.state().permissions = permissions.iter().map(|p| (*p).to_owned()).collect();
    }

    /// Makes the token that is out invalid.
    pub fn revoke_token(&self) {
        self.state().token = None;
    }

    pub fn tokens(&self) -> usize {
        self.state().tokens
    }

    /// Answers the next authorised request with this.
    pub fn answer_next(&self, answer: Answer) {
        self.state().faults.push_back(answer);
    }

    /// Method and path of each authorised request so far, and forgets them.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, name: &str, key: PrivateKey, kty: &str) -> String {
        let id = format!("{:032x}", rand::random::<u128>());
        self.keys.entry(name.to_ascii_lowercase()).or_default().push(Version {
            id: id.clone(),
            key: Arc::new(key),
            kty: kty.to_owned(),
            enabled: true,
            ops: ALL_OPS.map(str::to_owned).to_vec(),
            not_before: None,
            expires: None,
        });
        format!("https://{}/keys/{name}/{id}", self.host)
    }

    fn version_at(&mut self, path: &str) -> &mut Version {
        let (_, id) = path.rsplit_once('/').unwrap();
        self.keys.values_mut().flatten().find(|version| version.id == id).unwrap()
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let token = request.headers.get("authorization").and_then(|v| v.strip_prefix("Bearer "));
        if token.is_none() || token != self.token.as_deref() {
            return challenge(token.is_some());
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        self.requests.push(format!("{} {path}", request.method));
        if let Some(fault) = self.faults.pop_front() {
            return fault;
        }
        if request.headers.get("host") != Some(&self.host) {
            return refuse(400, "BadParameter", None, "The host is another vault's.");
        }
        let version = query.split('&').find_map(|pair| pair.strip_prefix("api-version="));
        if !matches!(version, Some("7.4" | "7.5" | "7.6" | "2025-07-01")) {
            return refuse(400, "BadParameter", None, "The api-version is missing or unknown.");
        }
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["keys", name]) => self.get(name, None),
            ("GET", ["keys", name, version]) => self.get(name, Some(version)),
            ("POST", ["keys", name, "create"]) => self.create(name, request),
            ("POST", ["keys", name, version, operation]) => {
                self.operate(name, version, operation, request)
            }
            _ => refuse(404, "NotFound", None, "There is no such resource."),
        }
    }

    fn get(&self, name: &str, version: Option<&str>) -> Answer {
        if let Some(refusal) = self.forbidden("get", "read") {
            return refusal;
        }
        match self.find(name, version) {
            Some(version) if !version.enabled => disabled("get"),
            Some(version) => version.bundle(&self.host, name),
            None => not_found(name),
        }
    }

    fn create(&mut self, name: &str, request: &Request) -> Answer {
        if let Some(refusal) = self.forbidden("create", "create") {
            return refusal;
        }
        let body = match json_body(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let (kty, bits) = (body["kty"].as_str().unwrap_or_default(), body["key_size"].as_u64());
        let Some(bits @ (2048 | 3072 | 4096)) = bits else {
            return refuse(400, "BadParameter", None, "Property key_size is not supported.");
        };
        if !matches!(kty, "RSA" | "RSA-HSM") {
            return refuse(400, "BadParameter", None, "Property kty is not supported.");
        }
        let key = PrivateKey::new(&mut rand::rngs::SysRng, bits as usize).unwrap();
        let path = self.add(name, key, kty);
        let ops = body["key_ops"].as_array().map(|ops| {
            ops.iter().filter_map(|op| op.as_str().map(str::to_owned)).collect::<Vec<_>>()
        });
        let version = self.version_at(&path);
        version.ops = ops.unwrap_or_else(|| ALL_OPS.map(str::to_owned).to_vec());
        match self.find(name, None) {
            Some(version) => version.bundle(&self.host, name),
            None => not_found(name),
        }
    }

    fn operate(&self, name: &str, version: &str, operation: &str, request: &Request) -> Answer {
        let (permission, action) = match operation {
            "unwrapkey" => ("unwrapKey", "unwrap"),
            "sign" => ("sign", "sign"),
            _ => return refuse(404, "NotFound", None, "There is no such operation."),
        };
        if let Some(refusal) = self.forbidden(permission, action) {
            return refusal;
        }
        let Some(version) = self.find(name, Some(version)) else { return not_found(name) };
        if let Some(refusal) = version.refusal(permission) {
            return refusal;
        }
        let body = match json_body(request) {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let value = body["value"].as_str().filter(|value| !value.contains(['=', '+', '/']));
        let Some(value) = value.and_then(|value| decode_url_safe(value).ok()) else {
            return refuse(400, "BadParameter", None, "Property value is not base64url.");
        };
        let result = match (operation, body["alg"].as_str()) {
            ("unwrapkey", Some("RSA-OAEP")) => version.unwrap(&value),
            ("sign", Some("RS256")) => version.sign(&value),
            _ => return refuse(400, "BadParameter", None, "Property alg is not supported."),
        };
        let Some(result) = result else {
            return refuse(400, "BadParameter", None, "The parameter is incorrect.");
        };
        let kid = format!("https://{}/keys/{name}/{}", self.host, version.id);
        let body = json!({ "kid": kid, "value": encode_url_safe(result) });
        Answer { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// The current version is the youngest.
    fn find(&self, name: &str, id: Option<&str>) -> Option<&Version> {
        let versions = self.keys.get(&name.to_ascii_lowercase())?;
        match id {
            Some(id) => versions.iter().find(|version| version.id == id),
            None => versions.last(),
        }
    }

    fn forbidden(&self, permission: &str, action: &str) -> Option<Answer> {
        if self.permissions.iter().any(|permitted| permitted == permission) {
            return None;
        }
        let message = format!(
            "Caller is not authorized to perform action on resource.\r\nAction: \
             'Microsoft.KeyVault/vaults/keys/{action}/action'\r\nAssignment: (not found)\r\nVault: \
             {}",
            self.host
        );
        Some(refuse(403, "Forbidden", Some("ForbiddenByRbac"), &message))
    }
}

impl Version {
    fn bundle(&self, host: &str, name: &str) -> Answer {
        let mut key = json!({
            "kid": format!("https://{host}/keys/{name}/{}", self.id),
            "kty": self.kty,
            "key_ops": self.ops,
        });
        if self.kty.starts_with("RSA") {
            key["n"] = encode_url_safe(self.key.n().to_be_bytes_trimmed_vartime()).into();
            key["e"] = encode_url_safe(self.key.e().to_be_bytes_trimmed_vartime()).into();
        }
        let mut attributes = json!({ "enabled": self.enabled, "created": now(), "updated": now() });
        for (field, time) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(time) = time {
                attributes[field] = time.into();
            }
        }
        let body = json!({ "key": key, "attributes": attributes, "tags": {} });
        Answer { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    fn refusal(&self, operation: &str) -> Option<Answer> {
        if !self.enabled {
            return Some(disabled(operation));
        }
        let valid = self.not_before.is_none_or(|time| time <= now())
            && self.expires.is_none_or(|time| now() < time);
        // Beyond its dates a key still unwraps and verifies.
        if !valid && operation != "unwrapKey" {
            let message = format!("Operation {operation} is not allowed outside of its dates.");
            return Some(refuse(403, "Forbidden", Some("KeyNotYetValidOrExpired"), &message));
        }
        if !self.ops.iter().any(|op| op == operation) {
            let message = format!("Operation {operation} is not permitted on this key.");
            return Some(refuse(403, "Forbidden", Some("KeyOperationForbidden"), &message));
        }
        None
    }

    fn unwrap(&self, ciphertext: &[u8]) -> Option<Vec<u8>> {
        if ciphertext.len() != self.key.size() {
            return None;
        }
        self.key.oaep_decrypt::<sha1::Sha1>(ciphertext).ok()
    }

    fn sign(&self, digest: &[u8]) -> Option<Vec<u8>> {
        if digest.len() != 32 {
            return None;
        }
        self.key.pkcs1v15_sign_prehash::<sha2::Sha256>(digest).ok()
    }
}

/// Which tenant to ask for a token, and for which resource.
fn challenge(had_token: bool) -> Answer {
    let message = if had_token {
        "[TokenExpired] Error validating token: 'S2S12086'."
    } else {
        "AKV10000: Request is missing a Bearer or PoP token."
    };
    let mut answer = refuse(401, "Unauthorized", None, message);
    let challenge = "Bearer authorization=\"https://login.microsoftonline.com/\
                     72f988bf-86f1-41af-91ab-2d7cd011db47\", resource=\"https://vault.azure.net\"";
    answer.headers.push(("WWW-Authenticate", challenge.to_owned()));
    answer
}

/// An error as the service words it.
pub fn refuse(status: u16, code: &str, inner: Option<&str>, message: &str) -> Answer {
    let mut error = json!({ "code": code, "message": message });
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    let body = json!({ "error": error }).to_string().into_bytes();
    Answer { status, headers: Vec::new(), body }
}

fn disabled(operation: &str) -> Answer {
    let message = format!("Operation {operation} is not allowed on a disabled key.");
    refuse(403, "Forbidden", Some("KeyDisabled"), &message)
}

fn not_found(name: &str) -> Answer {
    let message = format!("A key with (name/id) {name} was not found in this key vault.");
    refuse(404, "KeyNotFound", None, &message)
}

fn json_body(request: &Request) -> Result<Value, Answer> {
    let json = request.headers.get("content-type").is_some_and(|t| t == "application/json");
    let body = serde_json::from_slice(&request.body).ok().filter(|_| json);
    body.ok_or_else(|| refuse(400, "BadParameter", None, "The body is no JSON."))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Gives a new token whenever it is asked, as an identity provider would.
struct Identity {
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

#[async_trait::async_trait]
impl TokenCredential for Identity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, [SCOPE], "a token for another service");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens += 1;
        let token = format!("header.{}.{:x}", state.tokens, rand::random::<u64>());
        state.token = Some(token.clone());
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + Duration::hours(1)))
    }
}
