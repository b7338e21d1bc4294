//! A part of a pipeline on given inputs.

use std::sync::Arc;
use std::time::Duration;

use super::chaos::Chaos;
use super::clock::Clock;
use super::trial::{self, Fault};
use crate::defaults;
use crate::failure::{Backoff, FailedItem};
use crate::pipeline::Pipeline;
use crate::pipeline::flow::{Flow, Segment};
use crate::plan::Executor;
use crate::report::Report;
use crate::stage::letters::Dead;
use crate::sync::Mutex;
use crate::wire::Wire;

/// What a part of a pipeline did with its inputs.
pub struct Ran<T, U> {
    /// What came out, in the order in which it arrived: that of the inputs on one worker, any on several.
    pub outputs: Vec<U>,
    /// Every item that failed for good, whatever became of it, in the order in which it was given up.
    pub failures: Vec<FailedItem>,
    /// The inputs that failed for good, with why. Those of blocks inside the part go where the part sends them.
    pub dead: Vec<Dead<T>>,
    /// The run's report.
    pub report: Report,
}

impl<T, U: Ord> Ran<T, U> {
    /// The outputs, sorted: to compare what came out in any order.
    pub fn sorted(self) -> Vec<U> {
        let mut outputs = self.outputs;
        outputs.sort();
        outputs
    }
}

/// Runs a segment inline on these inputs; what fails for good is a dead letter. [`on`] runs it elsewhere.
///
/// # Errors
/// As [`Trial::segment`].
pub fn segment<T: Wire, U: Wire>(
    inputs: impl IntoIterator<Item = T>,
    f: impl FnOnce(Segment<T>) -> Segment<U>,
) -> Result<Ran<T, U>, Fault> {
    on(Executor::Inline).segment(inputs, f)
}

/// Runs a part of a program on these inputs: with blocks, batches and policies of its own. An item that fails where
/// no policy says otherwise ends the run, as in the program.
///
/// # Errors
/// What ended the run, or that it did not end.
pub fn flow<T: Send + 'static, U: Send + 'static>(
    inputs: impl IntoIterator<Item = T>,
    f: impl FnOnce(Flow<T>) -> Flow<U>,
) -> Result<Ran<T, U>, Fault> {
    let p = Pipeline::new("test");
    let inputs: Vec<T> = inputs.into_iter().collect();
    let outputs = f(p.source("inputs", inputs)).collect("outputs");
    let failures = failures_of(&p);
    let mut report = trial::run(p, None, defaults::TRIAL_BOUND)?;
    let outputs = report.take(outputs);
    Ok(Ran { outputs, failures: std::mem::take(&mut *failures.lock()), dead: Vec::new(), report })
}

/// A segment is to be run on this executor, as a block of a pipeline.
pub fn on(executor: Executor) -> Trial {
    Trial {
        executor,
        attempts: 1,
        backoff: Backoff::none(),
        chaos: None,
        timeout: None,
        clock: None,
        bound: defaults::TRIAL_BOUND,
    }
}

/// Where and how the kit runs a segment; made by [`on`].
#[derive(Clone)]
#[must_use = "nothing is run before `segment` is called"]
pub struct Trial {
    executor: Executor,
    attempts: u32,
    backoff: Backoff,
    chaos: Option<Chaos>,
    timeout: Option<Duration>,
    clock: Option<Clock>,
    bound: Duration,
}

impl Trial {
    /// As [`Block::retry`](crate::Block::retry): up to `attempts` attempts at each input. Default: 1.
    pub fn retry(mut self, attempts: u32, backoff: Backoff) -> Self {
        (self.attempts, self.backoff) = (attempts, backoff);
        self
    }

    /// As [`Block::timeout`](crate::Block::timeout): the longest time for one input, where processes run it.
    /// Default: none.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Chance strikes before the first step of the segment. Default: it does not.
    pub fn chaos(mut self, chaos: &Chaos) -> Self {
        self.chaos = Some(chaos.clone());
        self
    }

    /// As [`Pipeline::timed_by`](crate::Pipeline::timed_by): by what clock retries wait, and rates go.
    /// Default: the system's.
    pub fn timed_by(mut self, clock: &Clock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// The run is killed, and the test fails, if it has not ended after this time.
    /// Default: [`TRIAL_BOUND`](crate::defaults::TRIAL_BOUND).
    pub fn within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Runs the segment on these inputs. What fails for good is a dead letter: the run goes on.
    ///
    /// # Errors
    /// What else ended the run (a hook, an `_init` closure, worker processes that are not to be had), or that it did
    /// not end.
    pub fn segment<T: Wire, U: Wire>(
        &self,
        inputs: impl IntoIterator<Item = T>,
        f: impl FnOnce(Segment<T>) -> Segment<U>,
    ) -> Result<Ran<T, U>, Fault> {
        let p = Pipeline::new("test");
        if let Some(clock) = &self.clock {
            p.timed_by(clock);
        }
        let (port, letters) = p.inlet::<Dead<T>>("dead letters");
        let inputs: Vec<T> = inputs.into_iter().collect();
        let mut place = self.executor.place();
        if self.chaos.is_some() {
            place = place.max_restarts(u32::MAX);
        }
        if let Some(limit) = self.timeout.filter(|_| self.executor.is_process()) {
            place = place.timeout(limit);
        }
        let outputs = p
            .source("inputs", inputs)
            .on(place.retry(self.attempts, self.backoff).dead_letter(&port), |s| {
                f(match &self.chaos {
                    Some(chaos) => s.then(chaos.step("chaos")),
                    None => s,
                })
            })
            .collect("outputs");
        let dead = letters.collect("dead");
        let failures = failures_of(&p);
        let mut report = trial::run(p, Some(self.executor), self.bound)?;
        let (outputs, dead) = (report.take(outputs), report.take(dead));
        Ok(Ran { outputs, failures: std::mem::take(&mut *failures.lock()), dead, report })
    }
}

/// Gathers every item that fails for good.
fn failures_of(p: &Pipeline) -> Arc<Mutex<Vec<FailedItem>>> {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&failures);
    p.on_failure(move |failed| ours.lock().push(failed.clone()));
    failures
}
