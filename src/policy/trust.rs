//! Which column master keys a server may name.

use std::{collections::HashMap, net::IpAddr};

use crate::keystore::{EncryptedCekValue, FailedCekValue, KeyStoreError, UntrustedKeyPath};

/// The port of a default instance, which an address need not name.
const DEFAULT_PORT: u16 = 1433;

/// The column master keys that a server may name, for each server.
///
/// A server that is not trusted with plaintext could name a key of its own, and have data encrypted
/// for itself. With a list, a key outside of it is refused before its signature is looked at and
/// before any key store is asked.
///
/// | | a server with an entry | a server without |
/// |---|---|---|
/// | [`any`](Self::any), the default | what the entry lists | everything |
/// | [`only`](Self::only) | what the entry lists | what `only` lists |
/// | [`strict`](Self::strict) | what the entry lists | nothing |
///
/// The first row is SqlClient's `ColumnEncryptionTrustedMasterKeyPaths`: a server without an entry is
/// believed, one whose entry is empty may name nothing. Paths compare without regard to case, as
/// there, but of ASCII letters only. What SqlClient has not: strictness, and an entry that pins the key
/// store together with the path, see [`TrustedKey`].
///
/// A key store is asked for the path as it is listed, however the server writes it: where case counts
/// in a key store, a server cannot reach a key that is not listed by writing a listed one differently,
/// and paths are to be listed as the key store has them. If several that are listed differ in case only,
/// it is the one that the server wrote, or the first.
///
/// ```
/// use always_encrypted::policy::TrustedKeyPaths;
///
/// let trusted = TrustedKeyPaths::strict()
///     .at_server("db.example.com", ["CurrentUser/My/0BE978BA7DA3DBBB7DD58E4A6A3C9DCB8B1A5D2C"])
///     .at_server(r"legacy\chat", [("VAULT", "keys/chat")]);
///
/// let path = "currentuser/my/0be978ba7da3dbbb7dd58e4a6a3c9dcb8b1a5d2c";
/// assert!(trusted.trusts("db.example.com,1433", "MSSQL_CERTIFICATE_STORE", path));
/// assert!(!trusted.trusts("db.example.org", "MSSQL_CERTIFICATE_STORE", path));
/// assert!(!trusted.trusts(r"legacy\chat", "ANOTHER", "keys/chat"));
/// ```
///
/// # Servers
///
/// A server goes by the name that the connection string has, `host\instance,port`; where Azure's
/// gateways send a connection changes nothing. An entry may leave out instance and port, and then
/// holds for those of the host that have no entry of their own: SqlClient compares the whole text, so
/// that a port added to the connection string loses the entry, and with it the protection.
///
/// Case, the dot that may end a host's name, and the notation of an IP address do not count either.
/// Different names of one server do: nothing is resolved, so that `localhost` and `127.0.0.1`, a host
/// and its alias, a short name and the full one need an entry each. [`strict`](Self::strict) refuses
/// where one has been forgotten.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeyPaths {
    /// What holds for servers without an entry.
    elsewhere: Trust,
    servers: HashMap<Server, Trust>,
    /// The server that these have been chosen for, as its name is written.
    server: Option<String>,
}

/// A column master key that may be named: a path, and the key store if that is pinned as well.
///
/// Made of a path, `"keys/1".into()`, or of a key store's name and a path,
/// `("VAULT", "keys/1").into()`. Neither is sensitive to ASCII case; the key store gets the path as it
/// is written here. Pin the key store where two that this process has know the same paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// In lower case.
    provider: Option<String>,
    /// As the key store is asked for it.
    key_path: String,
}

#[derive(Clone, Debug, Default)]
enum Trust {
    #[default]
    Any,
    Only(Vec<TrustedKey>),
}

/// An address without its spellings: in lower case, without protocol, brackets, last dot and default
/// instance, an IP address in its one notation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    host: String,
    instance: Option<String>,
    port: Option<u16>,
}

