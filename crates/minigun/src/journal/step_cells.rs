//! What one step of a worker counts, so that a failed attempt's part can be taken back.

use std::cell::Cell;

use crate::graph::StageId;
use crate::meter::STATISTICS;

/// A step's figures since they were last taken, with those of the running attempt.
///
/// Most steps make one item of one, or none: such an item is counted in one figure, not in several.
pub(crate) struct StepCells {
    pub(crate) stage: StageId,
    /// Items of which nothing came, just one, and more; and what came of those.
    nothing: Figure,
    one: Figure,
    more: Figure,
    of_more: Figure,
}

/// A state of a step's figures.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing([u64; 4]);

/// What an attempt adds must go if it fails, and most attempts succeed: so only a figure that the attempt reaches
/// remembers where it stood before, and success costs nothing.
#[derive(Default)]
struct Figure {
    now: Cell<u64>,
    /// What it was before the attempt that came here last, and that attempt.
    before: Cell<u64>,
    reached_by: Cell<u64>,
}

impl Figure {
    /// The attempt adds so many.
    #[inline]
    fn add(&self, attempt: u64, n: u64) {
        let now = self.now.get();
        if self.reached_by.replace(attempt) != attempt {
            self.before.set(now);
        }
        self.now.set(now + n);
    }

    /// So many are committed already.
    fn book(&self, n: u64) {
        self.now.set(self.now.get() + n);
    }

    fn undo(&self, attempt: u64) {
        if self.reached_by.get() == attempt {
            self.now.set(self.before.get());
        }
    }
}

impl StepCells {
    pub(crate) fn new(stage: StageId) -> Self {
        let [nothing, one, more, of_more] = [(); 4].map(|()| Figure::default());
        StepCells { stage, nothing, one, more, of_more }
    }

    fn figures(&self) -> [&Figure; 4] {
        [&self.nothing, &self.one, &self.more, &self.of_more]
    }

    /// In the attempt so many items came of one.
    #[inline]
    pub(crate) fn add(&self, attempt: u64, outs: u64) {
        if !STATISTICS {
            return;
        }
        match outs {
            1 => self.one.add(attempt, 1),
            0 => self.nothing.add(attempt, 1),
            _ => {
                self.more.add(attempt, 1);
                self.of_more.add(attempt, outs);
            }
        }
    }

    /// In the attempt so many items came, so many came of them, and of so many of them nothing.
    pub(crate) fn add_all(&self, attempt: u64, ins: u64, outs: u64, nones: u64) {
        if STATISTICS {
            self.nothing.add(attempt, nones);
            self.more.add(attempt, ins - nones);
            self.of_more.add(attempt, outs);
        }
    }

    /// As [`add_all`](Self::add_all), of what is committed already. Not while an attempt runs that came here: to undo that would
    /// be to undo this.
    pub(crate) fn book(&self, ins: u64, outs: u64, nones: u64) {
        if STATISTICS {
            self.nothing.book(nones);
            self.more.book(ins - nones);
            self.of_more.book(outs);
        }
    }

    /// The attempt goes, if it came here last.
    pub(super) fn undo(&self, attempt: u64) {
        self.figures().iter().for_each(|figure| figure.undo(attempt));
    }

    pub(super) fn now(&self) -> Standing {
        Standing(self.figures().map(|figure| figure.now.get()))
    }

    pub(super) fn set(&self, Standing(now): Standing) {
        self.figures().iter().zip(now).for_each(|(figure, now)| figure.now.set(now));
    }

    /// Takes how many items came, how many came of them, and of how many nothing.
    pub(super) fn take(&self) -> (u64, u64, u64) {
        let [nothing, one, more, of_more] = self.figures().map(|figure| figure.now.take());
        (nothing + one + more, one + of_more, nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Attempts, each with what came of the items that reached the step in it, and whether it fails.
        #[test]
        fn what_failed_attempts_counted_is_gone_and_nothing_else(
            attempts in prop::collection::vec((prop::collection::vec(0..4_u64, 0..5), any::<bool>()), 0..40),
        ) {
            let cells = StepCells::new(StageId(0));
            let mut expected = (0, 0, 0);
            for (number, (came, fails)) in attempts.into_iter().enumerate() {
                let attempt = number as u64 + 1;
                came.iter().for_each(|outs| cells.add(attempt, *outs));
                if fails {
                    cells.undo(attempt);
                    continue;
                }
                expected.0 += came.len() as u64;
                expected.1 += came.iter().sum::<u64>();
                expected.2 += came.iter().filter(|outs| **outs == 0).count() as u64;
            }
            prop_assert_eq!(cells.take(), expected);
            prop_assert_eq!(cells.take(), (0, 0, 0));
        }
    }

    #[test]
    fn an_outer_attempt_goes_with_what_stood_of_its_inner_ones() {
        let cells = StepCells::new(StageId(0));
        cells.add(1, 1);
        cells.add(2, 1);
        let before = cells.now();
        cells.add(2, 7);
        cells.set(before);
        cells.add(2, 5);
        cells.undo(2);
        cells.book(4, 2, 3);
        assert_eq!(cells.take(), (5, 3, 3));
    }

    #[test]
    fn an_inner_attempt_goes_and_the_outer_one_stays() {
        let cells = StepCells::new(StageId(0));
        cells.add(1, 1);
        let before = cells.now();
        for outs in [1, 0, 7] {
            cells.add(1, outs);
        }
        cells.add_all(1, 5, 3, 2);
        cells.set(before);
        cells.add(1, 0);
        assert_eq!(cells.take(), (2, 1, 1));
    }
}
