//! A run: build → plan → launch → drain → report.

pub(crate) mod launch;
pub(crate) mod report;
pub(crate) mod running;
pub(crate) mod shared;
