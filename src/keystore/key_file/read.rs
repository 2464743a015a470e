//! Opening and reading a file within bounds, and telling whether it has changed and who else may have.
//!
//! What was looked at before it was opened may be something else by then; what counts is what the
//! open file says of itself.

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

/// Whether a path may end in a link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::keystore) enum Links {
    /// It may: an administrator wrote the path.
    Follow,
    /// It was resolved before, so that a link there has come since. Only on Unix.
    Refuse,
}

/// Opens a regular file for reading, and nothing else: a pipe or a device would keep whoever opens or
/// reads it waiting.
pub(super) fn open(path: &Path, links: Links) -> io::Result<(fs::File, Metadata)> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let refuse = if links == Links::Refuse { libc::O_NOFOLLOW } else { 0 };
        // Regular files take no notice of the first.
        let flags = libc::O_NONBLOCK | refuse;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    #[cfg(not(unix))]
    let _ = links;
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, metadata))
}

/// A key file that has been opened.
pub(in crate::keystore) struct OpenFile {
    file: fs::File,
    metadata: Metadata,
}

impl OpenFile {
    pub(in crate::keystore) fn at(path: &Path, links: Links) -> Result<Self, KeyFileProblem> {
        open(path, links)
            .map(|(file, metadata)| Self { file, metadata })
            .map_err(|e| unreadable(&e))
    }

    pub(in crate::keystore) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads at most [`MAX_FILE_LEN`] bytes, into a buffer of the right size from the start, so that
    /// growing it leaves no copy of a key behind.
    pub(in crate::keystore) fn read(self) -> Result<Zeroizing<Vec<u8>>, KeyFileProblem> {
        let len = self.metadata.len();
        if len > MAX_FILE_LEN {
            return Err(KeyFileProblem::TooLarge { limit: MAX_FILE_LEN });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
        self.file.take(MAX_FILE_LEN).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
        Ok(bytes)
    }
}

fn unreadable(e: &io::Error) -> KeyFileProblem {
    KeyFileProblem::Unreadable { kind: e.kind(), message: e.to_string() }
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

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::fs::symlink, path::PathBuf, process::Command, sync::mpsc, time::Duration};

    use super::*;
    use crate::keystore::FilePasswords;

    /// What `work` says of the path, which must not wait for anything.
    fn without_waiting<T: Send + 'static>(
        path: PathBuf,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::channel();
        std::thread::spawn(move || done.send(work(&path)));
        result.recv_timeout(Duration::from_secs(60)).expect("it waits for the pipe's other end")
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("a.pfx");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let opened = without_waiting(pipe.clone(), |path| OpenFile::at(path, Links::Follow).err());
        assert!(matches!(opened, Some(KeyFileProblem::Unreadable { .. })), "{opened:?}");
        let passwords = FilePasswords::in_file(&pipe);
        let password = without_waiting(pipe, move |path| passwords.of(path).err());
        assert!(matches!(password, Some(KeyFileProblem::PasswordFile { .. })), "{password:?}");
    }

    #[test]
    fn a_link_that_came_after_its_path_was_resolved_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "key").unwrap();
        symlink(&file, &link).unwrap();
        assert!(OpenFile::at(&link, Links::Follow).is_ok());
        assert!(OpenFile::at(&file, Links::Refuse).is_ok());
        let problem = OpenFile::at(&link, Links::Refuse).err();
        assert!(matches!(problem, Some(KeyFileProblem::Unreadable { .. })), "{problem:?}");
    }
}
