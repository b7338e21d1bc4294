//! A run under way: started here, joined or stopped by its handle.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use minigun_os::LightFence;

use super::draft::{Attached, Draft};
use super::exit;
use super::handle::{Controls, Handle};
use super::signals::{self, Signals};
use crate::defaults;
use crate::error::Error;
use crate::events::{Closed, Event, Observer, Observing};
use crate::exec::launch::{Book, Crew, Launch};
use crate::failure::Failure;
use crate::graph;
use crate::in_flight::InFlight;
use crate::limits::Warning;
use crate::locked::Temporary;
use crate::plan::hooks::Hooks;
use crate::process::{Plan, Processes};
use crate::report::{Report, StageReport};
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stats::Totals;
use crate::sync::Mutex;

/// A run under way, made by [`Pipeline::start`](crate::Pipeline::start).
///
/// It can be sent to another thread, or shared with it; a [`Handle`] does the same for threads that outlive a
/// call of [`join`](Self::join). Dropping it stops the run without draining it, waits for it and throws its
/// outcome away.
#[must_use = "dropping the handle stops the run"]
pub struct Running {
    handle: Handle,
    inner: Option<Inner>,
}

struct Inner {
    processes: Option<Arc<Processes>>,
    books: Vec<Arc<dyn Book>>,
    attached: Vec<Arc<dyn Attached>>,
    warnings: Vec<Warning>,
    /// In a lock only so that `Running` can be shared between threads.
    hooks: Mutex<Hooks>,
    signals: Option<Signals>,
    temporaries: Vec<Temporary>,
    /// The observers that were there before the run, to its end.
    observing: Vec<Observing>,
    started: Instant,
}

/// Checks the wiring, runs the hooks, forks the fork server, starts the threads.
pub(crate) fn start(name: &str, totals: &Arc<Totals>, draft: Draft) -> Result<Running, Error> {
    let Draft {
        mut graph,
        nodes,
        mut hooks,
        attached,
        temporaries,
        limits,
        signals,
        observers,
        clock,
        timers,
    } = draft;
    let mistakes = graph::problems(&graph);
    if !mistakes.is_empty() {
        return Err(Error::Wiring { pipeline: name.to_string(), mistakes });
    }
    // The process is prepared for it before the engine makes its first thread: with several threads the kernel takes
    // some ten milliseconds for that. What is forked later inherits it.
    let _prepared = LightFence::new();
    let mut warnings = graph.hold_to(&limits);
    if cfg!(panic = "abort") {
        warnings.push(Warning::PanicAborts);
    }
    let names = graph.stages.iter().map(|stage| stage.name.clone()).collect();
    let shared = Shared::new(name.to_string(), Arc::clone(totals), names, limits, clock, timers);
    let observing = observe(&shared, observers, &warnings)?;
    let mut nodes = nodes;
    let mut plan = Plan::new(&shared);
    for node in &mut nodes {
        node.plan(&mut plan)?;
    }
    let loops = graph.loops();
    let in_flight: Vec<_> = (0..loops.count).map(|_| Arc::new(InFlight::default())).collect();
    for node in &nodes {
        let at = node.behind().and_then(|point| loops.of(point));
        if let Some(in_flight) = at.and_then(|at| in_flight.get(at)) {
            node.join(in_flight);
        }
    }
    let crew = Arc::new(Crew::default());
    let handle = Handle(Arc::new(Controls {
        shared: Arc::clone(&shared),
        crew: Arc::clone(&crew),
        processes: OnceLock::new(),
        graph,
    }));
    let signals = match signals.then(|| Signals::listen(&handle)) {
        Some(Err(source)) => return Err(Error::Signals { source }),
        Some(Ok(signals)) => Some(signals),
        None => None,
    };
    let mut inner = Inner {
        processes: None,
        books: nodes.iter().filter_map(|node| node.book()).collect(),
        attached,
        warnings,
        hooks: Mutex::default(),
        signals,
        temporaries,
        observing,
        started: Instant::now(),
    };
    if let Err(error) = inner.attached.iter().try_for_each(|attached| attached.prepare(&handle)) {
        shared.fail(error);
    }
    shared.set_on_failure(std::mem::take(&mut hooks.on_failure));
    let before_run = std::mem::take(&mut hooks.before_run);
    let before_fork = std::mem::take(&mut hooks.before_fork);
    let after_fork = std::mem::take(&mut hooks.after_fork);
    inner.hooks = Mutex::new(hooks);
    let prepared = before_run.into_iter().try_for_each(|hook| hooked("before_run", hook)).and_then(|()| {
        if plan.is_empty() || shared.is_halted() {
            return Ok(None);
        }
        before_fork.iter().chain(plan.before_fork()).try_for_each(|hook| hooked("before_fork", || hook()))?;
        plan.fork(after_fork).map(|processes| Some(Arc::new(processes)))
    });
    match prepared {
        Ok(Some(processes)) => {
            drop(handle.0.processes.set(Arc::downgrade(&processes)));
            inner.processes = Some(processes);
        }
        Ok(None) => {}
        Err(error) => shared.fail(error),
    }
    if !shared.is_halted()
        && let Err(error) = open(&inner.attached, &handle)
    {
        shared.fail(error);
    }
    if let Err(source) = shared.bus().open() {
        shared.fail(Error::Thread { stage: OBSERVER.to_string(), source });
    }
    shared.on_halt(Arc::clone(&crew) as _);
    for node in &nodes {
        node.register(&shared);
    }
    let holds = nodes.iter().filter_map(|node| node.hold()).collect();
    let launch = Launch { shared, crew, processes: inner.processes.clone(), holds: Arc::new(holds) };
    if !launch.shared.is_halted() {
        for node in nodes {
            if let Err(error) = node.launch(&launch) {
                launch.shared.fail(error);
                break;
            }
        }
    }
    Ok(Running { handle, inner: Some(inner) })
}

