//! What a stage does with an item, free of where it runs.
//!
//! Steps are fused into a tree of [`Sink`]s, built anew by each worker that runs them. One attempt at an item
//! pushes it through the tree inside a [`Tx`]: outputs, counts and collected values are held back there and
//! go on only when the attempt succeeded.

pub(crate) mod attempt;
pub(crate) mod backlog;
pub(crate) mod batch;
pub(crate) mod batcher;
pub(crate) mod edge;
pub(crate) mod emit;
pub(crate) mod exit;
pub(crate) mod frontier;
pub(crate) mod guard;
pub(crate) mod handles;
pub(crate) mod letter_file;
pub(crate) mod letters;
pub(crate) mod output;
pub(crate) mod pace;
pub(crate) mod seen;
pub(crate) mod series;
pub(crate) mod sink;
pub(crate) mod step;
pub(crate) mod step_run;
pub(crate) mod timed;
pub(crate) mod turns;
pub(crate) mod tx;

/// Copies an item for another attempt; `None` if it cannot be copied.
pub(crate) type Keep<T> = fn(&T) -> Option<T>;
