//! Types that come in other ways than the rest: text pointers, and sql_variant.

use super::{Reader, Type};

impl Reader<'_> {
    /// What stands behind the token of such a type; None if it is not one.
    pub(super) fn large_type(&mut self, ty: &mut Type) -> Option<()> {
        match ty.token {
            0x22 | 0x62 => ty.length = self.u32(),
            0x23 | 0x63 => {
                ty.length = self.u32();
                ty.collation = self.n(5).try_into().unwrap();
            }
            0xF1 => {
                assert_eq!(self.u8(), 0, "no collection of schemas");
                ty.length = 0xFFFF;
            }
            _ => return None,
        }
        Some(())
    }

    /// The table's name that follows the TYPE_INFO of text, ntext and image.
    pub(super) fn table_name(&mut self, ty: &Type) -> Vec<String> {
        if !matches!(ty.token, 0x22 | 0x23 | 0x63) {
            return Vec::new();
        }
        (0..self.u8()).map(|_| self.us_varchar()).collect()
    }

    pub(super) fn large_value(&mut self, ty: &Type) -> Option<Option<Vec<u8>>> {
        match ty.token {
            0x22 | 0x23 | 0x63 => Some(match self.u8() {
                0 => None,
                pointer => {
                    self.n(usize::from(pointer) + 8);
                    let n = self.u32();
                    Some(self.n(n as usize).to_vec())
                }
            }),
            0x62 => Some(match self.u32() {
                0 => None,
                n => Some(self.n(n as usize).to_vec()),
            }),
            _ => None,
        }
    }
}
