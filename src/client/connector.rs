//! From settings and key stores to a connected [`tiberius::Client`].

use std::{fmt, sync::Arc, time::Instant};

use super::{
    ColumnCipher, ColumnCipherError, Config, ConfigError, Stream,
    column_cipher::look_up,
    stream::{self, Shared},
    transport::{self, ServerVersion},
};
use crate::{
    Error,
    keystore::KeyStores,
    metadata::MetadataCache,
    policy::TrustedKeyPaths,
    session::{ErrorLog, Session, SessionConfig, SessionError},
    tds::prelogin_reply,
};

/// An ordinary tiberius client whose connection encrypts and decrypts on its way.
pub type Client = tiberius::Client<Stream>;

/// A login is sent elsewhere once, by Azure's gateways. More often than this it goes in circles.
const MAX_HOPS: usize = 4;

/// Makes connections to one server with one login.
///
/// The connections share the keys that have been opened and the descriptions of statements, so make
/// one connector and keep it; it is cheap to clone.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    key_stores: Arc<KeyStores>,
    metadata_cache: Arc<MetadataCache>,
    errors: Arc<ErrorLog>,
}

impl Connector {
    /// A connector for an ADO.NET connection string. Of the key stores see [`Connector::new`].
    pub fn from_ado_string(
        connection_string: &str,
        key_stores: impl Into<Arc<KeyStores>>,
    ) -> Result<Self, ConfigError> {
        Self::new(Config::from_ado_string(connection_string)?, key_stores)
    }

