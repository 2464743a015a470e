//! The operating system's random number generator, as everything in this layer asks it. Tests make it
//! fail here.

use rand::{TryCryptoRng, TryRng, rngs::SysRng};

/// The operating system's generator. What it fails with is ours.
pub(super) struct SystemRng;

impl TryRng for SystemRng {
    type Error = RandomFailed;

    fn try_next_u32(&mut self) -> Result<u32, RandomFailed> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomFailed> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        #[cfg(test)]
        faults::injected()?;
        SysRng.try_fill_bytes(bytes).map_err(|_| RandomFailed)
    }
}

impl TryCryptoRng for SystemRng {}

/// The operating system gave no random bytes. Nothing can be encrypted safely until it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random number generator failed")]
pub struct RandomFailed;

/// A generator that fails, on the thread that asks for it.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;

    use super::RandomFailed;

    thread_local! {
        static ANSWERS: Cell<Option<usize>> = const { Cell::new(None) };
        static FAILED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn injected() -> Result<(), RandomFailed> {
        match ANSWERS.get() {
            None => Ok(()),
            Some(0) => {
                FAILED.set(true);
                Err(RandomFailed)
            }
            Some(more) => {
                ANSWERS.set(Some(more - 1));
                Ok(())
            }
        }
    }

    /// Does `work` with a generator that answers so many times and fails from then on; says whether
    /// it was asked then.
    pub(crate) fn after<T>(answers: usize, work: impl FnOnce() -> T) -> (T, bool) {
        ANSWERS.set(Some(answers));
        let result = work();
        ANSWERS.set(None);
        (result, FAILED.take())
    }
}

#[cfg(test)]
mod tests;
