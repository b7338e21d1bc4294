//! What a run did: figures by stage, counters, and the values its handles stand for.

mod limiting;
mod table;
pub(crate) mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct;

pub use limiting::Limiting;
use limiting::Load;

use crate::error::Error;
use crate::failure::{FailedItem, StopCause};
use crate::graph::Graph;
use crate::limits::Warning;
use crate::shared::Shared;
use crate::stage::handles::{Collector, Counter, Gathered};
use crate::stats::{Deaths, StageFigures, Totals, WorkerFigures};
use crate::wire::Wire;

/// What a run did. `Display` prints a table that fits into 80 columns, with times per block: `busy` is the share of
/// its workers' time, `p50` and `p99` are [latencies](crate::Latency).
pub struct Report {
    pipeline: String,
    totals: Arc<Totals>,
    stages: Vec<StageReport>,
    elapsed: Duration,
    stopped: Option<StopCause>,
    warnings: Vec<Warning>,
    limiting: Option<Limiting>,
}

/// What one stage did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StageReport {
    /// The stage's name.
    pub name: String,
    /// What kind of stage it is: `source`, `map`, `processor`, `batch` …
    pub kind: &'static str,
    /// Where it ran, as an [`Executor`](crate::Executor) is written; empty outside any block.
    pub place: String,
    /// Its figures.
    pub figures: StageFigures,
    /// The workers of its block, with the first of the block's stages.
    pub workers: Vec<WorkerFigures>,
    /// Items that failed for good and did not end the run, skipped or dead letters: the first of them.
    pub failures: Vec<FailedItem>,
    /// Deaths of its block's worker processes by their cause, the most frequent first.
    pub deaths: Vec<Deaths>,
}

/// Every stage's figures as they are now.
pub(crate) fn stages(shared: &Shared, graph: &Graph) -> Vec<StageReport> {
    let stages = graph.stages.iter().zip(shared.stages());
    stages
        .map(|(stage, stats)| StageReport {
            name: stage.name.clone(),
            kind: stage.kind,
            place: stage.block.map_or(String::new(), |block| graph.place(block)),
            figures: figures_of(stage.kind, stats.figures()),
            workers: stats.workers(),
            failures: stats.failures(),
            deaths: stats.deaths(),
        })
        .collect()
}

/// Only steps that may leave items out are said to do so.
fn figures_of(kind: &str, figures: StageFigures) -> StageFigures {
    let filters = matches!(kind, "filter" | "processor" | "flat_map" | "router" | "try_map" | "map");
    StageFigures { filtered: if filters { figures.filtered } else { 0 }, ..figures }
}

/// The stage that limits a run which has taken so long, by the figures of all its stages.
pub(crate) fn limiting_stage(stages: &[StageReport], elapsed: Duration) -> Option<Limiting> {
    let loads = stages.iter().filter(|stage| !stage.workers.is_empty()).map(|stage| Load {
        stage: &stage.name,
        workers: stage.workers.len(),
        grows: !stage.place.is_empty() || matches!(stage.kind, "processor" | "consumer" | "router"),
        items: stage.workers.iter().map(|worker| worker.items).sum(),
        busy: stage.figures.busy,
        for_input: stage.figures.waited_for_input,
        for_room: stage.figures.waited_for_room,
    });
    limiting::limiting(&loads.collect::<Vec<_>>(), elapsed)
}

/// Something whose value is read from the report.
pub trait Outcome {
    /// The value.
    type Value;
    #[doc(hidden)]
    fn read(self, report: &mut Report) -> Result<Self::Value, Error>;
}

impl Report {
    pub(crate) fn new(shared: &Shared, graph: &Graph, elapsed: Duration, warnings: Vec<Warning>) -> Self {
        let stages = stages(shared, graph);
        Report {
            pipeline: shared.name().to_string(),
            totals: Arc::clone(shared.totals()),
            limiting: limiting_stage(&stages, elapsed),
            stages,
            elapsed,
            stopped: shared.stopped(),
            warnings,
        }
    }

    /// A stop may come while the last hooks run.
    pub(crate) fn set_stopped(&mut self, stopped: Option<StopCause>) {
        self.stopped = stopped;
    }

