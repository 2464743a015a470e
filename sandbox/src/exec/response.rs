//! The response of one request, as it is made: tokens in, chunks that end between tokens out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::error::SqlError;
use crate::tds::token::{
    self, DONE_ERROR, DONE_MORE, TOKEN_DONE, TOKEN_DONEINPROC, TOKEN_DONEPROC,
};

/// Rows are handed on in chunks of about this size.
const CHUNK: usize = 32 * 1024;

/// The client sent an attention or went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// Why a request ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(SqlError),
    Cancelled,
    /// RETURN, with the status of the procedure.
    Return(i32),
    /// BREAK and CONTINUE, to the loop around them.
    Break,
    Continue,
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Stop::Error(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Error(error.into())
    }
}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Self {
        Stop::Cancelled
    }
}

pub(crate) type Outcome<T> = std::result::Result<T, Stop>;

/// A DONE token that waits to know whether something follows it.
#[derive(Debug, Clone, Copy)]
struct PendingDone {
    token: u8,
    status: u16,
    command: u16,
    count: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Response {
    chunks: mpsc::Sender<Vec<u8>>,
    cancelled: Arc<AtomicBool>,
    buffer: Vec<u8>,
    pending: Option<PendingDone>,
    /// Inside a procedure, where statements end with DONEINPROC.
    in_procedure: bool,
    /// Nothing but errors is sent.
    muted: bool,
}

impl Response {
    pub(crate) fn new(chunks: mpsc::Sender<Vec<u8>>, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            chunks,
            cancelled,
            buffer: Vec::new(),
            pending: None,
            in_procedure: false,
            muted: false,
        }
    }

    pub(crate) fn set_in_procedure(&mut self, in_procedure: bool) {
        self.in_procedure = in_procedure;
    }

    /// Whether that is what EXEC in a batch does, and no procedure was running.
    pub(crate) fn enter_procedure(&mut self) -> bool {
        !std::mem::replace(&mut self.in_procedure, true)
    }

    /// Whether anything but errors is sent from now on; and whether it was.
    pub(crate) fn mute(&mut self, muted: bool) -> bool {
        std::mem::replace(&mut self.muted, muted)
    }

    pub(crate) fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Appends tokens.
    pub(crate) fn token(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.muted {
            return;
        }
        self.settle(DONE_MORE);
        write(&mut self.buffer);
    }

    /// Hands on what there is, if it is enough. To be called between tokens.
    pub(crate) fn flow(&mut self) -> std::result::Result<(), Cancelled> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(Cancelled);
        }
        if self.buffer.len() < CHUNK {
            return Ok(());
        }
        self.chunks.blocking_send(std::mem::take(&mut self.buffer)).map_err(|_| Cancelled)
    }

    fn settle(&mut self, more: u16) {
        if let Some(PendingDone { token, status, command, count }) = self.pending.take() {
            token::done(&mut self.buffer, token, status | more, command, count);
        }
    }

    /// The end of a statement.
    pub(crate) fn done(&mut self, command: u16, count: Option<u64>) {
        self.statement_end(0, command, count);
    }

    fn statement_end(&mut self, status: u16, command: u16, count: Option<u64>) {
        if self.muted {
            return;
        }
        self.settle(DONE_MORE);
        let token = if self.in_procedure { TOKEN_DONEINPROC } else { TOKEN_DONE };
        self.pending = Some(PendingDone { token, status, command, count });
    }

    /// An ERROR and the end of its statement.
    pub(crate) fn error(&mut self, error: &SqlError) {
        let muted = std::mem::take(&mut self.muted);
        self.token(|out| token::error(out, error));
        self.statement_end(DONE_ERROR, 0, None);
        self.muted = muted;
    }

    /// The end of a procedure: RETURNSTATUS, output values and DONEPROC.
    pub(crate) fn procedure_end(
        &mut self,
        status: Option<i32>,
        values: impl FnOnce(&mut Vec<u8>),
        failed: bool,
    ) {
        if self.muted {
            self.in_procedure = false;
            return;
        }
        self.settle(DONE_MORE);
        if let Some(status) = status {
            token::return_status(&mut self.buffer, status);
        }
        values(&mut self.buffer);
        let status = if failed { DONE_ERROR } else { 0 };
        self.pending = Some(PendingDone { token: TOKEN_DONEPROC, status, command: 0, count: None });
        self.in_procedure = false;
    }

    /// The end of the message.
    pub(crate) fn finish(mut self) {
        if self.pending.is_none() {
            self.statement_end(0, 0, None);
        }
        self.settle(0);
        // A client that has gone needs no answer.
        let _ = self.chunks.blocking_send(self.buffer);
    }
}
