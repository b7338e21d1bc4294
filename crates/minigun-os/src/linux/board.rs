//! Memory that program and workers share: an anonymous mapping made before the fork, seen as atomics.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags};

/// A number of words and a number of bytes, all zero at first.
///
/// A forked child has the same memory, not a copy: what either side stores the other loads. Words and bytes
/// lie apart, so that no place is ever seen through atomics of two sizes. What was stored outlives the death
/// of the storing process. Each process unmaps its own view on drop.
#[derive(Debug)]
pub struct Board {
    start: NonNull<u8>,
    words: usize,
    bytes: usize,
}

impl Board {
    /// Maps a new board of `words` 64-bit words and `bytes` bytes.
    ///
    /// # Errors
    /// `InvalidInput` for a size of zero or beyond the address space; what the kernel says to `mmap`.
    pub fn new(words: usize, bytes: usize) -> io::Result<Board> {
        let length = length(words, bytes)
            .filter(|length| (1..=isize::MAX.unsigned_abs()).contains(length))
            .ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a board of no size, or of too much")
        })?;
        // SAFETY: a null hint lets the kernel choose a place where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Board { start, words, bytes }),
            None => Err(io::Error::other("mmap gave a null mapping")),
        }
    }

    /// The words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: 1. The mapping begins at a page's border, so it is aligned, and holds `words` words.
        // 2. All zeroes, and any other bits, are valid atomics. 3. It stays mapped while `self` is borrowed.
        // 4. It is only ever accessed through shared references to atomics of this size, in all processes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words) }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: 1. The bytes follow the words inside the mapping, whose length was checked. 2. to 4. as
        // for the words.
        unsafe {
            let start = self.start.as_ptr().add(self.words * size_of::<AtomicU64>());
            std::slice::from_raw_parts(start.cast(), self.bytes)
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(length) = length(self.words, self.bytes) {
            // SAFETY: 1. This is the range that was mapped. 2. No reference into it is left: they borrow `self`.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), length) };
        }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through atomics only.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

fn length(words: usize, bytes: usize) -> Option<usize> {
    words.checked_mul(size_of::<AtomicU64>())?.checked_add(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_and_bytes_lie_apart() {
        let board = Board::new(3, 5).unwrap();
        for word in board.words() {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!((board.words().len(), board.bytes().len()), (3, 5));
        assert!(board.bytes().iter().all(|b| b.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Board::new(0, 0).is_err());
        assert!(Board::new(usize::MAX, 1).is_err());
        assert!(Board::new(usize::MAX / 8, 0).is_err());
    }
}
