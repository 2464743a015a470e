//! Requests with parameters: held back, described, and sent encrypted.

use std::{collections::HashMap, sync::Arc};

use super::{
    Session, SessionError, State,
    bulk::BulkTarget,
    respond::Responding,
    upload::Held,
    work::{CacheUse, Work},
};
use crate::{
    crypto::CellKey,
    keystore::{CekError, FailedCekValue},
    metadata::{Claim, DescribeKey, ObjectKind, ObjectName},
    tds::{ColMetadata, EncryptedCekValue, InsertBulk, PacketHeader, PacketType, done_status},
};

/// An answer to describe is some hundred bytes per parameter and a few kilobytes per key.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Waiting for the server's answer about a held request.
pub(super) struct Asking {
    pub(super) question: Question,
    pub(super) answer: Vec<u8>,
}

/// What the server has been asked.
pub(super) enum Question {
    /// What the columns are that the parameters of one of the calls go to.
    Objects { work: Box<Work>, call: usize, objects: Vec<(ObjectName, ObjectKind)> },
    /// How the parameters of one of the calls are encrypted.
    Parameters { work: Box<Work>, call: usize },
    /// How the columns of a bulk load are.
    Columns { held: Held, statement: InsertBulk },
}

/// Another connection asks about the same statement.
pub(super) struct Waiting {
    work: Box<Work>,
    call: usize,
}

/// Waiting for the keys of a held request.
pub(super) struct FetchingKeys {
    purpose: Purpose,
    pending: Vec<PendingKey>,
    keys: HashMap<KeyPlace, Arc<CellKey>>,
}

/// A key that has been asked for.
struct PendingKey {
    id: u64,
    place: KeyPlace,
    /// What needs it.
    target: String,
    /// Its values that are not trusted.
    refused: Vec<FailedCekValue>,
}

/// The call of a request, and the index of a key in its description.
pub(super) type KeyPlace = (usize, usize);

/// A key that a request needs: which, what needs it, and its encrypted values.
pub(super) type NeededKey = (KeyPlace, String, Vec<EncryptedCekValue>);

/// What the keys are for.
pub(super) enum Purpose {
    Parameters(Box<Work>),
    Bulk { held: Held, statement: InsertBulk, metadata: ColMetadata },
}

impl Waiting {
    /// The statement that is asked about.
    pub(super) fn key(&self) -> Option<&DescribeKey> {
        self.work.calls.get(self.call).map(|call| &call.key)
    }
}

impl FetchingKeys {
    pub(super) fn waits_for(&self, id: u64) -> bool {
        self.pending.iter().any(|pending| pending.id == id)
    }
}

/// What a response needs to know of its request, should it have to be sent again.
pub(super) struct Retry {
    held: Held,
}

impl Session {
    /// A whole RPC request.
    pub(super) fn begin_request(&mut self, held: Held) {
        self.prepare(held, false);
    }

    fn prepare(&mut self, held: Held, afresh: bool) {
        let setting = self.config.column_encryption;
        let cache = &self.config.metadata_cache;
        let cached = CacheUse {
            afresh,
            shared: self.shares_cache(),
            short_answers: self.short_answers,
            now: (cache.generation(), self.now),
            ttl: cache.ttl(),
        };
        match Work::read(held, &self.database, setting, &self.prepared, &cached) {
            Ok(work) => self.go_on(Box::new(work)),
            Err(error) => self.refuse(error),
        }
    }

    /// Finds out about the calls of which nothing is known. Once all are, the request goes on.
    pub(super) fn go_on(&mut self, mut work: Box<Work>) {
        while let Some(at) = work.next_open() {
            let Some(call) = work.calls.get_mut(at) else { break };
            if call.may_use_cache() && call.ticket.is_none() {
                match self.config.metadata_cache.claim(&call.key, self.now) {
                    Claim::Known(described) => {
                        call.describe_as(described, true);
                        continue;
                    }
                    Claim::Yours(ticket) => call.ticket = Some(ticket),
                    Claim::Busy => {
                        self.state = State::Waiting(Waiting { work, call: at });
                        return;
                    }
                }
            }
            self.ask(work, at);
            return;
        }
        self.begin_encryption(work);
    }

    /// The statement that the session waits for another connection to ask about, if it does: see
    /// [`MetadataCache::is_settled`](crate::metadata::MetadataCache::is_settled).
    #[must_use]
    pub fn awaited_description(&self) -> Option<&DescribeKey> {
        match &self.state {
            State::Waiting(waiting) => waiting.key(),
            _ => None,
        }
    }

