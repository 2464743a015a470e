//! Counts by valgrind's callgrind: one run, one dump for each shape.

use std::{fs, hint::black_box, process::Command};

use super::{COUNTED, Count, Result, per_call, shapes};

pub const NAME: &str = "callgrind";

/// Its return ends a count. Callgrind finds it by its name, and does not do both things at one.
#[inline(never)]
fn dumped_region(work: &mut dyn FnMut()) {
    counted_region(work);
    black_box(work);
}

/// Nothing outside of this function is counted.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    black_box(work);
}

pub fn mark(work: &mut dyn FnMut()) {
    dumped_region(work);
}

pub fn count() -> Result<Vec<Count>> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
    let dumps = directory.path().join("dump");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_region*"])
        .arg("--dump-after=*dumped_region*")
        .arg(format!("--callgrind-out-file={}", dumps.display()))
        .arg(program)
        .args([COUNTED, NAME])
        .output()
        .map_err(|e| format!("valgrind does not start ({e}); Debian has it as `valgrind`"))?;
    if !output.status.success() {
        return Err(format!("valgrind: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let totals: Result<Vec<u64>> = (1..=shapes::SHAPES.len())
        .map(|n| {
            let path = dumps.with_extension(n.to_string());
            let dump = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            total_of(&dump).ok_or(format!("{} has no total", path.display()))
        })
        .collect();
    per_call(&totals?)
}

fn total_of(dump: &str) -> Option<u64> {
    let line = |name| dump.lines().find_map(|line| line.strip_prefix(name));
    line("summary: ").or_else(|| line("totals: "))?.trim().parse().ok()
}
