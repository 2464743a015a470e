//! One vault: its keys' public halves, and the calls that only it can answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use azure_core::{
    Error,
    credentials::TokenCredential,
    error::{ErrorKind, ErrorResponse},
    http::{
        ClientMethodOptions, ClientOptions, ExponentialRetryOptions, RequestContent, RetryOptions,
        Transport,
    },
};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions,
    models::{
        CreateKeyParameters, EncryptionAlgorithm, Key, KeyClientCreateKeyOptions,
        KeyClientGetKeyOptions, KeyClientSignOptions, KeyClientUnwrapKeyOptions, KeyOperation,
        KeyOperationParameters, KeyType, SignParameters, SignatureAlgorithm,
    },
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{
    AzureKeyVaultError, AzureKeyVaultProblem, VaultOperation,
    call::{Call, Listen},
    error::{behind, reasons, words},
    key_path::AzureKeyPath,
    transport::TlsFailed,
};
use crate::{
    crypto::CmkPublicKey,
    keystore::{
        KeyStoreError,
        flight::{Flight, Turn},
    },
};

/// Paths come from the server; a program has a handful of master keys.
const MOST_KEYS: usize = 64;

/// Tries after the first one; the pauses between them double from 0.4 s.
const RETRIES: u32 = 5;

/// What a master key may do, for a new one.
const KEY_OPERATIONS: [KeyOperation; 6] = [
    KeyOperation::Encrypt,
    KeyOperation::Decrypt,
    KeyOperation::WrapKey,
    KeyOperation::UnwrapKey,
    KeyOperation::Sign,
    KeyOperation::Verify,
];

pub(super) struct Vault {
    client: KeyClient,
    host: String,
    ttl: Duration,
    known: Mutex<Known>,
}

type KeyFlight = Flight<Fetched>;

/// What comes of a request for a key, but for failures that are everybody's.
#[derive(Clone)]
enum Fetched {
    Key(Arc<FetchedKey>),
    /// The vault is not to be asked until then, which is later than whoever asked could wait for.
    Paused {
        until: Instant,
        error: KeyStoreError,
    },
}

/// A look at what is known of a key.
enum Look {
    Young(Arc<FetchedKey>),
    Asked(Arc<KeyFlight>),
}

/// What is known of a vault's keys, with one credential. By path, so that one without a version has an
/// entry of its own.
#[derive(Default)]
struct Known {
    keys: HashMap<AzureKeyPath, Arc<FetchedKey>>,
    /// The requests for keys that are under way, for as long as anybody waits for them.
    flights: HashMap<AzureKeyPath, Weak<KeyFlight>>,
}

/// The public half of a key in one version.
pub(super) struct FetchedKey {
    /// With the version, also if it was asked for without one.
    pub(super) path: AzureKeyPath,
    pub(super) version: String,
    pub(super) public: Arc<CmkPublicKey>,
    fetched: Instant,
}

impl FetchedKey {
    pub(super) fn age(&self) -> Duration {
        self.fetched.elapsed()
    }
}

