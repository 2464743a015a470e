//! The keys of a Java key store by their aliases.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::{
    crypto::CmkPrivateKey,
    keystore::{
        FilePasswords, KeyFileProblem, KeyFileWarning, Thumbprint,
        key_file::{
            CertifiedKey, ReadingBudget, expiry, jks,
            pem::rsa_key,
            pkcs12::{self, Opened},
        },
    },
};

/// The older format that can hold secret keys too. JDBC does not read it.
const JCEKS_MAGIC: [u8; 4] = [0xCE, 0xCE, 0xCE, 0xCE];

/// How many aliases a message lists.
const LISTED: usize = 8;

/// What a key store holds.
pub(super) struct Entries {
    path: PathBuf,
    /// By alias in lower case.
    entries: BTreeMap<String, Entry>,
    /// The password does not vouch for them.
    unauthenticated: bool,
}

struct Entry {
    key: Result<Arc<CmkPrivateKey>, KeyFileProblem>,
    certificate: Option<Vec<u8>>,
}

impl Entries {
    pub(super) fn read(
        path: &Path,
        bytes: &[u8],
        passwords: &FilePasswords,
    ) -> Result<Self, KeyFileProblem> {
        let (entries, unauthenticated) = match bytes.first_chunk() {
            Some(&jks::MAGIC) => (read_jks(path, bytes, passwords)?, false),
            Some(&JCEKS_MAGIC) => {
                return Err(KeyFileProblem::Malformed {
                    expected: "a JKS or PKCS#12 key store",
                    message: "it is JCEKS; convert it with `keytool -importkeystore \
                              -deststoretype PKCS12`"
                        .into(),
                });
            }
            _ => read_pkcs12(path, bytes, passwords)?,
        };
        Ok(Self { path: path.into(), entries, unauthenticated })
    }

    pub(super) fn key(&self, alias: &str) -> Option<Result<Arc<CmkPrivateKey>, KeyFileProblem>> {
        self.entries.get(&alias.to_lowercase()).map(|entry| entry.key.clone())
    }

    pub(super) fn aliases(&self) -> Vec<String> {
        let usable = self.entries.iter().filter(|(_, entry)| entry.key.is_ok());
        usable.map(|(alias, _)| alias.clone()).collect()
    }

    pub(super) fn skipped(&self) -> Vec<(String, KeyFileProblem)> {
        let problem = |(alias, entry): (&String, &Entry)| {
            entry.key.as_ref().err().map(|problem| (alias.clone(), problem.clone()))
        };
        self.entries.iter().filter_map(problem).collect()
    }

    /// The aliases, for a message about one that is not there.
    pub(super) fn summary(&self) -> String {
        let mut listed: Vec<String> =
            self.entries.keys().take(LISTED).map(|alias| format!("{alias:?}")).collect();
        match self.entries.len().saturating_sub(LISTED) {
            0 => {}
            more => listed.push(format!("{more} more")),
        }
        format!(
            "private keys there: {}",
            if listed.is_empty() { "none".into() } else { listed.join(", ") }
        )
    }

    pub(super) fn warnings(&self) -> Vec<KeyFileWarning> {
        let now = SystemTime::now();
        let expired = |entry: &Entry| {
            let der = entry.certificate.as_deref().filter(|_| entry.key.is_ok())?;
            let not_after = expiry(der).filter(|end| *end < now)?;
            let thumbprint = Thumbprint::of(der);
            Some(KeyFileWarning::Expired { path: self.path.clone(), thumbprint, not_after })
        };
        let path = || self.path.clone();
        let unauthenticated =
            self.unauthenticated.then(|| KeyFileWarning::Unauthenticated { path: path() });
        unauthenticated.into_iter().chain(self.entries.values().filter_map(expired)).collect()
    }
}

fn read_jks(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
) -> Result<BTreeMap<String, Entry>, KeyFileProblem> {
    let password = passwords.of(path)?.ok_or(KeyFileProblem::NoPassword)?;
    // Of two aliases that differ in case the later counts, as for Java.
    let entry = |found: jks::KeyEntry| {
        let key = found.key.map(Arc::new);
        (found.alias.to_lowercase(), Entry { key, certificate: found.certificate })
    };
    Ok(jks::read(bytes, &password)?.into_iter().map(entry).collect())
}

fn read_pkcs12(
    path: &Path,
    bytes: &[u8],
    passwords: &FilePasswords,
) -> Result<(BTreeMap<String, Entry>, bool), KeyFileProblem> {
    let mut budget = ReadingBudget::default();
    let Opened { keys, certificates, unauthenticated } =
        pkcs12::open(path, bytes, passwords, &mut budget.file())?;
    let certificates: Vec<(CertifiedKey, &[u8])> = certificates
        .iter()
        .filter_map(|der| CertifiedKey::of(der).ok().map(|key| (key, der.as_slice())))
        .collect();
    let mut entries = BTreeMap::new();
    let mut nameless = 0;
    for pkcs12::Key { name, pkcs8 } in keys {
        // Java counts keys without a name.
        let alias = name.map_or_else(
            || {
                nameless += 1;
                format!("{nameless}")
            },
            |name| name.to_lowercase(),
        );
        let key = pkcs8.and_then(|pkcs8| rsa_key(&pkcs8));
        let of_key = |key: &CmkPrivateKey| certificates.iter().find(|(c, _)| c.matches(key));
        let certificate = key.as_ref().ok().and_then(of_key).map(|(_, der)| der.to_vec());
        entries.insert(alias, Entry { key: key.map(Arc::new), certificate });
    }
    Ok((entries, unauthenticated))
}
