//! A value as a driver sent it, made one of its column's type.
//!
//! The server converts what it can read; what is encrypted it cannot. A driver that declares every
//! string `nvarchar`, every time with seven digits and every number with a precision of its own
//! would need columns of just these types. So the conversion is done here. It goes through the
//! normal form, in which numbers and times have one width each and everything has been checked.

mod binary;
mod error;
mod identifier;
mod number;
mod temporal;
mod text;

pub use error::{ConversionError, Loss};

use zeroize::{Zeroize, Zeroizing};

use super::{CodePage, SqlType, ValueError, denormalize, normalize};

/// Longer than any normal form of a number, a time or an identifier.
const NORMAL_FORM: usize = 32;

/// A type and, for `char` and `varchar`, the code page of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversionType {
    /// The type.
    pub sql_type: SqlType,
    /// The code page of its text, if it is `char` or `varchar` and the code page is known. Without
    /// meaning for every other type.
    pub code_page: Option<CodePage>,
}

/// What is converted from and to. Errors are made of it.
#[derive(Clone, Copy)]
struct Pair {
    from: ConversionType,
    to: ConversionType,
}

enum Family {
    Number,
    Text,
    Binary,
    Temporal,
    Identifier,
}

/// Appends to `out` the data that a value has as `target`, given its `data` as `source`.
///
/// Data are laid out as the [module's page](super) says. The same type on both sides is a conversion
/// too: the data are checked, then copied. Fixed strings and binaries are not padded, as their
/// normal form is not.
///
/// Reserve [`converted_len`] before: a vector that grows leaves a copy of what it held in freed
/// memory.
///
/// # Errors
///
/// Something would be lost, or `data` are not a value of `source`; see [`ConversionError`]. Nothing
/// has been appended then.
///
/// ```
/// use always_encrypted::value::{CodePage, ConversionType, SqlType, convert};
///
/// let source = ConversionType {
///     sql_type: SqlType::parse_declaration("nvarchar(4000)")?,
///     code_page: None,
/// };
/// let target = ConversionType {
///     sql_type: SqlType::parse_declaration("varchar(10)")?,
///     code_page: CodePage::from_number(1252),
/// };
/// let mut out = Vec::new();
/// convert(source, b"\xAC\x20\x31\x00", target, &mut out)?; // "€1"
/// assert_eq!(out, b"\x801");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is converted
///
/// **Whatever loses nothing is done, anything else is an error.** Times are the one exception: they
/// are cut or rounded as Microsoft.Data.SqlClient does it.
///
/// | from | to | done if |
/// |---|---|---|
/// | integers, `bit`, `decimal`, `numeric`, `money`, `smallmoney` | each other | in range; digits cut off are zeros; only 0 and 1 to `bit` |
/// | `real`, `float` | integers, `bit`, `decimal`, `numeric`, `money`, `smallmoney` | as above, for the number that the float stands for |
/// | integers, `bit`, `decimal`, `numeric`, `money`, `smallmoney` | `real`, `float` | it is the number that the float stands for |
/// | `real` | `float` | always |
/// | `float` | `real` | it is the same number in binary |
/// | `nchar`, `nvarchar` | each other | it fits: nothing is padded, cut or trimmed |
/// | `nchar`, `nvarchar` | `char`, `varchar` | it fits, the code page has every character, no surrogate is alone |
/// | `char`, `varchar` | `nchar`, `nvarchar` | it fits, the bytes are text in the code page |
/// | `char`, `varchar` | each other | it fits; taken as it is in the same code page, otherwise as above |
/// | text | `uniqueidentifier` | it is one, in either case, with or without braces |
/// | `uniqueidentifier` | text | the 36 characters fit; upper case |
/// | `binary`, `varbinary` | each other | it fits: nothing is padded or cut |
/// | `time` | `time` | always; digits beyond the scale are cut off |
/// | `date`, `smalldatetime`, `datetime`, `datetime2` | `datetime2`, `datetimeoffset` | always; digits beyond the scale are cut off, a date is midnight, the offset is zero |
/// | `date`, `smalldatetime`, `datetime`, `datetime2` | `datetime` | from 1753 on; rounded to 1/300 s |
/// | `date`, `smalldatetime`, `datetime`, `datetime2` | `smalldatetime` | from 1900 to 2079-06-06; rounded to minutes |
/// | `date`, `smalldatetime`, `datetime`, `datetime2` | `date` | it is midnight |
/// | `datetimeoffset` | `datetimeoffset` | always; digits beyond the scale are cut off, the offset stays |
/// | `datetimeoffset` | `date`, `smalldatetime`, `datetime`, `datetime2` | its offset is zero; then as `datetime2` |
///
/// Everything else is refused: text to or from numbers, times and binaries, numbers to binaries or
/// times, `uniqueidentifier` to or from binaries, `time` to or from anything with a date. Such a
/// conversion is a matter of format or culture; the application binds a value of the right type
/// instead, which [`ConversionError::remedy`] names.
///
/// # The number that a float stands for
///
/// A float that is a whole number is that number. Any other is the shortest decimal that reads back
/// as the same float: `1.1` is 1.1, not 1.100000000000000088817841970012523…. A decimal becomes a
/// float only if the float stands for it again.
///
/// # The fractions of `datetime`
///
/// Units of 1/300 s become units of 100 ns by rounding, as in SQL Server since 2016: the unit that is
/// shown as .003 is .0033333. At scales 3 to 6 they are rounded to that scale. Below, the
/// milliseconds are cut, which is what SqlClient makes of them.
pub fn convert(
    source: ConversionType,
    data: &[u8],
    target: ConversionType,
    out: &mut Vec<u8>,
) -> Result<(), ConversionError> {
    use Family::{Binary, Identifier, Number, Temporal, Text};

    let pair = Pair { from: source, to: target };
    let before = out.len();
    let result = match (family(source.sql_type), family(target.sql_type)) {
        (Text, Text) => text::convert(pair, data, out),
        (Binary, Binary) => binary::convert(pair, data, out),
        (Text, Identifier) => identifier::from_text(pair, data, out),
        (Identifier, Text) => identifier::to_text(pair, data, out),
        (Number, Number) | (Temporal, Temporal) | (Identifier, Identifier)
            if source.sql_type == target.sql_type =>
        {
            pair.copy(data, out)
        }
        (Number, Number) => number::convert(pair, data, out),
        (Temporal, Temporal) => temporal::convert(pair, data, out),
        _ => Err(pair.unsupported()),
    };
    if result.is_err() {
        out.get_mut(before..).unwrap_or_default().zeroize();
        out.truncate(before);
    }
    result
}

