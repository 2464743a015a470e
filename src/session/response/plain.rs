//! Tokens in which nothing is encrypted: looked at for what they say of the connection and of the
//! request.

use super::{Discard, Repeat, Response, SessionError};
use crate::tds::{Done, EnvChange, ServerError, done_status, token_id};

impl Response {
    /// A token that passes as it is, once it has been looked at. `true` is a stale description.
    pub(super) fn plain_token(&mut self, token: u8, len: usize) -> Result<bool, SessionError> {
        let bytes = self.inbox.as_slice().get(..len).unwrap_or_default();
        match token {
            token_id::ENVCHANGE => {
                match EnvChange::read(bytes).map_err(SessionError::ServerMalformed)? {
                    EnvChange::Database(name) => self.environment.database = Some(name),
                    EnvChange::PacketSize(size) => self.environment.packet_size = Some(size),
                    EnvChange::Collation(c) => self.environment.collation = Some(c),
                    EnvChange::Transaction { open } => {
                        self.environment.transaction = Some(open);
                        self.give_up_retry();
                    }
                    EnvChange::Routing | EnvChange::Other => {}
                }
            }
            token_id::ERROR => {
                const OPERAND_TYPE_CLASH: u32 = 206;
                const STALE_METADATA: u32 = 33514;
                let error = ServerError::read(bytes).map_err(SessionError::ServerMalformed)?;
                let untouched = self.discarding == Discard::Nothing && !self.started;
                let stale = match self.may_retry {
                    Repeat::Never => false,
                    Repeat::Stale => error.number == STALE_METADATA,
                    Repeat::Clash => matches!(error.number, OPERAND_TYPE_CLASH | STALE_METADATA),
                };
                // What a procedure's body or a trigger says, it says after it has begun.
                if stale && untouched && error.procedure.is_empty() {
                    self.discarding = Discard::Retry;
                    // It stays where it is and is walked over next.
                    return Ok(true);
                }
                self.metadata_doubted |=
                    matches!(error.number, OPERAND_TYPE_CLASH | STALE_METADATA);
            }
            token_id::DONE | token_id::DONEPROC | token_id::DONEINPROC => {
                let done = Done::read(bytes).map_err(SessionError::ServerMalformed)?;
                self.attention_acknowledged = done.acknowledges_attention();
                if done.status & done_status::COUNT != 0 {
                    self.give_up_retry();
                }
                if token == token_id::DONEPROC {
                    self.returned.call_ended();
                    if self.outputs.len() > 1 {
                        self.outputs.pop_front();
                    }
                }
            }
            _ => {}
        }
        let passes = match self.discarding {
            Discard::Nothing => true,
            // The application waits for this one whatever else happened.
            Discard::AfterError | Discard::Cancelled => self.attention_acknowledged,
            // Kept until the end: if the request cannot be sent again, they are what happened.
            Discard::Retry => true,
            Discard::CalledOff => false,
        };
        // Changes of the environment must reach the driver even then: its transaction descriptor
        // and packet size depend on them.
        let passes = passes || token == token_id::ENVCHANGE;
        if passes {
            self.outbox.tail().extend(self.inbox.as_slice().get(..len).unwrap_or_default());
            self.started |= self.discarding != Discard::Retry;
        }
        self.inbox.consume(len);
        Ok(false)
    }
}
