//! Reads a run: what its handle tells, as the view shows it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::model::{FailureView, ProgressView, QueueView, RunState, StageView, Status, View, WorkerView};
use super::rates::Rates;
use crate::events::{Event, Observing};
use crate::failure::FailedItem;
use crate::observe::outlook::Watcher;
use crate::run::handle::Handle;
use crate::stats::WorkerState;
use crate::sync::Mutex;

/// Failures that are listed.
const FAILURES: usize = 50;

/// Between two readings of the figures: nobody reads numbers that change faster.
const EVERY: Duration = Duration::from_millis(200);

/// Reads one run again and again.
pub(super) struct Sampler {
    run: Handle,
    began: Instant,
    rates: Rates,
    watcher: Watcher,
    /// The last ones, the newest first.
    failures: Arc<Mutex<VecDeque<FailureView>>>,
    /// While it is held, failures are told.
    _observing: Option<Observing>,
    /// When the run was seen to be over; its clock then stands.
    over: Option<Duration>,
    error: Option<String>,
    /// The last reading, and when it was.
    read: Option<(Duration, View)>,
}

impl Sampler {
    pub(super) fn new(run: Handle) -> Self {
        let watcher = Watcher::new(&run.0.graph);
        let earlier = run.stats().into_iter().flat_map(|report| report.failures);
        let earlier: VecDeque<_> = earlier.map(|failed| shown(&failed)).take(FAILURES).collect();
        let failures = Arc::new(Mutex::new(earlier));
        let ours = Arc::clone(&failures);
        // Without a thread for it there are those of before.
        let observing = run.observe(move |event| {
            if let Event::ItemFailed { item } = event {
                let mut failures = ours.lock();
                failures.truncate(FAILURES - 1);
                failures.push_front(shown(item));
            }
        });
        Sampler {
            run,
            watcher,
            failures,
            _observing: observing.ok(),
            began: Instant::now(),
            rates: Rates::default(),
            over: None,
            error: None,
            read: None,
        }
    }

    /// The run now. Figures are at most [`EVERY`] old; the clock is that of this moment.
    pub(super) fn view(&mut self) -> &View {
        let now = self.began.elapsed();
        let view = match self.read.take() {
            Some((at, mut view)) if now < at + EVERY => {
                view.elapsed = self.over.unwrap_or(now);
                (at, view)
            }
            _ => (now, self.read()),
        };
        &self.read.insert(view).1
    }

    fn read(&mut self) -> View {
        let shared = &self.run.0.shared;
        // Asked before the figures are read: those of a run that is over are its last.
        let (over, stopping, halted) = (shared.is_over(), shared.is_stopping(), shared.is_halted());
        if self.error.is_none() {
            self.error = shared.error_text();
        }
        let now = self.began.elapsed();
        if over {
            self.over.get_or_insert(now);
        }
        let state = match (over, halted, stopping) {
            (_, true, _) => {
                RunState::Failed(self.error.clone().unwrap_or_else(|| "see the run's error".into()))
            }
            (true, false, _) => RunState::Finished,
            (false, false, true) => RunState::Stopping,
            (false, false, false) => RunState::Running,
        };
        let mut view = View {
            pipeline: shared.name().to_string(),
            state,
            elapsed: self.over.unwrap_or(now),
            edges: self.run.0.graph.edges(),
            ..View::default()
        };
        let mut ended = Vec::new();
        let reports = self.run.stats();
        let outlook = self.watcher.look(&reports, now);
        view.summary = outlook.summary();
        view.progress.extend(outlook.rows.iter().map(|row| ProgressView {
            name: row.name.clone(),
            text: row.text(),
            done: row.done,
            of: row.of.filter(|of| *of > 0),
        }));
        for report in reports {
            let figures = &report.figures;
            view.workers.extend(report.workers.iter().map(|worker| WorkerView {
                pid: worker.pid,
                stage: report.name.clone(),
                state: in_short(worker.state).to_string(),
                items: worker.items,
                memory: worker.memory,
                restarts: worker.restarts,
            }));
            let timed = figures.latency.count > 0;
            let all_ended = report.workers.iter().all(|worker| worker.state == WorkerState::Ended);
            ended.push(all_ended && !report.workers.is_empty());
            view.stages.push(StageView {
                kind: report.kind,
                items_in: figures.items_in,
                items_out: figures.items_out,
                busy: figures.busy,
                p50: timed.then_some(figures.latency.p50),
                p99: timed.then_some(figures.latency.p99),
                queue: figures.queue.map(|queue| QueueView { depth: queue.depth, limit: queue.limit }),
                failed: figures.failed,
                retried: figures.retried,
                skipped: figures.skipped,
                dead: figures.dead,
                deaths: figures.deaths,
                name: report.name,
                place: report.place,
                ..StageView::default()
            });
        }
        // Processes first: there is more to be told of them.
        view.workers.sort_by_key(|worker| worker.pid.is_none());
        view.failures.extend(self.failures.lock().iter().cloned());
        let rates = self.rates.read(now, view.stages.iter().map(StageView::items).collect());
        for (at, (stage, rate)) in view.stages.iter_mut().zip(rates).enumerate() {
            stage.rate = if over { 0.0 } else { rate };
            stage.history = self.rates.history(at).to_vec();
            stage.status = match (over || ended[at], stage.items(), stage.rate > 0.0) {
                (true, ..) => Status::Ended,
                (_, 0, _) => Status::Waiting,
                (_, _, true) => Status::Working,
                _ => Status::Idle,
            };
        }
        view
    }
}

fn shown(failed: &FailedItem) -> FailureView {
    FailureView {
        stage: failed.stage.clone(),
        item: failed.item,
        attempts: failed.attempts,
        fate: failed.fate.to_string(),
        error: failed.error.clone(),
    }
}

/// In at most eight columns.
fn in_short(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Working => "working",
        WorkerState::WaitingForInput => "waiting",
        WorkerState::WaitingForRoom => "blocked",
        WorkerState::Ended => "ended",
    }
}
