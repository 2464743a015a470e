//! What this process knows of the login on a token: whose PIN it is by, and which PINs failed.
//!
//! A token logs in a process, not a key store, and counts its failed attempts. So what is known of
//! both is one thing for all key stores of the process. Everything here may block on the token.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki::{
    error::{Error, RvError},
    slot::TokenInfo,
};
use rand::TryRng as _;
use sha2::{Digest as _, Sha256};

use super::{
    error::{Fault, Loss, Pkcs11Error, ckr_name, code, loss},
    session::locked,
};
use crate::{crypto::CmkError, keystore::KeyStoreError};

/// How long a login is left alone whose failure does not say whether the PIN was at fault.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// By what the pause grows with each further failure, and how often.
const PAUSE_FACTOR: u32 = 4;
const PAUSE_GROWS: u32 = 8;

/// How many PINs of one token are remembered as failed. No token allows as many attempts.
const REMEMBERED: usize = 64;

/// The logins of this process. Few, and kept: what is forgotten would be tried again.
static LOGINS: Mutex<Vec<(Identity, Arc<Login>)>> = Mutex::new(Vec::new());

/// A token is told from others by what it says of itself, not by module and slot: two paths may lead
/// to one module, and slots are numbered anew.
#[derive(PartialEq, Eq)]
struct Identity {
    manufacturer: String,
    model: String,
    serial: String,
    label: String,
}

/// What the token says of the user PIN before a login.
pub(super) struct Standing {
    pub label: String,
    pub locked: bool,
    /// One more wrong PIN and it is locked.
    pub last_attempt: bool,
}

impl From<&TokenInfo> for Standing {
    fn from(token: &TokenInfo) -> Self {
        Self {
            label: token.label().to_owned(),
            locked: token.user_pin_locked(),
            last_attempt: token.user_pin_final_try(),
        }
    }
}

/// The login on one token.
pub(super) struct Login {
    salt: [u8; 32],
    /// Locked during an attempt, so that no two are made with one PIN.
    state: Mutex<State>,
    /// Counts the changes of the holder.
    changes: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The PIN of the last login that was ours.
    holder: Option<PinHash>,
    failures: Vec<Failure>,
}

type PinHash = [u8; 32];

struct Failure {
    pin: PinHash,
    error: Pkcs11Error,
    times: u32,
    /// When it may be tried again; `None` is when somebody asks for it.
    again: Option<Instant>,
}

impl Login {
    /// That of this token.
    pub fn of(token: &TokenInfo) -> Result<Arc<Self>, Fault> {
        let identity = Identity {
            manufacturer: token.manufacturer_id().to_owned(),
            model: token.model().to_owned(),
            serial: token.serial_number().to_owned(),
            label: token.label().to_owned(),
        };
        let mut logins = locked(&LOGINS);
        if let Some((_, login)) = logins.iter().find(|(known, _)| *known == identity) {
            return Ok(Arc::clone(login));
        }
        let login = Arc::new(Self::new()?);
        logins.push((identity, Arc::clone(&login)));
        Ok(login)
    }

    fn new() -> Result<Self, Fault> {
        let mut salt = [0; 32];
        let filled = rand::rngs::SysRng.try_fill_bytes(&mut salt);
        filled.map_err(|_| KeyStoreError::from(CmkError::Rsa))?;
        Ok(Self { salt, state: Mutex::default(), changes: AtomicU64::new(0) })
    }