fn open(attached: &[Arc<dyn Attached>], handle: &Handle) -> Result<(), Error> {
    attached.iter().try_for_each(|attached| attached.open())?;
    attached.iter().try_for_each(|attached| attached.begin(handle))
}

/// What observers are called in errors.
const OBSERVER: &str = "an observer";

/// The observers are told of the beginning. Their thread starts after the fork.
fn observe(shared: &Shared, observers: Vec<Observer>, warnings: &[Warning]) -> Result<Vec<Observing>, Error> {
    let joined = observers.into_iter().map(|observer| shared.bus().subscribe(observer)).collect();
    let observing = Result::map_err(joined, |source| Error::Thread { stage: OBSERVER.to_string(), source })?;
    shared.bus().tell(|| Event::RunStarted { pipeline: shared.name().into(), run: shared.run() });
    for warning in warnings {
        shared.bus().tell(|| Event::Warned { warning: warning.clone() });
    }
    Ok(observing)
}

fn hooked(hook: &'static str, f: impl FnOnce() -> Result<(), Failure>) -> Result<(), Error> {
    guarded(f).map_err(|failure| Error::Hook { hook, cause: failure.chain() })
}

impl Running {
    /// A hold on the run for other threads, while this one waits in [`join`](Self::join).
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Every stage's figures as they are now; see [`Handle::stats`].
    pub fn stats(&self) -> Vec<StageReport> {
        self.handle.stats()
    }

    /// Asks the run to end early: producers are told, what is in flight is finished and committed, without the
    /// waits before further attempts. Then [`join`](Self::join) returns the report of what was done. See
    /// [`Handle::stop`].
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Ends the run without finishing anything: workers are killed. Then [`join`](Self::join) returns
    /// [`Error::Killed`]. See [`Handle::kill`].
    ///
    /// # Errors
    /// [`Error::Stuck`] names the stages whose closures still run on a thread of the program after 5 s.
    pub fn kill(&self) -> Result<(), Error> {
        self.handle.kill()
    }

    /// Waits for the run to end.
    ///
    /// # Errors
    /// The first error that ended the run.
    pub fn join(mut self) -> Result<Report, Error> {
        match self.inner.take() {
            Some(inner) => inner.finish(&self.handle),
            None => Err(Error::Stopped),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.handle.0.shared.fail(Error::Stopped);
            drop(inner.finish(&self.handle));
        }
    }
}

impl Inner {
    fn finish(self, handle: &Handle) -> Result<Report, Error> {
        let Controls { shared, crew, graph, .. } = &*handle.0;
        let mut stuck = crew.join(shared, defaults::GRACE);
        if let Some(processes) = &self.processes
            && let Err(error) = processes.close(shared)
        {
            shared.fail(error);
        }
        if !shared.is_halted() {
            for book in &self.books {
                if let Err(error) = book.check(shared) {
                    shared.fail(error);
                }
            }
        }
        for attached in &self.attached {
            if let Err(error) = attached.close() {
                shared.fail(error);
            }
        }
        let mut report = Report::new(shared, graph, self.started.elapsed(), self.warnings);
        let hooks = std::mem::take(&mut *self.hooks.lock());
        for hook in hooks.after_run {
            if let Err(error) = hooked("after_run", || hook(&report)) {
                shared.fail(error);
            }
        }
        // Until here a signal is the run's.
        drop(self.signals);
        for file in &self.temporaries {
            if let Err(source) = file.remove() {
                shared.fail(Error::LockedFile { what: "a temporary file is left", source });
            }
        }
        if !shared.is_halted()
            && let Err(error) = self.attached.iter().try_for_each(|attached| attached.ended_well())
        {
            shared.fail(error);
        }
        report.set_stopped(shared.stopped());
        shared.over();
        let mut error = shared.take_error();
        let (elapsed, cause) = (self.started.elapsed(), error.as_ref().map(ToString::to_string));
        match shared.bus().close(|| Event::RunEnded { elapsed, error: cause }, defaults::GRACE) {
            Closed::Well => {}
            Closed::Panicked(cause) => drop(error.get_or_insert(Error::Hook { hook: "observe", cause })),
            Closed::Stuck => stuck.push(OBSERVER.to_string()),
        }
        drop(self.observing);
        if stuck.is_empty() {
            return error.map_or(Ok(report), Err);
        }
        let stuck = Error::Stuck { stages: stuck, because: error.map(Box::new) };
        match exit::killer(&stuck) {
            // The second signal ends the program when nothing else can end what still runs in it.
            Some(signal) => signals::end_program(signal),
            None => Err(stuck),
        }
    }
}
