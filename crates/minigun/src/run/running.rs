//! A run under way: started here, joined or stopped by its handle.

use std::sync::Arc;
use std::time::Instant;

use super::draft::Draft;
use crate::defaults;
use crate::error::Error;
use crate::exec::launch::{Book, Crew, Launch};
use crate::failure::Failure;
use crate::graph::{self, Graph};
use crate::locked::Temporary;
use crate::plan::hooks::Hooks;
use crate::process::{Plan, Processes};
use crate::report::Report;
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stats::Totals;
use crate::sync::Mutex;

/// A run under way, made by [`Pipeline::start`](crate::Pipeline::start).
///
/// Dropping it stops the run without draining it, waits for it and throws its outcome away.
#[must_use = "dropping the handle stops the run"]
pub struct Running(Option<Inner>);

struct Inner {
    shared: Arc<Shared>,
    crew: Arc<Crew>,
    processes: Option<Arc<Processes>>,
    books: Vec<Arc<dyn Book>>,
    graph: Graph,
    /// In a lock only so that the handle can be shared between threads.
    hooks: Mutex<Hooks>,
    temporaries: Vec<Temporary>,
    started: Instant,
}

/// Checks the wiring, runs the hooks, forks the fork server, starts the threads.
pub(crate) fn start(name: &str, totals: &Arc<Totals>, draft: Draft) -> Result<Running, Error> {
    let Draft { graph, nodes, mut hooks, temporaries } = draft;
    let mistakes = graph::problems(&graph);
    if !mistakes.is_empty() {
        return Err(Error::Wiring { pipeline: name.to_string(), mistakes });
    }
    let shared = Shared::new(name.to_string(), Arc::clone(totals), graph.stages.len());
    let mut nodes = nodes;
    let mut plan = Plan::new(&shared);
    for node in &mut nodes {
        node.plan(&mut plan)?;
    }
    let crew = Arc::new(Crew::default());
    let mut inner = Inner {
        shared: Arc::clone(&shared),
        crew: Arc::clone(&crew),
        processes: None,
        books: nodes.iter().filter_map(|node| node.book()).collect(),
        graph,
        hooks: Mutex::default(),
        temporaries,
        started: Instant::now(),
    };
    let before_run = std::mem::take(&mut hooks.before_run);
    let before_fork = std::mem::take(&mut hooks.before_fork);
    let after_fork = std::mem::take(&mut hooks.after_fork);
    inner.hooks = Mutex::new(hooks);
    let prepared = before_run.into_iter().try_for_each(|hook| hooked("before_run", hook)).and_then(|()| {
        if plan.is_empty() {
            return Ok(None);
        }
        before_fork.iter().try_for_each(|hook| hooked("before_fork", || hook()))?;
        plan.fork(after_fork).map(|processes| Some(Arc::new(processes)))
    });
    match prepared {
        Ok(processes) => inner.processes = processes,
        Err(error) => shared.fail(error),
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
    Ok(Running(Some(inner)))
}

fn hooked(hook: &'static str, f: impl FnOnce() -> Result<(), Failure>) -> Result<(), Error> {
    guarded(f).map_err(|failure| Error::Hook { hook, cause: failure.chain() })
}

impl Running {
    /// Asks the run to end early: producers are told, what is in flight is finished and committed. Then
    /// [`join`](Self::join) returns the report of what was done.
    pub fn stop(&self) {
        if let Some(inner) = &self.0 {
            inner.shared.stop();
        }
    }

    /// Waits for the run to end.
    ///
    /// # Errors
    /// The first error that ended the run.
    pub fn join(mut self) -> Result<Report, Error> {
        match self.0.take() {
            Some(inner) => inner.finish(),
            None => Err(Error::Stopped),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.shared.fail(Error::Stopped);
            drop(inner.finish());
        }
    }
}

impl Inner {
    fn finish(self) -> Result<Report, Error> {
        let stuck = self.crew.join(&self.shared, defaults::GRACE);
        if let Some(processes) = &self.processes
            && let Err(error) = processes.close(&self.shared)
        {
            self.shared.fail(error);
        }
        if !self.shared.is_halted() {
            for book in &self.books {
                if let Err(error) = book.check(&self.shared) {
                    self.shared.fail(error);
                }
            }
        }
        let report = Report::new(&self.shared, &self.graph, self.started.elapsed());
        let hooks = std::mem::take(&mut *self.hooks.lock());
        for hook in hooks.after_run {
            if let Err(error) = hooked("after_run", || hook(&report)) {
                self.shared.fail(error);
            }
        }
        for file in &self.temporaries {
            if let Err(source) = file.remove() {
                self.shared.fail(Error::LockedFile { what: "a temporary file is left", source });
            }
        }
        let error = self.shared.take_error();
        if stuck.is_empty() {
            return error.map_or(Ok(report), Err);
        }
        Err(Error::Stuck { stages: stuck, because: error.map(Box::new) })
    }
}
