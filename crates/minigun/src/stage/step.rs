//! One step: a closure, what it emits into, and its figures.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use std::vec::Drain;

use super::attempt::guarded;
use super::output::Output;
use super::sink::{BoxSink, Broken, Cx, Point, Series, Sink};
use super::tx::{Outlet, Tx};
use crate::failure::Failure;
use crate::graph::StageId;
use crate::journal::{Journal, StepCells};
use crate::working::Working;

/// What a step does with an item: a closure, or something that must be told of the end.
pub(crate) trait StepRun<T, U> {
    fn run(&mut self, item: T, out: &mut Output<U>) -> Result<(), Failure>;

    /// What was sent to ports since the last call.
    fn emitted(&mut self) -> u64 {
        0
    }

    /// How many items are under way behind the ports.
    fn load(&mut self) -> usize {
        0
    }

    /// Everything else is at rest: what the step holds is emitted now.
    fn rest(&mut self, out: &mut Output<U>) -> Result<(), Failure> {
        let _ = out;
        Ok(())
    }

    /// When it lets go of what it keeps, though nothing more may arrive.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// It is that time.
    fn ripen(&mut self, now: Instant, out: &mut Output<U>) {
        let _ = (now, out);
    }

    /// The worker ends: what the step still holds is emitted now.
    fn finish(&mut self, out: &mut Output<U>) -> Result<(), Failure> {
        let _ = out;
        Ok(())
    }
}

impl<T, U, F> StepRun<T, U> for F
where
    F: FnMut(T, &mut Output<U>) -> Result<(), Failure>,
{
    #[inline(always)]
    fn run(&mut self, item: T, out: &mut Output<U>) -> Result<(), Failure> {
        self(item, out)
    }
}

struct Step<F, U> {
    run: F,
    out: Output<U>,
    cells: Rc<StepCells>,
    name: Arc<str>,
    tx: Rc<Tx>,
    after: Option<Hook>,
}

/// A hook around a stage's life in one worker.
pub(crate) type Hook = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// What a step is called, and the hooks around its life.
#[derive(Clone)]
pub(crate) struct StepHead {
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    pub(crate) hooks: Arc<crate::sync::Mutex<Hooks>>,
}

/// Hooks of one stage, in the order in which they were given.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) before: Vec<Hook>,
    pub(crate) after: Vec<Hook>,
}

impl StepHead {
    pub(crate) fn new(stage: StageId, name: &str) -> Self {
        StepHead { stage, name: name.into(), hooks: Arc::default() }
    }
}

/// Builds the sink of a step whose outputs go to `next`.
pub(crate) fn step_sink<T, U, F>(
    head: &StepHead,
    make: &dyn Fn(&mut Cx) -> Result<F, Failure>,
    next: &Point<U>,
    cx: &mut Cx,
) -> Result<BoxSink<T>, Failure>
where
    T: 'static,
    U: 'static,
    F: StepRun<T, U> + 'static,
{
    let (before, after) = {
        let hooks = head.hooks.lock();
        (chain(&hooks.before), chain(&hooks.after))
    };
    let out = Output::new(next.sink(cx)?, Arc::clone(&cx.run));
    if let Some(before) = before
        && !cx.again
    {
        guarded(|| before()).map_err(|failure| failure.at(&head.name))?;
    }
    let run = guarded(|| make(cx)).map_err(|failure| failure.at(&head.name))?;
    let cells = cx.tx.journal.step(head.stage);
    Ok(Box::new(Step { run, out, cells, name: Arc::clone(&head.name), tx: Rc::clone(&cx.tx), after }))
}

fn chain(hooks: &[Hook]) -> Option<Hook> {
    if hooks.is_empty() {
        return None;
    }
    let hooks = hooks.to_vec();
    Some(Arc::new(move || hooks.iter().try_for_each(|hook| hook())))
}

/// Dropped only by a panic that passes through the step: names it, unless a step behind it was named before.
struct Blame<'a> {
    tx: &'a Tx,
    name: &'a Arc<str>,
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        self.tx.blame(self.name);
    }
}