    /// Logs in by `attempt`, unless it is known that this would fail or cost the PIN.
    ///
    /// `asked` is whether somebody wants the attempt made all the same. Returns
    /// [`changes`](Self::changes) as of this login.
    pub fn log_in(
        &self,
        standing: Standing,
        pin: Option<&str>,
        asked: bool,
        now: Instant,
        attempt: impl FnOnce() -> Result<(), Error>,
    ) -> Result<u64, Fault> {
        let pin = self.hash(pin);
        let mut state = locked(&self.state);
        let token = standing.label;
        let before = state.failures.iter().find(|failure| failure.pin == pin);
        let times = before.map_or(0, |failure| failure.times);
        if let Some(failure) = before.filter(|failure| !asked && !failure.is_over(now)) {
            return Err(failure.error.clone().into());
        }
        if standing.locked {
            return Err(state.failed(pin, Pkcs11Error::PinLocked { token }, times + 1, None));
        }
        if standing.last_attempt && !asked {
            return Err(Pkcs11Error::LastAttempt { token }.into());
        }
        let Err(error) = attempt() else {
            state.failures.retain(|failure| failure.pin != pin);
            if state.holder.replace(pin) != Some(pin) {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(self.changes());
        };
        let (error, again) = match code(&error) {
            // A login holds for all sessions of a process, so another part of it was first. The token
            // has not looked at the PIN.
            Some(RvError::UserAlreadyLoggedIn) => {
                return match state.holder {
                    Some(holder) if holder != pin => {
                        Err(Pkcs11Error::AnotherLogin { token }.into())
                    }
                    _ => Ok(self.changes()),
                };
            }
            Some(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid) => {
                (Pkcs11Error::WrongPin { token }, None)
            }
            Some(RvError::PinLocked) => (Pkcs11Error::PinLocked { token }, None),
            Some(unclear) if may_have_cost_an_attempt(&error, unclear) => {
                let again = now.checked_add(pause(times));
                (Pkcs11Error::LoginFailed { token, code: ckr_name(unclear) }, again)
            }
            _ => return Err(error.into()),
        };
        Err(state.failed(pin, error, times + 1, again))
    }

    /// How often a login by another PIN has taken the place of the one before. Sessions go with the
    /// login of the process, so those from before must not be used after.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn hash(&self, pin: Option<&str>) -> PinHash {
        let kind = [u8::from(pin.is_some())];
        let hash = Sha256::new().chain_update(self.salt).chain_update(kind);
        hash.chain_update(pin.unwrap_or_default()).finalize().into()
    }
}

impl Failure {
    fn is_over(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| again <= now)
    }
}

impl State {
    fn failed(
        &mut self,
        pin: PinHash,
        error: Pkcs11Error,
        times: u32,
        again: Option<Instant>,
    ) -> Fault {
        self.failures.retain(|failure| failure.pin != pin);
        if self.failures.len() >= REMEMBERED {
            self.failures.remove(0);
        }
        self.failures.push(Failure { pin, error: error.clone(), times, again });
        error.into()
    }
}

fn pause(failures_before: u32) -> Duration {
    FIRST_PAUSE * PAUSE_FACTOR.pow(failures_before.min(PAUSE_GROWS))
}

