//! How many instructions cells take, held against the counts in `counts.tsv`.
//!
//! ```text
//! cargo bench --bench instructions                counts, compares; fails if something became dearer
//! cargo bench --bench instructions -- --update    writes the counts down
//! ```
//!
//! A count is the same on a busy machine as on an idle one, which a time is not. It is no time
//! either: it does not see caches, ports or what waits for what. It says that a change has made the
//! code do more.
//!
//! The portable tier is counted by valgrind's callgrind, whose processor is the same wherever it
//! runs: it has AES-NI and no SHA-NI, so that the hashes there are plain code. The kernels cannot run
//! on it. They are counted on the processor itself, by stepping through the process one instruction
//! at a time, and not at all where it lacks SHA-NI; of what the C library does (`memcpy`) the code
//! differs a little between processors.

mod callgrind;
mod counts;
mod shapes;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stepping;

use std::process::ExitCode;

use always_encrypted::crypto::Implementation;
use counts::{Count, Counts};

/// What the program is called with when it is the one whose instructions are counted.
const COUNTED: &str = "--counted-by";

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == COUNTED) {
        be_counted(arguments.get(at + 1).map(String::as_str));
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("counts nothing without optimisation: cargo bench --bench instructions");
        return ExitCode::SUCCESS;
    }
    let update = arguments.iter().any(|argument| argument == "--update");
    match count_all().and_then(|counts| if update { counts.write() } else { counts.compare() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn be_counted(counter: Option<&str>) {
    match counter {
        Some(callgrind::NAME) => shapes::each(Implementation::Portable, callgrind::mark),
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        Some(stepping::NAME) => stepping::be_stepped(Implementation::X86),
        other => panic!("no such counter: {other:?}"),
    }
}

/// The shape for which the kernels use VAES where there is one.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const LONG: &str = "decrypt 4096";

fn count_all() -> Result<Counts> {
    let mut counts = Counts::new()?;
    counts.extend("portable", callgrind::count()?)?;
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if always_encrypted::crypto::implementation() == Implementation::X86 {
        let mut kernels = stepping::count()?;
        if !(is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx2")) {
            // The count that is kept is that of the other code.
            println!("kernels, {LONG}: not counted, no VAES here");
            kernels.retain(|count| count.shape != LONG);
        }
        counts.extend("kernels", kernels)?;
        return Ok(counts);
    }
    println!("the kernels are not counted: no AES-NI or no SHA-NI here");
    Ok(counts)
}

/// The instructions of one call: those of the counting itself, which the first shape shows, are taken
/// off.
fn per_call(totals: &[u64]) -> Result<Vec<Count>> {
    let [nothing, totals @ ..] = totals else { return Err("nothing was counted".to_owned()) };
    let shapes = &shapes::SHAPES[1..];
    if totals.len() != shapes.len() {
        return Err(format!("{} shapes were counted, not {}", totals.len(), shapes.len()));
    }
    let counts = shapes.iter().zip(totals);
    counts
        .map(|((shape, calls), total)| {
            let own = total.checked_sub(*nothing).ok_or(format!("{shape}: fewer than nothing"))?;
            Ok(Count { shape, instructions: own / calls })
        })
        .collect()
}