    /// A connector for settings.
    ///
    /// The key stores hold the keys that they have opened: give connectors the same ones, in an
    /// [`Arc`], if they act for the same party, and never otherwise.
    pub fn new(config: Config, key_stores: impl Into<Arc<KeyStores>>) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                key_stores: key_stores.into(),
                metadata_cache: Arc::default(),
                errors: Arc::default(),
            }),
        })
    }

    /// The same connector with descriptions of its own, for which only these master keys may be named:
    /// in place of what [`Config::trusted_key_paths`] says.
    #[must_use]
    pub fn trusted_key_paths(&self, trusted: TrustedKeyPaths) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                config: inner.config.clone().trusted_key_paths(trusted),
                key_stores: inner.key_stores.clone(),
                metadata_cache: Arc::default(),
                errors: Arc::default(),
            }),
        }
    }

    /// The same connector with other key stores: for a service whose tenants share a database login and
    /// have credentials of their own for their keys.
    ///
    /// Keys that have been opened live in [`KeyStores`] and nowhere else, so the connections of one
    /// tenant never get what those of another have opened. Descriptions of statements, which hold keys
    /// only as the server stores them, are shared, and so are errors:
    /// [`error_behind`](Self::error_behind) of either finds them.
    ///
    /// ```no_run
    /// # use always_encrypted::{Connector, keystore::{FnKeyStore, KeyStores}};
    /// # async fn example(connector: Connector, vault: FnKeyStore) -> Result<(), Box<dyn std::error::Error>> {
    /// // Once per tenant, and kept as long as its keys may be.
    /// let tenant = connector.with_key_stores(KeyStores::builder().provider(vault).build()?);
    /// let client = tenant.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_key_stores(&self, key_stores: impl Into<Arc<KeyStores>>) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                config: inner.config.clone(),
                key_stores: key_stores.into(),
                metadata_cache: inner.metadata_cache.clone(),
                errors: inner.errors.clone(),
            }),
        }
    }

    /// Connects and logs in.
    pub async fn connect(&self) -> Result<Client, Error> {
        let mut config = self.inner.config.clone();
        for _ in 0..MAX_HOPS {
            match self.connect_once(&config).await {
                Err(tiberius_error) => {
                    let Error::Driver(tiberius::error::Error::Routing { host, port }) =
                        tiberius_error
                    else {
                        return Err(tiberius_error);
                    };
                    config = config.server(host).port(port);
                }
                Ok(client) => return Ok(client),
            }
        }
        Err(Error::TooManyRedirects { hops: MAX_HOPS })
    }

    /// One server: TCP, TLS, then the driver's login through our stream.
    async fn connect_once(&self, config: &Config) -> Result<Client, Error> {
        let inner = &self.inner;
        let begun = Instant::now();
        let opened = transport::open(config).await?;
        let mut driver = config.tiberius_config();
        // For an instance the port is only known now; the driver names it to Kerberos.
        if let Some(peer) = opened.peer {
            driver.port(peer.port());
        }
        // The time limit is for the whole of it.
        let left = config.connect_timeout.map(|limit| limit.saturating_sub(begun.elapsed()));
        driver.handshake_timeout(left);
        let prelogin = &opened.prelogin;
        let session = Session::new(
            SessionConfig {
                column_encryption: config.column_encryption,
                trusted_key_paths: self.trusted_here(),
                metadata_cache: inner.metadata_cache.clone(),
                errors: inner.errors.clone(),
                prelogin_reply: prelogin_reply(
                    version_option(prelogin.version),
                    prelogin.fed_auth_required,
                    prelogin.nonce,
                ),
            },
            Instant::now(),
        );
        let shared = Shared {
            key_stores: inner.key_stores.clone(),
            metadata_cache: inner.metadata_cache.clone(),
            errors: inner.errors.clone(),
        };
        let stream = Stream::new(session, opened.transport, shared);
        let connected = tiberius::Client::connect(driver, stream).await;
        connected.map_err(|error| match self.error_behind(&error) {
            Some(error) => Error::Session(error),
            None => Error::Driver(error),
        })
    }

    /// What the server may name. It goes by its name in the settings, wherever a gateway has sent us.
    fn trusted_here(&self) -> TrustedKeyPaths {
        let config = &self.inner.config;
        config.trusted_key_paths.for_server(&config.data_source())
    }

    /// The cipher of an encrypted column, to encrypt and decrypt without a statement.
    ///
    /// The client, of whatever setting, asks the catalogue for the column's type and key; the key is
    /// opened by this connector's key stores if its path is trusted. Names may be in brackets;
    /// `table` may have a schema and a database in front, `column` is otherwise taken as it is.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     connector: always_encrypted::Connector,
    /// #     mut client: always_encrypted::Client,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let cipher = connector.column_cipher(&mut client, "dbo.Messages", "Content").await?;
    /// let sql = "SELECT Content FROM dbo.Messages /* always-encrypted: encryption Disabled */";
    /// for row in client.query(sql, &[]).await?.into_first_result().await? {
    ///     if let Some(cell) = row.try_get::<&[u8], _>(0)? {
    ///         println!("{}", cipher.decrypt_as::<String>(cell)?);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The column is not to be found or not encrypted, what the server says of it cannot be, or its
    /// key is not to be had; see [`ColumnCipherError`].
    pub async fn column_cipher(
        &self,
        client: &mut Client,
        table: &str,
        column: &str,
    ) -> Result<ColumnCipher, ColumnCipherError> {
        let found = look_up(client, table, column).await.map_err(|error| match error {
            ColumnCipherError::Driver(error) => match self.error_behind(&error) {
                Some(error) => ColumnCipherError::Session(error),
                None => ColumnCipherError::Driver(error),
            },
            other => other,
        })?;
        let trusted = self.trusted_here();
        let (values, refused) = trusted.sort(&found.values);
        if let (true, Some(first)) = (values.is_empty(), found.values.first()) {
            return Err(ColumnCipherError::UntrustedKeyPath {
                column: found.column,
                key_path: first.key_path.clone(),
                source: Box::new(trusted.untrusted(first)),
            });
        }
        match self.inner.key_stores.cell_key(&values).await {
            Ok(key) => Ok(ColumnCipher::new(
                found.column,
                found.conversion_type,
                found.encryption_type,
                key,
            )),
            Err(error) => Err(ColumnCipherError::Key {
                column: found.column,
                source: error.and_refused(refused),
            }),
        }
    }

    /// The typed error behind an error of tiberius's, if Always Encrypted caused it.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     connector: always_encrypted::Connector,
    /// #     mut client: always_encrypted::Client,
    /// # ) {
    /// use always_encrypted::SessionError;
    ///
    /// if let Err(error) = client.query("SELECT Content FROM Messages", &[]).await {
    ///     match connector.error_behind(&error).as_deref() {
    ///         Some(SessionError::Key { target, source }) => eprintln!("{target}: {source}"),
    ///         Some(other) => eprintln!("encryption: {other}"),
    ///         None => eprintln!("SQL Server: {error}"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn error_behind(&self, error: &tiberius::error::Error) -> Option<Arc<SessionError>> {
        match error {
            tiberius::error::Error::Server(token)
                if token.server() == SessionError::SERVER_NAME =>
            {
                self.inner.errors.get(token.line())
            }
            tiberius::error::Error::Io { message, .. } => {
                self.inner.errors.get(stream::number_in(message)?)
            }
            _ => None,
        }
    }

    /// The key stores, to look at their statistics or to purge the keys that have been opened.
    #[must_use]
    pub fn key_stores(&self) -> &KeyStores {
        &self.inner.key_stores
    }
}

/// VERSION of PRELOGIN (MS-TDS 2.2.6.5): the build is big-endian.
fn version_option(version: ServerVersion) -> [u8; 6] {
    let [high, low] = version.build.to_be_bytes();
    let [sub_low, sub_high] = version.sub_build.to_le_bytes();
    [version.major, version.minor, high, low, sub_low, sub_high]
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