impl Vault {
    pub(super) fn new(
        host: &str,
        credential: Arc<dyn TokenCredential>,
        transport: Transport,
        ttl: Duration,
    ) -> Result<Self, KeyStoreError> {
        let retry = RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: RETRIES,
            ..ExponentialRetryOptions::default()
        });
        let client_options = ClientOptions {
            per_try_policies: vec![Arc::new(Listen)],
            retry,
            transport: Some(transport),
            ..ClientOptions::default()
        };
        let options = KeyClientOptions { client_options, ..KeyClientOptions::default() };
        let client = KeyClient::new(&format!("https://{host}"), credential, Some(options))
            .map_err(KeyStoreError::other)?;
        Ok(Self { client, host: host.to_owned(), ttl, known: Mutex::default() })
    }

    /// The key from the cache if it is younger than `max_age`, or from the vault: from the request that
    /// is under way for it, if there is one. A failure goes to those who wait for it and is forgotten.
    /// That there was no time for a pause is one of those only who have no more time themselves.
    pub(super) async fn key(
        &self,
        path: &AzureKeyPath,
        max_age: Duration,
        call: &Call,
    ) -> Result<Arc<FetchedKey>, KeyStoreError> {
        let max_age = max_age.min(self.ttl);
        // Whoever makes the request may have been set aside; who waited in vain has the other half.
        let patience = call.time_limit() / 2;
        loop {
            let flight = match self.known().look(path, max_age) {
                Look::Young(key) => return Ok(key),
                Look::Asked(flight) => flight,
            };
            let outcome = match flight.turn(patience).await {
                Turn::Landed(outcome) => outcome,
                Turn::Yours(turn) => {
                    let outcome = match (self.fetch(path, call).await, call.pause()) {
                        (Ok(key), _) => Ok(Fetched::Key(Arc::new(key))),
                        (Err(error), Some(until)) => Ok(Fetched::Paused { until, error }),
                        (Err(error), None) => Err(error),
                    };
                    self.known().land(path, &flight, &outcome, self.ttl);
                    turn.landed(outcome.clone());
                    outcome
                }
                Turn::Overdue => {
                    self.known().end(path, &flight);
                    continue;
                }
            };
            match outcome? {
                Fetched::Key(key) => return Ok(key),
                // The next request is made by one who can wait for longer.
                Fetched::Paused { until, .. } if call.outlasts(until) => {}
                Fetched::Paused { error, .. } => return Err(error),
            }
        }
    }

    async fn fetch(&self, path: &AzureKeyPath, call: &Call) -> Result<FetchedKey, KeyStoreError> {
        let options = KeyClientGetKeyOptions {
            key_version: path.version().map(str::to_owned),
            method_options: method_options(call),
        };
        let answer = self.client.get_key(path.name(), Some(options)).await;
        let answer = answer.and_then(azure_core::http::Response::into_model);
        let failed = |error| self.failure(path, VaultOperation::Get, call, error);
        read_key(path, VaultOperation::Get, &answer.map_err(failed)?)
    }

    /// Asks for the key anew next time.
    pub(super) fn forget(&self, path: &AzureKeyPath) {
        self.known().keys.remove(path);
    }

    pub(super) async fn unwrap_key(
        &self,
        key: &FetchedKey,
        ciphertext: &[u8],
        call: &Call,
    ) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
        let failed = |error| self.failure(&key.path, VaultOperation::UnwrapKey, call, error);
        let parameters = KeyOperationParameters {
            algorithm: Some(EncryptionAlgorithm::RsaOaep),
            value: Some(ciphertext.to_vec()),
            ..KeyOperationParameters::default()
        };
        let content = RequestContent::try_from(parameters).map_err(failed)?;
        let options = KeyClientUnwrapKeyOptions { method_options: method_options(call) };
        let answer =
            self.client.unwrap_key(key.path.name(), &key.version, content, Some(options)).await;
        let answer = answer.and_then(azure_core::http::Response::into_model).map_err(failed)?;
        let result = answer.result.ok_or_else(|| no_value(key, VaultOperation::UnwrapKey))?;
        Ok(Zeroizing::new(result))
    }

    /// RSASSA-PKCS1-v1_5 over a SHA-256 digest.
    pub(super) async fn sign(
        &self,
        key: &FetchedKey,
        digest: &[u8],
        call: &Call,
    ) -> Result<Vec<u8>, KeyStoreError> {
        let failed = |error| self.failure(&key.path, VaultOperation::Sign, call, error);
        let parameters = SignParameters {
            algorithm: Some(SignatureAlgorithm::Rs256),
            value: Some(digest.to_vec()),
        };
        let content = RequestContent::try_from(parameters).map_err(failed)?;
        let options = KeyClientSignOptions {
            key_version: Some(key.version.clone()),
            method_options: method_options(call),
        };
        let answer = self.client.sign(key.path.name(), content, Some(options)).await;
        let answer = answer.and_then(azure_core::http::Response::into_model).map_err(failed)?;
        answer.result.ok_or_else(|| no_value(key, VaultOperation::Sign))
    }

    /// Makes a key, or a new version of one that is there.
    pub(super) async fn create(
        &self,
        path: &AzureKeyPath,
        bits: i32,
        hsm: bool,
        call: &Call,
    ) -> Result<Arc<FetchedKey>, KeyStoreError> {
        let failed = |error| self.failure(path, VaultOperation::Create, call, error);
        let parameters = CreateKeyParameters {
            kty: Some(if hsm { KeyType::RsaHsm } else { KeyType::Rsa }),
            key_size: Some(bits),
            key_ops: Some(KEY_OPERATIONS.to_vec()),
            ..CreateKeyParameters::default()
        };
        let content = RequestContent::try_from(parameters).map_err(failed)?;
        let options = KeyClientCreateKeyOptions { method_options: method_options(call) };
        let answer = self.client.create_key(path.name(), content, Some(options)).await;
        let answer = answer.and_then(azure_core::http::Response::into_model).map_err(failed)?;
        // The path without a version means another one from now on, and a request that is under way may
        // have been answered before.
        self.known().flights.remove(path);
        self.forget(path);
        Ok(Arc::new(read_key(path, VaultOperation::Create, &answer)?))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a failed request means.
    fn failure(
        &self,
        path: &AzureKeyPath,
        operation: VaultOperation,
        call: &Call,
        error: Error,
    ) -> KeyStoreError {
        if let Some(error) = call.transient(&self.host, &error) {
            return error;
        }
        let message = reasons(&error);
        let problem = match error.kind() {
            ErrorKind::HttpResponse { status, .. } => {
                let status = u16::from(*status);
                let (code, said) = service_words(error);
                refusal(operation, status, said.unwrap_or(message), code)
            }
            ErrorKind::Credential => AzureKeyVaultProblem::NoToken { message },
            _ => match behind::<TlsFailed>(&error) {
                Some(tls) => AzureKeyVaultProblem::Tls { message: words(&tls.0) },
                None => AzureKeyVaultProblem::UnexpectedAnswer { operation, message },
            },
        };
        problem.of(path)
    }
}

