//! The column encryption key as a value: 32 bytes that are wiped when they go.

use std::fmt;

use rand::TryRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{RandomFailed, random::SystemRng};

/// A column encryption key: 32 bytes in the clear, wiped on drop and never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Cek([u8; Cek::LEN]);

impl Cek {
    /// The length of every CEK in bytes.
    pub const LEN: usize = 32;

    /// Draws a new CEK from the operating system's random number generator.
    pub fn generate() -> Result<Self, RandomFailed> {
        let mut cek = Self([0; Self::LEN]);
        SystemRng.try_fill_bytes(&mut cek.0)?;
        Ok(cek)
    }

    /// The bytes of the key, for wrapping it. Whoever holds them can read every cell of the key.
    pub fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl From<[u8; Self::LEN]> for Cek {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Cek {
    type Error = InvalidCekLength;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidCekLength> {
        match bytes.try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => Err(InvalidCekLength { found: bytes.len() }),
        }
    }
}

impl fmt::Debug for Cek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cek(..)")
    }
}

/// The CEK was not 32 bytes long. The fault lies with whoever wrapped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a column encryption key has {} bytes, this one has {found}", Cek::LEN)]
pub struct InvalidCekLength {
    /// How many bytes there were.
    pub found: usize,
}
