//! A byte queue that wipes what leaves it.

use zeroize::Zeroize;

/// A queue of bytes that may be plaintext: what is consumed, outgrown or dropped is wiped.
#[derive(Default)]
pub struct WipedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

/// More room than this is given back once nothing waits. Above it, a buffer grows by a quarter and
/// not to the double: it holds one large value.
const KEPT: usize = 1024 * 1024;
/// Below this, moving the bytes to the front costs more than it saves.
const COMPACT_AT: usize = 4096;

impl WipedBuffer {
    /// The bytes that wait.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes that wait, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether no byte waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends at the back.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The vector behind it, with room for `most` more bytes at the back. Whoever appends more makes
    /// it grow and leave a copy behind.
    pub fn spare(&mut self, most: usize) -> &mut Vec<u8> {
        self.reserve(most);
        &mut self.bytes
    }

    /// Keeps the first `len` bytes that wait and wipes the others.
    pub fn truncate(&mut self, len: usize) {
        let end = self.start.saturating_add(len).min(self.bytes.len());
        self.bytes[end..].zeroize();
        self.bytes.truncate(end);
    }

    /// Takes `len` bytes (or all there are) off the front and wipes them.
    pub fn consume(&mut self, len: usize) {
        let end = self.start.saturating_add(len).min(self.bytes.len());
        self.bytes[self.start..end].zeroize();
        self.start = end;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Wipes and drops everything.
    pub fn clear(&mut self) {
        self.consume(self.len());
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        let len = self.len();
        if self.start >= COMPACT_AT && self.bytes.capacity() - len >= more {
            self.bytes.copy_within(self.start.., 0);
            // The tail still holds copies of bytes that moved.
            self.bytes[len..].zeroize();
            self.bytes.truncate(len);
        } else {
            // A plain reserve would leave the old allocation unwiped.
            let extra = if len > KEPT { len / 4 } else { len };
            let mut grown = Vec::with_capacity((len + more).max(len + extra));
            grown.extend_from_slice(self.as_slice());
            self.bytes.zeroize();
            self.bytes = grown;
        }
        self.start = 0;
    }
}

/// Takes over the bytes where they are.
impl From<Vec<u8>> for WipedBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for WipedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WipedBuffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came_through_growth_and_compaction() {
        let mut buffer = WipedBuffer::default();
        let mut expected = std::collections::VecDeque::new();
        for round in 0..2000usize {
            let chunk: Vec<u8> = (0..round % 97).map(|i| (i * round) as u8).collect();
            buffer.extend(&chunk);
            expected.extend(chunk);
            let n = (round * 31) % 90;
            let n = n.min(expected.len());
            let front: Vec<u8> = expected.drain(..n).collect();
            assert_eq!(&buffer.as_slice()[..n], front);
            buffer.consume(n);
            assert_eq!(buffer.len(), expected.len());
        }
    }

    #[test]
    fn what_is_cut_off_is_wiped_and_large_room_is_given_back() {
        let mut buffer = WipedBuffer::default();
        buffer.extend(b"kept and secret");
        buffer.consume(1);
        buffer.truncate(3);
        assert_eq!(buffer.as_slice(), b"ept");
        buffer.spare(100).extend_from_slice(b" more");
        assert_eq!(buffer.as_slice(), b"ept more");
        buffer.extend(&vec![1; 3 * KEPT]);
        buffer.clear();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn consumed_bytes_are_wiped() {
        let mut buffer = WipedBuffer::default();
        buffer.extend(b"secret and more");
        buffer.consume(6);
        assert_eq!(buffer.bytes[..6], [0; 6]);
        assert_eq!(buffer.as_slice(), b" and more");
    }
}
