//! What a pipeline under construction shares with its flows and ports.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::exec::launch::Node;
use crate::graph::{Graph, StageId};
use crate::plan::BlockDef;
use crate::plan::config::Config;
use crate::run::draft::{Attached, Draft};
use crate::stats::Totals;
use crate::sync::Mutex;

/// Shared by a pipeline and all its flows and ports.
pub struct Home {
    pub(crate) name: String,
    pub(crate) config: Config,
    /// The names for which the program asked where they run.
    pub(crate) asked: Mutex<BTreeSet<String>>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) draft: Mutex<Draft>,
}

impl Home {
    pub(crate) fn graph<R>(&self, f: impl FnOnce(&mut Graph) -> R) -> R {
        f(&mut self.draft.lock().graph)
    }

    /// Adds what the run opens and closes.
    pub(crate) fn attach(&self, attached: Arc<dyn Attached>) {
        self.draft.lock().attached.push(attached);
    }

    /// Adds what runs by itself, if that is so.
    pub(crate) fn add(&self, node: Option<Box<dyn Node>>) {
        self.draft.lock().nodes.extend(node);
    }
}

/// Where a stage under construction stands.
pub struct At<'a> {
    pub(crate) home: &'a Arc<Home>,
    pub(crate) block: Option<&'a Arc<BlockDef>>,
    pub(crate) stage: StageId,
    /// It is a producer: what it sends goes on at once.
    pub(crate) producer: bool,
}
