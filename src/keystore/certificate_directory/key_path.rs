//! The key paths of SqlClient's certificate store provider: `[location/][My/]thumbprint`.

use std::{fmt, str::FromStr};

use sha1::{Digest, Sha1};

/// SqlClient accepts paths shorter than this, in UTF-16 code units.
const PATH_LIMIT: usize = 32_767;

/// The only certificate store of a location that serves Always Encrypted.
const STORE: &str = "My";

/// The SHA-1 of a certificate's DER, which is how Windows and SqlClient name certificates.
///
/// It names and protects nothing: an envelope is believed for its signature, and a key for standing
/// in your own directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; Self::LEN]);

impl Thumbprint {
    /// Its length in bytes.
    pub const LEN: usize = 20;

    /// The thumbprint of a certificate in DER.
    #[must_use]
    pub fn of(certificate_der: &[u8]) -> Self {
        Self(Sha1::digest(certificate_der).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// 40 hexadecimal digits in upper case, as Windows shows them.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// Reads 40 hexadecimal digits in any case.
impl FromStr for Thumbprint {
    type Err = InvalidThumbprint;

    fn from_str(text: &str) -> Result<Self, InvalidThumbprint> {
        if let Some((index, found)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit())
        {
            return Err(InvalidThumbprint::Digit { position: index + 1, found });
        }
        let mut bytes = [0; Self::LEN];
        if text.len() != 2 * Self::LEN {
            return Err(InvalidThumbprint::Length { found: text.len() });
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, &digit| value << 4 | hex_value(digit));
        }
        Ok(Self(bytes))
    }
}

/// The value of a byte that is known to be a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

/// A text that is no thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidThumbprint {
    /// A character is not a hexadecimal digit. Windows' certificate dialog puts spaces between the
    /// digits and an invisible mark before the first.
    #[error(
        "character {position} of the thumbprint is {found:?}, not a hexadecimal digit; spaces and \
         invisible marks come from copying it out of a dialog"
    )]
    Digit {
        /// Which character, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
    /// There are not 40 digits.
    #[error("a thumbprint has 40 hexadecimal digits, this one has {found}")]
    Length {
        /// How many there are.
        found: usize,
    },
}

/// The two certificate store locations of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreLocation {
    /// The certificates of the user that runs the process. The only one that SqlClient has outside
    /// of Windows.
    CurrentUser,
    /// The certificates of the host.
    LocalMachine,
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CurrentUser => "CurrentUser",
            Self::LocalMachine => "LocalMachine",
        })
    }
}

/// A key path taken apart.
///
/// ```
/// use always_encrypted::keystore::{CertificateKeyPath, StoreLocation};
///
/// let path: CertificateKeyPath =
///     "localmachine/my/b3c66ffbe1db57419792e24aa970455bfac30757".parse()?;
/// assert_eq!(path.location, Some(StoreLocation::LocalMachine));
/// assert_eq!(path.to_string(), "LocalMachine/My/B3C66FFBE1DB57419792E24AA970455BFAC30757");
/// # Ok::<(), always_encrypted::keystore::CertificateKeyPathError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateKeyPath {
    /// The location, if the path names one. On Windows a path without means the local machine.
    pub location: Option<StoreLocation>,
    /// The certificate.
    pub thumbprint: Thumbprint,
}

/// As SqlClient's documentation writes it; without a location, `My/` and the thumbprint.
impl fmt::Display for CertificateKeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = self.location {
            write!(f, "{location}/")?;
        }
        write!(f, "{STORE}/{}", self.thumbprint)
    }
}

/// Reads `CurrentUser/My/<thumbprint>`, `LocalMachine/My/<thumbprint>`, `My/<thumbprint>` and
/// `<thumbprint>`; case does not count.
impl FromStr for CertificateKeyPath {
    type Err = CertificateKeyPathError;

    fn from_str(path: &str) -> Result<Self, CertificateKeyPathError> {
        if path.trim().is_empty() {
            return Err(CertificateKeyPathError::Empty);
        }
        // A UTF-8 byte is never less than a third of a UTF-16 unit; count only what may be short
        // enough.
        if path.len() >= 3 * PATH_LIMIT || path.encode_utf16().count() >= PATH_LIMIT {
            return Err(CertificateKeyPathError::TooLong);
        }
        let parts: Vec<&str> = path.splitn(4, '/').collect();
        let (location, store, thumbprint) = match *parts {
            [thumbprint] => (None, STORE, thumbprint),
            [store, thumbprint] => (None, store, thumbprint),
            [location, store, thumbprint] => (Some(parse_location(location)?), store, thumbprint),
            _ => return Err(CertificateKeyPathError::TooManyParts),
        };
        if !store.eq_ignore_ascii_case(STORE) {
            return Err(CertificateKeyPathError::Store { found: store.into() });
        }
        Ok(Self { location, thumbprint: thumbprint.parse()? })
    }
}

