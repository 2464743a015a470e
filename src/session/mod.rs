//! The state machine of one connection: bytes from the driver and from the server go in, bytes for
//! each and the need for keys come out.
//!
//! A [`Session`] reads no socket, no clock and no key store. Whoever runs it tells it what came and
//! what time it is, and asks it what it needs:
//!
//! | need | what the runner must do | when it arises |
//! |---|---|---|
//! | [`Session::to_server`] | send the bytes, then [`Session::sent_to_server`], until there are none | always |
//! | [`Session::to_app`] | hand the bytes to the driver, then [`Session::taken_by_app`], until there are none | always |
//! | [`Session::take_key_requests`] | unwrap the key, then [`Session::provide_key`] | after a describe; in front of the first encrypted cell of a result |
//! | [`Session::awaited_description`] | wait until it is settled, or for some time, then [`Session::stop_waiting`] | another connection asks about the same statement |
//! | [`Session::login_tls_ends`] | go on without TLS, if it was for the login only | once LOGIN7 has been sent |
//! | [`Session::is_closed`] | close the connection | the server broke the protocol |
//!
//! However the bytes are cut on their way in, the bytes that come out are the same.
//!
//! # The life of a request
//!
//! ```text
//!           RPC with parameters               description known
//!   Idle ───────────────────────▶ (cache) ──────────────────────▶ FetchingKeys
//!    ▲  ▲                            │ not known                       │ keys are there
//!    │  │ batch, transaction, …      ▼                                 ▼
//!    │  │        INSERT BULK ────▶ Asking ──────── answered ───▶  request is sent encrypted
//!    │  │                                                              │
//!    └──┴─────────────────────── Responding ◀──────────────────────────┘
//! ```
//!
//! A failure of ours becomes an ERROR and a DONE for the driver, so that the connection goes on;
//! the typed error is kept in the [`ErrorLog`].

mod announce;
mod ask;
mod bulk;
mod call;
mod declared;
mod encrypt;
mod error;
mod hint;
mod lexis;
mod login;
mod outgoing;
mod outputs;
mod payload;
mod prepared;
mod procedures;
mod repeat;
mod request;
mod respond;
mod response;
mod schema;
mod scratch;
mod statement;
mod upload;
mod work;

use std::{sync::Arc, time::Instant};

use bulk::Announced;
pub use error::{ErrorLog, SessionError};
use login::Login;
use outgoing::{Message, Outgoing};
use payload::Payload;
use prepared::PreparedStatements;
use request::{Asking, FetchingKeys, Waiting};
use respond::Responding;
use schema::Changes;
use upload::Upload;

use crate::{
    crypto::CellKey,
    keystore::{CekError, EncryptedCekValue, FailedCekValue},
    metadata::MetadataCache,
    policy::{ColumnEncryption, TrustedKeyPaths},
    tds::{
        EnvChange, HEADER_LEN, Malformed, PacketHeader, PacketType, ReplyToken, ReplyTokens,
        WipedBuffer, done_status, token_id, write_done,
    },
};

/// What a session is to do, and what it shares with the other sessions of its connector.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How much of Always Encrypted is asked for. If it is disabled, everything passes as it came.
    pub column_encryption: ColumnEncryption,
    /// The master keys that the server may name: what
    /// [`for_server`](TrustedKeyPaths::for_server) gave.
    pub trusted_key_paths: TrustedKeyPaths,
    /// Descriptions of statements and types of columns.
    pub metadata_cache: Arc<MetadataCache>,
    /// Where errors are kept.
    pub errors: Arc<ErrorLog>,
    /// The reply to the driver's PRELOGIN: see [`prelogin_reply`](crate::tds::prelogin_reply).
    pub prelogin_reply: Vec<u8>,
}

/// A CEK that the session needs.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// The number to answer under.
    pub id: u64,
    /// The encrypted values of the key, to be tried in order. Untrusted ones are not among them.
    pub values: Vec<EncryptedCekValue>,
}

/// Where the connection stands.
enum State {
    /// The driver has not said anything.
    Prelogin,
    /// LOGIN7 and what follows it.
    Login(Login),
    /// No request is under way.
    Idle,
    /// A request of the driver's is arriving and is held back or rewritten as it comes.
    Uploading(Upload),
    /// The server has been asked about a request's parameters or columns; the request waits.
    Asking(Asking),
    /// Another connection asks the server about the same statement; the request waits for that.
    Waiting(Waiting),
    /// The parameters are known; the request waits for keys.
    FetchingKeys(FetchingKeys),
    /// A request is with the server.
    Responding(Box<Responding>),
    /// Always Encrypted is off: everything passes.
    Transparent,
    /// The stream cannot be followed any further.
    Closed,
}

