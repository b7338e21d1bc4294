//! A bounded queue that moves runs of items: what an idle consumer finds is taken at once, however little.
//!
//! Every edge of the graph is one such queue. Senders are counted: the queue has ended when the last one is
//! dropped and everything was taken. It also holds the items that wait for another attempt, so that they
//! count against the same limit and any worker can take them when they are due.
//!
//! Each sender has a lane of its own, a ring that it alone fills: it publishes an item by one store and looks at one
//! flag, and takes the lock only if somebody waits. Consumers empty the lanes under the lock, a run at a time. Who is
//! about to sleep raises the flag, makes a fence for both sides, and looks once more.
//!
//! A queue in a loop ends with the loop (see [`in_flight`](crate::in_flight)), and only senders from outside the loop keep
//! it open.

mod in_loop;
mod patience;
mod sender;
mod state;

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::defaults;
use crate::meter::{self, Waits};
use crate::stats::Backlog;
use minigun_os::Event;

use crate::gate::{Admitted, Gate};
use crate::in_flight::InFlight;
use crate::sync::{Condvar, Mutex};
use crate::timers;
use in_loop::Joined;
use patience::{Crumbs, Heels, Patience};
pub(crate) use sender::{Hold, Sender, Straight};
use state::{Later, State};

/// The run was stopped: the queue takes and gives nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What a consumer got.
pub(crate) enum Pop<T> {
    /// Items were appended to the caller's buffer; the first of them has this number.
    Run(u64),
    /// An item that failed before and is due again.
    Again(Kept<T>),
    /// The loop is at rest: what was gathered is to be let go, then [`rested`](Queue::rested) told.
    Rest,
    /// Nothing more will come.
    End,
    /// Nothing there now (not from `pop`); look again when the event was set or at the given time.
    Empty(Option<Instant>),
}

/// An item with its number in the queue and the attempts made at it so far.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    pub(crate) item: T,
    pub(crate) number: u64,
    pub(crate) attempts: u32,
}

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    not_full: Condvar,
    /// Where consumers nap that are not to be called for each item.
    nap: Condvar,
    /// Somebody naps.
    napping: AtomicBool,
    limit: usize,
    /// How many more items may be queued. Senders take some of it ahead; below zero by what came back.
    room: AtomicIsize,
    /// How much of it a sender may hold while it does nothing with it: so little that all together never hold all.
    ahead: AtomicUsize,
    /// Somebody waits for items, or the queue was stopped: whoever publishes must look closer.
    attention: AtomicBool,
    /// Whether taken items may come back, so that the end waits for them.
    returns: bool,
    /// Counted by the senders themselves, to be compared with what was taken.
    sent: AtomicU64,
    /// Taken items that are done, or were never here ([`passed_by`](Self::passed_by)).
    done: AtomicU64,
    /// Items that will come here, and count against the limit for whoever sends from outside the loop.
    behind: AtomicUsize,
    joined: OnceLock<Joined>,
    /// What may be done instead of setting an event.
    instead: OnceLock<Instead>,
}

/// Says whether an event need not be set.
type Instead = Box<dyn Fn(&Arc<Event>) -> bool + Send + Sync>;

impl<T> Queue<T> {
    /// A queue for at most `limit` items (at least one). Where `returns`, every taken item must be answered by
    /// [`done`](Self::done) or [`again`](Self::again), and the queue has not ended before.
    pub(crate) fn new(limit: usize, returns: bool) -> Self {
        let limit = limit.clamp(1, isize::MAX as usize);
        Queue {
            state: Mutex::new(State::new()),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            nap: Condvar::new(),
            napping: AtomicBool::new(false),
            limit,
            room: AtomicIsize::new(limit as isize),
            ahead: AtomicUsize::new(0),
            attention: AtomicBool::new(false),
            returns,
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            behind: AtomicUsize::new(0),
            joined: OnceLock::new(),
            instead: OnceLock::new(),
        }
    }

