//! A server's half of PRELOGIN and TLS. Shares no code with the client's.

use std::{
    io::{Cursor, Read, Write},
    sync::{Arc, LazyLock},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
    version,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// An authority, and a server's certificate that it issued for `db.test`.
pub(super) struct Certificates {
    pub(super) authority: String,
    pub(super) server: CertificateDer<'static>,
    pub(super) server_pem: String,
    pub(super) key: PrivatePkcs8KeyDer<'static>,
}

pub(super) static OURS: LazyLock<Certificates> = LazyLock::new(|| Certificates::new("Ours"));
pub(super) static OTHERS: LazyLock<Certificates> = LazyLock::new(|| Certificates::new("Others"));

impl Certificates {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["db.test".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap();
        Self {
            authority,
            server_pem: server.pem(),
            server: server.der().clone(),
            key: key.serialize_der().into(),
        }
    }
}

/// How a server behaves.
#[derive(Clone)]
pub(super) struct Behaviour {
    /// Its answer of ENCRYPTION.
    pub(super) encryption: u8,
    /// TLS bytes per PRELOGIN packet during the handshake.
    pub(super) per_packet: usize,
    /// How many bytes of its handshake it sends before it closes the connection.
    pub(super) cut: usize,
    pub(super) tls13: bool,
    /// Whose key it has; its certificate is ours.
    pub(super) key: &'static Certificates,
}

impl Behaviour {
    pub(super) fn answering(encryption: u8) -> Self {
        Self { encryption, per_packet: 4088, cut: usize::MAX, tls13: false, key: &OURS }
    }
}

/// A connection that has been accepted.
pub(super) struct Server<S> {
    pub(super) stream: S,
    pub(super) tls: ServerConnection,
    /// What the client asked for in ENCRYPTION.
    pub(super) asked: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// PRELOGIN in clear, then TLS in packets unless the answer is that there is none.
    pub(super) async fn accept(mut stream: S, how: &Behaviour) -> Option<Self> {
        let asked = prelogin(&mut stream, how.encryption).await;
        let mut tls = ServerConnection::new(tls_config(how)).unwrap();
        tls.set_buffer_limit(None);
        let mut server = Self { stream, tls, asked };
        if how.encryption != 2 {
            server.handshake(how).await?;
        }
        Some(server)
    }

    /// TLS from the first byte, then PRELOGIN inside.
    pub(super) async fn accept_strict(stream: S) -> tokio_rustls::server::TlsStream<S> {
        let how = Behaviour { tls13: true, ..Behaviour::answering(2) };
        let acceptor = tokio_rustls::TlsAcceptor::from(tls_config(&how));
        let mut tls = acceptor.accept(stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"tds/8.0"[..]));
        assert_eq!(prelogin(&mut tls, 2).await, 2);
        tls
    }

    /// Nothing if the connection ends first.
    async fn handshake(&mut self, how: &Behaviour) -> Option<()> {
        let mut sent = 0;
        while self.tls.is_handshaking() {
            let (kind, payload) = packet(&mut self.stream).await?;
            assert_eq!(kind, 0x12);
            let failed = self.take(&payload).is_err();
            let mut flight = Vec::new();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut flight).unwrap();
            }
            let mut bytes = Vec::new();
            for chunk in flight.chunks(how.per_packet) {
                let [high, low] = (chunk.len() as u16 + 8).to_be_bytes();
                bytes.extend([0x12, 1, high, low, 0, 0, 0, 0]);
                bytes.extend(chunk);
            }
            let allowed = bytes.len().min(how.cut - sent);
            self.stream.write_all(&bytes[..allowed]).await.ok()?;
            sent += allowed;
            if allowed < bytes.len() || failed {
                return None;
            }
        }
        Some(())
    }

    /// Hands TLS bytes to rustls, which takes some at a time.
    fn take(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut rest = Cursor::new(bytes);
        while rest.position() < bytes.len() as u64 {
            self.tls.read_tls(&mut rest).unwrap();
            self.tls.process_new_packets()?;
        }
        Ok(())
    }

    /// Reads exactly `n` bytes inside TLS.
    pub(super) async fn read_tls(&mut self, n: usize) -> Vec<u8> {
        let mut plain = vec![0; n];
        let mut have = 0;
        while have < n {
            match self.tls.reader().read(&mut plain[have..]) {
                Ok(more) => have += more,
                Err(_) => {
                    let mut record = vec![0; 5];
                    self.stream.read_exact(&mut record).await.unwrap();
                    assert_eq!(record[0], 0x17, "a record of application data, and no packet");
                    let length = u16::from_be_bytes([record[3], record[4]]);
                    record.resize(5 + usize::from(length), 0);
                    self.stream.read_exact(&mut record[5..]).await.unwrap();
                    self.take(&record).unwrap();
                }
            }
        }
        plain
    }

    pub(super) async fn write_tls(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        self.stream.write_all(&wire).await.unwrap();
    }
}

/// A server's answer, as SQL Server 2022 gives it.
pub(super) fn answer(encryption: u8) -> Vec<u8> {
    let mut bytes = vec![0x04, 0x01, 0, 0, 0, 0, 1, 0];
    bytes.extend([0x00, 0, 26, 0, 6, 0x01, 0, 32, 0, 1, 0x02, 0, 33, 0, 1]);
    bytes.extend([0x03, 0, 34, 0, 0, 0x04, 0, 34, 0, 1, 0xff]);
    bytes.extend([16, 0, 0x03, 0xe8, 0, 0, encryption, 0, 0]);
    bytes[3] = bytes.len() as u8;
    bytes
}

/// Answers the client's PRELOGIN; gives what it asked for.
async fn prelogin<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, encryption: u8) -> u8 {
    let (kind, request) = packet(stream).await.unwrap();
    assert_eq!((kind, request[5]), (0x12, 1));
    let at = usize::from(u16::from_be_bytes([request[6], request[7]]));
    stream.write_all(&answer(encryption)).await.unwrap();
    stream.flush().await.unwrap();
    request[at]
}

async fn packet<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await.ok()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    assert!(length <= 4096, "larger than the packet size before login");
    let mut payload = vec![0; length - 8];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[0], payload))
}

fn tls_config(how: &Behaviour) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from(how.key.key.clone_key());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = vec![OURS.server.clone()];
    let resolver: Arc<dyn ResolvesServerCert> =
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let versions: &[_] = if how.tls13 { &[&version::TLS13] } else { &[&version::TLS12] };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"tds/8.0".to_vec()];
    Arc::new(config)
}
