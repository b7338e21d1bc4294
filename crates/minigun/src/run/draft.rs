//! A pipeline as it is handed over to be run.

use crate::exec::launch::Node;
use crate::graph::Graph;
use crate::limits::Limits;
use crate::plan::hooks::Hooks;

/// What the builder gathered.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) graph: Graph,
    pub(crate) nodes: Vec<Box<dyn Node>>,
    pub(crate) hooks: Hooks,
    pub(crate) limits: Limits,
    /// SIGINT and SIGTERM stop the run.
    pub(crate) signals: bool,
}
