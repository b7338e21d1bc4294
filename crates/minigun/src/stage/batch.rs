//! Batches by size: the pure batcher, and the step around it.

use super::output::Output;
use super::step::StepRun;
use crate::failure::Failure;

/// Gathers items into batches of a fixed size.
pub(crate) struct Batcher<T> {
    size: usize,
    open: Vec<T>,
}

impl<T> Batcher<T> {
    /// `size` is at least 1.
    pub(crate) fn new(size: usize) -> Self {
        Batcher { size, open: Vec::new() }
    }

    /// Adds an item; gives the batch that it filled.
    pub(crate) fn push(&mut self, item: T) -> Option<Vec<T>> {
        if self.open.is_empty() {
            // Room for the whole batch, but not for a limit meant as "all there is".
            self.open.reserve(self.size.min(4096));
        }
        self.open.push(item);
        if self.open.len() >= self.size { Some(std::mem::take(&mut self.open)) } else { None }
    }

    /// The remainder, if there is one.
    pub(crate) fn rest(&mut self) -> Option<Vec<T>> {
        if self.open.is_empty() { None } else { Some(std::mem::take(&mut self.open)) }
    }
}

/// The step that turns items into batches.
pub(crate) struct Batch<T>(pub(crate) Batcher<T>);

impl<T> StepRun<T, Vec<T>> for Batch<T> {
    fn run(&mut self, item: T, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        if let Some(batch) = self.0.push(item) {
            out.emit(batch);
        }
        Ok(())
    }

    fn rest(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        if let Some(batch) = self.0.rest() {
            out.emit(batch);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        self.rest(out)
    }
}

/// The step that turns batches into batches of another size.
pub(crate) struct Rebatch<T>(pub(crate) Batcher<T>);

impl<T> StepRun<Vec<T>, Vec<T>> for Rebatch<T> {
    fn run(&mut self, items: Vec<T>, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        for item in items {
            if let Some(batch) = self.0.push(item) {
                out.emit(batch);
            }
        }
        Ok(())
    }

    fn rest(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        if let Some(batch) = self.0.rest() {
            out.emit(batch);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        self.rest(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_are_full_but_the_last_and_hold_every_item_in_order(size in 1usize..50, items in 0u32..500) {
            let mut batcher = Batcher::new(size);
            let mut batches: Vec<Vec<u32>> = (0..items).filter_map(|n| batcher.push(n)).collect();
            prop_assert!(batches.iter().all(|batch| batch.len() == size));
            batches.extend(batcher.rest());
            prop_assert!(batches.iter().all(|batch| !batch.is_empty()));
            prop_assert_eq!(batches.concat(), (0..items).collect::<Vec<_>>());
            prop_assert!(batcher.rest().is_none());
        }
    }
}
