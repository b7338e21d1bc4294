//! The stream between the program and one worker: a socketpair of bytes.
//!
//! Every call says by itself whether it may block (`MSG_DONTWAIT`): the flag `O_NONBLOCK` would be shared with
//! the process at the other end of a fork. No call raises `SIGPIPE`.

use std::io;
use std::io::IoSlice;
use std::net::Shutdown;

use rustix::io::retry_on_intr;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType};

use super::fd::{Descriptor, EngineFd};

/// One end of a stream of bytes, both ways.
///
/// The other end's death is: the bytes it had sent, then, if it left input unread, one `ConnectionReset`,
/// then the end (0 bytes). Writing to it is `BrokenPipe`.
#[derive(Debug)]
pub struct Socket(EngineFd);

impl Socket {
    /// Two connected ends. `buffer` asks for send buffers of that many bytes (in a pair of Unix
    /// sockets the sender's buffer is the only one); the kernel may give less.
    ///
    /// # Errors
    /// What the kernel says to `socketpair`: `EMFILE`, `ENFILE`.
    pub fn pair(buffer: Option<usize>) -> io::Result<(Socket, Socket)> {
        let (a, b) = pair(SocketType::STREAM)?;
        if let Some(bytes) = buffer {
            for end in [&a, &b] {
                let _ = set_socket_send_buffer_size(end.get()?, bytes);
            }
        }
        Ok((Socket(a), Socket(b)))
    }

    /// Waits for bytes and takes what is there; 0 is the end.
    ///
    /// # Errors
    /// `ConnectionReset` once if the other end went away with unread input: read on.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into, RecvFlags::empty())
    }

    /// Takes what is there now; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is; else as [`read`](Self::read).
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into, RecvFlags::DONTWAIT)
    }

    /// Waits for room and writes some of the bytes.
    ///
    /// # Errors
    /// `BrokenPipe` or `ConnectionReset` if the other end is gone.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, SendFlags::empty())
    }

    /// Writes what there is room for now.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else as [`write`](Self::write).
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, SendFlags::DONTWAIT)
    }

    /// Writes from several places in one call; waits for room unless `wait` is false.
    ///
    /// # Errors
    /// As [`write`](Self::write) or [`try_write`](Self::try_write).
    pub fn write_vectored(&self, parts: &[IoSlice<'_>], wait: bool) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | if wait { SendFlags::empty() } else { SendFlags::DONTWAIT };
        let fd = self.0.get()?;
        Ok(retry_on_intr(|| rustix::net::sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), flags))?)
    }

    /// Writes it all, waiting for room as often as need be.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Says the end to the other side; reading goes on.
    ///
    /// # Errors
    /// What the kernel says to `shutdown`.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// Ends one way or both, for every process that holds this end; wakes who waits on it.
    ///
    /// # Errors
    /// What the kernel says to `shutdown`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(self.0.get()?, how)?)
    }

    /// See [`EngineFd::keep_for_life`].
    pub fn keep_for_life(self) {
        self.0.keep_for_life();
    }

    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let fd = self.0.get()?;
        Ok(retry_on_intr(|| rustix::net::recv(fd, &mut *into, flags).map(|(taken, _)| taken))?)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        let fd = self.0.get()?;
        Ok(retry_on_intr(|| rustix::net::send(fd, bytes, flags | SendFlags::NOSIGNAL))?)
    }
}

impl io::Read for &Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Socket::read(self, into)
    }
}

impl io::Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Socket::write(self, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Descriptor for Socket {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}

/// A descriptor that came over a [`Control`](crate::Control) and is known to be a stream socket's.
impl From<EngineFd> for Socket {
    fn from(fd: EngineFd) -> Socket {
        Socket(fd)
    }
}

/// A close-on-exec pair in the Unix family.
pub(crate) fn pair(kind: SocketType) -> io::Result<(EngineFd, EngineFd)> {
    EngineFd::make_pair(|| rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None))
}
