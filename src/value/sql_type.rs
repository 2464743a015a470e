//! The SQL types that a column may have to be encrypted.

use std::fmt;

use super::{DeclarationError, declaration};

/// The longest `varchar(n)` or `varbinary(n)` that is not `max`, in bytes.
pub(super) const MAX_BYTES: u16 = 8000;
/// The longest `nvarchar(n)` that is not `max`, in UTF-16 code units.
pub(super) const MAX_UNITS: u16 = 4000;
/// The largest precision of `decimal`, in decimal digits.
pub(super) const MAX_PRECISION: u8 = 38;
/// The largest scale of `time`, `datetime2` and `datetimeoffset`: units of 100 ns.
pub(super) const MAX_TIME_SCALE: u8 = 7;
/// What `max` stands for: 2³¹ − 1 bytes.
const MAX_LOB_BYTES: usize = 0x7FFF_FFFF;

/// The declared length of a `varchar`, `nvarchar` or `varbinary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// So many at most: UTF-16 code units for `nvarchar` (1 to 4000), otherwise bytes (1 to 8000).
    Bounded(u16),
    /// `max`: up to 2³¹ − 1 bytes.
    Max,
}

/// The type of a column or parameter, as far as it can be encrypted.
///
/// Not among them, because SQL Server does not encrypt them: `xml`, `text`, `ntext`, `image`,
/// `timestamp`/`rowversion`, `sql_variant`, `hierarchyid`, `geography`, `geometry`, `json`,
/// `vector`, CLR and alias types.
///
/// Its [`Display`](fmt::Display) is T-SQL: `nvarchar(36)`, `decimal(18,4)`, `varbinary(max)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqlType {
    /// `bit`
    Bit,
    /// `tinyint`: 0 to 255.
    TinyInt,
    /// `smallint`: 16 bits.
    SmallInt,
    /// `int`: 32 bits.
    Int,
    /// `bigint`: 64 bits.
    BigInt,
    /// `real`, which is also `float(1)` to `float(24)`.
    Real,
    /// `float`, which is `float(25)` to `float(53)`.
    Float,
    /// `decimal(precision,scale)`
    Decimal {
        /// Decimal digits in all, 1 to 38.
        precision: u8,
        /// Decimal digits after the point, at most `precision`.
        scale: u8,
    },
    /// `numeric(precision,scale)`
    Numeric {
        /// Decimal digits in all, 1 to 38.
        precision: u8,
        /// Decimal digits after the point, at most `precision`.
        scale: u8,
    },
    /// `money`
    Money,
    /// `smallmoney`
    SmallMoney,
    /// `date`
    Date,
    /// `time(scale)`
    Time {
        /// Decimal digits of the seconds' fraction, 0 to 7.
        scale: u8,
    },
    /// `datetime`
    DateTime,
    /// `smalldatetime`
    SmallDateTime,
    /// `datetime2(scale)`
    DateTime2 {
        /// Decimal digits of the seconds' fraction, 0 to 7.
        scale: u8,
    },
    /// `datetimeoffset(scale)`
    DateTimeOffset {
        /// Decimal digits of the seconds' fraction, 0 to 7.
        scale: u8,
    },
    /// `char(n)`: n bytes, 1 to 8000.
    Char(u16),
    /// `varchar(n)` or `varchar(max)`
    VarChar(Length),
    /// `nchar(n)`: n UTF-16 code units, 1 to 4000.
    NChar(u16),
    /// `nvarchar(n)` or `nvarchar(max)`
    NVarChar(Length),
    /// `binary(n)`: n bytes, 1 to 8000.
    Binary(u16),
    /// `varbinary(n)` or `varbinary(max)`
    VarBinary(Length),
    /// `uniqueidentifier`
    UniqueIdentifier,
}

