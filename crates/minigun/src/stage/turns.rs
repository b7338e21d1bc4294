//! Input order for what parallel workers made: everyone hands in what an item gave, and it goes on when all before
//! it has.
//!
//! Nobody waits for a turn: who hands in what is next passes on all that follows, and the others go on with their
//! work. How much can wait here is bounded where items are taken: the queue's gate admits only a window of them, and
//! none while what waits is too large ([`HELD_BYTES`]).

use std::collections::BTreeMap;

use crate::defaults::HELD_BYTES;
use crate::sync::Mutex;

/// What items gave, by their numbers: `None` for one that gives nothing, but must give up its place.
pub(crate) struct Turns<X>(Mutex<State<X>>);

struct State<X> {
    waiting: BTreeMap<u64, (usize, Option<X>)>,
    /// The sizes of what waits.
    size: usize,
    /// The next to go on.
    next: u64,
    /// Everything below has gone on.
    below: u64,
    /// Somebody passes on what is next.
    passing: bool,
}

/// How far all has been passed on.
#[derive(Debug, PartialEq)]
pub(crate) struct Passed {
    /// Everything below.
    pub(crate) below: u64,
    /// Too much waits for what is next.
    pub(crate) full: bool,
}

impl<X> Turns<X> {
    pub(crate) fn new() -> Self {
        Turns(Mutex::new(State { waiting: BTreeMap::new(), size: 0, next: 0, below: 0, passing: false }))
    }

    /// Hands in what an item gave, of that size in bytes. If it says so, the caller must call
    /// [`next`](Self::next) until nothing more comes; one that fails at that ends the run. `told` hears if too much
    /// waits now.
    pub(crate) fn hand_in(
        &self,
        (number, size): (u64, usize),
        given: Option<X>,
        told: impl FnOnce(Passed),
    ) -> bool {
        let mut state = self.0.lock();
        state.waiting.insert(number, (size, given));
        state.size += size;
        if state.size > HELD_BYTES {
            told(Passed { below: state.below, full: true });
        }
        let passes = !state.passing && number == state.next;
        state.passing |= passes;
        passes
    }

    /// What is next to be passed on; what was given before has been. `told` hears how far that is.
    pub(crate) fn next(&self, told: impl FnOnce(Passed)) -> Option<(u64, X)> {
        let mut state = self.0.lock();
        state.below = state.next;
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
        state.passing = found.is_some();
        // Under the lock, so that what is told is told in order.
        told(Passed { below: state.below, full: state.size > HELD_BYTES });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::mpsc;
    use std::thread;

    fn shuffled(most: usize) -> impl Strategy<Value = Vec<(u64, bool)>> {
        prop::collection::vec(any::<bool>(), 0..most)
            .prop_map(|gives| (0u64..).zip(gives).collect::<Vec<_>>())
            .prop_shuffle()
    }

    proptest! {
        #[test]
        fn everything_goes_on_in_order_and_gives_up_its_place(items in shuffled(100)) {
            let (turns, mut passed) = (Turns::new(), Vec::new());
            let mut below = 0;
            for (number, gives) in &items {
                if turns.hand_in((*number, 1), gives.then_some(*number), |_| {}) {
                    while let Some((number, given)) = turns.next(|passed| below = passed.below) {
                        assert_eq!((number, below), (given, number));
                        passed.push(given);
                    }
                }
            }
            let mut expected: Vec<_> = items.iter().filter(|(_, gives)| *gives).map(|(number, _)| *number).collect();
            expected.sort_unstable();
            prop_assert_eq!(passed, expected);
            prop_assert_eq!(below, items.len() as u64);
        }
    }

    #[test]
    fn from_many_threads_one_passes_on_at_a_time_and_nothing_is_left() {
        let turns = Turns::new();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let (turns, tell) = (&turns, tell.clone());
                scope.spawn(move || {
                    for number in (thread..4_000).step_by(4) {
                        if turns.hand_in((number, 0), Some(number), |_| {}) {
                            while let Some((_, given)) = turns.next(|_| {}) {
                                tell.send(given).ok();
                            }
                        }
                    }
                });
            }
            drop(tell);
        });
        assert!(told.into_iter().eq(0..4_000));
    }

    #[test]
    fn too_much_that_waits_is_told_until_it_has_gone_on() {
        let turns = Turns::new();
        let mut said = None;
        assert!(!turns.hand_in((1, HELD_BYTES + 1), Some('b'), |passed| said = Some(passed)));
        assert_eq!(said.take(), Some(Passed { below: 0, full: true }));
        assert!(turns.hand_in((0, 1), Some('a'), |_| {}));
        assert_eq!(turns.next(|passed| said = Some(passed)), Some((0, 'a')));
        assert_eq!(said, Some(Passed { below: 0, full: true }));
        assert_eq!(turns.next(|passed| said = Some(passed)), Some((1, 'b')));
        assert_eq!(said, Some(Passed { below: 1, full: false }));
        assert_eq!(turns.next(|passed| said = Some(passed)), None);
        assert_eq!(said, Some(Passed { below: 2, full: false }));
    }
}
