//! What can go wrong with a token, and which of it a new session mends.

use std::path::PathBuf;

use cryptoki::{
    context::Function,
    error::{Error, RvError},
};

use crate::keystore::KeyStoreError;

/// How many tokens or keys a message lists; more it only mentions.
pub(super) const LISTED: usize = 8;

/// A token, or a key in it, that does not serve.
///
/// No variant holds a PIN. What came from the server or from the token is shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11Error {
    /// The module cannot be loaded, or is none. The configuration or the host is at fault.
    #[error(
        "{module:?}: the PKCS#11 module cannot be loaded: {}; check the path, and that the module is \
         installed for this platform and readable for this account",
        message.escape_debug()
    )]
    ModuleNotLoadable {
        /// The path that was configured.
        module: PathBuf,
        /// The loader's words.
        message: String,
    },
    /// The module was loaded and did not start. Its own configuration is at fault, as a rule.
    #[error(
        "{module:?}: the PKCS#11 module does not start: {code}; check its own configuration (such as \
         SOFTHSM2_CONF) and what it needs to reach the device"
    )]
    ModuleNotStarted {
        /// The path that was configured.
        module: PathBuf,
        /// The module's return value, such as `CKR_GENERAL_ERROR`.
        code: String,
    },
    /// No slot has the configured token: it is not plugged in, not set up, or called otherwise.
    #[error(
        "there is no token with {wanted}; the module has {}; check that the device is there and \
         initialised, and that the name is right",
        listed(present, "none")
    )]
    TokenNotFound {
        /// What the token was chosen by.
        wanted: String,
        /// The tokens that there are.
        present: Vec<String>,
    },
    /// Several tokens fit.
    #[error(
        "several tokens have {wanted}: {}; choose one by its serial number",
        listed(present, "none")
    )]
    AmbiguousToken {
        /// What the token was chosen by.
        wanted: String,
        /// Those that fit.
        present: Vec<String>,
    },
    /// The token needs a PIN and none is configured, or it could not be read.
    #[error("there is no PIN for the token {token:?}: {message}")]
    NoPin {
        /// The token's label.
        token: String,
        /// What is in the way.
        message: String,
    },
    /// The token refused the PIN. It is not tried again, since tokens lock after a few tries.
    #[error(
        "the token {token:?} refused the PIN; it is not tried again until another PIN is configured \
         or `retry_pin` is called, since tokens lock after a few attempts"
    )]
    WrongPin {
        /// The token's label.
        token: String,
    },
    /// The token has locked the user PIN after too many attempts.
    #[error(
        "the PIN of the token {token:?} is locked; have the token's security officer reset it, then \
         call `retry_pin` or start anew"
    )]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// The token says that the next wrong PIN locks it. The PIN was not tried.
    #[error(
        "one more wrong PIN locks the token {token:?}, so it was not tried; check the PIN, then call \
         `retry_pin`"
    )]
    LastAttempt {
        /// The token's label.
        token: String,
    },
    /// The login failed with a code that does not say whether the PIN is at fault. Some modules report
    /// a wrong PIN so, hence it is tried again after a pause only, which grows.
    #[error(
        "the login on the token {token:?} failed with {code}{}; check the PIN and the device; it is \
         tried again after a pause that grows, since tokens lock after a few attempts, or after \
         `retry_pin`",
        advice(code)
    )]
    LoginFailed {
        /// The token's label.
        token: String,
        /// The return value, such as `CKR_FUNCTION_FAILED`.
        code: String,
    },
    /// Another key store of this process has logged in with another PIN, and a token logs in the whole
    /// process. The configuration is at fault, or the PIN was changed since.
    #[error(
        "this process is logged in on the token {token:?} with another PIN; give all its key stores on \
         that token the same PIN, or a process each; after a change of the PIN start the process anew"
    )]
    AnotherLogin {
        /// The token's label.
        token: String,
    },
    /// The key path names a token that is not the configured one. Whoever defined the column master
    /// key is at fault, or the configuration.
    #[error(
        "key path {key_path:?} means another token than the configured one ({token}); register a key \
         store for that token, or correct the column master key"
    )]
    AnotherToken {
        /// The path that was asked for.
        key_path: String,
        /// The configured token.
        token: String,
    },
    /// The token has no such private key.
    #[error(
        "no private key for key path {key_path:?} in the token {token}; it has {}; a key path names \
         a key by its label (CKA_LABEL) or id (CKA_ID)",
        listed(keys, "no private keys")
    )]
    KeyNotFound {
        /// The path that was asked for.
        key_path: String,
        /// The token that was searched.
        token: String,
        /// Private keys in it, as key paths: a few, if there are many.
        keys: Vec<String>,
    },
    /// Several private keys fit.
    #[error(
        "several private keys fit key path {key_path:?}: {}; name the id as well: \
         pkcs11:object=<label>;id=<bytes>",
        listed(keys, "none")
    )]
    AmbiguousKey {
        /// The path that was asked for.
        key_path: String,
        /// Those that fit, as key paths: a few, if there are many.
        keys: Vec<String>,
    },
    /// The key is not RSA.
    #[error("the key at {key_path:?} is not an RSA key; column master keys are: make one")]
    NotRsa {
        /// The path that was asked for.
        key_path: String,
    },
    /// The key's modulus is too short to protect anything.
    #[error(
        "the RSA key at {key_path:?} has {bits} bits; a column master key needs at least {}: make a \
         longer one and rotate",
        crate::crypto::MIN_MODULUS_BITS
    )]
    KeyTooShort {
        /// The path that was asked for.
        key_path: String,
        /// The length of the modulus.
        bits: usize,
    },
    /// The key's attributes do not allow what a column master key does.
    #[error(
        "the key at {key_path:?} does not allow it ({attribute} is not true); have the attribute \
         set, or make a key that may decrypt and sign"
    )]
    NotAllowed {
        /// The path that was asked for.
        key_path: String,
        /// `CKA_DECRYPT` or `CKA_SIGN`.
        attribute: &'static str,
    },
    /// The key wants the PIN again for each operation, which a server process cannot give it.
    #[error(
        "the key at {key_path:?} wants a PIN for each use (CKA_ALWAYS_AUTHENTICATE); make a key \
         without"
    )]
    PinForEachUse {
        /// The path that was asked for.
        key_path: String,
    },
    /// Neither a public key object nor the private one gives modulus and exponent.
    #[error(
        "the token gives no public half to the key at {key_path:?}; store a public key object with \
         the same id (CKA_ID)"
    )]
    NoPublicKey {
        /// The path that was asked for.
        key_path: String,
    },
    /// The private key shows no modulus or no exponent, and several public key objects claim to be its
    /// other half.
    #[error(
        "several public key objects of the token share the id (CKA_ID) or label of the key at \
         {key_path:?}, and they differ; find out who stored them and delete those that are not its \
         other half"
    )]
    AmbiguousPublicKey {
        /// The path that was asked for.
        key_path: String,
    },
    /// The private key shows no modulus or no exponent, and the public key object of its id is another
    /// key's. Somebody may have stored it to have envelopes of their own believed.
    #[error(
        "the public key object with the id (CKA_ID) or label of the key at {key_path:?} is not its \
         other half; find out who stored it, delete it, and store the right one"
    )]
    FalsePublicKey {
        /// The path that was asked for.
        key_path: String,
    },
    /// The token, or the key, lacks a mechanism that Always Encrypted fixes.
    #[error(
        "the token {token:?} does not do {mechanism} with this key; check the device's policy and \
         the key's CKA_ALLOWED_MECHANISMS"
    )]
    NoMechanism {
        /// The token's label.
        token: String,
        /// What is missing, such as `CKM_RSA_PKCS_OAEP with SHA-1`.
        mechanism: &'static str,
    },
    /// There is a key of that label already; nothing was made.
    #[error("the token {token:?} has a key labelled {label:?} already; choose another label")]
    LabelTaken {
        /// The token's label.
        token: String,
        /// The label that was asked for.
        label: String,
    },
    /// A label that no key can be found by.
    #[error(
        "{label:?} is no label for a key: it needs a visible character and no control characters"
    )]
    InvalidLabel {
        /// The label that was asked for.
        label: String,
    },
    /// An answer that cannot be: a length that no key has, more objects than were asked for. The module
    /// is at fault, or the device.
    #[error(
        "the token's answer to {function} cannot be: {message}; nothing was taken from it; try another \
         version of the module, or ask its vendor"
    )]
    ImpossibleAnswer {
        /// The function, such as `C_Decrypt`.
        function: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A function of the module failed, with a return value that has no variant of its own.
    #[error("the token failed: {function} returned {code}{}", advice_or_logs(code))]
    Failed {
        /// The function, such as `C_Decrypt`.
        function: String,
        /// The return value, such as `CKR_DEVICE_ERROR`.
        code: String,
    },
}

