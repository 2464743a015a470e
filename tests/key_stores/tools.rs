//! The programs that make key files, run in a directory that goes when the case ends.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A directory and the programs in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A directory within it.
    pub fn subdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// `openssl` with the words of this line; none of them has a blank in it.
    pub fn openssl(&self, line: &str) -> Vec<u8> {
        self.run("openssl", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// What the program wrote; it must succeed. A program that is not installed fails the case.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(program).args(arguments).current_dir(self.dir.path()).output();
        let output = output.unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}); see .ci/run for what it installs")
        });
        let words = || {
            let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
            String::from_utf8_lossy(&text).into_owned()
        };
        assert!(output.status.success(), "{program} {}: {}", arguments.join(" "), words());
        output.stdout
    }
}
