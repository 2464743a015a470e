//! A SQL Server type with its length, precision and scale. Knows its declaration text, its catalogue numbers and how
//! long the ciphertext of its longest value is.

use std::fmt;

use sqlparser::ast::{
    BinaryLength, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo, TypeModifier,
};

use sqlparser::parser::Parser;

use crate::error::{Result, SqlError};
use crate::sql::dialect::TransactSql;

/// Length of a string or binary type, in characters or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    N(u16),
    Max,
}

/// The types that columns, parameters and variables here can have. Those behind `UniqueIdentifier` cannot be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SqlType {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Real,
    Float,
    /// `named_numeric` only decides which of the two synonyms is shown.
    Decimal {
        precision: u8,
        scale: u8,
        named_numeric: bool,
    },
    Money,
    SmallMoney,
    Date,
    Time(u8),
    DateTime,
    SmallDateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    Char(u16),
    VarChar(Length),
    NChar(u16),
    NVarChar(Length),
    Binary(u16),
    VarBinary(Length),
    UniqueIdentifier,
    Text,
    NText,
    Image,
    Xml,
    Variant,
    RowVersion,
}

/// Types that share a representation in SQLite and compare without conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Integer,
    Float,
    Decimal,
    Date,
    Time,
    DateTime,
    Offset,
    Text,
    Bytes,
    Guid,
    Xml,
    Variant,
}

/// Fixed bytes of a cell: version 1, tag 32, IV 16.
pub(crate) const CELL_HEADER: usize = 49;
/// A cell holds at least one AES block.
pub(crate) const CELL_BLOCK: usize = 16;

impl SqlType {
    pub(crate) fn family(self) -> Family {
        use SqlType::*;
        match self {
            Bit | TinyInt | SmallInt | Int | BigInt => Family::Integer,
            Real | Float => Family::Float,
            Decimal { .. } | Money | SmallMoney => Family::Decimal,
            Date => Family::Date,
            Time(_) => Family::Time,
            DateTime | SmallDateTime | DateTime2(_) => Family::DateTime,
            DateTimeOffset(_) => Family::Offset,
            Char(_) | VarChar(_) | NChar(_) | NVarChar(_) | Text | NText => Family::Text,
            Binary(_) | VarBinary(_) | Image | RowVersion => Family::Bytes,
            UniqueIdentifier => Family::Guid,
            Xml => Family::Xml,
            Variant => Family::Variant,
        }
    }

