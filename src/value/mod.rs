//! SQL types, and the two forms in which their values appear.
//!
//! This layer owns the conversion between a value's *data* and its *normal form*, and that from the
//! type that a driver declares to the type of the column: [`convert()`]. It knows nothing of
//! cryptography, of how values are framed on the wire, or of I/O.
//!
//! * The **data** of a value are the bytes that MS-TDS lays out after the value's length prefix
//!   (2.2.5.4 and 2.2.5.5): four bytes of an `INTN`, sign and magnitude of a `DECIMALN`, the UTF-16
//!   of an `nvarchar`, all PLP chunks joined.
//! * The **normal form** is what is encrypted. It leaves out everything that the column's type
//!   says already, so that equal values make equal deterministic cells.
//!
//! # The normal forms, NormalizationRuleVersion 1
//!
//! All integers are little-endian. The source is the behaviour of Microsoft.Data.SqlClient.
//!
//! | SQL type | data | normal form |
//! |---|---|---|
//! | `bit` | 1 byte | I64, 0 or 1 |
//! | `tinyint` | U8 | I64, zero-extended |
//! | `smallint`, `int`, `bigint` | I16, I32, I64 | I64, sign-extended |
//! | `real` (`float(1..24)`) | IEEE 754 single, 4 bytes | the same, not widened |
//! | `float` (`float(25..53)`) | IEEE 754 double, 8 bytes | the same |
//! | `decimal(p,s)`, `numeric(p,s)` | sign (1 is ≥ 0, 0 is negative), magnitude of 4, 8, 12 or 16 bytes for p up to 9, 19, 28, 38 | sign, magnitude of 16 bytes: 17 bytes for every p |
//! | `money` | value × 10⁴ as I64, the high 32 bits before the low 32 | the same |
//! | `smallmoney` | value × 10⁴ as I32 | widened to `money` |
//! | `date` | days since 0001-01-01, U24 | the same |
//! | `time(n)` | units of 10⁻ⁿ s since midnight in 3, 4 or 5 bytes for n up to 2, 4, 7 | units of 10⁻⁷ s in 5 bytes for every n |
//! | `datetime2(n)` | `time(n)`, `date` | time in 5 bytes, date: 8 bytes |
//! | `datetimeoffset(n)` | `time(n)` and `date` in UTC, offset in minutes I16 | time in 5 bytes, date, offset: 10 bytes |
//! | `datetime` | days since 1900-01-01 I32, units of 1/300 s U32 | the same |
//! | `smalldatetime` | days since 1900-01-01 U16, minutes U16 | the same |
//! | `uniqueidentifier` | 16 bytes, the first three fields little-endian | the same |
//! | `char(n)`, `varchar(n\|max)` | text in the collation's code page | the same, never padded |
//! | `nchar(n)`, `nvarchar(n\|max)` | UTF-16 | the same, never padded |
//! | `binary(n)`, `varbinary(n\|max)` | bytes | the same, never padded |
//!
//! NULL has no normal form: it is never encrypted. An empty string is a value like any other.
//!
//! # Where drivers differ
//!
//! What [`normalize`] writes is what SqlClient writes, byte for byte. What [`denormalize`] reads is
//! more:
//!
//! * decimals of any length up to 17 bytes (JDBC writes 16, which also means that its cells are not
//!   *equal* to SqlClient's),
//! * strings that are padded already (the server's own in-place encryption leaves them so);
//!   `char(n)`, `nchar(n)` and `binary(n)` come out padded to `n`,
//! * integers of their type's own width (go-mssqldb's),
//! * times in 3 or 4 bytes at scales below 5 (mssql-tds's and go-mssqldb's). At scales 5 and 6 those
//!   two write five bytes that look like a time in normal form and are not; if such a time has
//!   digits beyond the scale it is refused with [`ValueError::BeyondScale`], if not, nothing tells.
//!
//! Where SqlClient would cut off silently the high bytes of a number that does not fit its column,
//! both directions answer [`ValueError::OutOfRange`].
//!
//! ```
//! use always_encrypted::value::{SqlType, denormalize, normalize};
//!
//! let sql_type = SqlType::parse_declaration("datetime2(3)")?;
//! // 2024-03-15 13:14:15.123 in milliseconds and days.
//! let data = [0xd3, 0x28, 0xd7, 0x02, 0x8f, 0x46, 0x0b];
//!
//! let mut normal_form = Vec::with_capacity(sql_type.normal_form_len(data.len()));
//! normalize(sql_type, &data, &mut normal_form)?;
//! assert_eq!(normal_form, [0x30, 0xb2, 0xaa, 0xf4, 0x6e, 0x8f, 0x46, 0x0b]);
//!
//! let mut back = Vec::with_capacity(sql_type.data_len(normal_form.len()));
//! denormalize(sql_type, &normal_form, &mut back)?;
//! assert_eq!(back, data);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code_page;
mod convert;
mod declaration;
mod error;
mod normal_form;
mod sql_type;

pub use code_page::{CodePage, CodePageError};
pub use convert::{ConversionError, ConversionType, Loss, convert, converted_len};
pub use declaration::DeclarationError;
pub use error::ValueError;
pub use normal_form::{
    Rescaled, denormalize, denormalized_in_place, find_lone_surrogate, is_own_normal_form,
    normalize, normalized_in_place, rescale_time,
};
pub use sql_type::{Length, SqlType};
