//! Rewriting a response: CEK tables vanish, encrypted columns take on the type of their plaintext,
//! cells are decrypted row by row.
//!
//! A response is worked on in units of the server's packets, so that the output depends on what
//! arrived and never on how it was cut on its way. Memory is bounded by one row and one packet.

mod columns;
mod long_row;
mod plain;
mod result_set;
mod return_value;
mod rows;
mod shown;
mod totals;
mod transcode;

use std::{collections::VecDeque, sync::Arc};

use self::{columns::Columns, long_row::LongRow, rows::Rows, shown::Shown, totals::Totals};
use super::{
    SessionError,
    outputs::Outputs,
    payload::Payload,
    prepared::{Effect, Returned},
    repeat::Repeat,
    scratch::Scratch,
};
use crate::{
    crypto::CellKey,
    keystore::EncryptedCekValue,
    tds::{Malformed, RowScanner, TokenLen, WipedBuffer, token_id, token_len},
};

/// No token but a row is longer than this in an honest response. A CEK table with 65,535 keys would
/// be, and nobody has one.
const MAX_TOKEN: usize = 16 * 1024 * 1024;

/// What the response needs before it can go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More bytes from the server.
    Bytes,
    /// The key at that index of the current CEK table, for that column.
    Key { cek: usize, column: String },
    /// Nothing of it has been passed on, and the server says that its metadata has changed
    /// (error 33514).
    Stale,
}

/// A change that concerns the whole connection.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) database: Option<String>,
    pub(super) packet_size: Option<usize>,
    pub(super) collation: Option<[u8; 5]>,
    /// Whether a transaction is open now.
    pub(super) transaction: Option<bool>,
}

/// A response on its way through.
pub(super) struct Response {
    /// The payload that has arrived and is not worked off.
    inbox: WipedBuffer,
    /// The payload for the application.
    outbox: Payload,
    columns: Columns,
    totals: Totals,
    scanner: RowScanner,
    rows: Rows,
    /// A row that is walked value by value.
    long_row: Option<LongRow>,
    /// For values that are not their own normal form.
    scratch: Scratch,
    /// Of each call that is still to come.
    outputs: VecDeque<Outputs>,
    /// Values that may be the handles of what the request prepares.
    returned: Returned,
    /// Whether cells are shown as they are stored.
    ciphertext: bool,
    environment: Environment,
    /// Whether anything has been passed on, after which a request is not tried again.
    started: bool,
    /// How long the inbox must be before half a token is looked at again.
    look_again_at: usize,
    /// What may lead to a second try.
    may_retry: Repeat,
    /// Whether the rest is only walked to its end: after a failure, or for a cancelled request.
    discarding: Discard,
    /// Whether the last DONE answers an attention.
    attention_acknowledged: bool,
    /// The server said that a parameter's encryption is not what we took it for.
    metadata_doubted: bool,
}

/// What becomes of tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Discard {
    Nothing,
    /// An error of ours has been written in their place.
    AfterError,
    /// They belong to a request that the application has cancelled.
    Cancelled,
    /// They belong to a request that will be sent again.
    Retry,
    /// They belong to a request that we have called off, and the error is written already.
    CalledOff,
}

impl Response {
    pub(super) fn new(outputs: Vec<Outputs>) -> Self {
        Self {
            inbox: WipedBuffer::default(),
            outbox: Payload::default(),
            columns: Columns::default(),
            totals: Totals::default(),
            scanner: RowScanner::default(),
            rows: Rows::default(),
            long_row: None,
            scratch: Scratch::default(),
            outputs: outputs.into(),
            returned: Returned::default(),
            ciphertext: false,
            environment: Environment::default(),
            started: false,
            look_again_at: 0,
            may_retry: Repeat::Never,
            discarding: Discard::Nothing,
            attention_acknowledged: false,
            metadata_doubted: false,
        }
    }

    /// A request may be sent again if it turns out to rest on what is out of date.
    pub(super) fn may_retry(&mut self, repeat: Repeat) {
        self.may_retry = repeat;
    }

    /// Something was done after all: what has happened is passed on.
    fn give_up_retry(&mut self) {
        if self.discarding == Discard::Retry {
            self.discarding = Discard::Nothing;
            self.started = true;
        }
    }

    /// Looks out for the handles of what the request prepares.
    pub(super) fn expect_handles(&mut self, effects: &[Effect]) {
        self.returned = Returned::to(effects);
    }

    pub(super) fn take_returned(&mut self) -> Returned {
        std::mem::take(&mut self.returned)
    }

    /// Shows cells as they are stored.
    pub(super) fn show_ciphertext(&mut self) {
        self.ciphertext = true;
    }

    /// Takes the payload of one packet of the server's.
    pub(super) fn receive(&mut self, payload: &[u8]) {
        self.inbox.extend(payload);
    }

    /// The payload for the application so far.
    pub(super) fn outbox(&mut self) -> &mut Payload {
        &mut self.outbox
    }

