//! Hooks around a run.

use std::sync::Arc;

use crate::failure::Failure;
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
