//! Conversions.

use super::{CodePage, SqlType};

/// A type and, for `char` and `varchar`, the code page of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversionType {
    /// t
    pub sql_type: SqlType,
    /// c
    pub code_page: Option<CodePage>,
}

/// e
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct ConversionError;

impl ConversionError {
    /// r
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        ""
    }
}

/// c
pub fn convert(
    _source: ConversionType,
    data: &[u8],
    _target: ConversionType,
    out: &mut Vec<u8>,
) -> Result<(), ConversionError> {
    out.extend_from_slice(data);
    Ok(())
}

/// l
#[must_use]
pub fn converted_len(_source: ConversionType, data_len: usize, _target: ConversionType) -> usize {
    2 * data_len + 64
}
