//! A wake-up that can be polled: an eventfd.

use std::io;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, retry_on_intr};

use super::fd::{Descriptor, EngineFd};

/// Readable from [`set`](Event::set) until [`clear`](Event::clear). Shared with children forked while it is open.
#[derive(Debug)]
pub struct Event(EngineFd);

impl Event {
    /// A new event, not set.
    ///
    /// # Errors
    /// What the kernel says to `eventfd`: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Event> {
        EngineFd::make(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)).map(Event)
    }

    /// Sets it; setting a set event changes nothing. Wakes every poll on it.
    ///
    /// # Errors
    /// What the kernel says to `write`.
    pub fn set(&self) -> io::Result<()> {
        let fd = self.0.get()?;
        match retry_on_intr(|| rustix::io::write(fd, &1_u64.to_ne_bytes())) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()), // AGAIN: so often set that the count is full
            Err(error) => Err(error.into()),
        }
    }

    /// Clears it; whether it was set.
    ///
    /// # Errors
    /// What the kernel says to `read`.
    pub fn clear(&self) -> io::Result<bool> {
        let fd = self.0.get()?;
        let mut count = [0; 8];
        match retry_on_intr(|| rustix::io::read(fd, &mut count)) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Descriptor for Event {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}