impl Known {
    /// Finds the key, or takes part in the request for it, in one step.
    fn look(&mut self, path: &AzureKeyPath, max_age: Duration) -> Look {
        if let Some(key) = self.keys.get(path).filter(|key| key.age() < max_age) {
            return Look::Young(Arc::clone(key));
        }
        if let Some(flight) = self.flights.get(path).and_then(Weak::upgrade) {
            return Look::Asked(flight);
        }
        // Those that everybody has given up.
        self.flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::default();
        self.flights.insert(path.clone(), Arc::downgrade(&flight));
        Look::Asked(flight)
    }

    /// Whether the flight was the path's until now.
    fn end(&mut self, path: &AzureKeyPath, flight: &Arc<KeyFlight>) -> bool {
        let current =
            self.flights.get(path).is_some_and(|known| known.ptr_eq(&Arc::downgrade(flight)));
        if current {
            self.flights.remove(path);
        }
        current
    }

    fn land(
        &mut self,
        path: &AzureKeyPath,
        flight: &Arc<KeyFlight>,
        outcome: &Result<Fetched, KeyStoreError>,
        ttl: Duration,
    ) {
        if self.end(path, flight)
            && !ttl.is_zero()
            && let Ok(Fetched::Key(key)) = outcome
        {
            self.remember(path, key);
        }
    }

    fn remember(&mut self, path: &AzureKeyPath, key: &Arc<FetchedKey>) {
        if self.keys.len() >= MOST_KEYS && !self.keys.contains_key(path) {
            let oldest = self.keys.iter().max_by_key(|(_, key)| key.age());
            if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                self.keys.remove(&oldest);
            }
        }
        self.keys.insert(path.clone(), Arc::clone(key));
    }
}

