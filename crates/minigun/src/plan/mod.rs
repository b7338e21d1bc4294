//! What the builder decided about each block, for the contexts that will run it.

mod block;
pub(crate) mod config;
pub(crate) mod hooks;
mod key;
mod placement;

pub(crate) use block::BlockDef;
pub(crate) use block::Spot;
pub(crate) use key::{KeyOf, key_hash};
pub use placement::{Executor, cores};
pub(crate) use placement::{Placed, Placement, Recycle, Settings, WorkerLimits, default_policy};