    /// The name without length, as "Operand type clash" shows a parameter.
    pub(crate) fn name(self) -> &'static str {
        use SqlType::*;
        match self {
            Bit => "bit",
            TinyInt => "tinyint",
            SmallInt => "smallint",
            Int => "int",
            BigInt => "bigint",
            Real => "real",
            Float => "float",
            Decimal { named_numeric: true, .. } => "numeric",
            Decimal { .. } => "decimal",
            Money => "money",
            SmallMoney => "smallmoney",
            Date => "date",
            Time(_) => "time",
            DateTime => "datetime",
            SmallDateTime => "smalldatetime",
            DateTime2(_) => "datetime2",
            DateTimeOffset(_) => "datetimeoffset",
            Char(_) => "char",
            VarChar(_) => "varchar",
            NChar(_) => "nchar",
            NVarChar(_) => "nvarchar",
            Binary(_) => "binary",
            VarBinary(_) => "varbinary",
            UniqueIdentifier => "uniqueidentifier",
            Text => "text",
            NText => "ntext",
            Image => "image",
            Xml => "xml",
            Variant => "sql_variant",
            RowVersion => "timestamp",
        }
    }

    /// `system_type_id` of `sys.types`.
    pub(crate) fn system_type_id(self) -> u8 {
        use SqlType::*;
        match self {
            Image => 34,
            Text => 35,
            UniqueIdentifier => 36,
            Date => 40,
            Time(_) => 41,
            DateTime2(_) => 42,
            DateTimeOffset(_) => 43,
            TinyInt => 48,
            SmallInt => 52,
            Int => 56,
            SmallDateTime => 58,
            Real => 59,
            Money => 60,
            DateTime => 61,
            Float => 62,
            Variant => 98,
            NText => 99,
            Bit => 104,
            Decimal { named_numeric: false, .. } => 106,
            Decimal { .. } => 108,
            SmallMoney => 122,
            BigInt => 127,
            VarBinary(_) => 165,
            VarChar(_) => 167,
            Binary(_) => 173,
            Char(_) => 175,
            RowVersion => 189,
            NVarChar(_) => 231,
            NChar(_) => 239,
            Xml => 241,
        }
    }

    /// `max_length` of `sys.columns`: bytes, -1 for max.
    pub(crate) fn max_length(self) -> i64 {
        use SqlType::*;
        match self {
            Bit | TinyInt => 1,
            SmallInt => 2,
            Int | Real | SmallDateTime | SmallMoney => 4,
            BigInt | Float | Money | DateTime => 8,
            Decimal { precision, .. } => i64::from(decimal_width(precision)),
            Date => 3,
            Time(scale) => i64::from(time_width(scale)),
            DateTime2(scale) => i64::from(time_width(scale)) + 3,
            DateTimeOffset(scale) => i64::from(time_width(scale)) + 5,
            Char(n) | Binary(n) | VarChar(Length::N(n)) | VarBinary(Length::N(n)) => i64::from(n),
            NChar(n) | NVarChar(Length::N(n)) => i64::from(n) * 2,
            VarChar(Length::Max) | NVarChar(Length::Max) | VarBinary(Length::Max) | Xml => -1,
            // Of what stands in for them in the row.
            UniqueIdentifier | Text | NText | Image => 16,
            Variant => 8016,
            RowVersion => 8,
        }
    }

    /// `precision` and `scale` of `sys.columns`.
    pub(crate) fn precision_scale(self) -> (u8, u8) {
        use SqlType::*;
        match self {
            Bit => (1, 0),
            TinyInt => (3, 0),
            SmallInt => (5, 0),
            Int => (10, 0),
            BigInt => (19, 0),
            Real => (24, 0),
            Float => (53, 0),
            Decimal { precision, scale, .. } => (precision, scale),
            Money => (19, 4),
            SmallMoney => (10, 4),
            Date => (10, 0),
            Time(s) => (temporal_precision(8, s), s),
            DateTime => (23, 3),
            SmallDateTime => (16, 0),
            DateTime2(s) => (temporal_precision(19, s), s),
            DateTimeOffset(s) => (temporal_precision(26, s), s),
            _ => (0, 0),
        }
    }

    pub(crate) fn is_text(self) -> bool {
        self.family() == Family::Text
    }

    pub(crate) fn is_numeric(self) -> bool {
        matches!(self.family(), Family::Integer | Family::Float | Family::Decimal)
    }

    /// text, ntext and image: kept outside of the row, not to be compared, and not for variables.
    pub(crate) fn is_legacy(self) -> bool {
        matches!(self, SqlType::Text | SqlType::NText | SqlType::Image)
    }

    /// UTF-16 rather than a code page.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, SqlType::NChar(_) | SqlType::NVarChar(_) | SqlType::NText)
    }

    /// Whether columns of the type can be encrypted.
    pub(crate) fn is_encryptable(self) -> bool {
        !(self.is_legacy() || matches!(self, SqlType::Xml | SqlType::Variant | SqlType::RowVersion))
    }

    /// Bytes of the longest normalised plaintext, None for max types.
    fn plaintext_limit(self) -> Option<usize> {
        use SqlType::*;
        Some(match self {
            Real | SmallDateTime => 4,
            Decimal { .. } => 17,
            Date => 3,
            Time(_) => 5,
            DateTimeOffset(_) => 10,
            UniqueIdentifier => 16,
            Char(n) | Binary(n) | VarChar(Length::N(n)) | VarBinary(Length::N(n)) => usize::from(n),
            NChar(n) | NVarChar(Length::N(n)) => usize::from(n) * 2,
            VarChar(Length::Max) | NVarChar(Length::Max) | VarBinary(Length::Max) => return None,
            _ => 8,
        })
    }

    /// Bytes of the longest ciphertext, None for max types.
    pub(crate) fn cell_limit(self) -> Option<usize> {
        self.plaintext_limit()
            .map(|plaintext| CELL_HEADER + CELL_BLOCK * (plaintext / CELL_BLOCK + 1))
    }

    /// The same where varbinary(n) holds it, else None for varbinary(max).
    pub(crate) fn cell_length(self) -> Option<u16> {
        self.cell_limit().and_then(|limit| u16::try_from(limit).ok()).filter(|limit| *limit <= 8000)
    }

    /// The type in which an encrypted column travels and in which a client without Always Encrypted sees it.
    pub(crate) fn cell_type(self) -> SqlType {
        SqlType::VarBinary(self.cell_length().map_or(Length::Max, Length::N))
    }

    /// Whether a parameter declared as `self` may be encrypted for a column of type `column`: strings and binaries
    /// may be shorter, and x(n) may go into x(max); varchar may go into char, nvarchar into nchar and varbinary into
    /// binary, as JDBC's tests have SQL Server do; everything else must be equal.
    pub(crate) fn may_encrypt_for(self, column: SqlType) -> bool {
        use SqlType::*;
        let fits = |p: Length, c: Length| match (p, c) {
            (_, Length::Max) => true,
            (Length::N(p), Length::N(c)) => p <= c,
            (Length::Max, Length::N(_)) => false,
        };
        match (self, column) {
            (Char(p), Char(c)) | (NChar(p), NChar(c)) | (Binary(p), Binary(c)) => p <= c,
            (VarChar(p), VarChar(c))
            | (NVarChar(p), NVarChar(c))
            | (VarBinary(p), VarBinary(c)) => fits(p, c),
            (VarChar(p), Char(c)) | (NVarChar(p), NChar(c)) | (VarBinary(p), Binary(c)) => {
                fits(p, Length::N(c))
            }
            (Char(p), VarChar(c)) | (NChar(p), NVarChar(c)) | (Binary(p), VarBinary(c)) => {
                fits(Length::N(p), c)
            }
            (
                Decimal { precision, scale, .. },
                Decimal { precision: column_precision, scale: column_scale, .. },
            ) => precision == column_precision && scale == column_scale,
            _ => self == column,
        }
    }

    /// Of a variable, which cannot have every type.
    pub(crate) fn of_variable(data_type: &DataType) -> Result<Self> {
        match Self::from_ast(data_type)? {
            ty if ty.is_legacy() => Err(SqlError::new(
                2739,
                "The text, ntext, and image data types are invalid for local variables.",
            )),
            ty => Ok(ty),
        }
    }

    /// From a declaration that sqlparser has read.
    pub(crate) fn from_ast(data_type: &DataType) -> Result<Self> {
        use SqlType::*;
        let ty = match data_type {
            DataType::Bit(None) => Bit,
            DataType::TinyInt(None) => TinyInt,
            DataType::SmallInt(None) => SmallInt,
            DataType::Int(None) | DataType::Integer(None) => Int,
            DataType::BigInt(None) => BigInt,
            DataType::Real => Real,
            DataType::Float(info) => float(info)?,
            DataType::Double(_) | DataType::DoublePrecision => Float,
            DataType::Numeric(info) => decimal(info, true)?,
            DataType::Decimal(info) | DataType::Dec(info) => decimal(info, false)?,
            DataType::Date => Date,
            DataType::Time(scale, TimezoneInfo::None) => Time(temporal_scale(*scale, "time")?),
            DataType::Datetime(None) => DateTime,
            DataType::Char(n) | DataType::Character(n) => Char(fixed(n, 8000, "char")?),
            DataType::Varchar(n) | DataType::CharacterVarying(n) | DataType::CharVarying(n) => {
                VarChar(varying(n, 8000, "varchar")?)
            }
            DataType::Nvarchar(n) => NVarChar(varying(n, 4000, "nvarchar")?),
            DataType::Binary(n) => Binary(length(n.unwrap_or(1), 8000, "binary")?),
            DataType::Varbinary(None) => VarBinary(Length::N(1)),
            DataType::Varbinary(Some(BinaryLength::Max)) => VarBinary(Length::Max),
            DataType::Varbinary(Some(BinaryLength::IntegerLength { length: n })) => {
                VarBinary(Length::N(length(*n, 8000, "varbinary")?))
            }
            DataType::Uuid => UniqueIdentifier,
            DataType::Text => Text,
            DataType::Timestamp(None, TimezoneInfo::None) => RowVersion,
            DataType::Custom(name, arguments) => custom(&name.to_string(), arguments)?,
            other => return Err(SqlError::unsupported(format!("the data type {other}"))),
        };
        Ok(ty)
    }
}

