//! What a run counts: per stage, per counter, per collector.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use minigun_os::Pid;

use crate::sync::{Mutex, RwLock};

use crate::defaults;
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::StageId;
use crate::journal::{Entries, Event, Values};

/// One stage's figures. `ins` of a step counts committed items; a block's books are kept on its first stage.
#[derive(Default)]
pub(crate) struct StageStats {
    ins: AtomicU64,
    outs: AtomicU64,
    completed: AtomicU64,
    skipped: AtomicU64,
    dead: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    abandoned: AtomicU64,
    deaths: Mutex<BTreeMap<String, u64>>,
    lost_goodbyes: AtomicU64,
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
            dead: read(&self.dead),
            failed: read(&self.failed),
            retried: read(&self.retried),
            abandoned: read(&self.abandoned),
            deaths: self.deaths.lock().values().sum(),
            lost_goodbyes: read(&self.lost_goodbyes),
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
    /// The process that made the pipeline and will read what it counted.
    owner: Pid,
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

/// Whether what this process made is used by itself, and not by a worker forked from it.
pub(crate) fn made_here(owner: Pid) -> bool {
    !minigun_os::in_worker() || owner == Pid::current()
}

/// Pipelines by id, so that `Copy` handles find their totals.
static PIPELINES: LazyLock<Mutex<HashMap<u64, Weak<Totals>>>> = LazyLock::new(Mutex::default);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn totals(pipeline: u64) -> Option<Arc<Totals>> {
    registry(|pipelines| pipelines.get(&pipeline).and_then(Weak::upgrade))
}

/// Workers run pipelines of their own, so no fork may catch the registry locked by another thread.
fn registry<R>(f: impl FnOnce(&mut HashMap<u64, Weak<Totals>>) -> R) -> R {
    minigun_os::unforked(|| f(&mut PIPELINES.lock()))
}

impl Totals {
    pub(crate) fn new() -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (counters, collectors) = (RwLock::default(), RwLock::default());
        let totals = Arc::new(Totals { id, owner: Pid::current(), counters, collectors });
        registry(|pipelines| pipelines.insert(id, Arc::downgrade(&totals)));
        totals
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether what is counted here is read here: not so in a worker of the pipeline, nor below one.
    pub(crate) fn is_ours(&self) -> bool {
        made_here(self.owner)
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
        registry(|pipelines| pipelines.remove(&self.id));
    }
}

/// Adds what a journal committed to the program's totals; gives back what happened to single items.
pub(crate) fn settle(entries: Entries, stages: &Stages, totals: &Totals) -> Vec<Event> {
    for (StageId(stage), ins, outs) in entries.steps {
        if let Some(stats) = stages.get(stage as usize) {
            stats.add(ins, outs);
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

/// A handle was used in a worker where its record cannot reach the program; the worker's loop fails the item
/// that it runs next.
static MISUSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn misuse() {
    MISUSED.store(true, Ordering::Relaxed);
}

pub(crate) fn take_misuse() -> Option<&'static str> {
    // Looked at for every item: a load costs less than a swap.
    (MISUSED.load(Ordering::Relaxed) && MISUSED.swap(false, Ordering::Relaxed)).then_some(
        "a counter or collector was used in a worker outside any attempt of its own pipeline (on a thread of \
         its own, or inside another pipeline): what it recorded could not reach the program",
    )
}
