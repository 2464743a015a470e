//! Messages of the driver's as they arrive: what passes at once, what is held back until it is whole,
//! and what cancels it all.

use super::{
    Session, SessionError, State,
    announce::{FirstLook, first_look},
    bulk::BulkLoad,
    payload::Payload,
    respond::Responding,
    schema::Changes,
};
use crate::tds::{HEADER_LEN, Malformed, PacketHeader, PacketType, WipedBuffer, done_status};

/// RESETCONNECTION and RESETCONNECTIONSKIPTRAN on a message's first packet.
const RESET_BITS: u8 = 0x18;

/// A message of the driver's that is arriving.
pub(super) struct Upload {
    packet_type: PacketType,
    way: Way,
}

/// What becomes of it.
enum Way {
    /// Held back until it is whole: the payload of its packets.
    Held(Payload),
    /// Sent on packet by packet as it is. Whether it may change what is known of tables.
    Passing { changes: Changes },
    /// A bulk load, rewritten as it comes.
    Bulk(Box<BulkLoad>),
    /// The rest of a bulk load that has failed; the error is told at its end. Whether the server
    /// has been told to give it up.
    Failed { error_token: Vec<u8>, called_off: bool },
}

/// A request held back.
pub(super) struct Held {
    packet_type: PacketType,
    payload: WipedBuffer,
}

impl Held {
    pub(super) fn payload(&self) -> &[u8] {
        self.payload.as_slice()
    }
}

impl Session {
    /// One packet of a request.
    pub(super) fn request_packet(&mut self, header: PacketHeader) {
        if header.packet_type == PacketType::Attention {
            self.attention(header);
            return;
        }
        if let State::Idle = self.state {
            self.begin_upload(header);
        }
        let State::Uploading(upload) = &mut self.state else { return };
        if upload.packet_type != header.packet_type {
            self.close(SessionError::Request(Malformed::of("message: packets of two kinds")));
            return;
        }
        let packet = self.app_in.as_slice().get(..header.len).unwrap_or_default();
        let end = header.status.ends_message();
        match &mut upload.way {
            Way::Passing { .. } => {
                let to_server = self.to_server.packets();
                let start = to_server.len();
                to_server.extend(packet);
                let reset = std::mem::take(&mut self.pending_reset);
                if let Some(status) = to_server.as_mut_slice().get_mut(start + 1) {
                    *status = (*status & !RESET_BITS) | reset;
                }
            }
            Way::Held(payload) => payload.extend(packet.get(HEADER_LEN..).unwrap_or_default()),
            Way::Failed { .. } => {}
            Way::Bulk(load) if header.status.is_ignored() => {
                load.take_back(self.to_server.packets())
            }
            Way::Bulk(load) => {
                let payload = packet.get(HEADER_LEN..).unwrap_or_default();
                let room = self.packet_size - HEADER_LEN;
                let passed = load.pass(payload, end, room, self.to_server.packets());
                if let Err(error) = passed {
                    // The server waits for rows: the load is taken back and called off.
                    load.take_back(self.to_server.packets());
                    self.push_to_server(PacketType::Attention, 0, Payload::default());
                    let error_token = self.record(error);
                    let way = Way::Failed { error_token, called_off: true };
                    self.state = State::Uploading(Upload { packet_type: header.packet_type, way });
                }
            }
        }
        self.app_in.consume(header.len);
        if end {
            self.end_upload(header);
        }
    }

    /// The first packet of a message decides what becomes of it.
    fn begin_upload(&mut self, header: PacketHeader) {
        if header.status.0 & RESET_BITS != 0 {
            // The next message to the server carries the bits, whatever becomes of this one.
            self.pending_reset |= header.status.0 & RESET_BITS;
            (self.database, self.collation) = self.at_login.clone();
            self.other_identity = false;
            self.short_answers = false;
            self.prepared.reset();
        }
        // An announcement holds for the message that follows it, and no other.
        let announced = self.bulk.take();
        let held = || Way::Held(Payload::default());
        let way = match header.packet_type {
            PacketType::Rpc => held(),
            PacketType::SqlBatch => {
                let whole = header.status.ends_message();
                match first_look(Self::payload(&self.app_in, header), whole) {
                    FirstLook::Hold => held(),
                    FirstLook::Pass { changes } => Way::Passing { changes },
                }
            }
            PacketType::BulkLoad => match announced {
                Some(announced) => Way::Bulk(Box::new(BulkLoad::new(announced))),
                None => {
                    let error = Malformed::of("bulk load: it was not announced by INSERT BULK");
                    let error_token = self.record(SessionError::Request(error));
                    Way::Failed { error_token, called_off: false }
                }
            },
            _ => Way::Passing { changes: Changes::default() },
        };
        self.state = State::Uploading(Upload { packet_type: header.packet_type, way });
    }