fn parse_location(text: &str) -> Result<StoreLocation, CertificateKeyPathError> {
    [StoreLocation::CurrentUser, StoreLocation::LocalMachine]
        .into_iter()
        .find(|location| location.to_string().eq_ignore_ascii_case(text))
        .ok_or_else(|| CertificateKeyPathError::Location { found: text.into() })
}

/// A key path that SqlClient's certificate store provider would not accept either. Whoever defined
/// the column master key is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateKeyPathError {
    /// It is empty or blank.
    #[error("it is empty; expected CurrentUser/My/<thumbprint> or LocalMachine/My/<thumbprint>")]
    Empty,
    /// It does not fit an envelope.
    #[error("it has {PATH_LIMIT} characters or more")]
    TooLong,
    /// It has more than three parts.
    #[error("it has more than three parts; expected location/My/<thumbprint>")]
    TooManyParts,
    /// Its first part is no location.
    #[error("{found:?} is not a certificate store location; expected CurrentUser or LocalMachine")]
    Location {
        /// What stands there.
        found: String,
    },
    /// It names another store than `My`.
    #[error("{found:?} is not a certificate store for Always Encrypted; expected My")]
    Store {
        /// What stands there.
        found: String,
    },
    /// Its last part is no thumbprint.
    #[error(transparent)]
    Thumbprint(#[from] InvalidThumbprint),
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "B3C66FFBE1DB57419792E24AA970455BFAC30757";

    fn parse(path: &str) -> Result<CertificateKeyPath, CertificateKeyPathError> {
        path.parse()
    }

    #[test]
    fn every_form_that_sqlclient_reads_is_read_in_any_case() {
        let (user, machine) = (Some(StoreLocation::CurrentUser), Some(StoreLocation::LocalMachine));
        for (path, location) in [
            (format!("CurrentUser/My/{HEX}"), user),
            (format!("currentuser/my/{}", HEX.to_lowercase()), user),
            (format!("LOCALMACHINE/MY/{HEX}"), machine),
            (format!("My/{HEX}"), None),
            (HEX.to_lowercase(), None),
        ] {
            let parsed = parse(&path).unwrap();
            assert_eq!((parsed.location, parsed.thumbprint.to_string()), (location, HEX.into()));
        }
    }

    #[test]
    fn what_sqlclient_refuses_is_refused_with_what_is_wrong() {
        use CertificateKeyPathError as E;
        for (path, error) in [
            (String::new(), E::Empty),
            (" \t".into(), E::Empty),
            (format!("a/CurrentUser/My/{HEX}"), E::TooManyParts),
            (format!("CurrentUser/My/{HEX}/"), E::TooManyParts),
            (format!("/My/{HEX}"), E::Location { found: String::new() }),
            (format!("Somewhere/My/{HEX}"), E::Location { found: "Somewhere".into() }),
            (format!("CurrentUser/Root/{HEX}"), E::Store { found: "Root".into() }),
            ("CurrentUser/My/".into(), InvalidThumbprint::Length { found: 0 }.into()),
            (HEX[2..].into(), InvalidThumbprint::Length { found: 38 }.into()),
            (format!("{HEX}00"), InvalidThumbprint::Length { found: 42 }.into()),
            ("B3 C6".into(), InvalidThumbprint::Digit { position: 3, found: ' ' }.into()),
            (
                format!("My/\u{200e}{HEX}"),
                InvalidThumbprint::Digit { position: 1, found: '\u{200e}' }.into(),
            ),
            ("f".repeat(PATH_LIMIT), E::TooLong),
            ("\u{20ac}".repeat(PATH_LIMIT - 1), {
                InvalidThumbprint::Digit { position: 1, found: '\u{20ac}' }.into()
            }),
        ] {
            assert_eq!(parse(&path), Err(error), "{path:.80}");
        }
    }

    #[test]
    fn a_thumbprint_reads_back_as_it_was_written() {
        let thumbprint = Thumbprint::of(b"abc");
        assert_eq!(thumbprint.to_string(), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        assert_eq!(thumbprint.to_string().parse(), Ok(thumbprint));
    }
}
