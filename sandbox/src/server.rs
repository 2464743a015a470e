//! The sandbox as its users hold it: builder, listener, counters and recorder.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::catalogue::DATABASE_NAME;
use crate::connection;
use crate::exec::database::Database;
use crate::tls::Tls;

/// Which TLS the sandbox offers, as `Encrypt` in a connection string asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encryption {
    /// No TLS at all: PRELOGIN answers ENCRYPT_NOT_SUP. Easiest to look at with a capture.
    #[default]
    NotSupported,
    /// TLS for LOGIN7 only, or for the session if the client asks for that, as SQL Server does by default.
    Off,
    /// The whole session in TLS, inside TDS 7.4's PRELOGIN packets first.
    On,
    /// TDS 8.0: TLS before anything else.
    Strict,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port could not be bound, or no certificate could be made.
    #[error("the sandbox could not listen: {0}")]
    Listen(#[from] io::Error),
    /// The database file could not be opened, or is not a sandbox's.
    #[error("the sandbox could not open its database: {0}")]
    Database(String),
}

/// Every payload byte that clients and the sandbox have exchanged, without packet headers and after TLS, in the order
/// of each direction. For tests that look for plaintext where none may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// From all clients.
    pub from_clients: Vec<u8>,
    /// To all clients.
    pub to_clients: Vec<u8>,
}

/// Counts since the start. Tests count round trips with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// TCP connections accepted.
    pub connections: u64,
    /// SQL batch messages.
    pub batches: u64,
    /// Procedure calls, of which one message may hold several.
    pub rpcs: u64,
    /// Runs of sp_describe_parameter_encryption, by name or as text.
    pub describes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    batches: AtomicU64,
    rpcs: AtomicU64,
    describes: AtomicU64,
}

