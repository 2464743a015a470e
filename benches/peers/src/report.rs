//! What was measured, as tables for people, JSON for machines, and one line that judges.

use std::fmt::Write;

use crate::{
    contender::{Operation, Peer},
    envelopes::Opened,
    inputs::size_name,
    measure::Series,
    ours::{BATCH, Portable, Single},
    peers::{aws_lc::AwsLc, mssql_auth::MssqlAuth, openssl_per_cell::OpensslPerCell},
};

/// One implementation at one operation and one plaintext length.
pub struct CellRow {
    pub operation: Operation,
    pub size: usize,
    pub name: &'static str,
    pub series: Series,
}

pub struct Report {
    pub rounds: usize,
    pub cells: Vec<CellRow>,
    pub envelopes: Vec<Opened>,
}

/// Whom the targets are against, and how many times faster we mean to be with 64-byte cells: safe
/// code, one cell at a time with instructions of the processor, many cells at a time with them.
const TARGETS: [(&str, &str, [f64; 3]); 3] = [
    ("EVP objects built per cell", OpensslPerCell::NAME, [50.0, 65.0, 110.0]),
    ("mssql-auth", MssqlAuth::NAME, [1.5, 2.2, 3.3]),
    ("aws-lc-rs", AwsLc::NAME, [1.3, 1.85, 2.7]),
];

/// The plaintext length that the targets are for.
const TARGET_SIZE: usize = 64;

impl Report {
    pub fn new(rounds: usize) -> Self {
        Self { rounds, cells: Vec::new(), envelopes: Vec::new() }
    }

