//! Sessions on a token: a login, a bounded number of sessions, and what happens when they are lost.
//!
//! Everything here blocks.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cryptoki::{
    context::Pkcs11,
    error::RvError,
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::{
    error::{Fault, Loss, Pkcs11Error, code, loss, lost_sessions},
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
    refused: Mutex<Option<RefusedPin>>,
}

/// A PIN that the token would not have, so that it is not tried twice.
struct RefusedPin {
    pin: Option<Zeroizing<String>>,
    error: Pkcs11Error,
}

impl Token {
    pub fn new(module: PathBuf, choice: TokenChoice, pin: Option<TokenPin>) -> Self {
        Self { module, choice, pin, connection: Mutex::default(), refused: Mutex::default() }
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

    /// Lets a PIN that was refused be tried again.
    pub fn forget_refused_pin(&self) {
        *locked(&self.refused) = None;
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
        if token.login_required()
            && let Err(fault) = self.log_in(&login, &token)
        {
            let _ = login.close();
            return Err(fault);
        }
        Ok(Connection {
            number: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
            module,
            slot,
            token,
            sessions: Mutex::new(Sessions { login: Some(login), idle: Vec::new() }),
            handles_are_void: AtomicBool::new(false),
        })
    }

    fn log_in(&self, session: &Session, token: &TokenInfo) -> Result<(), Fault> {
        let pin = self.read_pin(token)?;
        if let Some(refused) = locked(&self.refused).as_ref().filter(|refused| refused.pin == pin) {
            return Err(refused.error.clone().into());
        }
        let label = token.label().to_owned();
        let error = if token.user_pin_locked() {
            Pkcs11Error::PinLocked { token: label }
        } else {
            let pin = pin.as_ref().map(|pin| AuthPin::new(pin.as_str().into()));
            let Err(error) = session.login(UserType::User, pin.as_ref()) else {
                self.forget_refused_pin();
                return Ok(());
            };
            match code(&error) {
                // A login holds for all sessions of a process, so another part of it was first.
                Some(RvError::UserAlreadyLoggedIn) => return Ok(()),
                Some(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid) => {
                    Pkcs11Error::WrongPin { token: label }
                }
                Some(RvError::PinLocked) => Pkcs11Error::PinLocked { token: label },
                _ => return Err(error.into()),
            }
        };
        *locked(&self.refused) = Some(RefusedPin { pin, error: error.clone() });
        Err(error.into())
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
    sessions: Mutex<Sessions>,
    /// Set once the module has closed our sessions: others may have got their numbers since.
    handles_are_void: AtomicBool,
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
