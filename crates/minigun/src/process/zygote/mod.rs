//! The fork server: a process of one thread, forked before the run, that forks every worker on request.
//!
//! The theory (why a server, what a fork can break, how health is proved, how nothing is left behind) is in
//! the README beside this file.
//!
//! | file | its half |
//! |---|---|
//! | `birth` | the guarded fork, and the child's proof that it can work |
//! | `server` | the loop inside the zygote: fork, kill, reap, report |
//! | `pair` | two zygotes: the one in charge, and its standby |
//! | `client` | the program's side of one: requests, closing |
//! | `book`, `listen` | what the program knows of a zygote; the thread that listens to it, and buries it |
//! | `notes` | what zygote and workers note in shared memory, for when they are gone |
//! | `message` | what the two say to each other, byte by byte |
//! | `exit` | how a worker ended |

mod birth;
mod book;
mod client;
mod exit;
mod listen;
mod message;
mod notes;
mod pair;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use minigun_os::{Ending, Socket};

pub(crate) use client::WorkerProcess;
pub(crate) use exit::{Exit, Status};
pub(crate) use pair::Zygotes;

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
    #[error("the fork server: {what}: {source}{}", remedy(source))]
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
    /// It owed an answer, said nothing for that long, and was killed.
    #[error("the fork server did not answer for {0:?} (was it stopped?) and was killed")]
    Stuck(Duration),
    /// Its workers hang before their first words, and it was killed.
    #[error(
        "{times} workers in a row hung before their first words: most likely another thread of the program held \
         a lock at the moment the fork server was forked, which every worker needs first of all (a handler \
         that other code runs at a fork, the memory allocator); start the pipeline before such threads, or \
         outside of that lock"
    )]
    Mute { times: u32 },
    /// It was killed, and is there nonetheless.
    #[error(
        "the fork server was killed, but does not go: it may hang in the kernel, on a device or a file system"
    )]
    Undead,
    /// The standby could not be made.
    #[error("its standby: {0}")]
    Standby(Box<ZygoteError>),
    /// The first was lost, and then the standby that had taken over, or had been lost before.
    #[error("{first}; and its standby: {standby}")]
    Both { first: String, standby: Box<ZygoteError> },
    /// `close` was called.
    #[error("the fork server was closed")]
    Closed,
}

impl ZygoteError {
    /// There was a zygote, and there is none any more: another one may take over.
    fn is_loss(&self) -> bool {
        matches!(self, ZygoteError::Lost { .. } | ZygoteError::Stuck(_) | ZygoteError::Mute { .. })
    }
}

/// What to do about a limit that was met, to follow its error.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    const EAGAIN: i32 = 11;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error.raw_os_error() {
        Some(EMFILE) => "; raise the limit of open files (`ulimit -n`)",
        Some(ENFILE) => "; the whole system's limit of open files is reached (`sysctl fs.file-max`)",
        Some(EAGAIN) => "; raise the limit of processes (`ulimit -u`, or that of the container)",
        _ => "",
    }
}
