//! The settings of a connection. Owns their defaults, which of them contradict each other, and
//! what of them tiberius is told. Reading them from text is [`super::connection_string`]'s;
//! acting on them is [`super::tls`]'s and [`super::transport`]'s.

use std::{fmt, str::FromStr, time::Duration};

use tiberius::{AuthMethod, EncryptionLevel};
use zeroize::Zeroizing;

mod certificate;
mod error;
#[cfg(test)]
mod tests;

pub use certificate::CertificateSource;
pub use error::ConfigError;

use super::connection_string;
use crate::policy::{ColumnEncryption, TrustedKeyPaths};

/// The TCP port of a default instance.
pub(super) const DEFAULT_PORT: u16 = 1433;

/// What LOGIN7 allows for a name, in UTF-16 code units (MS-TDS 2.2.6.4).
const MAX_NAME: usize = 128;

/// What SQL Server accepts as a packet size, in bytes.
const PACKET_SIZES: std::ops::RangeInclusive<u32> = 512..=32767;

/// How much of the connection TLS protects: the keyword `Encrypt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encrypt {
    /// `Encrypt=false` (`no`, `optional`): TLS for the login only, unless the server demands more.
    ///
    /// A server that says that it has no TLS at all gets the password in clear text, as from
    /// Microsoft's drivers. Choose another level where that is not acceptable.
    LoginOnly,
    /// `Encrypt=true` (`yes`, `mandatory`): everything after PRELOGIN is inside TLS, or there is
    /// no connection. The default.
    #[default]
    Mandatory,
    /// `Encrypt=strict`: TDS 8.0, TLS before anything else. SQL Server 2022, Azure SQL and later.
    Strict,
}

/// Everything that a connection can be told.
///
/// Made from an ADO.NET connection string, by calls, or by both:
///
/// ```
/// use always_encrypted::client::Config;
///
/// let config: Config =
///     "Server=tcp:db.example.com,1433;Database=mce;Column Encryption Setting=Enabled".parse()?;
/// // Secrets need not be in the string.
/// let config = config.user("mce").password("S3cret!");
/// config.validate()?;
/// # Ok::<(), always_encrypted::client::ConfigError>(())
/// ```
///
/// [`Config::from_ado_string`] lists the keywords. Defaults are those of Microsoft.Data.SqlClient:
/// `Encrypt=true`, certificates validated, 15 seconds to connect, 30 seconds for a command,
/// column encryption off.
#[derive(Clone)]
pub struct Config {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) instance: Option<String>,
    pub(super) database: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) authentication: Option<AuthMethod>,
    pub(super) encrypt: Encrypt,
    pub(super) trust_server_certificate: bool,
    pub(super) host_name_in_certificate: Option<String>,
    pub(super) server_certificate: Option<CertificateSource>,
    pub(super) ca_certificates: Vec<CertificateSource>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) command_timeout: Option<Duration>,
    pub(super) packet_size: Option<u32>,
    pub(super) application_name: String,
    pub(super) workstation_id: Option<String>,
    pub(super) read_only: bool,
    pub(super) multi_subnet_failover: bool,
    pub(super) column_encryption: ColumnEncryption,
    pub(super) trusted_key_paths: TrustedKeyPaths,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            instance: None,
            database: None,
            user: None,
            password: None,
            authentication: None,
            encrypt: Encrypt::default(),
            trust_server_certificate: false,
            host_name_in_certificate: None,
            server_certificate: None,
            ca_certificates: Vec::new(),
            connect_timeout: Some(Duration::from_secs(15)),
            command_timeout: Some(Duration::from_secs(30)),
            packet_size: None,
            application_name: "always-encrypted".to_owned(),
            workstation_id: None,
            read_only: false,
            multi_subnet_failover: false,
            column_encryption: ColumnEncryption::Disabled,
            trusted_key_paths: TrustedKeyPaths::any(),
        }
    }
}

