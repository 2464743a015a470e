//! Reading a directory of certificates: which files belong together, what is in them, what is wrong
//! with those that give no key.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::{FilePasswords, Thumbprint, key_file};
use crate::{
    crypto::CmkPrivateKey,
    keystore::{KeyFileProblem, KeyStoreError, UnusableKeyFile},
};

/// The largest file that is read, in bytes. A certificate with its key has some thousand.
pub(super) const MAX_FILE_LEN: u64 = 1 << 20;

/// How many certificate and key files a directory may have.
pub(super) const MAX_FILES: usize = 4096;

/// What a directory held when it was read.
#[derive(Default)]
pub(super) struct Index {
    groups: BTreeMap<Group, (Stamp, Contents)>,
    keys: HashMap<Thumbprint, Arc<CmkPrivateKey>>,
}

/// Files that are read together: one PKCS#12 file, or all PEM and DER files of the same stem.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Pkcs12(PathBuf),
    /// The path without its extension.
    Certificate(PathBuf),
}

/// The files of a group and what tells whether they changed.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// What a group of files gives: keys, or certificates whose key cannot be used and why.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) keys: Vec<(Thumbprint, Arc<CmkPrivateKey>)>,
    pub(super) problem: Option<Problem>,
}

/// What is wrong with a group of files.
pub(super) struct Problem {
    pub(super) file: UnusableKeyFile,
    /// The certificates that it is known to hold.
    pub(super) certificates: Vec<Thumbprint>,
}

impl Index {
    /// Reads `dir` anew. Groups that gave keys in `previous` and have not changed since are not
    /// read again: unlocking a PKCS#12 file is slow on purpose, and the server decides how often an
    /// unknown key makes us look.
    pub(super) fn read(
        dir: &Path,
        passwords: &FilePasswords,
        previous: &Self,
    ) -> Result<Self, KeyStoreError> {
        let mut index = Self::default();
        for (group, stamp) in list(dir)? {
            let unchanged = previous
                .groups
                .get(&group)
                .filter(|(then, contents)| *then == stamp && contents.problem.is_none());
            let contents = match unchanged {
                Some((_, contents)) => Contents { keys: contents.keys.clone(), problem: None },
                None => load(&group, &stamp, passwords),
            };
            index.keys.extend(contents.keys.iter().map(|(t, key)| (*t, Arc::clone(key))));
            index.groups.insert(group, (stamp, contents));
        }
        Ok(index)
    }

    pub(super) fn key(&self, thumbprint: &Thumbprint) -> Option<Arc<CmkPrivateKey>> {
        self.keys.get(thumbprint).cloned()
    }

    pub(super) fn thumbprints(&self) -> Vec<Thumbprint> {
        let mut all: Vec<_> = self.keys.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// The file that holds this certificate without giving its key.
    pub(super) fn unusable(&self, thumbprint: &Thumbprint) -> Option<UnusableKeyFile> {
        self.problems()
            .find(|problem| problem.certificates.contains(thumbprint))
            .map(|problem| problem.file.clone())
    }

    pub(super) fn skipped(&self) -> Arc<[UnusableKeyFile]> {
        self.problems().map(|problem| problem.file.clone()).collect()
    }

    fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.groups.values().filter_map(|(_, contents)| contents.problem.as_ref())
    }
}

/// The key files of `dir`, sorted into groups.
fn list(dir: &Path) -> Result<BTreeMap<Group, Stamp>, KeyStoreError> {
    let mut groups = BTreeMap::<Group, Stamp>::new();
    let mut files = 0;
    for entry in fs::read_dir(dir).map_err(|e| KeyStoreError::io(dir, &e))? {
        let path = entry.map_err(|e| KeyStoreError::io(dir, &e))?.path();
        let Some(group) = Group::of(&path) else { continue };
        // Follows links: secrets are often mounted as links. What is gone or unreadable by now is
        // kept, for the reading of it to say so.
        let (len, changed) = match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => continue,
            Ok(metadata) => (metadata.len(), metadata.modified().ok()),
            Err(_) => (0, None),
        };
        files += 1;
        if files > MAX_FILES {
            return Err(KeyStoreError::TooManyFiles { path: dir.into(), limit: MAX_FILES });
        }
        groups.entry(group).or_default().push((path, len, changed));
    }
    groups.values_mut().for_each(|stamp| stamp.sort_unstable());
    Ok(groups)
}

impl Group {
    /// By extension, in any case; `None` for files of other kinds.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "pfx" | "p12" => Some(Self::Pkcs12(path.into())),
            "pem" | "crt" | "cer" | "key" => Some(Self::Certificate(path.with_extension(""))),
            _ => None,
        }
    }
}

/// Reads a group. Whatever is wrong with it ends up in the contents, so that it does not keep the
/// other files from being read.
fn load(group: &Group, stamp: &Stamp, passwords: &FilePasswords) -> Contents {
    let Some((first, ..)) = stamp.first() else { return Contents::default() };
    let read = || -> Result<Contents, (PathBuf, KeyFileProblem)> {
        let mut files = Vec::new();
        for (path, ..) in stamp {
            let bytes = read_file(path).map_err(|problem| (path.clone(), problem))?;
            files.push((path.as_path(), bytes));
        }
        match (group, files.as_slice()) {
            (Group::Pkcs12(path), [(_, bytes)]) => {
                key_file::pkcs12(path, bytes, passwords).map_err(|problem| (path.clone(), problem))
            }
            _ => Ok(key_file::certificate_and_key(&files, passwords)),
        }
    };
    // The parsers are other people's and the files may be damaged in ways that nobody thought of.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    let (path, problem) = match outcome {
        Ok(Ok(contents)) => return contents,
        Ok(Err(problem)) => problem,
        Err(_) => (
            first.clone(),
            KeyFileProblem::Malformed {
                expected: "a key file",
                message: "the parser failed".into(),
            },
        ),
    };
    let file = UnusableKeyFile { path, problem };
    Contents { keys: Vec::new(), problem: Some(Problem { file, certificates: Vec::new() }) }
}

/// Reads at most [`MAX_FILE_LEN`] bytes, into a buffer of the right size from the start, so that
/// growing it leaves no copy of a key behind.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
    let unreadable =
        |e: io::Error| KeyFileProblem::Unreadable { kind: e.kind(), message: e.to_string() };
    let file = fs::File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    if len > MAX_FILE_LEN {
        return Err(KeyFileProblem::TooLarge { limit: MAX_FILE_LEN });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
