//! A pipeline as it is handed over to be run.

use std::sync::Arc;

use super::handle::Handle;
use crate::error::Error;
use crate::events::Observer;
use crate::exec::launch::Node;
use crate::graph::Graph;
use crate::limits::Limits;
use crate::locked::Temporary;
use crate::meter::Clock;
use crate::plan::hooks::Hooks;
use crate::timers::Timers;

/// What the builder gathered.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) graph: Graph,
    pub(crate) nodes: Vec<Box<dyn Node>>,
    pub(crate) hooks: Hooks,
    pub(crate) attached: Vec<Arc<dyn Attached>>,
    /// Files that are removed when the run is over, or when there will be none.
    pub(crate) temporaries: Vec<Temporary>,
    pub(crate) limits: Limits,
    /// SIGINT and SIGTERM stop the run.
    pub(crate) signals: bool,
    pub(crate) observers: Vec<Observer>,
    /// By which times are measured.
    pub(crate) clock: Clock,
    /// By which waits go, if it is not the system's time.
    pub(crate) timers: Option<Arc<Timers>>,
}

/// Something beside the graph that a run opens at its start and closes at its end.
pub(crate) trait Attached: Send + Sync {
    /// Before the fork: what workers are to know of it.
    fn prepare(&self, handle: &Handle) -> Result<(), Error> {
        let _ = handle;
        Ok(())
    }

    /// After the fork, so that no worker process inherits what it opens.
    fn open(&self) -> Result<(), Error> {
        Ok(())
    }

    /// After all of them are open: for what looks at the run.
    fn begin(&self, handle: &Handle) -> Result<(), Error> {
        let _ = handle;
        Ok(())
    }

    /// When every worker has ended, before `after_run`.
    fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// When everything else is over, the hooks included, and no error ended the run.
    fn ended_well(&self) -> Result<(), Error> {
        Ok(())
    }
}
