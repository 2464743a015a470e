//! Collations: which names are known, how they look on the wire, and how they compare.
//!
//! SQL_Latin1_General_CP1 and one family of Windows' for each code page, case sensitive or not, accent sensitive, and
//! the binary ones. Weights are Unicode's simple lower case, not Windows' tables, so the order of punctuation differs.

use std::cmp::Ordering;

use crate::error::{Result, SqlError};
use crate::types::text;

/// The database's collation, and so that of every column which names none.
pub(crate) const DEFAULT: &str = "SQL_Latin1_General_CP1_CI_AS";

/// Windows' collations: name, LCID, code page.
const FAMILIES: [(&str, u32, u16, &encoding_rs::Encoding); 12] = [
    ("Latin1_General", LCID_EN_US, 1252, encoding_rs::WINDOWS_1252),
    ("Polish", 0x0415, 1250, encoding_rs::WINDOWS_1250),
    ("Cyrillic_General", 0x0419, 1251, encoding_rs::WINDOWS_1251),
    ("Greek", 0x0408, 1253, encoding_rs::WINDOWS_1253),
    ("Turkish", 0x041F, 1254, encoding_rs::WINDOWS_1254),
    ("Hebrew", 0x040D, 1255, encoding_rs::WINDOWS_1255),
    ("Arabic", 0x0401, 1256, encoding_rs::WINDOWS_1256),
    ("Thai", 0x041E, 874, encoding_rs::WINDOWS_874),
    ("Japanese", 0x0411, 932, encoding_rs::SHIFT_JIS),
    ("Chinese_PRC", 0x0804, 936, encoding_rs::GBK),
    ("Korean_Wansung", 0x0412, 949, encoding_rs::EUC_KR),
    ("Chinese_Taiwan_Stroke", 0x0404, 950, encoding_rs::BIG5),
];

/// How strings compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    IgnoreCase,
    CaseSensitive,
    Binary,
}

/// A collation by its canonical name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collation {
    pub(crate) name: String,
    pub(crate) order: Order,
    /// `_BIN2`: what deterministic encryption asks of strings. `_BIN` is not enough.
    pub(crate) bin2: bool,
    pub(crate) utf8: bool,
    wire: [u8; 5],
}

// MS-TDS COLLATION: LCID in bits 0..20, flags from bit 20, version in bits 28..32, then the sort id.
const LCID_EN_US: u32 = 0x0409;
const F_IGNORE_CASE: u32 = 0x0010_0000;
const F_IGNORE_KANA: u32 = 0x0040_0000;
const F_IGNORE_WIDTH: u32 = 0x0080_0000;
const F_BINARY: u32 = 0x0100_0000;
const F_BINARY2: u32 = 0x0200_0000;
const F_UTF8: u32 = 0x0400_0000;
const VERSION_100: u32 = 0x2000_0000;

impl Default for Collation {
    fn default() -> Self {
        Self {
            name: DEFAULT.to_owned(),
            order: Order::IgnoreCase,
            bin2: false,
            utf8: false,
            wire: [0x09, 0x04, 0xD0, 0x00, 0x34],
        }
    }
}

