//! A lock that is as good as free for one side, and dear for the other, which takes it rarely.
//!
//! The owner says that it is inside and looks whether the guest wants to be: two plain accesses. The guest says that it
//! wants to be, makes a [`heavy_fence`] for both sides, and looks whether the owner is inside. One of the two sees the
//! other: the owner then waits for the guest, the guest goes away.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::system::{LightFence, heavy_fence};

struct Biased<T> {
    /// The owner is inside, or about to be.
    inside: AtomicBool,
    /// The guest is inside, or about to be.
    wanted: AtomicBool,
    /// Held by the guest, and by an owner that had to wait for it.
    gate: Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one side at a time (see `BiasedOwner::lock`, `BiasedGuest::try_lock`), and moves from
// thread to thread only: `T: Send` is enough.
unsafe impl<T: Send> Sync for Biased<T> {}

/// The side for which the lock costs next to nothing.
pub struct BiasedOwner<T> {
    lock: Arc<Biased<T>>,
    light: LightFence,
}

/// The side that takes the lock rarely.
pub struct BiasedGuest<T>(Arc<Biased<T>>);

/// The value, while one side is inside.
pub struct BiasedGuard<'a, T> {
    lock: &'a Biased<T>,
    /// `None`: the owner's, without having waited.
    gate: Option<MutexGuard<'a, ()>>,
    flag: &'a AtomicBool,
}

/// A value with a lock around it, as its two sides.
pub fn biased<T>(value: T) -> (BiasedOwner<T>, BiasedGuest<T>) {
    let [inside, wanted] = [false, false].map(AtomicBool::new);
    let lock = Arc::new(Biased { inside, wanted, gate: Mutex::new(()), value: UnsafeCell::new(value) });
    (BiasedOwner { lock: Arc::clone(&lock), light: LightFence::new() }, BiasedGuest(lock))
}

impl<T> BiasedOwner<T> {
    /// Goes inside; waits while the guest is.
    #[inline]
    pub fn lock(&mut self) -> BiasedGuard<'_, T> {
        let lock = &*self.lock;
        lock.inside.store(true, Ordering::Relaxed);
        self.light.fence();
        // Acquire: what the guest did before it went away.
        let gate = if lock.wanted.load(Ordering::Acquire) { Some(lock.wait()) } else { None };
        BiasedGuard { lock, gate, flag: &lock.inside }
    }
}

impl<T> Biased<T> {
    #[cold]
    fn wait(&self) -> MutexGuard<'_, ()> {
        self.inside.store(false, Ordering::Release);
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> BiasedGuest<T> {
    /// Goes inside, unless the owner is.
    pub fn try_lock(&mut self) -> Option<BiasedGuard<'_, T>> {
        let lock = &*self.0;
        let gate = lock.gate.lock().unwrap_or_else(PoisonError::into_inner);
        lock.wanted.store(true, Ordering::Relaxed);
        heavy_fence();
        // Acquire: what the owner did before it left.
        if lock.inside.load(Ordering::Acquire) {
            lock.wanted.store(false, Ordering::Release);
            return None;
        }
        Some(BiasedGuard { lock, gate: Some(gate), flag: &lock.wanted })
    }
}

impl<T> Drop for BiasedGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Before the gate opens. Of an owner that waited it was false all the time.
        self.flag.store(false, Ordering::Release);
        self.gate = None;
    }
}

impl<T> Deref for BiasedGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `deref_mut`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for BiasedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has a reference to the value while this guard lives.
        // 1. Each side has one guard at a time, which borrows its handle mutably; the handles cannot be cloned.
        // 2. Guards of both sides that hold the gate exclude each other by it.
        // 3. An owner without the gate stored `inside` and then did not see `wanted`; a guest stored `wanted` and then
        //    did not see `inside`. The light and the heavy fence between the two accesses of either side let at least
        //    one of them see the other, so there is no such pair.
        // 4. Who comes after the other side reads, with acquire, the flag that it stored with release (or takes the
        //    gate that it let go): what it did to the value is seen.
        unsafe { &mut *self.lock.value.get() }
    }
}
