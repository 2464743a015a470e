//! The module of a vendor, loaded once per process, and the token in one of its slots.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    slot::{Slot, TokenInfo},
};

use super::{
    error::{Fault, Pkcs11Error, ckr_name, code},
    key::possible,
};

/// The modules of this process. A module's state belongs to the process, so it is loaded once,
/// whichever key stores use it, and stays: other threads may be inside of it, and its own threads may
/// run until the process ends.
static LOADED: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());

/// The module at that path, ready for use.
pub(super) fn load(path: &Path) -> Result<Pkcs11, Fault> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let module = match loaded.iter().find(|(known, _)| known == path) {
        Some((_, module)) => module.clone(),
        None => {
            let module = Pkcs11::new(path).map_err(|error| Pkcs11Error::ModuleNotLoadable {
                module: path.to_owned(),
                message: words(&error),
            })?;
            loaded.push((path.to_owned(), module.clone()));
            module
        }
    };
    // Each time, for somebody else in the process may have finalized it. The lock is still held, so
    // that two threads do not do it at once.
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) => Ok(module),
        Err(error) if code(&error) == Some(RvError::CryptokiAlreadyInitialized) => Ok(module),
        Err(error) => Err(Pkcs11Error::ModuleNotStarted {
            module: path.to_owned(),
            code: code(&error).map_or_else(|| error.to_string(), ckr_name),
        }
        .into()),
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::LibraryLoading(error) => error.to_string(),
        Error::MissingSymbol(name) => format!("it has no {name}, so it is no PKCS#11 module"),
        other => other.to_string(),
    }
}

/// What the configured token is chosen by. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenChoice {
    pub label: Option<String>,
    pub serial: Option<String>,
    pub slot: Option<u64>,
}

impl TokenChoice {
    /// The slot that has the token.
    pub fn find(&self, module: &Pkcs11) -> Result<(Slot, TokenInfo), Fault> {
        let mut tokens = Vec::new();
        for slot in possible("C_GetSlotList", || module.get_slots_with_token())?? {
            // A token that goes while we look is not there.
            if let Ok(token) = module.get_token_info(slot) {
                tokens.push((slot, token));
            }
        }
        // SoftHSM always shows one more, for the next token that somebody makes.
        tokens.retain(|(_, token)| token.token_initialized());
        let fitting = |(slot, token): &&(Slot, TokenInfo)| self.fits(*slot, token);
        match tokens.iter().filter(fitting).collect::<Vec<_>>().as_slice() {
            [(slot, token)] => Ok((*slot, token.clone())),
            [] => Err(Pkcs11Error::TokenNotFound {
                wanted: self.to_string(),
                present: tokens.iter().map(describe).collect(),
            }
            .into()),
            several => Err(Pkcs11Error::AmbiguousToken {
                wanted: self.to_string(),
                present: several.iter().map(|token| describe(token)).collect(),
            }
            .into()),
        }
    }

    fn fits(&self, slot: Slot, token: &TokenInfo) -> bool {
        self.label.as_ref().is_none_or(|label| label == token.label())
            && self.serial.as_ref().is_none_or(|serial| serial == token.serial_number())
            && self.slot.is_none_or(|id| id == slot.id())
    }
}

fn describe((slot, token): &(Slot, TokenInfo)) -> String {
    format!("{} in slot {slot}", name(token))
}

/// A token in a message.
pub(super) fn name(token: &TokenInfo) -> String {
    format!("{:?} (serial {:?})", token.label(), token.serial_number())
}

impl fmt::Display for TokenChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, serial, slot } = self;
        let parts = [
            label.as_ref().map(|label| format!("the label {label:?}")),
            serial.as_ref().map(|serial| format!("the serial number {serial:?}")),
            slot.map(|slot| format!("the slot {slot}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.as_slice() {
            [] => f.write_str("any name"),
            parts => f.write_str(&parts.join(" and ")),
        }
    }
}
