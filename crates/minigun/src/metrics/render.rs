//! A run's figures as Prometheus text.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::report::StageReport;
use crate::run::handle::Handle;
use crate::stats::{StageFigures, WorkerState};

/// The labels of every figure of a stage.
const STAGE: [&str; 3] = ["pipeline", "stage", "worker_kind"];

/// A count that only grows: its name, what it is, where it stands.
type Count = (&'static str, &'static str, fn(&StageFigures) -> u64);

const COUNTS: [Count; 14] = [
    ("items_in_total", "Items that arrived and were committed.", |f| f.items_in),
    ("items_out_total", "Items sent on by committed attempts.", |f| f.items_out),
    ("items_filtered_total", "Items of which nothing was sent on.", |f| f.filtered),
    ("items_skipped_total", "Items set aside by the policy skip.", |f| f.skipped),
    ("dead_letters_total", "Items that went to the dead letters.", |f| f.dead),
    ("items_abandoned_total", "Items not finished because the run stopped.", |f| f.abandoned),
    ("failed_attempts_total", "Attempts that failed.", |f| f.failed),
    ("retries_total", "Failed attempts that were followed by another.", |f| f.retried),
    ("worker_deaths_total", "Worker processes that died.", |f| f.deaths),
    ("worker_restarts_total", "Worker processes replaced because they died.", |f| f.restarts),
    ("worker_forks_total", "Worker processes forked.", |f| f.forks),
    ("sent_bytes_total", "Bytes sent to worker processes.", |f| f.bytes_sent),
    ("received_bytes_total", "Bytes received from worker processes.", |f| f.bytes_received),
    ("latency_count_total", "Attempts whose time was taken.", |f| f.latency.count),
];

type Time = (&'static str, &'static str, fn(&StageFigures) -> Duration);

const TIMES: [Time; 3] = [
    ("busy_seconds_total", "Time spent in closures, summed over workers.", |f| f.busy),
    ("waited_for_input_seconds_total", "Time workers had nothing to do.", |f| f.waited_for_input),
    ("waited_for_room_seconds_total", "Time results found no room behind.", |f| f.waited_for_room),
];

