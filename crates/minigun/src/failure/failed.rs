//! An item that failed for good, what becomes of it, and who ended a run early.

use std::fmt;

use super::{Failure, FailureKind};

/// An item that failed for good, as the report tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FailedItem {
    /// The stage in which it failed.
    pub stage: String,
    /// The item's number at its block: 0 for the first that arrived.
    pub item: u64,
    /// Attempts made.
    pub attempts: u32,
    /// The error of the last attempt, with its causes, in one line.
    pub error: String,
    /// More than fits into a line, if there is more: a panic's backtrace, a dead worker's last words.
    #[serde(default)]
    pub details: Option<String>,
    /// What kind of failure ended the last attempt.
    pub kind: FailureKind,
    /// What became of the item.
    pub fate: Fate,
}

/// Who asked a run to end before its sources had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum StopCause {
    /// The program, by [`Running`](crate::Running) or a [`Handle`](crate::Handle).
    Handle,
    /// The signal of this number, sent to the program.
    Signal(i32),
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopCause::Handle => f.write_str("its handle"),
            StopCause::Signal(number) => minigun_os::Signal::new(*number).fmt(f),
        }
    }
}

/// What becomes of an item that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It was set aside; the run goes on.
    Skipped,
    /// It went to the block's dead letters; the run goes on.
    Dead,
    /// It ends the run.
    Stopped,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Skipped => "skipped",
            Fate::Dead => "dead",
            Fate::Stopped => "stopped the run at",
        })
    }
}

impl FailedItem {
    /// `block` names the stage if the failure does not know it.
    pub(crate) fn new(block: &str, item: u64, attempts: u32, failure: &Failure, fate: Fate) -> Self {
        FailedItem {
            stage: failure.stage().unwrap_or(block).to_string(),
            item,
            attempts: failure.attempts(attempts),
            error: failure.chain(),
            details: failure.details().map(str::to_string),
            kind: failure.kind(),
            fate,
        }
    }
}
