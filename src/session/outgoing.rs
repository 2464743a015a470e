//! What is on its way to one side: packets that are ready, and messages that are cut into packets
//! only as those are taken. So a long message is there once and not a second time as packets.

use std::collections::VecDeque;

use super::payload::Payload;
use crate::tds::{HEADER_LEN, PacketType, Status, WipedBuffer, push_header};

/// So much is made ready at a time.
const WINDOW: usize = 64 * 1024;

/// The bytes for the driver or for the server.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Empty only if nothing waits.
    ready: WipedBuffer,
    waiting: VecDeque<Waiting>,
    /// Counts the packets of a message; nobody checks their numbers.
    packet: u8,
}

enum Waiting {
    Packets(WipedBuffer),
    Message(Message),
}

/// A message, or a piece of one.
pub(super) struct Message {
    pub(super) packet_type: PacketType,
    /// Bits that belong on its first packet only, such as RESETCONNECTION.
    pub(super) first_status: u8,
    /// How much one packet carries.
    pub(super) room: usize,
    /// Whether the message ends with it.
    pub(super) ends: bool,
    pub(super) payload: Payload,
}

impl Message {
    /// Cuts off the next packet. Says whether there is more.
    fn cut(&mut self, packet: &mut u8, out: &mut WipedBuffer) -> bool {
        let left = self.payload.len();
        if left == 0 && !self.ends {
            return false;
        }
        let len = left.min(self.room);
        let more = len < left;
        let mut status = std::mem::take(&mut self.first_status);
        *packet = packet.wrapping_add(1);
        if self.ends && !more {
            status |= Status::END_OF_MESSAGE.0;
        }
        push_header(self.packet_type, Status(status), *packet, len, out);
        self.payload.take_into(len, out);
        if self.ends && !more {
            *packet = 0;
        }
        more
    }
}

impl Outgoing {
    /// The next bytes. When they have been taken, there may be more.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.ready.as_slice()
    }

    /// How much waits in all, not counting the headers of packets that are yet to be cut.
    pub(super) fn len(&self) -> usize {
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Packets(packets) => packets.len(),
            Waiting::Message(message) => message.payload.len(),
        });
        self.ready.len() + waiting.sum::<usize>()
    }

    /// That many of them have been taken.
    pub(super) fn consume(&mut self, len: usize) {
        self.ready.consume(len);
        if self.ready.is_empty() {
            self.refill();
        }
    }

    /// Where packets go that are packets already.
    pub(super) fn packets(&mut self) -> &mut WipedBuffer {
        if self.waiting.is_empty() {
            return &mut self.ready;
        }
        if !matches!(self.waiting.back(), Some(Waiting::Packets(_))) {
            self.waiting.push_back(Waiting::Packets(WipedBuffer::default()));
        }
        match self.waiting.back_mut() {
            Some(Waiting::Packets(packets)) => packets,
            _ => &mut self.ready,
        }
    }

    /// Appends a message.
    pub(super) fn push(&mut self, message: Message) {
        self.waiting.push_back(Waiting::Message(message));
        if self.ready.len() < WINDOW {
            self.refill();
        }
    }

    fn refill(&mut self) {
        if let Some(Waiting::Message(message)) = self.waiting.front() {
            let len = message.payload.len().min(WINDOW);
            self.ready.spare(len + (len / message.room + 2) * HEADER_LEN + message.room);
        }
        while let (true, Some(next)) = (self.ready.len() < WINDOW, self.waiting.front_mut()) {
            let more = match next {
                Waiting::Packets(packets) => {
                    self.ready.extend(packets.as_slice());
                    false
                }
                Waiting::Message(message) => message.cut(&mut self.packet, &mut self.ready),
            };
            if !more {
                self.waiting.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::PacketHeader;

    fn message(ends: bool, payload: Vec<u8>) -> Message {
        let packet_type = PacketType::Rpc;
        Message { packet_type, first_status: 0x08, room: 504, ends, payload: payload.into() }
    }

    /// Takes everything, `size` bytes at a time: the payload and the statuses of the packets.
    fn drain(outgoing: &mut Outgoing, size: usize) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = Vec::new();
        while !outgoing.as_slice().is_empty() {
            let len = outgoing.as_slice().len().min(size);
            bytes.extend_from_slice(&outgoing.as_slice()[..len]);
            outgoing.consume(len);
        }
        let (mut rest, mut payload, mut statuses) = (&bytes[..], Vec::new(), Vec::new());
        while !rest.is_empty() {
            let header = PacketHeader::parse(rest).unwrap().unwrap();
            payload.extend_from_slice(&rest[HEADER_LEN..header.len]);
            statuses.push(header.status.0);
            rest = &rest[header.len..];
        }
        (payload, statuses)
    }

    #[test]
    fn a_message_is_cut_at_the_packet_size_and_only_its_last_packet_ends_it() {
        let payload: Vec<u8> = (0..2000u32).map(|i| i as u8).collect();
        let mut outgoing = Outgoing::default();
        outgoing.push(message(true, payload.clone()));
        let expected = (payload, vec![0x08, 0, 0, 0x01]);
        assert_eq!(drain(&mut outgoing, usize::MAX), expected);
    }

    #[test]
    fn an_empty_message_is_one_packet_and_an_empty_piece_is_none() {
        let mut outgoing = Outgoing::default();
        outgoing.push(message(false, Vec::new()));
        assert!(outgoing.as_slice().is_empty());
        outgoing.push(message(true, Vec::new()));
        assert_eq!(outgoing.as_slice(), [0x03, 0x09, 0, 8, 0, 0, 1, 0]);
    }

    #[test]
    fn what_comes_after_a_long_message_goes_after_it() {
        let long: Vec<u8> = (0..10 * WINDOW).map(|i| (i >> 3) as u8).collect();
        let mut outgoing = Outgoing::default();
        outgoing.push(message(false, long.clone()));
        assert!(outgoing.as_slice().len() < 2 * WINDOW, "all of it is there a second time");
        assert!(outgoing.len() >= long.len(), "what is not cut yet waits as well");
        outgoing.packets().extend(&[6, 1, 0, 9, 0, 0, 1, 0, 0xAA]);
        outgoing.packets().extend(&[6, 1, 0, 9, 0, 0, 1, 0, 0xBB]);
        outgoing.push(message(true, vec![0xCC]));
        let (payload, statuses) = drain(&mut outgoing, 1000);
        assert!(payload == [&long[..], &[0xAA, 0xBB, 0xCC]].concat());
        assert_eq!(statuses[statuses.len() - 3..], [1, 1, 9]);
        assert_eq!(outgoing.len(), 0);
    }
}