    /// As [`new`](Self::new), and takes are held to what the gate admits. Attempts after the first are not.
    pub(crate) fn gated(limit: usize, returns: bool, gate: Option<Gate>) -> Self {
        let mut queue = Queue::new(limit, returns);
        queue.state.get_mut().gate = gate;
        queue
    }

    /// Queues for items that are numbered as those of one, and which together hold at most `limit` (at least one each).
    /// They keep one rate together.
    pub(crate) fn lanes(count: usize, limit: usize, returns: bool, gate: Option<&Gate>) -> Vec<Self> {
        let numbers = Arc::new(AtomicU64::new(0));
        let lane = |_| {
            let mut queue = Queue::gated(limit / count.max(1), returns, gate.cloned());
            queue.state.get_mut().numbers = Some(Arc::clone(&numbers));
            queue
        };
        (0..count).map(lane).collect()
    }

    /// Behind a gate with a window: all taken items below `number` were let go in their order, and are
    /// [`done`](Self::done) by that; `full` if too much waits for the next of them.
    pub(crate) fn release(&self, number: u64, full: bool) {
        let done = {
            let mut state = self.state.lock();
            let released = state.gate.as_mut().map(|gate| gate.release(number, full));
            let (done, awaited) = released.unwrap_or_default();
            if awaited {
                self.wake_all(&mut state);
            }
            done
        };
        if done > 0 {
            self.done(done);
        }
    }

