//! One stage's figures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::latency::{Latencies, Latency};
use super::workers::{WorkerFigures, WorkerStats};
use crate::defaults;
use crate::failure::{FailedItem, Fate};
use crate::meter::Timing;
use crate::sync::Mutex;

/// One stage's figures. `ins` of a step counts committed items; a block's books are kept on its first stage.
#[derive(Default)]
pub(crate) struct StageStats {
    ins: AtomicU64,
    outs: AtomicU64,
    nones: AtomicU64,
    completed: AtomicU64,
    skipped: AtomicU64,
    dead: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    abandoned: AtomicU64,
    deaths: Mutex<BTreeMap<String, u64>>,
    lost_goodbyes: AtomicU64,
    busy: AtomicU64,
    for_input: AtomicU64,
    for_room: AtomicU64,
    latencies: Mutex<Latencies>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    forks: AtomicU64,
    /// Items that a source will make, and one more: 0 is not known.
    expected: AtomicU64,
    queue_limit: AtomicU64,
    backlogs: Mutex<Vec<Weak<dyn Backlog>>>,
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    /// Workers that have not ended.
    open: AtomicU64,
    failures: Mutex<Vec<FailedItem>>,
}

/// Where items wait for a stage.
pub(crate) trait Backlog: Send + Sync {
    /// Items that wait now, those for another attempt included.
    fn waiting(&self) -> usize;
}

/// A reading of one stage's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StageFigures {
    /// Items that arrived and were committed (a source: 0).
    pub items_in: u64,
    /// Items sent on by committed attempts.
    pub items_out: u64,
    /// Items that arrived, were committed, and of which nothing was sent on; 0 for a consumer.
    pub filtered: u64,
    /// Items of the block that were completed.
    pub completed: u64,
    /// Items set aside by the policy `skip`.
    pub skipped: u64,
    /// Items that went to the block's dead letters.
    pub dead: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Failed attempts that were followed by another.
    pub retried: u64,
    /// Items that were taken up but not finished because the run stopped.
    pub abandoned: u64,
    /// Worker processes of the block that died.
    pub deaths: u64,
    /// Worker processes of the block that ended without their goodbye, whether they died or were killed with
    /// the run: what their `after` hooks counted and collected is lost, and perhaps those hooks never ran.
    pub lost_goodbyes: u64,
    /// Time spent in the stage's closures, summed over its workers; without the time in which they waited. Known
    /// per block (it stands with the first of its stages), as all that follows. The time of an inline block is
    /// also part of its caller's.
    pub busy: Duration,
    /// Time in which workers had nothing to do, summed: what comes before is slower.
    pub waited_for_input: Duration,
    /// Time in which what workers made found no room, summed: what comes behind is slower.
    pub waited_for_room: Duration,
    /// How long attempts took.
    pub latency: Latency,
    /// The queue before the block; `None` where there is none.
    pub queue: Option<QueueFigures>,
    /// Bytes sent to worker processes.
    pub bytes_sent: u64,
    /// Bytes received from worker processes.
    pub bytes_received: u64,
    /// Worker processes forked, those included that were forked ahead and then had nothing to do.
    pub forks: u64,
    /// Worker processes that were replaced because they died.
    pub restarts: u64,
    /// The most memory that a worker process was seen to have, in bytes, told when it ends; 0: none has ended, or it
    /// is not known.
    pub peak_memory: u64,
    /// Items that a source will make in all, if its iterator knows that exactly.
    pub expected: Option<u64>,
}

/// A reading of the queue before a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueueFigures {
    /// Items that wait in it, those that wait for another attempt included.
    pub depth: u64,
    /// The most it holds.
    pub limit: u64,
}

/// How many workers of a stage's block died of one cause.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Deaths {
    /// What they died of: a signal, an exit code, a limit.
    pub cause: String,
    /// How many did.
    pub count: u64,
}

