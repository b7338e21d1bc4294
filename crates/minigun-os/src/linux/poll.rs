//! Waiting for several descriptors at once, with a bound.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::fd::{Descriptor, EngineFd};

/// What one entry of a [`poll`] waits for. The other end's death is reported in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, a message, a wake-up, an ended process.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
    /// Only the other end's death.
    Death,
}

/// One entry of a [`poll`], and after it what was found.
#[derive(Debug)]
pub struct Watch<'a> {
    /// `None`: standard error.
    fd: Option<&'a EngineFd>,
    interest: Interest,
    found: PollFlags,
}

impl<'a> Watch<'a> {
    /// Watches a descriptor.
    pub fn new(descriptor: &'a dyn Descriptor, interest: Interest) -> Watch<'a> {
        Watch { fd: Some(descriptor.engine_fd()), interest, found: PollFlags::empty() }
    }

    /// Watches this process's standard error for room: ready when a write of up to 4 KiB will not block, and
    /// when there is nobody to read it, or no such stream.
    pub fn standard_error() -> Watch<'static> {
        Watch { fd: None, interest: Interest::Write, found: PollFlags::empty() }
    }

    /// Whether anything was found.
    pub fn is_ready(&self) -> bool {
        !self.found.is_empty()
    }

    /// Whether a read will not block: there is something, or the end, or an error.
    pub fn readable(&self) -> bool {
        self.found.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether a write will not block: there is room, or an error.
    pub fn writable(&self) -> bool {
        self.found.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the other end is gone; bytes it had sent may still be there.
    pub fn hung_up(&self) -> bool {
        self.found.intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

/// So many entries need no memory of their own.
const FEW: usize = 4;

/// Waits until an entry is ready or the time is over; how many entries are ready (0: time over). An
/// interruption by a signal goes on with the time that is left. `None` waits without a bound.
///
/// # Errors
/// `EBADF` if this process closed one of the descriptors; what the kernel says to `poll`.
pub fn poll(watches: &mut [Watch<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
    // Few are watched, and memory from the heap would cost a process that forks and is forked a copy of its pages.
    let nothing = || PollFd::from_borrowed_fd(rustix::stdio::stderr(), PollFlags::empty());
    let (mut few, mut many) = ([(); FEW].map(|()| nothing()), Vec::new());
    let fds = match watches.len() {
        count @ ..=FEW => &mut few[..count],
        count => {
            many.resize_with(count, nothing);
            &mut many[..]
        }
    };
    for (fd, watch) in fds.iter_mut().zip(watches.iter()) {
        let events = match watch.interest {
            Interest::Read => PollFlags::IN,
            Interest::Write => PollFlags::OUT,
            Interest::Both => PollFlags::IN | PollFlags::OUT,
            Interest::Death => PollFlags::empty(),
        };
        *fd = match watch.fd {
            Some(number) => PollFd::from_borrowed_fd(number.get()?, events),
            None => PollFd::from_borrowed_fd(rustix::stdio::stderr(), events),
        };
    }
    let mut left = timeout;
    let ready = loop {
        match rustix::event::poll(fds, left.map(timespec).as_ref()) {
            Ok(ready) => break ready,
            Err(Errno::INTR) => left = deadline.map(|d| d.saturating_duration_since(Instant::now())),
            Err(error) => return Err(error.into()),
        }
    };
    for (watch, fd) in watches.iter_mut().zip(fds) {
        watch.found = fd.revents();
    }
    Ok(ready)
}

/// As the kernel wants it; a time beyond its range becomes its longest.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
