//! A run: build → plan → launch → drain → report.

pub(crate) mod draft;
pub(crate) mod exit;
pub(crate) mod handle;
pub(crate) mod running;
mod signals;