/// What a series of items came to, booked when it ends: where each item is committed before the next begins, nothing
/// of this is ever undone.
struct Booked<'a> {
    cells: &'a StepCells,
    journal: &'a Journal,
    first: u64,
    outs: u64,
    nones: u64,
}

impl Drop for Booked<'_> {
    fn drop(&mut self) {
        self.cells.book(self.journal.item() - self.first, self.outs, self.nones);
    }
}

impl<F, U> Step<F, U> {
    /// Runs the closure with an item; gives how many items came of it.
    #[inline(always)]
    fn once<T>(&mut self, item: T) -> Result<u64, Failure>
    where
        F: StepRun<T, U>,
    {
        self.out.emitted = 0;
        let blame = Blame { tx: &self.tx, name: &self.name };
        let outcome = self.run.run(item, &mut self.out);
        std::mem::forget(blame);
        let emitted = self.out.emitted + self.run.emitted();
        // A step behind that failed is nearer to the cause than what this closure made of it.
        if self.out.has_failed()
            && let Some(failure) = self.out.take_failure()
        {
            return Err(failure);
        }
        if let Err(failure) = outcome {
            return Err(failure.at(&self.name));
        }
        Ok(emitted)
    }

    #[inline(always)]
    fn each<T>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        series: &mut Series<'_>,
    ) -> Result<(), Broken>
    where
        F: StepRun<T, U>,
    {
        let (cells, tx) = (Rc::clone(&self.cells), Rc::clone(&self.tx));
        let journal = &*tx.journal;
        let mut booked = Booked { cells: &cells, journal, first: journal.item(), outs: 0, nones: 0 };
        let sole = self.out.edge().cloned().filter(|_| tx.has_sole_outlet());
        let attempt = |item| {
            let emitted = self.once(item)?;
            tx.settle(|| self.out.settle())?;
            booked.outs += emitted;
            booked.nones += u64::from(emitted == 0);
            Ok(())
        };
        series.each(items, attempt, |tx| match &sole {
            Some(edge) => edge.publish(),
            None => tx.publish(),
        })
    }

    /// Does what may emit though no item arrived.
    fn of_no_item(
        &mut self,
        f: impl FnOnce(&mut F, &mut Output<U>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.out.emitted = 0;
        let blame = Blame { tx: &self.tx, name: &self.name };
        let outcome = f(&mut self.run, &mut self.out).map_err(|failure| failure.at(&self.name));
        std::mem::forget(blame);
        self.cells.add(&self.tx.journal, 0, self.out.emitted, 0);
        self.out.take_failure().map_or(outcome, Err)
    }
}

impl<T, U, F> Sink<T> for Step<F, U>
where
    F: StepRun<T, U>,
{
    #[inline]
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let emitted = self.once(item)?;
        self.cells.add(&self.tx.journal, 1, emitted, u64::from(emitted == 0));
        Ok(())
    }

    fn push_run(&mut self, run: &mut Drain<'_, T>, series: &mut Series<'_>) -> Result<(), Broken> {
        self.each(run, series)
    }

    fn feed(&mut self, items: &mut dyn Iterator<Item = T>, series: &mut Series<'_>) -> Result<(), Broken> {
        self.each(items, series)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.out.settle()
    }

    fn due(&self) -> Option<Instant> {
        self.run.due()
    }

    fn ripen(&mut self, now: Instant) -> Result<(), Failure> {
        self.of_no_item(|run, out| {
            run.ripen(now, out);
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        // What an attempt left that ended in a panic.
        drop(self.out.take_failure());
        self.run.emitted();
        let own = match self.after.take() {
            Some(after) => guarded(|| after()).map_err(|failure| failure.at(&self.name).of_hook()),
            None => Ok(()),
        };
        // What the step emits only now is committed or undone with the worker's end, as an attempt is.
        self.tx.journal.works_at(Working::Rest);
        let rest = self.of_no_item(|run, out| run.finish(out));
        self.tx.journal.works_at(Working::Nothing);
        own.and(rest).and(self.out.finish())
    }

    fn rest(&mut self) -> Result<(), Failure> {
        self.of_no_item(|run, out| run.rest(out))
    }

    fn load(&mut self) -> usize {
        self.out.load() + self.run.load()
    }
}
