//! Runs cases one after the other and counts them.

use std::{panic::AssertUnwindSafe, pin::Pin, process::ExitCode, time::Duration};

use futures_util::FutureExt as _;

/// No case takes as long, even on a host that is busy, so one that does hangs.
const PATIENCE: Duration = Duration::from_secs(300);

type Body = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// Something that must hold of a key store. It panics if it does not.
pub struct Case {
    name: String,
    body: Body,
}

impl Case {
    pub fn new<F: Future<Output = ()> + 'static>(
        name: &str,
        body: impl FnOnce() -> F + 'static,
    ) -> Self {
        Self { name: name.replace('_', " "), body: Box::new(move || Box::pin(body())) }
    }
}

/// The cases of a module: `cases![a_key_of_another_is_refused, ..]`, each an `async fn()`.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        vec![$(crate::run::Case::new(stringify!($case), $case)),*]
    };
}
pub(crate) use cases;

/// Runs the cases of all modules, says how many pass, and fails if any does not.
pub fn all(modules: impl IntoIterator<Item = (&'static str, Vec<Case>)>) -> ExitCode {
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let (mut count, mut passed) = (0, 0);
    for (module, cases) in modules {
        for case in cases {
            let name = format!("{module}: {}", case.name);
            if word.as_ref().is_some_and(|word| !name.contains(word.as_str())) {
                continue;
            }
            count += 1;
            match run(case.body) {
                Ok(()) => passed += 1,
                Err(why) => eprintln!("FAILED {name}\n  {why}"),
            }
        }
    }
    println!("{passed} of {count} key store cases pass");
    // None at all is a word that fits nothing, and no success.
    if passed == count && count > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(body: Body) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let whole = async { tokio::time::timeout(PATIENCE, body()).await };
    let outcome = runtime.block_on(AssertUnwindSafe(whole).catch_unwind());
    runtime.shutdown_background();
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("it hangs".to_owned()),
        Err(panic) => Err(match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "?".into(), |t| t.to_string()),
        }),
    }
}
