//! What can be wrong with a value. The messages name its type and the problem, never the value.

use super::SqlType;

/// Why a value has no normal form, or a normal form is not a value of its column's type.
///
/// From [`normalize`](super::normalize) it says that the application gave a value that its declared
/// type does not have; from [`denormalize`](super::denormalize), that whoever encrypted the cell
/// did so for another type, or wrongly. Values are secrets: no message shows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// The type has a fixed width, or one of a few, and this is not it.
    #[error("a value of type {sql_type} does not come in {len} bytes")]
    WrongLength {
        /// The type that the value should have.
        sql_type: SqlType,
        /// The bytes that there are.
        len: usize,
    },
    /// The number, date or time is not among those of the type.
    #[error("the value is out of range for type {sql_type}")]
    OutOfRange {
        /// The type that the value should have.
        sql_type: SqlType,
    },
    /// A string or binary longer than its type allows. It is never cut off.
    #[error("a value of {len} {} is too long for type {sql_type}", .sql_type.unit_name())]
    TooLong {
        /// The type that the value should have.
        sql_type: SqlType,
        /// The value's length: UTF-16 code units for `nchar` and `nvarchar`, otherwise bytes.
        len: usize,
    },
    /// A string of UTF-16 with half a code unit at its end.
    #[error("a value of type {sql_type} has an odd number of bytes: {len}")]
    OddLength {
        /// The type that the value should have.
        sql_type: SqlType,
        /// The bytes that there are.
        len: usize,
    },
    /// A time with digits that its column's scale does not have. A driver that does not widen times
    /// to 100 ns wrote it (mssql-tds 0.3 and go-mssqldb do not), so what it says is not known.
    #[error(
        "the value has digits beyond the scale of type {sql_type}; it was written by a driver that \
         does not bring times to normal form"
    )]
    BeyondScale {
        /// The type that the value should have.
        sql_type: SqlType,
    },
    /// Text of a UTF-8 collation that is no UTF-8.
    #[error("the value is not UTF-8, the code page of its {sql_type} column")]
    InvalidUtf8 {
        /// The type that the value should have.
        sql_type: SqlType,
    },
    /// NaN or an infinity, which SQL Server does not have.
    #[error("a value of type {sql_type} must be finite")]
    NotFinite {
        /// The type that the value should have.
        sql_type: SqlType,
    },
    /// The first byte of a decimal is neither 1 (not negative) nor 0 (negative).
    #[error("a value of type {sql_type} begins with a byte that is no sign")]
    InvalidSign {
        /// The type that the value should have.
        sql_type: SqlType,
    },
    /// The type itself does not exist: a precision outside 1 to 38, a scale of time above 7.
    #[error("there is no type {sql_type}")]
    InvalidType {
        /// The type that does not exist.
        sql_type: SqlType,
    },
    /// Only `time`, `datetime2` and `datetimeoffset` have a scale of time.
    #[error("type {sql_type} has no fractions of a second to rescale")]
    NoTimeScale {
        /// The type without them.
        sql_type: SqlType,
    },
}
