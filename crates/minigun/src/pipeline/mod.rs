//! The builder: pipelines, flows, blocks, ports and their handles.

pub(crate) mod block;
pub(crate) mod ends;
pub(crate) mod fan;
pub(crate) mod feedback;
pub(crate) mod flow;
pub(crate) mod home;
pub(crate) mod keep;
pub(crate) mod letters;
pub(crate) mod place;
pub(crate) mod port;
pub mod scope;
pub(crate) mod source;
pub(crate) mod split;

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use crate::error::Error;
use crate::events::Event;
use crate::failure::{FailedItem, StageResult};
use crate::graph::{Drawing, Mistake};
use crate::locked::{LockedFile, Temporary};
use crate::meter::Clock;
use crate::observe::progress::{self, Progress};
#[cfg(feature = "tracing")]
use crate::observe::trace;
use crate::report::Report;
use crate::run::running::{self, Running};
use crate::stage::handles::{Collector, Counter, decode_values};
use crate::stats::Totals;
use crate::timers::Timers;
use crate::wire::Wire;

use crate::plan::config::Config;
use crate::plan::{Executor, Spot};
use crate::run::draft::Attached;
use crate::run::draft::Draft;
use home::Home;
use port::Port;

/// A pipeline under construction: sources are made from it, and everything written behind them runs when
/// [`run`](Self::run) or [`start`](Self::start) is called.
pub struct Pipeline {
    home: Arc<Home>,
}

impl Pipeline {
    /// An empty pipeline. The name is used in errors, reports and process titles. The environment may have a say in
    /// some of its numbers, see [`Config`].
    pub fn new(name: impl Into<String>) -> Self {
        Pipeline::configured(name, Config::default())
    }

    /// An empty pipeline, for which a configuration says what the program leaves open. What the environment says of that
    /// now is stronger; a variable that cannot be understood is a mistake in the wiring.
    pub fn configured(name: impl Into<String>, config: Config) -> Self {
        let (config, mistakes) = config.with_environment();
        let mut draft = Draft { limits: config.limits(), ..Draft::default() };
        draft.graph.mistakes = mistakes;
        let (totals, asked) = (Totals::new(), Mutex::default());
        let home = Home { name: name.into(), config, asked, totals, draft: Mutex::new(draft) };
        Pipeline { home: Arc::new(home) }
    }

    /// Where the block of this name is to run: as the configuration or the environment says ([`Config`]), else as
    /// `otherwise`. The same program gives the same results wherever that is.
    ///
    /// A name that is configured and that the program does not ask for is a mistake in the wiring.
    pub fn executor(&self, name: &str, otherwise: Executor) -> Executor {
        self.home.asked.lock().insert(name.to_string());
        self.home.config.executors.get(name).copied().unwrap_or(otherwise)
    }

