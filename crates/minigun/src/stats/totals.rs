//! A pipeline's counters and collectors, and who may use their handles.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use minigun_os::Pid;

use crate::failure::Failure;
use crate::journal::Values;
use crate::sync::{Mutex, RwLock};

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

/// A handle was used in a worker where its record cannot reach the program; the worker's loop fails the item
/// that it runs next.
static MISUSED: AtomicBool = AtomicBool::new(false);

pub(crate) fn misuse() {
    MISUSED.store(true, Ordering::Relaxed);
}

#[inline]
pub(crate) fn take_misuse() -> Option<&'static str> {
    // Looked at for every item: a load costs less than a swap.
    (MISUSED.load(Ordering::Relaxed) && MISUSED.swap(false, Ordering::Relaxed)).then_some(
        "a counter or collector was used in a worker outside any attempt of its own pipeline (on a thread of \
         its own, or inside another pipeline): what it recorded could not reach the program",
    )
}
