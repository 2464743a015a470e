//! Why TLS with the server did not come about, and what to do.

use std::{fmt::Write, io};

use rustls::{AlertDescription, CertificateError};

use super::super::config::CertificateSource;

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate that the configuration names cannot be used. The caller's to mend.
    #[error("the certificate {source_of} cannot be used: {reason}")]
    Certificate {
        /// Which one.
        source_of: String,
        /// Why not.
        reason: String,
    },
    /// The server went away in the middle of the handshake.
    #[error(
        "the server closed the connection during the TLS handshake: for Encrypt=strict it must be \
         SQL Server 2022 or later, or Azure SQL; a server that forces strict encryption wants \
         Encrypt=strict"
    )]
    Closed,
    /// The server's certificate is past its last day, or before its first.
    #[error(
        "the server's certificate is not valid today: renew it, or set this machine's clock ({0})"
    )]
    Expired(#[source] rustls::Error),
    /// The handshake failed in another way.
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] rustls::Error),
    /// The server's certificate is malformed, or not one for a server.
    #[error(
        "the server's certificate cannot be validated ({0}): a self-signed one must be named with \
         ServerCertificate, any other that fails so be replaced"
    )]
    InvalidCertificate(#[source] rustls::Error),
    /// The server's name is neither a host name nor an IP address. The caller's to mend.
    #[error(
        "{name:?} is neither a host name nor an IP address that a certificate could carry: \
             set HostNameInCertificate or correct it"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The connection failed during the handshake.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// The certificate was issued for another name.
    #[error(
        "the server's certificate is not for {expected:?}{}: connect under a name that it has, or \
         set HostNameInCertificate to one that you trust",
        names(presented)
    )]
    NameMismatch {
        /// The name that was looked for.
        expected: String,
        /// The names that the certificate has.
        presented: Vec<String>,
    },
    /// The two ends have no TLS version or cipher in common.
    #[error(
        "the server has no TLS version or cipher suite in common with this client: it must allow \
         TLS 1.2 with ECDHE and AES-GCM, or ChaCha20 ({0})"
    )]
    NothingInCommon(#[source] rustls::Error),
    /// The server shows another certificate than the one that was demanded.
    #[error(
        "the server's certificate is not the one that ServerCertificate names: if the server's \
         was renewed, replace the file; if not, someone is in between"
    )]
    NotPinned,
    /// There is nothing to validate a certificate with.
    #[error(
        "this system has no root certificates: install them (ca-certificates), or set \
         ServerCertificate or TrustServerCertificateCA"
    )]
    NoRoots,
    /// No known authority vouches for the server's certificate.
    #[error(
        "the server's certificate was issued by an authority that is not trusted here, or by the \
         server itself: name the authority's certificate with TrustServerCertificateCA \
         (Config::ca_certificate), or the server's own with ServerCertificate, or accept any with \
         TrustServerCertificate=true"
    )]
    UnknownIssuer,
}

impl TlsError {
    pub(super) fn from_rustls(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(reason) => Self::from_certificate(reason),
            E::PeerIncompatible(_)
            | E::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity,
            ) => Self::NothingInCommon(error),
            other => Self::Handshake(other),
        }
    }

    fn from_certificate(reason: CertificateError) -> Self {
        use CertificateError as C;
        match reason {
            C::ApplicationVerificationFailure => Self::NotPinned,
            C::UnknownIssuer => Self::UnknownIssuer,
            C::NotValidForNameContext { expected, presented } => {
                Self::NameMismatch { expected: expected.to_str().into_owned(), presented }
            }
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. } => Self::Expired(reason.into()),
            other => Self::InvalidCertificate(other.into()),
        }
    }
}

/// How an error calls a certificate of the configuration.
pub(super) fn described(source: &CertificateSource) -> String {
    match source {
        CertificateSource::File(path) => format!("in {path:?}"),
        CertificateSource::Bytes(bytes) => format!("of {} bytes", bytes.len()),
    }
}

/// The first few names of a certificate.
fn names(presented: &[String]) -> String {
    const MOST: usize = 8;
    let mut text = String::new();
    for (i, name) in presented.iter().take(MOST).enumerate() {
        let _ = write!(text, "{} {name:?}", if i == 0 { ", it is for" } else { "," });
    }
    if presented.len() > MOST {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_servers_name_forges_no_line_in_a_log() {
        let forged = "a.pem\n12:00 INFO all is well \u{1b}[2K\u{202e}".to_owned();
        let source_of = described(&CertificateSource::File(forged.clone().into()));
        let reason = "it is none".into();
        for error in [
            TlsError::Certificate { source_of, reason },
            TlsError::InvalidName { name: forged.clone() },
            TlsError::NameMismatch { expected: forged.clone(), presented: vec![forged] },
        ] {
            let text = error.to_string();
            assert!(text.contains(r"a.pem\n12:00"), "{text:?} does not tell which");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }
}
