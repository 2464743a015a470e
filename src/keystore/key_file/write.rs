//! Writing new key files: for their owner only, whole or not at all, and never over another.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use rand::TryRng;

use super::CmkCertificate;
use crate::{
    crypto::{CmkError, CmkPrivateKey},
    keystore::KeyStoreError,
};

/// Writes `<thumbprint>.key` and `<thumbprint>.crt`. What is there is never overwritten, and what
/// was begun is taken back if it cannot be finished.
///
/// The key goes first: a scan at this moment sees a key without certificate, which it passes over.
pub(in crate::keystore) fn pem_pair(
    dir: &Path,
    key: &CmkPrivateKey,
    certificate: &CmkCertificate,
) -> Result<(), KeyStoreError> {
    let thumbprint = certificate.thumbprint();
    let key_path = dir.join(format!("{thumbprint}.key"));
    let certificate_path = dir.join(format!("{thumbprint}.crt"));
    new_file(&key_path, key.to_pkcs8_pem()?.as_bytes())?;
    certificate.to_pem().and_then(|pem| new_file(&certificate_path, pem.as_bytes())).inspect_err(
        // Ours, new and without use; the error that brought us here is the one to report.
        |_| drop(fs::remove_file(&key_path)),
    )
}

/// Makes the file with these bytes, mode 0600 where there are modes. It appears whole, once its
/// bytes are on the disk.
pub(in crate::keystore) fn new_file(path: &Path, bytes: &[u8]) -> Result<(), KeyStoreError> {
    let failed = |e: io::Error| KeyStoreError::io(path, &e);
    let draft = draft_path(path)?;
    let written = write(&draft, bytes).and_then(|()| {
        // A link, since a rename would take the place of what is there.
        match fs::hard_link(&draft, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => write(path, bytes),
            outcome => outcome,
        }
    });
    let _ = fs::remove_file(&draft);
    written.map_err(failed)?;
    sync_dir(path).inspect_err(|_| drop(fs::remove_file(path))).map_err(failed)
}

/// A name beside `path` that no scan takes for a key file.
fn draft_path(path: &Path) -> Result<std::path::PathBuf, KeyStoreError> {
    let mut random = [0; 8];
    rand::rngs::SysRng.try_fill_bytes(&mut random).map_err(|_| CmkError::Rsa)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}.new", u64::from_ne_bytes(random)));
    Ok(path.with_file_name(name))
}

/// Writes a file that must not exist yet and waits until it is on the disk. Removes it again if that
/// fails. On file systems without links this is all there is.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// A new file's name is on the disk when its directory is.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if cfg!(unix) => {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            fs::File::open(dir)?.sync_all()
        }
        _ => Ok(()),
    }
}
