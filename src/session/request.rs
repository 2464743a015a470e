//! Requests on their way to the server: what passes, what is held back, described and encrypted.

use std::{collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Session, SessionError, State, encrypt,
    outputs::{Output, Outputs},
    respond::Responding,
    statement::Statement,
};
use crate::{
    crypto::CellKey,
    keystore::CekError,
    metadata::{DescribeAnswer, DescribeKey, Description},
    tds::{
        HEADER_LEN, Malformed, PacketHeader, PacketType, RpcFault, RpcRequest, Status, WipedBuffer,
        done_status, push_message, push_packet, write_done,
    },
};

/// An answer to describe is some hundred bytes per parameter and a few kilobytes per key.
const MAX_DESCRIBE: usize = 16 * 1024 * 1024;
/// RESETCONNECTION and RESETCONNECTIONSKIPTRAN on a message's first packet.
const RESET_BITS: u8 = 0x18;

/// A message of the driver's that is arriving.
pub(super) enum Upload {
    /// Held back until it is whole.
    Held(WipedBuffer),
    /// Sent on packet by packet as it is.
    Passing,
    /// A bulk load, which needs an (empty) CEK table in its metadata.
    Bulk(Bulk),
}

/// A bulk load: its payload moves by the bytes put in, so its packets are cut anew.
#[derive(Default)]
pub(super) struct Bulk {
    pending: WipedBuffer,
    begun: bool,
    packets: u8,
}

/// A request held back, in the driver's own packets.
pub(super) struct Held {
    packets: WipedBuffer,
    /// RESETCONNECTION has gone out with the describe.
    reset_done: bool,
}

impl Held {
    fn payload(&self) -> Zeroizing<Vec<u8>> {
        let mut payload = Zeroizing::new(Vec::with_capacity(self.packets.len()));
        let mut rest = self.packets.as_slice();
        while let Ok(Some(header)) = PacketHeader::parse(rest) {
            payload.extend_from_slice(rest.get(HEADER_LEN..header.len).unwrap_or_default());
            rest = rest.get(header.len..).unwrap_or_default();
        }
        payload
    }

    /// The reset bits that are still to be sent.
    fn take_reset(&mut self) -> u8 {
        let status = self.packets.as_slice().get(1).copied().unwrap_or_default();
        if std::mem::replace(&mut self.reset_done, true) { 0 } else { status & RESET_BITS }
    }
}

/// Waiting for the server's answer about a held request.
pub(super) struct Describing {
    held: Held,
    key: DescribeKey,
    names: Vec<String>,
    answer: Vec<u8>,
}

/// Waiting for the keys of a held request.
pub(super) struct FetchingKeys {
    held: Held,
    key: DescribeKey,
    description: Arc<Description>,
    from_cache: bool,
    /// Request id, index of the key in the description, and what needs it.
    pending: Vec<(u64, usize, String)>,
    keys: HashMap<usize, Arc<CellKey>>,
}

impl FetchingKeys {
    pub(super) fn waits_for(&self, id: u64) -> bool {
        self.pending.iter().any(|(pending, ..)| *pending == id)
    }
}

/// What a response needs to know of its request, should it have to be sent again.
pub(super) struct Retry {
    held: Held,
    pub(super) key: DescribeKey,
}

impl Session {
    /// One packet of a request.
    pub(super) fn request_packet(&mut self, header: PacketHeader) {
        if header.packet_type == PacketType::Attention {
            self.attention(header);
            return;
        }
        if let State::Idle = self.state {
            let upload = match header.packet_type {
                PacketType::Rpc => Upload::Held(WipedBuffer::default()),
                PacketType::SqlBatch if is_insert_bulk(Self::payload(&self.app_in, header)) => {
                    Upload::Held(WipedBuffer::default())
                }
                PacketType::BulkLoad => Upload::Bulk(Bulk::default()),
                _ => Upload::Passing,
            };
            self.state = State::Uploading(upload);
        }
        let State::Uploading(upload) = &mut self.state else { return };
        let packet = self.app_in.as_slice().get(..header.len).unwrap_or_default();
        let end = header.status.ends_message();
        let mut malformed = false;
        match upload {
            Upload::Passing => self.to_server.extend(packet),
            Upload::Held(held) => held.extend(packet),
            Upload::Bulk(bulk) => {
                let payload = packet.get(HEADER_LEN..).unwrap_or_default();
                let room = self.packet_size - HEADER_LEN;
                malformed = bulk.pass(payload, end, room, &mut self.to_server).is_err();
            }
        }
        self.app_in.consume(header.len);
        if malformed {
            self.close(SessionError::Request(Malformed::of("bulk load")));
            return;
        }
        if !end {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Uploading(Upload::Held(_)) if header.status.is_ignored() => {}
            State::Uploading(Upload::Held(packets)) if header.packet_type == PacketType::Rpc => {
                self.begin_request(Held { packets, reset_done: false });
            }
            State::Uploading(Upload::Held(packets)) => {
                self.begin_insert_bulk(Held { packets, reset_done: false });
            }
            _ => self.state = State::Responding(Box::default()),
        }
    }

