//! What all workers of one run share: its figures, its stop, its first error.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use minigun_os::{Flag, Pid};

use crate::sync::{Condvar, Mutex};

use crate::error::{Error, item_error};
use crate::events::{Bus, Event, WorkerId};
use crate::failure::{FailedItem, Failure, Fate, StopCause, guarded};
use crate::graph::StageId;
use crate::journal::{self, Entries, Happened, Journal};
use crate::limits::Limits;
use crate::locked;
use crate::meter::Clock;
use crate::queue::Queue;
use crate::stats::{self, StageStats, Stages, Totals, WorkerState, WorkerStats};
use crate::timers::{self, Look, Timers};

/// One run of one pipeline.
pub(crate) struct Shared {
    name: String,
    /// A random number, by which the run is told from any other.
    run: u64,
    totals: Arc<Totals>,
    limits: Limits,
    clock: Clock,
    /// By which waits go, if it is not the system's time.
    timers: Option<Arc<Timers>>,
    stages: Stages,
    names: Vec<String>,
    bus: Arc<Bus>,
    screen: OnceLock<Screen>,
    entering: OnceLock<Entering>,
    on_failure: Mutex<Arc<[FailureHook]>>,
    stopping: AtomicBool,
    halted: AtomicBool,
    over: AtomicBool,
    cause: Mutex<Option<StopCause>>,
    /// Raised when producers should end, for the workers that `owner` had forked.
    flag: OnceLock<(Flag, Pid)>,
    hears: AtomicBool,
    error: Mutex<Option<Error>>,
    halts: Mutex<Vec<Arc<dyn Halt>>>,
    stops: Mutex<Vec<Arc<dyn Halt>>>,
    halting: Condvar,
    halting_lock: Mutex<()>,
    spread: AtomicU32,
}

/// A hook that is told of every item that failed for good.
pub(crate) type FailureHook = Box<dyn Fn(&FailedItem) -> Result<(), Failure> + Send + Sync>;

/// Calls what writes to the terminal while nothing else is drawn there.
pub(crate) type Screen = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// Called on a thread on which a worker begins, with its stage and place; what it gives is dropped there when the
/// worker ends.
pub(crate) type Entering = Box<dyn Fn(&str, usize) -> Box<dyn Any> + Send + Sync>;

/// Something that a stop must wake and end.
pub(crate) trait Halt: Send + Sync {
    fn halt(&self);
}

impl<T: Send> Halt for Queue<T> {
    fn halt(&self) {
        self.stop();
    }
}

/// What need not wait for its next attempt once producers should end.
pub(crate) trait Hurry: Look {
    fn hurry(&self);
}

impl<T: Send> Look for Queue<T> {
    fn look(&self) {
        Queue::look(self);
    }
}

impl<T: Send> Hurry for Queue<T> {
    fn hurry(&self) {
        Queue::hurry(self);
    }
}

/// Hurries, as long as it is there, when producers should end.
struct Hurried<H>(Weak<H>);

impl<H: Hurry> Halt for Hurried<H> {
    fn halt(&self) {
        if let Some(waiting) = self.0.upgrade() {
            waiting.hurry();
        }
    }
}

impl Look for Shared {
    fn look(&self) {
        let _guard = self.halting_lock.lock();
        self.halting.notify_all();
    }
}

