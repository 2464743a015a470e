//! Sessions on a token: a login, a bounded number of sessions, and what happens when they are lost.
//!
//! Everything here blocks.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use cryptoki::{
    context::Pkcs11,
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::{
    error::{Fault, Loss, Pkcs11Error, loss, lost_sessions, not_logged_in},
    login::Login,
    module::{self, TokenChoice},
    pin::TokenPin,
};
use crate::keystore::KeyStoreError;

/// Numbers connections, so that a handle is not used on another than its own.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// The configured token, connected when it is first needed and again when it has been lost.
pub(super) struct Token {
    pub module: PathBuf,
    pub choice: TokenChoice,
    pub pin: Option<TokenPin>,
    /// Locked while one thread connects.
    connection: Mutex<Option<Arc<Connection>>>,
    /// Set when the next login is to be tried whatever is known of the PIN.
    retry: AtomicBool,
}

impl Token {
    pub fn new(module: PathBuf, choice: TokenChoice, pin: Option<TokenPin>) -> Self {
        Self { module, choice, pin, connection: Mutex::default(), retry: AtomicBool::new(false) }
    }

    /// Runs `work` on a session that is logged in. If that shows that the session, the login or the
    /// token's handles have been lost, `work` runs once more on a new connection.
    pub fn run<T>(
        &self,
        mut work: impl FnMut(&Connection, &Session) -> Result<T, Fault>,
    ) -> Result<T, KeyStoreError> {
        let first = self.connection()?;
        match first.run(&mut work) {
            Err(Fault::Module(error)) if loss(&error) != Loss::None => {
                self.retire(&first, loss(&error));
                // Closes its sessions before new ones take over their numbers.
                drop(first);
                Ok(self.connection()?.run(&mut work)?)
            }
            other => Ok(other?),
        }
    }

    /// Logs in if that has not been done.
    pub fn connect(&self) -> Result<(), KeyStoreError> {
        Ok(self.connection().map(|_| ())?)
    }

    /// Lets the next login be tried whatever is known of the PIN.
    pub fn retry_pin(&self) {
        self.retry.store(true, Ordering::Relaxed);
    }

    /// The connection, to be closed where that may block.
    pub fn take_connection(&self) -> Option<Arc<Connection>> {
        // If somebody is at work with it, the last of them closes it.
        self.connection.try_lock().ok()?.take()
    }

    /// One thread connects, the others wait for it, so that a wrong PIN costs one attempt.
    fn connection(&self) -> Result<Arc<Connection>, Fault> {
        let mut current = locked(&self.connection);
        if let Some(connection) = &*current {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.open()?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn retire(&self, lost: &Arc<Connection>, loss: Loss) {
        if loss == Loss::Sessions {
            lost.handles_are_void.store(true, Ordering::Relaxed);
        }
        let mut current = locked(&self.connection);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, lost)) {
            *current = None;
        }
    }

    fn open(&self) -> Result<Connection, Fault> {
        let module = module::load(&self.module)?;
        let (slot, token) = self.choice.find(&module)?;
        let login = module.open_ro_session_no_drop(slot)?;
        let granted = match token.login_required().then(|| self.log_in(&login, &token)) {
            None => None,
            Some(Ok(granted)) => Some(granted),
            Some(Err(fault)) => {
                let _ = login.close();
                return Err(fault);
            }
        };
        Ok(Connection {
            number: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            module,
            slot,
            token,
            granted,
            sessions: Mutex::new(Sessions { login: Some(login), idle: Vec::new() }),
            handles_are_void: AtomicBool::new(false),
        })
    }

    fn log_in(&self, session: &Session, token: &TokenInfo) -> Result<Granted, Fault> {
        let pin = self.read_pin(token)?;
        let login = Login::of(token)?;
        let attempt = || {
            let pin = pin.as_ref().map(|pin| AuthPin::new(pin.as_str().into()));
            session.login(UserType::User, pin.as_ref())
        };
        let asked = self.retry.swap(false, Ordering::Relaxed);
        let text = pin.as_ref().map(|pin| pin.as_str());
        let changes = login.log_in(token.into(), text, asked, Instant::now(), attempt)?;
        Ok(Granted { login, changes })
    }

    /// `None` if the device has a keypad of its own and no PIN is configured.
    fn read_pin(&self, token: &TokenInfo) -> Result<Option<Zeroizing<String>>, Fault> {
        let no_pin = |message: String| Pkcs11Error::NoPin { token: token.label().into(), message };
        match &self.pin {
            Some(pin) => Ok(Some(pin.read().map_err(no_pin)?)),
            None if token.protected_authentication_path() => Ok(None),
            None => Err(no_pin("none is configured; give the builder a `TokenPin`".into()).into()),
        }
    }
}

/// A login on a token and its sessions.
pub(super) struct Connection {
    pub number: u64,
    pub module: Pkcs11,
    pub slot: Slot,
    pub token: TokenInfo,
    /// `None` if the token wants no login.
    granted: Option<Granted>,
    sessions: Mutex<Sessions>,
    /// Set once the module has closed our sessions: others may have got their numbers since.
    handles_are_void: AtomicBool,
}

/// The login that a connection was made with.
struct Granted {
    login: Arc<Login>,
    changes: u64,
}

struct Sessions {
    /// Kept open and unused, because a token logs out when its last session closes.
    login: Option<Session>,
    idle: Vec<Session>,
}

impl Connection {
    /// Runs `work` on an idle session, or on a new one. One that served without an error is kept.
    fn run<T>(
        &self,
        work: &mut impl FnMut(&Self, &Session) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.handles_are_void.load(Ordering::Relaxed) {
            return Err(lost_sessions());
        }
        if self.granted.as_ref().is_some_and(|by| by.login.changes() != by.changes) {
            return Err(not_logged_in());
        }
        let idle = locked(&self.sessions).idle.pop();
        let session = match idle {
            Some(session) => session,
            None => self.module.open_ro_session_no_drop(self.slot)?,
        };
        let result = work(self, &session);
        match &result {
            Ok(_) => locked(&self.sessions).idle.push(session),
            Err(Fault::Module(error)) if loss(error) == Loss::Sessions => {}
            // It may be in the middle of an operation.
            Err(_) => drop(session.close()),
        }
        result
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.handles_are_void.load(Ordering::Relaxed) {
            return;
        }
        let mut sessions = locked(&self.sessions);
        let login = sessions.login.take();
        for session in sessions.idle.drain(..).chain(login) {
            // There is nothing to be done about a session that does not close.
            let _ = session.close();
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
