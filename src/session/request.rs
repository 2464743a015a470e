//! Requests on their way to the server: what passes, what is held back, described and encrypted.

use std::{collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Session, SessionError, State,
    bulk::{Announced, BulkAnswer, BulkLoad, BulkTarget},
    encrypt,
    outputs::{Output, Outputs},
    respond::Responding,
    statement::Statement,
};
use crate::{
    crypto::CellKey,
    keystore::CekError,
    metadata::{DescribeAnswer, DescribeFault, DescribeKey, Description},
    tds::{
        ColMetadata, EncryptedCekValue, HEADER_LEN, InsertBulk, Malformed, PacketHeader,
        PacketType, RpcFault, RpcRequest, WipedBuffer, done_status, push_message, push_utf16,
        utf16_lossy,
    },
};

/// An answer to describe is some hundred bytes per parameter and a few kilobytes per key.
const MAX_DESCRIBE: usize = 16 * 1024 * 1024;
/// RESETCONNECTION and RESETCONNECTIONSKIPTRAN on a message's first packet.
const RESET_BITS: u8 = 0x18;

/// A message of the driver's that is arriving.
pub(super) struct Upload {
    packet_type: PacketType,
    way: Way,
}

/// What becomes of it.
enum Way {
    /// Held back until it is whole.
    Held(WipedBuffer),
    /// Sent on packet by packet as it is.
    Passing,
    /// A bulk load, rewritten as it comes.
    Bulk(Box<BulkLoad>),
    /// The rest of a bulk load that has failed; the error is told at its end. Whether the server
    /// has been told to give it up.
    Failed { error_token: Vec<u8>, called_off: bool },
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

    fn resets_session(&self) -> bool {
        let status = self.packets.as_slice().get(1).copied().unwrap_or_default();
        !self.reset_done && status & RESET_BITS != 0
    }

    /// The reset bits that are still to be sent.
    fn take_reset(&mut self) -> u8 {
        let status = self.packets.as_slice().get(1).copied().unwrap_or_default();
        if std::mem::replace(&mut self.reset_done, true) { 0 } else { status & RESET_BITS }
    }
}

/// Waiting for the server's answer about a held request.
pub(super) struct Asking {
    held: Held,
    question: Question,
    pub(super) answer: Vec<u8>,
}

/// What the server has been asked.
enum Question {
    /// How these parameters are encrypted.
    Parameters { key: DescribeKey, names: Vec<String>, cacheable: bool },
    /// How the columns of this bulk load are.
    Columns(InsertBulk),
}

/// Waiting for the keys of a held request.
pub(super) struct FetchingKeys {
    held: Held,
    purpose: Purpose,
    /// Request id, index of the key in the description or table, and what needs it.
    pending: Vec<(u64, usize, String)>,
    keys: HashMap<usize, Arc<CellKey>>,
}