impl SqlType {
    /// Reads a type as a declaration of `sp_executesql` spells it: the `decimal(18, 4)` of
    /// `@price decimal(18, 4)`.
    ///
    /// Upper or lower case, blanks, brackets around the name, the synonyms of ISO and the defaults
    /// of T-SQL are understood: `decimal` is `decimal(18,0)`, `datetime2` is `datetime2(7)`,
    /// `nvarchar` is `nvarchar(1)`, `float(24)` is `real`.
    ///
    /// # Errors
    ///
    /// The text is not a type, or not one that can be encrypted; see [`DeclarationError`].
    ///
    /// ```
    /// use always_encrypted::value::{Length, SqlType};
    ///
    /// let sql_type = SqlType::parse_declaration("NVarChar ( 36 )")?;
    /// assert_eq!(sql_type, SqlType::NVarChar(Length::Bounded(36)));
    /// assert_eq!(sql_type.to_string(), "nvarchar(36)");
    /// # Ok::<(), always_encrypted::value::DeclarationError>(())
    /// ```
    pub fn parse_declaration(declaration: &str) -> Result<Self, DeclarationError> {
        declaration::parse(declaration)
    }

    /// Whether it is text: `char`, `varchar`, `nchar` or `nvarchar`.
    #[must_use]
    pub const fn is_string(self) -> bool {
        matches!(self, Self::Char(_) | Self::VarChar(_)) || self.is_unicode()
    }

    /// Whether it is text in UTF-16: `nchar` or `nvarchar`.
    #[must_use]
    pub const fn is_unicode(self) -> bool {
        matches!(self, Self::NChar(_) | Self::NVarChar(_))
    }

    /// Whether it is `binary` or `varbinary`.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Binary(_) | Self::VarBinary(_))
    }

    /// Whether the normal form is as long as the value: strings and binaries. That of every other
    /// type has one length.
    #[must_use]
    pub const fn is_variable_length(self) -> bool {
        self.is_string() || self.is_binary()
    }

    /// The longest normal form of the type, in bytes.
    #[must_use]
    pub const fn max_normal_form_len(self) -> usize {
        match self {
            Self::Bit | Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt => 8,
            Self::Money | Self::SmallMoney | Self::Float | Self::DateTime => 8,
            Self::Real | Self::SmallDateTime => 4,
            Self::Decimal { .. } | Self::Numeric { .. } => 17,
            Self::Date => 3,
            Self::Time { .. } => 5,
            Self::DateTime2 { .. } => 8,
            Self::DateTimeOffset { .. } => 10,
            Self::UniqueIdentifier => 16,
            Self::Char(n) | Self::Binary(n) => n as usize,
            Self::NChar(n) => 2 * n as usize,
            Self::VarChar(Length::Bounded(n)) | Self::VarBinary(Length::Bounded(n)) => n as usize,
            Self::NVarChar(Length::Bounded(n)) => 2 * n as usize,
            Self::VarChar(Length::Max) | Self::VarBinary(Length::Max) => MAX_LOB_BYTES,
            Self::NVarChar(Length::Max) => MAX_LOB_BYTES - 1,
        }
    }

    /// The length in bytes of the normal form that `data_len` bytes of data have.
    ///
    /// Reserve it before [`normalize`](super::normalize): a vector that grows leaves a copy of what
    /// it held in freed memory.
    #[must_use]
    pub const fn normal_form_len(self, data_len: usize) -> usize {
        if self.is_variable_length() { data_len } else { self.max_normal_form_len() }
    }

    /// The length in bytes of the data that a normal form of `normal_form_len` bytes has.
    ///
    /// Reserve it before [`denormalize`](super::denormalize). Fixed strings and binaries are as
    /// long as their type says.
    #[must_use]
    pub const fn data_len(self, normal_form_len: usize) -> usize {
        match self {
            Self::Bit | Self::TinyInt => 1,
            Self::SmallInt => 2,
            Self::Int | Self::Real | Self::SmallMoney | Self::SmallDateTime => 4,
            Self::BigInt | Self::Float | Self::Money | Self::DateTime => 8,
            Self::Decimal { precision, .. } | Self::Numeric { precision, .. } => {
                1 + magnitude_width(precision)
            }
            Self::Date => 3,
            Self::Time { scale } => time_width(scale),
            Self::DateTime2 { scale } => time_width(scale) + 3,
            Self::DateTimeOffset { scale } => time_width(scale) + 5,
            Self::UniqueIdentifier => 16,
            Self::Char(_) | Self::Binary(_) | Self::NChar(_) => self.max_normal_form_len(),
            Self::VarChar(_) | Self::NVarChar(_) | Self::VarBinary(_) => normal_form_len,
        }
    }

    /// The same type, declared no longer than a value of `data_len` bytes needs.
    ///
    /// SQL Server takes an encrypted parameter that is declared shorter than its column, never one
    /// that is longer, so a driver that declares `nvarchar(4000)` for every string has to be
    /// corrected. A value that is longer than the type keeps the type: it is
    /// [`normalize`](super::normalize)'s to refuse. Types other than strings and binaries are
    /// returned as they are.
    ///
    /// ```
    /// use always_encrypted::value::{Length, SqlType};
    ///
    /// let declared = SqlType::NVarChar(Length::Bounded(4000));
    /// assert_eq!(declared.shrunk_to(72).to_string(), "nvarchar(36)");
    /// assert_eq!(declared.shrunk_to(0).to_string(), "nvarchar(1)");
    /// ```
    #[must_use]
    pub fn shrunk_to(self, data_len: usize) -> Self {
        let (unit, limit) = if self.is_unicode() { (2, MAX_UNITS) } else { (1, MAX_BYTES) };
        let Some(needed) = u16::try_from(data_len.div_ceil(unit)).ok().filter(|&n| n <= limit)
        else {
            return self;
        };
        let needed = needed.max(1);
        let shrink = |length| match length {
            Length::Bounded(n) => Length::Bounded(n.min(needed)),
            Length::Max => Length::Bounded(needed),
        };
        match self {
            Self::Char(n) => Self::Char(n.min(needed)),
            Self::NChar(n) => Self::NChar(n.min(needed)),
            Self::Binary(n) => Self::Binary(n.min(needed)),
            Self::VarChar(length) => Self::VarChar(shrink(length)),
            Self::NVarChar(length) => Self::NVarChar(shrink(length)),
            Self::VarBinary(length) => Self::VarBinary(shrink(length)),
            other => other,
        }
    }

    /// What the declared length counts.
    pub(super) const fn unit_name(self) -> &'static str {
        if self.is_unicode() { "UTF-16 code units" } else { "bytes" }
    }
}

