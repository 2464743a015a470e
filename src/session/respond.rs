//! Responses on their way to the driver, and the keys that they wait for.

use std::sync::Arc;

use super::{
    Session, SessionError, State,
    outputs::Outputs,
    request::Retry,
    response::{Progress, Response},
};
use crate::{
    crypto::CellKey,
    keystore::CekError,
    metadata::DescribeKey,
    tds::{Malformed, PacketHeader},
};

/// A request is with the server.
pub(super) struct Responding {
    response: Response,
    retry: Option<Retry>,
    /// The response turned out to ask for a second try.
    stale: bool,
    /// The description that the request rests on, to be forgotten if the server disagrees.
    rests_on: Option<DescribeKey>,
    /// An attention is on its way to the server and not acknowledged.
    attention: bool,
    /// The key that the response waits for: request id, index in the CEK table, column.
    waiting: Option<(u64, usize, String)>,
    /// The packet being worked on ends the message.
    at_end: bool,
}

impl Default for Responding {
    fn default() -> Self {
        Self::new(Outputs::default(), None, None)
    }
}

impl Responding {
    pub(super) fn new(
        outputs: Outputs,
        retry: Option<Retry>,
        rests_on: Option<DescribeKey>,
    ) -> Self {
        Self {
            response: Response::new(outputs, retry.is_some()),
            retry,
            stale: false,
            rests_on,
            attention: false,
            waiting: None,
            at_end: false,
        }
    }

    /// A request that is given up while `begun` of its response has arrived.
    pub(super) fn cancelled(begun: &[u8]) -> Self {
        let mut responding = Self::default();
        responding.response.receive(begun);
        responding.response.cancel();
        responding.attention = true;
        responding
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
        if self.waiting.take().is_some() || self.stale {
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
            Err(source) => {
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
            match responding.response.process() {
                Ok(Progress::Bytes) => {
                    self.deliver();
                    return;
                }
                Ok(Progress::Stale) => responding.stale = true,
                Ok(Progress::Key { cek, column }) => {
                    let values = responding.response.cek_values(cek).to_vec();
                    let target = format!("column {column}");
                    match self.request_key(&values, &target) {
                        Ok(id) => {
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
            self.deliver_outbox(false);
            return;
        }
        if responding.response.has_rest() {
            self.deliver_outbox(false);
            self.close(SessionError::ServerMalformed(Malformed::of(
                "response: it ends in the middle of a token",
            )));
            return;
        }
        if responding.response.metadata_doubted()
            && let Some(key) = &responding.rests_on
        {
            self.config.describe_cache.remove(key);
        }
        let columns = responding.response.encrypted_columns().map(str::to_owned);
        let columns: Vec<String> = columns.collect();
        if responding.response.had_metadata() {
            self.encrypted_columns = columns;
        }
        responding.at_end = false;
        if responding.attention && !responding.response.attention_acknowledged() {
            // The response ended before the attention reached the server; its acknowledgement
            // comes in a message of its own.
            let pending = !responding.response.outbox().is_empty();
            self.deliver_outbox(pending);
            return;
        }
        if responding.stale
            && let Some(retry) = responding.retry.take()
        {
            self.retry(retry);
            return;
        }
        self.deliver_outbox(true);
        self.state = State::Idle;
    }

    fn deliver_outbox(&mut self, end: bool) {
        let State::Responding(responding) = &mut self.state else { return };
        let environment = responding.response.take_environment();
        let outbox = std::mem::take(responding.response.outbox());
        self.push_to_app(outbox.as_slice(), end);
        // The new packet size holds from the next message on.
        self.packet_size = environment.packet_size.unwrap_or(self.packet_size);
        self.collation = environment.collation.unwrap_or(self.collation);
        if let Some(database) = environment.database {
            self.database = database;
        }
    }
}
