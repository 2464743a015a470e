//! Packets: the eight-byte header, messages cut into packets and put together again.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Packet types (MS-TDS 2.2.3.1.1).
pub(crate) const SQL_BATCH: u8 = 0x01;
pub(crate) const RPC: u8 = 0x03;
pub(crate) const TABULAR_RESULT: u8 = 0x04;
pub(crate) const ATTENTION: u8 = 0x06;
pub(crate) const BULK_LOAD: u8 = 0x07;
pub(crate) const TRANSACTION_MANAGER: u8 = 0x0E;
pub(crate) const LOGIN7: u8 = 0x10;
pub(crate) const PRELOGIN: u8 = 0x12;

/// Status bits (MS-TDS 2.2.3.1.2).
pub(crate) const EOM: u8 = 0x01;
pub(crate) const IGNORE: u8 = 0x02;
pub(crate) const RESETCONNECTION: u8 = 0x08;
pub(crate) const RESETCONNECTIONSKIPTRAN: u8 = 0x10;

const KNOWN_TYPES: &[u8] =
    &[SQL_BATCH, RPC, TABULAR_RESULT, ATTENTION, BULK_LOAD, TRANSACTION_MANAGER, LOGIN7, PRELOGIN];

pub(crate) const HEADER: usize = 8;
/// The largest packet that any client sends; sizes up to 32767 can be agreed on.
const MAX_PACKET: usize = 32 * 1024;
/// Of the first packets, before LOGIN7 has asked for another size.
pub(crate) const DEFAULT_PACKET_SIZE: usize = 4096;
/// A message larger than this ends the connection: it is kept in memory until it is whole.
pub(crate) const MAX_MESSAGE: usize = 256 * 1024 * 1024;
/// The same before the login, when nobody is known.
pub(crate) const MAX_LOGIN_MESSAGE: usize = 128 * 1024;

/// A whole message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    /// Status bits of its first packet.
    pub(crate) status: u8,
    pub(crate) payload: Vec<u8>,
}

/// Puts messages together from whatever has arrived. Cancelling `next` loses nothing.
#[derive(Debug)]
pub(crate) struct MessageReader {
    buffer: Vec<u8>,
    message: Option<Message>,
    limit: usize,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl MessageReader {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::new(), message: None, limit: MAX_LOGIN_MESSAGE }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether nothing is waiting to be read: what must hold when TLS begins or ends.
    pub(crate) fn is_drained(&self) -> bool {
        self.buffer.is_empty() && self.message.is_none()
    }

    /// The next message, or None when the client has closed between messages.
    pub(crate) async fn next(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<Message>> {
        loop {
            while let Some(message) = self.take_message()? {
                // With IGNORE the client has thought better of it: as if it had never been sent.
                if message.status & IGNORE == 0 {
                    return Ok(Some(message));
                }
            }
            if io.read_buf(&mut self.buffer).await? == 0 {
                return if self.is_drained() {
                    Ok(None)
                } else {
                    Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the client closed inside a message",
                    ))
                };
            }
        }
    }

    fn take_message(&mut self) -> io::Result<Option<Message>> {
        let mut at = 0usize;
        let mut complete = None;
        while let Some(rest) = self.buffer.get(at..) {
            let Some(&[kind, status, high, low, ..]) = rest.first_chunk::<HEADER>() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if !(HEADER..=MAX_PACKET).contains(&length) {
                return Err(invalid(format!("a packet of {length} bytes")));
            }
            if !KNOWN_TYPES.contains(&kind) {
                return Err(invalid(format!("a packet of type {kind:#04x}")));
            }
            let Some(body) = rest.get(HEADER..length) else {
                break;
            };
            at = at.saturating_add(length);
            let message =
                self.message.get_or_insert_with(|| Message { kind, status, payload: Vec::new() });
            if message.kind != kind {
                return Err(invalid(format!(
                    "a packet of type {kind:#04x} inside a message of another type"
                )));
            }
            if message.payload.len().saturating_add(body.len()) > self.limit {
                return Err(invalid(format!("a message of more than {} bytes", self.limit)));
            }
            message.payload.extend_from_slice(body);
            message.status |= status & IGNORE;
            if status & EOM != 0 {
                complete = self.message.take();
                break;
            }
        }
        self.buffer.drain(..at.min(self.buffer.len()));
        Ok(complete)
    }
}

