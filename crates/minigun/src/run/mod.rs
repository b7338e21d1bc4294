//! A run: build → plan → launch → drain → report.

pub(crate) mod draft;
pub(crate) mod exit;
pub(crate) mod handle;
#[cfg(feature = "hud")]
pub(crate) mod last_call;
pub(crate) mod running;
mod signals;