    /// Keeps the queue open without ever sending.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold<T> {
        self.state.lock().senders += 1;
        Hold { queue: Arc::clone(self), _outside: self.in_flight().map(InFlight::from_outside) }
    }

    /// How many items one sender's lane is for.
    fn lane_items(&self) -> usize {
        let most = defaults::LANE_BYTES / size_of::<T>().max(1);
        self.limit.min(most.max(defaults::LANE_ITEMS))
    }

    fn count_senders(&self, senders: usize) {
        self.ahead.store(self.limit / (8 * senders.max(8)), Ordering::Relaxed);
    }

    /// Takes up to `max` ready items into `run`, or one item that is due again; waits until there is
    /// something, or the end.
    pub(crate) fn pop(&self, run: &mut Vec<T>, max: usize) -> Pop<T> {
        self.pop_until(run, max, None, || {})
    }

    /// As [`pop`](Self::pop), but when there is nothing at that time it is `Empty`. Calls `before_wait` if it has to wait.
    pub(crate) fn pop_until(
        &self,
        run: &mut Vec<T>,
        max: usize,
        until: Option<Instant>,
        before_wait: impl FnOnce(),
    ) -> Pop<T> {
        let mut state = self.state.lock();
        let (mut announced, mut patience, mut before_wait) = (false, Patience::default(), Some(before_wait));
        let (mut _wait, mut napped, mut looks) = (None, false, 0);
        // Who naps lets enough gather; who sleeps for want of room is waited for by nobody.
        if max == usize::MAX
            && !state.crumbs.naps()
            && state.blocked == 0
            && let Some(until) = state.heels.gather(state.ready(), self.lane_items(), Instant::now())
        {
            drop(state);
            let gathers = meter::wait(Waits::ForInput);
            Heels::wait(until);
            drop(gathers);
            // In vain, for it could not take at once: whom naps would help is to find them.
            looks = 1;
            state = self.state.lock();
        }
        loop {
            let before = run.len();
            match self.take(&mut state, run, max) {
                Pop::Empty(None) if state.crumbs.naps() && !napped && _wait.is_some() && until.is_none() => {
                    self.napping.store(true, Ordering::Relaxed);
                    self.nap.wait_for(&mut state, Crumbs::NAP);
                    self.napping.store(false, Ordering::Relaxed);
                    napped = true;
                    let ready = state.ready();
                    state.crumbs.napped(ready);
                }
                Pop::Empty(_) if patience.lasts() => {
                    drop(state);
                    if let Some(before_wait) = before_wait.take() {
                        before_wait();
                        _wait = Some(meter::wait(Waits::ForInput));
                    }
                    patience.pause();
                    state = self.state.lock();
                }
                // First announced, then looked again: whoever publishes after that look will call.
                Pop::Empty(_) if !announced => {
                    self.announce();
                    announced = true;
                }
                Pop::Empty(due) => {
                    if until.is_some_and(|until| until <= timers::now()) {
                        return Pop::Empty(due);
                    }
                    state.idle += 1;
                    match due.into_iter().chain(until).min() {
                        Some(due) => drop(timers::wait_until(&self.not_empty, &mut state, due)),
                        None => self.not_empty.wait(&mut state),
                    }
                    // Whose call it was does not matter: one that woke by itself answers for another.
                    match state.called.checked_sub(1) {
                        Some(called) => state.called = called,
                        None => state.idle -= 1,
                    }
                    announced = false;
                }
                got => {
                    state.crumbs.found(run.len() - before, looks + patience.looks());
                    if let (usize::MAX, Pop::Run(_)) = (max, &got) {
                        state.heels.took(Instant::now());
                    }
                    self.made_room(state);
                    return got;
                }
            }
        }
    }

    /// As [`pop`](Self::pop) without waiting, and at most the `share`-th part of what is there. When it is
    /// `Empty`, `event` is set at the next change; but not for who wants no fewer than some, and looks again by itself.
    pub(crate) fn try_pop(
        &self,
        run: &mut Vec<T>,
        (least, max): (usize, usize),
        share: usize,
        event: &Arc<Event>,
    ) -> Pop<T> {
        let mut state = self.state.lock();
        let mut announced = least > 0;
        loop {
            let max = max.min(state.ready().div_ceil(share.max(1)));
            match self.take(&mut state, run, if max < least { 0 } else { max }) {
                // It stands among those to be called since the last time, and whoever publishes knows.
                Pop::Empty(due) if announced || self.is_announced(&state, event) => return Pop::Empty(due),
                Pop::Empty(_) => {
                    if !state.events.iter().any(|e| Arc::ptr_eq(e, event)) {
                        state.events.push(Arc::clone(event));
                    }
                    self.announce();
                    announced = true;
                }
                got => {
                    // It is awake: what comes next may be for another.
                    state.events.retain(|other| !Arc::ptr_eq(other, event));
                    self.made_room(state);
                    return got;
                }
            }
        }
    }

    /// The caller is about to wait: from now on it is either seen by those who publish, or sees what they did.
    fn announce(&self) {
        self.attention.store(true, Ordering::Relaxed);
        minigun_os::heavy_fence();
    }

    /// Whether this event will be set by whoever publishes. The attention stays from an announcement on as long as an
    /// event waits: a publisher that did not see it was over before that, and what it brought has been seen.
    fn is_announced(&self, state: &State<T>, event: &Arc<Event>) -> bool {
        self.attention.load(Ordering::Relaxed) && state.events.iter().any(|other| Arc::ptr_eq(other, event))
    }

    /// Whether somebody still has to be called.
    fn attend(&self, state: &State<T>) {
        let attention = state.stopped || state.idle > 0 || !state.events.is_empty();
        // A store that changes nothing would still take the word from those who publish.
        if self.attention.load(Ordering::Relaxed) != attention {
            self.attention.store(attention, Ordering::Relaxed);
        }
    }

    fn take(&self, state: &mut State<T>, run: &mut Vec<T>, max: usize) -> Pop<T> {
        if state.stopped {
            return Pop::End;
        }
        let due = state.later.peek().map(|later| later.due);
        if due.is_some_and(|due| state.hurried || due <= timers::now())
            && let Some(later) = state.later.pop()
        {
            state.out += 1;
            self.room.fetch_add(1, Ordering::Relaxed);
            return Pop::Again(later.kept);
        }
        let (first, mut max) = (state.taken, max);
        if state.gate.is_some() {
            // The gate counts what it admits as taken: it is only asked for what there is.
            max = max.min(state.ready());
        }
        if max > 0
            && let Some(gate) = &mut state.gate
        {
            max = match gate.admit(first, max, state.hurried, timers::now()) {
                Admitted::Some(count) => count,
                Admitted::NotBefore(time) => return Pop::Empty(Some(due.map_or(time, |due| due.min(time)))),
                Admitted::Shut => return Pop::Empty(due),
            };
        }
        let count = state.take_lanes(run, max);
        if count > 0 {
            state.taken += count as u64;
            if self.returns {
                state.out += count;
            }
            self.room.fetch_add(count as isize, Ordering::Relaxed);
            return Pop::Run(match &state.numbers {
                Some(numbers) => numbers.fetch_add(count as u64, Ordering::Relaxed),
                None => first,
            });
        }
        if let Some(left) = state.asked.checked_sub(1) {
            state.asked = left;
            return Pop::Rest;
        }
        if state.ended() { Pop::End } else { Pop::Empty(due) }
    }

    /// Whoever brings something, and is to set an event for it, asks this first, with nothing locked.
    pub(crate) fn ask_instead(&self, instead: Instead) {
        let _ = self.instead.set(instead);
    }

    /// As [`try_pop`](Self::try_pop), for whoever was asked instead of setting `event`: that is set for what comes next,
    /// or now if there is more.
    pub(crate) fn take_instead(
        &self,
        run: &mut Vec<T>,
        max: usize,
        share: usize,
        event: &Arc<Event>,
    ) -> Pop<T> {
        let mut state = self.state.lock();
        let max = max.min(state.ready().div_ceil(share.max(1)));
        let got = self.take(&mut state, run, max);
        state.events.retain(|other| !Arc::ptr_eq(other, event));
        // Most often it still stands: then those who publish know already.
        if !self.attention.load(Ordering::Relaxed) {
            self.announce();
        }
        if state.ready() > 0 {
            let _ = event.set();
        } else {
            state.events.push(Arc::clone(event));
        }
        self.made_room(state);
        got
    }

    /// The owner of `event` found work elsewhere and may be too busy for what arrives: that is for others.
    pub(crate) fn pass_on(&self, event: &Arc<Event>) {
        let mut state = self.state.lock();
        state.events.retain(|other| !Arc::ptr_eq(other, event));
        if state.ready() > 0
            && let Some(other) = state.events.pop()
        {
            let _ = other.set();
        }
        self.attend(&state);
    }

    fn made_room(&self, mut state: crate::sync::MutexGuard<'_, State<T>>) {
        // The last sender may have gone while there was still something: then those who wait for more were
        // not told.
        if state.ended() {
            self.wake_all(&mut state);
        }
        self.attend(&state);
        // Not for every item: a sender that slept is worth waking for a run of them. It cannot sleep on, for the
        // next look at a queue of which nothing is left wakes it.
        let room = usize::try_from(self.room.load(Ordering::Relaxed)).unwrap_or(0);
        if state.blocked > 0 && (room > self.limit / 16 || state.ready() == 0) {
            drop(state);
            self.not_full.notify_all();
        }
    }

    /// Taken items will not come back.
    pub(crate) fn done(&self, items: usize) {
        self.done.fetch_add(items as u64, Ordering::Relaxed);
        if self.returns {
            let mut state = self.state.lock();
            state.out -= items;
            if state.ended() {
                self.wake_all(&mut state);
            }
        }
        // With nothing locked: it may be the last in the loop.
        if let Some(in_flight) = self.in_flight() {
            in_flight.leave(items);
        }
    }

    /// A taken item is to be tried again at `due`.
    pub(crate) fn again(&self, kept: Kept<T>, due: Instant) {
        let mut state = self.state.lock();
        state.out -= 1;
        if state.stopped {
            return;
        }
        state.later.push(Later { due, kept });
        self.room.fetch_sub(1, Ordering::Relaxed);
        // Whoever waits computed its wait without this item.
        self.wake_all(&mut state);
    }

    /// About how many items wait here or were taken and are not done yet.
    pub(crate) fn load(&self) -> usize {
        let state = self.state.lock();
        let out = state.taken.saturating_sub(self.done.load(Ordering::Relaxed));
        state.ready() + out as usize
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().ended()
    }

    /// Ends everything at once: senders get `Stopped`, consumers the end. What was queued is abandoned.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.wake_all(&mut state);
        self.attend(&state);
        drop(state);
        self.not_full.notify_all();
    }

    /// From now on nothing waits for its next attempt.
    pub(crate) fn hurry(&self) {
        let mut state = self.state.lock();
        state.hurried = true;
        self.wake_all(&mut state);
    }

    /// The time was moved: something may be due.
    pub(crate) fn look(&self) {
        self.wake_all(&mut self.state.lock());
    }

    /// Takes no more from senders; what is queued can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if state.ended() {
            self.wake_all(&mut state);
        }
        drop(state);
        self.not_full.notify_all();
    }

    fn wake_all(&self, state: &mut State<T>) {
        state.called += std::mem::take(&mut state.idle);
        self.not_empty.notify_all();
        self.nap.notify_all();
        for event in state.events.drain(..) {
            // An eventfd can refuse only what was never made; then nobody waits on it.
            let _ = event.set();
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A sender reports what it sent, by its own count.
    pub(crate) fn add_sent(&self, items: u64) {
        self.sent.fetch_add(items, Ordering::Relaxed);
    }

    /// Items sent, by the senders' own count.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Items taken, by the consumers' count, and those left behind by a stop.
    pub(crate) fn taken_and_left(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.taken, (state.ready() + state.later.len()) as u64)
    }
}