    /// The value of a handle: what a flow collected or folded, or what was pushed to a collector.
    ///
    /// # Panics
    /// If the handle belongs to another pipeline, or its value was taken before; see
    /// [`try_take`](Self::try_take).
    pub fn take<O: Outcome>(&mut self, outcome: O) -> O::Value {
        match self.try_take(outcome) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`take`](Self::take).
    ///
    /// # Errors
    /// [`Error::Handle`] if the handle belongs to another pipeline, or its value was taken before.
    pub fn try_take<O: Outcome>(&mut self, outcome: O) -> Result<O::Value, Error> {
        outcome.read(self)
    }

    /// What a counter counted.
    ///
    /// # Panics
    /// If the counter belongs to another pipeline; see [`try_count`](Self::try_count).
    pub fn count(&self, counter: &Counter) -> u64 {
        match self.try_count(counter) {
            Ok(count) => count,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`count`](Self::count).
    ///
    /// # Errors
    /// [`Error::Handle`] if the counter belongs to another pipeline.
    pub fn try_count(&self, counter: &Counter) -> Result<u64, Error> {
        self.ours("a counter", counter.pipeline)?;
        self.totals.counter(counter.index).ok_or(Error::Handle { what: "a counter", why: "it is not known" })
    }

    /// The stages, in the order in which they were written.
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// The stage of that name; of several, the first.
    pub fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// How long the run took, from its start to the end of its last worker.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Who asked the run to end early, if anybody did before it was over. What was in flight was finished all
    /// the same; whether something was left undone, the sources' figures tell.
    pub fn stopped(&self) -> Option<StopCause> {
        self.stopped
    }

    /// The stage that limited the run, why, and what one more worker would bring; `None` if nothing was measured.
    pub fn limiting(&self) -> Option<&Limiting> {
        self.limiting.as_ref()
    }

    /// What the run's owner should know, each thing once.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// An error if the handle is another pipeline's.
    pub(crate) fn ours(&self, what: &'static str, pipeline: u64) -> Result<(), Error> {
        if pipeline == self.totals.id() {
            return Ok(());
        }
        Err(Error::Handle { what, why: "it belongs to another pipeline" })
    }
}

pub(crate) const TAKEN: &str = "its value was taken before, or lost in a panic";

impl<T: Wire> Outcome for Collector<T> {
    type Value = Vec<T>;
    fn read(self, report: &mut Report) -> Result<Vec<T>, Error> {
        report.ours("a collector", self.pipeline)?;
        let values = report.totals.take_values(self.index);
        let values = values.ok_or(Error::Handle { what: "a collector", why: TAKEN })?;
        let Some(values) = values else { return Ok(Vec::new()) };
        match values.into_any().downcast::<Gathered<T>>() {
            Ok(values) => Ok(values.0),
            Err(_) => Err(Error::Handle { what: "a collector", why: "its values are of another type" }),
        }
    }
}

/// As `{pipeline, seconds, stopped, warnings, stages, limiting, counters}`; the values of handles are not part of it.
impl serde::Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 7)?;
        report.serialize_field("pipeline", &self.pipeline)?;
        report.serialize_field("seconds", &self.elapsed.as_secs_f64())?;
        report.serialize_field("stopped", &self.stopped)?;
        report.serialize_field("warnings", &self.warnings)?;
        report.serialize_field("stages", &self.stages)?;
        report.serialize_field("limiting", &self.limiting)?;
        report.serialize_field("counters", &self.totals.counters())?;
        report.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:.3} s", self.pipeline, self.elapsed.as_secs_f64())?;
        match self.stopped {
            Some(cause) => writeln!(f, ", stopped early by {cause}")?,
            None => writeln!(f)?,
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        f.write_str(&table::table(&self.stages, self.elapsed))?;
        if let Some(limiting) = &self.limiting {
            limiting.fmt(f)?;
        }
        for (name, count) in self.totals.counters() {
            writeln!(f, "  {name}: {}", text::grouped_in_full(count))?;
        }
        table::misfortunes(&self.stages, f)
    }
}
