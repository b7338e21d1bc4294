//! The two forks: a guarded one for a program that may have threads, and a cheap one for a process that has
//! a single thread.
//!
//! In both the child runs a closure and leaves by `_exit` with its value: it never returns or unwinds into
//! the caller's stack, runs no `atexit` handlers and no destructors of the program.

use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{guard::ForkGuard, leave::leave, procfs};
use crate::pid::Pid;

/// The exit code of a child whose closure panicked: that of a Rust program whose `main` did.
const PANICKED: i32 = 101;

/// Proof that this process has one thread. A child gets it at its birth; it stays on its thread.
///
/// Code that starts a thread while it holds this makes the proof stale, and its forks as risky as those of
/// any threaded program. Nothing worse: a fork in a threaded program can leave locks held for ever, it cannot
/// break memory.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Looks into `/proc/self/task`.
    ///
    /// # Errors
    /// `Other` with the count if there are more threads; whatever reading `/proc` says.
    pub fn prove() -> io::Result<SingleThreaded> {
        match procfs::threads()? {
            1 => Ok(SingleThreaded(PhantomData)),
            n => Err(io::Error::other(format!("this process has {n} threads, one is required here"))),
        }
    }
}

/// Forks a program that may have threads.
///
/// The guard is let go on both sides once the fork is done. The child runs `child` with every signal blocked
/// and its inherited handlers in place (see [`child`](crate::child)), and every engine descriptor open until
/// it calls [`close_engine_fds_except`](crate::close_engine_fds_except). Its process ends with the closure's
/// value as exit code (the low 8 bits), with 101 if it panics; standard output and error are flushed before,
/// for at most 2 s.
///
/// Locks of other threads that the guard does not hold (a log file's, the environment's, those of a C
/// library) stay held in the child if they were held at this instant.
///
/// # Errors
/// What `fork` says: `EAGAIN` (a limit of processes), `ENOMEM`.
pub fn fork(guard: ForkGuard, child: impl FnOnce(SingleThreaded) -> i32) -> io::Result<Pid> {
    match raw_fork() {
        Ok(None) => {
            guard.release_in_child();
            run(child)
        }
        parents => {
            // Before the closure is dropped: what it captured may be descriptors, whose table is held here.
            drop(guard);
            // Never absent: that is the child's side.
            parents.and_then(|pid| pid.ok_or_else(|| io::Error::other("fork gave no number")))
        }
    }
}

/// Forks a process of one thread: no guard, no signals changed, nothing flushed.
///
/// The child inherits the signal mask and handlers as they are; otherwise as [`fork`].
///
/// # Errors
/// What `fork` says: `EAGAIN` (a limit of processes), `ENOMEM`.
pub fn fork_worker(_alone: &SingleThreaded, child: impl FnOnce(SingleThreaded) -> i32) -> io::Result<Pid> {
    match raw_fork()? {
        Some(pid) => Ok(pid),
        None => run(child),
    }
}

/// Whether this process was forked by this crate (fork server or worker), directly or through others.
pub fn in_worker() -> bool {
    IN_WORKER.load(Ordering::Relaxed)
}

static IN_WORKER: AtomicBool = AtomicBool::new(false);

/// `Some` in the parent, `None` in the child.
fn raw_fork() -> io::Result<Option<Pid>> {
    // SAFETY: 1. `fork` itself has no precondition. 2. The child has one thread with this stack; it runs on
    // memory that is a copy, so no other thread races with it. 3. State that other threads were changing is
    // behind locks that stay held in the child: waiting for one can hang it, never show it torn data; the C
    // library repairs its own (malloc, stdio) in `fork`. 4. The callers run a closure and `_exit`, so no
    // frame below is returned into twice.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid => u32::try_from(pid).ok().and_then(Pid::new).map(Some).ok_or_else(io::Error::last_os_error),
    }
}

fn run(child: impl FnOnce(SingleThreaded) -> i32) -> ! {
    IN_WORKER.store(true, Ordering::Relaxed);
    let code =
        catch_unwind(AssertUnwindSafe(|| child(SingleThreaded(PhantomData)))).unwrap_or_else(|payload| {
            // The payload's destructor is foreign code that could panic in its turn.
            std::mem::forget(payload);
            PANICKED
        });
    leave(code)
}
