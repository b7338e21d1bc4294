//! A hold on a run from any thread: how far it is, stop it, kill it.

use std::sync::{Arc, OnceLock, Weak};

use crate::defaults;
use crate::error::Error;
use crate::events::{Event, Observing};
use crate::exec::launch::Crew;
use crate::failure::StopCause;
use crate::graph::{Drawing, Graph};
use crate::process::Processes;
use crate::report::{self, StageReport};
use crate::shared::Shared;

/// A hold on a run under way, from [`Running::handle`](crate::Running::handle): it can be cloned, sent to other
/// threads, and kept beyond the end of the run, when stopping does nothing any more.
///
/// It holds no worker, thread or descriptor. In a worker process it is a copy without effect on the run.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Controls>);

/// What a handle reaches.
pub(crate) struct Controls {
    pub(crate) shared: Arc<Shared>,
    pub(crate) crew: Arc<Crew>,
    /// There from the fork on, until the run is over.
    pub(crate) processes: OnceLock<Weak<Processes>>,
    pub(crate) graph: Graph,
}

impl Handle {
    /// Every stage's figures as they are now, in the order in which the stages were written.
    ///
    /// They are read one after the other while the run goes on, so that two of them may tell of slightly
    /// different moments. Workers report with their results, threads after every run of items they took.
    pub fn stats(&self) -> Vec<StageReport> {
        report::stages(&self.0.shared, &self.0.graph)
    }

    /// Tells `f` of what happens in the run from now on, until the returned value is dropped or the run is over; see
    /// [`Pipeline::observe`](crate::Pipeline::observe).
    ///
    /// # Errors
    /// [`Error::Thread`] if the observers' thread cannot be started.
    pub fn observe(&self, f: impl FnMut(&Event) + Send + 'static) -> Result<Observing, Error> {
        let stage = || "an observer".to_string();
        self.0.shared.bus().subscribe(Box::new(f)).map_err(|source| Error::Thread { stage: stage(), source })
    }

    /// A drawing of the run: its stages, where they run, and with how many workers.
    pub fn drawing(&self) -> Drawing {
        Drawing::new(self.0.shared.name(), &self.0.graph)
    }

    /// Asks the run to end early: producers are told, what is in flight is finished and committed, and the
    /// report says that the run was stopped ([`Report::stopped`](crate::Report::stopped)).
    ///
    /// What waits for another attempt is due at once: it gets the attempts it has left without the waits
    /// between them, also inside worker processes.
    pub fn stop(&self) {
        self.0.shared.stop(StopCause::Handle);
    }

    /// Ends the run without finishing anything: workers are killed, queues are stopped. The run's own outcome
    /// is then [`Error::Killed`], or an error that came before.
    ///
    /// Returns when nothing of the run is at work any more. After the end of the run it does nothing.
    ///
    /// # Errors
    /// [`Error::Stuck`] names the stages whose closures still run on a thread of the program after 5 s
    /// ([`GRACE`](crate::defaults::GRACE)): threads cannot be killed. Called from such a closure it waits for
    /// that long, and names its own stage. [`Error::Zygote`] if the fork server had to be killed.
    pub fn kill(&self) -> Result<(), Error> {
        let killed = self.kill_workers(StopCause::Handle);
        let stages = self.0.crew.working_after(defaults::GRACE);
        if stages.is_empty() {
            return killed;
        }
        Err(Error::Stuck { stages, because: Some(Box::new(Error::Killed { by: StopCause::Handle })) })
    }

    /// Halts the run and kills its workers; threads are not waited for.
    pub(crate) fn kill_workers(&self, by: StopCause) -> Result<(), Error> {
        let shared = &self.0.shared;
        if shared.is_over() {
            return Ok(());
        }
        shared.kill(by);
        match self.0.processes.get().and_then(Weak::upgrade) {
            Some(processes) => processes.kill(shared),
            None => Ok(()),
        }
    }
}
