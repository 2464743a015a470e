//! Certificates that the settings name: files, or the bytes themselves.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a certificate comes from.
///
/// Made from a path, or from text: text that holds a PEM block is the certificate itself, any
/// other is the path of a PEM or DER file. Files are read anew for each connection.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateSource {
    /// A PEM or DER file.
    File(PathBuf),
    /// The certificate itself, PEM or DER.
    Bytes(Vec<u8>),
}

impl From<&str> for CertificateSource {
    fn from(text: &str) -> Self {
        if text.contains("-----BEGIN") {
            Self::Bytes(text.as_bytes().to_vec())
        } else {
            Self::File(text.into())
        }
    }
}

impl From<String> for CertificateSource {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<PathBuf> for CertificateSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for CertificateSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}
