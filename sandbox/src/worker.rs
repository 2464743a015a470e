//! The thread on which a session runs. SQLite blocks, and trees of statements are walked recursively, so each
//! session has a thread with a large stack of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::error::SqlError;
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::{Connected, Session};
use crate::server::Shared;
use crate::tds::cursor::Malformed;
use crate::tds::packet::{
    BULK_LOAD, Message, RESETCONNECTION, RESETCONNECTIONSKIPTRAN, RPC, SQL_BATCH,
    TRANSACTION_MANAGER,
};
use crate::tds::{request, rpc, token};

/// A request and where its answer goes.
pub(crate) struct Job {
    pub(crate) message: Message,
    pub(crate) chunks: mpsc::Sender<Vec<u8>>,
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// Address space, not memory: pages come as they are used.
const STACK: usize = 128 * 1024 * 1024;

/// Dropping it ends the thread after the request at hand.
pub(crate) struct Worker {
    jobs: std_mpsc::Sender<Job>,
    /// Of the request at hand.
    cancelled: Arc<AtomicBool>,
}

impl Worker {
    pub(crate) fn spawn(shared: &Arc<Shared>, spid: u16, connected: Connected) -> io::Result<Self> {
        let session = Session::new(
            Arc::clone(&shared.database),
            spid,
            connected,
            Arc::clone(&shared.counters),
        )
        .map_err(io::Error::other)?;
        let (jobs, incoming) = std_mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(format!("sandbox-session-{spid}"))
            .stack_size(STACK)
            .spawn(move || serve(session, &incoming))?;
        Ok(Self { jobs, cancelled: Arc::default() })
    }

    pub(crate) fn start(&mut self, job: Job) -> io::Result<()> {
        self.cancelled = Arc::clone(&job.cancelled);
        self.jobs.send(job).map_err(|_| io::Error::other("the session's thread has ended"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }
}

/// Instructions of SQLite's between two looks at whether the client still waits.
const LOOK: i32 = 10_000;

fn serve(mut session: Session, jobs: &std_mpsc::Receiver<Job>) {
    while let Ok(Job { message, chunks, cancelled }) = jobs.recv() {
        let seen = Arc::clone(&cancelled);
        let watching =
            session.connection.progress_handler(LOOK, Some(move || seen.load(Ordering::SeqCst)));
        let mut response = Response::new(chunks, Arc::clone(&cancelled));
        let outcome = match watching {
            Ok(()) => run(&mut session, &message, &mut response),
            Err(error) => Err(error.into()),
        };
        // An interrupted statement fails like any other; the attention is what the client is told of.
        if cancelled.load(Ordering::SeqCst) {
            continue;
        }
        match outcome {
            Ok(()) => {}
            Err(Stop::Error(error)) => response.error(&error),
            Err(Stop::Return(_) | Stop::Break | Stop::Continue) => {}
            Err(Stop::Cancelled) => continue,
        }
        response.finish();
    }
}

fn run(session: &mut Session, message: &Message, response: &mut Response) -> Outcome<()> {
    if message.status & (RESETCONNECTION | RESETCONNECTIONSKIPTRAN) != 0 {
        session.reset(message.status & RESETCONNECTIONSKIPTRAN != 0, response)?;
        response.token(|out| token::env_bytes(out, token::ENV_RESETCONNECTION_ACK, &[], &[]));
    }
    let pending_load = session.bulk.take();
    match message.kind {
        BULK_LOAD => session.bulk_load(pending_load, &message.payload, response),
        SQL_BATCH => {
            session.counters.batch();
            let sql = request::read_batch(&message.payload).map_err(malformed)?;
            session.run_batch(&sql, response).map(drop)
        }
        RPC => {
            let calls = rpc::read_calls(&message.payload).map_err(malformed)?;
            for call in &calls {
                session.call(call, response)?;
            }
            Ok(())
        }
        TRANSACTION_MANAGER => {
            let request = request::read_transaction(&message.payload).map_err(malformed)?;
            session.transaction_request(request, response)
        }
        other => Err(SqlError::unsupported(format!("messages of type {other:#04x}")).into()),
    }
}

fn malformed(error: Malformed) -> Stop {
    Stop::Error(SqlError::rpc_stream(error))
}
