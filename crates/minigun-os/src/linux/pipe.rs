//! A pipe: bytes one way, from any number of writing processes to one reader that never waits.

use std::io;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, pipe_with};

use super::fd::{Descriptor, EngineFd};

/// The end of a pipe that is read.
#[derive(Debug)]
pub struct PipeReader(EngineFd);

/// The end of a pipe that is written to, by whoever makes it one of its standard streams
/// (see [`child::redirect_stderr`](crate::child::redirect_stderr)).
#[derive(Debug)]
pub struct PipeWriter(EngineFd);

/// A new pipe. Writers wait when it is full, the reader never does.
///
/// # Errors
/// What the kernel says to `pipe2`: `EMFILE`, `ENFILE`.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = EngineFd::make_pair(|| pipe_with(PipeFlags::CLOEXEC))?;
    // The two ends have flags of their own: the writers' stay as programs expect them.
    fcntl_setfl(reader.get()?, OFlags::NONBLOCK)?;
    Ok((PipeReader(reader), PipeWriter(writer)))
}

impl PipeReader {
    /// Takes what is there now; 0 is the end: no process holds the other end any more.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let fd = self.0.get()?;
        Ok(retry_on_intr(|| rustix::io::read(fd, &mut *into))?)
    }
}

impl PipeWriter {
    /// See [`EngineFd::keep_in_children`].
    pub fn keep_in_children(&self) {
        self.0.keep_in_children();
    }
}

impl Descriptor for PipeReader {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}

impl Descriptor for PipeWriter {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}
