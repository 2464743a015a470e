//! Where random initialisation vectors come from.

use std::cell::RefCell;

use rand::{Rng, SeedableRng, TryRng, rngs::StdRng};

use super::{RandomFailed, layout::BLOCK, random::SystemRng};

/// Where a [`CellKey`](super::CellKey) takes the IVs of randomized cells from. If the operating
/// system's generator fails, both fail, and nothing is encrypted.
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
            Self::Thread => with_generator(|generator| generator.fill(bytes)),
            Self::OperatingSystem => SystemRng.try_fill_bytes(bytes),
        }
    }
}

/// The generator of a thread. `rand::rng()` would be one too, but it panics where it cannot be
/// seeded.
struct Generator {
    rng: StdRng,
    /// How many bytes until it is seeded again.
    left: usize,
}

const RESEED_AFTER: usize = 64 * 1024;

thread_local! {
    static GENERATOR: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

impl Generator {
    fn seeded() -> Result<Self, RandomFailed> {
        Ok(Self { rng: StdRng::try_from_rng(&mut SystemRng)?, left: RESEED_AFTER })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        if self.left < bytes.len() {
            *self = Self::seeded()?;
        }
        self.left = self.left.saturating_sub(bytes.len());
        self.rng.fill_bytes(bytes);
        Ok(())
    }
}

fn with_generator<T>(
    work: impl FnOnce(&mut Generator) -> Result<T, RandomFailed>,
) -> Result<T, RandomFailed> {
    // A thread that ends has none any more, and in a signal handler it may be in use.
    let generator = |cell: &RefCell<Option<Generator>>| {
        let mut generator = cell.try_borrow_mut().map_err(|_| RandomFailed)?;
        match &mut *generator {
            Some(generator) => work(generator),
            none => work(none.insert(Generator::seeded()?)),
        }
    };
    GENERATOR.try_with(generator).map_err(|_| RandomFailed)?
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
    with_generator(|generator| {
        *generator = Generator::seeded()?;
        Ok(())
    })
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
