//! Where random initialisation vectors come from.

use rand::{Rng, TryRng};

use super::{RandomFailed, layout::BLOCK};

/// Where a [`CellKey`](super::CellKey) takes the IVs of randomized cells from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IvSource {
    /// A ChaCha generator of the calling thread, seeded by the operating system and again after
    /// every 64 KiB. Like every generator in a process it is copied by `fork`: see
    /// [`reseed_ivs`].
    #[default]
    Thread,
    /// The operating system, at every cell or batch. Nothing is copied by `fork` or by a snapshot of
    /// a virtual machine. It costs a system call.
    OperatingSystem,
}

impl IvSource {
    pub(super) fn fill(self, ivs: &mut [[u8; BLOCK]]) -> Result<(), RandomFailed> {
        let bytes = ivs.as_flattened_mut();
        match self {
            Self::Thread => rand::rng().fill_bytes(bytes),
            Self::OperatingSystem => {
                rand::rngs::SysRng.try_fill_bytes(bytes).map_err(|_| RandomFailed)?;
            }
        }
        Ok(())
    }
}

/// Seeds the calling thread's generator of IVs anew from the operating system.
///
/// A process that forks and goes on encrypting in the child calls this there first: the forking
/// thread is the only one that the child has, and without it parent and child would draw the same
/// IVs. Under one key, cells with equal IVs show whether their plaintexts begin alike.
///
/// ```
/// always_encrypted::crypto::reseed_ivs()?;
/// # Ok::<(), always_encrypted::crypto::RandomFailed>(())
/// ```
pub fn reseed_ivs() -> Result<(), RandomFailed> {
    rand::rng().reseed().map_err(|_| RandomFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_repeats_an_iv() {
        for source in [IvSource::Thread, IvSource::OperatingSystem] {
            let mut seen = std::collections::HashSet::new();
            for _ in 0..8 {
                let mut ivs = [[0; BLOCK]; 100];
                source.fill(&mut ivs).unwrap();
                assert!(ivs.iter().all(|iv| seen.insert(*iv)), "{source:?}");
            }
            reseed_ivs().unwrap();
        }
    }
}
