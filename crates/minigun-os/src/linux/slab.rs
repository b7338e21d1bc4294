//! Memory through which long runs of bytes pass from one process to another: copied in by one, out by the other.
//!
//! It is one shared anonymous mapping made before the fork, like a [`Board`](crate::Board): there is no descriptor to
//! pass, no file to be shortened by somebody, so no read of it can fault. Only what was touched takes memory.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::param::page_size;

/// The mapping of all slabs that were made together.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// This process, and what it forks, may only read.
    sealed: AtomicBool,
}

/// A part of the shared memory that nobody else in this process has.
///
/// A forked child has a slab of its own over the same memory. Who writes and who reads is for the processes to agree
/// upon; they tell each other places as numbers, and a wrong number is refused or gives wrong bytes, no more.
#[derive(Debug)]
pub struct Slab {
    mapping: Arc<Mapping>,
    range: Range<usize>,
    /// So much from the beginning has this process mapped already.
    mapped: usize,
}

impl Slab {
    /// Maps `count` slabs of `size` bytes each, rounded up to pages, all zero at first.
    ///
    /// # Errors
    /// `InvalidInput` for no size, or one beyond the address space; what the kernel says to `mmap`.
    pub fn make(count: usize, size: usize) -> io::Result<Vec<Slab>> {
        let size = size.checked_next_multiple_of(page_size());
        let length = size
            .and_then(|size| size.checked_mul(count))
            .filter(|length| (1..=isize::MAX.unsigned_abs()).contains(length))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "slabs of no size, or of too much"))?;
        // SAFETY: a null hint lets the kernel choose a place where nothing is mapped.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave a null mapping"))?;
        let mapping = Arc::new(Mapping { start, length, sealed: AtomicBool::new(false) });
        let size = length / count;
        let slab = |at| Slab { mapping: Arc::clone(&mapping), range: at * size..(at + 1) * size, mapped: 0 };
        Ok((0..count).map(slab).collect())
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.range.len()
    }

    /// From now on this process, and what it forks, only reads this slab and those made with it.
    ///
    /// # Errors
    /// What the kernel says to `mprotect`.
    pub fn seal(&mut self) -> io::Result<()> {
        let Mapping { start, length, .. } = *self.mapping;
        self.mapping.sealed.store(true, Ordering::SeqCst);
        // SAFETY: 1. This is the range that was mapped. 2. Nothing writes to it from now on: `write` asks first, and
        // one that asked before is on another slab, whose owner in this process does as this one: a slab is sealed by
        // a process before it has threads that use the others, or after all writing; a write that is late ends the
        // process by a fault, and touches nothing.
        unsafe { rustix::mm::mprotect(start.as_ptr().cast(), length, rustix::mm::MprotectFlags::READ) }?;
        Ok(())
    }

    /// Copies these bytes to `at`. `false` if they would not lie inside, if it is sealed, or if there is no memory.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.place(at..at.saturating_add(bytes.len())) else { return false };
        if self.mapping.sealed.load(Ordering::SeqCst)
            || !self.map(at + bytes.len(), Advice::LinuxPopulateWrite)
        {
            return false;
        }
        // SAFETY: 1. `place` found the range inside the mapping, which lives as long as `self`. 2. It is writable: not
        // sealed. 3. `bytes` is not in it, for no reference into the mapping is ever made. 4. No other thread of this
        // process reads or writes there: this slab's part of it is reached through `self` alone, and that is borrowed
        // exclusively. 5. Another process may read there meanwhile, if it breaks the agreement; it then has some of the
        // old and some of the new bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        true
    }

    /// Appends a copy of what is there. `false`, and nothing was appended, if that does not lie inside, or if there is
    /// no memory.
    pub fn read(&mut self, range: Range<usize>, into: &mut Vec<u8>) -> bool {
        let Some(place) = self.place(range.clone()) else { return false };
        if into.try_reserve(range.len()).is_err() || !self.map(range.end, Advice::LinuxPopulateRead) {
            return false;
        }
        large_pages(into);
        let length = into.len();
        // SAFETY: 1. `place` found the range inside the mapping, which lives as long as `self` and is readable.
        // 2. The vector has room for so many bytes behind its length, and does not overlap a mapping of its own.
        // 3. No other thread of this process writes there, as for `write`. 4. Another process may write there
        // meanwhile, if it breaks the agreement: the copy then holds some bytes or others, each of them a valid
        // `u8`. They are read once, here, and everything that is decided is decided by the copy. 5. So the bytes up
        // to the new length are initialised.
        unsafe {
            std::ptr::copy_nonoverlapping(place.as_ptr(), into.as_mut_ptr().add(length), range.len());
            into.set_len(length + range.len());
        }
        true
    }

    /// Gives its memory back to the system; it is zero then, in all processes.
    ///
    /// # Errors
    /// What the kernel says to `madvise`; it is refused where it is sealed.
    pub fn clear(&mut self) -> io::Result<()> {
        self.mapped = 0;
        let Some(place) = self.place(0..self.size()) else { return Ok(()) };
        // SAFETY: 1. The range is inside the mapping. 2. No reference into it exists. 3. What others read there
        // afterwards are zeroes, which are valid bytes.
        unsafe { rustix::mm::madvise(place.as_ptr().cast(), self.size(), Advice::LinuxRemove) }?;
        Ok(())
    }

    fn place(&self, range: Range<usize>) -> Option<NonNull<u8>> {
        if range.start > range.end || range.end > self.size() {
            return None;
        }
        // SAFETY: the slab's range is inside the mapping, and this one inside the slab's.
        Some(unsafe { self.mapping.start.add(self.range.start + range.start) })
    }

    /// Has the kernel map everything up to `end`, in one call instead of a fault for each page, and says `false` if
    /// there is no memory for it, where a fault would be a signal.
    fn map(&mut self, end: usize, advice: Advice) -> bool {
        if end <= self.mapped {
            return true;
        }
        let end = end.next_multiple_of(page_size()).min(self.size());
        let Some(place) = self.place(self.mapped..end) else { return false };
        // SAFETY: 1. The range is inside the mapping. 2. This changes no byte of it.
        match unsafe { rustix::mm::madvise(place.as_ptr().cast(), end - self.mapped, advice) } {
            // An old kernel does not know the advice: then the pages come one by one.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {
                self.mapped = end;
                true
            }
            Err(_) => false,
        }
    }
}

