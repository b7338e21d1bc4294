//! A fence whose cost is paid by the side that is about to sleep.
//!
//! Two threads that each write one thing and then read the other's need a full fence between the two on both sides, or
//! both may miss the other. Where one side does so for every item and the other only before it sleeps, the kernel can
//! make the second fence on behalf of both (`membarrier`): the first then only keeps the compiler from reordering.

use std::sync::atomic::{self, AtomicU8, Ordering};

/// Whether the kernel does it. Not a lock, which a fork could catch in the making: asking twice does no harm.
static SUPPORT: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

fn expedited() -> bool {
    match SUPPORT.load(Ordering::Relaxed) {
        UNKNOWN => {
            let yes = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
            // A light fence relies on the first answer for its whole life.
            let answer = if yes { YES } else { NO };
            match SUPPORT.compare_exchange(UNKNOWN, answer, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => yes,
                Err(first) => first == YES,
            }
        }
        known => known == YES,
    }
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes three integers, reads and writes no memory of ours, and only orders accesses.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// The frequent side's fence, between its write and its read.
#[derive(Clone, Copy, Debug)]
pub struct LightFence {
    full: bool,
}

impl LightFence {
    /// Prepares the process for it; the first call may take some milliseconds in a program with threads.
    pub fn new() -> Self {
        LightFence { full: !expedited() }
    }

    /// Orders what was written before it ahead of what is read after it, as seen by a thread that makes a
    /// [`heavy_fence`] between its own two.
    #[inline]
    pub fn fence(self) {
        if self.full {
            atomic::fence(Ordering::SeqCst);
        } else {
            atomic::compiler_fence(Ordering::SeqCst);
        }
    }
}

impl Default for LightFence {
    fn default() -> Self {
        LightFence::new()
    }
}

/// The rare side's fence, for both: some microseconds.
pub fn heavy_fence() {
    atomic::fence(Ordering::SeqCst);
    if !expedited() || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        return;
    }
    // A forked child may have to register anew. What was granted once is refused later only by a filter that was put
    // up meanwhile; then the slow way, which needs no registration.
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    if !membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        membarrier(libc::MEMBARRIER_CMD_GLOBAL);
    }
}
