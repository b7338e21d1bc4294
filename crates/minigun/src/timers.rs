//! The time by which waits inside the program go: the system's, or one that a test moves by hand.
//!
//! A thread of a run goes by the run's timers ([`of_this_thread`]), so that what waits need not be told. Who waits for
//! a moment says so ([`wait_until`], [`Timers::waits`]), and is made to [look again](Look) when the time was moved. Worker
//! processes go by the system's time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Who waits is to look again whether something is due.
pub(crate) trait Look: Send + Sync {
    fn look(&self);
}

/// A time that stands still until it is moved.
pub(crate) struct Timers {
    epoch: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    passed: Duration,
    /// The moments that are waited for.
    waits: BTreeMap<u64, Instant>,
    next: u64,
    looking: Vec<Weak<dyn Look>>,
}

impl State {
    fn first_after(&self, now: Instant) -> Option<Instant> {
        self.waits.values().copied().filter(|due| *due > now).min()
    }
}

thread_local! {
    static HERE: RefCell<Option<Arc<Timers>>> = const { RefCell::new(None) };
}

/// From now on this thread goes by these timers; `None`: by the system's.
pub(crate) fn of_this_thread(timers: Option<&Arc<Timers>>) {
    HERE.with(|here| here.replace(timers.cloned()));
}

/// The timers of this thread, if they are not the system's.
pub(crate) fn here() -> Option<Arc<Timers>> {
    // A worker is a copy of the program whose timers nobody moves.
    HERE.with(|here| here.borrow().clone()).filter(|_| !minigun_os::in_worker())
}

/// The time on this thread.
pub(crate) fn now() -> Instant {
    here().map_or_else(Instant::now, |timers| timers.now())
}

/// Waits until woken or until then, by the time of this thread; says whether the time was up.
pub(crate) fn wait_until<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, due: Instant) -> bool {
    let Some(timers) = here() else { return condvar.wait_until(guard, due) };
    // First announced, then looked at: whoever moves the time after that look wakes those behind the guard's lock.
    let _waits = timers.waits(due);
    if timers.now() < due {
        condvar.wait(guard);
    }
    timers.now() >= due
}

/// A moment that is waited for, as long as this is held.
pub(crate) struct Waits {
    timers: Arc<Timers>,
    number: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.timers.state.lock().waits.remove(&self.number);
    }
}

impl Timers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Timers { epoch: Instant::now(), state: Mutex::default(), changed: Condvar::new() })
    }

    /// How far it was moved.
    pub(crate) fn passed(&self) -> Duration {
        self.state.lock().passed
    }

    fn now(&self) -> Instant {
        self.epoch + self.passed()
    }

    /// Says that somebody waits until `due`.
    pub(crate) fn waits(self: &Arc<Self>, due: Instant) -> Waits {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.waits.insert(number, due);
        drop(state);
        self.changed.notify_all();
        Waits { timers: Arc::clone(self), number }
    }

    /// `look` is called whenever the time was moved, as long as it is there.
    pub(crate) fn tell(&self, look: Weak<dyn Look>) {
        let mut state = self.state.lock();
        state.looking.retain(|other| other.strong_count() > 0);
        state.looking.push(look);
    }

    /// Moves the time.
    pub(crate) fn advance(&self, time: Duration) {
        self.move_by(self.state.lock(), time);
    }

    /// Waits until somebody waits for a moment to come, and moves the time on to it. Says how far that was; `None` if
    /// nobody waits until then, by the system's time, or if `ends` says so.
    pub(crate) fn advance_to_next(
        &self,
        until: Option<Instant>,
        ends: impl Fn() -> bool,
    ) -> Option<Duration> {
        let mut state = self.state.lock();
        loop {
            let now = self.epoch + state.passed;
            if ends() {
                return None;
            }
            if let Some(due) = state.first_after(now) {
                let time = due - now;
                self.move_by(state, time);
                return Some(time);
            }
            match until {
                Some(until) if self.changed.wait_until(&mut state, until) => return None,
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Whoever is in [`advance_to_next`](Self::advance_to_next) looks whether that ends.
    pub(crate) fn wake(&self) {
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    fn move_by(&self, mut state: MutexGuard<'_, State>, time: Duration) {
        // Beyond what a clock can show, it stays.
        if let Some(passed) =
            state.passed.checked_add(time).filter(|passed| self.epoch.checked_add(*passed).is_some())
        {
            state.passed = passed;
        }
        let looking: Vec<_> = state.looking.iter().filter_map(Weak::upgrade).collect();
        // With nothing locked: those who wait hold their own lock while they say so.
        drop(state);
        looking.iter().for_each(|look| look.look());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Something that waits for a moment.
    #[derive(Default)]
    struct Waiter {
        lock: Mutex<()>,
        woken: Condvar,
    }

    impl Look for Waiter {
        fn look(&self) {
            let _guard = self.lock.lock();
            self.woken.notify_all();
        }
    }

    #[test]
    fn who_waits_goes_on_when_the_time_was_moved_to_its_moment_and_not_before() {
        let (timers, waiter) = (Timers::new(), Arc::new(Waiter::default()));
        timers.tell(Arc::downgrade(&waiter) as _);
        let (theirs, waits) = (Arc::clone(&timers), Arc::clone(&waiter));
        let thread = thread::spawn(move || {
            of_this_thread(Some(&theirs));
            let due = now() + 2 * HOUR;
            let mut guard = waits.lock.lock();
            while !wait_until(&waits.woken, &mut guard, due) {}
            now() >= due
        });
        assert_eq!(timers.advance_to_next(None, || false), Some(2 * HOUR));
        assert!(thread.join().unwrap());
        assert_eq!(timers.passed(), 2 * HOUR);
        assert_eq!(timers.advance_to_next(Some(Instant::now()), || false), None, "nobody waits any more");
    }

    #[test]
    fn a_moment_that_is_there_is_not_waited_for() {
        let (timers, waiter) = (Timers::new(), Waiter::default());
        of_this_thread(Some(&timers));
        let due = now() + HOUR;
        timers.advance(HOUR);
        assert!(wait_until(&waiter.woken, &mut waiter.lock.lock(), due));
        of_this_thread(None);
        assert!(now() < due, "the system's time has not moved an hour");
    }

    #[test]
    fn a_time_that_no_clock_shows_moves_nothing() {
        let timers = Timers::new();
        timers.advance(Duration::MAX);
        assert_eq!(timers.passed(), Duration::ZERO);
    }
}
