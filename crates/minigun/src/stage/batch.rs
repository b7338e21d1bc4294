//! The steps around the batcher: items into batches, and batches into batches of another size.

use std::hash::Hash;
use std::time::Instant;

use super::batcher::Batcher;
use super::output::Output;
use super::step_run::StepRun;
use crate::failure::Failure;
use crate::timers;

/// The step that turns items into batches.
pub(crate) struct Batch<T, K>(pub(crate) Batcher<T, K>);

impl<T, K: Hash + Eq + Clone> StepRun<T, Vec<T>> for Batch<T, K> {
    fn run(&mut self, item: T, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        let now = self.0.is_timed().then(timers::now);
        self.0.push(item, now, |batch| out.emit(batch));
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        self.0.due()
    }

    fn ripen(&mut self, now: Instant, out: &mut Output<Vec<T>>) {
        self.0.ripen(now, |batch| out.emit(batch));
    }

    fn rest(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        self.0.rest(|batch| out.emit(batch));
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
            self.0.push(item, None, |batch| out.emit(batch));
        }
        Ok(())
    }

    fn rest(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        self.0.rest(|batch| out.emit(batch));
        Ok(())
    }

    fn finish(&mut self, out: &mut Output<Vec<T>>) -> Result<(), Failure> {
        self.rest(out)
    }
}
