//! A flag that children can wait for: a word of shared memory, and the kernel's queue of those who wait on it.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

/// Raised once, by any process, and seen by all that were forked after it was made. It is no descriptor: a child
/// has it without being given it.
#[derive(Debug)]
pub struct Flag(NonNull<AtomicU32>);

const LENGTH: usize = size_of::<AtomicU32>();

impl Flag {
    /// A new flag, not raised.
    ///
    /// # Errors
    /// What the kernel says to `mmap`.
    pub fn new() -> io::Result<Flag> {
        // SAFETY: a null hint lets the kernel choose a place where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                LENGTH,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        NonNull::new(start.cast()).map(Flag).ok_or_else(|| io::Error::other("mmap gave a null mapping"))
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: 1. The mapping begins at a page's border, so it is aligned, and holds the word. 2. Zeroes, and
        // any other bits, are a valid atomic. 3. It stays mapped while `self` is borrowed. 4. It is only ever
        // accessed through shared references to this atomic, in all processes.
        unsafe { self.0.as_ref() }
    }

    /// Raises it and wakes whoever waits. Raising it again changes nothing.
    pub fn raise(&self) {
        self.word().store(1, Ordering::Release);
        // It can refuse only an address that is not mapped.
        let _ = futex::wake(self.word(), futex::Flags::empty(), i32::MAX.unsigned_abs());
    }

    /// Waits until it is raised.
    ///
    /// # Errors
    /// What the kernel says to `futex`.
    pub fn wait(&self) -> io::Result<()> {
        while self.word().load(Ordering::Acquire) == 0 {
            match futex::wait(self.word(), futex::Flags::empty(), 0, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        // SAFETY: 1. This is the range that was mapped. 2. No reference into it is left: they borrow `self`.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), LENGTH) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through an atomic only.
unsafe impl Send for Flag {}
// SAFETY: as above.
unsafe impl Sync for Flag {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_woken_and_later_comers_do_not_wait() {
        let flag = Flag::new().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flag.wait());
            flag.raise();
            waiting.join().unwrap().unwrap();
        });
        flag.wait().unwrap();
    }
}