impl TrustedKeyPaths {
    /// Trusts every key of a server without an entry, as SqlClient does unless told otherwise.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Trusts these keys only, of whatever server has no entry of its own.
    pub fn only<K: Into<TrustedKey>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self { elsewhere: Trust::only(keys), ..Self::default() }
    }

    /// Trusts nothing but what [`at_server`](Self::at_server) lists.
    #[must_use]
    pub fn strict() -> Self {
        Self::only::<TrustedKey>([])
    }

    /// The entry of a server, in place of one that it had: these keys only. Without any, the server
    /// may name none.
    #[must_use]
    pub fn at_server<K: Into<TrustedKey>>(
        mut self,
        server: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        self.servers.insert(Server::read(server), Trust::only(keys));
        self
    }

    /// Whether the server of that name may name the master key at `key_path` in the key store
    /// `provider`.
    #[must_use]
    pub fn trusts(&self, server: &str, provider: &str, key_path: &str) -> bool {
        self.rule(&Server::read(server)).listed(provider, key_path).is_some()
    }

    /// What holds for one server, for a connection to it. Its name appears in the errors.
    #[must_use]
    pub fn for_server(&self, server: &str) -> Self {
        Self {
            elsewhere: self.rule(&Server::read(server)).clone(),
            servers: HashMap::new(),
            server: Some(server.to_owned()),
        }
    }

    /// The values of a CEK that may be tried, in their order and with their paths as they are listed,
    /// and those that may not with the reason. To be called on what [`for_server`](Self::for_server)
    /// gave.
    pub(crate) fn sort(
        &self,
        values: &[EncryptedCekValue],
    ) -> (Vec<EncryptedCekValue>, Vec<FailedCekValue>) {
        let (mut trusted, mut refused) = (Vec::new(), Vec::new());
        for value in values {
            match self.elsewhere.listed(&value.provider_name, &value.key_path) {
                Some(listed) => {
                    let key_path = listed.to_owned();
                    trusted.push(EncryptedCekValue { key_path, ..value.clone() });
                }
                None => refused.push(FailedCekValue {
                    provider: value.provider_name.clone(),
                    key_path: value.key_path.clone(),
                    error: KeyStoreError::UntrustedKeyPath(self.untrusted(value)),
                }),
            }
        }
        (trusted, refused)
    }

    /// The error of a key none of whose values may be tried.
    pub(crate) fn untrusted(&self, value: &EncryptedCekValue) -> UntrustedKeyPath {
        UntrustedKeyPath {
            server: self.server.clone(),
            provider: value.provider_name.clone(),
            key_path: value.key_path.clone(),
        }
    }

    /// The closest entry: of the very address, of the instance, of the port, of the host.
    fn rule(&self, server: &Server) -> &Trust {
        let Server { host, instance, port } = server;
        let port = port.or_else(|| instance.is_none().then_some(DEFAULT_PORT));
        let closest = [(instance.clone(), port), (instance.clone(), None), (None, port)];
        closest
            .into_iter()
            .chain([(None, None)])
            .find_map(|(instance, port)| {
                self.servers.get(&Server { host: host.clone(), instance, port })
            })
            .unwrap_or(&self.elsewhere)
    }
}

impl Trust {
    fn only<K: Into<TrustedKey>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::Only(keys.into_iter().map(Into::into).collect())
    }

    /// The path as it is listed, if it is.
    fn listed<'a>(&'a self, provider: &str, key_path: &'a str) -> Option<&'a str> {
        let Self::Only(keys) = self else { return Some(key_path) };
        let named = |key: &&TrustedKey| {
            key.key_path.eq_ignore_ascii_case(key_path)
                && key.provider.as_ref().is_none_or(|pinned| pinned.eq_ignore_ascii_case(provider))
        };
        let mut found = keys.iter().filter(named).map(|key| key.key_path.as_str());
        found.clone().find(|listed| *listed == key_path).or_else(|| found.next())
    }
}

impl TrustedKey {
    fn new(provider: Option<&str>, key_path: &str) -> Self {
        Self {
            // As the registry compares them.
            provider: provider.map(str::to_ascii_lowercase),
            key_path: key_path.to_owned(),
        }
    }
}