impl<T> Queue<T> {
    /// A sender is gone, and so much room that it had taken ahead comes back.
    fn left(&self, credit: usize, within: bool) {
        let mut state = self.state.lock();
        state.senders -= usize::from(!within);
        state.ways -= 1;
        self.count_senders(state.ways);
        state.left_lanes = true;
        self.room.fetch_add(credit as isize, Ordering::Relaxed);
        if credit > 0 && state.blocked > 0 {
            self.not_full.notify_all();
        }
        self.fewer(state);
    }

    /// A hold is gone.
    fn let_go(&self) {
        let mut state = self.state.lock();
        state.senders -= 1;
        self.fewer(state);
    }

    /// What kept it open may be gone.
    fn fewer(&self, mut state: crate::sync::MutexGuard<'_, State<T>>) {
        if state.ended() {
            self.wake_all(&mut state);
            self.attend(&state);
        }
    }

    /// Calls those who wait for what has arrived.
    fn arrived(&self, mut state: crate::sync::MutexGuard<'_, State<T>>) {
        let count = state.ready();
        let idle = state.idle.min(count);
        state.idle -= idle;
        state.called += idle;
        let uncalled = state.events.len().saturating_sub(count - idle);
        let called = state.events.split_off(uncalled);
        // Who is asked instead will have its event set for what comes next: it goes on to be announced.
        if called.is_empty() || self.instead.get().is_none() {
            self.attend(&state);
        }
        drop(state);
        for event in called {
            if !self.instead.get().is_some_and(|instead| instead(&event)) {
                // An eventfd can refuse only what was never made; then nobody waits on it.
                let _ = event.set();
            }
        }
        for _ in 0..idle {
            self.not_empty.notify_one();
        }
    }
}

impl<T: Send> Backlog for Queue<T> {
    fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.ready() + state.later.len()
    }
}