/// Cuts the payload of one response into packets.
#[derive(Debug)]
pub(crate) struct PacketWriter {
    size: usize,
    spid: u16,
    next_id: u8,
    pending: Vec<u8>,
}

impl PacketWriter {
    pub(crate) fn new(size: usize, spid: u16) -> Self {
        Self { size, spid, next_id: 1, pending: Vec::new() }
    }

    /// Adds payload and appends to `out` the packets that are full.
    pub(crate) fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.pending.extend_from_slice(payload);
        let room = self.size.saturating_sub(HEADER).max(1);
        let mut at = 0usize;
        // The last packet is held back: only finish() knows whether it is the last.
        while let Some(body) = self.pending.get(at..at.saturating_add(room)) {
            if at.saturating_add(room) == self.pending.len() {
                break;
            }
            packet(TABULAR_RESULT, 0, self.spid, self.next_id, body, out);
            self.next_id = self.next_id.wrapping_add(1);
            at = at.saturating_add(room);
        }
        self.pending.drain(..at);
    }

    /// Ends the message.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        packet(TABULAR_RESULT, EOM, self.spid, self.next_id, &self.pending, out);
        self.pending.clear();
        self.next_id = 1;
    }
}

/// One packet. `body` must fit one, as the callers see to.
pub(crate) fn packet(kind: u8, status: u8, spid: u16, id: u8, body: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(body.len().saturating_add(HEADER)).unwrap_or(u16::MAX);
    out.extend_from_slice(&[kind, status]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&spid.to_be_bytes());
    out.extend_from_slice(&[id, 0]);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8], limit: usize) -> io::Result<Vec<Message>> {
        let mut reader = MessageReader::new();
        reader.set_limit(limit);
        let mut messages = Vec::new();
        while let Some(message) = reader.next(&mut bytes).await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn payloads_of_every_size_come_back_whole() {
        for size in [0usize, 1, 503, 504, 505, 1008, 5000] {
            let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut writer = PacketWriter::new(512, 51);
            let mut wire = Vec::new();
            for part in payload.chunks(100) {
                writer.write(part, &mut wire);
            }
            writer.finish(&mut wire);
            let messages = read_all(&wire, MAX_MESSAGE).await.unwrap();
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].payload, payload);
        }
    }

    #[tokio::test]
    async fn lying_headers_are_refused() {
        assert!(read_all(&[1, 1, 0, 7, 0, 0, 0, 0], 100).await.is_err());
        assert!(read_all(&[1, 1, 0, 20, 0, 0, 1, 0, 1], 100).await.is_err());
        let mut two_kinds = Vec::new();
        packet(SQL_BATCH, 0, 0, 1, b"ab", &mut two_kinds);
        packet(RPC, EOM, 0, 2, b"ab", &mut two_kinds);
        assert!(read_all(&two_kinds, 100).await.is_err());
        let mut large = Vec::new();
        packet(SQL_BATCH, EOM, 0, 1, &[0; 101], &mut large);
        assert!(read_all(&large, 100).await.is_err());
    }

    #[tokio::test]
    async fn an_ignored_message_is_not_seen() {
        let mut wire = Vec::new();
        packet(SQL_BATCH, 0, 0, 1, b"ab", &mut wire);
        packet(SQL_BATCH, EOM | IGNORE, 0, 2, b"cd", &mut wire);
        packet(SQL_BATCH, EOM, 0, 1, b"ef", &mut wire);
        let messages = read_all(&wire, 100).await.unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].payload, b"ef");
    }
}
