//! A queue in a loop: it ends with the loop, and what goes round has the right of way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Queue;
use crate::in_flight::{InFlight, Member};

/// A queue's place in a loop.
pub(super) struct Joined {
    pub(super) in_flight: Arc<InFlight>,
    /// The only worker that takes from here may keep items while others pass.
    gathers: bool,
}

impl<T> Queue<T> {
    /// The loop in which it stands.
    pub(crate) fn in_flight(&self) -> Option<&Arc<InFlight>> {
        self.joined.get().map(|joined| &joined.in_flight)
    }

    /// What was gathered when the loop was at rest has been let go.
    pub(crate) fn rested(&self) {
        if let Some(in_flight) = self.in_flight() {
            in_flight.leave(1);
        }
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
        self.done.fetch_add(items, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> Queue<T> {
    /// It stands in this loop. To be called before the first sender is made.
    pub(crate) fn join(self: &Arc<Self>, in_flight: &Arc<InFlight>, gathers: bool) {
        let joined = Joined { in_flight: Arc::clone(in_flight), gathers };
        if self.joined.set(joined).is_ok() {
            self.state.lock().in_loop = true;
            let weak = Arc::downgrade(self);
            in_flight.join(weak);
        }
    }
}

impl<T: Send> Member for Queue<T> {
    fn gathers(&self) -> bool {
        self.joined.get().is_some_and(|joined| joined.gathers)
    }

    fn ask(&self) {
        let mut state = self.state.lock();
        state.asked += 1;
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