    /// The message is whole.
    fn end_upload(&mut self, header: PacketHeader) {
        let State::Uploading(upload) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        match upload.way {
            // The server makes nothing of a message that is taken back, and says nothing to it.
            Way::Held(_) | Way::Passing { .. } | Way::Bulk(_) if header.status.is_ignored() => {}
            Way::Held(payload) => {
                let held = Held { packet_type: upload.packet_type, payload: payload.join() };
                if upload.packet_type == PacketType::Rpc {
                    self.begin_request(held);
                } else {
                    self.begin_batch(held);
                }
            }
            Way::Failed { error_token, called_off: true } => {
                self.state = State::Responding(Box::new(Responding::called_off(&error_token)));
            }
            Way::Failed { error_token, called_off: false } => {
                self.end_request(error_token, done_status::ERROR);
            }
            Way::Passing { changes } => {
                let responding = Responding::to_batch(changes, false);
                self.state = State::Responding(Box::new(responding));
            }
            Way::Bulk(_) => self.state = State::Responding(Box::default()),
        }
    }

    /// Sends a held request as it came, but for a reset that has been sent before.
    pub(super) fn forward(&mut self, held: Held, mut responding: Responding) {
        let reset = self.take_reset();
        let packet_type = held.packet_type;
        let payload = if responding.wants_retry() {
            let mut copy = WipedBuffer::default();
            copy.extend(held.payload());
            responding.may_retry(held);
            copy
        } else {
            held.payload
        };
        self.push_to_server(packet_type, reset, payload.into());
        self.state = State::Responding(Box::new(responding));
    }

    /// The application cancels what is under way.
    pub(super) fn attention(&mut self, header: PacketHeader) {
        let packet = self.app_in.as_slice().get(..header.len).unwrap_or_default();
        match std::mem::replace(&mut self.state, State::Idle) {
            // Ours is on its way already, and there is one acknowledgement.
            State::Responding(mut responding) if responding.is_called_off() => {
                responding.hand_over_attention();
                self.state = State::Responding(responding);
            }
            State::Responding(mut responding) => {
                self.to_server.packets().extend(packet);
                responding.attention();
                self.state = State::Responding(responding);
            }
            State::Uploading(Upload {
                way: Way::Failed { error_token, called_off: true }, ..
            }) => {
                let mut responding = Responding::called_off(&error_token);
                responding.hand_over_attention();
                self.state = State::Responding(Box::new(responding));
            }
            // The answer under way is walked to its end; the request itself is never sent.
            State::Asking(asking) => {
                self.to_server.packets().extend(packet);
                // What is there of the answer is walked as a response, changes included.
                let responding = Responding::cancelled(&asking.answer);
                self.state = State::Responding(Box::new(responding));
            }
            // The server knows nothing of the request, so we answer in its place. Likewise for a
            // request that has not arrived in full.
            State::FetchingKeys(_)
            | State::Waiting(_)
            | State::Uploading(Upload { way: Way::Held(_), .. }) => {
                self.key_requests.clear();
                self.end_request(Vec::new(), done_status::ATTENTION);
            }
            State::Uploading(Upload { way: Way::Failed { error_token, .. }, .. }) => {
                self.end_request(error_token, done_status::ATTENTION);
            }
            State::Idle | State::Uploading(_) => {
                self.to_server.packets().extend(packet);
                let mut responding = Responding::default();
                responding.attention();
                self.state = State::Responding(Box::new(responding));
            }
            other => self.state = other,
        }
        self.app_in.consume(header.len);
        self.continue_response();
    }
}