type Quantile = (&'static str, fn(&StageFigures) -> Duration);

const QUANTILES: [Quantile; 4] = [
    ("0.5", |f| f.latency.p50),
    ("0.9", |f| f.latency.p90),
    ("0.99", |f| f.latency.p99),
    ("1", |f| f.latency.max),
];

const STATES: [WorkerState; 5] = [
    WorkerState::Starting,
    WorkerState::Working,
    WorkerState::WaitingForInput,
    WorkerState::WaitingForRoom,
    WorkerState::Ended,
];

/// The run as it is now.
///
/// # Errors
/// What the encoder says: a defect, which the scraper is told.
pub(super) fn render(run: &Handle) -> prometheus::Result<String> {
    let shared = &run.0.shared;
    // A registry for one answer: the figures are kept by the run, and nowhere twice.
    let (registry, stages) = (Registry::new(), Stages::of(shared.name(), run.stats()));
    for (name, help, figure) in COUNTS {
        let family = IntCounterVec::new(Opts::new(named(name), help), &STAGE)?;
        for (labels, stage) in &stages.0 {
            family.with_label_values(labels).inc_by(figure(&stage.figures));
        }
        registry.register(Box::new(family))?;
    }
    for (name, help, figure) in TIMES {
        let family = CounterVec::new(Opts::new(named(name), help), &STAGE)?;
        for (labels, stage) in &stages.0 {
            family.with_label_values(labels).inc_by(figure(&stage.figures).as_secs_f64());
        }
        registry.register(Box::new(family))?;
    }
    latencies(&registry, &stages)?;
    queues(&registry, &stages)?;
    workers(&registry, &stages)?;
    let counters = Opts::new("minigun_counter_total", "What a counter of the program counted.");
    let counters = IntCounterVec::new(counters, &["pipeline", "counter"])?;
    for (name, n) in shared.totals().counters() {
        counters.with_label_values(&[shared.name(), &*name]).inc_by(n);
    }
    registry.register(Box::new(counters))?;
    let stopping = Opts::new("minigun_run_stopping", "1 if the run was asked to end early.");
    let stopping = IntGaugeVec::new(stopping, &["pipeline"])?;
    stopping.with_label_values(&[shared.name()]).set(i64::from(shared.is_stopping()));
    registry.register(Box::new(stopping))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn named(name: &str) -> String {
    format!("minigun_stage_{name}")
}

/// The stages with their labels, which no two of them share.
struct Stages(Vec<([String; 3], StageReport)>);

impl Stages {
    fn of(pipeline: &str, stages: Vec<StageReport>) -> Self {
        let mut seen: HashMap<(String, &'static str), usize> = HashMap::new();
        let labelled = stages.into_iter().map(|stage| {
            let kind = worker_kind(&stage.place);
            let before = seen.entry((stage.name.clone(), kind)).or_default();
            *before += 1;
            // Stages of different blocks may have one name.
            let name = match before {
                1 => stage.name.clone(),
                n => format!("{} {n}", stage.name),
            };
            ([pipeline.to_string(), name, kind.to_string()], stage)
        });
        Stages(labelled.collect())
    }
}

/// What runs the stage, from the place that the report names (`processes:2/threads:4`): the innermost block.
fn worker_kind(place: &str) -> &'static str {
    let inner = place.rsplit('/').next().unwrap_or_default();
    match inner.split(':').next().unwrap_or_default() {
        "" => "program",
        "inline" => "inline",
        "threads" => "threads",
        "processes" => "processes",
        "process_per_batch" => "process_per_batch",
        _ => "other",
    }
}

/// The labels and one more.
fn with<'a>(labels: &'a [String; 3], more: &'a str) -> [&'a str; 4] {
    [&*labels[0], &*labels[1], &*labels[2], more]
}

fn latencies(registry: &Registry, stages: &Stages) -> prometheus::Result<()> {
    let help = "How long attempts took; the quantile 1 is the longest.";
    let labels = ["pipeline", "stage", "worker_kind", "quantile"];
    let family = GaugeVec::new(Opts::new(named("latency_seconds"), help), &labels)?;
    for (labels, stage) in stages.0.iter().filter(|(_, stage)| stage.figures.latency.count > 0) {
        for (quantile, figure) in QUANTILES {
            family.with_label_values(&with(labels, quantile)).set(figure(&stage.figures).as_secs_f64());
        }
    }
    registry.register(Box::new(family))
}

fn queues(registry: &Registry, stages: &Stages) -> prometheus::Result<()> {
    let depth = Opts::new(named("queue_items"), "Items that wait before the stage.");
    let limit = Opts::new(named("queue_limit_items"), "The most that may wait before the stage.");
    let (depth, limit) = (IntGaugeVec::new(depth, &STAGE)?, IntGaugeVec::new(limit, &STAGE)?);
    for (labels, stage) in &stages.0 {
        if let Some(queue) = stage.figures.queue {
            depth.with_label_values(labels).set(whole(queue.depth));
            limit.with_label_values(labels).set(whole(queue.limit));
        }
    }
    registry.register(Box::new(depth))?;
    registry.register(Box::new(limit))
}

fn workers(registry: &Registry, stages: &Stages) -> prometheus::Result<()> {
    let labels = ["pipeline", "stage", "worker_kind", "state"];
    let workers = Opts::new(named("workers"), "Workers by what they do.");
    let memory = Opts::new(named("worker_memory_bytes"), "Resident memory of the worker processes together.");
    let (workers, memory) = (IntGaugeVec::new(workers, &labels)?, IntGaugeVec::new(memory, &STAGE)?);
    for (labels, stage) in stages.0.iter().filter(|(_, stage)| !stage.workers.is_empty()) {
        for state in STATES {
            let n = stage.workers.iter().filter(|worker| worker.state == state).count();
            let state = state.to_string().replace(' ', "_");
            workers.with_label_values(&with(labels, &state)).set(whole(n as u64));
        }
        let of_processes: Vec<u64> = stage.workers.iter().filter_map(|worker| worker.memory).collect();
        if !of_processes.is_empty() {
            memory.with_label_values(labels).set(whole(of_processes.iter().sum()));
        }
    }
    registry.register(Box::new(workers))?;
    registry.register(Box::new(memory))
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::worker_kind;

    #[test]
    fn the_kind_of_worker_is_that_of_the_innermost_block() {
        for (place, kind) in [
            ("", "program"),
            ("inline", "inline"),
            ("threads:4", "threads"),
            ("processes:2/threads:4", "threads"),
            ("process_per_batch:3", "process_per_batch"),
        ] {
            assert_eq!(worker_kind(place), kind);
        }
    }
}
