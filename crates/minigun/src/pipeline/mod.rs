//! The builder: pipelines, flows, blocks, ports and their handles.

pub(crate) mod block;
pub(crate) mod ends;
pub(crate) mod fan;
pub(crate) mod flow;
pub(crate) mod home;
pub(crate) mod place;
pub(crate) mod port;
pub mod scope;
pub(crate) mod source;

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::sync::Mutex;

use crate::error::Error;
use crate::failure::StageResult;
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
    /// be shared with worker processes. Not called if the pipeline has no process block.
    pub fn before_fork<R: StageResult>(&self, f: impl Fn() -> R + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().hooks.before_fork.push(Arc::new(move || f().into_result()));
        self
    }

    /// Runs in each worker process before its first item.
    pub fn after_fork<R: StageResult>(&self, f: impl Fn() -> R + Send + Sync + 'static) -> &Self {
        self.home.draft.lock().hooks.after_fork.push(Arc::new(move || f().into_result()));
        self
    }

    /// Runs once in the program when the run is over: every worker has ended, every result has arrived. Also
    /// after a run that failed.
    pub fn after_run<R: StageResult>(&self, f: impl FnOnce(&Report) -> R + Send + 'static) -> &Self {
        self.home.draft.lock().hooks.after_run.push(Box::new(|report| f(report).into_result()));
        self
    }

    /// Runs the pipeline to its end on this thread's time.
    ///
    /// Process blocks fork their server now: workers see the program's memory as it is at this moment.
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
