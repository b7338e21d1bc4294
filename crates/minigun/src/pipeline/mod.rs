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

use crate::sync::Mutex;

use crate::error::Error;
use crate::failure::{FailedItem, StageResult};
use crate::locked::{LockedFile, Temporary};
use crate::report::Report;
use crate::run::running::{self, Running};
use crate::stage::handles::{Collector, Counter, decode_values};
use crate::stats::Totals;
use crate::wire::Wire;

use crate::plan::Spot;
use crate::run::draft::Draft;
use home::Home;
use port::Port;

/// A pipeline under construction: sources are made from it, and everything written behind them runs when
/// [`run`](Self::run) or [`start`](Self::start) is called.
pub struct Pipeline {
    home: Arc<Home>,
}

impl Pipeline {
    /// An empty pipeline. The name is used in errors, reports and process titles.
    pub fn new(name: impl Into<String>) -> Self {
        let home = Home { name: name.into(), totals: Totals::new(), draft: Mutex::new(Draft::default()) };
        Pipeline { home: Arc::new(home) }
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
    /// It counts per block. It holds a process block also where that runs on threads instead
    /// ([`or_threads`](crate::Block::or_threads)).
    pub fn max_processes(&self, most: usize) -> &Self {
        self.home.draft.lock().limits.processes = Some(most.max(1));
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
        let draft = std::mem::take(&mut *self.home.draft.lock());
        running::start(&self.home.name, &self.home.totals, draft)
    }
}
