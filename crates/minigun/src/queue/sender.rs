//! A sender's end of a queue: a lane of its own, room taken ahead, and when to wait or to call.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use minigun_os::{LightFence, RingWriter};

use super::patience::Patience;
use super::{Queue, Stopped};
use crate::defaults;

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

/// Keeps a queue open.
pub(crate) struct Hold<T>(pub(super) Arc<Queue<T>>);

impl<T> Drop for Hold<T> {
    fn drop(&mut self) {
        self.0.left(0);
    }
}