impl StageStats {
    pub(crate) fn completed(&self, items: u64) {
        self.completed.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed and its item will be tried again.
    pub(crate) fn retried(&self) {
        self.failed();
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// The last attempt at an item failed.
    pub(crate) fn gave_up(&self, failed: &FailedItem) {
        self.failed();
        match failed.fate {
            Fate::Stopped => return self.abandoned(1),
            Fate::Skipped => &self.skipped,
            Fate::Dead => &self.dead,
        }
        .fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock();
        if failures.len() < defaults::KEPT_FAILURES {
            failures.push(failed.clone());
        }
    }

    pub(crate) fn abandoned(&self, items: u64) {
        self.abandoned.fetch_add(items, Ordering::Relaxed);
    }

    /// A worker died of this.
    pub(crate) fn died(&self, cause: String) {
        *self.deaths.lock().entry(cause).or_default() += 1;
    }

    /// A worker process ended, and its goodbye was not taken.
    pub(crate) fn goodbye_lost(&self) {
        self.lost_goodbyes.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was measured.
    pub(crate) fn timed(&self, timing: &Timing) {
        self.busy.fetch_add(timing.busy, Ordering::Relaxed);
        self.for_input.fetch_add(timing.for_input, Ordering::Relaxed);
        self.for_room.fetch_add(timing.for_room, Ordering::Relaxed);
        if !timing.spans.is_empty() {
            self.latencies.lock().add(timing);
        }
    }

    pub(crate) fn add(&self, ins: u64, outs: u64, nones: u64) {
        self.ins.fetch_add(ins, Ordering::Relaxed);
        self.outs.fetch_add(outs, Ordering::Relaxed);
        self.nones.fetch_add(nones, Ordering::Relaxed);
    }

    pub(crate) fn sent_bytes(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received_bytes(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn forked(&self) {
        self.forks.fetch_add(1, Ordering::Relaxed);
    }

    /// A source will make so many items.
    pub(crate) fn expect(&self, items: u64) {
        self.expected.store(items.saturating_add(1), Ordering::Relaxed);
    }

    /// Items wait for the stage there.
    pub(crate) fn queued_in(&self, limit: usize, backlog: Weak<dyn Backlog>) {
        self.queue_limit.store(limit as u64, Ordering::Relaxed);
        self.backlogs.lock().push(backlog);
    }

    /// The workers of the stage's block, which are about to begin.
    pub(crate) fn make_workers(&self, count: usize) -> Vec<Arc<WorkerStats>> {
        let mut all = self.workers.lock();
        let places = all.len()..all.len() + count;
        let workers: Vec<_> = places.map(|place| Arc::new(WorkerStats::new(place))).collect();
        self.open.fetch_add(count as u64, Ordering::Relaxed);
        all.extend(workers.iter().cloned());
        workers
    }

    /// The only worker of a stage outside any block.
    pub(crate) fn make_worker(&self) -> Arc<WorkerStats> {
        let worker = Arc::new(WorkerStats::new(0));
        self.open.fetch_add(1, Ordering::Relaxed);
        self.workers.lock().push(Arc::clone(&worker));
        worker
    }

    /// A worker has ended; whether it was the last.
    pub(crate) fn one_ended(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The workers of the stage's block, each as it is now.
    pub(crate) fn workers(&self) -> Vec<WorkerFigures> {
        let workers = self.workers.lock().clone();
        // Outside of the lock: what a process has in memory is read from a file.
        workers.iter().map(|worker| worker.figures()).collect()
    }

    fn queue(&self) -> Option<QueueFigures> {
        let limit = self.queue_limit.load(Ordering::Relaxed);
        let backlogs = self.backlogs.lock();
        let waiting = backlogs.iter().filter_map(Weak::upgrade).map(|backlog| backlog.waiting() as u64);
        (limit > 0).then(|| QueueFigures { depth: waiting.sum(), limit })
    }

    pub(crate) fn figures(&self) -> StageFigures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let time = |figure: &AtomicU64| Duration::from_nanos(read(figure));
        let (mut restarts, mut peak_memory) = (0, 0);
        for worker in &*self.workers.lock() {
            restarts += worker.restarts();
            peak_memory = peak_memory.max(worker.peak());
        }
        StageFigures {
            items_in: read(&self.ins),
            items_out: read(&self.outs),
            filtered: read(&self.nones),
            completed: read(&self.completed),
            skipped: read(&self.skipped),
            dead: read(&self.dead),
            failed: read(&self.failed),
            retried: read(&self.retried),
            abandoned: read(&self.abandoned),
            deaths: self.deaths.lock().values().sum(),
            lost_goodbyes: read(&self.lost_goodbyes),
            busy: time(&self.busy),
            waited_for_input: time(&self.for_input),
            waited_for_room: time(&self.for_room),
            latency: self.latencies.lock().read(),
            queue: self.queue(),
            bytes_sent: read(&self.sent_bytes),
            bytes_received: read(&self.received_bytes),
            forks: read(&self.forks),
            restarts,
            peak_memory,
            expected: read(&self.expected).checked_sub(1),
        }
    }

    /// Deaths by their cause, the most frequent first.
    pub(crate) fn deaths(&self) -> Vec<Deaths> {
        let deaths = self.deaths.lock();
        let mut deaths: Vec<_> =
            deaths.iter().map(|(cause, count)| Deaths { cause: cause.clone(), count: *count }).collect();
        deaths.sort_by_key(|deaths| std::cmp::Reverse(deaths.count));
        deaths
    }

    pub(crate) fn failures(&self) -> Vec<FailedItem> {
        self.failures.lock().clone()
    }
}