    /// Who is compared, on what.
    pub fn header(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "Machine: {}", machine());
        let _ = writeln!(out, "Versions: {}", versions().join(", "));
        let _ = writeln!(
            out,
            "Median of {} interleaved rounds; load at the start: {}.",
            self.rounds,
            load()
        );
        out
    }

    /// A Markdown table: nanoseconds per cell, and in parentheses how many times ours is faster.
    pub fn table(&self, operation: Operation) -> String {
        let sizes = self.sizes();
        let mut out = format!("## {}, ns per cell (times ours is faster)\n\n", operation.title());
        let _ = write!(out, "| implementation |");
        for &size in &sizes {
            let _ = write!(out, " {} |", size_name(size));
        }
        let _ = writeln!(out, "\n|---|{}", "---:|".repeat(sizes.len()));
        for name in self.names() {
            let _ = write!(out, "| {name} |");
            for &size in &sizes {
                if let Some(row) = self.row(operation, size, name) {
                    let _ = write!(out, " {}", number(row.median()));
                    if let Some(ratio) = self.ratio(operation, size, name, Single::NAME)
                        && name != Single::NAME
                    {
                        let _ = write!(out, " ({})", number(ratio));
                    }
                }
                let _ = write!(out, " |");
            }
            out.push('\n');
        }
        out
    }

    /// The same for opening envelopes, in microseconds.
    pub fn envelope_table(&self) -> String {
        let mut out = "## open a CEK envelope, µs (times ours is faster)\n\n".to_owned();
        let _ = write!(out, "| implementation |");
        for opened in &self.envelopes {
            let _ = write!(out, " RSA {} |", opened.bits);
        }
        let _ = writeln!(out, "\n|---|{}", "---:|".repeat(self.envelopes.len()));
        let rows = self.envelopes.first().map_or(0, |opened| opened.rows.len());
        for row in 0..rows {
            for (column, opened) in self.envelopes.iter().enumerate() {
                let (name, series) = &opened.rows[row];
                if column == 0 {
                    let _ = write!(out, "| {name} |");
                }
                let _ = write!(out, " {}", number(series.median() / 1000.0));
                if row > 0 {
                    let _ = write!(out, " ({})", number(series.over(&opened.rows[0].1)));
                }
                let _ = write!(out, " |");
            }
            out.push('\n');
        }
        out
    }

    /// One line: how many times faster with 64-byte cells, deterministic, randomized and decrypted,
    /// and which targets that reaches. A target is reached if all three operations reach it.
    pub fn verdict(&self) -> String {
        let mut out = format!("{TARGET_SIZE} B, det/rand/dec");
        for (title, peer, targets) in TARGETS {
            let _ = write!(out, "; {title}:");
            let tiers = [("safe", Portable::NAME), ("single", Single::NAME), ("batch", BATCH)];
            for (i, ((tier, ours), target)) in tiers.into_iter().zip(targets).enumerate() {
                let ratios =
                    Operation::ALL.map(|op| self.ratio(op, TARGET_SIZE, peer, ours).unwrap_or(0.0));
                let slowest = ratios.into_iter().fold(f64::INFINITY, f64::min);
                let verdict = if slowest >= target { "reached" } else { "falls short" };
                let all = ratios.map(number).join("/");
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(out, "{comma} {tier} {all}x (>= {target}x {verdict})");
            }
        }
        out
    }

    /// Everything, for machines. Names hold no characters that JSON would have escaped.
    pub fn json(&self) -> String {
        let cells = self.cells.iter().map(|row| {
            let ratio = self.ratio(row.operation, row.size, row.name, Single::NAME);
            format!(
                r#"{{"operation": "{}", "bytes": {}, "implementation": "{}", {}}}"#,
                row.operation.short(),
                row.size,
                row.name,
                numbers(&row.series, ratio.unwrap_or(1.0)),
            )
        });
        let envelopes = self.envelopes.iter().flat_map(|opened| {
            opened.rows.iter().map(|(name, series)| {
                let ratio = series.over(&opened.rows[0].1);
                let (bits, numbers) = (opened.bits, numbers(series, ratio));
                format!(r#"{{"bits": {bits}, "implementation": "{name}", {numbers}}}"#)
            })
        });
        let lines = |rows: Vec<String>| rows.join(",\n    ");
        format!(
            "{{\n  \"machine\": \"{}\",\n  \"versions\": [\"{}\"],\n  \"rounds\": {},\n  \
             \"cells\": [\n    {}\n  ],\n  \"envelopes\": [\n    {}\n  ]\n}}\n",
            machine(),
            versions().join("\", \""),
            self.rounds,
            lines(cells.collect()),
            lines(envelopes.collect()),
        )
    }

    /// The implementations in the order of their rows.
    pub fn names(&self) -> Vec<&'static str> {
        distinct(self.cells.iter().map(|row| row.name))
    }

    /// The plaintext lengths in the order of their columns.
    pub fn sizes(&self) -> Vec<usize> {
        distinct(self.cells.iter().map(|row| row.size))
    }

    pub fn row(&self, operation: Operation, size: usize, name: &str) -> Option<&Series> {
        let wanted =
            |row: &&CellRow| (row.operation, row.size, row.name) == (operation, size, name);
        self.cells.iter().find(wanted).map(|row| &row.series)
    }

    /// How many times faster `ours` is than `peer`.
    fn ratio(&self, operation: Operation, size: usize, peer: &str, ours: &str) -> Option<f64> {
        let peer = self.row(operation, size, peer)?;
        Some(peer.over(self.row(operation, size, ours)?))
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn numbers(series: &Series, ratio: f64) -> String {
    let (low, high) = series.quartiles();
    let median = series.median();
    format!(
        r#""ns": {median:.1}, "ns_q1": {low:.1}, "ns_q3": {high:.1}, "times_ours_is_faster": {ratio:.3}"#
    )
}

/// Three significant digits and no exponent.
fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// The version of OpenSSL as it says itself, and those of the crates from the lock file.
fn versions() -> Vec<String> {
    let mut versions = vec![openssl::version::version().to_owned()];
    let lock = include_str!("../Cargo.lock");
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(" = ").trim_matches('"'))
        };
        if let (Some(name), Some(version)) = (field("name"), field("version"))
            && ["openssl", "aws-lc-rs", "ring", "mssql-auth", "aes", "cbc", "hmac", "sha2", "rsa"]
                .contains(&name)
        {
            versions.push(format!("{name} {version}"));
        }
    }
    versions
}

/// How busy the machine is, as far as the system tells: with us, and with whom else.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// The processor, as far as the system tells.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().replace(['"', '\\'], ""))
    };
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let name = field("model name").unwrap_or_else(|| "unknown processor".to_owned());
    let family = field("cpu family")
        .zip(field("model\t"))
        .map_or_else(String::new, |(f, m)| format!(" (family {f}, model {m})"));
    format!("{name}{family}, {cpus} CPUs, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}
