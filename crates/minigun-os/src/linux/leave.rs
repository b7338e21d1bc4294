//! How a child ends: standard streams flushed within a bound, then `_exit`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicI32, Ordering};

use super::signals::{change_mask, set_of};

/// Whole seconds given to flushing: a lock that is never let go or a full pipe must not keep a child alive.
const FLUSH_SECONDS: libc::c_uint = 2;

/// Flushes standard output and error for at most 2 s, then ends the process with the code's low 8 bits.
/// Takes over `SIGALRM` and the process's alarm clock.
pub(crate) fn leave(code: i32) -> ! {
    CODE.store(code, Ordering::Relaxed);
    arm();
    let _ = io::stdout().lock().flush();
    let _ = io::stderr().lock().flush();
    // SAFETY: `_exit` has no precondition and does not return.
    unsafe { libc::_exit(code) }
}

static CODE: AtomicI32 = AtomicI32::new(0);

extern "C" fn out_of_time(_signal: libc::c_int) {
    // SAFETY: `_exit` and a load of an atomic are all that is done here; both are async-signal-safe.
    unsafe { libc::_exit(CODE.load(Ordering::Relaxed)) }
}

fn arm() {
    let handler: extern "C" fn(libc::c_int) = out_of_time;
    // SAFETY: 1. `sigaction` is plain data for which all zeroes is a valid value (no flags, empty mask).
    // 2. The handler has the signature that goes with no `SA_SIGINFO`, and is async-signal-safe.
    // 3. `alarm` has no precondition.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::alarm(FLUSH_SECONDS);
    }
    let _ = change_mask(libc::SIG_UNBLOCK, &set_of(libc::SIGALRM));
}
