//! The programs that make key files, run in a directory that goes when the case ends.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

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

    /// `keytool` with the words of this line.
    pub fn keytool(&self, line: &str) -> Vec<u8> {
        self.run("keytool", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// A certificate `<name>.crt` and its key `<name>.key`, by OpenSSL.
    pub fn certificate(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN={name} -keyout {name}.key \
             -out {name}.crt"
        ));
    }

    /// What key paths name the certificate `<name>.crt` by, as OpenSSL says it.
    pub fn thumbprint(&self, name: &str) -> String {
        let line = format!("x509 -in {name}.crt -noout -fingerprint -sha1");
        let said = String::from_utf8(self.openssl(&line)).unwrap();
        said.split('=').nth(1).unwrap().trim().replace(':', "")
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The answers of Microsoft's provider for Java key stores: one line for each line.
    pub fn jdbc(&self, lines: &[String]) -> Vec<String> {
        let jar = jdbc_driver();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/key_stores/JdbcProvider.java");
        self.write("questions", (lines.join("\n") + "\n").as_bytes());
        let command =
            format!("java -XX:+UseSerialGC -cp '{}' '{source}' <questions", jar.display());
        let said = String::from_utf8(self.run("sh", &["-c", &command])).unwrap();
        let answers: Vec<String> = said.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), lines.len(), "{said}");
        answers
    }
}

/// The driver of the version that the interoperability runs use, fetched by Maven once.
fn jdbc_driver() -> PathBuf {
    let setup = include_str!("../../interop/setup.sh");
    let value = |name: &str| {
        let line = setup.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("interop/setup.sh does not say {name}"))
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jdbc");
    let jar = dir.join(value("jdbc"));
    if !jar.exists() {
        let artifact = format!("-Dartifact={}", value("jdbc_coordinates"));
        let output = format!("-DoutputDirectory={}", dir.display());
        let bench = Bench::new();
        bench.run("mvn", &["--quiet", "--batch-mode", "dependency:copy", &artifact, &output]);
    }
    let sum = hex(&Sha256::digest(std::fs::read(&jar).unwrap()));
    assert_eq!(sum, value("jdbc_sum"), "{}", jar.display());
    jar
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
