//! A row of an answer that we asked for, its values read with their limits.

use super::DescribeFault;

/// The longest name in SQL Server, in UTF-16 code units.
pub(super) const SYSNAME: usize = 128;

/// One row, its values without their length fields.
pub(super) struct Row(pub(super) Vec<Option<Vec<u8>>>);

impl Row {
    pub(super) fn value(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index)?.as_deref()
    }

    pub(super) fn bytes(&self, index: usize, what: &'static str) -> Result<&[u8], DescribeFault> {
        self.value(index).ok_or(DescribeFault::Incomplete { what })
    }

    /// Text of at most `limit` UTF-16 code units.
    pub(super) fn text(
        &self,
        index: usize,
        limit: usize,
        what: &'static str,
    ) -> Result<String, DescribeFault> {
        let bytes = self.bytes(index, what)?;
        if bytes.len() > 2 * limit {
            return Err(DescribeFault::TooLong { what });
        }
        Ok(crate::tds::utf16_lossy(bytes))
    }

    /// Any width of integer; NULL is 0, as drivers read it.
    pub(super) fn integer(&self, index: usize) -> i64 {
        let Some(bytes) = self.value(index) else { return 0 };
        let mut wide = [0; 8];
        let len = bytes.len().min(8);
        wide[..len].copy_from_slice(&bytes[..len]);
        // tinyint has no sign.
        if len > 1 && bytes[len - 1] & 0x80 != 0 {
            wide[len..].fill(0xFF);
        }
        i64::from_le_bytes(wide)
    }
}
