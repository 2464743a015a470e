//! `binary` and `varbinary`.

use super::{ConversionError, Pair};

pub(super) fn convert(pair: Pair, data: &[u8], out: &mut Vec<u8>) -> Result<(), ConversionError> {
    pair.check_source_length(data)?;
    pair.check_target_length(data.len())?;
    out.reserve(data.len());
    out.extend_from_slice(data);
    Ok(())
}