impl Config {
    /// The defaults, without a server.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads an ADO.NET connection string: `keyword=value` pairs separated by `;`.
    ///
    /// Keywords are insensitive to case and to blanks: `UserId` is `User ID`. A value that holds
    /// `;`, or that begins with a quote or a brace, is put in `"…"`, `'…'` or `{…}`, where the
    /// closing character is doubled to stand for itself. (Braces are ODBC's; in SqlClient a value
    /// that begins with `{` needs no quoting.) `==` in a keyword stands for `=`. An empty value
    /// means the default. Of a keyword given twice the last counts; two *different* keywords that
    /// mean the same setting must agree.
    ///
    /// | setting | keywords |
    /// |---|---|
    /// | server | `Server`, `Data Source`, `Address`, `Addr`, `Network Address`: `[tcp:]host[\instance][,port]`; `.` and `(local)` are this machine; IPv6 addresses may be in brackets |
    /// | database | `Database`, `Initial Catalog` |
    /// | SQL login | `User ID`, `UID`, `User`; `Password`, `PWD` |
    /// | TLS | `Encrypt` (`true`, `false`, `strict`, …), `TrustServerCertificate`, `HostNameInCertificate`, `ServerCertificate`, and tiberius' `TrustServerCertificateCA` |
    /// | time | `Connect Timeout`, `Connection Timeout`, `Timeout`; `Command Timeout`; seconds, 0 waits for ever |
    /// | session | `Application Name`, `App`; `Workstation ID`, `WSID`; `Packet Size`; `Application Intent`; `MultiSubnetFailover` |
    /// | Always Encrypted | `Column Encryption Setting`; ODBC's and go's `ColumnEncryption`; JDBC's `columnEncryptionSetting`: `Enabled` or `Disabled` |
    ///
    /// Accepted without effect, because they tune what this crate has not or does anyway:
    /// `Pooling`, `Min Pool Size`, `Max Pool Size`, `Pool Blocking Period`,
    /// `Connection Lifetime`, `Load Balance Timeout`, `Enlist`, `Transaction Binding`,
    /// `Persist Security Info` (the password is never shown), `Type System Version`,
    /// `Connect Retry Count`, `Connect Retry Interval`, `IP Address Preference` (every address is
    /// tried), `Transparent Network IP Resolution`, `Connection Reset`,
    /// `Asynchronous Processing`.
    ///
    /// # Errors
    ///
    /// Anything else is an error: an unknown keyword, one that is known but not supported, a
    /// value that the keyword does not have, settings that contradict each other. What is merely
    /// missing is not: see [`Config::validate`].
    pub fn from_ado_string(text: &str) -> Result<Self, ConfigError> {
        let config = connection_string::parse(text)?;
        config.contradictions()?;
        Ok(config)
    }

    /// The host name or IP address of the server.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The TCP port; 1433 if there is neither port nor instance.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// A named instance, whose port SQL Server Browser tells (UDP 1434). Not asked if a port is
    /// given.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// The database; the login's default if not given.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// The user of a SQL Server login.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The password of a SQL Server login. Erased when this `Config` is dropped.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// Another way to log in than user and password: a Microsoft Entra token, or what tiberius'
    /// own features add (Kerberos, NTLM).
    #[must_use]
    pub fn authentication(mut self, method: AuthMethod) -> Self {
        self.authentication = Some(method);
        self
    }

    /// How much of the connection TLS protects.
    #[must_use]
    pub fn encrypt(mut self, encrypt: Encrypt) -> Self {
        self.encrypt = encrypt;
        self
    }

    /// Whether any certificate will do. Whoever sits in between can then read and change
    /// everything that Always Encrypted does not protect, the password included.
    ///
    /// Without it the certificate is validated at every [`Encrypt`] level, `LoginOnly` included:
    /// the password is in there. (SqlClient does not validate at `Encrypt=false`.)
    #[must_use]
    pub fn trust_server_certificate(mut self, trust: bool) -> Self {
        self.trust_server_certificate = trust;
        self
    }

    /// The name that the certificate must carry, where it is not the server's.
    #[must_use]
    pub fn host_name_in_certificate(mut self, name: impl Into<String>) -> Self {
        self.host_name_in_certificate = Some(name.into());
        self
    }