impl Collation {
    /// By name, in any case.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let invalid = || SqlError::new(448, format!("Invalid collation '{name}'."));
        let upper = name.to_ascii_uppercase();
        if upper == "DATABASE_DEFAULT" {
            return Ok(Self::default());
        }
        let family = FAMILIES.iter().find_map(|(family, lcid, ..)| {
            let rest = upper.strip_prefix(&family.to_ascii_uppercase())?.strip_prefix('_')?;
            Some((*family, *lcid, rest))
        });
        let (prefix, lcid, rest, sort_ids) =
            match (upper.strip_prefix("SQL_LATIN1_GENERAL_CP1_"), family) {
                (Some(rest), _) => ("SQL_Latin1_General_CP1_".to_owned(), LCID_EN_US, rest, true),
                (None, Some((family, lcid, rest))) => (format!("{family}_"), lcid, rest, false),
                (None, None)
                    if upper.contains("_CI_")
                        || upper.contains("_CS_")
                        || upper.contains("_BIN") =>
                {
                    return Err(SqlError::unsupported(format!("the collation {name}")));
                }
                (None, None) => return Err(invalid()),
            };
        let (version, rest) = match rest.strip_prefix("100_") {
            Some(rest) if !sort_ids => ("100_", rest),
            _ => ("", rest),
        };
        let mut flags = lcid;
        if !version.is_empty() {
            flags |= VERSION_100;
        }
        let utf8 = rest.ends_with("_UTF8");
        if utf8 {
            if flags & VERSION_100 == 0 {
                return Err(invalid());
            }
            flags |= F_UTF8;
        }
        let mut parts = rest.split('_').filter(|part| *part != "UTF8" && *part != "SC").peekable();
        let (order, bin2) = match parts.next() {
            Some("BIN2") if !sort_ids => (Order::Binary, true),
            Some("BIN") if !sort_ids => (Order::Binary, false),
            Some("CI") => (Order::IgnoreCase, false),
            Some("CS") => (Order::CaseSensitive, false),
            _ => return Err(invalid()),
        };
        let mut sort_id = 0;
        if order == Order::Binary {
            flags |= if bin2 { F_BINARY2 } else { F_BINARY };
        } else {
            match parts.next() {
                Some("AS") => {}
                Some("AI") => {
                    return Err(SqlError::unsupported(format!(
                        "the accent insensitive collation {name}"
                    )));
                }
                _ => return Err(invalid()),
            }
            flags |= F_IGNORE_KANA | F_IGNORE_WIDTH;
            if order == Order::IgnoreCase {
                flags |= F_IGNORE_CASE;
            }
            if sort_ids {
                sort_id = if order == Order::IgnoreCase { 0x34 } else { 0x33 };
            }
        }
        if parts.next().is_some() {
            return Err(SqlError::unsupported(format!("the collation {name}")));
        }
        let [a, b, c, d] = flags.to_le_bytes();
        Ok(Self {
            name: format!("{prefix}{version}{rest}"),
            order,
            bin2,
            utf8,
            wire: [a, b, c, d, sort_id],
        })
    }

    /// A collation with the code page that five bytes on the wire name, for reading char and varchar values.
    pub(crate) fn of_wire(wire: [u8; 5]) -> Self {
        let [a, b, c, d, _] = wire;
        Self { utf8: u32::from_le_bytes([a, b, c, d]) & F_UTF8 != 0, wire, ..Self::default() }
    }

    /// The five bytes of MS-TDS COLLATION.
    pub(crate) fn wire(&self) -> [u8; 5] {
        self.wire
    }

    /// COLLATIONPROPERTY. What is not known is NULL, as in SQL Server.
    pub(crate) fn property(&self, property: &str) -> Option<i64> {
        let [a, b, c, d, _] = self.wire;
        let flags = u32::from_le_bytes([a, b, c, d]);
        // NORM_IGNORECASE, NORM_IGNOREKANATYPE and NORM_IGNOREWIDTH of Windows.
        let style = [(F_IGNORE_CASE, 1), (F_IGNORE_KANA, 0x1_0000), (F_IGNORE_WIDTH, 0x2_0000)];
        match property.to_ascii_lowercase().as_str() {
            "codepage" => Some(if self.utf8 { 65001 } else { i64::from(self.code_page().0) }),
            "lcid" => Some(i64::from(self.lcid())),
            "comparisonstyle" => {
                Some(style.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, n)| n).sum())
            }
            "version" => Some(if flags & VERSION_100 == 0 { 0 } else { 2 }),
            _ => None,
        }
    }

    /// Whether its code page is the default collation's.
    pub(crate) fn is_latin1(&self) -> bool {
        !self.utf8 && self.code_page().0 == 1252
    }

    fn lcid(&self) -> u32 {
        let [a, b, c, d, _] = self.wire;
        u32::from_le_bytes([a, b, c, d]) & 0x000F_FFFF
    }

    /// The code page that is not UTF-8: that of the LCID, and that of Western Europe for those that are not known.
    fn code_page(&self) -> (u16, &'static encoding_rs::Encoding) {
        let lcid = self.lcid();
        let family = FAMILIES.iter().find(|(_, known, ..)| *known == lcid);
        family.map_or((1252, encoding_rs::WINDOWS_1252), |(_, _, number, encoding)| {
            (*number, encoding)
        })
    }

    /// The name under which SQLite knows the order.
    pub(crate) fn sqlite_name(&self) -> &'static str {
        match self.order {
            Order::IgnoreCase => "TDS_CI",
            Order::CaseSensitive => "TDS_CS",
            Order::Binary => "TDS_BIN",
        }
    }

    /// Bytes of a char or varchar value in this collation's code page; what it lacks becomes '?'.
    pub(crate) fn encode(&self, text: &str) -> Vec<u8> {
        if self.utf8 {
            return String::from_utf16_lossy(&text::to_utf16(text)).into_bytes();
        }
        let encoding = self.code_page().1;
        let mut bytes = Vec::with_capacity(text.len());
        let plain = String::from_utf16_lossy(&text::to_utf16(text));
        let mut buffer = [0u8; 4];
        for c in plain.chars() {
            let (encoded, _, unmappable) = encoding.encode(c.encode_utf8(&mut buffer));
            if unmappable { bytes.push(b'?') } else { bytes.extend_from_slice(&encoded) }
        }
        bytes
    }

    /// Text of a char or varchar value.
    pub(crate) fn decode(&self, bytes: &[u8]) -> String {
        if self.utf8 {
            text::from_utf16(String::from_utf8_lossy(bytes).encode_utf16())
        } else {
            self.code_page().1.decode_without_bom_handling(bytes).0.into_owned()
        }
    }
}

