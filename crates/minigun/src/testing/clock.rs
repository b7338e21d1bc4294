//! A clock for tests: the timers of a pipeline go by it, and it stands still until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::defaults;
use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::run::draft::Attached;
use crate::run::handle::Handle;
use crate::sync::Mutex;
use crate::timers::Timers;

/// A clock that stands still until a test moves it, or that skips every wait; for [`Pipeline::timed_by`].
///
/// By it go the timers of a run that are inside the program: the age of batches
/// ([`Batches::within`](crate::Batches::within)), the waits between attempts ([`Backoff`](crate::Backoff)) on threads,
/// inline and before worker processes, and [`rate`](crate::Flow::rate)s.
///
/// What it does not reach: deadlines of items in worker processes ([`timeout`](crate::Block::timeout)), the windows in
/// which deaths are counted, and everything that waits inside a worker process (blocks nested there) go by the
/// system's clock; a closure that sleeps, sleeps; [`Pipeline::measured_by`] has a clock for what is measured.
///
/// Clones are the same clock. It may belong to several pipelines.
#[derive(Clone)]
pub struct Clock {
    timers: Arc<Timers>,
    skips: bool,
}

impl Clock {
    /// It stands still until [`advance`](Self::advance) or [`advance_to_next`](Self::advance_to_next).
    pub fn paused() -> Self {
        Clock { timers: Timers::new(), skips: false }
    }

    /// Nobody waits: whenever a timer is waited for, the clock jumps to its moment. What was skipped is told by
    /// [`elapsed`](Self::elapsed). A batch with an age then goes on as soon as nothing is there to be added.
    pub fn skipping() -> Self {
        Clock { timers: Timers::new(), skips: true }
    }

    /// Moves the clock. Timers that are due then go off, each on a thread of its run: what comes of it is seen a little
    /// later, by a [receiver](crate::Flow::receiver), say.
    pub fn advance(&self, time: Duration) {
        self.timers.advance(time);
    }

    /// Waits until a timer is waited for, and moves the clock to the first that is: says how far. `None` if none was
    /// waited for within 10 s ([`CLOCK_BOUND`](crate::defaults::TRIAL_BOUND)) of the system's time.
    ///
    /// So a test need not know when an item has reached the timer, and nothing depends on luck.
    pub fn advance_to_next(&self) -> Option<Duration> {
        self.timers.advance_to_next(Some(Instant::now() + defaults::TRIAL_BOUND), || false)
    }

    /// How far it was moved in all.
    pub fn elapsed(&self) -> Duration {
        self.timers.passed()
    }
}

impl Pipeline {
    /// The timers of the run go by this clock, for tests; see [`Clock`] for what it reaches. Default: the system's clock.
    pub fn timed_by(&self, clock: &Clock) -> &Self {
        self.go_by(&clock.timers);
        if clock.skips {
            let timers = Arc::clone(&clock.timers);
            self.attach(Arc::new(Skipping { timers, over: Arc::default(), thread: Mutex::default() }));
        }
        self
    }
}

/// Moves the clock as long as the run goes on.
struct Skipping {
    timers: Arc<Timers>,
    over: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Attached for Skipping {
    fn begin(&self, _: &Handle) -> Result<(), Error> {
        let (timers, over) = (Arc::clone(&self.timers), Arc::clone(&self.over));
        let skip = move || while timers.advance_to_next(None, || over.load(Ordering::Acquire)).is_some() {};
        let thread = thread::Builder::new().name("mg:clock".into()).spawn(skip);
        let thread = thread.map_err(|source| Error::Thread { stage: "the clock".into(), source })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        self.over.store(true, Ordering::Release);
        self.timers.wake();
        if let Some(thread) = self.thread.lock().take() {
            drop(thread.join());
        }
        Ok(())
    }
}
