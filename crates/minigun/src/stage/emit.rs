//! What a producer emits: each item goes on at once, by itself.

use std::cell::{Cell, RefCell};
use std::iter::from_fn;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;

use super::attempt::Attempt;
use super::edge::Edge;
use super::series::Broken;
use super::sink::{Cx, MakeSink};
use super::tx::{Outlet, Tx};
use crate::failure::{FailedItem, Failure, FailureKind, Fate};
use crate::graph::StageId;
use crate::meter::Meter;
use crate::queue::{Sender, Stopped};
use crate::shared::Shared;
use crate::stats::{StageStats, WorkerStats};
use crate::working::Working;

/// The way of a producer's items: each is an attempt of its own at the light steps fused behind the producer.
pub(crate) struct Emit<U> {
    attempt: Option<Attempt<U>>,
    /// Where the items go, if no step is fused behind the producer (no user code, so nothing to attempt), and as long as
    /// they do.
    edge: Option<Rc<Edge<U>>>,
    tx: Rc<Tx>,
    shared: Arc<Shared>,
    of: Rc<Producer>,
    gone: bool,
}

/// What the ways of one producer have in common: its own, and the ports that it is lent.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    stats: Arc<StageStats>,
    worker: Arc<WorkerStats>,
    meter: RefCell<Meter>,
    stage: StageId,
    name: Arc<str>,
    /// How many ways there are.
    ways: Cell<u32>,
    number: Cell<u64>,
    /// At this number the meter is told, or the figures are.
    look_at: Cell<u64>,
    /// Up to here the meter was told, and the figures were.
    metered: Cell<u64>,
    flushed: Cell<u64>,
}

/// After this many items a busy source brings its figures up to date; one that is slow, sooner.
const FLUSH_EVERY: u64 = 4096;

impl Producer {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        (stage, name): (StageId, &Arc<str>),
        worker: &Arc<WorkerStats>,
    ) -> Rc<Self> {
        Rc::new(Producer {
            shared: Arc::clone(shared),
            stats: shared.stats(stage),
            worker: Arc::clone(worker),
            meter: RefCell::new(Meter::new(shared.clock(), Some(worker.state()))),
            stage,
            name: Arc::clone(name),
            ways: Cell::new(0),
            number: Cell::new(0),
            look_at: Cell::new(1),
            metered: Cell::new(0),
            flushed: Cell::new(0),
        })
    }

    /// How many items it has emitted, by whichever way.
    pub(crate) fn emitted(&self) -> u64 {
        self.number.get()
    }

    /// So many items went on. Says whether it is time to bring the figures up to date.
    #[inline]
    fn counted(&self, items: u64) -> bool {
        let number = self.number.get() + items;
        self.number.set(number);
        number >= self.look_at.get() && self.look(number)
    }

    fn look(&self, number: u64) -> bool {
        let mut meter = self.meter.borrow_mut();
        let is_due = meter.items((number - self.metered.replace(number)) as u32);
        let flush_at = self.flushed.get() + FLUSH_EVERY;
        self.look_at.set(flush_at.min(number + u64::from(meter.left())));
        is_due || number >= flush_at
    }

    #[cold]
    fn flush(&self, tx: &Tx) {
        let number = self.number.get();
        let items = number - self.flushed.replace(number);
        self.stats.add(0, items, 0);
        self.worker.dealt_with(items);
        // Sooner than it would be by itself; the next look is not later for it.
        let mut meter = self.meter.borrow_mut();
        meter.items((number - self.metered.replace(number)) as u32);
        meter.tell(|timing| self.stats.timed(timing));
        self.look_at.set(number + u64::from(meter.left()).min(FLUSH_EVERY));
        drop(meter);
        tx.flush();
        self.shared.settle(&tx.journal);
    }
}

impl<U> Emit<U> {
    /// A producer's way to `head`.
    pub(crate) fn open(head: &MakeSink<U>, cx: &Cx) -> Result<Self, Failure> {
        let Some(of) = &cx.producer else { return Err("minigun: not in a producer".into()) };
        let attempt = Attempt::new(Arc::clone(head), cx.clone())?;
        of.ways.set(of.ways.get() + 1);
        Ok(Emit {
            edge: attempt.edge(),
            tx: Rc::clone(&cx.tx),
            shared: Arc::clone(&cx.run),
            of: Rc::clone(of),
            gone: false,
            attempt: Some(attempt),
        })
    }

    /// Sends an item by the shortest way, if that is open.
    #[inline]
    pub(crate) fn try_push(&mut self, item: U) -> Result<(), U> {
        let Some(edge) = &self.edge else { return Err(item) };
        if self.shared.is_stopping() {
            return Err(item);
        }
        edge.try_push(item)?;
        let due = self.of.counted(1);
        if edge.publish().is_err() {
            self.cut_off();
        } else if due {
            self.of.flush(&self.tx);
        }
        Ok(())
    }

