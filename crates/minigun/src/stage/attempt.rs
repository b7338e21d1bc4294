//! Attempts at items: each runs through the worker's sinks as one transaction, and a panic is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sink::{BoxSink, Cx, MakeSink};
use crate::failure::Failure;
pub(crate) use crate::failure::guarded;
use crate::working::Working;

/// One worker's steps, ready to be tried on items.
pub(crate) struct Attempt<T> {
    make: MakeSink<T>,
    pub(crate) cx: Cx,
    head: BoxSink<T>,
    /// The last attempt panicked: state made by the steps' `_init` may be broken.
    broken: bool,
}

impl<T> Attempt<T> {
    /// Builds the worker's steps: runs their `_init` closures.
    pub(crate) fn new(make: MakeSink<T>, mut cx: Cx) -> Result<Self, Failure> {
        let head = guarded(|| make(&mut cx))?;
        cx.again = true;
        Ok(Attempt { make, cx, head, broken: false })
    }

    /// Tries one item. On success its outputs are held back, ready to be committed; on failure nothing of
    /// it is left.
    pub(crate) fn run(&mut self, item: T, at: Working) -> Result<(), Failure> {
        self.cx.tx.journal.works_at(at);
        let outcome = self.tried(item);
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
    }

    /// Lets go of what the steps have gathered, as an attempt of its own.
    pub(crate) fn rest(&mut self) -> Result<(), Failure> {
        self.cx.tx.journal.works_at(Working::Rest);
        let outcome = self.attempted(|head| {
            head.rest()?;
            head.settle()
        });
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
    }

    fn tried(&mut self, item: T) -> Result<(), Failure> {
        if self.broken {
            self.rebuild()?;
        }
        self.attempted(|head| {
            head.push(item)?;
            head.settle()
        })
    }

    fn attempted(&mut self, f: impl FnOnce(&mut BoxSink<T>) -> Result<(), Failure>) -> Result<(), Failure> {
        let head = &mut self.head;
        let outcome = catch_unwind(AssertUnwindSafe(|| f(head)));
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => {
                self.cx.tx.undo();
                self.broken = self.cx.tx.take_broken();
                Err(failure)
            }
            Err(payload) => {
                self.cx.tx.undo();
                self.broken = true;
                Err(self.cx.tx.panicked(payload))
            }
        }
    }

    fn rebuild(&mut self) -> Result<(), Failure> {
        let (make, cx) = (&self.make, &mut self.cx);
        let head = guarded(|| make(cx))?;
        // Only now is the old head dropped: its senders kept the queues behind it open meanwhile.
        let old = std::mem::replace(&mut self.head, head);
        self.broken = false;
        let dropped = guarded(move || {
            drop(old);
            Ok(())
        });
        // The old head's outlets are let go; those that others hold, as a worker process its way out, stay.
        self.cx.tx.flush();
        dropped
    }

    /// The worker ends: stage hooks run, then the steps' state is dropped.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let finished = guarded(|| self.head.finish()).map_err(|failure| self.cx.tx.place(failure));
        let head = self.head;
        finished.and(guarded(move || {
            drop(head);
            Ok(())
        }))
    }
}
