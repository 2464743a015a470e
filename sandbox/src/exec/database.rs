//! The SQLite database behind all sessions of a sandbox: in memory or in a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::catalogue::store;
use crate::error::Result;
use crate::exec::functions::{self, SharedIdentities};
use crate::exec::lock::WriteLock;

/// Where sessions find the database.
#[derive(Debug)]
pub(crate) struct Database {
    place: Place,
    pub(crate) write_lock: WriteLock,
    /// An in-memory database lives as long as someone is connected to it.
    _anchor: std::sync::Mutex<Connection>,
}

#[derive(Debug)]
enum Place {
    /// Name of a database of SQLite's memdb VFS, which connections of one process share.
    Memory(String),
    File(PathBuf),
}

/// For commits that wait until the readers of an in-memory database are done.
const BUSY: Duration = Duration::from_secs(20);

static NEXT_MEMORY: AtomicU64 = AtomicU64::new(1);

impl Database {
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Arc<Self>> {
        let place = match file {
            Some(path) => Place::File(path),
            None => {
                let number = NEXT_MEMORY.fetch_add(1, Ordering::Relaxed);
                Place::Memory(format!("file:/sandbox-{}-{number}?vfs=memdb", std::process::id()))
            }
        };
        let anchor = connect(&place, SharedIdentities::default())?;
        store::initialise(&anchor)?;
        Ok(Arc::new(Self {
            place,
            write_lock: WriteLock::default(),
            _anchor: std::sync::Mutex::new(anchor),
        }))
    }

    pub(crate) fn connect(&self, identities: SharedIdentities) -> Result<Connection> {
        connect(&self.place, identities)
    }
}

fn connect(place: &Place, identities: SharedIdentities) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = match place {
        Place::Memory(name) => Connection::open_with_flags(name, flags)?,
        Place::File(path) => {
            let connection =
                Connection::open_with_flags(path, flags.difference(OpenFlags::SQLITE_OPEN_URI))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            // A commit that was acknowledged survives a power cut.
            connection.pragma_update(None, "synchronous", "full")?;
            connection
        }
    };
    connection.busy_timeout(BUSY)?;
    // Rows that were deleted or overwritten are not left in the file for a scan for plaintext to find.
    connection.pragma_update(None, "secure_delete", "on")?;
    functions::register(&connection, identities)?;
    Ok(connection)
}