/// One connection.
pub struct Session {
    config: SessionConfig,
    state: State,
    app_in: WipedBuffer,
    server_in: WipedBuffer,
    to_app: Outgoing,
    to_server: Outgoing,
    key_requests: Vec<KeyRequest>,
    next_key_request: u64,
    login_tls_ends: bool,
    now: Instant,
    database: String,
    collation: [u8; 5],
    /// What the two were at the end of the login, and are again after a reset. SQL Server does not
    /// say so by a change of the environment.
    at_login: (String, [u8; 5]),
    packet_size: usize,
    /// RESETCONNECTION and its kin that the driver has asked for and the server has not been told.
    pending_reset: u8,
    in_transaction: bool,
    /// The transaction has changed tables. What this connection sees of them nobody else does, until
    /// it ends.
    uncommitted_schema: bool,
    /// The connection acts as somebody else than its login.
    other_identity: bool,
    /// The server may answer less than there is, since the driver has asked it to.
    short_answers: bool,
    /// A bulk load that has been announced and comes next.
    bulk: Option<Announced>,
    /// What has been prepared and not given up.
    prepared: PreparedStatements,
    /// Changes of the environment in answers that the driver did not ask for. They go in front of
    /// the next that it gets.
    carried: Vec<u8>,
    /// The number in the error log of what ended the connection.
    closed_by: Option<u32>,
}

