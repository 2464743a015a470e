//! Cell encryption of always-encrypted beside other implementations, in one process.
//!
//! ```text
//! cargo run --release -- [--quick] [--json FILE] [--svg FILE]
//! ```
//!
//! First all implementations must agree on the bytes; then they are timed in interleaved rounds.
//! The program fails if they disagree, and never because of how fast anybody is.

mod agreement;
mod contender;
mod envelopes;
mod inputs;
mod layout;
mod measure;
mod ours;
mod peers;
mod plot;
mod report;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use always_encrypted::crypto::EncryptionType;

use contender::{Contender, Operation};
use measure::{Effort, Timed, interleaved};
use report::{CellRow, Report};

/// The CEK of all cells. A benchmark has no secrets.
const CEK: [u8; 32] = *b"a column encryption key for all.";

fn contenders() -> Vec<Box<dyn Contender>> {
    vec![
        // Ours comes first.
        Box::new(ours::Single::new(&CEK)),
        Box::new(ours::Portable::new(&CEK)),
        Box::new(ours::Batch::new(&CEK)),
        Box::new(peers::openssl_per_cell::OpensslPerCell::new(&CEK)),
        Box::new(peers::openssl_kept::OpensslKept::new(&CEK)),
        Box::new(peers::aws_lc::AwsLc::new(&CEK)),
        Box::new(peers::ring_cbc::RingCbc::new(&CEK)),
        Box::new(peers::mssql_auth::MssqlAuth::new(&CEK)),
        Box::new(peers::naive::Naive::new(&CEK)),
    ]
}

#[derive(Default)]
struct Options {
    quick: bool,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut file = || args.next().map(PathBuf::from).ok_or(format!("{arg} needs a file"));
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = Some(file()?),
                "--svg" => options.svg = Some(file()?),
                _ => return Err(format!("what is {arg}? I know --quick, --json FILE, --svg FILE")),
            }
        }
        Ok(options)
    }

    fn sizes(&self) -> &'static [usize] {
        if self.quick { &inputs::QUICK_SIZES } else { &inputs::SIZES }
    }

    fn cells(&self) -> Effort {
        let (rounds, millis) = if self.quick { (7, 2) } else { (41, 2) };
        Effort { rounds, turn: Duration::from_millis(millis) }
    }

    fn envelopes(&self) -> Effort {
        Effort { rounds: if self.quick { 5 } else { 21 }, turn: Duration::from_millis(20) }
    }
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut contenders = contenders();
    let compared = agreement::check(&mut contenders)?;
    let mut report = Report::new(options.cells().rounds);
    print!("{}", report.header());
    println!("All agree: {compared} decryptions compared, deterministic cells equal.\n");

    for operation in Operation::ALL {
        for &size in options.sizes() {
            report.cells.extend(time_cells(&mut contenders, operation, size, options.cells()));
        }
        println!("{}", report.table(operation));
    }
    for bits in envelopes::BITS {
        report.envelopes.push(envelopes::measure(bits, options.envelopes())?);
    }
    println!("{}", report.envelope_table());

    if let Some(file) = &options.json {
        write(file, &report.json())?;
    }
    if let Some(file) = &options.svg {
        write(file, &plot::svg(&report))?;
    }
    println!("{}", report.verdict());
    Ok(())
}

fn time_cells(
    contenders: &mut [Box<dyn Contender>],
    operation: Operation,
    size: usize,
    effort: Effort,
) -> Vec<CellRow> {
    let mut inputs = inputs::plaintexts(size);
    if operation == Operation::Decrypt {
        for input in &mut inputs {
            *input = contenders[0].cell(input, EncryptionType::Randomized);
        }
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name()).collect();
    let mut timed: Vec<Timed<'_>> = contenders
        .iter_mut()
        .map(|contender| {
            let inputs = &inputs;
            Box::new(move |count| contender.run(operation, inputs, count)) as Timed<'_>
        })
        .collect();
    let series = interleaved(&mut timed, effort);
    names
        .into_iter()
        .zip(series)
        .map(|(name, series)| CellRow { operation, size, name, series })
        .collect()
}

fn write(file: &PathBuf, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}
