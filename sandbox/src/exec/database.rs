//! The SQLite database behind all sessions of a sandbox: in a file that stays, or in one that goes with the sandbox.
//!
//! SQLite's in-memory databases let nobody read while somebody writes, so "in memory" is a temporary file, in memory
//! where the system has a place for such files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::catalogue::{security, store};
use crate::error::{Result, SqlError};
use crate::exec::functions::{self, SharedIdentities};
use crate::exec::lock::WriteLock;
use crate::types::temporal::now_utc;

/// Where sessions find the database. Fields are dropped in this order: the folder must outlive the connection.
#[derive(Debug)]
pub(crate) struct Database {
    /// For logins, and to keep SQLite from tearing the write-ahead log down and up again between sessions.
    anchor: Mutex<Connection>,
    path: PathBuf,
    temporary: Option<TemporaryFolder>,
    pub(crate) write_lock: WriteLock,
    /// Temporary tables of sessions that have ended.
    pub(crate) abandoned: Mutex<Vec<i64>>,
    /// The last row version that was given to a row.
    pub(crate) row_version: Arc<AtomicI64>,
}

/// Removed with all that is in it.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn remove(&self) {
        // If it cannot be removed now, it may be when its last user is gone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        self.remove();
    }
}

static NEXT_FOLDER: AtomicU64 = AtomicU64::new(1);

/// Files here are in memory on Linux.
const SHARED_MEMORY: &str = "/dev/shm";

impl TemporaryFolder {
    fn create() -> std::io::Result<Self> {
        let shared_memory = Path::new(SHARED_MEMORY);
        let mut last = std::io::Error::other("no place for temporary files");
        for parent in
            [shared_memory.to_owned(), std::env::temp_dir()].iter().filter(|parent| parent.is_dir())
        {
            let number = NEXT_FOLDER.fetch_add(1, Ordering::Relaxed);
            let unique = crate::types::temporal::now_utc();
            let path = parent
                .join(format!("always-encrypted-sandbox-{}-{number}-{unique}", std::process::id()));
            let mut builder = std::fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// For another process that has the same file open.
const BUSY: Duration = Duration::from_secs(20);

impl Database {
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Arc<Self>> {
        let (path, temporary) = match file {
            Some(path) => (path, None),
            None => {
                let folder = TemporaryFolder::create().map_err(|error| {
                    SqlError::new(5123, format!("No temporary database could be made: {error}"))
                })?;
                (folder.0.join("sandbox.db"), Some(folder))
            }
        };
        let row_version = Arc::new(AtomicI64::new(0));
        let anchor = connect(
            &path,
            temporary.is_none(),
            SharedIdentities::default(),
            Arc::clone(&row_version),
        )?;
        store::initialise(&anchor)?;
        row_version.store(store::row_version(&anchor)?, Ordering::SeqCst);
        Ok(Arc::new(Self {
            anchor: Mutex::new(anchor),
            path,
            temporary,
            write_lock: WriteLock::default(),
            abandoned: Mutex::default(),
            row_version,
        }))
    }

    /// When the sandbox stops. Sessions may take a moment longer, and need the name no more.
    pub(crate) fn stop(&self) {
        if let Some(folder) = &self.temporary {
            folder.remove();
        }
    }

    /// The login's name as it was made, if the password is its own. Not the administrator's.
    pub(crate) fn authenticate(&self, name: &str, password: &str) -> Result<Option<String>> {
        security::authenticate(&self.anchor(), name, password)
    }

    /// Whether a login has a user here that may connect.
    pub(crate) fn may_connect(&self, login: &str) -> Result<bool> {
        security::may_connect(&self.anchor(), login)
    }

    /// Makes the logins that the sandbox is started with. Those that are there already get the password.
    pub(crate) fn set_logins(
        &self,
        administrator: &str,
        logins: &[(String, String)],
    ) -> Result<()> {
        let anchor = self.anchor();
        let now = now_utc();
        security::set_administrator(&anchor, administrator, now)?;
        for (name, password) in logins {
            if name.eq_ignore_ascii_case(administrator) {
                let text = format!("The login '{name}' is the administrator's.");
                return Err(SqlError::new(15025, text));
            }
            if security::login_exists(&anchor, name)? {
                security::set_password(&anchor, name, password)?;
            } else {
                security::insert_login(&anchor, name, password, now)?;
            }
            let known = security::user_of_login(&anchor, name)?.is_some();
            if !known && security::principal(&anchor, name)?.is_none() {
                security::insert_principal(&anchor, name, false, Some(name), now)?;
            }
        }
        Ok(())
    }

    fn anchor(&self) -> MutexGuard<'_, Connection> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connect(&self, identities: SharedIdentities) -> Result<Connection> {
        let row_version = Arc::clone(&self.row_version);
        connect(&self.path, self.temporary.is_none(), identities, row_version)
    }
}

fn connect(
    path: &Path,
    durable: bool,
    identities: SharedIdentities,
    row_version: Arc<AtomicI64>,
) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Readers see the last commit while somebody writes.
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit that was acknowledged survives a power cut.
    connection.pragma_update(None, "synchronous", if durable { "full" } else { "off" })?;
    // Rows that were deleted or overwritten are not left in the file for a scan for plaintext to find.
    connection.pragma_update(None, "secure_delete", "on")?;
    functions::register(&connection, identities, row_version)?;
    Ok(connection)
}