impl Counters {
    pub(crate) fn batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rpc(&self) {
        self.rpcs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn describe(&self) {
        self.describes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps what passes, if asked to.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    kept: Option<Mutex<Recorded>>,
}

impl Recorder {
    fn keep(&self, add: impl FnOnce(&mut Recorded)) {
        if let Some(kept) = &self.kept {
            add(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn client_sent(&self, payload: &[u8]) {
        self.keep(|recorded| recorded.from_clients.extend_from_slice(payload));
    }

    pub(crate) fn client_gets(&self, payload: &[u8]) {
        self.keep(|recorded| recorded.to_clients.extend_from_slice(payload));
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) encryption: Encryption,
    pub(crate) always_encrypted: bool,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) tls: Tls,
    pub(crate) recorder: Recorder,
    pub(crate) counters: Arc<Counters>,
}

/// Settings of a sandbox that has not started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    file: Option<PathBuf>,
    ip: IpAddr,
    port: u16,
    encryption: Encryption,
    always_encrypted: bool,
    logins: Vec<(String, String)>,
    record: bool,
    user: String,
    password: String,
}

/// Satisfies SQL Server's password policy, so that it works with a real one too.
const DEFAULT_PASSWORD: &str = "Sandbox-1433!";

impl Default for Builder {
    fn default() -> Self {
        Self {
            file: None,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            encryption: Encryption::default(),
            always_encrypted: true,
            logins: Vec::new(),
            record: false,
            user: "sa".to_owned(),
            password: DEFAULT_PASSWORD.to_owned(),
        }
    }
}

impl Builder {
    /// Keeps the database in this SQLite file, which is made if it is not there. In memory by default.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The port. By default the system chooses one that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address. 127.0.0.1 by default, which no other host reaches.
    pub fn bind(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = ip.into();
        self
    }

    /// Which TLS is offered. None by default.
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// Whether Always Encrypted is acknowledged to clients that ask for it. Where not, encrypted columns arrive as
    /// plain varbinary, as from a SQL Server older than 2016. True by default.
    pub fn always_encrypted(mut self, acknowledged: bool) -> Self {
        self.always_encrypted = acknowledged;
        self
    }

    /// One more login, with a user of the same name, who has what public has: as in SQL Server that is to connect and to
    /// see the definitions of keys, and no table. The rest is GRANT's.
    ///
    /// ```
    /// # use always_encrypted_sandbox::Sandbox;
    /// let builder = Sandbox::builder().add_login("reader", "Reader-1433!");
    /// // ... as sa: GRANT SELECT ON dbo.Patients TO reader;
    /// // ... and, to hide all keys: REVOKE VIEW ANY COLUMN MASTER KEY DEFINITION TO public
    /// ```
    pub fn add_login(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.logins.push((name.into(), password.into()));
        self
    }

    /// Whether everything that clients send and receive is kept for [`Sandbox::recorded`]. False by default.
    pub fn record(mut self, record: bool) -> Self {
        self.record = record;
        self
    }

    /// The administrator, who may do everything. `sa` by default.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = user.into();
        self.password = password.into();
        self
    }

    /// Opens the database and listens.
    ///
    /// # Errors
    /// The database cannot be opened, or the port cannot be bound.
    pub async fn start(self) -> Result<Sandbox, StartError> {
        let database =
            Database::open(self.file).map_err(|error| StartError::Database(error.to_string()))?;
        database
            .set_logins(&self.user, &self.logins)
            .map_err(|error| StartError::Database(error.to_string()))?;
        let listener = TcpListener::bind((self.ip, self.port)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            database,
            encryption: self.encryption,
            always_encrypted: self.always_encrypted,
            user: self.user,
            password: self.password,
            tls: Tls::self_signed()?,
            recorder: Recorder { kept: self.record.then(Mutex::default) },
            counters: Arc::default(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Sandbox { addr, shared, listening })
    }
}

/// A running stand-in for SQL Server. Dropping it stops it.
pub struct Sandbox {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// The first session id that SQL Server gives to a user.
const FIRST_SPID: u16 = 51;

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let next_spid = AtomicU16::new(FIRST_SPID);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else {
                    // Out of file descriptors, most likely: others will leave.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                shared.counters.connections.fetch_add(1, Ordering::Relaxed);
                let spid = next_spid.fetch_add(1, Ordering::Relaxed).max(FIRST_SPID);
                let shared = Arc::clone(&shared);
                clients.spawn(async move {
                    // A client that breaks the protocol loses its connection and no more.
                    let _ = connection::serve(shared, tcp, spid).await;
                });
            }
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

impl Sandbox {
    /// Starts one with the defaults: in memory, on 127.0.0.1, without TLS, user `sa`.
    ///
    /// # Errors
    /// See [`Builder::start`].
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Settings other than the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The login's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.shared.user
    }

    /// The login's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.shared.password
    }

    /// An ADO.NET connection string with which clients reach it.
    #[must_use]
    pub fn connection_string(&self) -> String {
        let encrypt = match self.shared.encryption {
            Encryption::NotSupported | Encryption::Off => "false",
            Encryption::On => "true",
            Encryption::Strict => "strict",
        };
        format!(
            "Server=tcp:{},{};Database={DATABASE_NAME};User Id={};Password={};Encrypt={encrypt};\
             TrustServerCertificate=true",
            self.addr.ip(),
            self.port(),
            self.shared.user,
            self.shared.password
        )
    }

    /// The certificate that it shows in TLS: self-signed, made at the start, for localhost and 127.0.0.1.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.shared.tls.certificate_pem
    }

    /// What has been recorded; nothing unless [`Builder::record`] was set.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        match &self.shared.recorder.kept {
            Some(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Recorded::default(),
        }
    }

    /// Counts since the start.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            connections: read(&counters.connections),
            batches: read(&counters.batches),
            rpcs: read(&counters.rpcs),
            describes: read(&counters.describes),
        }
    }

    /// Stops listening and closes every connection.
    pub async fn shutdown(mut self) {
        self.listening.abort();
        // Whether it ended by itself or by the line above is all the same.
        let _ = (&mut self.listening).await;
        // Sessions have threads of their own and end by themselves. Once the last has, dropping the
        // database folds its write-ahead log into the file.
        let alone = |shared: &Arc<Shared>| {
            Arc::strong_count(shared) == 1 && Arc::strong_count(&shared.database) == 1
        };
        let begun = std::time::Instant::now();
        while !alone(&self.shared) && begun.elapsed() < SHUTDOWN_PATIENCE {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

/// A statement that cannot be interrupted may hold its session for longer; the file is still valid
/// then, with its log beside it.
const SHUTDOWN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.listening.abort();
        self.shared.database.stop();
    }
}
