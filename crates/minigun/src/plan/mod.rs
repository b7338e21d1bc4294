//! What the builder decided about each block, for the contexts that will run it.

mod block;
pub(crate) mod hooks;
mod placement;

pub(crate) use block::BlockDef;
pub(crate) use block::Spot;
pub use placement::Executor;
pub(crate) use placement::{Limits, Placed, Placement, Settings, default_policy};
