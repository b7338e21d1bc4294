//! What a run counts and measures: per stage and worker, per counter and collector.

mod latency;
mod stage;
mod totals;
mod workers;

use std::sync::Arc;

use crate::graph::StageId;
use crate::journal::{Entries, Event};

pub use latency::Latency;
pub(crate) use stage::{Backlog, StageStats};
pub use stage::{Deaths, QueueFigures, StageFigures};
pub(crate) use totals::{Totals, made_here, misuse, take_misuse, totals};
pub(crate) use workers::WorkerStats;
pub use workers::{WorkerFigures, WorkerState};

/// The figures of every stage of one run, by stage.
pub(crate) type Stages = Vec<Arc<StageStats>>;

/// Adds what a journal committed to the program's totals; gives back what happened to single items.
pub(crate) fn settle(entries: Entries, stages: &Stages, totals: &Totals) -> Vec<Event> {
    for (StageId(stage), ins, outs, nones) in entries.steps {
        if let Some(stats) = stages.get(stage as usize) {
            stats.add(ins, outs, nones);
        }
    }
    for (StageId(stage), timing) in entries.times {
        if let Some(stats) = stages.get(stage as usize) {
            stats.timed(&timing);
        }
    }
    for (counter, n) in entries.counts {
        totals.count(counter, n);
    }
    for (collector, values) in entries.collected {
        totals.collect(collector, values);
    }
    entries.events
}
