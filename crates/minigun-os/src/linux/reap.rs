//! Taking ended children off the kernel's books, with what they had used.

use std::io;
use std::time::Duration;

use crate::ending::{Ending, Reaped};
use crate::pid::{Pid, Signal};

/// A child that has ended, left on the books: its number (and its process group's) cannot be reused until
/// [`reap`] takes it, so this is the moment to kill what is left of its group. `None` if no child has ended.
///
/// # Errors
/// What the kernel says to `waitid`; having no children is no error.
pub fn ended_child() -> io::Result<Option<Pid>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: 1. Zeroed `siginfo_t` is valid plain data, and a zero pid is how "none" is told from an
        // end. 2. The pointer outlives the call. 3. `si_pid` is the field that `waitid` fills.
        let (result, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(libc::P_ALL, 0, &raw mut info, flags);
            (result, info.si_pid())
        };
        if result == 0 {
            return Ok(u32::try_from(pid).ok().and_then(Pid::new));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINTR) => {}
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            error => return Err(error),
        }
    }
}

/// Reaps any child that has ended; `None` if none has.
///
/// # Errors
/// What the kernel says to `wait4`; having no children is no error.
pub fn reap_any() -> io::Result<Option<Reaped>> {
    wait4(-1, libc::WNOHANG)
}

/// Reaps this child: waits for its end if `wait`, else `None` if it has not ended.
///
/// A child that somebody else reaped is an [`Ending::Unknown`].
///
/// # Errors
/// What the kernel says to `wait4`.
pub fn reap(pid: Pid, wait: bool) -> io::Result<Option<Reaped>> {
    match wait4(pid.raw(), if wait { 0 } else { libc::WNOHANG }) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
            Ok(Some(Reaped { pid, ending: Ending::Unknown, max_rss: 0, cpu: Duration::ZERO }))
        }
        other => other,
    }
}

fn wait4(target: libc::pid_t, flags: libc::c_int) -> io::Result<Option<Reaped>> {
    loop {
        // SAFETY: 1. Zeroed `rusage` is valid plain data. 2. Both pointers outlive the call.
        let (result, status, used) = unsafe {
            let mut status = 0;
            let mut used: libc::rusage = std::mem::zeroed();
            let result = libc::wait4(target, &raw mut status, flags, &raw mut used);
            (result, status, used)
        };
        match result {
            0 => return Ok(None),
            pid if pid > 0 => {
                return Ok(u32::try_from(pid).ok().and_then(Pid::new).map(|pid| of(pid, status, &used)));
            }
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINTR) => {}
                error if error.raw_os_error() == Some(libc::ECHILD) && target == -1 => return Ok(None),
                error => return Err(error),
            },
        }
    }
}

fn of(pid: Pid, status: libc::c_int, used: &libc::rusage) -> Reaped {
    let ending = if libc::WIFEXITED(status) {
        Ending::Code(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Ending::Signal { signal: Signal::new(libc::WTERMSIG(status)), core: libc::WCOREDUMP(status) }
    } else {
        Ending::Unknown
    };
    let kib = u64::try_from(used.ru_maxrss).unwrap_or(0);
    Reaped { pid, ending, max_rss: kib * 1024, cpu: duration(used.ru_utime) + duration(used.ru_stime) }
}

fn duration(time: libc::timeval) -> Duration {
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + Duration::from_micros(micros)
}
