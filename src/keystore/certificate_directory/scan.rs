//! Reading a directory of certificates: which files belong together, which of them have changed, and
//! what is unwise about them.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::{
    Thumbprint,
    contents::{Contents, FoundKey, Problem, certificate_and_key, pkcs12_file},
};
use crate::{
    crypto::CmkPrivateKey,
    keystore::{
        FilePasswords, KeyFileProblem, KeyFileWarning, KeyStoreError, UnusableKeyFile,
        key_file::{
            FileBudget, Found, Links, OpenFile, PasswordState, ReadingBudget, Stamp, exposure,
        },
    },
};

/// How many certificate and key files a directory may have.
pub(super) const MAX_FILES: usize = 4096;

/// What a directory held when it was read.
#[derive(Default)]
pub(super) struct Index {
    groups: BTreeMap<Group, Remembered>,
    keys: HashMap<Thumbprint, Arc<CmkPrivateKey>>,
    warnings: Found,
    /// How many groups have been read and unlocked, by this reading and those before.
    #[cfg_attr(not(test), allow(dead_code))]
    loads: u64,
}

/// Files that are read together: one PKCS#12 file, or all PEM and DER files of the same stem.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Pkcs12(PathBuf),
    /// The path without its extension.
    Certificate(PathBuf),
}

/// A file of a group as it was seen in the directory.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    path: PathBuf,
    /// What tells whether it has changed, of the file that was read if one was; `None` if it could
    /// not be looked at.
    stamp: Option<Stamp>,
    source: Source,
}

/// Where the path of a file leads, links and all.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// To this file, which is in the directory or below it.
    Within(PathBuf),
    /// Out of the directory: it is not followed.
    Outside(PathBuf),
    /// It cannot be told, so it is not followed either.
    Unknown(io::ErrorKind, String),
}

/// What was read of a group, and what would have to change for it to be read again.
struct Remembered {
    files: Vec<Seen>,
    /// The passwords that were tried, if it gave no key.
    passwords: Vec<PasswordState>,
    contents: Contents,
}

impl Index {
    /// Reads `dir` anew. What has not changed is not read again, whether it gave keys or not:
    /// unlocking a file is slow on purpose, and the server decides how often an unknown key makes us
    /// look. What `budget` has nothing left for is for the next reading.
    pub(super) fn read(
        dir: &Path,
        passwords: &FilePasswords,
        previous: &Self,
        mut budget: ReadingBudget,
    ) -> Result<Self, KeyStoreError> {
        let mut index = Self { loads: previous.loads, ..Self::default() };
        let (groups, modes) = list(dir)?;
        for (group, mut files) in groups {
            let known = previous.groups.get(&group);
            let known = known.filter(|known| known.holds_for(&files, passwords));
            let contents = match known {
                Some(known) => known.contents.clone(),
                None => {
                    index.loads += 1;
                    load(&group, &mut files, passwords, &mut budget.file())
                }
            };
            let passwords = match (&contents.problem, known) {
                (None, _) => Vec::new(),
                (_, Some(known)) => known.passwords.clone(),
                (_, None) => states(&files, passwords),
            };
            index.groups.insert(group, Remembered { files, passwords, contents });
        }
        index.warnings.extend(passwords.exposure());
        if let Ok(metadata) = fs::metadata(dir) {
            index.warnings.extend(exposure(dir, &metadata));
        }
        index.choose_keys(&modes);
        Ok(index)
    }

    /// The keys in the order of their files, and what is unwise about those.
    fn choose_keys(&mut self, exposed: &HashMap<PathBuf, Vec<KeyFileWarning>>) {
        let now = SystemTime::now();
        let mut used = HashMap::<Thumbprint, PathBuf>::new();
        for known in self.groups.values() {
            let secrets = known.contents.secrets.iter();
            self.warnings.extend(secrets.filter_map(|path| exposed.get(path)).flatten().cloned());
            let Some(Seen { path, .. }) = known.files.first() else { continue };
            if known.contents.unauthenticated && !known.contents.keys.is_empty() {
                self.warnings.note(|| KeyFileWarning::Unauthenticated { path: path.clone() });
            }
            for FoundKey { thumbprint, key, not_after } in &known.contents.keys {
                if let Some(used) = used.get(thumbprint) {
                    // One file may hold a certificate twice, which says nothing of two files.
                    if used != path {
                        self.warnings.note(|| KeyFileWarning::DuplicateCertificate {
                            thumbprint: *thumbprint,
                            used: used.clone(),
                            other: path.clone(),
                        });
                    }
                    continue;
                }
                used.insert(*thumbprint, path.clone());
                self.keys.insert(*thumbprint, Arc::clone(key));
                if let Some(not_after) = not_after.filter(|end| *end < now) {
                    let (path, thumbprint) = (path.clone(), *thumbprint);
                    self.warnings.note(|| KeyFileWarning::Expired { path, thumbprint, not_after });
                }
            }
        }
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

    /// What is unwise about the files, for once.
    pub(super) fn take_warnings(&mut self) -> Found {
        std::mem::take(&mut self.warnings)
    }

    #[cfg(test)]
    pub(super) fn loads(&self) -> u64 {
        self.loads
    }

    fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.groups.values().filter_map(|known| known.contents.problem.as_ref())
    }
}

