//! Attempts at items: each runs through the worker's sinks as one transaction, and a panic is an error.

use std::any::Any;
use std::cell::Cell;
use std::iter::from_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Instant;
use std::vec::Drain;

use super::edge::Edge;
use super::series::{Broken, Series};
use super::sink::{BoxSink, Cx, MakeSink};
use super::tx::Tx;
use crate::failure::Failure;
pub(crate) use crate::failure::guarded;
use crate::meter::Meter;
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

    /// Where items go, if the steps are nothing but the way into a queue.
    pub(crate) fn edge(&self) -> Option<Rc<Edge<T>>> {
        self.head.edge()
    }

    /// Tries one item. On success its outputs are held back, ready to be committed; on failure nothing of
    /// it is left.
    pub(crate) fn run(&mut self, item: T, at: Working) -> Result<(), Failure> {
        self.cx.tx.journal.works_at(at);
        let outcome = self.tried(item);
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
    }

    /// As [`run`](Self::run), of an item that is decoded first. A panic of that concerns the item alone.
    pub(crate) fn run_decoded(
        &mut self,
        decode: impl FnOnce() -> Result<T, Failure>,
        at: Working,
    ) -> Result<(), Failure> {
        self.mend()?;
        let (head, tx) = (&mut self.head, &*self.cx.tx);
        let mut begun = false;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let item = decode()?;
            begun = true;
            tx.journal.works_at(at);
            head.push(item)?;
            tx.settle(|| head.settle())
        }));
        tx.journal.works_at(Working::Nothing);
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(self.failed(failure)),
            Err(payload) if begun => Err(self.panicked(payload)),
            Err(payload) => Err(Failure::from_panic(payload)),
        }
    }

    /// When the steps let go of what they keep, though nothing more may arrive.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.head.due()
    }

    /// It is that time. As [`run`](Self::run), of no item.
    pub(crate) fn ripen(&mut self, now: Instant) -> Result<(), Failure> {
        self.of_no_item(|head| head.ripen(now))
    }

    /// Lets go of what the steps have gathered. As [`run`](Self::run), of no item.
    pub(crate) fn rest(&mut self) -> Result<(), Failure> {
        self.of_no_item(|head| head.rest())
    }

    fn of_no_item(&mut self, f: impl FnOnce(&mut BoxSink<T>) -> Result<(), Failure>) -> Result<(), Failure> {
        self.cx.tx.journal.works_at(Working::Rest);
        let outcome = self.caught(|head, _| {
            f(head)?;
            head.settle()
        });
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
    }

    fn tried(&mut self, item: T) -> Result<(), Failure> {
        self.mend()?;
        self.caught(|head, tx| {
            head.push(item)?;
            tx.settle(|| head.settle())
        })
    }

    /// What fails is undone.
    fn caught(&mut self, f: impl FnOnce(&mut BoxSink<T>, &Tx) -> Result<(), Failure>) -> Result<(), Failure> {
        let (head, tx) = (&mut self.head, &*self.cx.tx);
        match catch_unwind(AssertUnwindSafe(|| f(head, tx))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(self.failed(failure)),
            Err(payload) => Err(self.panicked(payload)),
        }
    }

    /// First attempts at the items of a run, each committed for itself; `first` is the number of the first. Gives
    /// the number of the item that comes next and, if it went no further, why; behind it the rest of the run is left.
    pub(crate) fn run_all(
        &mut self,
        run: &mut Drain<'_, T>,
        first: u64,
        meter: &mut Meter,
    ) -> (u64, Result<(), Broken>) {
        if let Err(failure) = self.mend() {
            // It stands for the first item, which is tried by nobody then.
            drop(run.next());
            return (first, Err(failure.into()));
        }
        let (number, outcome) = self.series(first, meter, |head, series| head.push_run(run, series));
        (number, self.outcome(outcome))
    }

    /// As [`run_all`](Self::run_all), of what an iterator gives, until it has no more. A panic of the iterator is none of
    /// an attempt, and is given back.
    pub(crate) fn feed(
        &mut self,
        items: &mut impl Iterator<Item = T>,
        first: u64,
        meter: &mut Meter,
    ) -> (u64, thread::Result<Result<(), Broken>>) {
        let (asking, journal) = (Cell::new(false), Rc::clone(&self.cx.tx.journal));
        let mut items = from_fn(|| {
            asking.set(true);
            let item = journal.aside(|| items.next());
            asking.set(false);
            item
        });
        let (number, outcome) = self.series(first, meter, |head, series| head.feed(&mut items, series));
        match outcome {
            Err(payload) if asking.get() => {
                self.cx.tx.absolve();
                (number, Err(payload))
            }
            outcome => (number, Ok(self.outcome(outcome))),
        }
    }

    fn series(
        &mut self,
        first: u64,
        meter: &mut Meter,
        run: impl FnOnce(&mut BoxSink<T>, &mut Series<'_>) -> Result<(), Broken>,
    ) -> (u64, thread::Result<Result<(), Broken>>) {
        let (head, cx) = (&mut self.head, &self.cx);
        let mut series = Series::new(&cx.tx, &cx.run, meter, first);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(head, &mut series)));
        (series.reached(), outcome)
    }

    /// What fails is undone.
    fn outcome(&mut self, outcome: thread::Result<Result<(), Broken>>) -> Result<(), Broken> {
        match outcome {
            Ok(Err(Broken::Failed(failure))) => Err(self.failed(failure).into()),
            Ok(other) => other,
            Err(payload) => Err(self.panicked(payload).into()),
        }
    }

    /// After a panic the steps are made anew.
    fn mend(&mut self) -> Result<(), Failure> {
        if self.broken { self.rebuild() } else { Ok(()) }
    }

    fn failed(&mut self, failure: Failure) -> Failure {
        self.cx.tx.undo();
        self.broken = self.cx.tx.take_broken();
        failure
    }

    fn panicked(&mut self, payload: Box<dyn Any + Send>) -> Failure {
        self.cx.tx.undo();
        self.broken = true;
        self.cx.tx.panicked(payload)
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
