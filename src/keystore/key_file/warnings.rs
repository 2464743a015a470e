//! What is unwise about key files that are used all the same, and who is told of it.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use crate::keystore::Thumbprint;

/// Something about key files that an administrator should mend. The keys serve all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileWarning {
    /// Every account on this host can read the file. Only on Unix.
    #[error(
        "{}: every account on this host can read it (mode {mode:04o}); take that away with \
         `chmod o-rwx`",
        path.display()
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
        "{}: others than its owner can write it (mode {mode:04o}); take that away with \
         `chmod go-w`",
        path.display()
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
        "{} holds the certificate {thumbprint} that {} holds too; the first serves, remove one",
        used.display(), other.display()
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
        "{}: the certificate {thumbprint} has expired; its key goes on serving, rotate the column \
         master key when it suits",
        path.display()
    )]
    Expired {
        /// Its file.
        path: PathBuf,
        /// The certificate.
        thumbprint: Thumbprint,
        /// The last moment at which it was valid.
        not_after: SystemTime,
    },
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
    pub(in crate::keystore) fn replace(&self, warnings: Vec<KeyFileWarning>) {
        let before = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, warnings.as_slice().into())
        };
        let hook = self.hook.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
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