    /// A whole RPC request.
    fn begin_request(&mut self, held: Held) {
        let payload = held.payload();
        let statement = match read_statement(&payload) {
            Ok(Some((_, statement))) => statement,
            Ok(None) => {
                self.forward(held, None);
                return;
            }
            Err(error) => {
                self.refuse(error);
                return;
            }
        };
        let key = DescribeKey {
            database: self.database.clone(),
            statement: statement.text.clone(),
            declarations: statement.declaration_key(),
        };
        match self.config.describe_cache.get(&key, self.now) {
            Some(description) => self.begin_encryption(held, key, description, true),
            None => self.describe(held, key, &statement, &payload),
        }
    }

    /// Asks the server about the statement, in the same transaction.
    fn describe(
        &mut self,
        mut held: Held,
        key: DescribeKey,
        statement: &Statement,
        payload: &[u8],
    ) {
        // The payload has been read before.
        let headers = RpcRequest::read(payload).map(|r| r.all_headers).unwrap_or_default();
        let declarations = statement.shrunk_declarations();
        let mut call = Vec::new();
        let written = RpcRequest::write_text_call(
            headers,
            "sp_describe_parameter_encryption",
            &[&statement.text, &declarations],
            self.collation,
            &mut call,
        );
        if let Err(error) = written {
            self.refuse(SessionError::Request(error));
            return;
        }
        let reset = held.take_reset();
        push_message(PacketType::Rpc, reset, &call, self.packet_size, &mut self.to_server);
        let names = statement.parameters.iter().map(|p| p.name.clone()).collect();
        self.state = State::Describing(Describing { held, key, names, answer: Vec::new() });
    }

    /// One packet of the answer to describe.
    pub(super) fn describe_reply(&mut self, header: PacketHeader) {
        let State::Describing(describing) = &mut self.state else { return };
        let payload = Self::payload(&self.server_in, header);
        if describing.answer.len() + payload.len() > MAX_DESCRIBE {
            self.close(SessionError::DescribeTooLong { limit: MAX_DESCRIBE });
            return;
        }
        describing.answer.extend_from_slice(payload);
        self.server_in.consume(header.len);
        if !header.status.ends_message() {
            return;
        }
        let State::Describing(describing) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        let Describing { held, key, names, answer } = describing;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match DescribeAnswer::read(&answer, &names) {
            Ok(DescribeAnswer::Described(description)) => {
                let description = Arc::new(description);
                self.config.describe_cache.insert(key.clone(), description.clone(), self.now);
                self.begin_encryption(held, key, description, false);
            }
            Ok(DescribeAnswer::Refused(mut tokens)) => {
                write_done(done_status::ERROR, &mut tokens);
                self.push_to_app(&tokens, true);
            }
            Err(fault) => self.refuse(SessionError::Describe(fault)),
        }
    }

    /// The verdict is there; keys may be missing.
    fn begin_encryption(
        &mut self,
        held: Held,
        key: DescribeKey,
        description: Arc<Description>,
        from_cache: bool,
    ) {
        if description.is_plain() {
            let retry = from_cache.then_some(key);
            self.forward(held, retry);
            return;
        }
        let payload = held.payload();
        let needed = match read_statement(&payload) {
            Ok(Some((request, statement))) => {
                encrypt::needed_keys(&request, &statement, &description)
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                self.refuse(error);
                return;
            }
        };
        let mut pending = Vec::new();
        for (cek, target) in needed {
            let values = description.ceks.get(cek).map(|c| c.values.clone()).unwrap_or_default();
            match self.request_key(&values, &target) {
                Ok(id) => pending.push((id, cek, target)),
                Err(error) => {
                    self.key_requests.clear();
                    self.refuse(error);
                    return;
                }
            }
        }
        let keys = HashMap::new();
        let fetching = FetchingKeys { held, key, description, from_cache, pending, keys };
        if fetching.pending.is_empty() {
            self.send_encrypted(fetching);
        } else {
            self.state = State::FetchingKeys(fetching);
        }
    }

