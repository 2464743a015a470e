//! Responses on their way to the driver, and the keys that they wait for.

use std::sync::Arc;

use super::{
    Session, SessionError, State,
    outputs::Outputs,
    prepared::Effect,
    repeat::Repeat,
    request::Retry,
    response::{Environment, Progress, Response},
    schema::Changes,
    upload::Held,
    work::Work,
};
use crate::{
    crypto::CellKey,
    keystore::CekError,
    metadata::DescribeKey,
    tds::{Malformed, PacketHeader, ReplyToken, ReplyTokens, done_status, token_id, write_done},
};

/// A request is with the server.
pub(super) struct Responding {
    response: Response,
    retry: Option<Retry>,
    /// The descriptions that the request rests on, to be forgotten if the server disagrees.
    rests_on: Vec<DescribeKey>,
    /// What may be out of date afterwards.
    changes: Changes,
    /// Whether one of them was known from before.
    from_cache: bool,
    repeat: Repeat,
    /// What its calls do to the handles of what is prepared.
    effects: Vec<Effect>,
    /// An attention is on its way to the server and not acknowledged.
    attention: bool,
    /// The key that the response waits for: request id, index in the CEK table, column.
    waiting: Option<(u64, usize, String)>,
    /// The packet being worked on ends the message.
    at_end: bool,
}

impl Default for Responding {
    fn default() -> Self {
        Self {
            response: Response::new(Vec::new()),
            retry: None,
            rests_on: Vec::new(),
            changes: Changes::default(),
            repeat: Repeat::Never,
            from_cache: false,
            effects: Vec::new(),
            attention: false,
            waiting: None,
            at_end: false,
        }
    }
}

impl Responding {
    /// To a request, with the outputs to expect of each of its calls.
    pub(super) fn of(work: &Work, outputs: Vec<Outputs>) -> Self {
        let (rests_on, from_cache) = work.rests_on();
        let effects = work.effects();
        let mut response = Response::new(outputs);
        response.expect_handles(&effects);
        if work.ciphertext {
            response.show_ciphertext();
        }
        let (changes, repeat) = (work.changes, work.repeat);
        Self { response, rests_on, changes, from_cache, repeat, effects, ..Self::default() }
    }

    /// To a batch.
    pub(super) fn to_batch(changes: Changes, ciphertext: bool) -> Self {
        let mut responding = Self { changes, ..Self::default() };
        if ciphertext {
            responding.response.show_ciphertext();
        }
        responding
    }

    /// What the request may change.
    pub(super) fn changes(&self) -> Changes {
        self.changes
    }

    /// Keeps the request, to send it again if what was known from before turns out to be out of
    /// date and nothing can have been done.
    pub(super) fn may_retry(&mut self, held: Held) {
        if self.wants_retry() {
            self.response.may_retry(self.repeat);
            self.retry = Some(Retry::new(held));
        }
    }

    /// Whether the request must be kept for that.
    pub(super) fn wants_retry(&self) -> bool {
        self.from_cache && self.repeat != Repeat::Never
    }

    /// A request that is given up while `begun` of its response has arrived.
    pub(super) fn cancelled(begun: &[u8]) -> Self {
        let mut responding = Self::default();
        responding.response.receive(begun);
        responding.response.cancel();
        responding.attention = true;
        responding
    }

    /// A request that we have called off ourselves: the driver gets `error_token` and nothing of
    /// what the server says to our attention.
    pub(super) fn called_off(error_token: &[u8]) -> Self {
        let mut responding = Self::default();
        responding.response.call_off(error_token);
        responding.attention = true;
        responding
    }

    /// Whether an attention of ours is on its way.
    pub(super) fn is_called_off(&self) -> bool {
        self.response.is_called_off()
    }

    /// The application cancels what we have called off: the one acknowledgement serves both.
    pub(super) fn hand_over_attention(&mut self) {
        self.response.cancel();
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn waits_for(&self, id: u64) -> bool {
        matches!(self.waiting, Some((waiting, ..)) if waiting == id)
    }

    /// An attention has been sent on.
    pub(super) fn attention(&mut self) {
        self.attention = true;
        // It will not be sent again: the application has given it up.
        self.retry = None;
        if self.waiting.take().is_some() {
            self.response.cancel();
        }
    }
}

impl Session {
    /// One packet of the response.
    pub(super) fn response_packet(&mut self, header: PacketHeader) {
        let State::Responding(responding) = &mut self.state else { return };
        responding.response.receive(Session::payload(&self.server_in, header));
        responding.at_end = header.status.ends_message();
        self.server_in.consume(header.len);
        self.continue_response();
    }

    /// The key that the response waits for, or the reason why there is none.
    pub(super) fn key_for_response(&mut self, key: Result<Arc<CellKey>, CekError>) {
        let State::Responding(responding) = &mut self.state else { return };
        let Some((_, cek, column)) = responding.waiting.take() else { return };
        match key {
            Ok(key) => responding.response.set_key(cek, key),
            Err(error) => {
                let values = responding.response.cek_values(cek);
                let (_, refused) = self.config.trusted_key_paths.sort(values);
                let source = error.and_refused(refused);
                let target = format!("column {column}");
                let tokens = self.record(SessionError::Key { target, source });
                if let State::Responding(responding) = &mut self.state {
                    responding.response.fail(&tokens);
                }
            }
        }
        self.continue_response();
    }

