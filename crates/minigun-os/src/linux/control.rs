//! Small messages that keep their borders and may carry one descriptor each: a seqpacket socketpair.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType,
};

use super::fd::{self, Descriptor, EngineFd};
use super::socket::pair;

/// One end of the message socket. No call blocks: wait with [`poll`](crate::poll).
#[derive(Debug)]
pub struct Control(EngineFd);

impl Control {
    /// Two connected ends.
    ///
    /// # Errors
    /// What the kernel says to `socketpair`: `EMFILE`, `ENFILE`.
    pub fn pair() -> io::Result<(Control, Control)> {
        let (a, b) = pair(SocketType::SEQPACKET)?;
        Ok((Control(a), Control(b)))
    }

    /// Sends one message, whole or not at all, with a copy of a descriptor if one is given.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now; `BrokenPipe` or `ConnectionReset` if the other end is gone;
    /// `InvalidInput` for an empty message, which would look like the end.
    pub fn try_send(&self, message: &[u8], carry: Option<&dyn Descriptor>) -> io::Result<()> {
        if message.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty control message"));
        }
        let fd = self.0.get()?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let carried = match carry {
            Some(descriptor) => Some([descriptor.engine_fd().get()?]),
            None => None,
        };
        retry_on_intr(|| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut extra = SendAncillaryBuffer::new(&mut space);
            if let Some(fds) = &carried {
                extra.push(SendAncillaryMessage::ScmRights(fds));
            }
            rustix::net::sendmsg(fd, &[IoSlice::new(message)], &mut extra, flags)
        })?;
        Ok(())
    }

    /// Receives one message and the descriptor it carried, which is registered and close-on-exec.
    /// A length of 0 is the end: the other end is gone.
    ///
    /// # Errors
    /// `WouldBlock` if none is there; `ConnectionReset` if the other end went away with unread messages;
    /// `InvalidData` if the message is longer than `into`.
    pub fn try_recv(&self, into: &mut [u8]) -> io::Result<(usize, Option<EngineFd>)> {
        let fd = self.0.get()?;
        let ((length, cut), carried) = fd::registering(|| {
            retry_on_intr(|| {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut extra = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
                let got = rustix::net::recvmsg(fd, &mut [IoSliceMut::new(into)], &mut extra, flags)?;
                let carried = extra.drain().find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                    _ => None,
                });
                Ok(((got.bytes, got.flags.contains(rustix::net::ReturnFlags::TRUNC)), carried))
            })
        })?;
        if cut {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a control message longer than its reader's buffer",
            ));
        }
        Ok((length, carried))
    }
}

impl Descriptor for Control {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}
