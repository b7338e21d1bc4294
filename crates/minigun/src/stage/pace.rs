//! A rate where there is no queue to hold items back: the worker itself waits before each.

use std::sync::Arc;

use super::output::Output;
use super::sink::{BoxSink, Cx, MakeSink, Sink};
use super::step_run::StepRun;
use crate::failure::Failure;
use crate::gate::{Bucket, Rate};
use crate::shared::Shared;
use crate::sync::Mutex;
use crate::timers;

/// Shared by the workers of a process that keep one rate together.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Mutex<Bucket>>);

impl Pace {
    pub(crate) fn new(rate: Rate) -> Self {
        Pace(Arc::new(Mutex::new(Bucket::new(rate))))
    }

    /// Waits until the next item may pass, or the run is stopped. An error if it was halted.
    fn keep(&self, run: &Arc<Shared>) -> Result<(), Failure> {
        let now = timers::now();
        let due = self.0.lock().reserve(now);
        if due > now && run.wait_for_stop(due - now) {
            return Err("the run was ended while an item waited for its turn at a rate".into());
        }
        Ok(())
    }
}

/// In front of a block that has no queue: inline, or nested in a worker.
struct Paced<T> {
    behind: BoxSink<T>,
    pace: Pace,
    run: Arc<Shared>,
}

impl<T> Sink<T> for Paced<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        self.pace.keep(&self.run)?;
        self.behind.push(item)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.behind.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.behind.finish()
    }

    fn load(&mut self) -> usize {
        self.behind.load()
    }
}

/// The sink of a block, at this rate if there is one.
pub(crate) fn paced<T: 'static>(rate: Option<Rate>, behind: MakeSink<T>) -> MakeSink<T> {
    let Some(pace) = rate.map(Pace::new) else { return behind };
    Arc::new(move |cx| {
        let (pace, run) = (pace.clone(), Arc::clone(&cx.run));
        Ok(Box::new(Paced { behind: behind(cx)?, pace, run }) as BoxSink<T>)
    })
}

/// The step that only keeps a rate.
pub(crate) struct RateStep {
    pace: Pace,
    run: Arc<Shared>,
}

impl RateStep {
    pub(crate) fn new(pace: &Pace, cx: &Cx) -> Self {
        RateStep { pace: pace.clone(), run: Arc::clone(&cx.run) }
    }
}

impl<T> StepRun<T, T> for RateStep {
    fn run(&mut self, item: T, out: &mut Output<T>) -> Result<(), Failure> {
        self.pace.keep(&self.run)?;
        out.emit(item);
        Ok(())
    }
}