    /// The very certificate that the server must show, byte for byte. Its issuer, name and dates
    /// are then not looked at.
    #[must_use]
    pub fn server_certificate(mut self, certificate: impl Into<CertificateSource>) -> Self {
        self.server_certificate = Some(certificate.into());
        self
    }

    /// Certificates of a certification authority to trust beside the system's. Calls add up.
    #[must_use]
    pub fn ca_certificate(mut self, certificate: impl Into<CertificateSource>) -> Self {
        self.ca_certificates.push(certificate.into());
        self
    }

    /// How long connecting may take, from name resolution to the end of login; 0 waits for ever.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = (!limit.is_zero()).then_some(limit);
        self
    }

    /// How long a command may wait for the server; 0 waits for ever.
    #[must_use]
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.command_timeout = (!limit.is_zero()).then_some(limit);
        self
    }

    /// The packet size to ask the server for, in bytes: 512 to 32767.
    #[must_use]
    pub fn packet_size(mut self, bytes: u32) -> Self {
        self.packet_size = Some(bytes);
        self
    }

    /// The name under which the server lists this program (`program_name` in
    /// `sys.dm_exec_sessions`).
    #[must_use]
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// The name under which the server lists this machine (`host_name` in `sys.dm_exec_sessions`).
    #[must_use]
    pub fn workstation_id(mut self, name: impl Into<String>) -> Self {
        self.workstation_id = Some(name.into());
        self
    }

    /// Declares that the session only reads, so that an availability group may route it to a
    /// readable secondary (`ApplicationIntent=ReadOnly`).
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Tries all addresses of the server at once instead of one after the other.
    #[must_use]
    pub fn multi_subnet_failover(mut self, at_once: bool) -> Self {
        self.multi_subnet_failover = at_once;
        self
    }

    /// Whether encrypted columns are encrypted and decrypted (`Column Encryption Setting`): a
    /// [`ColumnEncryption`], or `true` for enabled and `false` for disabled.
    ///
    /// Where it is disabled, nothing is negotiated and everything passes through unseen: what a
    /// statement says of its own encryption, too. Otherwise a statement can have a setting of its
    /// own by the comment `/* always-encrypted: encryption ResultSetOnly */`.
    #[must_use]
    pub fn column_encryption(mut self, setting: impl Into<ColumnEncryption>) -> Self {
        self.column_encryption = setting.into();
        self
    }

    /// The column master keys that the server may name, by default any: see [`TrustedKeyPaths`]. No
    /// keyword of the connection string says it, as in SqlClient.
    ///
    /// The entry that holds is that of [`Config::data_source`].
    #[must_use]
    pub fn trusted_key_paths(mut self, trusted: TrustedKeyPaths) -> Self {
        self.trusted_key_paths = trusted;
        self
    }

    /// The server's name as ADO.NET writes it: `host\instance,port`, without what is not set.
    #[must_use]
    pub fn data_source(&self) -> String {
        let mut name = self.host.clone().unwrap_or_default();
        if let Some(instance) = &self.instance {
            name = format!("{name}\\{instance}");
        }
        match self.port {
            Some(port) => format!("{name},{port}"),
            None => name,
        }
    }

    /// Checks that a connection can be made: a server, a way to log in, values in range, no
    /// contradictions.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.host.as_deref().is_none_or(str::is_empty) {
            return Err(ConfigError::Missing {
                what: "the server",
                remedy: "set Server in the connection string, or call Config::server",
            });
        }
        if self.user.is_none() && self.authentication.is_none() {
            return Err(ConfigError::Missing {
                what: "a way to log in",
                remedy: "set User ID and Password in the connection string, \
                         or call Config::user or Config::authentication",
            });
        }
        self.lengths()?;
        if let Some(size) = self.packet_size.filter(|size| !PACKET_SIZES.contains(size)) {
            return Err(ConfigError::InvalidValue {
                keyword: "Packet Size",
                value: size.to_string(),
                expected: "a number of bytes from 512 to 32767",
            });
        }
        self.contradictions()
    }

    /// What tiberius is told when it is given our stream. TLS has been done by then, on our side:
    /// for tiberius the connection is one that has none.
    pub(crate) fn tiberius_config(&self) -> tiberius::Config {
        let mut config = tiberius::Config::new();
        config.encryption(EncryptionLevel::NotSupported);
        if let Some(host) = &self.host {
            config.host(host);
        }
        config.port(self.port.unwrap_or(DEFAULT_PORT));
        if let Some(database) = &self.database {
            config.database(database);
        }
        config.application_name(&self.application_name);
        if let Some(name) = &self.workstation_id {
            config.client_name(name);
        }
        if let Some(size) = self.packet_size {
            config.packet_size(size);
        }
        config.handshake_timeout(self.connect_timeout);
        config.command_timeout(self.command_timeout);
        config.readonly(self.read_only);
        if let Some(method) = &self.authentication {
            config.authentication(method.clone());
        } else if let Some(user) = &self.user {
            let password = self.password.as_ref().map_or("", |password| password.as_str());
            config.authentication(AuthMethod::sql_server(user, password));
        }
        config
    }

    fn lengths(&self) -> Result<(), ConfigError> {
        let names = [
            ("the server's name", self.host.as_deref()),
            ("the database's name", self.database.as_deref()),
            ("the user's name", self.user.as_deref()),
            ("the password", self.password.as_ref().map(|password| password.as_str())),
            ("the application's name", Some(self.application_name.as_str())),
            ("the workstation's name", self.workstation_id.as_deref()),
        ];
        for (what, name) in names {
            if name.is_some_and(|name| name.encode_utf16().count() > MAX_NAME) {
                return Err(ConfigError::TooLong { what, limit: MAX_NAME });
            }
        }
        Ok(())
    }

    fn contradictions(&self) -> Result<(), ConfigError> {
        let conflict = |first: &str, second: &str, reason| {
            Err(ConfigError::Contradiction { first: first.into(), second: second.into(), reason })
        };
        if self.authentication.is_some() && (self.user.is_some() || self.password.is_some()) {
            return conflict("user and password", "authentication", "keep one way to log in");
        }
        if self.trust_server_certificate {
            const TRUST: &str = "TrustServerCertificate=true";
            if self.encrypt == Encrypt::Strict {
                return conflict(
                    "Encrypt=strict",
                    TRUST,
                    "strict always validates; pin a \
                    self-signed certificate with ServerCertificate instead",
                );
            }
            if self.server_certificate.is_some() {
                return conflict(
                    "ServerCertificate",
                    TRUST,
                    "one demands a certificate, the other takes any",
                );
            }
            if !self.ca_certificates.is_empty() {
                return conflict(
                    "the CA certificate",
                    TRUST,
                    "one demands an issuer, the other takes any",
                );
            }
        }
        if self.server_certificate.is_some() && !self.ca_certificates.is_empty() {
            return conflict(
                "ServerCertificate",
                "the CA certificate",
                "a pinned certificate needs no issuer; keep one",
            );
        }
        Ok(())
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::from_ado_string(text)
    }
}

/// Shows every setting but the secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |present: bool| if present { "(hidden)" } else { "(none)" };
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("instance", &self.instance)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &format_args!("{}", hidden(self.password.is_some())))
            .field("authentication", &format_args!("{}", hidden(self.authentication.is_some())))
            .field("encrypt", &self.encrypt)
            .field("trust_server_certificate", &self.trust_server_certificate)
            .field("host_name_in_certificate", &self.host_name_in_certificate)
            .field("server_certificate", &self.server_certificate)
            .field("ca_certificates", &self.ca_certificates)
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("packet_size", &self.packet_size)
            .field("application_name", &self.application_name)
            .field("workstation_id", &self.workstation_id)
            .field("read_only", &self.read_only)
            .field("multi_subnet_failover", &self.multi_subnet_failover)
            .field("column_encryption", &self.column_encryption)
            .field("trusted_key_paths", &self.trusted_key_paths)
            .finish()
    }
}
