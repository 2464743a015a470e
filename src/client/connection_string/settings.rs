//! From keywords and values to a [`Config`]: which value counts, and what it must look like.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    super::config::{Config, ConfigError, Encrypt},
    Pair, Scanner,
    keywords::{self, Keyword, Setting},
    server,
};
use crate::policy::ColumnEncryption;

/// A setting as it was written.
struct Entry {
    setting: Setting,
    /// The keyword's usual spelling.
    keyword: &'static str,
    value: Zeroizing<String>,
}

/// Reads all pairs and applies them.
pub(super) fn read(pairs: Scanner<'_>) -> Result<Config, ConfigError> {
    let entries = collect(pairs)?;
    synonyms_agree(&entries)?;
    let mut config = Config::new();
    for entry in &entries {
        config = apply(config, entry)?;
    }
    let integrated = entries.iter().find(|entry| entry.setting == Setting::IntegratedSecurity);
    match integrated {
        Some(entry) if boolean(entry)? => Err(refuse_integrated(entry.keyword, &config)),
        _ => Ok(config),
    }
}

/// The last value of each keyword, known ones only. An empty value takes the keyword back.
fn collect(pairs: Scanner<'_>) -> Result<Vec<Entry>, ConfigError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut after_password = false;
    for pair in pairs {
        let Pair { position, name, value } = pair?;
        let Some((keyword, meaning)) = keywords::find(&name) else {
            return Err(unknown(&name, position, after_password));
        };
        after_password = false;
        match meaning {
            Keyword::Ignored => {}
            Keyword::Unsupported { unless, reason } => {
                let harmless = unless.iter().any(|known| known.eq_ignore_ascii_case(&value));
                if !value.is_empty() && !harmless {
                    return Err(ConfigError::Unsupported { keyword, reason });
                }
            }
            Keyword::Is(setting) => {
                after_password = setting == Setting::Password;
                entries.retain(|entry| entry.keyword != keyword);
                if !value.is_empty() {
                    entries.push(Entry { setting, keyword, value });
                }
            }
        }
    }
    Ok(entries)
}

/// Names an unknown keyword, unless it may be the second half of a password.
fn unknown(name: &str, position: usize, after_password: bool) -> ConfigError {
    match keywords::closest(name) {
        None if after_password => ConfigError::UnknownAfterPassword { position },
        suggestion => ConfigError::UnknownKeyword { keyword: shortened(name), suggestion },
    }
}

fn synonyms_agree(entries: &[Entry]) -> Result<(), ConfigError> {
    for (i, later) in entries.iter().enumerate() {
        for earlier in entries.iter().take(i).filter(|entry| entry.setting == later.setting) {
            let same = if later.setting == Setting::ColumnEncryption {
                column_encryption(earlier)? == column_encryption(later)?
            } else {
                earlier.value == later.value
            };
            if !same {
                return Err(ConfigError::Contradiction {
                    first: earlier.keyword.to_owned(),
                    second: later.keyword.to_owned(),
                    reason: "they mean the same setting and have different values; keep one",
                });
            }
        }
    }
    Ok(())
}

fn apply(config: Config, entry: &Entry) -> Result<Config, ConfigError> {
    let text = entry.value.as_str();
    Ok(match entry.setting {
        Setting::ApplicationIntent => config.read_only(read_only(entry)?),
        Setting::ApplicationName => config.application_name(text),
        Setting::CaCertificate => config.ca_certificate(text),
        Setting::ColumnEncryption => config.column_encryption(column_encryption(entry)?),
        Setting::CommandTimeout => config.command_timeout(seconds(entry)?),
        Setting::ConnectTimeout => config.connect_timeout(seconds(entry)?),
        Setting::Database => config.database(text),
        Setting::Encrypt => config.encrypt(encrypt(entry)?),
        Setting::HostNameInCertificate => config.host_name_in_certificate(text),
        // Not a setting of Config: it is an error, or nothing.
        Setting::IntegratedSecurity => config,
        Setting::MultiSubnetFailover => config.multi_subnet_failover(boolean(entry)?),
        Setting::PacketSize => config.packet_size(packet_size(entry)?),
        Setting::Password => config.password(text),
        Setting::Server => server::read(config, text)?,
        Setting::ServerCertificate => config.server_certificate(text),
        Setting::TrustServerCertificate => config.trust_server_certificate(boolean(entry)?),
        Setting::User => config.user(text),
        Setting::WorkstationId => config.workstation_id(text),
    })
}

