//! A bounded queue that moves runs of items: what an idle consumer finds is taken at once, however little.
//!
//! Every edge of the graph is one such queue. Senders are counted: the queue has ended when the last one is
//! dropped and everything was taken. It also holds the items that wait for another attempt, so that they
//! count against the same limit and any worker can take them when they are due.
//!
//! A queue in a loop ends with the loop (see [`in_flight`](crate::in_flight)), and only senders from outside the loop keep it
//! open.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::in_flight::{InFlight, Member, Outside};
use crate::sync::{Condvar, Mutex};
use minigun_os::Event;

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
    /// Whether taken items may come back, so that the end waits for them.
    returns: bool,
    /// Counted by the senders themselves, to be compared with what was taken.
    sent: AtomicU64,
    /// Items that arrived and are not done yet. A hint: it is read without the lock.
    load: AtomicUsize,
    /// Items that will come here, and count against the limit for whoever sends from outside the loop.
    behind: AtomicUsize,
    in_flight: OnceLock<Joined>,
}

/// A queue's place in a loop.
struct Joined {
    in_flight: Arc<InFlight>,
    /// The only worker that takes from here may keep items while others pass.
    gathers: bool,
}

struct State<T> {
    ready: VecDeque<T>,
    later: BinaryHeap<Later<T>>,
    /// Items taken by consumers that may still come back for another attempt.
    out: usize,
    senders: usize,
    taken: u64,
    /// Where items get their numbers, if not by what was taken.
    numbers: Option<Arc<AtomicU64>>,
    stopped: bool,
    closed: bool,
    /// It stands in a loop that has not ended.
    in_loop: bool,
    /// Whoever takes from here is to let go of what it gathered.
    asked: bool,
    /// What waits for another attempt is due at once.
    hurried: bool,
    idle: usize,
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
        Queue {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                later: BinaryHeap::new(),
                out: 0,
                senders: 0,
                taken: 0,
                numbers: None,
                stopped: false,
                closed: false,
                in_loop: false,
                asked: false,
                hurried: false,
                idle: 0,
                blocked: 0,
                events: Vec::new(),
            }),
            not_empty: Condvar::new(),
            not_full: Condvar::new(),
            limit: limit.max(1),
            returns,
            sent: AtomicU64::new(0),
            load: AtomicUsize::new(0),
            behind: AtomicUsize::new(0),
            in_flight: OnceLock::new(),
        }
    }

    /// Queues for items that are numbered as those of one, and which together hold at most `limit` (at least one each).
    pub(crate) fn lanes(count: usize, limit: usize, returns: bool) -> Vec<Self> {
        let numbers = Arc::new(AtomicU64::new(0));
        let lane = |_| {
            let queue = Queue::new(limit / count.max(1), returns);
            queue.state.lock().numbers = Some(Arc::clone(&numbers));
            queue
        };
        (0..count).map(lane).collect()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes up to `max` ready items into `run`, or one item that is due again; waits until there is
    /// something, or the end.
    pub(crate) fn pop(&self, run: &mut VecDeque<T>, max: usize) -> Pop<T> {
        let mut state = self.state.lock();
        loop {
            match state.take(run, max, self.returns) {
                Pop::Empty(due) => {
                    state.idle += 1;
                    match due {
                        Some(due) => drop(self.not_empty.wait_until(&mut state, due)),
                        None => self.not_empty.wait(&mut state),
                    }
                    state.idle -= 1;
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
    pub(crate) fn try_pop(
        &self,
        run: &mut VecDeque<T>,
        max: usize,
        share: usize,
        event: &Arc<Event>,
    ) -> Pop<T> {
        let mut state = self.state.lock();
        let max = max.min(state.ready.len().div_ceil(share.max(1)));
        let got = state.take(run, max, self.returns);
        if let Pop::Empty(_) = got {
            if !state.events.iter().any(|e| Arc::ptr_eq(e, event)) {
                state.events.push(Arc::clone(event));
            }
        } else {
            // It is awake: what comes next may be for another.
            state.events.retain(|other| !Arc::ptr_eq(other, event));
            self.made_room(state);
        }
        got
    }

    /// The owner of `event` found work elsewhere and may be too busy for what arrives: that is for others.
    pub(crate) fn pass_on(&self, event: &Arc<Event>) {
        let mut state = self.state.lock();
        state.events.retain(|other| !Arc::ptr_eq(other, event));
        if !state.ready.is_empty()
            && let Some(other) = state.events.pop()
        {
            let _ = other.set();
        }
    }

    fn made_room(&self, mut state: crate::sync::MutexGuard<'_, State<T>>) {
        // The last sender may have gone while there was still something: then those who wait for more were
        // not told.
        if state.ended() {
            self.wake_all(&mut state);
        }
        // All of them: a run may have made room for several.
        if state.blocked > 0 {
            drop(state);
            self.not_full.notify_all();
        }
    }

    /// Taken items will not come back.
    pub(crate) fn done(&self, items: usize) {
        self.load.fetch_sub(items, Ordering::Relaxed);
        if self.returns {
            let mut state = self.state.lock();
            state.out -= items;
            if state.ended() {
                self.wake_all(&mut state);
            }
        }
        if let Some(in_flight) = self.in_flight() {
            in_flight.leave(items);
        }
    }

    /// What was gathered when the loop was at rest has been let go.
    pub(crate) fn rested(&self) {
        if let Some(in_flight) = self.in_flight() {
            in_flight.leave(1);
        }
    }

    /// The loop in which it stands.
    pub(crate) fn in_flight(&self) -> Option<&Arc<InFlight>> {
        self.in_flight.get().map(|joined| &joined.in_flight)
    }

    /// So many items will come here besides those that senders wait with: they have the right of way.
    pub(crate) fn set_behind(&self, items: usize) {
        self.behind.store(items, Ordering::SeqCst);
        let blocked = self.state.lock().blocked;
        if blocked > 0 {
            self.not_full.notify_all();
        }
    }

    /// Items that were to come here and will not: they count as sent and as taken.
    pub(crate) fn passed_by(&self, items: u64) {
        self.add_sent(items);
        self.state.lock().taken += items;
    }

    /// A taken item is to be tried again at `due`.
    pub(crate) fn again(&self, kept: Kept<T>, due: Instant) {
        let mut state = self.state.lock();
        state.out -= 1;
        if state.stopped {
            return;
        }
        state.later.push(Later { due, kept });
        // Whoever waits computed its wait without this item.
        self.wake_all(&mut state);
    }

    /// About how many items wait here or were taken and are not done yet.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
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
        (state.taken, (state.ready.len() + state.later.len()) as u64)
    }
}

impl<T: Send + 'static> Queue<T> {
    /// It stands in this loop. To be called before the first sender is made.
    pub(crate) fn join(self: &Arc<Self>, in_flight: &Arc<InFlight>, gathers: bool) {
        let joined = Joined { in_flight: Arc::clone(in_flight), gathers };
        if self.in_flight.set(joined).is_ok() {
            self.state.lock().in_loop = true;
            let weak = Arc::downgrade(self);
            in_flight.join(weak);
        }
    }
}

impl<T: Send> Member for Queue<T> {
    fn gathers(&self) -> bool {
        self.in_flight.get().is_some_and(|joined| joined.gathers)
    }

    fn ask(&self) {
        let mut state = self.state.lock();
        state.asked = true;
        self.wake_all(&mut state);
    }

    fn over(&self) {
        let mut state = self.state.lock();
        state.in_loop = false;
        if state.ended() {
            self.wake_all(&mut state);
        }
    }
}

impl<T> State<T> {
    fn ended(&self) -> bool {
        let no_more = (self.senders == 0 || self.closed) && !self.in_loop;
        self.stopped || (no_more && self.ready.is_empty() && self.later.is_empty() && self.out == 0)
    }

    fn take(&mut self, run: &mut VecDeque<T>, max: usize, returns: bool) -> Pop<T> {
        if self.stopped {
            return Pop::End;
        }
        let due = self.later.peek().map(|later| later.due);
        if due.is_some_and(|due| self.hurried || due <= Instant::now())
            && let Some(later) = self.later.pop()
        {
            self.out += 1;
            return Pop::Again(later.kept);
        }
        if !self.ready.is_empty() {
            let count = self.ready.len().min(max);
            let first = match &self.numbers {
                Some(numbers) => numbers.fetch_add(count as u64, Ordering::Relaxed),
                None => self.taken,
            };
            if count == self.ready.len() && run.is_empty() {
                std::mem::swap(run, &mut self.ready);
            } else {
                run.extend(self.ready.drain(..count));
            }
            self.taken += count as u64;
            if returns {
                self.out += count;
            }
            return Pop::Run(first);
        }
        if std::mem::take(&mut self.asked) {
            return Pop::Rest;
        }
        if self.ended() { Pop::End } else { Pop::Empty(due) }
    }
}

/// A counted way into a queue; the queue ends when the last is dropped.
pub(crate) struct Sender<T> {
    queue: Arc<Queue<T>>,
    /// It is not of the loop in which the queue stands.
    counted: bool,
    _outside: Option<Outside>,
}

impl<T> Sender<T> {
    pub(crate) fn new(queue: &Arc<Queue<T>>) -> Self {
        Sender::within(queue, None)
    }

    /// A way into a queue for a worker that stands in this loop. Within one loop workers do not keep each other's
    /// queues open: in a circle none would end.
    pub(crate) fn within(queue: &Arc<Queue<T>>, worker: Option<&Arc<InFlight>>) -> Self {
        let outside = match (queue.in_flight(), worker) {
            (Some(of), Some(worker)) if Arc::ptr_eq(of, worker) => {
                return Sender { queue: Arc::clone(queue), counted: false, _outside: None };
            }
            (of, _) => of.map(InFlight::from_outside),
        };
        queue.state.lock().senders += 1;
        Sender { queue: Arc::clone(queue), counted: true, _outside: outside }
    }

    pub(crate) fn queue(&self) -> &Arc<Queue<T>> {
        &self.queue
    }

    /// Sends and counts one item, waiting for room; gives it back when the queue was stopped.
    pub(crate) fn send(&self, item: T) -> Result<(), T> {
        let mut state = self.queue.state.lock();
        if !self.wait_for_room(&mut state) {
            return Err(item);
        }
        state.ready.push_back(item);
        self.queue.add_sent(1);
        self.arrived(state, 1);
        Ok(())
    }

    /// Sends everything in `run`, in order, waiting for room as often as it must; what is not sent when the
    /// queue is stopped stays in `run`.
    pub(crate) fn send_run(&self, run: &mut VecDeque<T>) -> Result<(), Stopped> {
        while !run.is_empty() {
            let mut state = self.queue.state.lock();
            if !self.wait_for_room(&mut state) {
                return Err(Stopped);
            }
            // What waits behind may have grown since.
            let room = self.queue.limit.saturating_sub(self.load(&state)).max(1);
            let count = room.min(run.len());
            if count == 1
                && let Some(item) = run.pop_front()
            {
                state.ready.push_back(item);
            } else {
                state.ready.extend(run.drain(..count));
            }
            self.arrived(state, count);
        }
        Ok(())
    }

    fn wait_for_room(&self, state: &mut crate::sync::MutexGuard<'_, State<T>>) -> bool {
        while !state.stopped && !state.closed && self.load(state) >= self.queue.limit {
            state.blocked += 1;
            self.queue.not_full.wait(state);
            state.blocked -= 1;
        }
        !state.stopped && !state.closed
    }

    /// What counts against the limit for this sender.
    fn load(&self, state: &State<T>) -> usize {
        let behind = if self.counted { self.queue.behind.load(Ordering::SeqCst) } else { 0 };
        state.load() + behind
    }

    fn arrived(&self, mut state: crate::sync::MutexGuard<'_, State<T>>, count: usize) {
        self.queue.load.fetch_add(count, Ordering::Relaxed);
        if let Some(in_flight) = self.queue.in_flight() {
            in_flight.enter(count);
        }
        let idle = state.idle.min(count);
        let mut left = count - idle;
        while left > 0
            && let Some(event) = state.events.pop()
        {
            let _ = event.set();
            left -= 1;
        }
        drop(state);
        for _ in 0..idle {
            self.queue.not_empty.notify_one();
        }
    }
}

impl<T> State<T> {
    fn load(&self) -> usize {
        self.ready.len() + self.later.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        if self.counted {
            return Sender::new(&self.queue);
        }
        Sender { queue: Arc::clone(&self.queue), counted: false, _outside: None }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut state = self.queue.state.lock();
        state.senders -= 1;
        if state.ended() {
            self.queue.wake_all(&mut state);
        }
    }
}
