//! The stream of TDS bytes, whatever lies beneath.

use std::{
    fmt,
    io::{self, Read},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::wrapped::Wrapped;

/// A connection to a server after PRELOGIN: TDS in, TDS out.
pub(crate) struct Transport<S = TcpStream> {
    way: Way<S>,
}

enum Way<S> {
    /// No TLS, or no more.
    Plain {
        stream: S,
        /// What was read before TLS ended and comes first; `taken` bytes of it are gone.
        ahead: Vec<u8>,
        taken: usize,
    },
    /// TLS that began inside PRELOGIN packets.
    Tls { stream: Box<TlsStream<Wrapped<S>>>, login_only: bool },
    /// TLS from the first byte.
    Strict(Box<TlsStream<S>>),
    /// TLS could not be ended in good order.
    Broken,
}

impl<S> Transport<S> {
    pub(super) fn plain(stream: S) -> Self {
        Self { way: Way::Plain { stream, ahead: Vec::new(), taken: 0 } }
    }

    pub(super) fn tls(stream: TlsStream<Wrapped<S>>, login_only: bool) -> Self {
        Self { way: Way::Tls { stream: Box::new(stream), login_only } }
    }

    pub(super) fn strict(stream: TlsStream<S>) -> Self {
        Self { way: Way::Strict(Box::new(stream)) }
    }

    /// Whether TLS protects what is written now.
    #[cfg(test)]
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.way, Way::Tls { .. } | Way::Strict(_))
    }

    /// Whether [`end_tls`](Self::end_tls) is due once LOGIN7 has been flushed.
    #[cfg(test)]
    pub(crate) fn is_login_only(&self) -> bool {
        matches!(self.way, Way::Tls { login_only: true, .. })
    }

    /// Ends TLS that was for the login only; does nothing to any other connection.
    ///
    /// To be called when the last packet of LOGIN7 has been written and flushed, and before the
    /// answer is read: it comes in clear. No closing alert is sent, SQL Server expects none.
    ///
    /// # Errors
    ///
    /// If bytes of LOGIN7 have not been flushed (nothing is changed then), or if the server sent
    /// half a TLS record (the connection is then lost).
    pub(crate) fn end_tls(&mut self) -> io::Result<()> {
        let Way::Tls { stream, login_only: true } = &mut self.way else {
            return Ok(());
        };
        let session = stream.get_mut().1;
        if session.wants_write() {
            return Err(io::Error::other("TLS was to end before LOGIN7 had been flushed"));
        }
        let mut ahead = Vec::new();
        // Decrypted bytes that no one has read yet. That there are no more is an error to rustls.
        match session.reader().read_to_end(&mut ahead) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let Way::Tls { stream, .. } = mem::replace(&mut self.way, Way::Broken) else {
            return Ok(());
        };
        let (stream, clear) = stream.into_inner().0.into_parts()?;
        ahead.extend(clear);
        self.way = Way::Plain { stream, ahead, taken: 0 };
        Ok(())
    }
}

impl<S> fmt::Debug for Transport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.way {
            Way::Plain { .. } => "Transport(clear)",
            Way::Tls { login_only: true, .. } => "Transport(TLS for the login)",
            Way::Tls { login_only: false, .. } => "Transport(TLS)",
            Way::Strict(_) => "Transport(strict TLS)",
            Way::Broken => "Transport(broken)",
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain { ahead, taken, .. } if !ahead.is_empty() => {
                let rest = ahead.get(*taken..).unwrap_or_default();
                let n = rest.len().min(to.remaining());
                to.put_slice(rest.get(..n).unwrap_or_default());
                *taken += n;
                if *taken == ahead.len() {
                    *ahead = Vec::new();
                }
                Poll::Ready(Ok(()))
            }
            Way::Plain { stream, .. } => Pin::new(stream).poll_read(cx, to),
            Way::Tls { stream, .. } => Pin::new(stream).poll_read(cx, to),
            Way::Strict(stream) => Pin::new(stream).poll_read(cx, to),
            Way::Broken => Poll::Ready(Err(broken())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Plain { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Way::Tls { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Way::Strict(stream) => Pin::new(stream).poll_write(cx, bytes),
            Way::Broken => Poll::Ready(Err(broken())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain { stream, .. } => Pin::new(stream).poll_flush(cx),
            Way::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
            Way::Strict(stream) => Pin::new(stream).poll_flush(cx),
            Way::Broken => Poll::Ready(Err(broken())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Plain { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Way::Tls { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Way::Strict(stream) => Pin::new(stream).poll_shutdown(cx),
            Way::Broken => Poll::Ready(Ok(())),
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "TLS of the login could not be ended")
}
