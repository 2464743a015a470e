//! The key paths of a token: `pkcs11:` URIs of RFC 7512, or a label as it is.
//!
//! A key path comes from the database server. So it may say which key of the configured token it
//! means, and nothing else: no module, no PIN, no file.

use std::fmt::{self, Write as _};

const SCHEME: &str = "pkcs11:";

/// What fits the envelope, in UTF-16 code units, as for every other key path.
const PATH_LIMIT: usize = 32_767;

/// Which private key is meant, and on what token it must lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath {
    /// `CKA_LABEL`.
    pub object: Option<String>,
    /// `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// Attributes of the token, each of which the configured one must have.
    pub token: Option<String>,
    pub serial: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
}

/// A text that is no key path of a token. Whoever defined the column master key is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidKeyPath {
    #[error(
        "it is empty; expected pkcs11:token=<token>;object=<label>;type=private, or a key's label"
    )]
    Empty,
    #[error("it has {PATH_LIMIT} characters or more")]
    TooLong,
    #[error("a label has no control characters")]
    Control,
    #[error(
        "it has a query (?); which module is loaded and where the PIN comes from is not the \
         database's to say"
    )]
    Query,
    #[error("{found:?} is no attribute; expected name=value, separated by semicolons")]
    NoAttribute { found: String },
    #[error(
        "the attribute {name:?} is not understood here; there are token, serial, manufacturer, \
         model, object, id and type"
    )]
    Unknown { name: String },
    #[error("the attribute {name} stands there twice")]
    Twice { name: &'static str },
    #[error("{found:?} must be percent-encoded in a pkcs11: URI")]
    Character { found: char },
    #[error("a percent sign is followed by two hexadecimal digits")]
    Percent,
    #[error("the value of {name} is not UTF-8")]
    NotUtf8 { name: &'static str },
    #[error("the value of {name} is empty")]
    NoValue { name: &'static str },
    #[error("it asks for type={found}; column master keys are private keys (type=private)")]
    Type { found: String },
    #[error("it names no key; expected object=<label> or id=<bytes> in it")]
    NoKey,
}

impl KeyPath {
    pub fn parse(path: &str) -> Result<Self, InvalidKeyPath> {
        // A UTF-8 byte is never less than a third of a UTF-16 unit; count only what may be short
        // enough.
        if path.len() >= 3 * PATH_LIMIT || path.encode_utf16().count() >= PATH_LIMIT {
            return Err(InvalidKeyPath::TooLong);
        }
        match path.split_at_checked(SCHEME.len()) {
            Some((scheme, attributes)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                Self::parse_attributes(attributes)
            }
            _ if path.trim().is_empty() => Err(InvalidKeyPath::Empty),
            _ if path.contains(char::is_control) => Err(InvalidKeyPath::Control),
            _ => Ok(Self { object: Some(path.to_owned()), ..Self::default() }),
        }
    }

    /// The path of a new key.
    pub fn of(token: &str, label: &str) -> Self {
        Self { token: Some(token.into()), object: Some(label.into()), ..Self::default() }
    }

    /// `pk11-path` of RFC 7512, section 2.3.
    fn parse_attributes(text: &str) -> Result<Self, InvalidKeyPath> {
        if text.contains('?') {
            return Err(InvalidKeyPath::Query);
        }
        let (mut path, mut kind) = (Self::default(), None);
        for attribute in text.split(';') {
            let Some((name, value)) = attribute.split_once('=') else {
                return Err(InvalidKeyPath::NoAttribute { found: attribute.into() });
            };
            match name {
                "token" => set_text("token", value, &mut path.token)?,
                "serial" => set_text("serial", value, &mut path.serial)?,
                "manufacturer" => set_text("manufacturer", value, &mut path.manufacturer)?,
                "model" => set_text("model", value, &mut path.model)?,
                "object" => set_text("object", value, &mut path.object)?,
                "type" => set_text("type", value, &mut kind)?,
                "id" => set("id", decode(value)?, &mut path.id)?,
                _ => return Err(InvalidKeyPath::Unknown { name: name.into() }),
            }
        }
        match kind {
            Some(kind) if kind != "private" => Err(InvalidKeyPath::Type { found: kind }),
            _ if path.object.is_none() && path.id.is_none() => Err(InvalidKeyPath::NoKey),
            _ => Ok(path),
        }
    }
}

/// The path as a URI, which reads back as what was written.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        for (name, value) in [
            ("model", &self.model),
            ("manufacturer", &self.manufacturer),
            ("serial", &self.serial),
            ("token", &self.token),
            ("object", &self.object),
        ] {
            if let Some(value) = value {
                write!(f, "{name}={};", Encoded(value.as_bytes()))?;
            }
        }
        if let Some(id) = &self.id {
            write!(f, "id={};", Encoded(id))?;
        }
        f.write_str("type=private")
    }
}

fn set_text(
    name: &'static str,
    value: &str,
    to: &mut Option<String>,
) -> Result<(), InvalidKeyPath> {
    let text = String::from_utf8(decode(value)?).map_err(|_| InvalidKeyPath::NotUtf8 { name })?;
    set(name, text, to)
}

fn set<T: AsRef<[u8]>>(
    name: &'static str,
    value: T,
    to: &mut Option<T>,
) -> Result<(), InvalidKeyPath> {
    if value.as_ref().is_empty() {
        return Err(InvalidKeyPath::NoValue { name });
    }
    match to.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidKeyPath::Twice { name }),
    }
}

