//! An allocator that knows how much is in use, so that a target can tell what reading some bytes took.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Measured;

#[global_allocator]
static ALLOCATOR: Measured = Measured;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn took(size: usize) {
    let used = USED.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(used, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; what is added counts and allocates nothing.
unsafe impl GlobalAlloc for Measured {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller keeps to what `alloc` asks of it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to what `dealloc` asks of it.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A buffer offers a read this much room, and a list of unknown items is begun with this much.
const CONSTANT: usize = 4 << 20;
/// A short text costs a pointer, a length and a capacity, and a list doubles when it is full.
const FACTOR: usize = 100;

/// Runs `f` on what was received.
///
/// # Panics
/// If `f` had more memory in use than what it was given explains.
pub fn within_bounds(received: &[u8], f: impl FnOnce(&[u8])) {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    f(received);
    let (taken, length) = (PEAK.load(Ordering::Relaxed).saturating_sub(before), received.len());
    assert!(taken <= FACTOR * length + CONSTANT, "{taken} bytes in use for {length} bytes received");
}