impl Remembered {
    /// Whether reading the files again could not end otherwise.
    fn holds_for(&self, files: &[Seen], passwords: &FilePasswords) -> bool {
        if self.files != files {
            return false;
        }
        match &self.contents.problem {
            None => true,
            Some(problem) if problem.may_pass() => false,
            Some(_) => self.passwords == states(files, passwords),
        }
    }
}

fn states(files: &[Seen], passwords: &FilePasswords) -> Vec<PasswordState> {
    files.iter().map(|file| passwords.state(&file.path)).collect()
}

type Listing = (BTreeMap<Group, Vec<Seen>>, HashMap<PathBuf, Vec<KeyFileWarning>>);

/// The key files of `dir`, sorted into groups, and what is unwise about their permissions.
fn list(dir: &Path) -> Result<Listing, KeyStoreError> {
    let failed = |e| KeyStoreError::io(dir, &e);
    let root = fs::canonicalize(dir).map_err(failed)?;
    let mut groups = BTreeMap::<Group, Vec<Seen>>::new();
    let mut exposed = HashMap::new();
    let mut files = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let Some(group) = Group::of(&path) else { continue };
        // Links within the directory are followed: secrets are often mounted as links.
        let source = match fs::canonicalize(&path) {
            Ok(target) if target.starts_with(&root) => Source::Within(target),
            Ok(target) => Source::Outside(target),
            Err(e) => Source::Unknown(e.kind(), e.to_string()),
        };
        // What is gone or unreadable by now is kept, for the reading of it to say so.
        let metadata = match &source {
            Source::Within(file) => fs::symlink_metadata(file).ok(),
            _ => None,
        };
        let stamp = match metadata {
            Some(metadata) if !metadata.is_file() => continue,
            Some(metadata) => {
                exposed.insert(path.clone(), exposure(&path, &metadata));
                Some(Stamp::from(&metadata))
            }
            None => None,
        };
        files += 1;
        if files > MAX_FILES {
            return Err(KeyStoreError::TooManyFiles { path: dir.into(), limit: MAX_FILES });
        }
        groups.entry(group).or_default().push(Seen { path, stamp, source });
    }
    groups.values_mut().for_each(|files| files.sort_unstable());
    Ok((groups, exposed))
}

impl Source {
    /// Reads the file, and has `stamp` tell of the very one that was opened.
    fn read(&self, stamp: &mut Option<Stamp>) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
        match self {
            Self::Within(file) => {
                let file = OpenFile::at(file, Links::Refuse)?;
                *stamp = Some(Stamp::from(file.metadata()));
                file.read()
            }
            Self::Outside(target) => Err(KeyFileProblem::LinkOutside { target: target.clone() }),
            Self::Unknown(kind, message) => {
                Err(KeyFileProblem::Unreadable { kind: *kind, message: message.clone() })
            }
        }
    }
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
fn load(
    group: &Group,
    seen: &mut [Seen],
    passwords: &FilePasswords,
    budget: &mut FileBudget<'_>,
) -> Contents {
    let Some(first) = seen.first().map(|seen| seen.path.clone()) else {
        return Contents::default();
    };
    let read = || -> Contents {
        let mut files = Vec::new();
        for Seen { path, stamp, source } in seen {
            match source.read(stamp) {
                Ok(bytes) => files.push((path.as_path(), bytes)),
                Err(problem) => return Contents::unusable(path.clone(), problem),
            }
        }
        match (group, files.as_slice()) {
            (Group::Pkcs12(path), [(_, bytes)]) => pkcs12_file(path, bytes, passwords, budget),
            _ => certificate_and_key(&files, passwords, budget),
        }
    };
    // The parsers are other people's and the files may be damaged in ways that nobody thought of.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let message = "the parser failed".into();
        let problem = KeyFileProblem::Malformed { expected: "a key file", message };
        Contents::unusable(first, problem)
    })
}
