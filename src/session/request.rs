//! Requests with parameters: held back, described, and sent encrypted.

use std::{collections::HashMap, sync::Arc};

use super::{
    Session, SessionError, State,
    bulk::BulkTarget,
    encrypt, hint,
    outputs::{Output, Outputs},
    respond::Responding,
    statement::Statement,
    upload::Held,
};
use crate::{
    crypto::CellKey,
    keystore::CekError,
    metadata::{DescribeAnswer, DescribeKey, Description},
    tds::{
        ColMetadata, EncryptedCekValue, InsertBulk, Malformed, PacketHeader, PacketType, RpcFault,
        RpcRequest, done_status, push_message,
    },
};

/// An answer to describe is some hundred bytes per parameter and a few kilobytes per key.
const MAX_DESCRIBE: usize = 16 * 1024 * 1024;

/// Waiting for the server's answer about a held request.
pub(super) struct Asking {
    pub(super) held: Held,
    pub(super) question: Question,
    pub(super) answer: Vec<u8>,
}

/// What the server has been asked.
pub(super) enum Question {
    /// How these parameters are encrypted.
    Parameters { key: DescribeKey, names: Vec<String> },
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
pub(super) enum Purpose {
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
    key: DescribeKey,
}

impl Session {
    /// A whole RPC request.
    pub(super) fn begin_request(&mut self, held: Held) {
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
        let question = Question::Parameters { key, names };
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
            Question::Parameters { key, names } => {
                self.parameters_known(held, key, &names, &answer);
            }
            Question::Columns(statement) => self.columns_known(held, statement, &answer),
        }
    }

    fn parameters_known(&mut self, held: Held, key: DescribeKey, names: &[String], answer: &[u8]) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match DescribeAnswer::read(answer, &names) {
            Ok(DescribeAnswer::Described(description)) => {
                let description = Arc::new(description);
                self.config.describe_cache.insert(key.clone(), description.clone(), self.now);
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
        if hint::is_possible(&key.statement)
            && let Err(error) = check_forced(&held.payload(), &description)
        {
            // A lie must not be believed the next time either.
            self.config.describe_cache.remove(&key);
            self.refuse(error);
            return;
        }
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
    pub(super) fn fetch_keys(
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
                encrypt::encrypt_request(&request, &statement, description, keys, self.collation)
                    .map(|message| (message, outputs(&request, &statement, description, keys)))
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

    /// The description was out of date and nothing was executed: once more, from the beginning.
    pub(super) fn retry(&mut self, retry: Retry) {
        let Retry { held, key } = retry;
        self.config.describe_cache.remove(&key);
        self.state = State::Idle;
        let payload = held.payload();
        // Not from the cache, whatever another connection has put there meanwhile: what is described
        // afresh is not tried a third time.
        match read_statement(&payload) {
            Ok(Some((_, statement))) => self.describe(held, key, &statement, &payload),
            Ok(None) => self.forward(held, None),
            Err(error) => self.refuse(error),
        }
    }

    /// The server refuses a request before it has seen it.
    pub(super) fn refused_by_server(&mut self, tokens: Vec<u8>) {
        self.end_request(tokens, done_status::ERROR);
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

/// Every parameter that the statement forces must be one that the server says is encrypted.
fn check_forced(payload: &[u8], description: &Description) -> Result<(), SessionError> {
    let Some((_, statement)) = read_statement(payload)? else { return Ok(()) };
    for name in hint::forced_parameters(&statement.text)? {
        let declared = statement.parameters.iter().position(|p| p.name == name);
        let encrypted =
            declared.is_some_and(|at| description.parameters.get(at).is_some_and(Option::is_some));
        if !encrypted {
            return Err(SessionError::PlainParameter { name: name.to_owned() });
        }
    }
    Ok(())
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
