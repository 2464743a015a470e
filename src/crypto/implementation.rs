//! Which code encrypts and decrypts cells on this machine.

use std::fmt;

/// What a [`CellKey`](super::CellKey) works with. All of them make the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Implementation {
    /// Safe Rust on the `aes` and `sha2` crates, which use the processor's instructions themselves
    /// where it has them. Runs everywhere.
    Portable,
    /// Kernels of our own for x86-64 with AES-NI and SHA-NI, several cells at a time. Needs the
    /// cargo feature `simd`.
    X86,
    /// Kernels of our own for AArch64 with the ARMv8 instructions for AES and SHA-256, several cells
    /// at a time. Needs the cargo feature `simd`. Tested in an emulator, and never measured on such a
    /// processor.
    Aarch64,
}

impl Implementation {
    /// The best one for this machine. The processor is asked once per process.
    pub(super) fn detect() -> Self {
        #[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
        if super::native::is_available() {
            return super::native::IMPLEMENTATION;
        }
        Self::Portable
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::X86 => "x86-64 with AES-NI and SHA-NI",
            Self::Aarch64 => "AArch64 with AES and SHA-256",
        })
    }
}

/// What every new [`CellKey`](super::CellKey) of this process works with, for a log or a bug report.
///
/// ```
/// println!("cells: {}", always_encrypted::crypto::implementation());
/// ```
#[must_use]
pub fn implementation() -> Implementation {
    Implementation::detect()
}