fn refuse_integrated(keyword: &'static str, config: &Config) -> ConfigError {
    if config.user.is_some() || config.password.is_some() {
        return ConfigError::Contradiction {
            first: format!("{keyword}=true"),
            second: "User ID or Password".to_owned(),
            reason: "the one logs in as the process's user, the other as a SQL login; keep one",
        };
    }
    ConfigError::Unsupported {
        keyword,
        reason: "take it out of the string, enable tiberius' feature for it \
                 (integrated-auth-gssapi or winauth) and hand AuthMethod::Integrated to \
                 Config::authentication",
    }
}

fn read_only(entry: &Entry) -> Result<bool, ConfigError> {
    choose(entry, &[("readonly", true), ("readwrite", false)], "ReadOnly or ReadWrite")
}

fn column_encryption(entry: &Entry) -> Result<ColumnEncryption, ConfigError> {
    let first = entry.value.split([',', '-']).next().unwrap_or_default().trim();
    if ["vbs", "sgx"].iter().any(|kind| first.eq_ignore_ascii_case(kind)) {
        return Err(ConfigError::Unsupported {
            keyword: entry.keyword,
            reason: "secure enclaves are not; say Enabled",
        });
    }
    let values = [
        ("enabled", ColumnEncryption::Enabled),
        ("resultsetonly", ColumnEncryption::ResultSetOnly),
        ("disabled", ColumnEncryption::Disabled),
        ("true", ColumnEncryption::Enabled),
        ("false", ColumnEncryption::Disabled),
        ("yes", ColumnEncryption::Enabled),
        ("no", ColumnEncryption::Disabled),
    ];
    choose(entry, &values, "Enabled, ResultSetOnly or Disabled")
}

fn encrypt(entry: &Entry) -> Result<Encrypt, ConfigError> {
    let values = [
        ("true", Encrypt::Mandatory),
        ("yes", Encrypt::Mandatory),
        ("mandatory", Encrypt::Mandatory),
        ("false", Encrypt::LoginOnly),
        ("no", Encrypt::LoginOnly),
        ("optional", Encrypt::LoginOnly),
        ("strict", Encrypt::Strict),
    ];
    choose(entry, &values, "true, false or strict")
}

fn boolean(entry: &Entry) -> Result<bool, ConfigError> {
    let mut values = vec![("true", true), ("yes", true), ("false", false), ("no", false)];
    if entry.setting == Setting::IntegratedSecurity {
        values.push(("sspi", true));
    }
    choose(entry, &values, "true or false")
}

fn seconds(entry: &Entry) -> Result<Duration, ConfigError> {
    match entry.value.trim().parse::<u32>() {
        Ok(seconds) if i32::try_from(seconds).is_ok() => Ok(Duration::from_secs(seconds.into())),
        _ => Err(invalid(entry, "a number of seconds, 0 to wait for ever")),
    }
}

fn packet_size(entry: &Entry) -> Result<u32, ConfigError> {
    match entry.value.trim().parse() {
        Ok(bytes @ 512..=32767) => Ok(bytes),
        // What SqlClient allows, and no packet header can say twice over.
        Ok(32768) => Ok(32767),
        _ => Err(invalid(entry, "a number of bytes from 512 to 32767")),
    }
}

fn choose<T: Copy>(
    entry: &Entry,
    values: &[(&str, T)],
    expected: &'static str,
) -> Result<T, ConfigError> {
    let written = entry.value.trim();
    values
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(written))
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| invalid(entry, expected))
}

fn invalid(entry: &Entry, expected: &'static str) -> ConfigError {
    ConfigError::InvalidValue { keyword: entry.keyword, value: shortened(&entry.value), expected }
}

/// Enough of a text to find it again.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    let mut start: String =
        text.chars().take(MOST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        start.push('…');
    }
    start
}