/// Compares as SQL Server does: trailing blanks do not count, under any collation.
pub(crate) fn compare(order: Order, left: &str, right: &str) -> Ordering {
    let left = left.trim_end_matches(' ');
    let right = right.trim_end_matches(' ');
    match order {
        Order::Binary => text::to_utf16(left).cmp(&text::to_utf16(right)),
        Order::IgnoreCase => folded(left).cmp(folded(right)),
        Order::CaseSensitive => folded(left).cmp(folded(right)).then_with(|| right.cmp(left)),
    }
}

pub(crate) fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_page_has_its_characters() {
        for (name, page, text, bytes) in [
            ("Cyrillic_General_BIN2", 1251, "Привет", &b"\xCF\xF0\xE8\xE2\xE5\xF2"[..]),
            ("Cyrillic_General_100_CI_AS", 1251, "я", b"\xFF"),
            ("Japanese_BIN2", 932, "日本", b"\x93\xFA\x96\x7B"),
            ("Greek_CI_AS", 1253, "ω", b"\xF9"),
            ("Latin1_General_CI_AS", 1252, "ω€", b"?\x80"),
        ] {
            let collation = Collation::parse(name).unwrap();
            assert_eq!(collation.name, name);
            assert_eq!(collation.property("CodePage"), Some(page), "{name}");
            assert_eq!(collation.encode(text), bytes, "{name}");
            assert_eq!(Collation::of_wire(collation.wire()).encode(text), bytes, "{name}");
        }
    }

    #[test]
    fn known_collations_have_sql_servers_bytes() {
        assert_eq!(Collation::parse(DEFAULT).unwrap(), Collation::default());
        let bin2 = Collation::parse("latin1_general_bin2").unwrap();
        assert_eq!(bin2.wire(), [0x09, 0x04, 0x00, 0x02, 0x00]);
        assert!(bin2.bin2);
        assert!(!Collation::parse("Latin1_General_BIN").unwrap().bin2);
        assert!(Collation::parse("Latin1_General_100_BIN2_UTF8").unwrap().utf8);
        let ask = |name, property| Collation::parse(name).unwrap().property(property);
        assert_eq!(ask(DEFAULT, "ComparisonStyle"), Some(196_609));
        assert_eq!(ask("Latin1_General_100_BIN2_UTF8", "CODEPAGE"), Some(65001));
        assert_eq!(ask("Latin1_General_BIN2", "ComparisonStyle"), Some(0));
        assert_eq!(ask("Latin1_General_BIN2", "nonsense"), None);
        assert_eq!(Collation::parse("Nonsense").unwrap_err().number, 448);
        assert_eq!(Collation::parse("Latin1_General_CI_AI").unwrap_err().number, 49999);
    }

    #[test]
    fn trailing_blanks_and_case_do_not_distinguish() {
        assert_eq!(compare(Order::IgnoreCase, "abc  ", "ABC"), Ordering::Equal);
        assert_ne!(compare(Order::CaseSensitive, "abc", "ABC"), Ordering::Equal);
        assert_eq!(compare(Order::Binary, "abc ", "abc"), Ordering::Equal);
        assert_eq!(compare(Order::Binary, "B", "a"), Ordering::Less);
    }
}
