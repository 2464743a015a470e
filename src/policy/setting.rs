//! How much of Always Encrypted is wanted.

use std::{fmt, str::FromStr};

/// The setting of a connection (`Column Encryption Setting`) or of one statement, as SqlClient's
/// `SqlCommandColumnEncryptionSetting` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColumnEncryption {
    /// Neither encrypts nor decrypts. The cells of encrypted columns appear as they are stored, as
    /// `varbinary`, and the server refuses plaintext for an encrypted column (error 206).
    #[default]
    Disabled,
    /// Decrypts results. Parameters are sent as they are and nobody asks the server about them,
    /// which saves a round trip for a statement whose parameters go to no encrypted column.
    ResultSetOnly,
    /// Encrypts parameters and decrypts results.
    Enabled,
}

impl ColumnEncryption {
    const NAMES: [(&str, Self); 3] = [
        ("Disabled", Self::Disabled),
        ("ResultSetOnly", Self::ResultSetOnly),
        ("Enabled", Self::Enabled),
    ];
}

/// `true` is [`ColumnEncryption::Enabled`], `false` is [`ColumnEncryption::Disabled`].
impl From<bool> for ColumnEncryption {
    fn from(enabled: bool) -> Self {
        if enabled { Self::Enabled } else { Self::Disabled }
    }
}

impl fmt::Display for ColumnEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, setting)| setting == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The text is none of `Disabled`, `ResultSetOnly` and `Enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a column encryption setting is Disabled, ResultSetOnly or Enabled")]
pub struct UnknownSetting;

/// In upper or lower case.
impl FromStr for ColumnEncryption {
    type Err = UnknownSetting;

    fn from_str(text: &str) -> Result<Self, UnknownSetting> {
        let named = Self::NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        named.map(|(_, setting)| *setting).ok_or(UnknownSetting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_as_it_is_written() {
        for (name, setting) in ColumnEncryption::NAMES {
            assert_eq!(setting.to_string(), name);
            assert_eq!(name.to_uppercase().parse(), Ok(setting));
        }
        assert_eq!("on".parse::<ColumnEncryption>(), Err(UnknownSetting));
    }
}
