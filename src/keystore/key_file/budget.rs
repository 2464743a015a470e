//! What opening key files may cost this host.
//!
//! A key is derived from a password in as many rounds as the file asks for, and whoever wrote the file
//! chose that number. So each derivation is bounded, all of a file are, and so is a whole reading of a
//! directory. The unit is a round of PBKDF2 for one block of its output.

use crate::keystore::KeyFileProblem;

/// The rounds of one derivation. OpenSSL writes 2048, Windows 2000, Java 10 000.
const MAX_ROUNDS: u32 = 1_000_000;

/// What all derivations of a file may cost together: some seconds. A PKCS#12 file without a password
/// is tried in two forms of that, and may cost as much in either.
const MAX_OF_FILE: u64 = 4 * MAX_ROUNDS as u64;

/// What all files together may cost that one reading of a directory opens: a minute, about. Parsing
/// keys and pairing them with certificates comes on top, bounded by their number.
const MAX_OF_READING: u64 = 16 * MAX_OF_FILE;

/// The cost of a derivation of that many rounds and blocks of output.
pub(super) fn cost(rounds: u32, blocks: usize) -> Result<u64, KeyFileProblem> {
    if rounds > MAX_ROUNDS {
        return Err(KeyFileProblem::TooCostly);
    }
    // No rounds at all are done as one.
    let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
    Ok(u64::from(rounds.max(1)).saturating_mul(blocks))
}

/// What is left for the files of one reading.
pub(in crate::keystore) struct ReadingBudget(u64);

impl Default for ReadingBudget {
    fn default() -> Self {
        Self(MAX_OF_READING)
    }
}

impl ReadingBudget {
    #[cfg(test)]
    pub(in crate::keystore) fn of(rounds: u64) -> Self {
        Self(rounds)
    }

    /// What is left, to see what was spent.
    #[cfg(test)]
    pub(in crate::keystore) fn left(&self) -> u64 {
        self.0
    }

    /// A share of another size than a file has.
    #[cfg(test)]
    pub(in crate::keystore) fn file_of(&mut self, left: u64) -> FileBudget<'_> {
        FileBudget { left, reading: &mut self.0 }
    }

    /// A file's share.
    pub(in crate::keystore) fn file(&mut self) -> FileBudget<'_> {
        FileBudget { left: MAX_OF_FILE, reading: &mut self.0 }
    }
}

/// What is left for one file, or for files that are read together.
pub(in crate::keystore) struct FileBudget<'a> {
    left: u64,
    reading: &'a mut u64,
}

impl FileBudget<'_> {
    /// A share for one attempt at the file, as large as this one: what another attempt has cost is not
    /// the file's doing. All come out of the same reading.
    pub(super) fn attempt(&mut self) -> FileBudget<'_> {
        FileBudget { left: self.left, reading: self.reading }
    }

    /// Whether so much is left, asked before the first of several derivations: a file that asks for too
    /// much in sum should not get any of it.
    ///
    /// [`KeyFileProblem::TooCostly`] if not for any file; [`KeyFileProblem::ReadingTooCostly`] if not
    /// in this reading.
    pub(in crate::keystore) fn check(&self, cost: u64) -> Result<(), KeyFileProblem> {
        if cost > self.left {
            Err(KeyFileProblem::TooCostly)
        } else if cost > *self.reading {
            Err(KeyFileProblem::ReadingTooCostly)
        } else {
            Ok(())
        }
    }

    /// Takes what a derivation costs, which may begin then.
    pub(super) fn spend(&mut self, cost: u64) -> Result<(), KeyFileProblem> {
        self.check(cost)?;
        self.left -= cost;
        *self.reading -= cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derivation_costs_its_rounds_for_each_block() {
        assert_eq!(cost(2000, 3), Ok(6000));
        assert_eq!(cost(0, 2), Ok(2));
        assert_eq!(cost(MAX_ROUNDS, usize::MAX), Ok(u64::MAX));
        assert_eq!(cost(MAX_ROUNDS + 1, 1), Err(KeyFileProblem::TooCostly));
    }

    #[test]
    fn a_file_and_a_reading_end_each_at_their_own_limit() {
        let mut reading = ReadingBudget::of(MAX_OF_FILE + 10);
        let mut first = reading.file();
        assert_eq!(first.check(MAX_OF_FILE + 1), Err(KeyFileProblem::TooCostly));
        assert_eq!(first.spend(MAX_OF_FILE), Ok(()));
        assert_eq!(first.spend(1), Err(KeyFileProblem::TooCostly));
        let mut second = reading.file();
        assert_eq!(second.spend(11), Err(KeyFileProblem::ReadingTooCostly));
        assert_eq!(second.spend(10), Ok(()), "what was refused has cost nothing");
        assert_eq!(second.spend(1), Err(KeyFileProblem::ReadingTooCostly));
    }
}
