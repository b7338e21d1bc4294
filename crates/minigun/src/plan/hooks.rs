//! Hooks around a run, and around the fork of one block's workers.

use std::sync::Arc;

use crate::failure::{Failure, guarded};
use crate::report::Report;
use crate::shared::FailureHook;

type BeforeRun = Box<dyn FnOnce() -> Result<(), Failure> + Send>;
type AfterRun = Box<dyn FnOnce(&Report) -> Result<(), Failure> + Send>;
pub(crate) type ForkHook = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// A pipeline's hooks, each list in the order given.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) before_run: Vec<BeforeRun>,
    pub(crate) before_fork: Vec<ForkHook>,
    pub(crate) after_fork: Vec<ForkHook>,
    pub(crate) on_failure: Vec<FailureHook>,
    pub(crate) after_run: Vec<AfterRun>,
}

/// The fork hooks on a block's head, each list in the order given.
#[derive(Clone, Default)]
pub(crate) struct ForkHooks {
    pub(crate) before: Vec<ForkHook>,
    pub(crate) after: Vec<ForkHook>,
}

impl ForkHooks {
    /// The same hooks; one that fails says on which block it stands.
    pub(crate) fn on_block(&self, name: &Arc<str>) -> ForkHooks {
        let named = |hooks: &[ForkHook]| hooks.iter().map(|hook| on_block(hook, name)).collect();
        ForkHooks { before: named(&self.before), after: named(&self.after) }
    }
}

fn on_block(hook: &ForkHook, name: &Arc<str>) -> ForkHook {
    let (hook, name) = (Arc::clone(hook), Arc::clone(name));
    Arc::new(move || {
        guarded(|| hook()).map_err(|failure| {
            Failure::new(failure.kind(), format!("on the block of `{name}`: {}", failure.chain()))
        })
    })
}