    /// One of the keys has come, or will not.
    pub(super) fn key_for_request(&mut self, id: u64, key: Result<Arc<CellKey>, CekError>) {
        let State::FetchingKeys(mut fetching) = std::mem::replace(&mut self.state, State::Idle)
        else {
            return;
        };
        let Some(at) = fetching.pending.iter().position(|(pending, ..)| *pending == id) else {
            self.state = State::FetchingKeys(fetching);
            return;
        };
        let (_, cek, target) = fetching.pending.swap_remove(at);
        match key {
            Err(source) => self.refuse(SessionError::Key { target, source }),
            Ok(key) => {
                fetching.keys.insert(cek, key);
                if fetching.pending.is_empty() {
                    self.send_encrypted(fetching);
                } else {
                    self.state = State::FetchingKeys(fetching);
                }
            }
        }
    }

    /// Everything is there: encrypts and sends.
    fn send_encrypted(&mut self, fetching: FetchingKeys) {
        let FetchingKeys { mut held, key, description, from_cache, keys, .. } = fetching;
        let payload = held.payload();
        let sent = match read_statement(&payload) {
            Ok(Some((request, statement))) => {
                encrypt::encrypt_request(&request, &statement, &description, &keys, self.collation)
                    .map(|message| (message, outputs(&request, &statement, &description, &keys)))
            }
            Ok(None) => Err(SessionError::Request(Malformed::of("RPC request"))),
            Err(error) => Err(error),
        };
        match sent {
            Err(error) => self.refuse(error),
            Ok((message, outputs)) => {
                let reset = held.take_reset();
                push_message(
                    PacketType::Rpc,
                    reset,
                    &message,
                    self.packet_size,
                    &mut self.to_server,
                );
                let retry = from_cache.then(|| Retry { held, key: key.clone() });
                self.state =
                    State::Responding(Box::new(Responding::new(outputs, retry, Some(key))));
            }
        }
    }

    /// Sends a held request as it came, but for a reset that has been sent before.
    fn forward(&mut self, mut held: Held, cached_verdict: Option<DescribeKey>) {
        let reset = held.take_reset();
        let start = self.to_server.len();
        self.to_server.extend(held.packets.as_slice());
        if let Some(status) = self.to_server.as_mut_slice().get_mut(start + 1) {
            *status = (*status & !RESET_BITS) | reset;
        }
        let responding = Responding::new(Outputs::default(), None, cached_verdict);
        self.state = State::Responding(Box::new(responding));
    }

    /// The description was out of date and nothing was executed: once more, from the beginning.
    pub(super) fn retry(&mut self, retry: Retry) {
        self.config.describe_cache.remove(&retry.key);
        self.state = State::Idle;
        self.begin_request(retry.held);
    }

    /// A bulk load into encrypted columns would send plaintext. It is stopped at its announcement.
    fn begin_insert_bulk(&mut self, held: Held) {
        let text = crate::tds::utf16_lossy(batch_text(&held.payload()));
        let names_encrypted =
            self.encrypted_columns.iter().any(|name| text.contains(name.as_str()));
        if names_encrypted {
            self.refuse(SessionError::Unsupported {
                what: "a bulk load into a table with encrypted columns",
                remedy: "insert row by row with parameters",
            });
        } else {
            self.forward(held, None);
        }
    }