/// The most bytes that [`convert`] appends for a value whose data have `data_len`. Reserve them
/// before.
#[must_use]
pub fn converted_len(source: ConversionType, data_len: usize, target: ConversionType) -> usize {
    let (from, to) = (source.sql_type, target.sql_type);
    if from.is_string() && to.is_string() {
        return text::converted_len(source, data_len, target);
    }
    if to.is_string() {
        return identifier::TEXT_LEN * if to.is_unicode() { 2 } else { 1 };
    }
    to.data_len(data_len).min(data_len.max(NORMAL_FORM))
}

fn family(sql_type: SqlType) -> Family {
    match sql_type {
        SqlType::Bit
        | SqlType::TinyInt
        | SqlType::SmallInt
        | SqlType::Int
        | SqlType::BigInt
        | SqlType::Real
        | SqlType::Float
        | SqlType::Decimal { .. }
        | SqlType::Numeric { .. }
        | SqlType::Money
        | SqlType::SmallMoney => Family::Number,
        SqlType::Date
        | SqlType::Time { .. }
        | SqlType::DateTime
        | SqlType::SmallDateTime
        | SqlType::DateTime2 { .. }
        | SqlType::DateTimeOffset { .. } => Family::Temporal,
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::NChar(_) | SqlType::NVarChar(_) => {
            Family::Text
        }
        SqlType::Binary(_) | SqlType::VarBinary(_) => Family::Binary,
        SqlType::UniqueIdentifier => Family::Identifier,
    }
}

impl Pair {
    /// Of the same type on both sides, which is not of variable length.
    fn copy(self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
        let normal_form = self.normal_form(data)?;
        self.write(&normal_form, out)
    }

    /// The value in normal form, in which numbers and times have one width each. Everything that
    /// can be wrong with data has been looked for then.
    fn normal_form(self, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, ConversionError> {
        let mut normal_form = Zeroizing::new(Vec::with_capacity(NORMAL_FORM));
        normalize(self.from.sql_type, data, &mut normal_form).map_err(ConversionError::Value)?;
        Ok(normal_form)
    }

    /// Appends the data of the target's normal form, if the target has that value.
    fn write(self, normal_form: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
        out.reserve(self.to.sql_type.data_len(normal_form.len()));
        denormalize(self.to.sql_type, normal_form, out).map_err(|error| match error {
            ValueError::OutOfRange { .. } => self.lossy(Loss::Range),
            other => ConversionError::Value(other),
        })
    }

    /// The value's length must be within the target's.
    fn check_target_length(self, data_len: usize) -> Result<(), ConversionError> {
        match super::normal_form::check_length(self.to.sql_type, data_len) {
            Ok(()) => Ok(()),
            Err(ValueError::TooLong { len, .. }) => Err(self.too_long(len)),
            Err(other) => Err(ConversionError::Value(other)),
        }
    }

    /// The data of a string or binary must be of a length that their own type has.
    fn check_source_length(self, data: &[u8]) -> Result<(), ConversionError> {
        super::normal_form::check_length(self.from.sql_type, data.len())
            .map_err(ConversionError::Value)
    }
}

#[cfg(test)]
mod tests;
