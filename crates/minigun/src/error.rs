//! Why a run did not succeed.

use std::fmt;
use std::io;

use crate::failure::{FailedItem, Failure, FailureKind, StopCause, beneath};
use crate::graph::Mistake;
use crate::shared_data::SharedError;

/// Why a pipeline could not be run, or why its run ended early.
///
/// `Debug` prints the same text as `Display`, so that a `main` that returns it tells its user what happened.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The wiring is wrong; nothing was started. All mistakes are listed.
    #[error("the pipeline `{pipeline}` is not wired correctly:{}", list(mistakes))]
    Wiring {
        /// The pipeline's name.
        pipeline: String,
        /// Every mistake found.
        mistakes: Vec<Mistake>,
    },
    /// An item failed and its block's policy is to stop.
    #[error("stage `{stage}` failed on item {item} (attempt {attempts}): {cause}{}{}", remedy(*kind), beneath(details.as_deref()))]
    Stage {
        /// The stage in which it failed.
        stage: String,
        /// The item's number at its block: 0 for the first that arrived.
        item: u64,
        /// Attempts made.
        attempts: u32,
        /// The error of the last attempt, with its causes, in one line.
        cause: String,
        /// More than fits into a line, if there is more: a panic's backtrace, a dead worker's last words.
        details: Option<String>,
        /// What kind of failure it was.
        kind: FailureKind,
    },
    /// A worker of a stage could not be made: an `_init` closure or a hook failed.
    #[error("a worker of `{stage}` could not start: {cause}")]
    Init {
        /// The stage, or the steps of the block.
        stage: String,
        /// What went wrong.
        cause: String,
    },
    /// A hook failed.
    #[error("the hook {hook} failed: {cause}")]
    Hook {
        /// Which hook.
        hook: &'static str,
        /// What it said.
        cause: String,
    },
    /// Workers of a process block died faster than they may be replaced.
    #[error(
        "{deaths} workers of `{stage}` died within {seconds} s, more than its limit of restarts; \
         find out why they die, or raise `max_restarts` on the block. The last deaths:{}",
        list(causes)
    )]
    Dying {
        /// The steps of the block.
        stage: String,
        /// Deaths in the window.
        deaths: u32,
        /// The window.
        seconds: u64,
        /// The causes of the last deaths: each a line, with the last words of the worker beneath.
        causes: Vec<String>,
    },
    /// Worker processes are not to be had here.
    #[error(
        "the process block of `{stage}` cannot run here: {source}; use `.or_threads()` on the block to run it on threads instead"
    )]
    Unsupported {
        /// The steps of the block.
        stage: String,
        /// The refused call.
        source: io::Error,
    },
    /// The fork server could not be made, or died.
    #[error("the fork server of `{pipeline}` failed: {cause}")]
    Zygote {
        /// The pipeline's name.
        pipeline: String,
        /// What happened.
        cause: String,
    },
    /// Dead letters could not be written, or could not be read back.
    #[error("the dead letters in `{path}`: {cause}")]
    Letters {
        /// The file.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// A thread could not be started.
    #[error("a thread for `{stage}` could not be started: {source}")]
    Thread {
        /// The stage.
        stage: String,
        /// What the system said.
        source: io::Error,
    },
    /// The run was stopped by its handle before everything was done.
    #[error("the run was stopped before everything was done")]
    Stopped,
    /// The run was killed: by its handle, or by a second signal where the program asked for that
    /// ([`Pipeline::handle_signals`](crate::Pipeline::handle_signals)).
    #[error("the run was killed by {by} before everything was done")]
    Killed {
        /// Who asked for it.
        by: StopCause,
    },
    /// A variable of the environment says what nobody understands.
    #[error("{variable}: {cause}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it, and what it may be.
        cause: String,
    },
    /// Signals cannot be handled here.
    #[error("the signals SIGINT and SIGTERM cannot be handled here: {source}")]
    Signals {
        /// What the system said.
        source: io::Error,
    },
    /// The figures of the run cannot be served on that address.
    #[cfg(feature = "metrics")]
    #[error("the metrics cannot be served on `{address}`: {source}; choose another address, or port 0")]
    Metrics {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A receiver was dropped while items for it still came.
    #[error(
        "a receiver was dropped before its flow ended; keep it until it has given its last item, or end the flow with `discard`"
    )]
    ReceiverGone,
    /// A locked file could not be written or removed by the engine. The source names the file.
    #[error("{what}: {source}")]
    LockedFile {
        /// What could not be done.
        what: &'static str,
        /// The file, and what the system said.
        source: io::Error,
    },
    /// What waited to go round a loop could not be kept in a file.
    #[error("what waits to go round the loop `{stage}` cannot be kept in a file: {source}")]
    Loop {
        /// The loop: the name given to `feedback`.
        stage: String,
        /// The folder, and what the system said.
        source: io::Error,
    },
    /// A data set could not be shared: see [`Shared`](crate::Shared).
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// User code did not return after the run was stopped.
    #[error("the run was stopped, but user code still runs on a thread in {}; threads cannot be killed", stages.join(", "))]
    Stuck {
        /// The stages in which it runs.
        stages: Vec<String>,
        /// The error that stopped the run, if there was one.
        because: Option<Box<Error>>,
    },
    /// An item's outcome is unknown: a defect of minigun, please report it.
    #[error("the books of `{stage}` do not balance: {detail}; this is a defect of minigun, please report it")]
    Books {
        /// The stage.
        stage: String,
        /// Which figures differ.
        detail: String,
    },
    /// A text that names no known executor.
    #[error("unknown executor `{text}`: {hint}")]
    Executor {
        /// The text.
        text: String,
        /// What is known.
        hint: String,
    },
    /// A handle was read from the report of another pipeline, or read twice.
    #[error("{what} is not in this report: {why}")]
    Handle {
        /// The handle.
        what: &'static str,
        /// Why it cannot be read.
        why: &'static str,
    },
}

/// A worker could not build its steps.
pub(crate) fn init_error(block: &str, failure: &Failure) -> Error {
    Error::Init { stage: failure.stage().unwrap_or(block).to_string(), cause: failure.at_length() }
}

/// An item failed and the policy is to stop.
pub(crate) fn item_error(failed: FailedItem) -> Error {
    let FailedItem { stage, item, attempts, error, details, kind, fate: _ } = failed;
    Error::Stage { stage, item, attempts, cause: error, details, kind }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn list<T: fmt::Display>(entries: &[T]) -> impl fmt::Display + '_ {
    struct List<'a, T>(&'a [T]);
    impl<T: fmt::Display> fmt::Display for List<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|entry| write!(f, "\n  - {entry}"))
        }
    }
    List(entries)
}

fn remedy(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Codec => "",
        _ => "; a policy on the block's head (`retry`, `skip`, `dead_letter`) would let the run go on",
    }
}