    /// Changes of the environment since the last call.
    pub(super) fn take_environment(&mut self) -> Environment {
        std::mem::take(&mut self.environment)
    }

    /// Whether a token is only half there.
    pub(super) fn has_rest(&self) -> bool {
        !self.inbox.is_empty() || self.long_row.is_some()
    }

    pub(super) fn attention_acknowledged(&self) -> bool {
        self.attention_acknowledged
    }

    pub(super) fn metadata_doubted(&self) -> bool {
        self.metadata_doubted
    }

    /// The encrypted values of a key of the current result set.
    pub(super) fn cek_values(&self, cek: usize) -> &[EncryptedCekValue] {
        self.columns.cek_values(cek)
    }

    /// Gives the response the key that it asked for.
    pub(super) fn set_key(&mut self, cek: usize, key: Arc<CellKey>) {
        self.columns.set_key(cek, key);
    }

    /// Walks to the end without passing on what the application has cancelled. What has been worked
    /// off is delivered: there may be changes of the environment in it.
    pub(super) fn cancel(&mut self) {
        self.discarding = Discard::Cancelled;
    }

    /// Whether the rest is walked over because the request is to be sent again, and may be: nothing
    /// but errors has come of it.
    pub(super) fn asks_for_retry(&self) -> bool {
        self.discarding == Discard::Retry
    }

    /// Whether an error of ours stands where the end of the response belongs.
    pub(super) fn lacks_its_end(&self) -> bool {
        matches!(self.discarding, Discard::AfterError | Discard::CalledOff)
            && !self.attention_acknowledged
            || self.discarding == Discard::CalledOff
    }

    /// Walks to the end without passing anything on but an error of ours: we have cancelled.
    pub(super) fn call_off(&mut self, error_token: &[u8]) {
        self.fail(error_token);
        self.discarding = Discard::CalledOff;
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.discarding == Discard::CalledOff
    }

    /// Puts an error of ours in place of the rest. Its DONE comes at the end of the message.
    pub(super) fn fail(&mut self, error_token: &[u8]) {
        self.outbox.tail().extend(error_token);
        self.started = true;
        self.discarding = Discard::AfterError;
    }

    /// Works off what has arrived, as far as possible. `at_end` says that no more will come.
    pub(super) fn process(&mut self, at_end: bool) -> Result<Progress, SessionError> {
        loop {
            if self.long_row.is_some() {
                match self.long_row()? {
                    RowProgress::Done => {}
                    RowProgress::Bytes => break,
                    RowProgress::Key(progress) => return Ok(progress),
                }
            }
            let Some(&token) = self.inbox.as_slice().first() else { break };
            // Half a structure is read from its beginning each time, so not at every packet.
            if self.inbox.len() < self.look_again_at && !at_end {
                break;
            }
            if matches!(
                token,
                token_id::COLMETADATA
                    | token_id::ALTMETADATA
                    | token_id::ROW
                    | token_id::NBCROW
                    | token_id::ALTROW
                    | token_id::RETURNVALUE
            ) {
                self.give_up_retry();
            }
            let found = token_len(self.inbox.as_slice()).map_err(SessionError::ServerMalformed)?;
            match found {
                TokenLen::Incomplete => break,
                TokenLen::Known(len) if len > MAX_TOKEN => return Err(too_long()),
                TokenLen::Known(len) => {
                    if self.inbox.len() < len {
                        break;
                    }
                    if self.plain_token(token, len)? {
                        return Ok(Progress::Stale);
                    }
                }
                TokenLen::Structured => {
                    let progress = match token {
                        token_id::COLMETADATA => self.col_metadata()?,
                        token_id::ALTMETADATA => self.alt_metadata()?,
                        token_id::ALTROW => self.alt_row()?,
                        token_id::RETURNVALUE => self.return_value()?,
                        token_id::ROW | token_id::NBCROW => match self.rows()? {
                            RowProgress::Done => true,
                            RowProgress::Bytes => false,
                            RowProgress::Key(progress) => return Ok(progress),
                        },
                        _ => return Err(malformed("FEATUREEXTACK outside of a login")),
                    };
                    if !progress {
                        // The scanner remembers how far it has come in a row.
                        if !matches!(token, token_id::ROW | token_id::NBCROW | token_id::ALTROW) {
                            self.look_again_at = 2 * self.inbox.len();
                        }
                        break;
                    }
                    self.look_again_at = 0;
                }
            }
        }
        Ok(Progress::Bytes)
    }
}

enum RowProgress {
    Done,
    Bytes,
    Key(Progress),
}

fn malformed(what: &'static str) -> SessionError {
    SessionError::ServerMalformed(Malformed::of(what))
}

fn too_long() -> SessionError {
    malformed("token: longer than any honest one")
}

/// The token that tells the driver of an error of ours. A DONE must follow it.
pub(super) fn error_token(error: &SessionError, line: u32) -> Vec<u8> {
    let mut out = Vec::new();
    crate::tds::write_error(
        error.number(),
        &error.to_string(),
        SessionError::SERVER_NAME,
        line,
        &mut out,
    );
    out
}
