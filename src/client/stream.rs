//! The stream that tiberius is given: a [`Session`] between the driver and the server.
//!
//! Everything is driven from reads. tiberius writes a request, flushes it and only then reads; a
//! request that waits for a describe or a key waits in the reads, where the driver's command timeout
//! covers it and a dropped future leaves the connection in order.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    task::JoinHandle,
    time::{Sleep, sleep},
};

use super::transport::Transport;
use crate::{
    crypto::CellKey,
    keystore::{CekError, KeyStores},
    metadata::MetadataCache,
    session::{ErrorLog, KeyRequest, Session, SessionError},
};

/// How much is read from the server at a time.
const READ_LEN: usize = 32 * 1024;
/// How long a connection waits for another's answer about the same statement.
const PATIENCE: Duration = Duration::from_millis(500);
/// Writes wait for the server once so much is on its way.
const HIGH_WATER: usize = 256 * 1024;

type FetchedKey = (u64, Result<Arc<CellKey>, CekError>);

/// A call to the key stores. It goes on while the application does not read, since other connections
/// may wait for the same key; when it is dropped, it is given up.
struct Fetch(JoinHandle<FetchedKey>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the connections of a connector share.
pub(super) struct Shared {
    pub(super) key_stores: Arc<KeyStores>,
    pub(super) metadata_cache: Arc<MetadataCache>,
    pub(super) errors: Arc<ErrorLog>,
}

/// A connection to SQL Server as tiberius sees it: one without encryption of any kind.
pub struct Stream {
    session: Session,
    transport: Transport,
    shared: Shared,
    /// Until when another connection's question is waited for.
    patience: Option<Pin<Box<Sleep>>>,
    fetches: Vec<(u64, Fetch)>,
    buffer: Box<[u8]>,
    needs_flush: bool,
}

impl Stream {
    pub(super) fn new(session: Session, transport: Transport, shared: Shared) -> Self {
        Self {
            session,
            transport,
            shared,
            patience: None,
            fetches: Vec::new(),
            buffer: vec![0; READ_LEN].into_boxed_slice(),
            needs_flush: false,
        }
    }

    /// Sends what the session has for the server. Ends the TLS of the login where it is due.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.session.to_server().is_empty() {
            let bytes = self.session.to_server();
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.sent_to_server(written);
            self.needs_flush = true;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.needs_flush = false;
        }
        if self.session.login_tls_ends() {
            self.transport.end_tls()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Asks the key stores for the keys that the session needs, and hands on those that are there.
    /// `true` if any was: the session may then need the next.
    fn poll_keys(&mut self, cx: &mut Context<'_>) -> bool {
        let mut fetched = Vec::new();
        for KeyRequest { id, values } in self.session.take_key_requests() {
            let key_stores = self.shared.key_stores.clone();
            let mut call = Box::pin(async move { (id, key_stores.cell_key(&values).await) });
            // Most keys have been opened before.
            match call.as_mut().poll(cx) {
                Poll::Ready(key) => fetched.push(key),
                Poll::Pending => self.fetches.push((id, Fetch(tokio::spawn(call)))),
            }
        }
        // A request that was cancelled or refused waits for nothing; a key store that hangs must not
        // take the connection with it.
        let session = &self.session;
        self.fetches.retain(|(id, _)| session.wants_key(*id));
        self.fetches.retain_mut(|(_, Fetch(fetch))| match Pin::new(fetch).poll(cx) {
            Poll::Ready(Ok(key)) => {
                fetched.push(key);
                false
            }
            // A provider's panic is an error among the keys, so the runtime has shut down.
            Poll::Ready(Err(_)) => false,
            Poll::Pending => true,
        });
        let any = !fetched.is_empty();
        for (id, key) in fetched {
            self.session.provide_key(id, key, Instant::now());
        }
        any
    }

    /// Waits while another connection asks about the same statement, but not for long: its
    /// application may have stopped reading.
    /// `true` if the session has moved.
    fn poll_description(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut moved = false;
        while let Some(key) = self.session.awaited_description() {
            let settled = self.shared.metadata_cache.is_settled(key, cx.waker());
            if !settled {
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                ready!(patience.as_mut().poll(cx));
            }
            self.session.stop_waiting(!settled, Instant::now());
            moved = true;
        }
        self.patience = None;
        Poll::Ready(moved)
    }

    /// Reads once from the server. `true` if the session has moved.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.session.server_closed();
            return Poll::Ready(Ok(false));
        }
        self.session.receive_from_server(buffer.filled(), Instant::now());
        Poll::Ready(Ok(true))
    }

    /// What the driver is told once all that was for it has been read.
    fn closed(&self) -> io::Result<usize> {
        let Some(number) = self.session.closed_by() else { return Ok(0) };
        let text = match self.shared.errors.get(number) {
            Some(error) => error.to_string(),
            None => "the connection was closed by an error".to_owned(),
        };
        let text = numbered(&text, number);
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, text))
    }
}

/// tiberius keeps the text of an I/O error and nothing else, so the text carries the number under
/// which the typed error is to be found.
fn numbered(text: &str, number: u32) -> String {
    format!("{text} ({}: error {number})", SessionError::SERVER_NAME)
}

/// The other way.
pub(super) fn number_in(text: &str) -> Option<u32> {
    let (_, tail) = text.rsplit_once(SessionError::SERVER_NAME)?;
    tail.strip_prefix(": error ")?.strip_suffix(')')?.parse().ok()
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let waiting = this.session.to_app();
            if !waiting.is_empty() {
                let len = waiting.len().min(buf.len());
                buf[..len].copy_from_slice(&waiting[..len]);
                this.session.taken_by_app(len);
                return Poll::Ready(Ok(len));
            }
            if this.session.is_closed() {
                return Poll::Ready(this.closed());
            }
            // What another connection has found out may need a key, and that another answer.
            if ready!(this.poll_description(cx)) || this.poll_keys(cx) {
                continue;
            }
            // A send that is pending wakes us by itself; meanwhile the server may be sending.
            let _ = this.poll_send(cx)?;
            if !this.fetches.is_empty() {
                return Poll::Pending;
            }
            if !ready!(this.poll_receive(cx))? {
                return Poll::Ready(this.closed());
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.session.to_server_len() > HIGH_WATER {
            ready!(self.poll_send(cx))?;
        }
        self.session.receive_from_app(buf, Instant::now());
        Poll::Ready(Ok(buf.len()))
    }

    /// Waits for what passes through to reach the server. A request that is held back is not waited
    /// for: it goes out while the driver reads.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("session", &self.session)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_error_is_found_again_in_its_text() {
        assert_eq!(number_in(&numbered("always-encrypted: error 3) and more", 42)), Some(42));
        assert_eq!(number_in("something else"), None);
    }
}