impl Session {
    /// A session at the beginning of a connection.
    #[must_use]
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        Self {
            config,
            state: State::Prelogin,
            app_in: WipedBuffer::default(),
            server_in: WipedBuffer::default(),
            to_app: Outgoing::default(),
            to_server: Outgoing::default(),
            key_requests: Vec::new(),
            next_key_request: 1,
            login_tls_ends: false,
            now,
            database: String::new(),
            collation: [0; 5],
            at_login: Default::default(),
            // Both sides begin with it (MS-TDS 2.2.6.4).
            packet_size: 4096,
            pending_reset: 0,
            in_transaction: false,
            uncommitted_schema: false,
            other_identity: false,
            short_answers: false,
            bulk: None,
            prepared: PreparedStatements::default(),
            carried: Vec::new(),
            closed_by: None,
        }
    }

    /// Takes bytes that the driver has written.
    pub fn receive_from_app(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        self.app_in.extend(bytes);
        self.run();
    }

    /// Takes bytes that the server has sent.
    pub fn receive_from_server(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        self.server_in.extend(bytes);
        self.run();
    }

    /// Takes the news that the server has closed the connection.
    pub fn server_closed(&mut self) {
        let at_rest = matches!(self.state, State::Idle | State::Transparent | State::Closed)
            && self.server_in.is_empty();
        if let State::Responding(responding) = &self.state
            && responding.changes().schema
        {
            self.config.metadata_cache.clear();
        }
        if !at_rest {
            self.closed_by = Some(self.config.errors.record(SessionError::ConnectionCut));
        }
        self.state = State::Closed;
    }

    /// Whether the session still waits for the key of a request. One that it does not wait for any
    /// more may be given up.
    #[must_use]
    pub fn wants_key(&self, id: u64) -> bool {
        match &self.state {
            State::FetchingKeys(fetching) => fetching.waits_for(id),
            State::Responding(responding) => responding.waits_for(id),
            _ => self.key_requests.iter().any(|request| request.id == id),
        }
    }

    /// Takes a key, or the reason why there is none.
    pub fn provide_key(&mut self, id: u64, key: Result<Arc<CellKey>, CekError>, now: Instant) {
        self.now = now;
        match &mut self.state {
            State::FetchingKeys(fetching) if fetching.waits_for(id) => {
                self.key_for_request(id, key)
            }
            State::Responding(responding) if responding.waits_for(id) => {
                self.key_for_response(key);
            }
            // The request that needed it was cancelled.
            _ => {}
        }
        self.run();
    }

    /// The next bytes for the server. Once they are sent, there may be more: a long message is cut
    /// into packets as it goes.
    #[must_use]
    pub fn to_server(&self) -> &[u8] {
        self.to_server.as_slice()
    }

    /// How many bytes wait for the server, those that are not yet to be seen in [`Self::to_server`]
    /// among them. A driver that writes on while there are many is better kept waiting.
    #[must_use]
    pub fn to_server_len(&self) -> usize {
        self.to_server.len()
    }

    /// That many bytes have been sent to the server.
    pub fn sent_to_server(&mut self, len: usize) {
        self.to_server.consume(len);
    }

    /// The next bytes for the driver. Once they are taken, there may be more: a long value is
    /// decrypted as it goes.
    #[must_use]
    pub fn to_app(&self) -> &[u8] {
        self.to_app.as_slice()
    }

    /// That many bytes have been taken by the driver.
    pub fn taken_by_app(&mut self, len: usize) {
        self.to_app.consume(len);
    }

    /// The keys that the session needs and has not asked for yet.
    pub fn take_key_requests(&mut self) -> Vec<KeyRequest> {
        std::mem::take(&mut self.key_requests)
    }

    /// Whether all of LOGIN7 has been sent, so that TLS that is for the login only is over. Says so
    /// once, and not before [`Self::to_server`] is empty: LOGIN7 may be longer than what is to be
    /// seen there at a time.
    pub fn login_tls_ends(&mut self) -> bool {
        self.to_server.as_slice().is_empty() && std::mem::take(&mut self.login_tls_ends)
    }

    /// Whether the connection cannot go on. What [`Self::to_app`] holds is still to be delivered.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The number in the [`ErrorLog`] of the error that ended the connection, if one did.
    #[must_use]
    pub fn closed_by(&self) -> Option<u32> {
        self.closed_by
    }

    /// Works until more input is needed.
    fn run(&mut self) {
        while self.step_app() || self.step_server() {}
    }

    /// The next whole packet of the driver's.
    fn app_packet(&mut self) -> Option<PacketHeader> {
        match PacketHeader::parse(self.app_in.as_slice()) {
            Ok(header) => header.filter(|h| self.app_in.len() >= h.len),
            Err(error) => {
                self.close(SessionError::Request(error));
                None
            }
        }
    }

    /// Works off one packet of the driver's; `false` if there is none or it has to wait.
    fn step_app(&mut self) -> bool {
        if let State::Transparent = self.state {
            self.to_server.packets().extend(self.app_in.as_slice());
            self.app_in.clear();
            return false;
        }
        if let State::Closed = self.state {
            self.app_in.clear();
            return false;
        }
        let Some(header) = self.app_packet() else { return false };
        match self.state {
            State::Prelogin => self.answer_prelogin(header),
            State::Login(_) => self.login_packet(header),
            State::Idle | State::Uploading(_) => self.request_packet(header),
            State::Asking(_)
            | State::Waiting(_)
            | State::FetchingKeys(_)
            | State::Responding(_) => {
                if header.packet_type != PacketType::Attention {
                    // The next request waits for the end of this one.
                    return false;
                }
                self.attention(header);
            }
            State::Transparent | State::Closed => return false,
        }
        true
    }

    /// Works off one packet of the server's; `false` if there is none or it has to wait.
    fn step_server(&mut self) -> bool {
        match &self.state {
            State::Transparent => {
                self.to_app.packets().extend(self.server_in.as_slice());
                self.server_in.clear();
                return false;
            }
            State::Closed => {
                self.server_in.clear();
                return false;
            }
            // A reply to a request that is still on its way waits until all of it is.
            State::Waiting(_) | State::FetchingKeys(_) | State::Uploading(_) => return false,
            State::Responding(responding) if responding.is_waiting() => return false,
            _ => {}
        }
        let header = match PacketHeader::parse(self.server_in.as_slice()) {
            Ok(Some(header)) if self.server_in.len() >= header.len => header,
            Ok(_) => return false,
            Err(error) => {
                self.close(SessionError::ServerMalformed(error));
                return false;
            }
        };
        if header.packet_type != PacketType::TabularResult {
            self.close(SessionError::ServerMalformed(Malformed::of("packet type")));
            return false;
        }
        match &self.state {
            State::Login(_) => self.login_reply(header),
            State::Asking(_) => self.answer_packet(header),
            State::Responding(_) => self.response_packet(header),
            State::Prelogin => {
                self.close(SessionError::ServerMalformed(Malformed::of("message before PRELOGIN")));
                return false;
            }
            // Nobody asked; a server that shuts down says so unasked.
            _ => {
                self.state = State::Responding(Box::default());
                self.response_packet(header);
            }
        }
        true
    }

    /// The payload of the packet at the front of a buffer.
    fn payload(buffer: &WipedBuffer, header: PacketHeader) -> &[u8] {
        buffer.as_slice().get(HEADER_LEN..header.len).unwrap_or_default()
    }

    /// Asks for a key, without the values that are not trusted. Those come back, to be named if none
    /// of the others opens.
    fn request_key(
        &mut self,
        values: &[EncryptedCekValue],
        target: &str,
    ) -> Result<(u64, Vec<FailedCekValue>), SessionError> {
        let (trusted, refused) = self.config.trusted_key_paths.sort(values);
        if let (true, Some(first)) = (trusted.is_empty(), values.first()) {
            return Err(SessionError::UntrustedKeyPath {
                target: target.to_owned(),
                key_path: first.key_path.clone(),
                source: Box::new(self.config.trusted_key_paths.untrusted(first)),
            });
        }
        let id = self.next_key_request;
        self.next_key_request += 1;
        self.key_requests.push(KeyRequest { id, values: trusted });
        Ok((id, refused))
    }

    /// Ends a request that has not reached the server with an error of ours.
    fn refuse(&mut self, error: SessionError) {
        let tokens = self.record(error);
        self.end_request(tokens, done_status::ERROR);
    }

    /// Ends a request in the server's place.
    fn end_request(&mut self, tokens: Vec<u8>, status: u16) {
        let mut message = std::mem::take(&mut self.carried);
        message.extend_from_slice(&tokens);
        write_done(status, &mut message);
        self.push_to_app(message.into(), true);
        self.state = State::Idle;
    }

    /// Keeps an error and returns the token that tells the driver of it.
    fn record(&self, error: SessionError) -> Vec<u8> {
        self.record_as(error).1
    }

    fn record_as(&self, error: SessionError) -> (u32, Vec<u8>) {
        let line = self.config.errors.record(error.clone());
        (line, response::error_token(&error, line))
    }

    /// Ends the connection. The driver is told why as long as it listens.
    fn close(&mut self, error: SessionError) {
        let (line, mut tokens) = self.record_as(error);
        write_done(done_status::ERROR, &mut tokens);
        self.push_to_app(tokens.into(), true);
        self.closed_by = Some(line);
        self.state = State::Closed;
    }

    /// Follows the changes of the environment in an answer that is ours, and keeps them for the
    /// driver: its transaction descriptor depends on them. Says whether a transaction began or
    /// ended.
    fn follow_answer(&mut self, answer: &[u8]) -> bool {
        let mut transaction_changed = false;
        let mut tokens = ReplyTokens::new(answer);
        // Whoever reads the answer for what it says reports what is wrong with it.
        while let Ok(Some(token)) = tokens.next_token() {
            let ReplyToken::Other(token_id::ENVCHANGE, bytes) = token else { continue };
            if let Ok(change) = EnvChange::read(bytes) {
                transaction_changed |= matches!(change, EnvChange::Transaction { .. });
                self.follow(change);
                self.carried.extend_from_slice(bytes);
            }
        }
        transaction_changed
    }

    fn follow_transaction(&mut self, open: bool) {
        self.in_transaction = open;
        if !open && std::mem::take(&mut self.uncommitted_schema) {
            // What was described meanwhile may never have been.
            self.config.metadata_cache.clear();
        }
    }

    /// Whether what other connections see is what this one sees.
    fn shares_cache(&self) -> bool {
        !self.uncommitted_schema && !self.other_identity
    }

    /// A statement that may change on what descriptions rest has been answered.
    fn apply_changes(&mut self, changes: Changes) {
        self.other_identity |= changes.identity;
        self.short_answers |= changes.answers;
        if changes.schema {
            self.config.metadata_cache.clear();
            self.uncommitted_schema |= self.in_transaction;
        }
    }

    /// The reset bits that the next message to the server carries.
    fn take_reset(&mut self) -> u8 {
        std::mem::take(&mut self.pending_reset)
    }

    fn follow(&mut self, change: EnvChange) {
        match change {
            EnvChange::Database(name) => self.database = name,
            EnvChange::PacketSize(size) => self.packet_size = size,
            EnvChange::Collation(collation) => self.collation = collation,
            EnvChange::Transaction { open } => self.follow_transaction(open),
            EnvChange::Routing | EnvChange::Other => {}
        }
    }

    /// Hands a piece of a message on to the driver; `ends` ends the message.
    fn push_to_app(&mut self, payload: Payload, ends: bool) {
        let room = self.packet_size - HEADER_LEN;
        let packet_type = PacketType::TabularResult;
        self.to_app.push(Message { packet_type, first_status: 0, room, ends, payload });
    }

    /// Sends a whole message to the server; `first_status` are bits for its first packet.
    fn push_to_server(&mut self, packet_type: PacketType, first_status: u8, payload: Payload) {
        let room = self.packet_size - HEADER_LEN;
        self.to_server.push(Message { packet_type, first_status, room, ends: true, payload });
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Prelogin => "Prelogin",
            State::Login(_) => "Login",
            State::Idle => "Idle",
            State::Uploading(_) => "Uploading",
            State::Asking(_) => "Asking",
            State::Waiting(_) => "Waiting",
            State::FetchingKeys(_) => "FetchingKeys",
            State::Responding(_) => "Responding",
            State::Transparent => "Transparent",
            State::Closed => "Closed",
        };
        f.debug_struct("Session").field("state", &state).finish_non_exhaustive()
    }
}