impl From<&str> for TrustedKey {
    fn from(key_path: &str) -> Self {
        Self::new(None, key_path)
    }
}

impl From<String> for TrustedKey {
    fn from(key_path: String) -> Self {
        Self::new(None, &key_path)
    }
}

/// The key store's name and the path.
impl<P: AsRef<str>, K: AsRef<str>> From<(P, K)> for TrustedKey {
    fn from((provider, key_path): (P, K)) -> Self {
        Self::new(Some(provider.as_ref()), key_path.as_ref())
    }
}

impl Server {
    /// `[tcp:]host[\instance][,port]`, as ADO.NET writes it. What is no such address is a host.
    fn read(name: &str) -> Self {
        let name = name.trim().to_lowercase();
        let name = name.strip_prefix("tcp:").unwrap_or(&name);
        let (rest, port) = match name.rsplit_once(',') {
            Some((rest, port)) if port.trim().parse::<u16>().is_ok() => {
                (rest, port.trim().parse().ok())
            }
            _ => (name, None),
        };
        let (host, instance) = match rest.split_once('\\') {
            Some((host, instance)) => (host.trim(), Some(instance.trim())),
            None => (rest.trim(), None),
        };
        let host = match host {
            "." | "(local)" => "localhost".to_owned(),
            _ => Self::one_notation(host),
        };
        let instance = instance.filter(|name| !matches!(*name, "" | "mssqlserver"));
        Self { host, instance: instance.map(str::to_owned), port }
    }

