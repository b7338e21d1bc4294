//! One step as a sink: runs its closure, and books its figures.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use std::vec::Drain;

use super::attempt::guarded;
use super::edge::Edge;
use super::output::Output;
use super::series::{Broken, Going, Series};
use super::sink::{BoxSink, Cx, Point, Sink};
use super::step_run::StepRun;
use super::tx::Tx;
use crate::failure::Failure;
use crate::graph::StageId;
use crate::journal::{Journal, StepCells};
use crate::queue::Straight;
use crate::working::Working;

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

/// How an attempt at an item ended. A step behind that failed is nearer to the cause than what this closure made of it.
#[inline(always)]
fn ended<U>(out: &mut Output<U>, outcome: Result<u64, Failure>, name: &Arc<str>) -> Result<u64, Failure> {
    if out.has_failed()
        && let Some(failure) = out.take_failure()
    {
        return Err(failure);
    }
    outcome.map_err(|failure| failure.at(name))
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
struct Booked<'a, O: Outs> {
    cells: &'a StepCells,
    journal: &'a Journal,
    first: u64,
    outs: O,
    nones: u64,
}

/// How many items came of a series: counted, or told by the way they went.
trait Outs {
    fn count(&self) -> u64;
}

impl Outs for u64 {
    fn count(&self) -> u64 {
        *self
    }
}

impl<U> Outs for Straight<'_, U> {
    fn count(&self) -> u64 {
        self.published()
    }
}

impl<O: Outs> Drop for Booked<'_, O> {
    fn drop(&mut self) {
        let items = self.journal.item() - self.first;
        // One at which the run was stopped may be among the `nones`, and is not over.
        self.cells.book(items, self.outs.count(), self.nones.min(items));
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
        let emitted = self.run.emitted();
        ended(&mut self.out, outcome.map(|()| emitted), &self.name)?;
        Ok(self.out.emitted + emitted)
    }

    /// Each item is committed before the next begins: `commit` says how, of one that succeeded and sent so much to ports.
    #[inline(always)]
    fn each<T, O: Outs>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        series: &mut Series<'_>,
        outs: O,
        mut commit: impl FnMut(&mut Output<U>, u64, &mut Booked<'_, O>, &mut Going<'_, '_>) -> Result<(), Broken>,
    ) -> Result<(), Broken>
    where
        F: StepRun<T, U>,
    {
        let (cells, tx, name) = (Rc::clone(&self.cells), Rc::clone(&self.tx), Arc::clone(&self.name));
        let journal = &*tx.journal;
        let mut going = series.begin();
        let mut booked = Booked { cells: &cells, journal, first: journal.item(), outs, nones: 0 };
        self.out.emitted = 0;
        let over = |out: &mut Output<U>, outcome| {
            let to_ports = ended(out, outcome, &name)?;
            commit(out, to_ports, &mut booked, &mut going)
        };
        let blame = Blame { tx: &tx, name: &name };
        let outcome = self.run.each(items, &mut self.out, over);
        std::mem::forget(blame);
        outcome?;
        going.end()
    }

    /// What came of an item is counted, whatever ways it goes.
    #[inline(always)]
    fn each_counted<T>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        series: &mut Series<'_>,
    ) -> Result<(), Broken>
    where
        F: StepRun<T, U>,
    {
        let tx = Rc::clone(&self.tx);
        self.each(items, series, 0, |out, to_ports, booked, going| {
            tx.settle(|| out.settle())?;
            let emitted = std::mem::take(&mut out.emitted) + to_ports;
            booked.outs += emitted;
            booked.nones += u64::from(emitted == 0);
            going.over(Tx::publish)
        })
    }

    /// All that the worker makes is what this step emits, and goes into one queue, which tells how much it was. Nothing is in
    /// flight that would have to be settled: threads nested behind would be another way out.
    #[inline(always)]
    fn each_straight<T>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        series: &mut Series<'_>,
        edge: &Edge<U>,
    ) -> Result<(), Broken>
    where
        F: StepRun<T, U>,
    {
        self.each(items, series, edge.sender().straight(), |_, _, booked, going| {
            going.over(|_| {
                booked.nones += u64::from(!edge.publish_by(&mut booked.outs)?);
                Ok(())
            })
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
        self.cells.add_all(self.tx.journal.attempt(), 0, self.out.emitted, 0);
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
        self.cells.add(self.tx.journal.attempt(), emitted);
        Ok(())
    }

    fn push_run(&mut self, run: &mut Drain<'_, T>, series: &mut Series<'_>) -> Result<(), Broken> {
        let straight =
            |edge: &&Rc<Edge<U>>| !F::PORTS && self.tx.has_sole_outlet() && edge.sender().is_straight();
        let edge = self.out.edge().filter(straight);
        match edge.cloned() {
            Some(edge) => self.each_straight(run, series, &edge),
            None => self.each_counted(run, series),
        }
    }

    fn feed(&mut self, items: &mut dyn Iterator<Item = T>, series: &mut Series<'_>) -> Result<(), Broken> {
        self.each_counted(items, series)
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
