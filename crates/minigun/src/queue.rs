//! A bounded queue that moves runs of items: what an idle consumer finds is taken at once, however little.
//!
//! Every edge of the graph is one such queue. Senders are counted: the queue has ended when the last one is
//! dropped and everything was taken. It also holds the items that wait for another attempt, so that they
//! count against the same limit and any worker can take them when they are due.

use std::cell::Cell;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use minigun_os::{Event, LightFence, RingReader, RingWriter};

use crate::defaults;
use crate::sync::{Condvar, Mutex};

/// The run was stopped: the queue takes and gives nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What a consumer got.
pub(crate) enum Pop<T> {
    /// Items were appended to the caller's buffer; the first of them has this number.
    Run(u64),
    /// An item that failed before and is due again.
    Again(Kept<T>),
    /// Nothing more will come.
    End,
    /// Nothing there now (only from `try_pop`); look again when the event was set or at the given time.
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
}

struct State<T> {
    /// One for each sender. A lane whose sender is gone stays until it is empty.
    lanes: Vec<RingReader<T>>,
    /// The lane to take from next.
    next: usize,
    /// Lanes may be without a sender.
    left_lanes: bool,
    later: BinaryHeap<Later<T>>,
    /// Items taken by consumers that may still come back for another attempt.
    out: usize,
    senders: usize,
    taken: u64,
    stopped: bool,
    closed: bool,
    /// What waits for another attempt is due at once.
    hurried: bool,
    /// Consumers that wait and were not called yet, and such that were called and did not answer yet.
    idle: usize,
    called: usize,
    blocked: usize,
    events: Vec<Arc<Event>>,
}

struct Later<T> {
    due: Instant,
    kept: Kept<T>,
}

impl<T> PartialEq for Later<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<T> Eq for Later<T> {}
impl<T> PartialOrd for Later<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Later<T> {
    /// The earliest is the greatest, for the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

impl<T> Queue<T> {
    /// A queue for at most `limit` items (at least one). Where `returns`, every taken item must be answered by
    /// [`done`](Self::done) or [`again`](Self::again), and the queue has not ended before.
    pub(crate) fn new(limit: usize, returns: bool) -> Self {
        let limit = limit.clamp(1, isize::MAX as usize);
        Queue {
            state: Mutex::new(State {
                lanes: Vec::new(),
                next: 0,
                left_lanes: false,
                later: BinaryHeap::new(),
                out: 0,
                senders: 0,
                taken: 0,
                stopped: false,
                closed: false,
                hurried: false,
                idle: 0,
                called: 0,
                blocked: 0,
                events: Vec::new(),
            }),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            limit,
            room: AtomicIsize::new(limit as isize),
            ahead: AtomicUsize::new(0),
            attention: AtomicBool::new(false),
            returns,
            sent: AtomicU64::new(0),
        }
    }

    /// Keeps the queue open without ever sending.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold<T> {
        self.state.lock().senders += 1;
        Hold(Arc::clone(self))
    }

    fn count_senders(&self, senders: usize) {
        self.ahead.store(self.limit / (8 * senders.max(8)), Ordering::Relaxed);
    }

