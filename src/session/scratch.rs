//! A buffer for plaintext that is used again and again.

use zeroize::{Zeroize, Zeroizing};

/// Wiped before each use and on drop, and never grown in place: a vector that grows leaves a copy of
/// what it held in freed memory.
#[derive(Default)]
pub(super) struct Scratch(Zeroizing<Vec<u8>>);

impl Scratch {
    /// The buffer, empty, with room for `capacity` bytes.
    pub(super) fn emptied(&mut self, capacity: usize) -> &mut Vec<u8> {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
        if self.0.capacity() < capacity {
            self.0 = Zeroizing::new(Vec::with_capacity(capacity));
        }
        &mut self.0
    }
}
