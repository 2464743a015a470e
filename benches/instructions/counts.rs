//! The counts that the repository keeps, and what has become dearer since.

use std::{fs, path::PathBuf, process::Command};

use super::Result;

/// How much dearer a shape may become, in per cent. A compiler other than the one that the counts
/// are of may choose other instructions.
const TOLERANCE: f64 = 3.0;
const TOLERANCE_OF_ANOTHER_COMPILER: f64 = 10.0;

const UPDATE: &str = "cargo bench --bench instructions -- --update";

pub struct Count {
    pub shape: &'static str,
    pub instructions: u64,
}

/// Counts by tier and shape, and the compiler that they are of.
pub struct Counts {
    compiler: String,
    rows: Vec<(&'static str, Count)>,
}

impl Counts {
    pub fn new() -> Result<Self> {
        let output = Command::new("rustc").arg("--version").output();
        let output = output.map_err(|e| format!("rustc: {e}"))?.stdout;
        let text = String::from_utf8_lossy(&output);
        let compiler = text.split(" (").next().unwrap_or_default().trim().to_owned();
        Ok(Self { compiler, rows: Vec::new() })
    }

    pub fn extend(&mut self, tier: &'static str, counts: Vec<Count>) -> Result<()> {
        if let Some(none) = counts.iter().find(|count| count.instructions == 0) {
            return Err(format!("{tier}, {}: no instructions", none.shape));
        }
        self.rows.extend(counts.into_iter().map(|count| (tier, count)));
        Ok(())
    }

    /// Keeps the rows of tiers that were not counted here.
    pub fn write(&self) -> Result<()> {
        let recorded = Recorded::read().unwrap_or_default();
        let mut text = format!(
            "# Instructions per call, lengths in bytes. Written by {UPDATE}\n\
             # {}\n\
             tier\tshape\tinstructions\n",
            self.compiler
        );
        for (tier, Count { shape, instructions }) in &self.rows {
            text += &format!("{tier}\t{shape}\t{instructions}\n");
        }
        let counted = |tier: &str| self.rows.iter().any(|(t, _)| *t == tier);
        for (tier, shape, instructions) in recorded.rows.iter().filter(|row| !counted(&row.0)) {
            text += &format!("{tier}\t{shape}\t{instructions}\n");
        }
        let path = path();
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{} counts are in {}", self.rows.len(), path.display());
        Ok(())
    }

    /// An error if a shape is dearer than its count allows, or has none.
    pub fn compare(&self) -> Result<()> {
        let recorded = Recorded::read()?;
        let tolerance = if recorded.compiler == self.compiler {
            TOLERANCE
        } else {
            println!("the counts are of {}, this is {}", recorded.compiler, self.compiler);
            TOLERANCE_OF_ANOTHER_COMPILER
        };
        let (mut dearer, mut cheaper) = (Vec::new(), 0);
        for (tier, Count { shape, instructions }) in &self.rows {
            let Some(before) = recorded.count(tier, shape) else {
                dearer.push(format!("{tier}, {shape}: no count"));
                continue;
            };
            let change = (*instructions as f64 / before as f64 - 1.0) * 100.0;
            println!("{tier:9} {shape:34} {instructions:8}  {change:+.2} %");
            if change > tolerance {
                dearer.push(format!("{tier}, {shape}: {before} became {instructions}"));
            } else if change < -tolerance {
                cheaper += 1;
            }
        }
        if cheaper > 0 {
            println!("{cheaper} shapes have become cheaper; to hold them there: {UPDATE}");
        }
        if dearer.is_empty() {
            println!("no shape is dearer by more than {tolerance} %");
            return Ok(());
        }
        Err(format!(
            "dearer by more than {tolerance} %:\n{}\nif that is meant: {UPDATE}",
            dearer.join("\n")
        ))
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.tsv")
}

#[derive(Default)]
struct Recorded {
    compiler: String,
    rows: Vec<(String, String, u64)>,
}

impl Recorded {
    fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let compiler = text.lines().find_map(|line| line.strip_prefix("# rustc "));
        let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| {
            let mut fields = line.split('\t');
            let row = (fields.next(), fields.next(), fields.next().and_then(|n| n.parse().ok()));
            let (Some(tier), Some(shape), Some(count)) = row else {
                return Err(format!("{}: not a count: {line}", path.display()));
            };
            Ok((tier.to_owned(), shape.to_owned(), count))
        });
        Ok(Self {
            compiler: format!("rustc {}", compiler.unwrap_or("of no known version")),
            rows: rows.collect::<Result<_>>()?,
        })
    }

    fn count(&self, tier: &str, shape: &str) -> Option<u64> {
        self.rows.iter().find(|row| row.0 == tier && row.1 == shape).map(|row| row.2)
    }
}
