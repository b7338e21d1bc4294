//! Signals to processes: by a handle that cannot hit a stranger, and by number for children not yet reaped.

use std::io;
use std::time::Duration;

use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use super::fd::{Descriptor, EngineFd};
use super::poll::{Interest, Watch, poll};
use crate::ending::Ending;
use crate::pid::{Pid, Signal};

/// A handle on one process (a pidfd): readable in [`poll`] once it has ended, whoever reaps it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: EngineFd,
}

impl Process {
    /// Opens the process that has this number now. Safe from reuse of the number from then on.
    ///
    /// # Errors
    /// `ESRCH` if there is none; `EMFILE`, `ENFILE`.
    pub fn open(pid: Pid) -> io::Result<Process> {
        let raw = to_rustix(pid)?;
        let fd = EngineFd::make(|| pidfd_open(raw, PidfdFlags::empty()))?;
        Ok(Process { pid, fd })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to this process and no other; one that has ended already is no error.
    ///
    /// # Errors
    /// `EPERM`; `InvalidInput` for a number that is no named signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let raw = rustix::process::Signal::from_named_raw(signal.number())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{signal} cannot be sent")))?;
        match pidfd_send_signal(self.fd.get()?, raw) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits for the end of this process, a child of the caller's, and reaps it; `None` if the time is over.
    /// `None` as bound waits for ever.
    ///
    /// A child that somebody else reaped (or that nobody may, because `SIGCHLD` is ignored) is
    /// [`Ending::Unknown`].
    ///
    /// # Errors
    /// What the kernel says to `poll` or `waitid`.
    pub fn wait(&self, bound: Option<Duration>) -> io::Result<Option<Ending>> {
        let mut watch = [Watch::new(self, Interest::Read)];
        if poll(&mut watch, bound)? == 0 {
            return Ok(None);
        }
        let fd = self.fd.get()?;
        let ended = rustix::io::retry_on_intr(|| {
            waitid(WaitId::PidFd(fd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
        });
        match ended {
            Ok(Some(status)) => Ok(Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Code(code),
                (_, Some(signal)) => Ending::Signal { signal: Signal::new(signal), core: status.dumped() },
                _ => Ending::Unknown,
            })),
            Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(Some(Ending::Unknown)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Descriptor for Process {
    fn engine_fd(&self) -> &EngineFd {
        &self.fd
    }
}

/// Sends a signal to the process of that number. Only safe from reuse for a child that was not reaped yet;
/// for any other process use [`Process`].
///
/// # Errors
/// `ESRCH` if there is none, `EPERM`, `EINVAL`.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    send(pid.raw(), signal)
}

/// Sends a signal to every process of the group whose leader has (or had) that number.
///
/// # Errors
/// `ESRCH` if the group is empty, `EPERM` if none of it may be signalled, `EINVAL`.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<()> {
    // Group 1 cannot be named this way: -1 would mean every process there is.
    if leader.raw() == 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    send(-leader.raw(), signal)
}

fn send(target: libc::pid_t, signal: Signal) -> io::Result<()> {
    // SAFETY: `kill` has no precondition on memory. The target is one process or one group, never 0 or -1.
    match unsafe { libc::kill(target, signal.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn to_rustix(pid: Pid) -> io::Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(pid.raw()).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}
