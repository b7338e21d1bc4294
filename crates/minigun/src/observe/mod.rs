//! Looking at a run from the program that started it: progress on a terminal, and what it tells to `tracing`.
//!
//! What stands here reads a run's figures by a [`Handle`](crate::Handle) and hears of its events; nothing of the run
//! waits for it.

pub(crate) mod outlook;
pub(crate) mod progress;
pub(crate) mod screen;
#[cfg(feature = "tracing")]
pub(crate) mod trace;
