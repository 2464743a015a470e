//! Code pages.

/// A code page of SQL Server's `char` and `varchar`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodePage(u16);

impl CodePage {
    /// UTF-8
    pub const UTF_8: Self = Self(65001);
    /// n
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Some(Self(number))
    }
    /// c
    #[must_use]
    pub fn of_collation(_collation: [u8; 5]) -> Option<Self> {
        Some(Self(1252))
    }
    /// n
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}
