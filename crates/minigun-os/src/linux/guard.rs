//! What a fork in a threaded program must hold, so that the child is not born with somebody else's locks.
//!
//! In the child only the forking thread exists; a lock that another thread held stays held for ever. The
//! guard holds, in this order: the process-wide fork lock, the standard streams, the descriptor table; and it
//! blocks all signals last. The child inherits all of it held by the one thread it has, and lets go.

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::futex;

use super::{fd, poll::timespec, procfs, signals::SavedMask};

/// How long another fork of this process is waited for.
const FORK_WAIT: Duration = Duration::from_secs(10);

/// Everything held around one [`fork`](crate::fork).
///
/// Dropped in the parent: all locks are let go, the signal mask is as before. Stays on its thread.
#[derive(Debug)]
pub struct ForkGuard {
    // Let go in the order of declaration: the reverse of taking.
    mask: SavedMask,
    table: fd::TableLock,
    streams: Option<Streams>,
    lock: ForkLock,
}

impl ForkGuard {
    /// Takes it all; waits at most 10 s for another thread's fork, then at most `patience` for other threads to
    /// let go of the standard streams (100 ms is plenty, unless they print without a pause). The streams are
    /// flushed.
    ///
    /// If one of them stays locked beyond that, the guard goes without both
    /// ([`holds_streams`](Self::holds_streams)): the child then hangs if it prints, which is for the child's
    /// parent to notice.
    ///
    /// # Errors
    /// `TimedOut` if another thread of this process kept forking for 10 s; what the kernel says to
    /// `pthread_sigmask`.
    pub fn take(patience: Duration) -> io::Result<ForkGuard> {
        let lock = ForkLock::take(FORK_WAIT)?;
        let streams = Streams::take(patience);
        let table = fd::table();
        let mask = SavedMask::block_all()?;
        Ok(ForkGuard { mask, table, streams, lock })
    }

    /// Whether both standard streams are held, so that the child can print.
    pub fn holds_streams(&self) -> bool {
        self.streams.is_some()
    }

    /// The child's half: lets go of the inherited locks and keeps every signal blocked.
    pub(crate) fn release_in_child(self) {
        let ForkGuard { mask, table, streams, lock } = self;
        mask.keep_blocked();
        drop(table);
        drop(streams);
        drop(lock);
    }
}

/// Standard output and error, locked by this thread, always in that order.
#[derive(Debug)]
struct Streams {
    _stderr: io::StderrLock<'static>,
    _stdout: io::StdoutLock<'static>,
}

impl Streams {
    /// Both locks, or nothing if another thread sits on one. There is no `try_lock` for the standard
    /// streams, so where other threads exist a helper thread tries first. Between its answer and our own
    /// taking another thread can slip in, but one that keeps a stream for ever was most likely found out.
    fn take(patience: Duration) -> Option<Streams> {
        if procfs::threads().ok() != Some(1) {
            if !Streams::are_free(patience) {
                return None;
            }
            // The lock of the backtraces cannot be held, only met free a moment before the fork. Before the
            // streams are taken: a thread that prints its backtrace to one of them needs both.
            drop(Backtrace::force_capture());
        }
        let mut stdout = io::stdout().lock();
        // Text left in the buffer would be printed twice. A stream that fails here fails its own users too.
        let _ = stdout.flush();
        Some(Streams { _stderr: io::stderr().lock(), _stdout: stdout })
    }

    fn are_free(patience: Duration) -> bool {
        let (free, answer) = mpsc::sync_channel(1);
        let probe =
            thread::Builder::new().name("minigun-probe".into()).stack_size(256 << 10).spawn(move || {
                drop(Backtrace::force_capture());
                // Flushing here, not only after: a full pipe is then met within the bound as well.
                let _ = io::stdout().lock().flush();
                drop(io::stderr().lock());
                let _ = free.send(());
            });
        let Ok(probe) = probe else { return false };
        // Without an answer the probe is left behind; it ends when the streams are let go.
        answer.recv_timeout(patience).is_ok() && probe.join().is_ok()
    }
}

/// One fork at a time in this process. A word of its own, so that the child can let go of its copy whatever
/// other threads were doing to it, and waited for with a bound, so that no order of locks can hang.
#[derive(Debug)]
struct ForkLock(());

static FORKING: AtomicU32 = AtomicU32::new(0);

impl ForkLock {
    fn take(bound: Duration) -> io::Result<ForkLock> {
        let deadline = Instant::now() + bound;
        while FORKING.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another thread of this process has been forking for 10 s",
                ));
            }
            // Woken, changed, interrupted or out of time: look again.
            let _ = futex::wait(&FORKING, futex::Flags::PRIVATE, 1, Some(&timespec(left)));
        }
        Ok(ForkLock(()))
    }
}

impl Drop for ForkLock {
    fn drop(&mut self) {
        FORKING.store(0, Ordering::Release);
        let _ = futex::wake(&FORKING, futex::Flags::PRIVATE, 1);
    }
}