impl AzureKeyVaultProblem {
    pub(super) fn of(self, path: &AzureKeyPath) -> KeyStoreError {
        AzureKeyVaultError { key: path.to_string(), problem: self }.into()
    }
}

fn method_options(call: &Call) -> ClientMethodOptions<'static> {
    ClientMethodOptions { context: call.context() }
}

fn no_value(key: &FetchedKey, operation: VaultOperation) -> KeyStoreError {
    let message = "it has no value".into();
    AzureKeyVaultProblem::UnexpectedAnswer { operation, message }.of(&key.path)
}

/// Code and message of the service's error. The inner code if there is one, for the outer says no more
/// than the status; the message from here, for azure_core's own reading gives up on escapes in it.
fn service_words(error: Error) -> (Option<String>, Option<String>) {
    let Some(detail) = ErrorResponse::try_from(error).ok().and_then(|response| response.error)
    else {
        return (None, None);
    };
    let inner = detail.inner_error.and_then(|inner| inner.code);
    let code = inner.or(detail.code).map(|code| words(&code));
    (code, detail.message.map(|message| words(&message)))
}

fn refusal(
    operation: VaultOperation,
    status: u16,
    message: String,
    code: Option<String>,
) -> AzureKeyVaultProblem {
    match (status, code.as_deref()) {
        (401, _) => AzureKeyVaultProblem::Unauthenticated { message },
        (404, _) => AzureKeyVaultProblem::NotFound { message },
        (403, Some("KeyDisabled")) => AzureKeyVaultProblem::Disabled,
        (403, Some("KeyNotYetValidOrExpired" | "KeyNotYetValid" | "KeyExpired")) => {
            AzureKeyVaultProblem::OutsideValidity { operation }
        }
        (403, Some("KeyOperationForbidden")) => {
            AzureKeyVaultProblem::OperationNotPermitted { operation }
        }
        (403, Some(inner @ ("ForbiddenByFirewall" | "ForbiddenByConnection"))) => {
            AzureKeyVaultProblem::Firewall { code: inner.into(), message }
        }
        (403, _) => AzureKeyVaultProblem::Forbidden { operation, code, message },
        _ => AzureKeyVaultProblem::Refused { operation, status, code, message },
    }
}

/// Takes the public half out of an answer that must be about the key that was asked for.
fn read_key(
    path: &AzureKeyPath,
    operation: VaultOperation,
    answer: &Key,
) -> Result<FetchedKey, KeyStoreError> {
    let odd = |message: &str| {
        AzureKeyVaultProblem::UnexpectedAnswer { operation, message: message.into() }.of(path)
    };
    let key = answer.key.as_ref().ok_or_else(|| odd("it has no key"))?;
    let id: AzureKeyPath = key
        .kid
        .as_deref()
        .and_then(|kid| kid.parse().ok())
        .ok_or_else(|| odd("it has no identifier of a key"))?;
    let Some(version) = id.version() else {
        return Err(odd("it does not say which version it is"));
    };
    let asked = path.version().unwrap_or(version);
    if (id.host(), id.name(), version) != (path.host(), path.name(), asked) {
        return Err(odd("it is about another key"));
    }
    if answer.attributes.as_ref().and_then(|attributes| attributes.enabled) == Some(false) {
        return Err(AzureKeyVaultProblem::Disabled.of(&id));
    }
    match &key.kty {
        Some(KeyType::Rsa | KeyType::RsaHsm) => {}
        other => {
            let kty = other.as_ref().map_or("unknown".into(), |kty| words(kty.as_ref()));
            return Err(AzureKeyVaultProblem::NotRsa { kty }.of(&id));
        }
    }
    let (Some(n), Some(e)) = (&key.n, &key.e) else {
        return Err(odd("it has no modulus or no exponent"));
    };
    let public = Arc::new(CmkPublicKey::from_components(n, e)?);
    let version = version.to_owned();
    Ok(FetchedKey { path: path.with_version(&version), version, public, fetched: Instant::now() })
}
