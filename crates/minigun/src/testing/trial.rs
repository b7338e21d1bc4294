//! One run of the kit: ended if it takes too long, and what can be wrong with it.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::failure::StopCause;
use crate::pipeline::Pipeline;
use crate::plan::Executor;
use crate::report::Report;

/// Why a test with the kit fails. `Debug` prints the same text as `Display`, so that `unwrap` reads well.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The run ended with an error: a mistake in the wiring, a hook, an item whose policy is to stop.
    #[error("{}{error}", under(*executor))]
    Run {
        /// Under which executor, if the kit chose one.
        executor: Option<Executor>,
        /// The run's own error.
        error: Error,
    },
    /// The run had not ended in time, and was killed.
    #[error("{}the run hangs: it had not ended after {bound:?}", under(*executor))]
    Hangs {
        /// Under which executor, if the kit chose one.
        executor: Option<Executor>,
        /// The time it was given.
        bound: Duration,
    },
    /// Two executors gave different results.
    #[error("under {executor} the result is not that under {first}: {difference}")]
    Differs {
        /// The executor whose result is the measure.
        first: Executor,
        /// The one that differs.
        executor: Executor,
        /// What is missing and what is too much, or both values.
        difference: String,
    },
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn under(executor: Option<Executor>) -> String {
    executor.map_or(String::new(), |executor| format!("under {executor}: "))
}

/// Runs the pipeline, and kills the run when `bound` is over.
pub(super) fn run(p: Pipeline, executor: Option<Executor>, bound: Duration) -> Result<Report, Fault> {
    let fails = |error| Fault::Run { executor, error };
    let running = p.start().map_err(fails)?;
    let handle = running.handle();
    let (ended, watched) = mpsc::channel::<()>();
    let watchdog = move || {
        let late = watched.recv_timeout(bound) == Err(RecvTimeoutError::Timeout);
        if late {
            // What could not be ended is told by the run itself.
            drop(handle.kill());
        }
        late
    };
    let watchdog = thread::Builder::new().name("mg:watchdog".into()).spawn(watchdog);
    let watchdog = watchdog.map_err(|source| fails(Error::Thread { stage: "watchdog".into(), source }))?;
    let outcome = running.join();
    drop(ended);
    let late = watchdog.join().unwrap_or(false);
    match outcome {
        Err(Error::Killed { by: StopCause::Handle }) if late => Err(Fault::Hangs { executor, bound }),
        outcome => outcome.map_err(fails),
    }
}
