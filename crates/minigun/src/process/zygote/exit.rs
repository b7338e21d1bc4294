//! How a worker ended, and what it had used.

use std::fmt;
use std::time::Duration;

use minigun_os::Signal;

/// The exit report of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: Status,
    /// Largest resident memory in bytes, shared pages included; 0 where nobody could measure.
    pub(crate) max_rss: u64,
    /// Processor time, user and system.
    pub(crate) cpu: Duration,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It left by itself.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was never made; what the kernel said.
    SpawnFailed(String),
    /// The zygote died first, and the worker with it; nobody saw how.
    ZygoteLost,
}

impl Exit {
    /// It was never made.
    pub(super) fn is_spawn_failure(&self) -> bool {
        matches!(self.status, Status::SpawnFailed(_))
    }

    /// An end that nobody measured.
    pub(super) fn unmeasured(status: Status) -> Exit {
        Exit { status, max_rss: 0, cpu: Duration::ZERO }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "left with code {code}"),
            Status::Signal(number) => write!(f, "killed by {}", Signal::new(*number)),
            Status::SpawnFailed(error) => write!(f, "could not be forked: {error}"),
            Status::ZygoteLost => f.write_str("killed because its fork server died"),
        }
    }
}
