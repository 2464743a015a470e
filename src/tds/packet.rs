//! Packets: an 8-byte header and a payload; a message is one or more of them (MS-TDS 2.2.3).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | type |
//! | 1 | 1 | status; bit 0 ends the message |
//! | 2 | 2 | length with header, **big-endian** |
//! | 4 | 2 | server process id |
//! | 6 | 1 | packet id |
//! | 7 | 1 | window, 0 |

use super::{Malformed, WipedBuffer};

/// The length of a packet header in bytes.
pub const HEADER_LEN: usize = 8;

/// What a message is (MS-TDS 2.2.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PacketType {
    SqlBatch,
    Rpc,
    TabularResult,
    Attention,
    BulkLoad,
    FedAuthToken,
    TransactionManager,
    Login7,
    Sspi,
    Prelogin,
    /// A type that this crate has no name for.
    Other(u8),
}

impl PacketType {
    /// The type that a header's first byte names.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::SqlBatch,
            0x03 => Self::Rpc,
            0x04 => Self::TabularResult,
            0x06 => Self::Attention,
            0x07 => Self::BulkLoad,
            0x08 => Self::FedAuthToken,
            0x0E => Self::TransactionManager,
            0x10 => Self::Login7,
            0x11 => Self::Sspi,
            0x12 => Self::Prelogin,
            other => Self::Other(other),
        }
    }

    /// The byte for a header.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::SqlBatch => 0x01,
            Self::Rpc => 0x03,
            Self::TabularResult => 0x04,
            Self::Attention => 0x06,
            Self::BulkLoad => 0x07,
            Self::FedAuthToken => 0x08,
            Self::TransactionManager => 0x0E,
            Self::Login7 => 0x10,
            Self::Sspi => 0x11,
            Self::Prelogin => 0x12,
            Self::Other(byte) => byte,
        }
    }
}

/// The status bits of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// The last packet of its message.
    pub const END_OF_MESSAGE: Self = Self(0x01);
    /// The sender takes the message back; set together with the end of message.
    pub const IGNORE: u8 = 0x02;

    /// Whether the packet ends its message.
    #[must_use]
    pub const fn ends_message(self) -> bool {
        self.0 & Self::END_OF_MESSAGE.0 != 0
    }

    /// Whether the sender takes the message back.
    #[must_use]
    pub const fn is_ignored(self) -> bool {
        self.0 & Self::IGNORE != 0
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// What the message is.
    pub packet_type: PacketType,
    /// Where in the message the packet stands.
    pub status: Status,
    /// The packet's length with its header, at least [`HEADER_LEN`].
    pub len: usize,
}

impl PacketHeader {
    /// Reads the header at the front of `bytes`; `None` while it has not arrived in full.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(&[packet_type, status, high, low, ..]) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len < HEADER_LEN {
            return Err(Malformed::of("packet length"));
        }
        Ok(Some(Self {
            packet_type: PacketType::from_byte(packet_type),
            status: Status(status),
            len,
        }))
    }
}

/// Appends one packet. `payload` is at most 65,527 bytes long.
pub fn push_packet(
    packet_type: PacketType,
    status: Status,
    id: u8,
    payload: &[u8],
    out: &mut WipedBuffer,
) {
    let len = push_header(packet_type, status, id, payload.len(), out);
    out.extend(&payload[..len]);
}

/// Appends the header of a packet of `len` bytes without it. Returns how many bytes may follow: of
/// more than 65,527 only so many fit.
pub fn push_header(
    packet_type: PacketType,
    status: Status,
    id: u8,
    len: usize,
    out: &mut WipedBuffer,
) -> usize {
    let whole = u16::try_from(len + HEADER_LEN).unwrap_or(u16::MAX);
    let [high, low] = whole.to_be_bytes();
    out.extend(&[packet_type.byte(), status.0, high, low, 0, 0, id, 0]);
    usize::from(whole) - HEADER_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_shorter_than_the_header_is_malformed() {
        assert!(PacketHeader::parse(&[4, 1, 0, 7, 0, 0, 0, 0]).is_err());
        assert_eq!(PacketHeader::parse(&[4, 1, 0]), Ok(None));
    }
}