    fn one_notation(host: &str) -> String {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => host.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(trusted: &TrustedKeyPaths, server: &str, path: &str) -> bool {
        trusted.trusts(server, "STORE", path)
    }

    #[test]
    fn a_path_outside_of_the_list_is_not_trusted() {
        let trusted = TrustedKeyPaths::only(["CurrentUser/My/ABCD"]);
        assert!(trusts(&trusted, "db", "currentuser/my/abcd"));
        assert!(!trusts(&trusted, "db", "CurrentUser/My/ABCDE"));
        assert!(!trusts(&TrustedKeyPaths::only::<String>([]), "db", "anything"));
        assert!(trusts(&TrustedKeyPaths::any(), "db", "anything"));
    }

    #[test]
    fn without_an_entry_a_server_is_believed_and_with_an_empty_one_it_may_name_nothing() {
        let trusted =
            TrustedKeyPaths::any().at_server("a", ["k/1"]).at_server::<String>("empty", []);
        assert!(trusts(&trusted, "b", "k/2"));
        assert!(trusts(&trusted, "a", "K/1"));
        assert!(!trusts(&trusted, "a", "k/2"));
        assert!(!trusts(&trusted, "empty", "k/1"));
    }

    #[test]
    fn strictness_refuses_servers_that_are_not_listed() {
        let trusted = TrustedKeyPaths::strict().at_server("a", ["k/1"]);
        assert!(trusts(&trusted, "a", "k/1"));
        assert!(!trusts(&trusted, "a", "k/2"));
        assert!(!trusts(&trusted, "b", "k/1"));
        assert!(!trusts(&TrustedKeyPaths::strict(), "a", ""));
    }

    #[test]
    fn a_pinned_key_store_counts_and_its_case_does_not() {
        let trusted = TrustedKeyPaths::any().at_server("a", [("Vault", "k/1")]);
        assert!(trusted.trusts("a", "VAULT", "K/1"));
        assert!(!trusted.trusts("a", "STORE", "k/1"));
        let mixed: [TrustedKey; 2] = ["k/1".into(), ("VAULT", "k/2").into()];
        let trusted = TrustedKeyPaths::only(mixed);
        assert!(trusted.trusts("a", "STORE", "k/1") && trusted.trusts("a", "VAULT", "k/2"));
        assert!(!trusted.trusts("a", "STORE", "k/2"));
    }

    #[test]
    fn another_spelling_of_the_server_does_not_lose_its_entry() {
        let trusted = TrustedKeyPaths::any().at_server("db.example.com", ["k/1"]);
        for name in [
            "DB.example.com",
            "tcp:db.example.com",
            "db.example.com.",
            r"tcp:db.example.com.\chat,50000",
            "db.example.com,1433",
            "db.example.com , 50000",
            r"db.example.com\CHAT",
            r"tcp:db.example.com\chat,50000",
        ] {
            assert!(!trusts(&trusted, name, "k/2"), "{name} has lost its entry");
        }
        for other in ["db.example.com.evil.org", "db.example.com..", "db"] {
            assert!(trusts(&trusted, other, "k/2"), "{other} is another server");
        }
        for (entry, name) in [
            (".", "localhost"),
            ("[::1],1433", "::1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("[2001:DB8::A],1433", "2001:db8:0:0::a"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
            ("db.", "db"),
            ("localhost.", "."),
            ("db", r"db\MSSQLSERVER"),
            ("db,1433", "db"),
            (r"db\chat", r"db\chat,50000"),
            ("db,50000", r"db\chat,50000"),
        ] {
            let trusted = TrustedKeyPaths::any().at_server(entry, ["k/1"]);
            assert!(!trusts(&trusted, name, "k/2"), "{entry} does not hold for {name}");
        }
    }

    #[test]
    fn the_closest_entry_holds() {
        let trusted = TrustedKeyPaths::strict()
            .at_server("db", ["host"])
            .at_server("db,50000", ["port"])
            .at_server(r"db\chat", ["instance"])
            .at_server(r"db\chat,50001", ["both"]);
        for (name, path) in [
            ("db", "host"),
            (r"db\other", "host"),
            ("db,50000", "port"),
            (r"db\chat", "instance"),
            (r"db\chat,50000", "instance"),
            (r"db\chat,50001", "both"),
        ] {
            assert!(trusts(&trusted, name, path), "{name} has another entry than {path}");
        }
    }

    /// The path that a key store is asked for.
    fn asked(trusted: &TrustedKeyPaths, key_path: &str) -> Option<String> {
        let value = EncryptedCekValue {
            envelope: vec![],
            provider_name: "STORE".into(),
            key_path: key_path.into(),
            algorithm: String::new(),
        };
        let (tried, _) = trusted.for_server("db").sort(&[value]);
        tried.into_iter().next().map(|value| value.key_path)
    }

    #[test]
    fn a_key_store_where_case_counts_is_asked_for_no_key_that_is_not_listed() {
        let trusted = TrustedKeyPaths::only(["vault/Cmk", "vault/\u{e9}"]);
        for spelling in ["vault/Cmk", "vault/CMK", "VAULT/cmk"] {
            assert_eq!(asked(&trusted, spelling).as_deref(), Some("vault/Cmk"));
        }
        // The Kelvin sign, whose small letter is k, and an accent.
        for other in ["vault/Cm\u{212a}", "vault/\u{c9}"] {
            assert_eq!(asked(&trusted, other), None, "{other} is another key");
        }
        let two: [TrustedKey; 3] = ["cmk".into(), ("OTHER", "CMK").into(), "Cmk".into()];
        let trusted = TrustedKeyPaths::only(two);
        for (spelling, listed) in [("cmk", "cmk"), ("Cmk", "Cmk"), ("CMK", "cmk")] {
            assert_eq!(asked(&trusted, spelling).as_deref(), Some(listed));
        }
        assert_eq!(asked(&TrustedKeyPaths::any(), "CMK").as_deref(), Some("CMK"));
    }

    #[test]
    fn what_is_refused_says_which_server_key_store_and_path_and_what_to_add() {
        let value = EncryptedCekValue {
            envelope: vec![],
            provider_name: "VAULT".into(),
            key_path: "k/2\nforged".into(),
            algorithm: String::new(),
        };
        let trusted = TrustedKeyPaths::strict().for_server("db.example.com");
        let (tried, refused) = trusted.sort(&[value]);
        assert!(tried.is_empty());
        let text = refused[0].error.to_string();
        for part in
            [r#""db.example.com""#, r#""VAULT""#, r#""k/2\nforged""#, "TrustedKeyPaths::at_server("]
        {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}
