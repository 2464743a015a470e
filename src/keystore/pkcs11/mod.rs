//! A key store that is a PKCS#11 token: an HSM, a smart card, a cloud's HSM service, SoftHSM.
//!
//! Owns the token's side: which module, which token, which PIN, sessions, the search for keys. What
//! the public half can do is done in [`super::master_key`].

mod error;
mod key;
mod key_path;
mod login;
mod module;
mod pin;
mod session;

use std::{fmt, path::PathBuf, sync::Arc};

use cryptoki::session::Session;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    BoxFuture, KeyStoreError,
    key_finder::{KeyFinder, provider_by_key},
    local_key,
    master_key::MasterKey,
};
use crate::crypto::CmkPublicKey;

use error::Fault;
pub use error::Pkcs11Error;
use key::FoundKey;
use key_path::KeyPath;
use module::TokenChoice;
pub use pin::TokenPin;
use session::{Connection, Token};

/// The provider name that [`Pkcs11KeyStore`] answers to unless told otherwise.
pub const PKCS11: &str = "PKCS11";

/// How many sessions work at a time unless told otherwise.
const DEFAULT_SESSIONS: usize = 4;

/// Column master keys in a PKCS#11 token, which they never leave. Feature `pkcs11`.
///
/// For those whose keys must lie in hardware: in an HSM of their own, a cloud's HSM service, a smart
/// card. Of Microsoft's drivers only SqlClient on Windows reaches such keys, through the CSP or CNG
/// provider of the vendor; the key that both use is the same, and so are the bytes of its envelopes.
///
/// ```no_run
/// use always_encrypted::keystore::{KeyStores, Pkcs11KeyStore, TokenPin};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Pkcs11KeyStore::builder("/usr/lib/softhsm/libsofthsm2.so")
///     .token_label("orders")
///     .pin(TokenPin::in_file("/etc/orders/token-pin"))
///     .build();
/// store.connect().await?; // at start-up, so that a wrong PIN shows now and not at the first query
/// let keys = KeyStores::builder().provider(store).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Set-up
///
/// For SoftHSM 2 on Debian, a token and a key in it:
///
/// ```text
/// apt-get install softhsm2
/// softhsm2-util --init-token --free --label orders --so-pin 12345678 --pin 1234
/// ```
///
/// ```no_run
/// # async fn example(store: always_encrypted::keystore::Pkcs11KeyStore)
/// # -> Result<(), always_encrypted::keystore::KeyStoreError> {
/// let key_path = store.create_cmk("orders-cmk-1", 2048).await?;
/// assert_eq!(key_path, "pkcs11:token=orders;object=orders-cmk-1;type=private");
/// # Ok(())
/// # }
/// ```
///
/// `examples/pkcs11.rs` does all of it. A vendor's token differs in the module, in how the PIN is
/// written (`user:password` for some) and in the module's own configuration, which is that of its
/// manual: an environment variable or a file, in place before the first connection. Modules are shared
/// objects that run in this process with all its rights: load none that you would not link.
///
/// # The key
///
/// An RSA private key of 2048 bits or more, without `CKA_ALWAYS_AUTHENTICATE`.
/// [`create_cmk`](Self::create_cmk) makes one; one that was made elsewhere will do. What it must be
/// allowed to do depends on the work:
///
/// | work | attribute | mechanism |
/// |---|---|---|
/// | reading and writing rows | `CKA_DECRYPT` | `CKM_RSA_PKCS_OAEP` with SHA-1, which the protocol fixes |
/// | making column keys, rotating, signing a master key's definition | `CKA_SIGN` | `CKM_SHA256_RSA_PKCS`, or `CKM_RSA_PKCS` where that is lacking |
///
/// The public half comes from `CKA_MODULUS` and `CKA_PUBLIC_EXPONENT` of the private key, or of the
/// public key object with the same `CKA_ID`, of which there must be one. As anybody may have stored
/// that, each use of such a key begins with the token showing, by a signature or a decryption, that the
/// two belong together.
///
/// # Key paths
///
/// A URI of RFC 7512, or the label (`CKA_LABEL`) as it is:
///
/// ```text
/// pkcs11:token=orders;object=orders-cmk-1;type=private
/// pkcs11:id=%6f%01;type=private
/// orders-cmk-1
/// ```
///
/// The key path comes from the database server, which is not trusted. It chooses a key of the
/// configured token, by `object` and `id`; `token`, `serial`, `manufacturer` and `model` must be those
/// of that token; `type` must be `private`. Anything else is refused: a path chooses no module, no PIN
/// and no file. Two keys that fit are an error that names both. Which of the token's keys a server may
/// name is for [`TrustedKeyPaths`](crate::policy::TrustedKeyPaths) to say.
///
/// # Sessions and the login
///
/// The first call loads the module, finds the token and logs in; a session stays open for the login,
/// and up to [`sessions`](Pkcs11KeyStoreBuilder::sessions) more work at a time. If the device goes
/// away, or another part of the process closes sessions, logs out or finalizes the module, the next
/// call connects anew, once, and is repeated. Any number of key stores may use one module, and other
/// code of the process may as well.
///
/// A PIN that the token refuses is not sent again by any key store of the process, because tokens lock
/// after a few attempts: it takes another PIN from the [`TokenPin`] or [`retry_pin`](Self::retry_pin).
/// A login that fails in another way may have been a wrong PIN too, which not every module says
/// plainly, and is repeated after a minute, then after four, sixteen and so on. When the token says
/// that one attempt is left, only `retry_pin` makes it. A process that is restarted in a loop does
/// cost an attempt each time.
///
/// A token logs in the process, and looks at no PIN while it is logged in. So key stores on one token
/// must have the same PIN: while the login of one lasts, another PIN is refused
/// ([`Pkcs11Error::AnotherLogin`]), also one that has just become the right one. That is known of
/// logins by key stores only: one that other code of the process has made serves every key store on
/// that token, whatever its PIN. Tenants who must not use each other's keys need tokens or processes of
/// their own.
///
/// # Limits
///
/// Calls into the module run on tokio's blocking threads and cannot be cancelled: a future that is
/// dropped leaves its call, and the call's session, until the module returns. A module that hangs
/// takes at most as many threads as there are sessions; later calls wait without one. Put a time limit
/// around what must not wait.
///
/// A process that forks without `exec` cannot use the module in the child (PKCS#11 says that the child
/// starts anew): make the key store after the fork. Modules are never unloaded nor finalized.
///
/// Answers that cannot be are errors ([`Pkcs11Error::ImpossibleAnswer`]), with two exceptions. The memory
/// for a decryption, a signature, the list of slots, and an attribute that has another length when it is
/// asked for again, is as much as the module says it needs: a module that says terabytes ends the
/// process. And lengths beyond all memory are panics of `cryptoki` that are caught here: a program that is
/// built with `panic = "abort"` ends at those, and gets no error.
///
/// It has been tried with SoftHSM 2.6.1, also behind a module that lies about the PIN, sessions, lengths
/// and objects, and with no hardware.
///
/// # Errors
///
/// [`Pkcs11Error`], as [`KeyStoreError::Pkcs11`], names the cause and the remedy.
pub struct Pkcs11KeyStore {
    name: String,
    token: Arc<Token>,
    sessions: Arc<Semaphore>,
}