    /// Sends what `items` gives, as long as that is quickly done, and if nothing that `items` does can be in the way: it
    /// may emit into a port meanwhile.
    #[inline]
    pub(crate) fn feed(&mut self, items: &mut impl Iterator<Item = U>) -> Result<(), Failure> {
        if self.gone || self.of.ways.get() > 1 || self.shared.is_stopping() {
            return Ok(());
        }
        match self.edge.clone() {
            Some(edge) => self.feed_edge(&edge, items),
            None => return self.feed_steps(items),
        }
        Ok(())
    }

    /// By the shortest way.
    #[inline]
    fn feed_edge(&mut self, edge: &Edge<U>, items: &mut impl Iterator<Item = U>) {
        let (of, shared, sender) = (&*self.of, &*self.shared, edge.sender());
        let mut fed = Fed { of, sender, from: sender.written(), due: false };
        let mut left = of.look_at.get().saturating_sub(of.number.get()).max(1);
        let sent = sender.feed(items, || {
            left -= 1;
            left > 0 && !shared.is_stopping()
        });
        fed.count();
        let due = fed.due;
        drop(fed);
        if sent.is_err() {
            self.cut_off();
        } else if due {
            self.of.flush(&self.tx);
        }
    }

    /// Through the steps fused behind the producer.
    fn feed_steps(&mut self, items: &mut impl Iterator<Item = U>) -> Result<(), Failure> {
        let Some(attempt) = &mut self.attempt else { return Err(closed()) };
        let (of, shared) = (&*self.of, &*self.shared);
        let mut items = from_fn(|| if shared.is_stopping() { None } else { items.next() });
        let (number, fed) = attempt.feed(&mut items, of.number.get(), &mut of.meter.borrow_mut());
        // The meter was told of them.
        of.number.set(number);
        of.metered.set(number);
        match fed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Broken::Due)) => {
                self.of.flush(&self.tx);
                Ok(())
            }
            Ok(Err(Broken::Stopped)) => self.ended(Ok(Err(Stopped))),
            Ok(Err(Broken::Failed(failure))) => self.ended(Err(failure)),
            Err(theirs) => resume_unwind(theirs),
        }
    }

    pub(crate) fn push(&mut self, item: U) -> Result<(), Failure> {
        if self.gone || self.shared.is_stopping() {
            return self.refuse();
        }
        let went_on = match &self.edge {
            Some(edge) => edge.push(item).map(|()| edge.publish()),
            None => self.attempt(item),
        };
        if !matches!(went_on, Ok(Ok(()))) {
            return self.ended(went_on);
        }
        if self.of.counted(1) || self.tx.journal.has_values() {
            self.of.flush(&self.tx);
        }
        Ok(())
    }

    /// Through the steps fused behind the producer.
    fn attempt(&mut self, item: U) -> Result<Result<(), Stopped>, Failure> {
        let Some(attempt) = &mut self.attempt else { return Err(closed()) };
        attempt.run(item, Working::at(self.of.emitted(), 0))?;
        Ok(self.tx.commit())
    }

    #[cold]
    fn refuse(&mut self) -> Result<(), Failure> {
        if !self.gone {
            self.of.stats.abandoned(1);
        }
        Err(closed())
    }

    /// The item did not go on, and none will after it.
    #[cold]
    fn ended(&mut self, how: Result<Result<(), Stopped>, Failure>) -> Result<(), Failure> {
        match how {
            Ok(_) => self.cut_off(),
            Err(failure) => {
                self.gone = true;
                self.edge = None;
                let Producer { name, stage, .. } = &*self.of;
                let failed = FailedItem::new(name, self.of.emitted(), 1, &failure, Fate::Stopped);
                self.shared.gave_up(*stage, failed);
            }
        }
        Err(closed())
    }

    #[cold]
    fn cut_off(&mut self) {
        self.gone = true;
        self.edge = None;
        self.of.stats.abandoned(1);
        self.shared.gone();
    }

    /// The producer has ended: so do the steps behind it.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.of.flush(&self.tx);
        let Some(attempt) = self.attempt.take() else { return Ok(()) };
        self.edge = None;
        let finished = attempt.finish();
        if finished.is_ok() && self.tx.commit().is_err() {
            self.shared.gone();
        }
        self.tx.flush();
        self.shared.settle(&self.tx.journal);
        finished
    }
}

/// Counts what was fed, even if what gave the items panicked.
struct Fed<'a, U> {
    of: &'a Producer,
    sender: &'a Sender<U>,
    from: usize,
    due: bool,
}

impl<U> Fed<'_, U> {
    fn count(&mut self) -> u64 {
        let written = self.sender.written();
        let count = written.wrapping_sub(std::mem::replace(&mut self.from, written)) as u64;
        self.due |= count > 0 && self.of.counted(count);
        count
    }
}

impl<U> Drop for Fed<'_, U> {
    fn drop(&mut self) {
        self.count();
    }
}

fn closed() -> Failure {
    Failure::new(FailureKind::Error, "the run is stopping")
}