/// Bytes of a decimal on the wire, with its sign.
pub(crate) fn decimal_width(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// Bytes of the time part of time, datetime2 and datetimeoffset.
pub(crate) fn time_width(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    }
}

fn temporal_precision(base: u8, scale: u8) -> u8 {
    if scale == 0 { base } else { base.saturating_add(1).saturating_add(scale) }
}

fn invalid_length(name: &str) -> SqlError {
    SqlError::new(
        131,
        format!("The size given to the type '{name}' exceeds the maximum allowed or is not valid."),
    )
    .class(15)
}

fn length(n: u64, limit: u16, name: &str) -> Result<u16> {
    match u16::try_from(n) {
        Ok(n) if n >= 1 && n <= limit => Ok(n),
        _ => Err(invalid_length(name)),
    }
}

fn fixed(n: &Option<CharacterLength>, limit: u16, name: &str) -> Result<u16> {
    match n {
        None => Ok(1),
        Some(CharacterLength::IntegerLength { length: n, unit: None }) => length(*n, limit, name),
        Some(_) => Err(invalid_length(name)),
    }
}

fn varying(n: &Option<CharacterLength>, limit: u16, name: &str) -> Result<Length> {
    match n {
        Some(CharacterLength::Max) => Ok(Length::Max),
        other => fixed(other, limit, name).map(Length::N),
    }
}