    /// A typed way in for routers: everything sent to the port comes out of the flow.
    pub fn inlet<T: Send + 'static>(&self, name: &str) -> (Port<T>, flow::Flow<T>) {
        let spot = self.home.graph(|graph| Spot::new(graph, Vec::new(), Vec::new(), Some(name.to_string())));
        let port = Port { home: Arc::clone(&self.home), spot: spot.clone() };
        (port, flow::Flow::at(&self.home, spot, None))
    }

    /// A count kept for the whole run, wherever it is added to.
    pub fn counter(&self, name: &str) -> Counter {
        let totals = &self.home.totals;
        Counter { pipeline: totals.id(), index: totals.new_counter(name.to_string()) }
    }

    /// Values gathered for the whole run, wherever they are pushed.
    pub fn collector<T: Wire>(&self, name: &str) -> Collector<T> {
        let totals = &self.home.totals;
        let index = totals.new_collector(name.to_string(), decode_values::<T>);
        Collector { pipeline: totals.id(), index, _values: PhantomData }
    }

    /// A temporary [`LockedFile`]: records appended from anywhere, which `after_run` can read. The file is in the
    /// system's folder for temporary files; it is removed when the `after_run` hooks have run, also if the run
    /// failed, or when the pipeline is dropped without a run. (A program that is killed cannot remove it.)
    ///
    /// # Errors
    /// What the system says to its creation, with the path.
    pub fn locked_file(&self) -> io::Result<LockedFile> {
        let (file, temporary) = Temporary::new()?;
        self.home.draft.lock().temporaries.push(temporary);
        Ok(file)
    }

    /// Runs in the program before anything else of the run, in the order given. An error ends the run.
    pub fn before_run<R: StageResult>(&self, f: impl FnOnce() -> R + Send + 'static) -> &Self {
        self.home.draft.lock().hooks.before_run.push(Box::new(|| f().into_result()));
        self
    }

    /// Runs once in the program, after `before_run` and before the fork server is forked: close what must not
    /// be shared with worker processes. Several run in the order given, then those on the heads of process
    /// blocks ([`Block::before_fork`](crate::Block::before_fork)). Not called if the pipeline has no process
    /// block. An error or a panic ends the run with [`Error::Hook`].
    pub fn before_fork<R: StageResult>(&self, f: impl Fn() -> R + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().hooks.before_fork.push(Arc::new(move || f().into_result()));
        self
    }

    /// Runs in each worker process before its first item, of whichever block: open what each worker needs for
    /// itself. Several run in the order given, then those on the block's head
    /// ([`Block::after_fork`](crate::Block::after_fork)), then the stages' `before` hooks and `_init` closures.
    /// All of it together must be done within [`INIT_BOUND`](crate::defaults::INIT_BOUND).
    ///
    /// What it counts and collects is told to the program when the worker is ready; what `after` hooks record
    /// comes with the worker's goodbye. The goodbye of a worker that is killed is lost:
    /// [`StageFigures::lost_goodbyes`](crate::StageFigures::lost_goodbyes) says how many were. An error or a
    /// panic ends the run ([`Error::Hook`]).
    pub fn after_fork<R: StageResult>(&self, f: impl Fn() -> R + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().hooks.after_fork.push(Arc::new(move || f().into_result()));
        self
    }

    /// Runs once in the program when the run is over: every worker has ended, every result has arrived. Also
    /// after a run that failed. An error of it fails the run.
    pub fn after_run<R: StageResult>(&self, f: impl FnOnce(&Report) -> R + Send + 'static) -> &Self {
        self.home.draft.lock().hooks.after_run.push(Box::new(|report| f(report).into_result()));
        self
    }

    /// Runs in the program for every item that failed for good, whatever becomes of it and wherever it ran:
    /// once per item, and not for attempts that are followed by another. An item inside a block with a policy
    /// of its own is told of when the attempt around it has succeeded.
    ///
    /// It runs on the thread that settles the item, one call at a time per thread, several threads at once: a
    /// hook that takes long holds that thread up. An error or a panic of it ends the run with
    /// [`Error::Hook`]. Once the run has been halted by an error or a kill, it is not called any more: items
    /// that were in flight are then abandoned, not failed.
    pub fn on_failure<R: StageResult>(&self, f: impl Fn(&FailedItem) -> R + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().hooks.on_failure.push(Box::new(move |failed| f(failed).into_result()));
        self
    }

    /// No block has more than `most` threads (at least 1): one that asks for more is held to it, with a
    /// [`Warning`](crate::Warning) in the report. Default: no limit.
    ///
    /// It counts per block, and for a block nested in a worker, per worker of the block around it.
    pub fn max_threads(&self, most: usize) -> &Self {
        self.home.draft.lock().limits.threads = Some(most.max(1));
        self
    }

    /// No process block has more than `most` worker processes (at least 1): one that asks for more is held to
    /// it, with a [`Warning`](crate::Warning) in the report. Default: no limit.
    ///
    /// It counts per block, workers forked ahead of their item included
    /// ([`process_per_batch`](crate::process_per_batch)). It holds a process block also where that runs on threads instead
    /// ([`or_threads`](crate::Block::or_threads)).
    pub fn max_processes(&self, most: usize) -> &Self {
        self.home.draft.lock().limits.processes = Some(most.max(1));
        self
    }

    /// Tells `f` of everything rare that happens in the run, one thing after the other, from
    /// [`RunStarted`](Event::RunStarted) to [`RunEnded`](Event::RunEnded). Several observers are told in the order in
    /// which they were given; [`Handle::observe`](crate::Handle::observe) adds one to a run under way.
    ///
    /// Observers run in the program, on a thread of their own (`mg:observe`), and never hold the run up: if they are
    /// slower than what happens, up to [`HELD_EVENTS`](crate::defaults::HELD_EVENTS) events wait, and what comes
    /// then is [`Missed`](Event::Missed), which tells how many. The last event is never missed, and
    /// [`join`](crate::Running::join) returns when it was told. An observer that has not returned 5 s after the end
    /// of the run ([`GRACE`](crate::defaults::GRACE)) is left behind, with [`Error::Stuck`]. One that panics is told
    /// nothing more, and the run's outcome is [`Error::Hook`] if it has no other error.
    ///
    /// ```
    /// # use minigun::{Event, Pipeline};
    /// let p = Pipeline::new("watched");
    /// p.observe(|event| if let Event::ItemFailed { item } = event { eprintln!("{}: {}", item.stage, item.error) });
    /// p.source("numbers", 0..10).discard();
    /// p.run()?;
    /// # Ok::<(), minigun::Error>(())
    /// ```
    pub fn observe(&self, f: impl FnMut(&Event) + Send + 'static) -> &Self {
        self.home.draft.lock().observers.push(Box::new(f));
        self
    }

    /// Shows how far the run is, on standard error: bars if that is a terminal, else a line every few seconds and one
    /// at the end.
    ///
    /// Where the source's iterator knows exactly how many items it has, so that its end is known, there is a
    /// percentage and the time that is left, by what stages made of their items until now; else there are counts and
    /// rates. Bars are gone when the run is over, before the `after_run` hooks.
    ///
    /// `MINIGUN_PROGRESS` in the environment (`auto`, `bars`, `lines`, `off`) has the last word. It says nothing to
    /// a pipeline that does not ask for progress.
    ///
    /// What workers print to standard error stands above the bars. What the program itself prints to the terminal
    /// meanwhile goes through [`aside`](crate::aside), or the bars may stand in its lines; what is redirected never
    /// has bars in it.
    ///
    /// # Errors
    /// The run ends with [`Error::Environment`] if the variable says anything else.
    pub fn progress(&self) -> &Self {
        self.progress_as(Progress::Auto)
    }

    /// As [`progress`](Self::progress), in the way that is asked for.
    pub fn progress_as(&self, progress: Progress) -> &Self {
        self.home.attach(progress::Attachment::new(progress));
        self
    }

    /// Tells the subscriber of `tracing` that is the default one now, on this thread, what happens in the run: a span
    /// for the run (`run`), its stages (`stage`) and workers (`worker`), and an event for everything
    /// [rare](Event). Targets are `minigun`, and `minigun::stderr` for the lines that worker processes print.
    ///
    /// What closures tell `tracing` stands in the span of their worker where that is a thread. In a worker process
    /// it is written as a line to the worker's standard error, taken for what it is by the program, not shown there,
    /// and told to the subscriber in the worker's span, with the target `minigun::worker` and the field `code` for the
    /// target it had. Its fields are then part of the message; what is above 3 KiB of it is cut off, and the
    /// closures' own spans stay in the worker. Threads that a closure in a worker process starts by itself use the
    /// worker's copy of the program's subscriber, which should then write to standard error.
    #[cfg(feature = "tracing")]
    pub fn trace(&self) -> &Self {
        let tracer = trace::Tracer::new();
        self.home.attach(Arc::new(trace::Attachment(Arc::clone(&tracer))));
        self.home.draft.lock().observers.push(tracer.observer());
        self
    }

    /// By what clock busy time, waiting and latency are measured, for tests: a function that gives the time since
    /// any fixed moment, on whatever thread and in whatever process it is called. Default: the system's clock.
    ///
    /// Deadlines, retries and the run's duration go by the system's clock all the same. In a worker process it
    /// reads that process's copy of what it captured.
    pub fn measured_by(&self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().clock = Clock::Given(Arc::new(clock));
        self
    }

    /// SIGINT (the terminal's Ctrl-C) and SIGTERM stop the run, from its first hook to its last. Without this
    /// the library leaves signals alone, and both end the program, and its workers with it.
    ///
    /// The first signal stops the run as [`Handle::stop`](crate::Handle::stop) does, and the report says so.
    /// The second kills it as [`Handle::kill`](crate::Handle::kill) does: the outcome is [`Error::Killed`]. If
    /// a closure still runs on a thread of the program after 5 s, the program itself is ended, with exit code
    /// 128 + n and nothing flushed; also by a third signal, and 10 s after the second if the run is not over
    /// then. [`exit_code`](crate::exit_code) has the code for `main` to end with.
    ///
    /// Several runs at once all hear each signal. A signal that the program ignores stays ignored; a handler
    /// that the program had installed before is called as well. After the run both do what they did before;
    /// but a program that later handles, through the crate `signal-hook`, a signal that had done its default
    /// until this run, is ended by it all the same.
    pub fn handle_signals(&self) -> &Self {
        self.home.draft.lock().signals = true;
        self
    }

    /// By what waits go, if not by the system's time.
    pub(crate) fn go_by(&self, timers: &Arc<Timers>) {
        self.home.draft.lock().timers = Some(Arc::clone(timers));
    }

    /// Adds what the run opens and closes.
    pub(crate) fn attach(&self, attached: Arc<dyn Attached>) {
        self.home.attach(attached);
    }

    /// A drawing of what has been built so far, with the workers that blocks ask for. A run's own drawing, with those
    /// they were given, is at its [`Handle`](crate::Handle::drawing).
    pub fn drawing(&self) -> Drawing {
        self.home.graph(|graph| Drawing::new(&self.home.name, graph))
    }

    /// Runs the pipeline to its end on this thread's time.
    ///
    /// Process blocks fork their server now: workers see the program's memory as it is at this moment.
    ///
    /// May be called in a closure of another pipeline, in a worker process, too. Hooks, counters and report are
    /// then this run's own; its error becomes that of the outer item by `?`. Counters of the outer pipeline
    /// belong outside of it: in a worker process of this run they fail the item. If the outer worker is
    /// killed, all processes of this run go with it, and the outer item is run again from the start.
    ///
    /// # Errors
    /// All mistakes in the wiring, before anything starts; else the first error that ended the run.
    pub fn run(self) -> Result<Report, Error> {
        self.start()?.join()
    }

    /// Starts the pipeline; the handle waits for it, or stops it.
    ///
    /// # Errors
    /// As [`run`](Self::run), as far as they show at the start.
    pub fn start(self) -> Result<Running, Error> {
        let mut draft = std::mem::take(&mut *self.home.draft.lock());
        let asked = self.home.asked.lock();
        for name in self.home.config.executors.keys().filter(|name| !asked.contains(*name)) {
            let known = asked.iter().cloned().collect();
            draft.graph.mistakes.push(Mistake::UnknownPlace { name: name.clone(), known });
        }
        drop(asked);
        running::start(&self.home.name, &self.home.totals, draft)
    }
}
