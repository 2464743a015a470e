//! The keywords of connection strings: which there are, and which setting each means.

use Keyword::{Ignored, Is, Unsupported};
use Setting::{
    ApplicationIntent, ApplicationName, CaCertificate, ColumnEncryption, CommandTimeout,
    ConnectTimeout, Database, Encrypt, HostNameInCertificate, IntegratedSecurity,
    MultiSubnetFailover, PacketSize, Password, Server, ServerCertificate, TrustServerCertificate,
    User, WorkstationId,
};

/// A setting that we honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    ApplicationIntent,
    ApplicationName,
    CaCertificate,
    ColumnEncryption,
    CommandTimeout,
    ConnectTimeout,
    Database,
    Encrypt,
    HostNameInCertificate,
    IntegratedSecurity,
    MultiSubnetFailover,
    PacketSize,
    Password,
    Server,
    ServerCertificate,
    TrustServerCertificate,
    User,
    WorkstationId,
}

/// What a keyword is to us.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keyword {
    /// Has nothing to tune here; `Config::from_ado_string` lists them for the user.
    Ignored,
    Is(Setting),
    /// An error, unless the value says what is the case anyway.
    Unsupported {
        unless: &'static [&'static str],
        reason: &'static str,
    },
}

/// Finds a keyword, whatever its case and blanks; gives its usual spelling too.
pub(super) fn find(name: &str) -> Option<(&'static str, Keyword)> {
    let name = squash(name);
    KEYWORDS.iter().find(|(known, _)| squash(known) == name).copied()
}

/// The known keyword that is most like `name`, if any is like it at all.
pub(super) fn closest(name: &str) -> Option<&'static str> {
    let name = squash(name);
    if name.len() > MAX_COMPARED {
        return None;
    }
    let (known, distance) = KEYWORDS
        .iter()
        .map(|(known, _)| (*known, distance(&squash(known), &name)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= 1 + name.chars().count() / 5).then_some(known)
}

/// The form in which keywords are compared: no blanks, lower case.
pub(super) fn squash(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// How many characters must be added, taken away or replaced to turn one into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// No keyword is half as long, and no one waits for the comparison with a longer one.
const MAX_COMPARED: usize = 64;

const fn no(reason: &'static str) -> Keyword {
    Unsupported { unless: &[], reason }
}

const fn unless(unless: &'static [&'static str], reason: &'static str) -> Keyword {
    Unsupported { unless, reason }
}

const OFF: &[&str] = &["false", "no"];
const ENCLAVES: &str = "secure enclaves are not; take the keyword out, encryption does not need it";
const LOCAL_FILES: &str =
    "it starts a SQL Server Express for a file, on Windows only; attach the file to a server";
const KEY_STORE: &str =
    "key stores are registered on the connector, not named in the connection string";
const MIRRORING: &str = "database mirroring is not; use an availability group listener";
const SPN: &str = "Kerberos names cannot be given";
const NOT_ADO: &str = "it belongs to ODBC or OLE DB connection strings, this is an ADO.NET one";
const ONE_COMMAND: &str = "tiberius runs one command at a time; open a second connection";
const NETWORK: &[&str] = &["dbmssocn", "tcp"];

/// In the usual spelling. The first of each setting is the one that error messages use.
const KEYWORDS: &[(&str, Keyword)] = &[
    ("Data Source", Is(Server)),
    ("Server", Is(Server)),
    ("Address", Is(Server)),
    ("Addr", Is(Server)),
    ("Network Address", Is(Server)),
    ("Initial Catalog", Is(Database)),
    ("Database", Is(Database)),
    ("User ID", Is(User)),
    ("UID", Is(User)),
    ("User", Is(User)),
    ("Password", Is(Password)),
    ("PWD", Is(Password)),
    ("Integrated Security", Is(IntegratedSecurity)),
    ("Trusted_Connection", Is(IntegratedSecurity)),
    ("Encrypt", Is(Encrypt)),
    ("Trust Server Certificate", Is(TrustServerCertificate)),
    ("Host Name In Certificate", Is(HostNameInCertificate)),
    ("Server Certificate", Is(ServerCertificate)),
    ("TrustServerCertificateCA", Is(CaCertificate)),
    ("Connect Timeout", Is(ConnectTimeout)),
    ("Connection Timeout", Is(ConnectTimeout)),
    ("Timeout", Is(ConnectTimeout)),
    ("Command Timeout", Is(CommandTimeout)),
    ("Application Name", Is(ApplicationName)),
    ("App", Is(ApplicationName)),
    ("Workstation ID", Is(WorkstationId)),
    ("WSID", Is(WorkstationId)),
    ("Packet Size", Is(PacketSize)),
    ("Application Intent", Is(ApplicationIntent)),
    ("Multi Subnet Failover", Is(MultiSubnetFailover)),
    ("Column Encryption Setting", Is(ColumnEncryption)),
    ("ColumnEncryption", Is(ColumnEncryption)),
    // Nothing to tune.
    ("Pooling", Ignored),
    ("Min Pool Size", Ignored),
    ("Max Pool Size", Ignored),
    ("Pool Blocking Period", Ignored),
    ("Connection Lifetime", Ignored),
    ("Load Balance Timeout", Ignored),
    ("Enlist", Ignored),
    ("Transaction Binding", Ignored),
    ("Persist Security Info", Ignored),
    ("Type System Version", Ignored),
    ("Connect Retry Count", Ignored),
    ("Connect Retry Interval", Ignored),
    ("IP Address Preference", Ignored),
    ("Transparent Network IP Resolution", Ignored),
    ("Connection Reset", Ignored),
    ("Asynchronous Processing", Ignored),
    ("Async", Ignored),
    // Would change what the program means.
    ("Attestation Protocol", unless(&["none"], ENCLAVES)),
    ("Enclave Attestation Url", no(ENCLAVES)),
    (
        "Authentication",
        unless(
            &["sqlpassword", "sql password", "notspecified"],
            "only SQL logins are; hand a Microsoft Entra token to Config::authentication",
        ),
    ),
    ("Multiple Active Result Sets", unless(OFF, ONE_COMMAND)),
    ("MARS_Connection", unless(OFF, ONE_COMMAND)),
    ("Failover Partner", no(MIRRORING)),
    ("Failover Partner SPN", no(MIRRORING)),
    ("Server SPN", no(SPN)),
    ("AttachDBFilename", no(LOCAL_FILES)),
    ("Extended Properties", no(LOCAL_FILES)),
    ("Initial File Name", no(LOCAL_FILES)),
    ("User Instance", unless(OFF, LOCAL_FILES)),
    ("Context Connection", unless(OFF, "it is for code that runs inside SQL Server")),
    ("Replication", unless(OFF, "only SQL Server's own replication agents need it")),
    ("Current Language", no("send SET LANGUAGE after connecting")),
    ("Language", no("send SET LANGUAGE after connecting")),
    ("New Password", no("send ALTER LOGIN to change a password")),
    ("Network Library", unless(NETWORK, "the only transport is TCP")),
    ("Net", unless(NETWORK, "the only transport is TCP")),
    ("Network", unless(NETWORK, "the only transport is TCP")),
    ("Key Store Authentication", no(KEY_STORE)),
    ("Key Store Principal Id", no(KEY_STORE)),
    ("Key Store Secret", no(KEY_STORE)),
    ("Key Store Location", no(KEY_STORE)),
    ("Driver", no(NOT_ADO)),
    ("DSN", no(NOT_ADO)),
    ("FileDSN", no(NOT_ADO)),
    ("Provider", no(NOT_ADO)),
];