/// A large page, which takes one fault where small ones take hundreds.
const LARGE_PAGE: usize = 2 << 20;

/// Asks for large pages where a long run is about to fill them, if they are to be had for the asking: the first touch of
/// its pages would cost more than the run's copy. What is not whole is left alone, and a short run, whose memory has
/// been in use before and is there already.
fn large_pages(into: &mut Vec<u8>) {
    let room = into.spare_capacity_mut();
    let start = room.as_mut_ptr().align_offset(LARGE_PAGE);
    let length = room.len().saturating_sub(start) / LARGE_PAGE * LARGE_PAGE;
    if room.len() >= 4 * LARGE_PAGE && length > 0 {
        // SAFETY: 1. The range is inside the vector's own memory. 2. This changes no byte of it. Refused, pages are small.
        let _ = unsafe {
            rustix::mm::madvise(room.as_mut_ptr().add(start).cast(), length, Advice::LinuxHugepage)
        };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: 1. This is the range that was mapped. 2. No slab of it is left, and there never was a reference.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread; it is reached through slabs, each a part of its own.
unsafe impl Send for Mapping {}
// SAFETY: as above; what is shared are its place, its length, and an atomic.
unsafe impl Sync for Mapping {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(slab: &mut Slab, range: Range<usize>) -> Option<Vec<u8>> {
        let mut bytes = b"before".to_vec();
        let found = slab.read(range, &mut bytes);
        assert_eq!(&bytes[..6], b"before");
        assert!(found || bytes.len() == 6);
        found.then(|| bytes.split_off(6))
    }

    #[test]
    fn what_was_written_is_read_and_each_slab_is_apart() {
        let mut slabs = Slab::make(2, 5000).unwrap();
        let mut second = slabs.pop().unwrap();
        let first = &mut slabs[0];
        assert_eq!((first.size(), second.size()), (8192, 8192));
        assert!(first.write(8189, b"end") && second.write(0, b"begin"));
        assert_eq!(read(first, 8189..8192).unwrap(), b"end");
        assert_eq!(read(&mut second, 0..6).unwrap(), b"begin\0");
        assert_eq!(read(first, 0..0).unwrap(), b"");
        first.clear().unwrap();
        assert_eq!(read(first, 8189..8192).unwrap(), b"\0\0\0");
        assert_eq!(read(&mut second, 0..5).unwrap(), b"begin");
    }

    #[test]
    fn what_is_outside_is_refused() {
        let mut slab = Slab::make(1, 4096).unwrap().pop().unwrap();
        assert!(!slab.write(4094, b"too long") && !slab.write(usize::MAX, b"far"));
        #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
        for range in [0..4097, 4096..5000, 7..3, usize::MAX - 3..usize::MAX] {
            assert_eq!(read(&mut slab, range), None);
        }
    }

    #[test]
    fn what_is_sealed_is_only_read() {
        let mut slabs = Slab::make(2, 4096).unwrap();
        assert!(slabs[1].write(1, b"x"));
        slabs[0].seal().unwrap();
        assert!(!slabs[1].write(1, b"y"));
        assert_eq!(read(&mut slabs[1], 1..2).unwrap(), b"x");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Slab::make(0, 1).is_err() && Slab::make(1, 0).is_err());
        assert!(Slab::make(2, usize::MAX).is_err() && Slab::make(usize::MAX, 4096).is_err());
    }
}