impl Pkcs11KeyStore {
    /// Begins with the path of the module, a shared object (`.so`, `.dylib`, `.dll`). Nothing is
    /// loaded yet.
    pub fn builder(module: impl Into<PathBuf>) -> Pkcs11KeyStoreBuilder {
        Pkcs11KeyStoreBuilder {
            name: PKCS11.into(),
            module: module.into(),
            token: TokenChoice::default(),
            pin: None,
            sessions: DEFAULT_SESSIONS,
        }
    }

    /// Loads the module, finds the token and logs in, if that has not been done. Calls do so by
    /// themselves; this shows early what is wrong.
    ///
    /// # Errors
    ///
    /// The module does not load, the token is not there, the PIN is wrong.
    pub async fn connect(&self) -> Result<(), KeyStoreError> {
        let permit = self.permit().await?;
        let token = Arc::clone(&self.token);
        local_key::blocking(&self.name, move || {
            let _permit = permit;
            token.connect()
        })
        .await
    }

    /// Lets the next login be tried, once, with a PIN that failed before or though it is the last
    /// attempt before the token locks: after the PIN was reset or put right. Another PIN in the file,
    /// variable or function needs no such call, unless it is the last attempt.
    pub fn retry_pin(&self) {
        self.token.retry_pin();
    }

    /// Makes an RSA key of that many bits inside the token and returns its key path, for
    /// `CREATE COLUMN MASTER KEY`.
    ///
    /// The private key is `CKA_SENSITIVE` and not `CKA_EXTRACTABLE`, and may decrypt and sign. Back up
    /// the token by the means of its vendor: without the key, what it encrypts is lost. An HSM may
    /// take a minute for a long key.
    ///
    /// # Errors
    ///
    /// There is an object of that label already ([`Pkcs11Error::LabelTaken`]); a label of no use; a
    /// length other than 2048, 3072 or 4096 bits; a token that cannot be written.
    pub async fn create_cmk(&self, label: &str, bits: usize) -> Result<String, KeyStoreError> {
        key::check_new_key(label, bits)?;
        let label = label.to_owned();
        let path = self.call(move |connection, _| {
            let session = connection.module.open_rw_session(connection.slot)?;
            key::create(connection, &session, &label, bits)
        });
        Ok(path.await?.to_string())
    }