/// The bytes of a decimal's magnitude on the wire (MS-TDS 2.2.5.5.1.6).
pub(super) const fn magnitude_width(precision: u8) -> usize {
    match precision {
        0..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        29.. => 16,
    }
}

/// The bytes of a time of day on the wire (MS-TDS 2.2.5.5.1.8).
pub(super) const fn time_width(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        5.. => 5,
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounded(n) => n.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bit => f.write_str("bit"),
            Self::TinyInt => f.write_str("tinyint"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::Real => f.write_str("real"),
            Self::Float => f.write_str("float"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Numeric { precision, scale } => write!(f, "numeric({precision},{scale})"),
            Self::Money => f.write_str("money"),
            Self::SmallMoney => f.write_str("smallmoney"),
            Self::Date => f.write_str("date"),
            Self::Time { scale } => write!(f, "time({scale})"),
            Self::DateTime => f.write_str("datetime"),
            Self::SmallDateTime => f.write_str("smalldatetime"),
            Self::DateTime2 { scale } => write!(f, "datetime2({scale})"),
            Self::DateTimeOffset { scale } => write!(f, "datetimeoffset({scale})"),
            Self::Char(n) => write!(f, "char({n})"),
            Self::VarChar(length) => write!(f, "varchar({length})"),
            Self::NChar(n) => write!(f, "nchar({n})"),
            Self::NVarChar(length) => write!(f, "nvarchar({length})"),
            Self::Binary(n) => write!(f, "binary({n})"),
            Self::VarBinary(length) => write!(f, "varbinary({length})"),
            Self::UniqueIdentifier => f.write_str("uniqueidentifier"),
        }
    }
}
