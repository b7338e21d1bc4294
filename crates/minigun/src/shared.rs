//! What all workers of one run share: its figures, its stop, its first error.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::sync::{Condvar, Mutex};

use crate::error::Error;
use crate::graph::StageId;
use crate::journal::{Entries, Journal};
use crate::locked;
use crate::queue::Queue;
use crate::stats::{self, StageStats, Stages, Totals};

/// One run of one pipeline.
pub(crate) struct Shared {
    name: String,
    /// A random number, by which the run is told from any other.
    run: u64,
    totals: Arc<Totals>,
    stages: Stages,
    stopping: AtomicBool,
    halted: AtomicBool,
    error: Mutex<Option<Error>>,
    halts: Mutex<Vec<Arc<dyn Halt>>>,
    stops: Mutex<Vec<Arc<dyn Halt>>>,
    halting: Condvar,
    halting_lock: Mutex<()>,
    spread: AtomicU32,
}

/// Something that a stop must wake and end.
pub(crate) trait Halt: Send + Sync {
    fn halt(&self);
}

impl<T: Send> Halt for Queue<T> {
    fn halt(&self) {
        self.stop();
    }
}

impl Shared {
    pub(crate) fn new(name: String, totals: Arc<Totals>, stages: usize) -> Arc<Self> {
        Arc::new(Shared {
            name,
            run: random(),
            totals,
            stages: (0..stages).map(|_| Arc::new(StageStats::default())).collect(),
            stopping: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            error: Mutex::new(None),
            halts: Mutex::new(Vec::new()),
            stops: Mutex::new(Vec::new()),
            halting: Condvar::new(),
            halting_lock: Mutex::new(()),
            spread: AtomicU32::new(0x9E37_79B9),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.totals.id()
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    pub(crate) fn stats(&self, stage: StageId) -> Arc<StageStats> {
        self.stages.get(stage.0 as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Adds what a worker committed to the program's figures.
    pub(crate) fn settle(&self, journal: &Journal) {
        self.settle_entries(journal.take());
    }

    pub(crate) fn settle_entries(&self, mut entries: Entries) {
        for (path, records) in std::mem::take(&mut entries.appended) {
            if let Err(source) = locked::commit(&path, self.run, &records) {
                let what = "records of committed items could not be marked as such";
                self.fail(Error::LockedFile { what, source });
            }
        }
        if !entries.is_empty() {
            stats::settle(entries, &self.stages, &self.totals);
        }
    }

    /// `halt` is called when the run is halted; at once if it has been.
    pub(crate) fn on_halt(&self, halt: Arc<dyn Halt>) {
        let mut halts = self.halts.lock();
        if self.halted.load(Ordering::Acquire) {
            halt.halt();
        } else {
            halts.push(halt);
        }
    }

    /// `stop` is called when producers should end; at once if they should.
    pub(crate) fn on_stop(&self, stop: Arc<dyn Halt>) {
        let mut stops = self.stops.lock();
        if self.stopping.load(Ordering::Acquire) {
            stop.halt();
        } else {
            stops.push(stop);
        }
    }

    /// Whether producers should end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether everything should end, without draining.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Producers end; what is in flight is finished.
    pub(crate) fn stop(&self) {
        let stops = {
            let mut stops = self.stops.lock();
            self.stopping.store(true, Ordering::Release);
            std::mem::take(&mut *stops)
        };
        for stop in stops {
            stop.halt();
        }
        let _guard = self.halting_lock.lock();
        self.halting.notify_all();
    }

    /// Ends the run with an error, without draining. The first error is kept.
    pub(crate) fn fail(&self, error: Error) {
        self.error.lock().get_or_insert(error);
        self.stop();
        let halts = {
            let mut halts = self.halts.lock();
            self.halted.store(true, Ordering::Release);
            std::mem::take(&mut *halts)
        };
        for halt in halts {
            halt.halt();
        }
        let _guard = self.halting_lock.lock();
        self.halting.notify_all();
    }

    /// A worker found that nobody takes its items any more: unless the run was halted, that is an error.
    pub(crate) fn gone(&self) {
        if !self.is_halted() {
            self.fail(Error::ReceiverGone);
        }
    }

    pub(crate) fn take_error(&self) -> Option<Error> {
        self.error.lock().take()
    }

    /// Waits for `time`, or until the run is halted; says whether it was.
    pub(crate) fn wait_for_stop(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut guard = self.halting_lock.lock();
        while !self.is_halted() {
            if self.halting.wait_until(&mut guard, until) {
                return self.is_halted();
            }
        }
        true
    }

    /// A number in 0..=255 that differs from call to call, to spread retries.
    pub(crate) fn spread(&self) -> u8 {
        let n = self.spread.fetch_add(0x6D2B_79F5, Ordering::Relaxed);
        ((n ^ (n >> 15)).wrapping_mul(0x2C1B_3C6D) >> 24) as u8
    }
}

/// Never 0.
fn random() -> u64 {
    // The system's random seed is drawn once per thread; the rest tells runs of forked programs apart.
    RandomState::new().hash_one((std::process::id(), SystemTime::now())).max(1)
}
