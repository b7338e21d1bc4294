//! A sender's end of a queue: a lane of its own, room taken ahead, and when to wait or to call.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use minigun_os::{LightFence, RingWriter};

use super::patience::Patience;
use super::{Queue, Stopped};
use crate::in_flight::{InFlight, Outside};
use crate::meter::{self, Waits};

/// A counted way into a queue, with a lane of its own; the queue ends when the last is dropped.
///
/// What is [written](Self::write) waits in the lane, unseen, until it is [published](Self::publish) or taken back.
pub(crate) struct Sender<T> {
    queue: Arc<Queue<T>>,
    lane: RingWriter<T>,
    /// Up to here in the lane room was taken ahead, so that not every item has to ask for its own.
    until: Cell<usize>,
    /// Up to here in the lane items are in the queue's books.
    booked: Cell<usize>,
    light: LightFence,
    /// The loop in which the queue stands.
    joined: Option<Arc<InFlight>>,
    /// It is of that loop, and does not keep the queue open.
    within: bool,
    _outside: Option<Outside>,
}

impl<T> Sender<T> {
    pub(crate) fn new(queue: &Arc<Queue<T>>) -> Self {
        Sender::within(queue, None)
    }

    /// A way into a queue for a worker that stands in this loop. Within one loop workers do not keep each other's
    /// queues open: in a circle none would end.
    pub(crate) fn within(queue: &Arc<Queue<T>>, worker: Option<&Arc<InFlight>>) -> Self {
        let joined = queue.in_flight();
        let within = joined.zip(worker).is_some_and(|(of, worker)| Arc::ptr_eq(of, worker));
        Sender::open(queue, within)
    }

    fn open(queue: &Arc<Queue<T>>, within: bool) -> Self {
        let joined = queue.in_flight().cloned();
        let outside = joined.as_ref().filter(|_| !within).map(InFlight::from_outside);
        let (lane, reader) = minigun_os::ring(queue.lane_items());
        let mut state = queue.state.lock();
        state.senders += usize::from(!within);
        state.ways += 1;
        state.lanes.push(reader);
        queue.count_senders(state.ways);
        drop(state);
        Sender {
            queue: Arc::clone(queue),
            lane,
            until: Cell::new(0),
            booked: Cell::new(0),
            light: LightFence::new(),
            joined,
            within,
            _outside: outside,
        }
    }

    pub(crate) fn queue(&self) -> &Arc<Queue<T>> {
        &self.queue
    }

    /// Puts an item behind those not published yet; gives it back if there is no room now.
    pub(crate) fn write(&self, item: T) -> Result<(), T> {
        self.lane.write(item).or_else(|item| if self.grant() { self.lane.write(item) } else { Err(item) })
    }

    /// As [`write`](Self::write), but only into room that is at hand.
    #[inline]
    pub(crate) fn try_write(&self, item: T) -> Result<(), T> {
        self.lane.write(item)
    }

    /// Has more room at hand, if there is any.
    #[cold]
    fn grant(&self) -> bool {
        let granted = (self.credit() > 0 || self.reserve()) && self.lane.grant(self.credit()) > 0;
        let queue = &*self.queue;
        if queue.napping.load(Ordering::Relaxed)
            && (!granted || queue.room.load(Ordering::Relaxed) < queue.limit as isize / 2)
        {
            // Not under the lock, which the caller may hold: who misses it naps no longer than it would have.
            queue.nap.notify_all();
        }
        granted
    }

    /// No room is at hand from now on, until something is [written](Self::write).
    pub(crate) fn shut(&self) {
        self.lane.grant(0);
    }

    /// For how many items there is room in the queue that this sender has taken already.
    fn credit(&self) -> usize {
        self.until.get().wrapping_sub(self.lane.written())
    }

    fn set_credit(&self, credit: usize) {
        self.until.set(self.lane.written().wrapping_add(credit));
    }

