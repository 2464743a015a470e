//! The passwords of key files.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::{
    KeyFileWarning, Stamp, exposure,
    read::{Links, open},
};
use crate::keystore::KeyFileProblem;

/// The longest password file that is read, in bytes.
const MAX_PASSWORD_FILE_LEN: u64 = 4096;

/// Where the passwords of PKCS#12 files, Java key stores and encrypted PEM keys come from.
///
/// `Debug` shows which kind it is and nothing else.
#[derive(Clone, Default)]
pub struct FilePasswords(Source);

/// Where a password came from when a file was tried.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::keystore) enum PasswordState {
    Fixed,
    File(Option<Stamp>),
    Given(Option<Zeroizing<String>>),
}

/// The password of the file at a path.
type PasswordOf = dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync;

#[derive(Clone, Default)]
enum Source {
    #[default]
    None,
    Same(Arc<Zeroizing<String>>),
    File(PathBuf),
    PerFile(Arc<PasswordOf>),
}

impl FilePasswords {
    /// No password: for unencrypted PEM keys, and PKCS#12 files whose password is empty or null.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One password for all files.
    pub fn same(password: impl Into<String>) -> Self {
        Self(Source::Same(Arc::new(Zeroizing::new(password.into()))))
    }

    /// One password for all files, which is the first line of the file at `path`.
    ///
    /// It is read at every scan of the directory, so a new password needs no restart. Keep it out
    /// of reach of other accounts; any extension but those of key files will do.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// A password for each file, by the file's path; `None` if it has none. Called on a blocking
    /// thread.
    pub fn per_file(
        password: impl Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::PerFile(Arc::new(password)))
    }

    /// What the password of `file` comes from, to tell whether trying again can end otherwise.
    pub(in crate::keystore) fn state(&self, file: &Path) -> PasswordState {
        match &self.0 {
            Source::None | Source::Same(_) => PasswordState::Fixed,
            Source::File(path) => PasswordState::File(Stamp::of(path)),
            Source::PerFile(password) => PasswordState::Given(password(file)),
        }
    }

    /// What is unwise about the password's own file.
    pub(in crate::keystore) fn exposure(&self) -> Vec<KeyFileWarning> {
        match &self.0 {
            Source::File(path) => {
                fs::metadata(path).map_or_else(|_| Vec::new(), |m| exposure(path, &m))
            }
            _ => Vec::new(),
        }
    }

    pub(in crate::keystore) fn of(
        &self,
        file: &Path,
    ) -> Result<Option<Zeroizing<String>>, KeyFileProblem> {
        match &self.0 {
            Source::None => Ok(None),
            Source::Same(password) => Ok(Some(Zeroizing::clone(password))),
            Source::File(path) => first_line(path).map(Some),
            Source::PerFile(password) => Ok(password(file)),
        }
    }
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, KeyFileProblem> {
    let problem = |e: io::Error| KeyFileProblem::PasswordFile { message: format!("{path:?}: {e}") };
    let (file, _) = open(path, Links::Follow).map_err(problem)?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSWORD_FILE_LEN as usize));
    file.take(MAX_PASSWORD_FILE_LEN).read_to_string(&mut text).map_err(problem)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

impl fmt::Debug for FilePasswords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::None => "FilePasswords::none()",
            Source::Same(_) => "FilePasswords::same(..)",
            Source::File(_) => "FilePasswords::in_file(..)",
            Source::PerFile(_) => "FilePasswords::per_file(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_password_file_forges_no_line_in_a_log() {
        let path = "password\n12:00 INFO all is well \u{1b}[2K\u{202e}";
        let problem = FilePasswords::in_file(path).of(Path::new("a.pfx")).unwrap_err();
        let text = problem.to_string();
        assert!(text.contains(r"password\n12:00"), "{text:?} does not tell the file");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
