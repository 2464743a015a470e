//! Where the user PIN of a token comes from.

use std::{
    env, fmt, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

/// The longest PIN file that is read, in bytes.
const MAX_PIN_FILE_LEN: u64 = 4096;

/// The user PIN of a token, or the place to read it from whenever a login needs it.
///
/// `Debug` shows which kind it is and nothing else.
#[derive(Clone)]
pub struct TokenPin(Source);

type ReadPin = dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync;

#[derive(Clone)]
enum Source {
    Secret(Arc<Zeroizing<String>>),
    File(PathBuf),
    Variable(String),
    Function(Arc<ReadPin>),
}

impl TokenPin {
    /// This PIN. It is kept in memory, and wiped when the key store goes.
    pub fn secret(pin: impl Into<Zeroizing<String>>) -> Self {
        Self(Source::Secret(Arc::new(pin.into())))
    }

    /// The first line of this file, without the line break. Permissions like those of a private key
    /// will do.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The value of this environment variable. What is in the environment stays there, unwiped and
    /// readable for other programs of the same user; a file is better.
    pub fn in_variable(name: impl Into<String>) -> Self {
        Self(Source::Variable(name.into()))
    }

    /// What this function returns, or its reason why there is none, which must hold no secret.
    /// Called on a blocking thread, for each login.
    pub fn from_fn(
        pin: impl Fn() -> Result<Zeroizing<String>, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::Function(Arc::new(pin)))
    }

    /// The PIN, or why there is none, in words.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, String> {
        match &self.0 {
            Source::Secret(pin) => Ok(Zeroizing::clone(pin)),
            Source::File(path) => first_line(path).map_err(|error| format!("{path:?}: {error}")),
            Source::Variable(name) => env::var(name).map(Zeroizing::new).map_err(|error| {
                let what = match error {
                    env::VarError::NotPresent => "is not set",
                    env::VarError::NotUnicode(_) => "is not UTF-8",
                };
                format!("the environment variable {name:?} {what}")
            }),
            Source::Function(pin) => pin(),
        }
    }
}

fn first_line(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN_FILE_LEN as usize));
    fs::File::open(path)?.take(MAX_PIN_FILE_LEN).read_to_string(&mut text)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

impl fmt::Debug for TokenPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Secret(_) => "TokenPin::secret(..)",
            Source::File(_) => "TokenPin::in_file(..)",
            Source::Variable(_) => "TokenPin::in_variable(..)",
            Source::Function(_) => "TokenPin::from_fn(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_in_a_file_is_its_first_line_without_the_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        for (text, pin) in [("1234", "1234"), ("12 34\r\nx\n", "12 34"), ("", "")] {
            fs::write(&path, text).unwrap();
            assert_eq!(*TokenPin::in_file(&path).read().unwrap(), pin);
        }
    }

    #[test]
    fn a_pin_that_cannot_be_read_says_where_it_should_be() {
        let missing = TokenPin::in_file("/nowhere/pin").read().unwrap_err();
        assert!(missing.starts_with("\"/nowhere/pin\": "), "{missing}");
        let unset = TokenPin::in_variable("NO_SUCH_VARIABLE_HERE").read().unwrap_err();
        assert_eq!(unset, "the environment variable \"NO_SUCH_VARIABLE_HERE\" is not set");
        let function = TokenPin::from_fn(|| Err("the vault is away".into())).read();
        assert_eq!(function.unwrap_err(), "the vault is away");
    }

    #[test]
    fn the_name_of_a_file_or_variable_forges_no_line_in_a_log() {
        let name = "pin\n12:00 INFO all is well \u{1b}[2K\u{202e}";
        for pin in [TokenPin::in_file(name), TokenPin::in_variable(name)] {
            let text = pin.read().unwrap_err();
            assert!(text.contains(r"pin\n12:00"), "{text:?} does not tell which");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }

    #[test]
    fn no_pin_is_shown() {
        let secret = TokenPin::secret("s3cr3t-pin".to_owned());
        assert_eq!(*secret.read().unwrap(), "s3cr3t-pin");
        let closure = TokenPin::from_fn(|| Ok("s3cr3t-pin".to_owned().into()));
        assert_eq!(
            format!("{secret:?} {closure:#?}"),
            "TokenPin::secret(..) TokenPin::from_fn(..)"
        );
    }
}
