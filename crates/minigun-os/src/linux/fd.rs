//! Engine descriptors and the table of all that are open, by which a child closes what it must not hold.
//!
//! A pipe whose far end a sibling process has inherited never ends. So every descriptor of the engine is
//! made under the table's lock, and [`ForkGuard`](crate::ForkGuard) holds that lock across a fork: the
//! child's copy of the table names exactly the descriptors the child has.
//!
//! A child closes by number, behind the back of values that still exist in its copy of the memory. Numbers
//! are reused, so each value carries the generation of its entry: a value whose entry is gone is dead, it
//! neither reads, writes nor closes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;

use super::fork::SingleThreaded;

/// The first number that is not a standard stream's.
const FIRST: RawFd = 3;

/// A descriptor of the engine: close-on-exec, registered, closed on drop.
///
/// Across a fork the child has a working copy, until [`close_engine_fds_except`] is called there.
#[derive(Debug)]
pub struct EngineFd {
    number: RawFd,
    generation: u64,
    /// The count of [`CLOSINGS`] at which the entry was last seen alive.
    seen: AtomicU64,
}

impl EngineFd {
    /// The number, for diagnostics. It means nothing once the descriptor was closed in this process.
    pub fn number(&self) -> RawFd {
        self.number
    }

    /// Leaves the descriptor open until this process ends, and in every child of it that does not exec:
    /// it is no longer closed by drop nor by [`close_engine_fds_except`].
    pub fn keep_for_life(self) {
        let mut table = table();
        if table.holds(&self) {
            table.remove(self.number);
        }
    }

    /// From here on [`close_engine_fds_except`] leaves it open, in this process and in those it forks. It is
    /// still closed by drop and by exec.
    pub fn keep_in_children(&self) {
        let mut table = table();
        if table.holds(self) {
            table.keep(self.number);
        }
    }

    /// Makes one descriptor under the table's lock.
    pub(crate) fn make(make: impl FnOnce() -> rustix::io::Result<OwnedFd>) -> io::Result<EngineFd> {
        let mut table = table();
        let fd = make()?;
        table.insert(fd)
    }

    /// Makes two at once, as `socketpair` does.
    pub(crate) fn make_pair(
        make: impl FnOnce() -> rustix::io::Result<(OwnedFd, OwnedFd)>,
    ) -> io::Result<(EngineFd, EngineFd)> {
        let mut table = table();
        let (a, b) = make()?;
        Ok((table.insert(a)?, table.insert(b)?))
    }

    /// The descriptor for one system call; `EBADF` if this process closed it by the table.
    ///
    /// The borrow must not outlive a call of [`close_engine_fds_except`]: it never leaves this crate, and
    /// no function of the crate keeps one over such a call.
    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        let closings = CLOSINGS.load(Ordering::Acquire);
        if self.seen.load(Ordering::Relaxed) != closings {
            if !table().holds(self) {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            self.seen.store(closings, Ordering::Relaxed);
        }
        // SAFETY: 1. The number is not -1, it came from an `OwnedFd`.
        // 2. It is open: its entry was seen in the table since the last closing by the table, and the only
        //    other thing that closes it is the drop of this value, which is borrowed here.
        Ok(unsafe { BorrowedFd::borrow_raw(self.number) })
    }
}

impl Drop for EngineFd {
    fn drop(&mut self) {
        let mut table = table();
        if table.holds(self) {
            table.remove(self.number);
            close(self.number);
        }
    }
}

/// Something that is one engine descriptor.
pub trait Descriptor {
    /// The descriptor.
    fn engine_fd(&self) -> &EngineFd;
}

impl Descriptor for EngineFd {
    fn engine_fd(&self) -> &EngineFd {
        self
    }
}