fn listed(items: &[String], none: &str) -> String {
    let shown = items.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(LISTED) {
        _ if items.is_empty() => none.into(),
        0 => shown,
        // How many more of the keys nobody has counted.
        _ => format!("{shown} and more"),
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "CKR_SESSION_COUNT" => {
            "; the token allows fewer sessions: lower `sessions` (one more is kept for the login)"
        }
        "CKR_DEVICE_REMOVED" | "CKR_TOKEN_NOT_PRESENT" | "CKR_SLOT_ID_INVALID" => {
            "; check that the device is there"
        }
        "CKR_TOKEN_WRITE_PROTECTED" | "CKR_SESSION_READ_ONLY" => "; the token cannot be written",
        "CKR_DEVICE_MEMORY" => "; the token is full",
        "CKR_USER_PIN_NOT_INITIALIZED" | "CKR_PIN_EXPIRED" => {
            "; have the token's security officer set the user PIN"
        }
        "CKR_USER_ANOTHER_ALREADY_LOGGED_IN" => "; this process is logged in as security officer",
        _ => "",
    }
}

fn advice_or_logs(code: &str) -> &'static str {
    match advice(code) {
        "" => "; see what the device and its module write in their logs",
        advice => advice,
    }
}

/// Why a piece of work on a session did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The module said so. Whether a new session mends it is in the code.
    Module(Error),
    /// We said so, and a new session would change nothing.
    Refused(KeyStoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

impl From<Pkcs11Error> for Fault {
    fn from(error: Pkcs11Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<KeyStoreError> for Fault {
    fn from(error: KeyStoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for KeyStoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Module(error) => failed(&error).into(),
            Fault::Refused(error) => error,
        }
    }
}

/// What is left of a connection to a token after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing is lost; the session that failed is closed all the same.
    None,
    /// The login, or the handle of an object; the sessions are there and are to be closed.
    Login,
    /// The sessions. Their handles may already be those of others, so nobody may close them.
    Sessions,
}

pub(super) fn loss(error: &Error) -> Loss {
    use RvError as R;
    match error {
        Error::Pkcs11(code, _) => match code {
            R::SessionHandleInvalid
            | R::SessionClosed
            | R::DeviceRemoved
            | R::TokenNotPresent
            | R::TokenNotRecognized
            | R::SlotIdInvalid
            | R::CryptokiNotInitialized => Loss::Sessions,
            // A logout elsewhere in the process takes the handles of private objects with it. A device
            // error is what modules say whose connection to the device has broken.
            R::UserNotLoggedIn | R::KeyHandleInvalid | R::ObjectHandleInvalid | R::DeviceError => {
                Loss::Login
            }
            _ => Loss::None,
        },
        _ => Loss::None,
    }
}

pub(super) fn not_logged_in() -> Fault {
    Fault::Module(Error::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects))
}

