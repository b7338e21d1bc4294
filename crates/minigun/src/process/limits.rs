//! What a worker does to itself before user code runs in it: its limits, and the stop for a debugger.

use std::io::{self, Write};

use minigun_os::{Pid, Signal, child, kill};

use super::cause::Bytes;
use crate::failure::Failure;
use crate::plan::WorkerLimits;

/// Limits the calling worker.
pub(crate) fn limit(limits: WorkerLimits) -> Result<(), Failure> {
    let refused =
        |what: String, error: io::Error| Failure::from(format!("the kernel refused {what}: {error}"));
    if let Some(add) = limits.nice {
        child::nice(add).map_err(|error| refused(format!("`nice({add})`"), error))?;
    }
    if let Some(time) = limits.cpu {
        child::limit_cpu(time).map_err(|error| refused(format!("the CPU limit of {time:?}"), error))?;
    }
    if let Some(bytes) = limits.memory {
        child::limit_memory(bytes)
            .map_err(|error| refused(format!("the memory limit of {}", Bytes(bytes)), error))?;
    }
    Ok(())
}

/// The environment variable that names the block or stage whose workers stop for a debugger, or `all`.
const DEBUG: &str = "MINIGUN_DEBUG_WORKER";

/// Whether the workers of a block are to stop for a debugger.
pub(crate) fn is_debugged(block: &str, stages: &[String]) -> bool {
    let named = std::env::var(DEBUG).unwrap_or_default();
    names(&named, block, stages)
}

fn names(named: &str, block: &str, stages: &[String]) -> bool {
    !named.is_empty() && (named == "all" || named == block || stages.iter().any(|stage| stage == named))
}

/// Says who it is, and stops until a debugger (or anybody else) lets it go on.
pub(crate) fn await_debugger(block: &str) {
    child::allow_debugger();
    let pid = Pid::current();
    let text = format!(
        "minigun: worker {pid} of `{block}` has stopped itself ({DEBUG}); attach with `gdb -p {pid}` or `lldb -p \
         {pid}`, and let it go on with `kill -CONT {pid}`\n"
    );
    // Without standard error whoever set the variable finds the stopped process by its title.
    let _ = io::stderr().write_all(text.as_bytes());
    let _ = kill(pid, Signal::STOP);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_debugged_by_its_name_one_of_its_stages_or_all() {
        let stages = ["parse".to_string(), "check".to_string()];
        for named in ["all", "parse + check", "parse", "check"] {
            assert!(names(named, "parse + check", &stages), "{named}");
        }
        for named in ["", "pars", "parse +", "ALL"] {
            assert!(!names(named, "parse + check", &stages), "{named}");
        }
    }
}
