//! The end of a loop: it has ended when nothing is in flight in it any more, and nothing can come.
//!
//! What is in flight is one count for the whole loop:
//!
//! * every item in a queue of the loop, from its arrival there until its attempt has committed (or it was set aside);
//!   what waits for another attempt, or is with a worker, is not done and counts on;
//! * every item that was sent back and waits to go round again;
//! * every worker outside the loop that can send into it.
//!
//! **The count is never 0 too early.** What an item makes is counted before the item itself is done, and what a worker
//! sends before the worker ends. So as long as anything can still happen in the loop, something is counted; and once
//! the count is 0 it stays so. Workers in the loop are not counted: they wait for each other.
//!
//! **Steps that gather** (batches) may hold items when the count is 0. Then they are asked to let them go, each such
//! question counting as an item until it is answered. If nothing was let go since they were asked, the loop has ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::sync::Mutex;

/// A place in a loop where items wait.
pub(crate) trait Member: Send + Sync {
    /// Whether what takes from here may keep items while others pass.
    fn gathers(&self) -> bool {
        false
    }

    /// What takes from here is to let go of what it has gathered, and then to [`leave`](InFlight::leave) once.
    fn ask(&self) {}

    /// Nothing will come any more.
    fn over(&self);
}

/// What is in flight in one loop.
#[derive(Default)]
pub(crate) struct InFlight {
    count: AtomicU64,
    /// Items that ever came.
    entered: AtomicU64,
    /// What `entered` was when the members that gather were asked.
    asked: AtomicU64,
    over: AtomicBool,
    members: Mutex<Vec<Weak<dyn Member>>>,
}

impl InFlight {
    pub(crate) fn join(&self, member: Weak<dyn Member>) {
        self.members.lock().push(member);
    }

    /// Items come into a queue of the loop. To be called before they can be seen there.
    pub(crate) fn enter(&self, items: usize) {
        self.entered.fetch_add(items as u64, Ordering::AcqRel);
        self.count.fetch_add(items as u64, Ordering::AcqRel);
    }

    /// Items are done, and what they made is counted. Must not be called with a member locked.
    pub(crate) fn leave(&self, items: usize) {
        let items = items as u64;
        if items > 0 && self.count.fetch_sub(items, Ordering::AcqRel) == items {
            self.at_rest();
        }
    }

    /// Somebody outside the loop can send into it, as long as what comes back lives.
    pub(crate) fn from_outside(self: &Arc<Self>) -> Outside {
        self.count.fetch_add(1, Ordering::AcqRel);
        Outside(Arc::clone(self))
    }

    #[cfg(test)]
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The count is 0: nobody else can be here.
    fn at_rest(&self) {
        let members: Vec<_> = self.members.lock().iter().filter_map(Weak::upgrade).collect();
        let entered = self.entered.load(Ordering::Acquire);
        if self.asked.swap(entered, Ordering::AcqRel) != entered {
            let gathering: Vec<_> = members.iter().filter(|member| member.gathers()).collect();
            if !gathering.is_empty() {
                // All at once: the first may answer before the last is asked.
                self.count.fetch_add(gathering.len() as u64, Ordering::AcqRel);
                gathering.into_iter().for_each(|member| member.ask());
                return;
            }
        }
        self.over.store(true, Ordering::Release);
        members.iter().for_each(|member| member.over());
    }
}

/// A hold from outside the loop.
pub(crate) struct Outside(Arc<InFlight>);

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.leave(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds one item; lets it go when asked.
    struct Gatherer {
        of: Arc<InFlight>,
        held: AtomicBool,
    }

    impl Member for Gatherer {
        fn gathers(&self) -> bool {
            true
        }

        fn ask(&self) {
            if self.held.swap(false, Ordering::Relaxed) {
                self.of.enter(1);
            }
            self.of.leave(1);
        }

        fn over(&self) {
            assert!(!self.held.load(Ordering::Relaxed), "the loop ended with an item in it");
        }
    }

    #[test]
    fn a_loop_ends_when_its_last_item_left_and_nobody_outside_can_send() {
        let of = Arc::new(InFlight::default());
        let (one, other) = (of.from_outside(), of.from_outside());
        of.enter(1);
        drop(one);
        of.enter(2);
        of.leave(3);
        assert!(!of.is_over());
        of.enter(1);
        drop(other);
        assert!(!of.is_over());
        of.leave(1);
        assert!(of.is_over());
    }

    #[test]
    fn what_was_gathered_is_let_go_before_the_end() {
        let of = Arc::new(InFlight::default());
        let gatherer = Arc::new(Gatherer { of: Arc::clone(&of), held: AtomicBool::new(true) });
        let weak: Weak<Gatherer> = Arc::downgrade(&gatherer);
        of.join(weak);
        let outside = of.from_outside();
        of.enter(1);
        of.leave(1);
        drop(outside);
        assert!(!of.is_over(), "the gathered item is on its way");
        of.leave(1);
        assert!(of.is_over());
    }

    #[test]
    fn a_loop_into_which_nothing_came_ends_with_its_senders() {
        let of = Arc::new(InFlight::default());
        drop(of.from_outside());
        assert!(of.is_over());
    }
}