/// What the keys are for.
enum Purpose {
    Parameters { key: DescribeKey, description: Arc<Description>, from_cache: bool },
    Bulk { statement: InsertBulk, metadata: ColMetadata },
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
            Way::Passing => self.to_server.extend(packet),
            Way::Held(held) => held.extend(packet),
            Way::Failed { .. } => {}
            Way::Bulk(load) => {
                let payload = packet.get(HEADER_LEN..).unwrap_or_default();
                let room = self.packet_size - HEADER_LEN;
                let passed = load.pass(payload, end, room, &mut self.to_server);
                if let Err(error) = passed {
                    // The server waits for rows: the load is taken back and called off.
                    load.take_back(&mut self.to_server);
                    push_message(
                        PacketType::Attention,
                        0,
                        &[],
                        self.packet_size,
                        &mut self.to_server,
                    );
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
        // An announcement holds for the message that follows it, and no other.
        let announced = self.bulk.take();
        let way = match header.packet_type {
            PacketType::Rpc => Way::Held(WipedBuffer::default()),
            PacketType::SqlBatch if may_be_insert_bulk(Self::payload(&self.app_in, header)) => {
                Way::Held(WipedBuffer::default())
            }
            PacketType::BulkLoad => match announced {
                Some(announced) => Way::Bulk(Box::new(BulkLoad::new(announced))),
                None => {
                    let error = Malformed::of("bulk load: it was not announced by INSERT BULK");
                    let error_token = self.record(SessionError::Request(error));
                    Way::Failed { error_token, called_off: false }
                }
            },
            _ => Way::Passing,
        };
        self.state = State::Uploading(Upload { packet_type: header.packet_type, way });
    }

    /// The message is whole.
    fn end_upload(&mut self, header: PacketHeader) {
        let State::Uploading(upload) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        match upload.way {
            Way::Held(_) if header.status.is_ignored() => {}
            Way::Held(packets) => {
                let held = Held { packets, reset_done: false };
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
            Way::Passing | Way::Bulk(_) => self.state = State::Responding(Box::default()),
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
        // After a reset the statement runs in the login's database, whichever this one is.
        let cached = match held.resets_session() {
            true => None,
            false => self.config.describe_cache.get(&key, self.now),
        };
        match cached {
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
        let cacheable = !held.resets_session();
        let reset = held.take_reset();
        push_message(PacketType::Rpc, reset, &call, self.packet_size, &mut self.to_server);
        let names = statement.parameters.iter().map(|p| p.name.clone()).collect();
        let question = Question::Parameters { key, names, cacheable };
        self.state = State::Asking(Asking { held, question, answer: Vec::new() });
    }

    /// One packet of the answer.
    pub(super) fn answer_packet(&mut self, header: PacketHeader) {
        let State::Asking(asking) = &mut self.state else { return };
        let payload = Self::payload(&self.server_in, header);
        if asking.answer.len() + payload.len() > MAX_DESCRIBE {
            self.close(SessionError::DescribeTooLong { limit: MAX_DESCRIBE });
            return;
        }
        asking.answer.extend_from_slice(payload);
        self.server_in.consume(header.len);
        if !header.status.ends_message() {
            return;
        }
        let State::Asking(asking) = std::mem::replace(&mut self.state, State::Idle) else { return };
        let Asking { held, question, answer } = asking;
        self.follow_answer(&answer);
        match question {
            Question::Parameters { key, names, cacheable } => {
                self.parameters_known(held, key, &names, cacheable, &answer);
            }
            Question::Columns(statement) => self.columns_known(held, statement, &answer),
        }
    }

    fn parameters_known(
        &mut self,
        held: Held,
        key: DescribeKey,
        names: &[String],
        cacheable: bool,
        answer: &[u8],
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match DescribeAnswer::read(answer, &names) {
            Ok(DescribeAnswer::Described(description)) => {
                let description = Arc::new(description);
                if cacheable {
                    let cache = &self.config.describe_cache;
                    cache.insert(key.clone(), description.clone(), self.now);
                }
                self.begin_encryption(held, key, description, false);
            }
            Ok(DescribeAnswer::Refused(tokens)) => self.refused_by_server(tokens),
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
        let needed = needed
            .into_iter()
            .map(|(cek, target)| {
                let values = description.ceks.get(cek).map(|c| c.values.clone());
                (cek, target, values.unwrap_or_default())
            })
            .collect();
        let purpose = Purpose::Parameters { key, description, from_cache };
        self.fetch_keys(held, purpose, needed);
    }

    /// Asks for the keys of a request; sends it at once if it needs none.
    fn fetch_keys(
        &mut self,
        held: Held,
        purpose: Purpose,
        needed: Vec<(usize, String, Vec<EncryptedCekValue>)>,
    ) {
        let mut pending = Vec::new();
        for (cek, target, values) in needed {
            match self.request_key(&values, &target) {
                Ok(id) => pending.push((id, cek, target)),
                Err(error) => {
                    self.key_requests.clear();
                    self.refuse(error);
                    return;
                }
            }
        }
        let fetching = FetchingKeys { held, purpose, pending, keys: HashMap::new() };
        if fetching.pending.is_empty() {
            self.keys_complete(fetching);
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
                    self.keys_complete(fetching);
                } else {
                    self.state = State::FetchingKeys(fetching);
                }
            }
        }
    }

    fn keys_complete(&mut self, fetching: FetchingKeys) {
        let FetchingKeys { held, purpose, keys, .. } = fetching;
        match purpose {
            Purpose::Parameters { key, description, from_cache } => {
                self.send_encrypted(held, key, &description, from_cache, &keys);
            }
            Purpose::Bulk { statement, metadata } => {
                let keys = (0..metadata.ceks.len()).map(|cek| keys.get(&cek).cloned()).collect();
                self.announce_bulk(held, &statement, BulkTarget { metadata, keys });
            }
        }
    }

    /// Everything is there: encrypts and sends.
    fn send_encrypted(
        &mut self,
        mut held: Held,
        key: DescribeKey,
        description: &Description,
        from_cache: bool,
        keys: &HashMap<usize, Arc<CellKey>>,
    ) {
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

    /// A whole batch that may announce a bulk load.
    fn begin_batch(&mut self, mut held: Held) {
        let payload = held.payload();
        let (headers, text) = split_batch(&payload);
        let text = utf16_lossy(text);
        if !InsertBulk::begins(&text) {
            self.forward(held, None);
            return;
        }
        let Some(statement) = InsertBulk::parse(&text) else {
            self.refuse(SessionError::Request(Malformed::of("INSERT BULK")));
            return;
        };
        if statement.passes_ciphertext() {
            // Stated in so many words: what comes is ciphertext already.
            self.bulk = Some(Announced::Plain);
            self.forward(held, None);
            return;
        }
        let mut query = headers.to_vec();
        push_utf16(&statement.columns_query(), &mut query);
        let reset = held.take_reset();
        push_message(PacketType::SqlBatch, reset, &query, self.packet_size, &mut self.to_server);
        let question = Question::Columns(statement);
        self.state = State::Asking(Asking { held, question, answer: Vec::new() });
    }

    /// The columns of a bulk load are known; keys may be missing.
    fn columns_known(&mut self, held: Held, statement: InsertBulk, answer: &[u8]) {
        let metadata = match BulkAnswer::read(answer) {
            Ok(BulkAnswer::Columns(metadata)) => metadata,
            Ok(BulkAnswer::Refused(tokens)) => {
                self.refused_by_server(tokens);
                return;
            }
            Err(error) => {
                self.refuse(SessionError::Describe(DescribeFault::Malformed(error)));
                return;
            }
        };
        // Every column of the load must have its verdict, by its name and in its place.
        let asked = statement.columns.iter().map(|(name, _)| name);
        if !asked.eq(metadata.columns.iter().map(|c| &c.name)) {
            let name = statement.table.clone();
            self.refuse(SessionError::Describe(DescribeFault::ParameterMissing { name }));
            return;
        }
        if !metadata.has_encrypted_columns() {
            self.bulk = Some(Announced::Plain);
            self.forward(held, None);
            return;
        }
        let mut needed: Vec<(usize, String, Vec<EncryptedCekValue>)> = Vec::new();
        for column in &metadata.columns {
            let Some(crypto) = &column.crypto else { continue };
            let cek = usize::from(crypto.cek_ordinal);
            if needed.iter().all(|(known, ..)| *known != cek) {
                let values = metadata.ceks.get(cek).map(|c| c.values.clone()).unwrap_or_default();
                needed.push((cek, format!("column {}", column.name), values));
            }
        }
        self.fetch_keys(held, Purpose::Bulk { statement, metadata }, needed);
    }

    /// Announces the load with the types of the ciphertext.
    fn announce_bulk(&mut self, mut held: Held, statement: &InsertBulk, target: BulkTarget) {
        let payload = held.payload();
        let mut message = split_batch(&payload).0.to_vec();
        push_utf16(&target.announce(statement), &mut message);
        let reset = held.take_reset();
        push_message(PacketType::SqlBatch, reset, &message, self.packet_size, &mut self.to_server);
        self.bulk = Some(Announced::Encrypted(target));
        self.state = State::Responding(Box::default());
    }

    /// The server refuses a request before it has seen it.
    fn refused_by_server(&mut self, tokens: Vec<u8>) {
        self.end_request(tokens, done_status::ERROR);
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
            State::Asking(asking) => {
                self.to_server.extend(packet);
                // What is there of the answer is walked as a response, changes included.
                let responding = Responding::cancelled(&asking.answer);
                self.state = State::Responding(Box::new(responding));
            }
            // The server knows nothing of the request, so we answer in its place. Likewise for a
            // request that has not arrived in full.
            State::FetchingKeys(_)
            | State::Uploading(Upload {
                way: Way::Held(_) | Way::Failed { called_off: false, .. },
                ..
            }) => {
                self.key_requests.clear();
                self.end_request(Vec::new(), done_status::ATTENTION);
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

/// ALL_HEADERS and the text of a batch.
fn split_batch(payload: &[u8]) -> (&[u8], &[u8]) {
    let len = payload.first_chunk().map_or(0, |&n| u32::from_le_bytes(n) as usize);
    payload.split_at_checked(len).unwrap_or((&[], payload))
}

/// Whether a batch whose first packet this is has to be looked at in full. White space and comments
/// may fill the packet, so only what is certainly something else passes at once.
fn may_be_insert_bulk(payload: &[u8]) -> bool {
    let text = utf16_lossy(split_batch(payload).1);
    InsertBulk::begins(&text) || InsertBulk::may_begin_later(&text)
}
