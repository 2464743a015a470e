//! TLS to the server: which certificate is believed, and what a failure is called. Owns the rustls
//! configuration; the bytes of the handshake are carried by [`super::transport`].

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version,
};

mod error;

pub use error::TlsError;

use super::config::{CertificateSource, Config, Encrypt};

/// The application protocol that a client of TDS 8.0 names (MS-TDS 3.2.5.1).
const ALPN_TDS8: &[u8] = b"tds/8.0";

/// A TLS client for one server.
pub(super) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    /// The host as the server is told it (SNI).
    pub(super) server_name: ServerName<'static>,
}

impl TlsClient {
    /// Reads certificate files and the system's certificate store: blocking.
    ///
    /// Inside TDS 7.4 the version is TLS 1.2 and no other, as with Microsoft's drivers: there the
    /// handshake travels in PRELOGIN packets and everything after it does not, and in TLS 1.3 the
    /// two ends do not agree on where that is (the server's session tickets follow the
    /// handshake). SQL Server has TLS 1.3 for TDS 8.0 only.
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        // Chosen here and not taken from the process, which may have none or another.
        let provider = Arc::new(ring::default_provider());
        let strict = config.encrypt == Encrypt::Strict;
        let versions: &[_] =
            if strict { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS12] };
        let verifier = Verifier::new(config, &provider)?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::from_rustls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // A resumed handshake would end with a flight of the client's, and saves little on
        // connections that live in a pool.
        tls.resumption = Resumption::disabled();
        if strict {
            tls.alpn_protocols.push(ALPN_TDS8.to_vec());
        }
        let host = config.host.as_deref().unwrap_or_default();
        Ok(Self { config: Arc::new(tls), server_name: server_name(host)? })
    }
}

/// Decides whether the certificate that a server shows is the right one. That the server holds
/// its key is verified whatever the decision.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Trust {
    /// `TrustServerCertificate=true`.
    Anything,
    /// `ServerCertificate`: this one, byte for byte.
    Exactly(CertificateDer<'static>),
    /// One that a certification authority vouches for, under `name` if given, else under the
    /// server's own.
    Issued { verifier: Arc<WebPkiServerVerifier>, name: Option<ServerName<'static>> },
}

impl Verifier {
    fn new(config: &Config, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let trust = if config.trust_server_certificate {
            Trust::Anything
        } else if let Some(pinned) = &config.server_certificate {
            let mut all = certificates(pinned)?;
            // A file that holds a chain begins with the server's own.
            Trust::Exactly(all.swap_remove(0))
        } else {
            let roots = Arc::new(roots(&config.ca_certificates)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|_| TlsError::NoRoots)?;
            let name = config.host_name_in_certificate.as_deref().map(server_name).transpose()?;
            Trust::Issued { verifier, name }
        };
        Ok(Self { trust, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Anything => Ok(ServerCertVerified::assertion()),
            Trust::Exactly(pinned) if pinned == end_entity => Ok(ServerCertVerified::assertion()),
            Trust::Exactly(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Trust::Issued { verifier, name } => verifier.verify_server_cert(
                end_entity,
                intermediates,
                name.as_ref().unwrap_or(server_name),
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The system's roots and `added` ones.
fn roots(added: &[CertificateSource]) -> Result<RootCertStore, TlsError> {
    let mut roots = system_roots().clone();
    for source in added {
        for certificate in certificates(source)? {
            roots.add(certificate).map_err(|_| TlsError::Certificate {
                source_of: error::described(source),
                reason: "it holds something that is not an X.509 certificate".to_owned(),
            })?;
        }
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// Read once per process: there are some hundred, in as many files on some systems. None at all
/// is looked for again the next time.
fn system_roots() -> RootCertStore {
    static FOUND: OnceLock<RootCertStore> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return found.clone();
    }
    let mut roots = RootCertStore::empty();
    // Unreadable ones are passed over, as every TLS client does: one odd file in the system's
    // store must not cut off everyone.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !roots.is_empty() {
        return FOUND.get_or_init(|| roots).clone();
    }
    roots
}

/// All certificates of a PEM source, or the one of a DER source; at least one.
fn certificates(source: &CertificateSource) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    /// The tag of an ASN.1 SEQUENCE, which PEM never begins with.
    const SEQUENCE: u8 = 0x30;
    let wrong =
        |reason: String| TlsError::Certificate { source_of: error::described(source), reason };
    let read;
    let bytes = match source {
        CertificateSource::Bytes(bytes) => bytes,
        CertificateSource::File(path) => {
            read = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            &read
        }
    };
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![CertificateDer::from(bytes.clone())]);
    }
    let all = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if all.is_empty() {
        return Err(wrong("it holds no certificate, neither PEM nor DER".to_owned()));
    }
    Ok(all)
}

/// A host as certificates name it.
fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    // The interface that follows an IPv6 address is this machine's matter.
    let name = host.split('%').next().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsError::InvalidName { name: host.chars().take(256).collect() })
}

/// Whether bytes after PRELOGIN can be TLS: the type of a record (RFC 8446 5.1).
pub(super) fn is_record_type(byte: u8) -> bool {
    (0x14..=0x17).contains(&byte)
}

/// What a failed handshake was about.
pub(super) fn handshake_error(error: io::Error) -> TlsError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => TlsError::from_rustls(inner.clone()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => TlsError::Closed,
        None => TlsError::Io(error),
    }
}
