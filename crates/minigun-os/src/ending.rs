//! How a process ended, and what it had used by then.

use std::fmt;
use std::time::Duration;

use crate::pid::{Pid, Signal};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left by itself with this code (0 to 255).
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether a core file was written.
        core: bool,
    },
    /// It is gone, but somebody else took its status: the program ignores `SIGCHLD`, or some other code
    /// of the program waits for every child.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Code(code) => write!(f, "left with code {code}"),
            Ending::Signal { signal, core: false } => write!(f, "killed by {signal}"),
            Ending::Signal { signal, core: true } => write!(f, "killed by {signal}, core written"),
            Ending::Unknown => f.write_str("ended, its status taken by other code of the program"),
        }
    }
}

/// A child that has ended and was taken off the kernel's books.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Its number, free for reuse from now on.
    pub pid: Pid,
    /// How it ended.
    pub ending: Ending,
    /// Its largest resident memory, in bytes. A forked child starts with its parent's resident pages.
    pub max_rss: u64,
    /// Processor time, user and system together.
    pub cpu: Duration,
}
