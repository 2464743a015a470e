//! Why a value is not converted. The messages name the types and what would be lost, never the
//! value.

use std::fmt;

use super::Pair;
use crate::value::{SqlType, ValueError};

/// Why a value cannot become one of its column's type.
///
/// Values are secrets: no message shows one. What the application can do about it is its
/// [`remedy`](Self::remedy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The data are not a value of the type that the driver declared, or one of the types does not
    /// exist.
    #[error(transparent)]
    Value(ValueError),
    /// There is no conversion between the two types.
    #[error("a value of type {from} cannot become {to}: the types have nothing in common")]
    Unsupported {
        /// The type that the driver declared.
        from: SqlType,
        /// The column's type.
        to: SqlType,
    },
    /// Text or a binary that is longer than the target allows. It is never cut off.
    #[error(
        "a value of type {from} cannot become {to}: it takes {len} {}",
        .to.unit_name()
    )]
    TooLong {
        /// The type that the driver declared.
        from: SqlType,
        /// The column's type.
        to: SqlType,
        /// The length as it would be in the column: UTF-16 code units for `nchar` and `nvarchar`,
        /// otherwise bytes.
        len: usize,
    },
    /// Something of this value would be lost, though not of every value.
    #[error("a value of type {from} cannot become {to}: {loss}")]
    Lossy {
        /// The type that the driver declared.
        from: SqlType,
        /// The column's type.
        to: SqlType,
        /// What would be lost.
        loss: Loss,
    },
}

/// What a conversion would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Everything: the number, date or time is beyond the type's range.
    Range,
    /// Digits other than zero that the type has no place for.
    Digits,
    /// Characters that the column's code page does not have.
    Characters,
    /// Bytes that are no text in the code page that they should be in.
    MalformedText,
    /// Half of a surrogate pair, which only `nchar` and `nvarchar` can hold.
    LoneSurrogate,
    /// The text: one of the two code pages is not known.
    UnknownCodePage,
    /// Text that is no `uniqueidentifier`.
    NoIdentifier,
    /// A time of day other than midnight.
    TimeOfDay,
    /// An offset from UTC other than zero.
    Offset,
}

impl ConversionError {
    /// A value sent as one type that is not one of another's, though the two lie alike on the wire.
    pub(crate) fn of_value(from: Option<SqlType>, to: SqlType, error: ValueError) -> Self {
        match (from, error) {
            (Some(from), ValueError::TooLong { len, .. }) => Self::TooLong { from, to, len },
            (Some(from), ValueError::OutOfRange { .. }) => {
                Self::Lossy { from, to, loss: Loss::Range }
            }
            (_, error) => Self::Value(error),
        }
    }

    /// What to change in the application or at the column.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Value(ValueError::NotFinite { .. }) => "bind a finite number",
            Self::Value(_) => "send a value that its declared type has",
            Self::TooLong { .. } => "bind a shorter value, or make the column longer",
            Self::Unsupported { to, .. } => binding(*to),
            Self::Lossy { to, loss, .. } => match loss {
                Loss::Range => "bind a value in the range of the column's type",
                Loss::Digits => rounding(*to),
                Loss::Characters => "make the column nvarchar, or its collation one of UTF-8",
                Loss::MalformedText => "bind text as a &str or String",
                Loss::LoneSurrogate => "bind text without lone surrogates",
                Loss::UnknownCodePage => "make the column nvarchar, or change its collation",
                Loss::NoIdentifier => "bind a Uuid, or its 36 characters",
                Loss::TimeOfDay => "bind a NaiveDate",
                Loss::Offset => "convert the time to UTC, or bind it without an offset",
            },
        }
    }
}

fn rounding(to: SqlType) -> &'static str {
    match to {
        SqlType::Decimal { .. } | SqlType::Numeric { .. } => {
            "round the number to the column's scale"
        }
        SqlType::Money | SqlType::SmallMoney => "round the number to four decimal digits",
        SqlType::Real | SqlType::Float => binding(to),
        _ => "round the number to a whole one",
    }
}

/// The Rust value that a driver sends as the type, or as one that becomes it.
fn binding(to: SqlType) -> &'static str {
    match to {
        SqlType::Bit => "bind a bool",
        SqlType::TinyInt => "bind a u8",
        SqlType::SmallInt => "bind an i16",
        SqlType::Int => "bind an i32",
        SqlType::BigInt => "bind an i64",
        SqlType::Real => "bind an f32",
        SqlType::Float => "bind an f64",
        SqlType::Decimal { .. }
        | SqlType::Numeric { .. }
        | SqlType::Money
        | SqlType::SmallMoney => "bind a Numeric, or a decimal of a crate that the driver knows",
        SqlType::Date => "bind a NaiveDate",
        SqlType::Time { .. } => "bind a NaiveTime",
        SqlType::DateTime | SqlType::SmallDateTime | SqlType::DateTime2 { .. } => {
            "bind a NaiveDateTime"
        }
        SqlType::DateTimeOffset { .. } => "bind a DateTime with its offset",
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::NChar(_) | SqlType::NVarChar(_) => {
            "bind a &str or String"
        }
        SqlType::Binary(_) | SqlType::VarBinary(_) => "bind a &[u8] or Vec<u8>",
        SqlType::UniqueIdentifier => "bind a Uuid",
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Range => "it is out of range",
            Self::Digits => "digits of it would be lost",
            Self::Characters => "it has a character that the column's code page does not have",
            Self::MalformedText => "it is no text in its code page",
            Self::LoneSurrogate => "half of a surrogate pair in it would be lost",
            Self::UnknownCodePage => "the code page of its collation is not known",
            Self::NoIdentifier => "it is not the text of a uniqueidentifier",
            Self::TimeOfDay => "its time of day would be lost",
            Self::Offset => "its offset from UTC would be lost",
        })
    }
}

impl Pair {
    pub(super) fn unsupported(self) -> ConversionError {
        ConversionError::Unsupported { from: self.from.sql_type, to: self.to.sql_type }
    }

    pub(super) fn too_long(self, len: usize) -> ConversionError {
        ConversionError::TooLong { from: self.from.sql_type, to: self.to.sql_type, len }
    }

    pub(super) fn lossy(self, loss: Loss) -> ConversionError {
        ConversionError::Lossy { from: self.from.sql_type, to: self.to.sql_type, loss }
    }
}
