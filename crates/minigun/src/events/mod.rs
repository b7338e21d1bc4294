//! What happens in a run, one thing after the other, for whoever wants to know.

mod bus;

use std::fmt;
use std::time::Duration;

use crate::failure::{FailedItem, Fate, StopCause};
use crate::limits::Warning;

pub use bus::Observing;
pub(crate) use bus::{Bus, Closed, Observer};

/// Begins a line that carries what was told to `tracing` in a worker: level, target and message, between tabs.
pub(crate) const FORWARDED: u8 = 0x1e;

/// Something that happened in a run; see [`Pipeline::observe`](crate::Pipeline::observe).
///
/// Only what is rare is told: what happens to every item is counted in the [figures](crate::StageFigures).
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The run begins: the first event.
    RunStarted {
        /// The pipeline's name.
        pipeline: String,
        /// The run's random number.
        run: u64,
    },
    /// The run goes on, but its owner should know this.
    Warned {
        /// What.
        warning: Warning,
    },
    /// A worker began: a thread, or a process that said its first words.
    WorkerSpawned {
        /// Which.
        worker: WorkerId,
    },
    /// A worker ended as it should.
    WorkerRetired {
        /// Which.
        worker: WorkerId,
    },
    /// A worker process died, or could not be forked.
    WorkerDied {
        /// Which.
        worker: WorkerId,
        /// What of, in one line.
        cause: String,
    },
    /// A worker process printed a line to standard error.
    Printed {
        /// Which.
        worker: WorkerId,
        /// The line without its end; what is not UTF-8 in it is replaced.
        line: String,
    },
    /// Code in a worker process told `tracing` something; only with the feature `tracing` and
    /// `Pipeline::trace`.
    Traced {
        /// Which worker.
        worker: WorkerId,
        /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
        level: String,
        /// The module, usually.
        target: String,
        /// The message, its fields behind it.
        message: String,
    },
    /// An attempt at an item failed, and there will be another.
    ItemRetried {
        /// The block, by its first stage.
        stage: String,
        /// The item's number there; `None` in a block inside another.
        item: Option<u64>,
        /// What failed; `None` in a block inside another.
        error: Option<String>,
    },
    /// An item failed for good: its fate says what became of it.
    ItemFailed {
        /// Which, and why.
        item: FailedItem,
    },
    /// All workers of a block have ended.
    StageEnded {
        /// The block, by its first stage.
        stage: String,
    },
    /// Somebody asked the run to end early; told once.
    Stopping {
        /// Who.
        by: StopCause,
    },
    /// So many events came faster than the observers took them, and are not told.
    Missed {
        /// How many.
        events: u64,
    },
    /// The run is over, `after_run` hooks and all: the last event.
    RunEnded {
        /// How long it took.
        elapsed: Duration,
        /// The error that ended it.
        error: Option<String>,
    },
}

/// One worker: a thread of the program, or the process in a place for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub struct WorkerId {
    /// The block it works for, by its first stage.
    pub stage: String,
    /// Its place among the block's workers, from 0. A process that replaces another has the same.
    pub worker: usize,
    /// The process; `None` for a thread of the program, and where it is not known.
    pub pid: Option<u32>,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{}/{} (process {pid})", self.stage, self.worker),
            None => write!(f, "{}/{}", self.stage, self.worker),
        }
    }
}

/// In one line, for a log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::RunStarted { pipeline, run } => write!(f, "run {run:016x} of `{pipeline}` started"),
            Event::Warned { warning } => write!(f, "warning: {warning}"),
            Event::WorkerSpawned { worker } => write!(f, "worker {worker} spawned"),
            Event::WorkerRetired { worker } => write!(f, "worker {worker} retired"),
            Event::WorkerDied { worker, cause } => write!(f, "worker {worker} died: {cause}"),
            Event::Printed { worker, line } => write!(f, "worker {worker}: {line}"),
            Event::Traced { worker, level, target, message } => {
                write!(f, "worker {worker}: {level} {target}: {message}")
            }
            Event::ItemRetried { stage, item, error } => {
                match item {
                    Some(item) => write!(f, "item {item} of `{stage}` is tried again")?,
                    None => write!(f, "an item of `{stage}` is tried again")?,
                }
                error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Event::ItemFailed { item: FailedItem { fate, stage, item, attempts, error, .. } } => {
                let fate = match fate {
                    Fate::Skipped => "was skipped",
                    Fate::Dead => "became a dead letter",
                    Fate::Stopped => "ends the run",
                };
                write!(f, "item {item} of `{stage}` {fate} after {attempts} attempts: {error}")
            }
            Event::StageEnded { stage } => write!(f, "stage `{stage}` ended"),
            Event::Stopping { by } => write!(f, "stopping: {by}"),
            Event::Missed { events } => write!(f, "{events} events were missed"),
            Event::RunEnded { elapsed, error: None } => write!(f, "run ended after {elapsed:.1?}"),
            Event::RunEnded { elapsed, error: Some(error) } => {
                write!(f, "run failed after {elapsed:.1?}: {error}")
            }
        }
    }
}
