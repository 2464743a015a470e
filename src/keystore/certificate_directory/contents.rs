//! What the files of a group give: certificates with their keys, or why none.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::Thumbprint;
use crate::{
    crypto::CmkPrivateKey,
    keystore::{
        FilePasswords, KeyFileProblem, UnusableKeyFile,
        key_file::{
            CertifiedKey, FileBudget, expiry,
            pem::{Item, MAX_ITEMS, cost_of, items, rsa_key, too_many_items},
            pkcs12::{self, Opened},
        },
    },
};

/// Keys, or certificates whose key cannot be used and why.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pub(super) keys: Vec<FoundKey>,
    pub(super) problem: Option<Problem>,
    /// The files that hold a private key, usable or not.
    pub(super) secrets: Vec<PathBuf>,
    /// The password does not vouch for what the file holds.
    pub(super) unauthenticated: bool,
}

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct FoundKey {
    pub(super) thumbprint: Thumbprint,
    pub(super) key: Arc<CmkPrivateKey>,
    pub(super) not_after: Option<SystemTime>,
}

/// What is wrong with a group of files.
#[derive(Clone)]
pub(super) struct Problem {
    pub(super) file: UnusableKeyFile,
    /// The certificates that it is known to hold.
    pub(super) certificates: Vec<Thumbprint>,
}

impl Problem {
    /// Whether the next reading may end otherwise although nothing that it could look at has changed.
    pub(super) fn may_pass(&self) -> bool {
        match self.file.problem {
            // Costs an open call only, and what is in the way may not show in the stamp.
            KeyFileProblem::Unreadable { .. } => true,
            KeyFileProblem::ReadingTooCostly => true,
            _ => false,
        }
    }
}

impl Contents {
    /// Nothing, for that reason.
    pub(super) fn unusable(path: PathBuf, problem: KeyFileProblem) -> Self {
        let file = UnusableKeyFile { path, problem };
        Self { problem: Some(Problem { file, certificates: Vec::new() }), ..Self::default() }
    }
}

/// Reads a PKCS#12 file.
pub(super) fn pkcs12_file(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
    budget: &mut FileBudget<'_>,
) -> Contents {
    let mut contents = match pkcs12::open(path, bytes, passwords, budget) {
        Ok(Opened { keys, certificates, unauthenticated }) => {
            let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
            let keys = keys.into_iter().map(|key| key.pkcs8.and_then(|pkcs8| rsa_key(&pkcs8)));
            Contents { unauthenticated, ..pair_up(path, &certificates, keys.collect()) }
        }
        Err(problem) => Contents::unusable(path.into(), problem),
    };
    contents.secrets.push(path.into());
    contents
}

/// Reads the files of one stem, which together hold a certificate and its key.
pub(super) fn certificate_and_key(
    files: &[(&Path, Zeroizing<Vec<u8>>)],
    passwords: &FilePasswords,
    budget: &mut FileBudget<'_>,
) -> Contents {
    let found: Vec<(&Path, Vec<Item>)> =
        files.iter().map(|(path, bytes)| (*path, items(bytes))).collect();
    let count = found.iter().map(|(_, items)| items.len()).sum::<usize>();
    let cost = found.iter().map(|(_, items)| cost_of(items)).fold(0, u64::saturating_add);
    let affordable = budget.check(cost);
    let mut certificates = Vec::new();
    let mut keys = Vec::new();
    let mut secrets = Vec::new();
    for (path, items) in found {
        if items.iter().any(|item| matches!(item, Item::Key(_))) {
            secrets.push(path.to_path_buf());
        }
        for item in items {
            match item {
                Item::Certificate(der) => certificates.push(der),
                Item::Key(key) if count <= MAX_ITEMS => {
                    keys.push(key.open(path, passwords, &affordable, budget));
                }
                Item::Key(_) => {}
            }
        }
    }
    let certificates: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let path = files.first().map_or(Path::new(""), |(path, _)| path);
    let whole = match affordable {
        _ if count > MAX_ITEMS => Err(too_many_items()),
        // The next reading may open them.
        Err(KeyFileProblem::ReadingTooCostly) => affordable,
        _ => Ok(()),
    };
    if let Err(problem) = whole {
        return Contents { secrets, ..Contents::unusable(path.into(), problem) };
    }
    Contents { secrets, ..pair_up(path, &certificates, keys) }
}

/// Gives each certificate its key. Certificates without are issuers' if others have theirs.
fn pair_up(
    path: &Path,
    certificates: &[&[u8]],
    keys: Vec<Result<CmkPrivateKey, KeyFileProblem>>,
) -> Contents {
    let mut contents = Contents::default();
    let mut problem = None;
    let mut usable = Vec::new();
    for key in keys {
        match key {
            Ok(key) => usable.push(Arc::new(key)),
            Err(e) => problem = problem.or(Some(e)),
        }
    }
    for der in certificates {
        match CertifiedKey::of(der) {
            Ok(certified) => {
                let key = usable.iter().find(|key| certified.matches(key));
                contents.keys.extend(key.map(|key| FoundKey {
                    thumbprint: Thumbprint::of(der),
                    key: Arc::clone(key),
                    not_after: expiry(der),
                }));
            }
            Err(e) => {
                problem = problem.or(Some(KeyFileProblem::Malformed {
                    expected: "a certificate",
                    message: e.to_string(),
                }));
            }
        }
    }
    if contents.keys.is_empty() {
        let problem = problem.unwrap_or(match (certificates, usable.as_slice()) {
            ([], []) => KeyFileProblem::Malformed {
                expected: "a certificate or a key",
                message: String::new(),
            },
            ([], _) => KeyFileProblem::NoCertificate,
            (_, []) => KeyFileProblem::NoPrivateKey,
            _ => KeyFileProblem::KeyMismatch,
        });
        contents.problem = Some(Problem {
            file: UnusableKeyFile { path: path.into(), problem },
            certificates: certificates.iter().map(|der| Thumbprint::of(der)).collect(),
        });
    }
    contents
}