    /// Works off what has arrived of the response.
    pub(super) fn continue_response(&mut self) {
        loop {
            let State::Responding(responding) = &mut self.state else { return };
            if responding.waiting.is_some() {
                return;
            }
            match responding.response.process(responding.at_end) {
                Ok(Progress::Bytes) => {
                    self.deliver();
                    return;
                }
                // The rest is walked over; what becomes of it shows at its end.
                Ok(Progress::Stale) => {}
                // Nobody wants the rows any more, so nobody waits for a key to them.
                Ok(Progress::Key { .. }) if responding.attention => responding.response.cancel(),
                Ok(Progress::Key { cek, column }) => {
                    let values = responding.response.cek_values(cek).to_vec();
                    let target = format!("column {column}");
                    match self.request_key(&values, &target) {
                        Ok((id, _)) => {
                            if let State::Responding(responding) = &mut self.state {
                                responding.waiting = Some((id, cek, column));
                            }
                            return;
                        }
                        Err(error) => self.fail_response(error),
                    }
                }
                Err(error @ SessionError::ServerMalformed(_)) => {
                    self.deliver_outbox(false);
                    self.close(error);
                    return;
                }
                Err(error) => self.fail_response(error),
            }
        }
    }

    fn fail_response(&mut self, error: SessionError) {
        let tokens = self.record(error);
        if let State::Responding(responding) = &mut self.state {
            responding.response.fail(&tokens);
        }
    }

    /// Hands on what has been worked off; at the end of the message, ends it.
    fn deliver(&mut self) {
        let State::Responding(responding) = &mut self.state else { return };
        if !responding.at_end {
            // What may be said anew is not said before it is certain.
            if !responding.response.asks_for_retry() {
                self.deliver_outbox(false);
            }
            return;
        }
        if responding.response.has_rest() {
            self.deliver_outbox(false);
            self.close(SessionError::ServerMalformed(Malformed::of(
                "response: it ends in the middle of a token",
            )));
            return;
        }
        if responding.response.metadata_doubted() {
            for key in &responding.rests_on {
                self.config.metadata_cache.remove(key);
            }
        }
        responding.at_end = false;
        if responding.attention && !responding.response.attention_acknowledged() {
            // The response ended before the attention reached the server; its acknowledgement
            // comes in a message of its own. The driver gets one message of both: tiberius looks
            // for the acknowledgement in the message at hand and no further.
            if !responding.response.is_called_off() {
                self.deliver_outbox(false);
            }
            return;
        }
        if responding.response.asks_for_retry()
            && let Some(retry) = responding.retry.take()
        {
            let mut swallowed = std::mem::take(responding.response.outbox());
            let environment = responding.response.take_environment();
            self.follow_environment(environment);
            // No row is among what is said anew.
            self.carry_environment(swallowed.tail().as_slice());
            self.retry(retry);
            return;
        }
        let effects = std::mem::take(&mut responding.effects);
        let returned = responding.response.take_returned();
        self.prepared.answered(effects, returned);
        let changes = responding.changes;
        self.end_outbox();
        self.deliver_outbox(true);
        // A transaction may have begun in the same response.
        self.apply_changes(changes);
        self.state = State::Idle;
    }

    /// An error of ours gets its DONE once everything else has been passed on.
    fn end_outbox(&mut self) {
        let State::Responding(responding) = &mut self.state else { return };
        if responding.response.lacks_its_end() {
            let mut done = Vec::new();
            write_done(done_status::ERROR, &mut done);
            responding.response.outbox().tail().extend(&done);
        }
    }

    fn deliver_outbox(&mut self, end: bool) {
        let State::Responding(responding) = &mut self.state else { return };
        let environment = responding.response.take_environment();
        let mut outbox = std::mem::take(responding.response.outbox());
        if !self.carried.is_empty() && (end || !outbox.is_empty()) {
            outbox.prepend(std::mem::take(&mut self.carried));
        }
        self.push_to_app(outbox, end);
        // The new packet size holds from the next message on.
        self.follow_environment(environment);
    }

    fn follow_environment(&mut self, environment: Environment) {
        self.packet_size = environment.packet_size.unwrap_or(self.packet_size);
        self.collation = environment.collation.unwrap_or(self.collation);
        if let Some(open) = environment.transaction {
            self.follow_transaction(open);
        }
        if let Some(database) = environment.database {
            self.database = database;
        }
    }

    /// Keeps the changes of the environment of a response that the driver does not get.
    fn carry_environment(&mut self, swallowed: &[u8]) {
        let mut tokens = ReplyTokens::new(swallowed);
        while let Ok(Some(token)) = tokens.next_token() {
            if let ReplyToken::Other(token_id::ENVCHANGE, bytes) = token {
                self.carried.extend_from_slice(bytes);
            }
        }
    }
}
