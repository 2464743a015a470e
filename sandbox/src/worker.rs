//! The thread on which a session runs. SQLite blocks, and trees of statements are walked recursively, so each
//! session has a thread with a large stack of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;

use rusqlite::InterruptHandle;
use tokio::sync::mpsc;

use crate::error::SqlError;
use crate::exec::parameters::Parameters;
use crate::exec::response::{Outcome, Response, Stop};
use crate::exec::session::Session;
use crate::server::Shared;
use crate::tds::cursor::Malformed;
use crate::tds::packet::{
    Message, RESETCONNECTION, RESETCONNECTIONSKIPTRAN, RPC, SQL_BATCH, TRANSACTION_MANAGER,
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
    interrupt: InterruptHandle,
}

impl Worker {
    pub(crate) fn spawn(
        shared: &Arc<Shared>,
        spid: u16,
        user: &str,
        column_encryption: bool,
    ) -> io::Result<Self> {
        let session = Session::new(
            Arc::clone(&shared.database),
            spid,
            user,
            column_encryption,
            Arc::clone(&shared.counters),
        )
        .map_err(io::Error::other)?;
        let interrupt = session.connection.get_interrupt_handle();
        let (jobs, incoming) = std_mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(format!("sandbox-session-{spid}"))
            .stack_size(STACK)
            .spawn(move || serve(session, &incoming))?;
        Ok(Self { jobs, interrupt })
    }

    pub(crate) fn start(&self, job: Job) -> io::Result<()> {
        self.jobs
            .send(job)
            .map_err(|_| io::Error::other("the session's thread has ended"))
    }

    /// Stops the statement that is running.
    pub(crate) fn interrupt(&self) {
        self.interrupt.interrupt();
    }
}

fn serve(mut session: Session, jobs: &std_mpsc::Receiver<Job>) {
    while let Ok(Job {
        message,
        chunks,
        cancelled,
    }) = jobs.recv()
    {
        let mut response = Response::new(chunks, Arc::clone(&cancelled));
        let outcome = run(&mut session, &message, &mut response);
        // An interrupted statement fails like any other; the attention is what the client is told of.
        if cancelled.load(Ordering::SeqCst) {
            continue;
        }
        match outcome {
            Ok(()) => {}
            Err(Stop::Error(error)) => response.error(&error),
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
    match message.kind {
        SQL_BATCH => {
            session.counters.batch();
            let sql = request::read_batch(&message.payload).map_err(malformed)?;
            session.run(&sql, Parameters::default(), response).map(drop)
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