fn temporal_scale(scale: Option<u64>, name: &str) -> Result<u8> {
    match scale {
        None => Ok(7),
        Some(scale @ 0..=7) => u8::try_from(scale).map_err(|_| invalid_length(name)),
        Some(scale) => {
            Err(SqlError::new(1002, format!("Line 1: Specified scale {scale} is invalid."))
                .class(15))
        }
    }
}

fn decimal(info: &ExactNumberInfo, named_numeric: bool) -> Result<SqlType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (18, 0),
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            Ok(SqlType::Decimal { precision, scale, named_numeric })
        }
        _ => Err(SqlError::new(
            2750,
            format!("Specified precision {precision} or scale {scale} is not valid."),
        )),
    }
}

fn float(info: &ExactNumberInfo) -> Result<SqlType> {
    match info {
        ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53) => Ok(SqlType::Float),
        ExactNumberInfo::Precision(1..=24) => Ok(SqlType::Real),
        _ => Err(invalid_length("float")),
    }
}

/// `[nvarchar](36)`, as scripts of Management Studio have it: the same without brackets.
fn bracketed(name: &str, arguments: &[TypeModifier]) -> Result<SqlType> {
    let unknown = || SqlError::new(2715, format!("Cannot find data type {name}."));
    if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(unknown());
    }
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let text = if arguments.is_empty() {
        name.to_owned()
    } else {
        format!("{name}({})", arguments.join(","))
    };
    let mut parser = Parser::new(&TransactSql).try_with_sql(&text).map_err(|_| unknown())?;
    SqlType::from_ast(&parser.parse_data_type().map_err(|_| unknown())?)
}

