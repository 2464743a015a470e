//! TLS on the server's side: the certificate, and the handshake inside PRELOGIN packets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;

use crate::tds::packet::{EOM, HEADER, PRELOGIN, packet};

/// What both kinds of TLS need.
pub(crate) struct Tls {
    pub(crate) certificate_pem: String,
    /// TDS 7: inside PRELOGIN packets, and no newer than TLS 1.2.
    pub(crate) wrapped: TlsAcceptor,
    /// TDS 8: first on the wire.
    pub(crate) strict: TlsAcceptor,
}

const ALPN_TDS_8: &[u8] = b"tds/8.0";

impl Tls {
    /// With a certificate made on the spot, for localhost and 127.0.0.1.
    pub(crate) fn self_signed() -> io::Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let certificate_pem = made.cert.pem();
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let key = made.signing_key.serialize_der();
        let config =
            |versions: &[&'static rustls::SupportedProtocolVersion]| -> io::Result<ServerConfig> {
                let key = PrivateKeyDer::try_from(key.clone()).map_err(io::Error::other)?;
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                ServerConfig::builder_with_provider(provider)
                    .with_protocol_versions(versions)
                    .map_err(io::Error::other)?
                    .with_no_client_auth()
                    .with_single_cert(chain.clone(), key)
                    .map_err(io::Error::other)
            };
        let wrapped = config(&[&version::TLS12])?;
        let mut strict = config(&[&version::TLS12, &version::TLS13])?;
        strict.alpn_protocols = vec![ALPN_TDS_8.to_vec()];
        Ok(Self {
            certificate_pem,
            wrapped: TlsAcceptor::from(Arc::new(wrapped)),
            strict: TlsAcceptor::from(Arc::new(strict)),
        })
    }
}

/// The stream below TLS: during the handshake every record travels in a PRELOGIN packet, afterwards as it is.
pub(crate) struct Handshake<S> {
    inner: S,
    wrapping: bool,
    /// Of the packet being read: its header as far as it has come, then what is left of its body.
    header: Vec<u8>,
    body_left: usize,
    /// Records that are not yet in a packet. SQL Server sends what it has to say at a time in one, and Microsoft's
    /// ODBC driver takes no second one that comes along with the first.
    records: Vec<u8>,
    /// Packets that are made and not yet written.
    outgoing: Vec<u8>,
}

impl<S> Handshake<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            wrapping: true,
            header: Vec::new(),
            body_left: 0,
            records: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    pub(crate) fn handshake_is_over(&mut self) {
        self.wrapping = false;
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> Handshake<S> {
    /// Reads until a packet's body lies ahead. False at the end of the stream.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.body_left == 0 {
            let mut rest = [0u8; HEADER];
            let missing = HEADER.saturating_sub(self.header.len());
            let mut buffer = ReadBuf::new(rest.get_mut(..missing).unwrap_or_default());
            std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.header.extend_from_slice(buffer.filled());
            if let [kind, _, high, low, _, _, _, _] = *self.header.as_slice() {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if kind != PRELOGIN || length < HEADER {
                    let what = "a TLS handshake outside of PRELOGIN packets";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
                self.body_left = length.saturating_sub(HEADER);
                self.header.clear();
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handshake<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.wrapping {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        if !std::task::ready!(this.poll_header(cx))? {
            return Poll::Ready(Ok(()));
        }
        // The body must not be read past its end, so it comes by way of a buffer of its own.
        let mut part = vec![0u8; buf.remaining().min(this.body_left)];
        let mut part = ReadBuf::new(&mut part);
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        this.body_left = this.body_left.saturating_sub(part.filled().len());
        Poll::Ready(Ok(()))
    }
}

/// A record fits: 16 KB and a little.
const LARGEST_BODY: usize = 32 * 1024;

impl<S: AsyncWrite + Unpin> Handshake<S> {
    fn make_packets(&mut self) {
        let records = std::mem::take(&mut self.records);
        for body in records.chunks(LARGEST_BODY) {
            packet(PRELOGIN, EOM, 0, 1, body, &mut self.outgoing);
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written =
                std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.drain(..written.min(self.outgoing.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handshake<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_outgoing(cx))?;
        if !this.wrapping {
            return Pin::new(&mut this.inner).poll_write(cx, bytes);
        }
        // They leave with the flush.
        this.records.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.make_packets();
        std::task::ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.make_packets();
        std::task::ready!(this.poll_outgoing(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