impl Shared {
    pub(crate) fn new(
        name: String,
        totals: Arc<Totals>,
        names: Vec<String>,
        limits: Limits,
        clock: Clock,
        timers: Option<Arc<Timers>>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            name,
            run: random(),
            totals,
            limits,
            clock,
            timers,
            stages: names.iter().map(|_| Arc::new(StageStats::default())).collect(),
            names,
            bus: Bus::new(),
            screen: OnceLock::new(),
            entering: OnceLock::new(),
            on_failure: Mutex::new(Arc::default()),
            stopping: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            cause: Mutex::new(None),
            flag: OnceLock::new(),
            hears: AtomicBool::new(false),
            error: Mutex::new(None),
            halts: Mutex::new(Vec::new()),
            stops: Mutex::new(Vec::new()),
            halting: Condvar::new(),
            halting_lock: Mutex::new(()),
            spread: AtomicU32::new(0x9E37_79B9),
        });
        shared.looks(&shared);
        shared
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

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The clock by which times are measured.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// By which waits of the run's threads go, if it is not the system's time.
    pub(crate) fn timers(&self) -> Option<&Arc<Timers>> {
        self.timers.as_ref()
    }

    /// It looks again when a test moved the time.
    fn looks<L: Look + 'static>(&self, waiting: &Arc<L>) {
        if let Some(timers) = &self.timers
            && !minigun_os::in_worker()
        {
            let waiting: Weak<L> = Arc::downgrade(waiting);
            timers.tell(waiting);
        }
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

    /// Where what happens is told.
    pub(crate) fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// What is drawn on the terminal from now on makes room for what is written.
    pub(crate) fn set_screen(&self, screen: Screen) {
        // The first keeps it: there is one terminal.
        let _ = self.screen.set(screen);
    }

    /// Writes to the terminal.
    pub(crate) fn aside(&self, write: &mut dyn FnMut()) {
        match self.screen.get() {
            Some(screen) => screen(write),
            None => write(),
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn set_entering(&self, entering: Entering) {
        // The first stands: all of them would do the same.
        let _ = self.entering.set(entering);
    }

    /// A worker begins on this thread, and ends with what is given back.
    pub(crate) fn enter(&self, stage: StageId, worker: usize) -> Option<Box<dyn Any>> {
        self.entering.get().map(|entering| entering(&self.stage_name(stage), worker))
    }

    /// A stage's name, as the report has it.
    pub(crate) fn stage_name(&self, stage: StageId) -> String {
        self.names.get(stage.0 as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn worker_id(&self, stage: StageId, worker: &WorkerStats) -> WorkerId {
        WorkerId { stage: self.stage_name(stage), worker: worker.place(), pid: worker.pid() }
    }

    /// A thread of a stage's block begins; or a process has said its first words.
    pub(crate) fn worker_began(&self, stage: StageId, worker: &WorkerStats) {
        self.bus.tell(|| Event::WorkerSpawned { worker: self.worker_id(stage, worker) });
    }

    /// A worker ended as it should, or with the run.
    pub(crate) fn worker_retired(&self, stage: StageId, worker: &WorkerStats) {
        self.bus.tell(|| Event::WorkerRetired { worker: self.worker_id(stage, worker) });
    }

    /// There will be no worker in this place any more.
    pub(crate) fn worker_ended(&self, stage: StageId, worker: &WorkerStats) {
        worker.is(WorkerState::Ended);
        if self.stats(stage).one_ended() {
            self.bus.tell(|| Event::StageEnded { stage: self.stage_name(stage) });
        }
    }

    /// An attempt at an item failed, and there will be another.
    pub(crate) fn retried(&self, stage: StageId, of: Option<(u64, &Failure)>) {
        self.stats(stage).retried();
        self.bus.tell(|| Event::ItemRetried {
            stage: self.stage_name(stage),
            item: of.map(|(item, _)| item),
            error: of.map(|(_, failure)| failure.chain()),
        });
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
            for event in stats::settle(entries, &self.stages, &self.totals) {
                match event.what {
                    Happened::Retried => self.retried(event.stage, None),
                    Happened::Failed(failed) => self.gave_up(event.stage, failed),
                }
            }
        }
    }

    pub(crate) fn set_on_failure(&self, hooks: Vec<FailureHook>) {
        *self.on_failure.lock() = hooks.into();
    }

    /// An item failed for good. All of them come through here, from every executor: it is counted, the hooks
    /// are told, and what its fate says is done.
    pub(crate) fn gave_up(&self, stage: StageId, failed: FailedItem) {
        self.stats(stage).gave_up(&failed);
        self.tell(failed);
    }

    /// What was no item of the stage's queue failed, and ends the run: a producer, or what a step had kept
    /// until the end.
    pub(crate) fn broke_off(&self, stage: StageId, failed: FailedItem) {
        self.stats(stage).failed();
        self.tell(failed);
    }

    fn tell(&self, failed: FailedItem) {
        let mut told = Ok(());
        // Once the run is halted, what fails may fail because of that.
        if !self.is_halted() {
            self.bus.tell(|| Event::ItemFailed { item: failed.clone() });
            let hooks = Arc::clone(&*self.on_failure.lock());
            for hook in hooks.iter() {
                // A count made here is not that of the attempt which comes next.
                told = told.and(journal::outside(|| guarded(|| hook(&failed))));
            }
        }
        if failed.fate == Fate::Stopped {
            self.fail(item_error(failed));
        }
        if let Err(failure) = told {
            self.fail(Error::Hook { hook: "on_failure", cause: failure.chain() });
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

    /// What waits there for another attempt is due when producers should end, or when its time has come.
    pub(crate) fn on_stop_hurry<H: Hurry + 'static>(&self, waiting: &Arc<H>) {
        self.looks(waiting);
        self.on_stop(Arc::new(Hurried(Arc::downgrade(waiting))));
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
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether everything should end, without draining.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Somebody asks the run to end early; the first is remembered.
    pub(crate) fn stop(&self, cause: StopCause) {
        self.asked_to_stop(cause);
        self.end_producers();
    }

    /// Ends the run without draining, because somebody asked for that.
    pub(crate) fn kill(&self, by: StopCause) {
        self.asked_to_stop(by);
        self.fail(Error::Killed { by });
    }

    fn asked_to_stop(&self, by: StopCause) {
        let mut cause = self.cause.lock();
        if cause.is_none() {
            *cause = Some(by);
            drop(cause);
            self.bus.tell(|| Event::Stopping { by });
        }
    }

    /// Who asked the run to end early.
    pub(crate) fn stopped(&self) -> Option<StopCause> {
        *self.cause.lock()
    }

    /// Producers end; what is in flight is finished, without waiting for retries to become due.
    fn end_producers(&self) {
        let stops = {
            let mut stops = self.stops.lock();
            self.stopping.store(true, Ordering::Release);
            std::mem::take(&mut *stops)
        };
        if let Some((flag, _)) = self.flag.get() {
            flag.raise();
        }
        for stop in stops {
            stop.halt();
        }
        let _guard = self.halting_lock.lock();
        self.halting.notify_all();
    }

    /// Workers that are forked from now on can hear that producers should end.
    pub(crate) fn share_stop(&self) -> io::Result<()> {
        let flag = Flag::new()?;
        let (flag, _) = self.flag.get_or_init(|| (flag, Pid::current()));
        if self.is_stopping() {
            flag.raise();
        }
        Ok(())
    }

    /// In a worker process, before something waits for another attempt: from now on it hears that producers
    /// should end. The thread that listens is started when it is first of use; it never runs user code. If it
    /// cannot be started, the waits are waited out.
    pub(crate) fn hear_stop(self: &Arc<Self>) {
        let Some((_, owner)) = self.flag.get() else { return };
        if *owner == Pid::current() || self.hears.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(self);
        drop(thread::Builder::new().name("mg:stop".into()).spawn(move || {
            if let Some((flag, _)) = shared.flag.get()
                && flag.wait().is_ok()
            {
                shared.end_producers();
            }
        }));
    }

    /// Ends the run with an error, without draining. The first error is kept.
    pub(crate) fn fail(&self, error: Error) {
        self.error.lock().get_or_insert(error);
        let halts = {
            let mut halts = self.halts.lock();
            self.halted.store(true, Ordering::Release);
            std::mem::take(&mut *halts)
        };
        for halt in halts {
            halt.halt();
        }
        // After the halt, so that what waits for another attempt is not hurried into one.
        self.end_producers();
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

    /// What the first error says, until the run's end takes it.
    #[cfg(feature = "hud")]
    pub(crate) fn error_text(&self) -> Option<String> {
        self.error.lock().as_ref().map(ToString::to_string)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The run is over: what a handle that is kept must not keep is let go.
    pub(crate) fn over(&self) {
        self.over.store(true, Ordering::Release);
        let let_go = (
            std::mem::take(&mut *self.halts.lock()),
            std::mem::take(&mut *self.stops.lock()),
            std::mem::take(&mut *self.on_failure.lock()),
        );
        // Outside of the locks: what the user's hooks captured is dropped.
        drop(let_go);
    }

    /// Waits for `time`, or until the run is asked to stop: then nobody waits for another attempt. Says whether
    /// the run was halted.
    pub(crate) fn wait_for_stop(self: &Arc<Self>, time: Duration) -> bool {
        self.hear_stop();
        let until = timers::now() + time;
        let mut guard = self.halting_lock.lock();
        while !self.is_halted() && !self.is_stopping() {
            if timers::wait_until(&self.halting, &mut guard, until) {
                break;
            }
        }
        self.is_halted()
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
