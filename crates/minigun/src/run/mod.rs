//! A run: build → plan → launch → drain → report.

pub(crate) mod draft;
pub(crate) mod running;