    /// The application cancels what is under way.
    pub(super) fn attention(&mut self, header: PacketHeader) {
        let packet = self.app_in.as_slice().get(..header.len).unwrap_or_default();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Responding(mut responding) => {
                self.to_server.extend(packet);
                responding.attention();
                self.state = State::Responding(responding);
            }
            // The answer under way is walked to its end; the request itself is never sent.
            State::Describing(describing) => {
                self.to_server.extend(packet);
                let responding = Responding::cancelled(&describing.answer);
                self.state = State::Responding(Box::new(responding));
            }
            // The server knows nothing of the request, so we answer in its place. Likewise for a
            // request that has not arrived in full.
            State::FetchingKeys(_) | State::Uploading(Upload::Held(_)) => {
                self.key_requests.clear();
                let mut done = Vec::new();
                write_done(done_status::ATTENTION, &mut done);
                self.push_to_app(&done, true);
            }
            State::Idle | State::Uploading(_) => {
                self.to_server.extend(packet);
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

impl Bulk {
    fn pass(
        &mut self,
        payload: &[u8],
        end: bool,
        room: usize,
        to_server: &mut WipedBuffer,
    ) -> Result<(), Malformed> {
        const COLMETADATA: u8 = 0x81;
        const NO_KEYS: [u8; 2] = [0, 0];
        self.pending.extend(payload);
        if !self.begun {
            let &[token, low, high, ..] = self.pending.as_slice() else {
                return if end { Err(Malformed::of("bulk load")) } else { Ok(()) };
            };
            if token != COLMETADATA {
                return Err(Malformed::of("bulk load"));
            }
            let mut rest = WipedBuffer::default();
            rest.extend(&[token, low, high]);
            rest.extend(&NO_KEYS);
            rest.extend(self.pending.as_slice().get(3..).unwrap_or_default());
            self.pending = rest;
            self.begun = true;
        }
        while self.pending.len() > room || end {
            let len = self.pending.len().min(room);
            let last = end && len == self.pending.len();
            let status = if last { Status::END_OF_MESSAGE } else { Status(0) };
            self.packets = self.packets.wrapping_add(1);
            let packet = self.pending.as_slice().get(..len).unwrap_or_default();
            push_packet(PacketType::BulkLoad, status, self.packets, packet, to_server);
            self.pending.consume(len);
            if last {
                break;
            }
        }
        Ok(())
    }
}

/// The request and, if it has parameters, its statement.
fn read_statement(payload: &[u8]) -> Result<Option<(RpcRequest<'_>, Statement)>, SessionError> {
    let request = RpcRequest::read(payload).map_err(|fault| match fault {
        RpcFault::Malformed(malformed) => SessionError::Request(malformed),
        RpcFault::SeveralRequests => SessionError::Unsupported {
            what: "a message with several requests",
            remedy: "send them one by one",
        },
        RpcFault::TableValued => SessionError::Unsupported {
            what: "a table-valued parameter",
            remedy: "insert row by row; SQL Server takes none for encrypted columns",
        },
        RpcFault::AlreadyEncrypted => SessionError::Unsupported {
            what: "a driver that encrypts by itself",
            remedy: "switch Always Encrypted off on one of the two sides",
        },
    })?;
    Ok(Statement::of(&request)?.map(|statement| (request, statement)))
}

/// The output parameters that will come back encrypted.
fn outputs(
    request: &RpcRequest<'_>,
    statement: &Statement,
    description: &Description,
    keys: &HashMap<usize, Arc<CellKey>>,
) -> Outputs {
    let mut outputs = Outputs::default();
    for (declared, encryption) in statement.parameters.iter().zip(&description.parameters) {
        let (Some(encryption), Some(index)) = (encryption, declared.index) else { continue };
        let Some(parameter) = request.parameters.get(index).filter(|p| p.is_output()) else {
            continue;
        };
        outputs.0.push(Output {
            name: parameter.name.clone(),
            key: keys.get(&encryption.cek).cloned(),
            values: description
                .ceks
                .get(encryption.cek)
                .map(|c| c.values.clone())
                .unwrap_or_default(),
        });
    }
    outputs
}

/// The text of a batch: what follows ALL_HEADERS.
fn batch_text(payload: &[u8]) -> &[u8] {
    let len = payload.first_chunk().map_or(0, |&n| u32::from_le_bytes(n) as usize);
    payload.get(len..).unwrap_or_default()
}

fn is_insert_bulk(payload: &[u8]) -> bool {
    let text = batch_text(payload);
    let head = crate::tds::utf16_lossy(text.get(..text.len().min(256)).unwrap_or_default());
    let mut words = head.split_whitespace();
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("insert"))
        && words.next().is_some_and(|w| w.eq_ignore_ascii_case("bulk"))
}