    /// Takes up to `max` ready items into `run`, or one item that is due again; waits until there is
    /// something, or the end.
    pub(crate) fn pop(&self, run: &mut Vec<T>, max: usize) -> Pop<T> {
        let mut state = self.state.lock();
        let (mut announced, mut patience) = (false, Patience::default());
        loop {
            match self.take(&mut state, run, max) {
                Pop::Empty(_) if patience.lasts() => {
                    drop(state);
                    patience.pause();
                    state = self.state.lock();
                }
                // First announced, then looked again: whoever publishes after that look will call.
                Pop::Empty(_) if !announced => {
                    self.announce();
                    announced = true;
                }
                Pop::Empty(due) => {
                    state.idle += 1;
                    match due {
                        Some(due) => drop(self.not_empty.wait_until(&mut state, due)),
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
                    self.made_room(state);
                    return got;
                }
            }
        }
    }

    /// As [`pop`](Self::pop) without waiting, and at most the `share`-th part of what is there. When it is
    /// `Empty`, `event` is set at the next change.
    pub(crate) fn try_pop(&self, run: &mut Vec<T>, max: usize, share: usize, event: &Arc<Event>) -> Pop<T> {
        let mut state = self.state.lock();
        let mut announced = false;
        loop {
            let max = max.min(state.ready().div_ceil(share.max(1)));
            match self.take(&mut state, run, max) {
                Pop::Empty(_) if !announced => {
                    if !state.events.iter().any(|e| Arc::ptr_eq(e, event)) {
                        state.events.push(Arc::clone(event));
                    }
                    self.announce();
                    announced = true;
                }
                Pop::Empty(due) => return Pop::Empty(due),
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

    /// Whether somebody still has to be called.
    fn attend(&self, state: &State<T>) {
        let attention = state.stopped || state.idle > 0 || !state.events.is_empty();
        self.attention.store(attention, Ordering::Relaxed);
    }

    fn take(&self, state: &mut State<T>, run: &mut Vec<T>, max: usize) -> Pop<T> {
        if state.stopped {
            return Pop::End;
        }
        let due = state.later.peek().map(|later| later.due);
        if due.is_some_and(|due| state.hurried || due <= Instant::now())
            && let Some(later) = state.later.pop()
        {
            state.out += 1;
            self.room.fetch_add(1, Ordering::Relaxed);
            return Pop::Again(later.kept);
        }
        let count = state.take_lanes(run, max);
        if count > 0 {
            let first = state.taken;
            state.taken += count as u64;
            if self.returns {
                state.out += count;
            }
            self.room.fetch_add(count as isize, Ordering::Relaxed);
            return Pop::Run(first);
        }
        if state.ended() { Pop::End } else { Pop::Empty(due) }
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
        if state.blocked > 0 && (room >= self.limit.div_ceil(4) || state.ready() == 0) {
            drop(state);
            self.not_full.notify_all();
        }
    }

    /// Taken items will not come back.
    pub(crate) fn done(&self, items: usize) {
        if !self.returns {
            return;
        }
        let mut state = self.state.lock();
        state.out -= items;
        if state.ended() {
            self.wake_all(&mut state);
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
        for event in state.events.drain(..) {
            // An eventfd can refuse only what was never made; then nobody waits on it.
            let _ = event.set();
        }
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

impl<T> State<T> {
    /// How many items could be taken now.
    fn ready(&self) -> usize {
        self.lanes.iter().map(RingReader::len).sum()
    }

    fn ended(&self) -> bool {
        let no_more = self.senders == 0 || self.closed;
        self.stopped || (no_more && self.later.is_empty() && self.out == 0 && self.ready() == 0)
    }

    /// Takes from one lane after the other, beginning behind the one that came last.
    fn take_lanes(&mut self, run: &mut Vec<T>, max: usize) -> usize {
        let mut count = 0;
        for _ in 0..self.lanes.len() {
            if count == max {
                break;
            }
            self.next = (self.next + 1) % self.lanes.len();
            count += self.lanes[self.next].take(run, max - count);
        }
        if self.left_lanes {
            self.lanes.retain(|lane| !lane.is_abandoned() || !lane.is_empty());
            self.left_lanes = self.lanes.iter().any(RingReader::is_abandoned);
        }
        count
    }
}

/// Looks again a few times before a wait: where both sides are quick, what one waits for is there before the kernel
/// could have put it to sleep and woken it. Other threads that are ready get the core meanwhile.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    const SPINS: u32 = 6;
    const YIELDS: u32 = 10;

    fn lasts(&self) -> bool {
        self.0 < Self::SPINS + Self::YIELDS
    }

    fn pause(&mut self) {
        if self.0 < Self::SPINS {
            (0..1 << self.0).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::yield_now();
        }
        self.0 += 1;
    }
}

/// Keeps a queue open.
pub(crate) struct Hold<T>(Arc<Queue<T>>);

impl<T> Drop for Hold<T> {
    fn drop(&mut self) {
        self.0.left(0);
    }
}

impl<T> Queue<T> {
    /// A sender is gone, and so much room that it had taken ahead comes back.
    fn left(&self, credit: usize) {
        let mut state = self.state.lock();
        state.senders -= 1;
        self.count_senders(state.senders);
        state.left_lanes = true;
        self.room.fetch_add(credit as isize, Ordering::Relaxed);
        if state.ended() {
            self.wake_all(&mut state);
            self.attend(&state);
        }
        if credit > 0 && state.blocked > 0 {
            self.not_full.notify_all();
        }
    }

    /// Calls those who wait for what has arrived.
    fn arrived(&self, mut state: crate::sync::MutexGuard<'_, State<T>>) {
        let count = state.ready();
        let idle = state.idle.min(count);
        state.idle -= idle;
        state.called += idle;
        for _ in idle..count {
            let Some(event) = state.events.pop() else { break };
            let _ = event.set();
        }
        self.attend(&state);
        drop(state);
        for _ in 0..idle {
            self.not_empty.notify_one();
        }
    }
}

/// A counted way into a queue, with a lane of its own; the queue ends when the last is dropped.
///
/// What is [written](Self::write) waits in the lane, unseen, until it is [published](Self::publish) or taken back.
pub(crate) struct Sender<T> {
    queue: Arc<Queue<T>>,
    lane: RingWriter<T>,
    /// Room that was taken ahead, so that not every item has to ask for its own.
    credit: Cell<usize>,
    sent: Cell<u64>,
    light: LightFence,
}

impl<T> Sender<T> {
    pub(crate) fn new(queue: &Arc<Queue<T>>) -> Self {
        let most = defaults::LANE_BYTES / size_of::<T>().max(1);
        let (lane, reader) = minigun_os::ring(queue.limit.min(most.max(defaults::LANE_ITEMS)));
        let mut state = queue.state.lock();
        state.senders += 1;
        state.lanes.push(reader);
        queue.count_senders(state.senders);
        drop(state);
        Sender {
            queue: Arc::clone(queue),
            lane,
            credit: Cell::new(0),
            sent: Cell::new(0),
            light: LightFence::new(),
        }
    }

    /// Puts an item behind those not published yet; gives it back if there is no room now.
    pub(crate) fn write(&self, item: T) -> Result<(), T> {
        if self.credit.get() == 0 && !self.reserve() {
            return Err(item);
        }
        self.try_write(item)
    }

    /// As [`write`](Self::write), but only into room that this sender has already.
    #[inline]
    pub(crate) fn try_write(&self, item: T) -> Result<(), T> {
        let credit = self.credit.get();
        if credit == 0 {
            return Err(item);
        }
        self.lane.write(item)?;
        self.credit.set(credit - 1);
        Ok(())
    }

    /// Takes some room ahead.
    #[cold]
    fn reserve(&self) -> bool {
        let most = self.ahead().max(1) as isize;
        let taken = self.queue.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
            (room > 0).then(|| room - room.min(most))
        });
        taken.inspect(|room| self.credit.set(most.min(*room) as usize)).is_ok()
    }

    fn ahead(&self) -> usize {
        self.queue.ahead.load(Ordering::Relaxed)
    }

    /// How many items are written and not published.
    #[inline]
    pub(crate) fn unpublished(&self) -> usize {
        self.lane.unpublished()
    }

    /// Takes back what was written last, until `keep` items are unpublished.
    pub(crate) fn take_back(&self, keep: usize) {
        let back = self.unpublished().saturating_sub(keep);
        if back == 0 {
            return;
        }
        self.lane.take_back(keep);
        self.credit.set(self.credit.get() + back);
        if self.credit.get() > self.ahead() {
            let state = self.queue.state.lock();
            self.queue.room.fetch_add(self.credit.replace(0) as isize, Ordering::Relaxed);
            if state.blocked > 0 {
                self.queue.not_full.notify_all();
            }
        }
    }

    /// Lets the consumers have what was written; calls one that waits.
    #[inline]
    pub(crate) fn publish(&self) -> Result<(), Stopped> {
        let count = self.unpublished();
        if count == 0 {
            return Ok(());
        }
        self.lane.publish();
        self.sent.set(self.sent.get() + count as u64);
        self.light.fence();
        if self.queue.attention.load(Ordering::Relaxed) { self.call() } else { Ok(()) }
    }

    #[cold]
    fn call(&self) -> Result<(), Stopped> {
        let state = self.queue.state.lock();
        if state.stopped {
            return Err(Stopped);
        }
        self.queue.arrived(state);
        Ok(())
    }

    /// What was published since the last time reaches the queue's books.
    pub(crate) fn flush(&self) {
        self.queue.add_sent(self.sent.replace(0));
    }

    /// Sends and counts one item, waiting for room; gives it back when the queue was stopped or closed.
    pub(crate) fn send(&self, item: T) -> Result<(), T> {
        let mut item = item;
        let mut state = self.queue.state.lock();
        loop {
            // Under the lock: what was accepted is seen by whoever closes the queue.
            if state.stopped || state.closed {
                return Err(item);
            }
            match self.write(item) {
                Ok(()) => break,
                Err(back) => item = back,
            }
            state.blocked += 1;
            self.queue.not_full.wait(&mut state);
            state.blocked -= 1;
        }
        self.lane.publish();
        self.queue.add_sent(1);
        self.queue.arrived(state);
        Ok(())
    }

    /// Publishes, then sends everything in `run`, in order, waiting for room as often as it must; what is not sent
    /// when the queue is stopped stays in `run`.
    pub(crate) fn send_run(&self, run: &mut VecDeque<T>) -> Result<(), Stopped> {
        while let Some(item) = run.pop_front() {
            if let Err(item) = self.write(item) {
                run.push_front(item);
                self.publish()?;
                self.wait_for_room()?;
            }
        }
        self.publish()
    }

    fn has_room(&self) -> bool {
        let room = self.credit.get() > 0 || self.queue.room.load(Ordering::Relaxed) > 0;
        room && !self.lane.is_full()
    }

    fn wait_for_room(&self) -> Result<(), Stopped> {
        let mut patience = Patience::default();
        while patience.lasts() && !self.has_room() {
            patience.pause();
        }
        let mut state = self.queue.state.lock();
        while !state.stopped {
            if self.has_room() {
                return Ok(());
            }
            state.blocked += 1;
            self.queue.not_full.wait(&mut state);
            state.blocked -= 1;
        }
        Err(Stopped)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender::new(&self.queue)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.lane.take_back(0);
        self.flush();
        self.queue.left(self.credit.get());
    }
}
