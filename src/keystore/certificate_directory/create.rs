//! Writing a new key and its certificate into a directory.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::{CmkCertificate, Thumbprint};
use crate::{crypto::CmkPrivateKey, keystore::KeyStoreError};

/// Writes `<thumbprint>.key` and `<thumbprint>.crt`. What is there is never overwritten, and what
/// was begun is taken back if it cannot be finished.
///
/// The key goes first: a scan at this moment sees a key without certificate, which it passes over.
pub(super) fn write_pair(
    dir: &Path,
    key: &CmkPrivateKey,
    certificate: &CmkCertificate,
) -> Result<Thumbprint, KeyStoreError> {
    let thumbprint = certificate.thumbprint();
    let key_path = dir.join(format!("{thumbprint}.key"));
    let certificate_path = dir.join(format!("{thumbprint}.crt"));
    write_new(&key_path, key.to_pkcs8_pem()?.as_bytes(), 0o600)?;
    let written = certificate
        .to_pem()
        .and_then(|pem| write_new(&certificate_path, pem.as_bytes(), 0o644))
        .and_then(|()| sync_dir(dir).map_err(|e| KeyStoreError::io(dir, &e)));
    if let Err(e) = written {
        // Ours, new and without use; the error that brought us here is the one to report.
        let _ = fs::remove_file(&key_path);
        return Err(e);
    }
    Ok(thumbprint)
}

/// Writes a file that must not exist yet, with `mode` from the start where there are modes, and
/// waits until it is on the disk. Removes it again if that fails.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyStoreError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path).map_err(|e| KeyStoreError::io(path, &e))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = fs::remove_file(path);
        KeyStoreError::io(path, &e)
    })
}

/// A new file's name is on the disk when its directory is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}
