//! What is unwise about key files that are used all the same, and who is told of it.

use std::{
    collections::HashSet,
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use crate::keystore::Thumbprint;

/// How many warnings of a reading are kept: whoever may add files may not fill memory and log.
pub(in crate::keystore) const MAX_WARNINGS: usize = 256;

/// Something about key files that an administrator should mend. The keys serve all the same.
///
/// Messages show paths escaped: whoever may add a file could otherwise forge lines in a log by its
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileWarning {
    /// Every account on this host can read the file. Only on Unix.
    #[error(
        "{path:?}: every account on this host can read it (mode {mode:04o}); take that away with \
         `chmod o-rwx`"
    )]
    ReadableByAll {
        /// The file with a key or a password in it.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Accounts other than the owner's can write the file, or add files to the directory. Only on
    /// Unix.
    #[error(
        "{path:?}: others than its owner can write it (mode {mode:04o}); take that away with \
         `chmod go-w`"
    )]
    WritableByOthers {
        /// The file with a key or a password in it, or the directory of them.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Two files hold the same certificate with its key. The first in the order of their paths
    /// serves, PKCS#12 before others.
    #[error(
        "{used:?} holds the certificate {thumbprint} that {other:?} holds too; the first serves, \
         remove one"
    )]
    DuplicateCertificate {
        /// The certificate.
        thumbprint: Thumbprint,
        /// The file that serves.
        used: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// The certificate has expired. Its key goes on serving, as in Microsoft's drivers: it must open
    /// what it has encrypted.
    #[error(
        "{path:?}: the certificate {thumbprint} has expired; its key goes on serving, rotate the \
         column master key when it suits"
    )]
    Expired {
        /// Its file.
        path: PathBuf,
        /// The certificate.
        thumbprint: Thumbprint,
        /// The last moment at which it was valid.
        not_after: SystemTime,
    },
    /// A PKCS#12 file has no MAC, so that the password that is configured for it does not show who
    /// made it: one with other keys may have taken its place, and need not be encrypted either.
    #[error(
        "{path:?}: it has no MAC, so its password does not vouch for its keys; see that they are \
         yours, and export it again with a MAC"
    )]
    Unauthenticated {
        /// The file.
        path: PathBuf,
    },
    /// There are more warnings than are kept.
    #[error("{count} more warnings of key files are not kept; mend what the others name first")]
    More {
        /// How many more.
        count: usize,
    },
}

/// What a reading finds unwise, up to a number; the rest is counted.
#[derive(Default)]
pub(in crate::keystore) struct Found {
    kept: Vec<KeyFileWarning>,
    more: usize,
}

impl Found {
    /// Takes note of a warning, which is not even made if there are too many.
    pub(in crate::keystore) fn note(&mut self, warning: impl FnOnce() -> KeyFileWarning) {
        if self.kept.len() < MAX_WARNINGS {
            self.kept.push(warning());
        } else {
            self.more += 1;
        }
    }

    fn into_warnings(mut self) -> Arc<[KeyFileWarning]> {
        if self.more > 0 {
            self.kept.push(KeyFileWarning::More { count: self.more });
        }
        self.kept.into()
    }
}

impl Extend<KeyFileWarning> for Found {
    fn extend<I: IntoIterator<Item = KeyFileWarning>>(&mut self, warnings: I) {
        warnings.into_iter().for_each(|warning| self.note(|| warning));
    }
}

type Hook = dyn Fn(&KeyFileWarning) + Send + Sync;

/// The warnings of the last reading.
#[derive(Default)]
pub(in crate::keystore) struct Warnings {
    current: RwLock<Arc<[KeyFileWarning]>>,
    hook: RwLock<Option<Arc<Hook>>>,
}

impl Warnings {
    pub(in crate::keystore) fn current(&self) -> Arc<[KeyFileWarning]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the place of what there was, and tells of what is new.
    pub(in crate::keystore) fn replace(&self, found: Found) {
        let warnings = found.into_warnings();
        let before = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&warnings))
        };
        let hook = self.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            let before: HashSet<&KeyFileWarning> = before.iter().collect();
            warnings.iter().filter(|warning| !before.contains(warning)).for_each(|w| hook(w));
        }
    }

    /// Tells `hook` of what there is, and from then on of what is new.
    pub(in crate::keystore) fn on_warning(&self, hook: Arc<Hook>) {
        self.current().iter().for_each(|warning| hook(warning));
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }
}

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.current().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_forges_no_line_in_a_log() {
        let path = PathBuf::from("a\nroot logged in\u{1b}[2J.pfx");
        let thumbprint = Thumbprint::of(b"");
        let not_after = SystemTime::UNIX_EPOCH;
        for warning in [
            KeyFileWarning::ReadableByAll { path: path.clone(), mode: 0o644 },
            KeyFileWarning::WritableByOthers { path: path.clone(), mode: 0o666 },
            KeyFileWarning::DuplicateCertificate {
                thumbprint,
                used: path.clone(),
                other: path.clone(),
            },
            KeyFileWarning::Expired { path: path.clone(), thumbprint, not_after },
            KeyFileWarning::Unauthenticated { path: path.clone() },
        ] {
            let text = warning.to_string();
            assert!(text.contains("logged in"), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn of_warnings_without_end_some_are_kept_and_the_others_counted() {
        let warning = |n: u32| KeyFileWarning::ReadableByAll { path: "a.key".into(), mode: n };
        for (count, kept, more) in [
            (MAX_WARNINGS as u32, MAX_WARNINGS, None),
            (100_000, MAX_WARNINGS + 1, Some(100_000 - MAX_WARNINGS)),
        ] {
            let warnings = Warnings::default();
            let mut found = Found::default();
            found.extend((0..count).map(warning));
            warnings.replace(found);
            let current = warnings.current();
            assert_eq!(current.len(), kept);
            assert_eq!(current.first(), Some(&warning(0)));
            let counted = current.iter().find_map(|warning| match warning {
                KeyFileWarning::More { count } => Some(*count),
                _ => None,
            });
            assert_eq!(counted, more);
        }
    }
}