fn custom(name: &str, arguments: &[TypeModifier]) -> Result<SqlType> {
    use SqlType::*;
    if let Some(name) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return bracketed(name, arguments);
    }
    let argument = arguments.first().map(ToString::to_string);
    let number = match &argument {
        None => None,
        Some(text) => text.parse::<u64>().ok(),
    };
    let lower = name.to_ascii_lowercase();
    let name = lower.strip_prefix("sys.").unwrap_or(&lower);
    if argument.is_some()
        && number.is_none()
        && !argument.as_deref().is_some_and(|a| a.eq_ignore_ascii_case("max"))
    {
        return Err(SqlError::unsupported(format!("the data type {name}")));
    }
    match name {
        "money" => Ok(Money),
        "smallmoney" => Ok(SmallMoney),
        "smalldatetime" => Ok(SmallDateTime),
        "datetime" => Ok(DateTime),
        "datetime2" => temporal_scale(number, name).map(DateTime2),
        "datetimeoffset" => temporal_scale(number, name).map(DateTimeOffset),
        "nchar" => length(number.unwrap_or(1), 4000, name).map(NChar),
        "sysname" => Ok(NVarChar(Length::N(128))),
        "uniqueidentifier" => Ok(UniqueIdentifier),
        "bit" => Ok(Bit),
        "int" => Ok(Int),
        "real" => Ok(Real),
        "varchar" | "nvarchar" | "varbinary" => {
            let limit = if name == "nvarchar" { 4000 } else { 8000 };
            let n = match (argument, number) {
                (Some(_), None) => Length::Max,
                (_, n) => Length::N(length(n.unwrap_or(1), limit, name)?),
            };
            Ok(match name {
                "varchar" => VarChar(n),
                "nvarchar" => NVarChar(n),
                _ => VarBinary(n),
            })
        }
        "xml" if argument.is_none() => Ok(Xml),
        "text" => Ok(Text),
        "ntext" => Ok(NText),
        "image" => Ok(Image),
        "sql_variant" => Ok(Variant),
        "timestamp" | "rowversion" => Ok(RowVersion),
        // CLR's, whose values only their assemblies can make; and those that SQL Server 2022 does not have.
        "hierarchyid" | "geography" | "geometry" | "json" | "vector" | "xml" => {
            Err(SqlError::unsupported(format!("the data type {name}")))
        }
        other => Err(SqlError::new(2715, format!("Cannot find data type {other}."))),
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SqlType::*;
        f.write_str(self.name())?;
        match *self {
            Decimal { precision, scale, .. } => write!(f, "({precision},{scale})"),
            Time(s) | DateTime2(s) | DateTimeOffset(s) => write!(f, "({s})"),
            Char(n) | NChar(n) | Binary(n) => write!(f, "({n})"),
            VarChar(n) | NVarChar(n) | VarBinary(n) => match n {
                Length::N(n) => write!(f, "({n})"),
                Length::Max => f.write_str("(max)"),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertext_lengths_follow_the_cell_layout() {
        assert_eq!(SqlType::Int.cell_length(), Some(65));
        assert_eq!(SqlType::UniqueIdentifier.cell_length(), Some(81));
        assert_eq!(SqlType::NVarChar(Length::N(36)).cell_length(), Some(49 + 16 * 5));
        assert_eq!(SqlType::VarChar(Length::N(512)).cell_length(), Some(577));
        assert_eq!(SqlType::VarChar(Length::N(7935)).cell_length(), Some(7985));
        assert_eq!(SqlType::VarChar(Length::N(8000)).cell_length(), None);
        assert_eq!(SqlType::NVarChar(Length::Max).cell_length(), None);
    }

    #[test]
    fn a_longer_declaration_than_the_column_is_refused() {
        let nvarchar = |n| SqlType::NVarChar(Length::N(n));
        assert!(nvarchar(3).may_encrypt_for(nvarchar(36)));
        assert!(nvarchar(36).may_encrypt_for(nvarchar(36)));
        assert!(!nvarchar(37).may_encrypt_for(nvarchar(36)));
        assert!(nvarchar(4000).may_encrypt_for(SqlType::NVarChar(Length::Max)));
        assert!(!SqlType::NVarChar(Length::Max).may_encrypt_for(nvarchar(4000)));
        assert!(!SqlType::VarChar(Length::N(3)).may_encrypt_for(nvarchar(36)));
        assert!(!SqlType::DateTime2(7).may_encrypt_for(SqlType::DateTime2(3)));
        assert!(!SqlType::Int.may_encrypt_for(SqlType::BigInt));
    }
}
