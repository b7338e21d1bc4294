//! What a signal does in this process: asked, never changed.

use std::io;

use crate::pid::Signal;

/// What happens in this process on a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// What the system does by default.
    Default,
    /// Nothing.
    Ignored,
    /// A handler is run.
    Handled,
}

/// What happens on this signal now.
///
/// # Errors
/// `EINVAL` for a number that is no signal's; `Unsupported` where there are none.
#[cfg(unix)]
pub fn disposition(signal: Signal) -> io::Result<Disposition> {
    // SAFETY: 1. `sigaction` is plain data for which all zeroes is a valid value. 2. A null pointer for the new
    // action asks only.
    let (refused, current) = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal.number(), std::ptr::null(), &raw mut current), current.sa_sigaction)
    };
    match (refused, current) {
        (0, libc::SIG_DFL) => Ok(Disposition::Default),
        (0, libc::SIG_IGN) => Ok(Disposition::Ignored),
        (0, _) => Ok(Disposition::Handled),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What happens on this signal now.
///
/// # Errors
/// `Unsupported`: there are no signals here.
#[cfg(not(unix))]
pub fn disposition(_: Signal) -> io::Result<Disposition> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no signals"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_asked_for_what_it_does() {
        // SIGCONT: nobody in a test's process touches it.
        assert_eq!(disposition(Signal::CONT).unwrap(), Disposition::Default);
        assert!(disposition(Signal::new(-1)).is_err());
    }
}
