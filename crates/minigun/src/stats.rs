//! What a run counts: per stage, per counter, per collector.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use crate::sync::{Mutex, RwLock};

use crate::defaults;
use crate::failure::{FailedItem, Failure};
use crate::graph::StageId;
use crate::journal::{Entries, Happened, Values};

/// One stage's figures. `ins` of a step counts committed items; a block's books are kept on its first stage.
#[derive(Default)]
pub(crate) struct StageStats {
    ins: AtomicU64,
    outs: AtomicU64,
    completed: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    abandoned: AtomicU64,
    deaths: Mutex<BTreeMap<String, u64>>,
    busy: AtomicU64,
    failures: Mutex<Vec<FailedItem>>,
}

/// A reading of one stage's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StageFigures {
    /// Items that arrived and were committed (a source: 0).
    pub items_in: u64,
    /// Items sent on by committed attempts.
    pub items_out: u64,
    /// Items of the block that were completed.
    pub completed: u64,
    /// Items set aside by the policy `skip`.
    pub skipped: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Failed attempts that were followed by another.
    pub retried: u64,
    /// Items that were taken up but not finished because the run stopped.
    pub abandoned: u64,
    /// Worker processes of the block that died.
    pub deaths: u64,
    /// Time spent in the stage's closures, summed over its workers. Known per block.
    pub busy: Duration,
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

    /// An attempt failed and its item is set aside.
    pub(crate) fn skipped(&self, failed: FailedItem) {
        self.failed();
        self.skipped.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock();
        if failures.len() < defaults::KEPT_FAILURES {
            failures.push(failed);
        }
    }

    pub(crate) fn abandoned(&self, items: u64) {
        self.abandoned.fetch_add(items, Ordering::Relaxed);
    }

    /// A worker died of this.
    pub(crate) fn died(&self, cause: String) {
        *self.deaths.lock().entry(cause).or_default() += 1;
    }

    pub(crate) fn busy(&self, time: Duration) {
        self.busy.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, ins: u64, outs: u64) {
        self.ins.fetch_add(ins, Ordering::Relaxed);
        self.outs.fetch_add(outs, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> StageFigures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        StageFigures {
            items_in: read(&self.ins),
            items_out: read(&self.outs),
            completed: read(&self.completed),
            skipped: read(&self.skipped),
            failed: read(&self.failed),
            retried: read(&self.retried),
            abandoned: read(&self.abandoned),
            deaths: self.deaths.lock().values().sum(),
            busy: Duration::from_nanos(read(&self.busy)),
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

/// The figures of every stage of one run, by stage.
pub(crate) type Stages = Vec<Arc<StageStats>>;

/// A pipeline's counters and collectors.
pub(crate) struct Totals {
    id: u64,
    counters: RwLock<Vec<(String, AtomicU64)>>,
    collectors: RwLock<Vec<Slot>>,
}

/// Decodes a collector's values as they arrive from a worker process.
type DecodeValues = fn(&[u8]) -> Result<Box<dyn Values>, Failure>;

struct Slot {
    name: String,
    values: Mutex<Option<Box<dyn Values>>>,
    taken: AtomicBool,
    decode: DecodeValues,
}

/// Pipelines by id, so that `Copy` handles find their totals.
static PIPELINES: LazyLock<Mutex<HashMap<u64, Weak<Totals>>>> = LazyLock::new(Mutex::default);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn totals(pipeline: u64) -> Option<Arc<Totals>> {
    PIPELINES.lock().get(&pipeline).and_then(Weak::upgrade)
}

impl Totals {
    pub(crate) fn new() -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let totals = Arc::new(Totals { id, counters: RwLock::default(), collectors: RwLock::default() });
        PIPELINES.lock().insert(id, Arc::downgrade(&totals));
        totals
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new_counter(&self, name: String) -> u32 {
        let mut counters = self.counters.write();
        counters.push((name, AtomicU64::new(0)));
        (counters.len() - 1) as u32
    }

    pub(crate) fn new_collector(&self, name: String, decode: DecodeValues) -> u32 {
        let mut collectors = self.collectors.write();
        collectors.push(Slot { name, values: Mutex::new(None), taken: AtomicBool::new(false), decode });
        (collectors.len() - 1) as u32
    }

    pub(crate) fn count(&self, counter: u32, n: u64) {
        if let Some((_, total)) = self.counters.read().get(counter as usize) {
            total.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn collect(&self, collector: u32, values: Box<dyn Values>) {
        if let Some(slot) = self.collectors.read().get(collector as usize) {
            match &mut *slot.values.lock() {
                Some(all) => all.absorb(values.into_any()),
                none => *none = Some(values),
            }
        }
    }

    /// Values that arrive encoded from a worker process.
    pub(crate) fn decode(&self, collector: u32, bytes: &[u8]) -> Result<Box<dyn Values>, Failure> {
        match self.collectors.read().get(collector as usize) {
            Some(slot) => (slot.decode)(bytes).map_err(|failure| failure.at(&slot.name)),
            None => {
                Err(format!("a worker collected into collector {collector}, which does not exist").into())
            }
        }
    }

    pub(crate) fn counter(&self, counter: u32) -> Option<u64> {
        Some(self.counters.read().get(counter as usize)?.1.load(Ordering::Relaxed))
    }

    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let counters = self.counters.read();
        counters.iter().map(|(name, n)| (name.clone(), n.load(Ordering::Relaxed))).collect()
    }

    /// A collector's values, if there are any; `None` if they were taken before.
    pub(crate) fn take_values(&self, collector: u32) -> Option<Option<Box<dyn Values>>> {
        let collectors = self.collectors.read();
        let slot = collectors.get(collector as usize)?;
        (!slot.taken.swap(true, Ordering::Relaxed)).then(|| slot.values.lock().take())
    }
}

impl Drop for Totals {
    fn drop(&mut self) {
        PIPELINES.lock().remove(&self.id);
    }
}

/// Adds what a journal committed to the program's totals.
pub(crate) fn settle(entries: Entries, stages: &Stages, totals: &Totals) {
    for (StageId(stage), ins, outs) in entries.steps {
        if let Some(stats) = stages.get(stage as usize) {
            stats.add(ins, outs);
        }
    }
    for event in entries.events {
        match (stages.get(event.stage.0 as usize), event.what) {
            (Some(stats), Happened::Retried) => stats.retried(),
            (Some(stats), Happened::Skipped(failed)) => stats.skipped(failed),
            (None, _) => {}
        }
    }
    for (counter, n) in entries.counts {
        totals.count(counter, n);
    }
    for (collector, values) in entries.collected {
        totals.collect(collector, values);
    }
}

/// A handle was used in a worker where its record cannot reach the program; the worker's loop fails the item
/// that it runs next.
static MISUSE: Mutex<Option<&'static str>> = Mutex::new(None);

pub(crate) fn misuse(what: &'static str) {
    MISUSE.lock().get_or_insert(what);
}

pub(crate) fn take_misuse() -> Option<&'static str> {
    MISUSE.lock().take()
}
