//! The stream beneath TLS. During the handshake it puts TLS records into PRELOGIN packets and
//! takes them out of the server's; afterwards records travel bare.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::tls::is_record_type,
    prelogin::{EOM, HEADER, MAX_PACKET, PRELOGIN, header},
};

/// The packet size before login (MS-TDS 2.2.3.1): no server must take more.
const PAYLOAD: usize = 4096 - HEADER;

/// More than the handshake of any client takes; that many bytes wait for a flush at most.
const MAX_FLIGHT: usize = 64 * 1024;

/// Type, version (2), length (2) (RFC 5246 6.2.1).
const RECORD_HEADER: usize = 5;

/// How incoming bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// PRELOGIN packets, whose headers the reader does not see.
    Packets,
    /// TLS records. The reader gets one at a time and nothing beyond it, so that when TLS ends
    /// after the login, the clear bytes that follow have not gone into TLS.
    Records,
    /// None: whatever arrives.
    Bare,
}

#[derive(Debug)]
pub(super) struct Wrapped<S> {
    stream: S,
    framing: Framing,
    /// The header that is being read; the first `have` bytes are there.
    head: [u8; HEADER],
    have: usize,
    /// How much of `head` the reader still gets: `head[have - owed..have]`.
    owed: usize,
    /// How much of the packet or record the stream still holds.
    left: usize,
    /// TLS bytes that wait for a flush.
    out: Vec<u8>,
    /// Packets on their way, and how much of them is written.
    wire: Vec<u8>,
    written: usize,
}

impl<S> Wrapped<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            framing: Framing::Packets,
            head: [0; HEADER],
            have: 0,
            owed: 0,
            left: 0,
            out: Vec::new(),
            wire: Vec::new(),
            written: 0,
        }
    }

    /// The handshake is over and flushed. `by_record`: TLS will end, and [`Self::into_parts`] be
    /// called.
    pub(super) fn unwrap_from_now_on(&mut self, by_record: bool) {
        self.framing = if by_record { Framing::Records } else { Framing::Bare };
        self.owed = self.have;
        self.out = Vec::new();
        self.wire = Vec::new();
    }

    /// The stream, and bytes read from it that were not TLS.
    pub(super) fn into_parts(self) -> io::Result<(S, Vec<u8>)> {
        if self.left > 0 || self.owed > 0 {
            return Err(misbehaved("the server's TLS ends in the middle of a record"));
        }
        let ahead = self.head.get(..self.have).unwrap_or_default().to_vec();
        Ok((self.stream, ahead))
    }

    /// Makes packets of what waits: all full but the last, which ends the message.
    fn pack(&mut self) {
        let mut id = 0u8;
        let mut chunks = self.out.chunks(PAYLOAD).peekable();
        while let Some(chunk) = chunks.next() {
            id = id.wrapping_add(1);
            let status = if chunks.peek().is_none() { EOM } else { 0 };
            self.wire.extend(header(PRELOGIN, status, id, chunk.len()));
            self.wire.extend(chunk);
        }
        self.out.clear();
    }

    /// What a whole header announces.
    fn begin(&mut self) -> io::Result<()> {
        let [kind, _, b2, b3, b4, ..] = self.head;
        match self.framing {
            Framing::Packets => {
                let length = usize::from(u16::from_be_bytes([b2, b3]));
                if kind != PRELOGIN || !(HEADER..=MAX_PACKET).contains(&length) {
                    return Err(misbehaved(
                        "the server's TLS handshake is not in PRELOGIN packets",
                    ));
                }
                self.left = length - HEADER;
                self.have = 0;
            }
            Framing::Records => {
                self.left = usize::from(u16::from_be_bytes([b3, b4]));
                self.owed = self.have;
            }
            Framing::Bare => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wrapped<S> {
    /// Writes the packets that are on their way.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.wire.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.wire.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads from the stream, `most` bytes at most.
    fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let most = most.min(to.remaining());
        let mut part = ReadBuf::new(to.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        to.advance(n);
        Poll::Ready(Ok(n))
    }

    /// Reads on until a header is whole. False if the stream ends before it begins.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let wanted = if self.framing == Framing::Packets { HEADER } else { RECORD_HEADER };
        loop {
            if self.framing == Framing::Records && self.have > 0 && !is_record_type(self.head[0]) {
                // Kept for whoever takes the stream out of TLS.
                return Poll::Ready(Err(misbehaved(
                    "the server left TLS before the login was sent",
                )));
            }
            let Some(missing) = self.head.get_mut(self.have..wanted).filter(|m| !m.is_empty())
            else {
                break;
            };
            let mut part = ReadBuf::new(missing);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
            match part.filled().len() {
                0 if self.have == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                n => self.have += n,
            }
        }
        self.begin()?;
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wrapped<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.framing == Framing::Packets && !(this.out.is_empty() && this.wire.is_empty()) {
            ready!(Pin::new(&mut *this).poll_flush(cx))?;
        }
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.owed > 0 {
                let owed = this.head.get(this.have - this.owed..this.have).unwrap_or_default();
                let n = owed.len().min(to.remaining());
                to.put_slice(owed.get(..n).unwrap_or_default());
                this.owed -= n;
                if this.owed == 0 {
                    this.have = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if this.left > 0 {
                let n = ready!(this.poll_some(cx, to, this.left))?;
                this.left -= n;
                return Poll::Ready(match n {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                });
            }
            if this.framing == Framing::Bare {
                return Pin::new(&mut this.stream).poll_read(cx, to);
            }
            if !ready!(this.poll_header(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wrapped<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.framing != Framing::Packets {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        if this.out.len() >= MAX_FLIGHT {
            ready!(Pin::new(&mut *this).poll_flush(cx))?;
        }
        this.out.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.framing == Framing::Packets {
            ready!(this.poll_wire(cx))?;
            this.pack();
            ready!(this.poll_wire(cx))?;
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

fn misbehaved(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
