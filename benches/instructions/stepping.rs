//! Counts by ptrace: the process stops itself where a shape begins and where it ends, and between the
//! two it is let go for one instruction at a time.

use std::process::Command;

use always_encrypted::crypto::Implementation;
use nix::{
    sys::{
        ptrace,
        signal::{Signal, raise},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{COUNTED, Count, Result, per_call, shapes};

pub const NAME: &str = "stepping";

/// The C library copies long pieces by an instruction that would be counted once per byte.
const NO_REP_MOVSB: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000");

pub fn be_stepped(implementation: Implementation) {
    ptrace::traceme().expect("the process may be traced by its parent");
    shapes::each(implementation, |work| {
        raise(Signal::SIGSTOP).expect("a signal");
        work();
        raise(Signal::SIGSTOP).expect("a signal");
    });
}

pub fn count() -> Result<Vec<Count>> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program)
        .args([COUNTED, NAME])
        .env(NO_REP_MOVSB.0, NO_REP_MOVSB.1)
        .spawn()
        .map_err(|e| e.to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    let totals = count_process(pid);
    if totals.is_err() {
        // It may have gone by itself.
        let _ = child.kill();
    }
    // Reaped here, or by the wait that saw it go.
    let _ = child.wait();
    per_call(&totals?)
}

fn count_process(pid: Pid) -> Result<Vec<u64>> {
    let ptrace_failed = |e: nix::Error| format!("ptrace: {e}; does this container allow it?");
    let mut totals = Vec::new();
    for _ in shapes::SHAPES {
        match wait(pid)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => return Err(format!("the counted process did not stop: {other:?}")),
        }
        let mut steps = 0;
        loop {
            ptrace::step(pid, None).map_err(ptrace_failed)?;
            match wait(pid)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => steps += 1,
                WaitStatus::Stopped(_, Signal::SIGSTOP) => break,
                other => return Err(format!("the counted process did not step: {other:?}")),
            }
        }
        totals.push(steps);
        ptrace::cont(pid, None).map_err(ptrace_failed)?;
    }
    match wait(pid)? {
        WaitStatus::Exited(_, 0) => Ok(totals),
        other => Err(format!("the counted process did not end well: {other:?}")),
    }
}

fn wait(pid: Pid) -> Result<WaitStatus> {
    waitpid(pid, None).map_err(|e| format!("waitpid: {e}"))
}