    /// Takes some room ahead.
    fn reserve(&self) -> bool {
        let (most, behind) = (self.ahead().max(1) as isize, self.behind());
        let taken = self.queue.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| {
            (room > behind).then(|| room - (room - behind).min(most))
        });
        taken.inspect(|room| self.set_credit(most.min(*room - behind) as usize)).is_ok()
    }

    /// How much of the room is for others: what goes round in a loop has the right of way.
    fn behind(&self) -> isize {
        if self.within || self.joined.is_none() {
            return 0;
        }
        isize::try_from(self.queue.behind.load(Ordering::SeqCst)).unwrap_or(isize::MAX)
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
        if self.unpublished() <= keep {
            return;
        }
        self.lane.take_back(keep);
        let credit = self.credit();
        if credit > self.ahead() {
            let state = self.queue.state.lock();
            self.set_credit(0);
            self.shut();
            self.queue.room.fetch_add(credit as isize, Ordering::Relaxed);
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
        self.enter(count);
        self.publish_lane(self.light)
    }

    #[inline(always)]
    fn publish_lane(&self, light: LightFence) -> Result<(), Stopped> {
        self.lane.publish();
        light.fence();
        if self.queue.attention.load(Ordering::Relaxed) { self.call() } else { Ok(()) }
    }

    /// Sends what `items` gives, each by itself, as long as there is an item and room at hand, nobody has to be called,
    /// and `goes_on` says so. The rest has to be sent otherwise.
    #[inline]
    pub(crate) fn feed(
        &self,
        items: &mut impl Iterator<Item = T>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<(), Stopped> {
        if self.joined.is_some() {
            return Ok(());
        }
        let attention = &self.queue.attention;
        self.lane.feed(items, || {
            self.light.fence();
            !attention.load(Ordering::Relaxed) && goes_on()
        });
        if attention.load(Ordering::Relaxed) { self.call() } else { Ok(()) }
    }

    /// Whether there is a [straight](Self::straight) way: nobody counts what is under way.
    #[inline]
    pub(crate) fn is_straight(&self) -> bool {
        self.joined.is_none()
    }

    /// Publishes from now on, again and again, with what that needs at hand.
    #[inline]
    pub(crate) fn straight(&self) -> Straight<'_, T> {
        let published = self.lane.published();
        Straight { sender: self, light: self.light, first: published, published }
    }

    /// How many items were ever written and not taken back; it wraps around.
    pub(crate) fn written(&self) -> usize {
        self.lane.written()
    }

    /// Items are in flight before a consumer can see them.
    #[inline]
    fn enter(&self, count: usize) {
        if let Some(joined) = &self.joined {
            joined.enter(count);
        }
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
        let published = self.lane.published();
        self.queue.add_sent(published.wrapping_sub(self.booked.replace(published)) as u64);
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
            let wait = meter::wait(Waits::ForRoom);
            self.queue.not_full.wait(&mut state);
            drop(wait);
            state.blocked -= 1;
        }
        self.enter(1);
        self.lane.publish();
        self.flush();
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
        let room = self.credit() > 0 || self.queue.room.load(Ordering::Relaxed) > self.behind();
        room && self.lane.room() > 0
    }

    fn wait_for_room(&self) -> Result<(), Stopped> {
        let _wait = meter::wait(Waits::ForRoom);
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

/// A sender that publishes again and again.
pub(crate) struct Straight<'a, T> {
    sender: &'a Sender<T>,
    light: LightFence,
    /// Where it began, and where it has come by itself.
    first: usize,
    published: usize,
}

impl<T> Straight<'_, T> {
    /// Lets the consumers have what was written; calls one that waits. Says whether there was anything.
    #[inline(always)]
    pub(crate) fn publish(&mut self) -> Result<bool, Stopped> {
        let written = self.sender.lane.written();
        if written == self.published {
            return Ok(false);
        }
        self.published = written;
        self.sender.publish_lane(self.light).map(|()| true)
    }

    /// Something was published by another way.
    #[cold]
    pub(crate) fn renew(&mut self) {
        self.published = self.sender.lane.published();
    }

    /// How many items were published since it began, by whatever way.
    pub(crate) fn published(&self) -> u64 {
        self.sender.lane.published().wrapping_sub(self.first) as u64
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender::open(&self.queue, self.within)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.lane.take_back(0);
        self.flush();
        self.queue.left(self.credit(), self.within);
    }
}

/// Keeps a queue open.
pub(crate) struct Hold<T> {
    pub(super) queue: Arc<Queue<T>>,
    pub(super) _outside: Option<Outside>,
}

impl<T> Drop for Hold<T> {
    fn drop(&mut self) {
        self.queue.let_go();
    }
}
