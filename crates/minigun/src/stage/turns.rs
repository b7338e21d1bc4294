//! Input order for what parallel workers made: everyone hands in what an item gave, and one thread passes it on when all
//! before it has gone on.
//!
//! No worker waits for a turn, so none is missing where an item is tried again. One thread passes everything on because a
//! queue keeps the order of each of its senders only. How much can wait here is bounded where items are taken: the
//! queue's gate admits only a window of them, and none while what waits is too large ([`HELD_BYTES`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::defaults::HELD_BYTES;
use crate::shared::Halt;
use crate::sync::{Condvar, Mutex};

/// What items gave, by their numbers: `None` for one that gives nothing, but must give up its place.
pub(crate) struct Turns<X> {
    state: Mutex<State<X>>,
    came: Condvar,
}

struct State<X> {
    waiting: BTreeMap<u64, (usize, Option<X>)>,
    /// The sizes of what waits.
    size: usize,
    /// The next to go on.
    next: u64,
    /// Everything below has gone on.
    below: u64,
    /// Workers that may still hand something in.
    hands: usize,
    stopped: bool,
}

/// How far all has been passed on.
#[derive(Debug, PartialEq)]
pub(crate) struct Passed {
    /// Everything below.
    pub(crate) below: u64,
    /// Too much waits for what is next.
    pub(crate) full: bool,
}

/// A worker's right to hand in; there is no more to come when all are dropped.
pub(crate) struct Hand<X>(Arc<Turns<X>>);

impl<X> Turns<X> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { waiting: BTreeMap::new(), size: 0, next: 0, below: 0, hands: 0, stopped: false };
        Arc::new(Turns { state: Mutex::new(state), came: Condvar::new() })
    }

    /// For each worker, before [`next`](Self::next) is first called.
    pub(crate) fn hand(self: &Arc<Self>) -> Hand<X> {
        self.state.lock().hands += 1;
        Hand(Arc::clone(self))
    }

    /// Hands in what an item gave, of that size in bytes. `told` hears if too much waits now.
    pub(crate) fn hand_in(&self, (number, size): (u64, usize), given: Option<X>, told: impl FnOnce(Passed)) {
        let mut state = self.state.lock();
        state.waiting.insert(number, (size, given));
        state.size += size;
        if state.size > HELD_BYTES {
            told(Passed { below: state.below, full: true });
        }
        if number == state.next {
            self.came.notify_one();
        }
    }

    /// Waits for what is next to be passed on; what was given before has been. `told` hears how far that is. `None` when
    /// nothing more will come.
    pub(crate) fn next(&self, told: impl Fn(Passed)) -> Option<(u64, X)> {
        let mut state = self.state.lock();
        state.below = state.next;
        loop {
            let mut found = None;
            while found.is_none()
                && let Some((size, given)) = {
                    let next = state.next;
                    state.waiting.remove(&next)
                }
            {
                state.size -= size;
                // What is about to be passed on still counts as under way.
                state.below = state.next;
                state.next += 1;
                match given {
                    Some(given) => found = Some((state.below, given)),
                    None => state.below = state.next,
                }
            }
            // Under the lock, so that what is told is told in order.
            told(Passed { below: state.below, full: state.size > HELD_BYTES });
            if found.is_some() {
                return found;
            }
            if state.stopped || state.hands == 0 {
                return None;
            }
            self.came.wait(&mut state);
        }
    }
}

impl<X: Send> Halt for Turns<X> {
    fn halt(&self) {
        self.state.lock().stopped = true;
        self.came.notify_all();
    }
}

impl<X> Drop for Hand<X> {
    fn drop(&mut self) {
        self.0.state.lock().hands -= 1;
        self.0.came.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    proptest! {
        #[test]
        fn everything_goes_on_in_order_and_gives_up_its_place(
            items in prop::collection::vec(any::<bool>(), 0..100)
                .prop_map(|gives| (0u64..).zip(gives).collect::<Vec<_>>())
                .prop_shuffle(),
        ) {
            let turns = Turns::new();
            for (number, gives) in &items {
                turns.hand_in((*number, 1), gives.then_some(*number), |_| {});
            }
            let below = std::cell::Cell::new(0);
            let mut passed = Vec::new();
            while let Some((number, given)) = turns.next(|passed| below.set(passed.below)) {
                assert_eq!((number, below.get()), (given, number));
                passed.push(given);
            }
            let mut expected: Vec<_> = items.iter().filter(|(_, gives)| *gives).map(|(number, _)| *number).collect();
            expected.sort_unstable();
            prop_assert_eq!(passed, expected);
            prop_assert_eq!(below.get(), items.len() as u64);
        }
    }

    #[test]
    fn from_many_threads_all_is_passed_on_until_the_last_hand_is_gone() {
        let turns = Turns::new();
        let hands: Vec<_> = (0..4).map(|_| turns.hand()).collect();
        thread::scope(|scope| {
            for (first, hand) in (0u64..).zip(hands) {
                scope.spawn(move || {
                    for number in (first..4_000).step_by(4) {
                        hand.0.hand_in((number, 0), Some(number), |_| {});
                    }
                });
            }
            let all = std::iter::from_fn(|| turns.next(|_| {}));
            assert!(all.map(|(_, given)| given).eq(0..4_000));
        });
    }

    #[test]
    fn too_much_that_waits_is_told_until_it_has_gone_on() {
        let turns = Turns::new();
        let said = std::cell::RefCell::new(None);
        let say = |passed| *said.borrow_mut() = Some(passed);
        turns.hand_in((1, HELD_BYTES + 1), Some('b'), say);
        assert_eq!(said.take(), Some(Passed { below: 0, full: true }));
        turns.hand_in((0, 1), Some('a'), |_| {});
        assert_eq!(turns.next(say), Some((0, 'a')));
        assert_eq!(said.take(), Some(Passed { below: 0, full: true }));
        assert_eq!(turns.next(say), Some((1, 'b')));
        assert_eq!(said.take(), Some(Passed { below: 1, full: false }));
        assert_eq!(turns.next(say), None);
        assert_eq!(said.take(), Some(Passed { below: 2, full: false }));
    }

    #[test]
    fn a_halt_ends_the_wait() {
        let turns = Turns::<()>::new();
        let _hand = turns.hand();
        turns.halt();
        assert_eq!(turns.next(|_| {}), None);
    }
}
