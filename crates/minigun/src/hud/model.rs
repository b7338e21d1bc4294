//! What the view shows of a run, as plain data: drawing is a function of this and of nothing else.

use std::time::Duration;

/// A run at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) pipeline: String,
    pub(super) state: RunState,
    pub(super) elapsed: Duration,
    /// In the order in which they were written.
    pub(super) stages: Vec<StageView>,
    /// From one stage to another, by their places in `stages`.
    pub(super) edges: Vec<(usize, usize)>,
    pub(super) workers: Vec<WorkerView>,
    /// The last ones, the newest first.
    pub(super) failures: Vec<FailureView>,
    /// How far it is, block by block.
    pub(super) progress: Vec<ProgressView>,
    /// How much of it is done and how long it will take, as far as that is known.
    pub(super) summary: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProgressView {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) done: u64,
    /// Of so many, as far as that is known.
    pub(super) of: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum RunState {
    #[default]
    Running,
    /// Producers were told to end; what is in flight is finished.
    Stopping,
    Finished,
    /// With the error, if it is known.
    Failed(String),
}

impl RunState {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, RunState::Finished | RunState::Failed(_))
    }
}

/// What a stage is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// No item has reached it.
    #[default]
    Waiting,
    /// Items have passed lately.
    Working,
    /// None has.
    Idle,
    /// The run is over.
    Ended,
}

#[derive(Clone, Debug, Default)]
pub(super) struct StageView {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// Where it runs; empty outside any block.
    pub(super) place: String,
    pub(super) status: Status,
    pub(super) items_in: u64,
    pub(super) items_out: u64,
    /// Items a second: those that arrive, of a source those that leave.
    pub(super) rate: f64,
    /// The last rates, the newest last.
    pub(super) history: Vec<f64>,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    pub(super) queue: Option<QueueView>,
    pub(super) busy: Duration,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) skipped: u64,
    pub(super) dead: u64,
    pub(super) deaths: u64,
}

impl StageView {
    /// The items that count as its work.
    pub(super) fn items(&self) -> u64 {
        if self.is_source() { self.items_out } else { self.items_in }
    }

    pub(super) fn is_source(&self) -> bool {
        self.items_in == 0 && (self.items_out > 0 || self.kind == "source" || self.kind == "producer")
    }

    /// Items that did not get through.
    pub(super) fn lost_to_policy(&self) -> u64 {
        self.skipped + self.dead
    }
}

/// What waits before a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueView {
    pub(super) depth: u64,
    pub(super) limit: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct WorkerView {
    /// Of a worker process.
    pub(super) pid: Option<u32>,
    pub(super) stage: String,
    pub(super) state: String,
    pub(super) items: u64,
    /// Bytes of its own.
    pub(super) memory: Option<u64>,
    pub(super) restarts: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FailureView {
    pub(super) stage: String,
    pub(super) item: u64,
    pub(super) attempts: u32,
    /// What became of it.
    pub(super) fate: String,
    pub(super) error: String,
}
