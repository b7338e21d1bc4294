//! The fork server: a process of one thread, forked before the run, that forks every worker on request.
//!
//! The theory (why a server, what a fork can break, how health is proved, how nothing is left behind) is in
//! the README beside this file.
//!
//! | file | its half |
//! |---|---|
//! | `birth` | the guarded fork, and the child's proof that it can work |
//! | `server` | the loop inside the zygote: fork, kill, reap, report |
//! | `client` | the program's side: requests, the listener thread, closing |
//! | `message` | what the two say to each other, byte by byte |
//! | `exit` | how a worker ended |

mod birth;
mod client;
mod exit;
mod message;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use minigun_os::{Ending, Socket};

pub(crate) use client::{WorkerProcess, Zygote};
pub(crate) use exit::{Exit, Status};

/// What a freshly forked worker gets: which block it works for, its place there, and its end of the stream.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) block: u32,
    pub(crate) slot: u32,
    pub(crate) socket: Socket,
}

/// What a worker does; its value is the exit code (the low 8 bits; 101 if it panics).
pub(crate) type WorkerMain = Box<dyn Fn(Seat) -> i32 + Send>;

/// Why there is no zygote, or no worker from it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZygoteError {
    /// The system lacks something.
    #[error(transparent)]
    Unsupported(io::Error),
    /// A system call of the program failed.
    #[error("the fork server: {what}: {source}")]
    Call { what: &'static str, source: io::Error },
    /// It never became ready.
    #[error(
        "the fork server hung {times} times in a row while it tried to use {suspect}: another thread of the \
         program held that at the moment of the fork, and holds it often or for long; start the pipeline \
         before such threads, or outside of that lock"
    )]
    Hung { times: usize, suspect: &'static str },
    /// It died before it was ready.
    #[error("the fork server was lost while it set itself up: {ending} (last seen using {suspect})")]
    Stillborn { ending: Ending, suspect: &'static str },
    /// It died later.
    #[error("the fork server was lost: {ending}; its workers went with it")]
    Lost { ending: Ending },
    /// It does not take requests any more, though it lives.
    #[error("the fork server did not answer for {0:?}")]
    Stuck(Duration),
    /// `close` was called.
    #[error("the fork server was closed")]
    Closed,
}
