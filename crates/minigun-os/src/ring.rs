//! A ring between one writer and one reader, whose writer can take back what it has not published.
//!
//! Writing puts an item into a slot; publishing moves the tail over it, by one store. So a transaction's outputs can
//! stand in the ring already, invisible to the reader until it commits. Nobody waits here: who waits for room or
//! for items, and how the other tells, is the affair of whoever owns both ends.

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A position of its own cache line (two, for processors that fetch lines in pairs): the ends do not disturb
/// each other.
#[repr(align(128))]
struct Position(AtomicUsize);

/// Positions count items and wrap around; a slot is a position modulo the capacity.
struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Everything before was taken. Moved by the reader.
    head: Position,
    /// Everything before was published. Moved by the writer.
    tail: Position,
}

// SAFETY:
// 1. A slot outside `head..tail` is touched by the writer alone, one inside by the reader alone: there is one of
//    each, neither can be cloned, and each is used by one thread at a time (`&mut`, or `Cell`s that make it `!Sync`).
// 2. The release store of a position, read with acquire by the other side, orders the accesses to a slot that changes
//    sides.
// 3. Items are moved from thread to thread, never shared: `T: Send` is enough.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The end that fills a ring. It is used by one thread at a time.
pub struct RingWriter<T> {
    ring: Arc<Ring<T>>,
    /// Everything before was written. At or behind the tail.
    written: Cell<usize>,
    /// Up to here it may write. Never more than a ring's length ahead of the head.
    until: Cell<usize>,
    /// The ring's, at hand.
    slots: *mut T,
    mask: usize,
}

// SAFETY: the pointer is the ring's own, which lives as long as the writer: the writer is as much `Send` as the ring
// that it holds.
unsafe impl<T: Send> Send for RingWriter<T> {}

/// The end that empties a ring.
pub struct RingReader<T> {
    ring: Arc<Ring<T>>,
}

/// A ring for at least `capacity` items, at least one.
pub fn ring<T>(capacity: usize) -> (RingWriter<T>, RingReader<T>) {
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let [head, tail] = [0, 0].map(|at| Position(AtomicUsize::new(at)));
    let ring = Arc::new(Ring { slots: slots.collect(), head, tail });
    let [written, until] = [0, 0].map(Cell::new);
    let (slots, mask) = (ring.slot(0), ring.slots.len() - 1);
    (RingWriter { ring: Arc::clone(&ring), written, until, slots, mask }, RingReader { ring })
}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, position: usize) -> *mut T {
        // SAFETY:
        // 1. The length is a power of two, so the masked index is within it.
        // 2. A raw pointer is made, no reference: what may be done with it is said where it is used.
        unsafe { self.slots.get_unchecked(position & (self.slots.len() - 1)).get().cast() }
    }
}

impl<T> RingWriter<T> {
    /// Writes an item that the reader does not see before [`publish`](Self::publish). If no room was
    /// [granted](Self::grant) for it, the item comes back.
    #[inline]
    pub fn write(&self, item: T) -> Result<(), T> {
        let written = self.written.get();
        if written == self.until.get() {
            return Err(item);
        }
        // SAFETY:
        // 1. `written` is at or behind the tail and, before `until`, less than a ring's length ahead of the head: the
        //    slot is the writer's, and holds nothing that would have to be dropped.
        // 2. The acquire load of the head in `room` ordered the reader's last access to the slot before this one.
        // 3. The masked index is within the slots, one behind the other from the first.
        unsafe { self.slots.add(written & self.mask).write(item) };
        self.written.set(written.wrapping_add(1));
        Ok(())
    }

    /// Lets so many more items be written, or as many as there is room for; gives their number. What was granted before
    /// and not used is granted no more.
    #[cold]
    pub fn grant(&self, most: usize) -> usize {
        let granted = most.min(self.room());
        self.until.set(self.written.get().wrapping_add(granted));
        granted
    }

    /// For how many items there is room.
    pub fn room(&self) -> usize {
        let head = self.ring.head.0.load(Ordering::Acquire);
        self.mask + 1 - self.written.get().wrapping_sub(head)
    }