/// Modules report a wrong PIN by other codes than the standard's as well: any will do for that, save
/// those by which they say that they have not come as far as the PIN.
fn may_have_cost_an_attempt(error: &Error, code: RvError) -> bool {
    use RvError as R;
    let before_the_pin = matches!(
        code,
        R::UserAnotherAlreadyLoggedIn | R::UserTooManyTypes | R::UserPinNotInitialized
    );
    !before_the_pin && loss(error) != Loss::Sessions
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    /// A token that answers every login with this code.
    struct Bench {
        login: Login,
        attempts: u32,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { login: Login::new().unwrap(), attempts: 0, now: Instant::now() }
        }

        fn log_in(&mut self, pin: &str, asked: bool, answer: Option<RvError>) -> Option<String> {
            self.standing(pin, asked, answer, false)
        }

        fn standing(
            &mut self,
            pin: &str,
            asked: bool,
            answer: Option<RvError>,
            last_attempt: bool,
        ) -> Option<String> {
            let standing = Standing { label: "t".into(), locked: false, last_attempt };
            let attempt = || {
                self.attempts += 1;
                answer.map_or(Ok(()), |code| Err(Error::Pkcs11(code, Function::Login)))
            };
            let result = self.login.log_in(standing, Some(pin), asked, self.now, attempt);
            result.err().map(|fault| KeyStoreError::from(fault).to_string())
        }
    }

    #[test]
    fn a_login_that_fails_by_any_code_is_not_repeated_with_each_call() {
        use RvError as R;
        for code in [
            R::PinIncorrect,
            R::FunctionFailed,
            R::GeneralError,
            R::DeviceError,
            R::VendorDefined(0x8000_0001),
        ] {
            let mut token = Bench::new();
            for _ in 0..5 {
                assert!(token.log_in("1", false, Some(code)).is_some());
            }
            assert_eq!(token.attempts, 1, "{code:?}");
            // Another PIN is another attempt, and each is remembered.
            for pin in ["2", "1", "2"] {
                assert!(token.log_in(pin, false, Some(code)).is_some());
            }
            assert_eq!(token.attempts, 2, "{code:?}");
            assert!(token.log_in("1", true, Some(code)).is_some());
            assert_eq!(token.attempts, 3, "{code:?}");
        }
    }

    #[test]
    fn what_fails_before_the_token_sees_the_pin_is_tried_with_each_call() {
        use RvError as R;
        for code in [R::SessionHandleInvalid, R::TokenNotPresent, R::UserAnotherAlreadyLoggedIn] {
            let mut token = Bench::new();
            for _ in 0..3 {
                assert!(token.log_in("1", false, Some(code)).is_some());
            }
            assert_eq!(token.attempts, 3, "{code:?}");
        }
    }

    #[test]
    fn the_pause_after_an_unclear_failure_grows_and_ends_with_a_login() {
        let mut token = Bench::new();
        let failed = |token: &mut Bench, after: u64| {
            token.now += Duration::from_secs(after);
            token.log_in("1", false, Some(RvError::FunctionFailed));
            token.attempts
        };
        assert_eq!(failed(&mut token, 0), 1);
        assert_eq!(failed(&mut token, 59), 1);
        assert_eq!(failed(&mut token, 1), 2);
        assert_eq!(failed(&mut token, 239), 2);
        assert_eq!(failed(&mut token, 1), 3);
        token.now += pause(3);
        assert_eq!(token.log_in("1", false, None), None);
        assert_eq!(failed(&mut token, 0), 5);
        assert_eq!(failed(&mut token, 60), 6);
        // A refusal by name never ends by itself.
        token.now += pause(2);
        token.log_in("1", false, Some(RvError::PinIncorrect));
        token.now += pause(u32::MAX);
        assert!(token.log_in("1", false, None).unwrap().contains("refused the PIN"));
    }

    #[test]
    fn the_last_attempt_is_made_only_when_somebody_asks() {
        let mut token = Bench::new();
        let said = token.standing("1", false, None, true).unwrap();
        assert!(said.contains("one more wrong PIN"), "{said}");
        assert_eq!(token.attempts, 0);
        assert_eq!(token.standing("1", true, None, true), None);
        assert_eq!(token.attempts, 1);
    }

    #[test]
    fn the_login_of_one_pin_does_not_serve_another() {
        let mut token = Bench::new();
        let there_is_one = Some(RvError::UserAlreadyLoggedIn);
        // Somebody else's, of which nothing is known.
        assert_eq!(token.log_in("b", false, there_is_one), None);
        assert_eq!(token.log_in("a", false, None), None);
        let (a, said) = (token.login.changes(), token.log_in("b", false, there_is_one).unwrap());
        assert!(said.contains("another PIN"), "{said}");
        assert_eq!(token.log_in("a", false, there_is_one), None);
        // After a logout anybody may be the first, and the sessions from before are not theirs.
        assert_eq!(token.log_in("a", false, None), None);
        assert_eq!(token.login.changes(), a);
        assert_eq!(token.log_in("b", false, None), None);
        assert_ne!(token.login.changes(), a);
    }
}