pub(super) fn lost_sessions() -> Fault {
    Fault::Module(Error::Pkcs11(RvError::SessionHandleInvalid, Function::GetSessionInfo))
}

/// The error's return value, if it is one.
pub(super) fn code(error: &Error) -> Option<RvError> {
    match error {
        Error::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}

pub(super) fn failed(error: &Error) -> Pkcs11Error {
    match error {
        Error::Pkcs11(code, function) => {
            Pkcs11Error::Failed { function: format!("C_{function:?}"), code: ckr_name(*code) }
        }
        other => Pkcs11Error::Failed { function: "the module".into(), code: other.to_string() },
    }
}

/// The constant's name in PKCS#11: `SessionHandleInvalid` is `CKR_SESSION_HANDLE_INVALID`.
pub(super) fn ckr_name(code: RvError) -> String {
    if let RvError::VendorDefined(value) = code {
        return format!("CKR_VENDOR_DEFINED + {:#x}", value & 0x7FFF_FFFF);
    }
    let camel = format!("{code:?}");
    let mut name = String::from("CKR");
    for character in camel.chars() {
        if character.is_uppercase() {
            name.push('_');
        }
        name.extend(character.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_token_lost_decides_what_is_made_anew() {
        use RvError as R;
        for (code, expected) in [
            (R::SessionHandleInvalid, Loss::Sessions),
            (R::SessionClosed, Loss::Sessions),
            (R::DeviceRemoved, Loss::Sessions),
            (R::TokenNotPresent, Loss::Sessions),
            (R::CryptokiNotInitialized, Loss::Sessions),
            (R::UserNotLoggedIn, Loss::Login),
            (R::KeyHandleInvalid, Loss::Login),
            (R::PinIncorrect, Loss::None),
            (R::PinLocked, Loss::None),
            (R::EncryptedDataInvalid, Loss::None),
            (R::DeviceError, Loss::Login),
            (R::GeneralError, Loss::None),
        ] {
            assert_eq!(loss(&Error::Pkcs11(code, Function::Decrypt)), expected, "{code:?}");
        }
        assert_eq!(loss(&Error::PinNotSet), Loss::None);
    }

    #[test]
    fn a_failure_is_named_as_in_the_standard_and_not_explained_in_a_paragraph() {
        let error = failed(&Error::Pkcs11(RvError::SessionCount, Function::OpenSession));
        assert_eq!(
            error.to_string(),
            "the token failed: C_OpenSession returned CKR_SESSION_COUNT; the token allows fewer \
             sessions: lower `sessions` (one more is kept for the login)"
        );
        assert_eq!(ckr_name(RvError::PinLenRange), "CKR_PIN_LEN_RANGE");
        assert_eq!(ckr_name(RvError::VendorDefined(0x8000_0A01)), "CKR_VENDOR_DEFINED + 0xa01");
    }

    #[test]
    fn the_path_of_a_module_forges_no_line_in_a_log() {
        let module = PathBuf::from("a.so\n12:00 INFO all is well \u{1b}[2K\u{202e}");
        for error in [
            // The loader names the path too.
            Pkcs11Error::ModuleNotLoadable {
                message: format!("{}: no such file", module.display()),
                module: module.clone(),
            },
            Pkcs11Error::ModuleNotStarted { module, code: "CKR_GENERAL_ERROR".into() },
        ] {
            let text = error.to_string();
            assert!(text.contains(r"a.so\n12:00"), "{text:?} does not tell the file");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names, "none"), "0, 1, 2, 3, 4, 5, 6, 7 and more");
        assert_eq!(listed(&[], "none"), "none");
    }
}