    /// Writes what `items` gives, each published before the next one is asked for, as long as there is an item and granted
    /// room, and `goes_on` says so after each.
    ///
    /// # Panics
    ///
    /// If `items` itself writes here.
    #[inline]
    pub fn feed(&self, items: &mut impl Iterator<Item = T>, mut goes_on: impl FnMut() -> bool) {
        // Kept at hand: the next item need not wait for what was stored for the last one.
        let (mut written, until) = (self.written.get(), self.until.get());
        while written != until
            && let Some(item) = items.next()
        {
            assert!(self.written.get() == written, "the ring is being written to already");
            // SAFETY: as in `write`; nothing was written since `written` was looked at, and where the head is now, there is
            // no less room than when `until` was granted.
            unsafe { self.slots.add(written & self.mask).write(item) };
            written = written.wrapping_add(1);
            self.written.set(written);
            self.ring.tail.0.store(written, Ordering::Release);
            if !goes_on() {
                break;
            }
        }
    }

    /// How many items were written and not published.
    #[inline]
    pub fn unpublished(&self) -> usize {
        self.written.get().wrapping_sub(self.published())
    }

    /// How many items were ever written and not taken back; it wraps around.
    #[inline]
    pub fn written(&self) -> usize {
        self.written.get()
    }

    /// How many items were ever published; it wraps around.
    #[inline]
    pub fn published(&self) -> usize {
        // Nobody else moves it.
        self.ring.tail.0.load(Ordering::Relaxed)
    }

    /// Lets the reader see everything written.
    #[inline]
    pub fn publish(&self) {
        self.ring.tail.0.store(self.written.get(), Ordering::Release);
    }

    /// Takes back what was written last, until `keep` items are unpublished; drops it.
    pub fn take_back(&self, keep: usize) {
        while self.unpublished() > keep {
            let last = self.written.get().wrapping_sub(1);
            // First, so that an item whose `drop` panics is not dropped again.
            self.written.set(last);
            // SAFETY: the slot was written, is not published, and is not counted as written any more. The item is moved
            // out before it is dropped: its `drop` may write here.
            drop(unsafe { self.ring.slot(last).read() });
        }
    }
}

impl<T> Drop for RingWriter<T> {
    fn drop(&mut self) {
        let (published, written) = (self.published(), self.written.get());
        for at in 0..written.wrapping_sub(published) {
            // SAFETY: the slot was written and is not published: nobody else will drop it.
            unsafe { self.ring.slot(published.wrapping_add(at)).drop_in_place() };
        }
    }
}

impl<T> RingReader<T> {
    /// How many items are there to be taken.
    #[inline]
    pub fn len(&self) -> usize {
        let head = self.ring.head.0.load(Ordering::Relaxed);
        self.ring.tail.0.load(Ordering::Acquire).wrapping_sub(head)
    }

    /// Whether there is nothing to be taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the writer is gone: what is there now is all there will be.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.ring) == 1
    }

    /// Moves up to `most` items to the end of `into`, the oldest first; gives their number.
    pub fn take(&mut self, into: &mut Vec<T>, most: usize) -> usize {
        let head = self.ring.head.0.load(Ordering::Relaxed);
        let count = self.len().min(most);
        into.reserve(count);
        let start = self.ring.slot(head);
        let until_end = self.ring.slots.len() - (head & (self.ring.slots.len() - 1));
        let first = count.min(until_end);
        // SAFETY:
        // 1. The slots of `head..head + count` are published, and the acquire load of the tail in `len` ordered the
        //    writer's accesses before these.
        // 2. `first` of them are in a row from `start`, the others in a row from the ring's beginning.
        // 3. `reserve` made room for `count` items behind the vector's end, which is no part of the ring.
        // 4. The items are moved: the length grows over them, and the head passes them before anybody else can read
        //    or write their slots.
        unsafe {
            let to = into.as_mut_ptr().add(into.len());
            ptr::copy_nonoverlapping(start, to, first);
            ptr::copy_nonoverlapping(self.ring.slot(0), to.add(first), count - first);
            into.set_len(into.len() + count);
        }
        self.ring.head.0.store(head.wrapping_add(count), Ordering::Release);
        count
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) = (*self.head.0.get_mut(), *self.tail.0.get_mut());
        for at in 0..tail.wrapping_sub(head) {
            // SAFETY: the slot is published and was not taken, and both ends are gone.
            unsafe { self.slot(head.wrapping_add(at)).drop_in_place() };
        }
    }
}
