//! Signal masks, and the ends of children as something to poll.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use super::fd::{Descriptor, EngineFd};

/// Readable when a child of this process has ended.
///
/// Blocks `SIGCHLD` in the calling thread, so it belongs into a process of one thread. A forked child
/// inherits the block; [`child::unblock_all_signals`](crate::child::unblock_all_signals) undoes it.
#[derive(Debug)]
pub struct ChildSignals(EngineFd);

impl ChildSignals {
    /// Starts to listen.
    ///
    /// # Errors
    /// What the kernel says to `pthread_sigmask` or `signalfd`.
    pub fn new() -> io::Result<ChildSignals> {
        let set = set_of(libc::SIGCHLD);
        change_mask(libc::SIG_BLOCK, &set)?;
        signalfd(&set).map(ChildSignals)
    }

    /// Takes what is pending, so that the descriptor becomes unreadable until the next child ends. Several
    /// ends may be one signal: reap until nobody is left.
    ///
    /// # Errors
    /// What the kernel says to `read`; nothing pending is no error.
    pub fn drain(&self) -> io::Result<()> {
        // One signal number is pending at most once, so one record is all there can be.
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(self.0.get()?, &mut record) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Descriptor for ChildSignals {
    fn engine_fd(&self) -> &EngineFd {
        &self.0
    }
}

/// The mask of the calling thread as it was; put back on drop.
pub(crate) struct SavedMask(libc::sigset_t);

impl std::fmt::Debug for SavedMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SavedMask")
    }
}

impl SavedMask {
    /// Blocks every signal that can be blocked in the calling thread.
    pub(crate) fn block_all() -> io::Result<SavedMask> {
        change_mask(libc::SIG_SETMASK, &full_set()).map(SavedMask)
    }

    /// Leaves everything blocked.
    pub(crate) fn keep_blocked(self) {
        std::mem::forget(self);
    }
}

impl Drop for SavedMask {
    fn drop(&mut self) {
        let _ = change_mask(libc::SIG_SETMASK, &self.0);
    }
}

/// Sets (or, by `how`, changes) the calling thread's mask; the old one.
pub(crate) fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut old = empty_set();
    // SAFETY: both point to initialised sets that outlive the call.
    match unsafe { libc::pthread_sigmask(how, set, &raw mut old) } {
        0 => Ok(old),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// No signal.
pub(crate) fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: 1. `sigemptyset` initialises the whole set it is given. 2. It cannot fail on a valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Every signal.
fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: 1. `sigfillset` initialises the whole set it is given. 2. It cannot fail on a valid pointer.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// One signal.
pub(crate) fn set_of(signal: libc::c_int) -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: `set` is initialised; a bad signal number is refused, not undefined.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    set
}

/// A descriptor that delivers these signals where they are blocked.
pub(crate) fn signalfd(set: &libc::sigset_t) -> io::Result<EngineFd> {
    EngineFd::make(|| {
        // SAFETY: 1. -1 asks for a new descriptor. 2. `set` is an initialised signal set.
        let number = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if number < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel has just given this number to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    })
}

fn last_errno() -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