/// Undoes percent-encoding. `pk11-pchar` is what may stand as it is.
fn decode(text: &str) -> Result<Vec<u8>, InvalidKeyPath> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => {
                let mut digit = || characters.next().and_then(|c| c.to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(InvalidKeyPath::Percent);
                };
                // Two digits of base 16 are a byte.
                bytes.push((high << 4 | low) as u8);
            }
            c if is_unreserved(c) || ":[]@!$'()*+,=&".contains(c) => bytes.push(c as u8),
            found => return Err(InvalidKeyPath::Character { found }),
        }
    }
    Ok(bytes)
}

/// RFC 3986, section 2.3.
fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~".contains(c)
}

struct Encoded<'a>(&'a [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match char::from(byte) {
            c if is_unreserved(c) => f.write_char(c),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{InvalidKeyPath as E, *};

    fn error(path: &str) -> InvalidKeyPath {
        KeyPath::parse(path).expect_err(path)
    }

    #[test]
    fn what_p11tool_and_pkcs11_tool_write_is_read() {
        let path = KeyPath::parse(
            "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=61a3c9d57b3b0b5d;\
             token=Orders;id=%01%fE;object=cmk%201;type=private",
        );
        let expected = KeyPath {
            object: Some("cmk 1".into()),
            id: Some(vec![1, 0xFE]),
            token: Some("Orders".into()),
            serial: Some("61a3c9d57b3b0b5d".into()),
            manufacturer: Some("SoftHSM project".into()),
            model: Some("SoftHSM v2".into()),
        };
        assert_eq!(path, Ok(expected));
    }

    #[test]
    fn a_text_without_the_scheme_is_a_label_as_it_stands() {
        for label in ["cmk", "Orders key %31; object=x", "pkcs11", "PKCS11;x", "\u{30ad}\u{30fc}"] {
            let expected = KeyPath { object: Some(label.into()), ..KeyPath::default() };
            assert_eq!(KeyPath::parse(label), Ok(expected));
        }
        assert_eq!(KeyPath::parse("PKCS11:object=a").unwrap().object.as_deref(), Some("a"));
    }

    #[test]
    fn a_path_that_would_choose_module_pin_or_file_is_refused() {
        for query in [
            "pin-source=file:/etc/shadow",
            "pin-value=1234",
            "module-path=/tmp/evil.so",
            "module-name=evil",
            "",
        ] {
            assert_eq!(error(&format!("pkcs11:object=a?{query}")), E::Query);
        }
        for name in ["pin-value", "pin-source", "module-path", "slot-id", "library-version", "x-y"]
        {
            let unknown = E::Unknown { name: name.into() };
            assert_eq!(error(&format!("pkcs11:object=a;{name}=1")), unknown);
        }
    }

    #[test]
    fn what_is_no_key_path_is_refused_with_what_is_wrong() {
        for (path, expected) in [
            ("", E::Empty),
            (" \t", E::Empty),
            ("a\nb", E::Control),
            ("pkcs11:", E::NoAttribute { found: String::new() }),
            ("pkcs11:object", E::NoAttribute { found: "object".into() }),
            ("pkcs11:object=a;", E::NoAttribute { found: String::new() }),
            ("pkcs11:Object=a", E::Unknown { name: "Object".into() }),
            ("pkcs11:%6Fbject=a", E::Unknown { name: "%6Fbject".into() }),
            ("pkcs11:object=a;object=a", E::Twice { name: "object" }),
            ("pkcs11:id=%01;id=%02", E::Twice { name: "id" }),
            ("pkcs11:object=a b", E::Character { found: ' ' }),
            ("pkcs11:object=a/b", E::Character { found: '/' }),
            ("pkcs11:object=\u{e9}", E::Character { found: '\u{e9}' }),
            ("pkcs11:object=%", E::Percent),
            ("pkcs11:object=%4", E::Percent),
            ("pkcs11:object=%4g", E::Percent),
            ("pkcs11:object=%+4", E::Percent),
            ("pkcs11:object=%\u{ff11}\u{ff11}", E::Percent),
            ("pkcs11:object=%FF", E::NotUtf8 { name: "object" }),
            ("pkcs11:object=", E::NoValue { name: "object" }),
            ("pkcs11:object=a;type=public", E::Type { found: "public".into() }),
            ("pkcs11:token=a;type=private", E::NoKey),
        ] {
            assert_eq!(error(path), expected, "{path}");
        }
        assert_eq!(error(&"a".repeat(PATH_LIMIT)), E::TooLong);
    }

    fn any_path() -> impl Strategy<Value = KeyPath> {
        let text = || proptest::option::of("\\PC{1,12}|[;=%?&/ -~]{1,12}");
        let id = proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20));
        (text(), id, text(), text(), text(), text()).prop_map(
            |(object, id, token, serial, manufacturer, model)| {
                let object = if id.is_none() { object.or(Some("k".into())) } else { object };
                KeyPath { object, id, token, serial, manufacturer, model }
            },
        )
    }

    proptest! {
        #[test]
        fn a_path_reads_back_as_it_was_written(path in any_path()) {
            prop_assert_eq!(KeyPath::parse(&path.to_string()), Ok(path));
        }

        /// No text makes the parser panic, and what it accepts it would write so that it means the
        /// same: nothing is accepted by two readings.
        #[test]
        fn whatever_is_accepted_means_the_same_when_written_anew(
            text in "(pkcs11:)?((token|object|id|type|serial|pin-value|x)=?([a-z%;?=&/ ]|%[0-9a-f]{2}|\\PC){0,6};?){0,4}"
        ) {
            if let Ok(path) = KeyPath::parse(&text) {
                prop_assert_eq!(KeyPath::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
