//! Reading a file within bounds, and telling whether it has changed and who else may have.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    path::Path,
    time::SystemTime,
};

use zeroize::Zeroizing;

use super::KeyFileWarning;
use crate::keystore::KeyFileProblem;

/// The largest file that is read, in bytes. A certificate with its key has some thousand.
pub(in crate::keystore) const MAX_FILE_LEN: u64 = 1 << 20;

/// What tells whether a file is still the one that was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::keystore) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// The inode, and when it last changed: a new owner or mode counts too. Zero where there are
    /// none.
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// `None` for a file that is not there or not to be seen.
    pub(in crate::keystore) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed) = (0, (0, 0));
        Self { len: metadata.len(), modified: metadata.modified().ok(), inode, changed }
    }
}

/// Reads at most [`MAX_FILE_LEN`] bytes, into a buffer of the right size from the start, so that
/// growing it leaves no copy of a key behind.
pub(in crate::keystore) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
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

/// What is unwise about the permissions of a file that keeps a secret. Where there are no modes it
/// cannot be told.
pub(in crate::keystore) fn exposure(path: &Path, metadata: &Metadata) -> Vec<KeyFileWarning> {
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    #[cfg(not(unix))]
    let mode = {
        let _ = metadata;
        0
    };
    let mut found = Vec::new();
    if mode & 0o004 != 0 && !metadata.is_dir() {
        found.push(KeyFileWarning::ReadableByAll { path: path.into(), mode });
    }
    // In a directory with the sticky bit others cannot replace a file, but they can add some.
    if mode & 0o022 != 0 {
        found.push(KeyFileWarning::WritableByOthers { path: path.into(), mode });
    }
    found
}