/// Closes every engine descriptor of this process but those named, and those to be kept in children.
///
/// For a forked child before it starts its work; the token proves that no other thread is in the middle of
/// using one of them. Values of closed descriptors stay harmless: they answer `EBADF`.
pub fn close_engine_fds_except(_alone: &SingleThreaded, keep: &[&dyn Descriptor]) {
    let mut table = table();
    for number in 0..RawFd::try_from(table.open.len()).unwrap_or(RawFd::MAX) {
        let kept = keep.iter().map(|k| k.engine_fd()).any(|k| k.number == number && table.holds(k));
        if table.is_open(number) && !kept && !table.is_kept(number) {
            table.remove(number);
            close(number);
        }
    }
    CLOSINGS.fetch_add(1, Ordering::Release);
}

/// Runs `f` while no other thread can [`fork`](crate::fork) this process: a lock that is only ever held inside
/// such a call is never inherited locked.
///
/// `f` must be short, must not touch engine descriptors (make, use for the first time, drop) and must not call
/// this again: each would wait for itself.
pub fn unforked<R>(f: impl FnOnce() -> R) -> R {
    let _table = table();
    f()
}

/// Receives at most one descriptor under the table's lock. `receive` must not block.
pub(crate) fn registering<T>(
    receive: impl FnOnce() -> rustix::io::Result<(T, Option<OwnedFd>)>,
) -> io::Result<(T, Option<EngineFd>)> {
    let mut table = table();
    let (value, fd) = receive()?;
    Ok((value, fd.map(|fd| table.insert(fd)).transpose()?))
}

/// The table's lock, as the fork guard holds it.
pub(crate) type TableLock = MutexGuard<'static, Table>;

/// Locks the table. Nothing that can block is done under this lock.
pub(crate) fn table() -> TableLock {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Open engine descriptors, by number.
#[derive(Debug)]
pub(crate) struct Table {
    open: Vec<Entry>,
    last: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Of the value that owns it; 0: not open.
    generation: u64,
    /// It stays open in children.
    kept: bool,
}

static TABLE: Mutex<Table> = Mutex::new(Table { open: Vec::new(), last: 0 });

/// How often this process (or the one it was forked from) closed descriptors by the table.
static CLOSINGS: AtomicU64 = AtomicU64::new(0);

impl Table {
    /// A program that has closed a standard stream leaves its number free: a descriptor of the engine there
    /// would get what somebody prints, and would be lost in a child that sets its streams up.
    fn insert(&mut self, fd: OwnedFd) -> io::Result<EngineFd> {
        let fd = if fd.as_raw_fd() < FIRST { fcntl_dupfd_cloexec(&fd, FIRST)? } else { fd };
        let at = usize::try_from(fd.as_raw_fd()).unwrap_or(0);
        if self.open.len() <= at {
            self.open.resize(at + 1, Entry::default());
        }
        self.last += 1;
        self.open[at] = Entry { generation: self.last, kept: false };
        let seen = AtomicU64::new(CLOSINGS.load(Ordering::Acquire));
        Ok(EngineFd { number: fd.into_raw_fd(), generation: self.last, seen })
    }

    fn holds(&self, fd: &EngineFd) -> bool {
        self.entry(fd.number).generation == fd.generation
    }

    fn is_open(&self, number: RawFd) -> bool {
        self.entry(number).generation != 0
    }

    fn is_kept(&self, number: RawFd) -> bool {
        self.entry(number).kept
    }

    fn keep(&mut self, number: RawFd) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|at| self.open.get_mut(at)) {
            entry.kept = true;
        }
    }

    fn entry(&self, number: RawFd) -> Entry {
        usize::try_from(number).ok().and_then(|at| self.open.get(at)).copied().unwrap_or_default()
    }

    fn remove(&mut self, number: RawFd) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|at| self.open.get_mut(at)) {
            *entry = Entry::default();
        }
    }
}

fn close(number: RawFd) {
    // SAFETY: 1. The number was in the table, so it is open and owned by an `EngineFd`.
    // 2. The caller has just removed it from the table, so that value will not close it again nor use it.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::event::Event;

    #[test]
    fn a_descriptor_is_in_the_table_while_it_lives() {
        let event = Event::new().unwrap();
        let number = event.engine_fd().number();
        assert!(table().is_open(number));
        assert!(table().holds(event.engine_fd()));
        let generation = event.engine_fd().generation;
        drop(event);
        assert_ne!(table().entry(number).generation, generation);
    }
}