    /// The other connection has its answer, or has taken too long. Then the session asks by itself.
    pub fn stop_waiting(&mut self, too_long: bool, now: std::time::Instant) {
        self.now = now;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Waiting(Waiting { work, call }) if too_long => self.ask(work, call),
            State::Waiting(Waiting { work, .. }) => self.go_on(work),
            other => self.state = other,
        }
        self.run();
    }

    /// The verdicts are there; keys may be missing.
    fn begin_encryption(&mut self, work: Box<Work>) {
        if let Err((at, error)) = work.check_verdicts() {
            // A lie must not be believed the next time either.
            if let Some(call) = work.calls.get(at) {
                self.config.metadata_cache.remove(&call.key);
            }
            self.refuse(error);
            return;
        }
        if work.is_untouched() {
            let responding = Responding::of(&work, Vec::new());
            self.forward(work.held, responding);
            return;
        }
        let needed = match work.needed_keys() {
            Ok(needed) => needed,
            Err(error) => {
                self.refuse(error);
                return;
            }
        };
        let needed = needed
            .into_iter()
            .map(|(call, cek, target)| {
                let described = work.calls.get(call).and_then(|c| c.described.as_ref());
                let entry = described.and_then(|d| d.description.ceks.get(cek));
                ((call, cek), target, entry.map(|e| e.values.clone()).unwrap_or_default())
            })
            .collect();
        self.fetch_keys(Purpose::Parameters(work), needed);
    }

    /// Asks for the keys of a request; sends it at once if it needs none.
    pub(super) fn fetch_keys(&mut self, purpose: Purpose, needed: Vec<NeededKey>) {
        let mut pending = Vec::new();
        for (place, target, values) in needed {
            match self.request_key(&values, &target) {
                Ok((id, refused)) => pending.push(PendingKey { id, place, target, refused }),
                Err(error) => {
                    self.key_requests.clear();
                    self.without_key(purpose, error);
                    return;
                }
            }
        }
        let fetching = FetchingKeys { purpose, pending, keys: HashMap::new() };
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
        let Some(at) = fetching.pending.iter().position(|pending| pending.id == id) else {
            self.state = State::FetchingKeys(fetching);
            return;
        };
        let PendingKey { place, target, refused, .. } = fetching.pending.swap_remove(at);
        match key {
            Err(error) => {
                let source = error.and_refused(refused);
                self.without_key(fetching.purpose, SessionError::Key { target, source });
            }
            Ok(key) => {
                fetching.keys.insert(place, key);
                if fetching.pending.is_empty() {
                    self.keys_complete(fetching);
                } else {
                    self.state = State::FetchingKeys(fetching);
                }
            }
        }
    }

    /// A key is not to be had. If that is the word of a description from before, a master key may have
    /// been rotated since, so the server is asked once more; SqlClient does the same. Nothing has been
    /// sent.
    fn without_key(&mut self, purpose: Purpose, error: SessionError) {
        match purpose {
            Purpose::Parameters(work) if work.rests_on().1 => {
                for key in work.rests_on().0 {
                    self.config.metadata_cache.remove(&key);
                }
                self.prepare(work.held, true);
            }
            _ => self.refuse(error),
        }
    }

    fn keys_complete(&mut self, fetching: FetchingKeys) {
        let FetchingKeys { purpose, keys, .. } = fetching;
        match purpose {
            Purpose::Parameters(work) => self.send_encrypted(*work, &keys),
            Purpose::Bulk { held, statement, metadata } => {
                let keys =
                    (0..metadata.ceks.len()).map(|cek| keys.get(&(0, cek)).cloned()).collect();
                self.announce_bulk(held, &statement, BulkTarget { metadata, keys });
            }
        }
    }

    /// Everything is there: encrypts and sends.
    fn send_encrypted(&mut self, work: Work, keys: &HashMap<KeyPlace, Arc<CellKey>>) {
        match work.encrypt(keys, self.collation) {
            Err(error) => self.refuse(error),
            Ok((message, outputs)) => {
                let reset = self.take_reset();
                let mut responding = Responding::of(&work, outputs);
                // Unless it may be needed again, the plaintext is wiped.
                responding.may_retry(work.held);
                self.push_to_server(PacketType::Rpc, reset, message.into());
                self.state = State::Responding(Box::new(responding));
            }
        }
    }

    /// What was known was out of date and nothing was executed: once more, from the beginning, and
    /// nothing from the cache, whatever another connection has put there meanwhile. What is
    /// described afresh is not tried a third time.
    pub(super) fn retry(&mut self, retry: Retry) {
        self.state = State::Idle;
        self.prepare(retry.held, true);
    }

    /// One packet of the answer to a question of ours.
    pub(super) fn answer_packet(&mut self, header: PacketHeader) {
        let State::Asking(asking) = &mut self.state else { return };
        let payload = Self::payload(&self.server_in, header);
        if asking.answer.len() + payload.len() > MAX_ANSWER {
            self.close(SessionError::DescribeTooLong { limit: MAX_ANSWER });
            return;
        }
        asking.answer.extend_from_slice(payload);
        self.server_in.consume(header.len);
        if !header.status.ends_message() {
            return;
        }
        let State::Asking(asking) = std::mem::replace(&mut self.state, State::Idle) else { return };
        let Asking { question, answer } = asking;
        let transaction_changed = self.follow_answer(&answer);
        match question {
            Question::Objects { work, call, objects } => {
                self.objects_known(work, call, &objects, &answer, transaction_changed);
            }
            Question::Parameters { work, call } => {
                self.parameters_known(work, call, &answer, transaction_changed);
            }
            Question::Columns { held, statement } => self.columns_known(held, statement, &answer),
        }
    }

    /// The server refuses a request before it has seen it.
    pub(super) fn refused_by_server(&mut self, tokens: Vec<u8>) {
        self.end_request(tokens, done_status::ERROR);
    }
}

impl Retry {
    pub(super) fn new(held: Held) -> Self {
        Self { held }
    }
}