    /// Runs `work` on a session, on a blocking thread. It may run twice: see [`Token::run`].
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection, &Session) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let permit = self.permit().await?;
        let token = Arc::clone(&self.token);
        local_key::blocking(&self.name, move || {
            // Given back when the module has returned, not when the caller loses patience.
            let _permit = permit;
            token.run(work)
        })
        .await
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, KeyStoreError> {
        Arc::clone(&self.sessions).acquire_owned().await.map_err(|_| KeyStoreError::Unavailable {
            provider: self.name.clone(),
            message: "its sessions are closed".into(),
        })
    }
}

/// Closing sessions may wait for the device.
impl Drop for Pkcs11KeyStore {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Some(connection) = self.token.take_connection()
        {
            runtime.spawn_blocking(move || drop(connection));
        }
    }
}

impl fmt::Debug for Pkcs11KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11KeyStore")
            .field("name", &self.name)
            .field("module", &self.token.module)
            .field("token", &self.token.choice)
            .field("pin", &self.token.pin)
            .finish_non_exhaustive()
    }
}

/// Collects what a [`Pkcs11KeyStore`] is made of.
#[derive(Clone, Debug)]
pub struct Pkcs11KeyStoreBuilder {
    name: String,
    module: PathBuf,
    token: TokenChoice,
    pin: Option<TokenPin>,
    sessions: usize,
}

impl Pkcs11KeyStoreBuilder {
    /// The provider name, as column master keys give it. Default [`PKCS11`]. Any will do; under the
    /// names of SqlClient's CNG and CSP providers, envelopes have the signatures that those make.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Chooses the token by its label, without the blanks at its end. Label, serial number and slot
    /// must all hold if given; if none is, the module must have exactly one token.
    #[must_use]
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.token.label = Some(label.into());
        self
    }

    /// Chooses the token by its serial number.
    #[must_use]
    pub fn token_serial(mut self, serial: impl Into<String>) -> Self {
        self.token.serial = Some(serial.into());
        self
    }

    /// Chooses the token by its slot. Many modules number slots anew at each start: prefer the label.
    #[must_use]
    pub fn slot(mut self, slot: u64) -> Self {
        self.token.slot = Some(slot);
        self
    }

    /// The user PIN. Without one, the device must have a keypad of its own, or want no login.
    #[must_use]
    pub fn pin(mut self, pin: TokenPin) -> Self {
        self.pin = Some(pin);
        self
    }

    /// How many sessions work at a time, at least one. Default 4; one more is kept for the login.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Makes the key store. The module is loaded by the first call, or by
    /// [`Pkcs11KeyStore::connect`].
    #[must_use]
    pub fn build(self) -> Pkcs11KeyStore {
        Pkcs11KeyStore {
            name: self.name,
            token: Arc::new(Token::new(self.module, self.token, self.pin)),
            sessions: Arc::new(Semaphore::new(self.sessions)),
        }
    }
}

/// A key in the token, for one operation.
pub(super) struct TokenKey<'s> {
    store: &'s Pkcs11KeyStore,
    path: Arc<KeyPath>,
    found: Arc<FoundKey>,
}

impl TokenKey<'_> {
    async fn call<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&FoundKey, &Session) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let (path, found) = (Arc::clone(&self.path), Arc::clone(&self.found));
        let work = move |connection: &Connection, session: &Session| {
            work(&found.on(connection, session, &path)?, session)
        };
        self.store.call(work).await
    }
}

impl MasterKey for TokenKey<'_> {
    fn public_key(&self) -> Arc<CmkPublicKey> {
        Arc::clone(&self.found.public)
    }

    fn oaep_decrypt<'a>(
        &'a self,
        ciphertext: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, KeyStoreError>> {
        let ciphertext = ciphertext.to_vec();
        Box::pin(self.call(move |key, session| key.oaep_decrypt(session, &ciphertext)))
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, KeyStoreError>> {
        let message = message.to_vec();
        Box::pin(self.call(move |key, session| key.sign(session, &message)))
    }
}

impl KeyFinder for Pkcs11KeyStore {
    type Key<'s> = TokenKey<'s>;

    fn provider_name(&self) -> &str {
        &self.name
    }

    /// Only a path that is one costs the token anything.
    async fn key(&self, key_path: &str) -> Result<TokenKey<'_>, KeyStoreError> {
        let path = KeyPath::parse(key_path).map_err(|reason| KeyStoreError::InvalidKeyPath {
            key_path: key_path.into(),
            reason: reason.to_string(),
        })?;
        let (path, text) = (Arc::new(path), Arc::from(key_path));
        let wanted = Arc::clone(&path);
        let find = move |connection: &Connection, session: &Session| {
            FoundKey::find(connection, session, &wanted, &text)
        };
        Ok(TokenKey { store: self, path, found: Arc::new(self.call(find).await?) })
    }
}

provider_by_key!(Pkcs11KeyStore);
