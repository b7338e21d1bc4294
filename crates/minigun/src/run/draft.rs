//! A pipeline as it is handed over to be run.

use crate::exec::launch::Node;
use crate::graph::Graph;
use crate::locked::Temporary;
use crate::plan::hooks::Hooks;

/// What the builder gathered.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) graph: Graph,
    pub(crate) nodes: Vec<Box<dyn Node>>,
    pub(crate) hooks: Hooks,
    /// Files that are removed when the run is over, or when there will be none.
    pub(crate) temporaries: Vec<Temporary>,
}
