//! Threads inside another block's worker: the outer attempt is over when all its items are.
//!
//! The outer thread sends items to inner threads and takes their outcomes back: committed parcels go on from
//! the outer thread, inside its own transaction. At most `2 × threads` items are under way, so the queues
//! between them never fill and neither side waits for the other in a circle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use crate::failure::{FailedItem, Failure, Fate, Verdict};
use crate::meter::Meter;
use crate::plan::Placed;
use crate::queue::{Kept, Pop, Queue, Sender, Stopped};
use crate::shared::{Halt, Shared};
use crate::sync::Mutex;
use crate::timers;

use crate::journal::{Entries, Event, Happened, Journal};
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::exit::{Arrivals, Carrier, Parcel};
use crate::stage::letters::{self, Letters, Remains};
use crate::stage::sink::{BoxSink, Cx, MakeSink, Sink};
use crate::stage::tx::Outlet;
use crate::working::Working;

/// The sink that hands a block's items to threads of its own inside the worker.
pub(crate) fn nested<T: Send + 'static>(block: Placed<T>) -> MakeSink<T> {
    let block = Arc::new(block);
    Arc::new(move |cx| {
        let exits = block.def.exits.lock().clone();
        let arrivals = exits.iter().map(|exit| exit.open(cx)).collect::<Result<Vec<_>, _>>()?;
        let inside = Rc::new(Inside {
            team: RefCell::default(),
            pending: Cell::new(0),
            early: RefCell::default(),
            next: Cell::new(0),
            sent: Cell::new(0),
        });
        cx.tx.add(Rc::clone(&inside) as Rc<dyn Outlet>);
        Ok(Box::new(Nested { block: Arc::clone(&block), cx: cx.clone(), arrivals, inside }) as BoxSink<T>)
    })
}

struct Nested<T> {
    block: Arc<Placed<T>>,
    cx: Cx,
    arrivals: Vec<Box<dyn Arrivals>>,
    inside: Rc<Inside<T>>,
}

/// The inner threads and what they have not told yet. It belongs to the outer transaction: when that is undone,
/// the outcomes of its items must not be taken for those of the next attempt's.
struct Inside<T> {
    /// Started with the first item.
    team: RefCell<Option<Team<T>>>,
    /// Outcomes to come.
    pending: Cell<usize>,
    /// Outcomes that came before those of earlier items, by the items' numbers; empty where order does not matter.
    early: RefCell<BTreeMap<u64, Done>>,
    /// The item whose outcome is next, and the next to be sent.
    next: Cell<u64>,
    sent: Cell<u64>,
}

impl<T> Inside<T> {
    /// Items that were sent and whose outputs have not gone on.
    fn under_way(&self) -> usize {
        self.pending.get() + self.early.borrow().len()
    }

    /// The next outcomes that are there; `None` if there will be none.
    fn outcomes(&self) -> Option<Vec<Outcome>> {
        let outcomes = Arc::clone(&self.team.borrow().as_ref()?.outcomes);
        let mut run = Vec::new();
        match outcomes.pop(&mut run, usize::MAX) {
            Pop::Run(_) => {
                self.pending.set(self.pending.get() - run.len());
                Some(run)
            }
            _ => None,
        }
    }
}

impl<T> Outlet for Inside<T> {
    fn mark(&self) -> usize {
        self.pending.get()
    }

    /// A block in front of this one settles before it marks: what came after the mark is all there is.
    fn undo(&self, mark: usize) {
        while self.pending.get() > mark && self.outcomes().is_some() {}
        self.early.borrow_mut().clear();
        self.next.set(self.sent.get());
    }

    fn publish(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

struct Team<T> {
    items: Arc<Queue<T>>,
    into: Option<Sender<T>>,
    outcomes: Arc<Queue<Outcome>>,
    /// What the outer thread works at: all items under way are part of that.
    outer: Arc<Mutex<Working>>,
    threads: Vec<JoinHandle<()>>,
}

/// How an inner item ended, and what it made.
enum Outcome {
    /// Of the item with this number; `None`: of a thread at its end.
    Done(Option<u64>, Done),
    Failed(Failure),
}

/// What an item made.
struct Done {
    parcels: Vec<Parcel>,
    entries: Entries,
}

impl<T: Send + 'static> Nested<T> {
    /// Takes outcomes until at most `left` items are under way.
    fn take_outcomes(&mut self, left: usize) -> Result<(), Failure> {
        let inside = Rc::clone(&self.inside);
        let mut failed = None;
        while inside.under_way() > left && inside.pending.get() > 0
            || (failed.is_some() && inside.pending.get() > 0)
        {
            let run = inside.outcomes().ok_or("a nested block's threads ended early")?;
            for outcome in run {
                let arrived = match outcome {
                    Outcome::Done(number, done) if failed.is_none() => self.arrive_in_order(number, done),
                    Outcome::Done(..) => Ok(()),
                    Outcome::Failed(failure) => Err(failure),
                };
                if let Err(failure) = arrived {
                    failed.get_or_insert(failure);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn arrive_in_order(&mut self, number: Option<u64>, done: Done) -> Result<(), Failure> {
        let Some(number) = number.filter(|_| self.block.placement.settings.ordered) else {
            return self.arrive(done);
        };
        let inside = Rc::clone(&self.inside);
        inside.early.borrow_mut().insert(number, done);
        loop {
            let next = inside.early.borrow_mut().remove(&inside.next.get());
            let Some(done) = next else { return Ok(()) };
            inside.next.set(inside.next.get() + 1);
            self.arrive(done)?;
        }
    }

    fn arrive(&mut self, Done { parcels, entries }: Done) -> Result<(), Failure> {
        self.cx.tx.journal.absorb(entries);
        for parcel in parcels {
            if let Some(arrivals) = self.arrivals.get_mut(parcel.exit as usize) {
                arrivals.parcel(parcel.items)?;
            }
        }
        Ok(())
    }
}

impl<T: Send + 'static> Sink<T> for Nested<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let limit = under_way(self.block.placement.executor.held_to(self.cx.run.limits()));
        self.take_outcomes(limit - 1)?;
        let mut team = self.inside.team.borrow_mut();
        if team.is_none() {
            *team = Some(Team::start(&self.block, &self.cx)?);
        }
        if let Some(team) = &*team {
            *team.outer.lock() = self.cx.tx.journal.working();
        }
        let into = team.as_ref().and_then(|team| team.into.as_ref());
        if into.is_none_or(|into| into.send(item).is_err()) {
            return Err("a nested block's threads ended early".into());
        }
        self.inside.pending.set(self.inside.pending.get() + 1);
        self.inside.sent.set(self.inside.sent.get() + 1);
        self.cx.tx.set_unsettled();
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.take_outcomes(0)?;
        self.arrivals.iter_mut().try_for_each(|arrivals| arrivals.settle())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        // What a step before this one emitted at its end is still under way.
        let settled = self.take_outcomes(0);
        if let Some(team) = &mut *self.inside.team.borrow_mut() {
            // Each thread's last outcome is what it recorded outside any attempt.
            self.inside.pending.set(team.threads.len());
            team.into = None;
        }
        settled.and(self.take_outcomes(0))?;
        self.arrivals.iter_mut().try_for_each(|arrivals| arrivals.finish())
    }
}

impl<T> Drop for Team<T> {
    fn drop(&mut self) {
        self.into = None;
        self.items.stop();
        self.outcomes.stop();
        for thread in self.threads.drain(..) {
            // Its panics were caught and reported as outcomes.
            drop(thread.join());
        }
    }
}

/// Halts a team's queue, as long as there is one.
struct Halted<T>(Weak<Queue<T>>);

impl<T: Send> Halt for Halted<T> {
    fn halt(&self) {
        if let Some(queue) = self.0.upgrade() {
            queue.stop();
        }
    }
}

fn under_way(threads: usize) -> usize {
    2 * threads.max(1)
}

impl<T: Send + 'static> Team<T> {
    fn start(block: &Arc<Placed<T>>, cx: &Cx) -> Result<Self, Failure> {
        let run = &cx.run;
        let workers = block.placement.executor.held_to(run.limits());
        let items = Arc::new(Queue::new(under_way(workers), block.placement.policy.retries()));
        // Beside every item's outcome, each thread sends one at its end.
        let outcomes = Arc::new(Queue::new(under_way(workers) + workers, false));
        let into = Some(Sender::new(&items));
        // A retry that waits for its time must not outlast a run that was halted.
        run.on_halt(Arc::new(Halted(Arc::downgrade(&items))));
        run.on_stop_hurry(&items);
        run.on_halt(Arc::new(Halted(Arc::downgrade(&outcomes))));
        let outer = Arc::default();
        let mut team = Team { items, into, outcomes, outer, threads: Vec::new() };
        let past = Arc::default();
        for worker in 0..workers {
            let thread = Inner {
                block: Arc::clone(block),
                run: Arc::clone(run),
                items: Arc::clone(&team.items),
                outcomes: Sender::new(&team.outcomes),
                past: Arc::clone(&past),
                stage: Arc::clone(cx.tx.journal.stage()),
                outer: Arc::clone(&team.outer),
            };
            let name = format!("{}/{worker}", block.name);
            team.threads.push(thread::Builder::new().name(name).spawn(move || {
                let run = Arc::clone(&thread.run);
                timers::of_this_thread(run.timers());
                let _inside = run.enter(thread.block.stage, worker);
                thread.work();
            })?);
        }
        Ok(team)
    }
}

/// What one inner thread runs its items through.
struct Worker<T> {
    attempt: Attempt<T>,
    letters: Option<Box<dyn Letters<T>>>,
}

impl<T: Send + 'static> Worker<T> {
    fn open(block: &Placed<T>, cx: &Cx) -> Result<Self, Failure> {
        let mut cx = cx.clone();
        let letters = letters::open(block.letters.as_ref(), &mut cx)?;
        Ok(Worker { attempt: Attempt::new(Arc::clone(&block.head), cx)?, letters })
    }
}

/// One inner thread.
struct Inner<T> {
    block: Arc<Placed<T>>,
    run: Arc<Shared>,
    items: Arc<Queue<T>>,
    outcomes: Sender<Outcome>,
    /// What happened to items whose outcome is still to come, on any of the threads. The next outcome of any
    /// item takes it along: all of them belong to the same outer attempt.
    past: Arc<Mutex<Vec<Event>>>,
    /// The outermost block.
    stage: Arc<str>,
    outer: Arc<Mutex<Working>>,
}

impl<T: Send + 'static> Inner<T> {
    fn work(self) {
        let parcels = Rc::new(RefCell::new(Vec::new()));
        let carrier = Carrier::Parcels(Rc::clone(&parcels));
        let cx = Cx::new(&self.run, &self.stage, Some((self.block.def.id, carrier)));
        let _recording = cx.tx.journal.enter();
        let mut attempt = Worker::open(&self.block, &cx);
        cx.tx.journal.commit();
        let mut outside = cx.tx.journal.take();
        let mut meter = Meter::new(self.run.clock(), None);
        let mut run = Vec::new();
        loop {
            let kept = match self.items.pop(&mut run, 1) {
                Pop::Run(number) => match run.pop() {
                    Some(item) => Kept { item, number, attempts: 0 },
                    None => continue,
                },
                Pop::Again(kept) => kept,
                Pop::End | Pop::Empty(_) | Pop::Rest => break,
            };
            let outcome = match &mut attempt {
                // Beside the attempt, an item's own `Clone` or `Drop` can panic.
                Ok(worker) => guarded(|| Ok(self.item(worker, &parcels, kept)))
                    .unwrap_or_else(|failure| Some(self.failed(failure))),
                // Every item fails with the cause, so that the outer attempt does.
                Err(failure) => Some(Outcome::Failed(init_failed(failure))),
            };
            meter.item();
            cx.tx.journal.timed(self.block.stage, meter.take());
            if let Some(outcome) = outcome {
                self.items.done(1);
                if self.outcomes.send(outcome).is_err() {
                    break;
                }
            }
        }
        let finished = match attempt {
            Ok(Worker { attempt, mut letters }) => {
                attempt.finish().and_then(|()| letters::finish(&mut letters))
            }
            Err(_) => Ok(()),
        };
        let last = match finished {
            Ok(()) => {
                let committed = cx.tx.commit();
                debug_assert!(committed.is_ok(), "parcels have no queue to be stopped");
                cx.tx.journal.take_into(&mut outside);
                Outcome::Done(None, Done { parcels: parcels.take(), entries: outside })
            }
            Err(failure) => Outcome::Failed(failure),
        };
        // Nobody takes it when the outer worker is gone.
        let _ = self.outcomes.send(last);
    }

    /// Tries an item; `None` if it will be tried again.
    fn item(&self, worker: &mut Worker<T>, parcels: &RefCell<Vec<Parcel>>, kept: Kept<T>) -> Option<Outcome> {
        let placement = &self.block.placement;
        let Worker { attempt, letters } = worker;
        let Kept { item, number, attempts } = kept;
        let tried = attempts + 1;
        let again = match placement.keep {
            Some(keep) if placement.policy.keeps(tried) => keep(&item),
            _ => None,
        };
        let journal = Rc::clone(&attempt.cx.tx.journal);
        let at = *self.outer.lock();
        let failure = match attempt.run(item, at) {
            Ok(()) => {
                if attempt.cx.tx.commit().is_err() {
                    return Some(Outcome::Failed("the run is stopping".into()));
                }
                return Some(self.done(number, parcels.take(), &journal));
            }
            Err(failure) if failure.is_final(self.block.def.depth) => return Some(self.failed(failure)),
            Err(failure) => failure,
        };
        match (placement.policy.verdict(tried, self.run.spread()), again) {
            (Verdict::Retry(wait), Some(item)) => {
                self.past.lock().push(Event { stage: self.block.stage, what: Happened::Retried });
                self.run.hear_stop();
                self.items.again(Kept { item, number, attempts: tried }, timers::now() + wait);
                None
            }
            (Verdict::Skip, _) => {
                let failed = FailedItem::new(&self.block.name, number, tried, &failure, Fate::Skipped);
                journal.event(self.block.stage, Happened::Failed(failed));
                Some(self.done(number, Vec::new(), &journal))
            }
            (Verdict::DeadLetter, Some(item)) => {
                let failed = FailedItem::new(&self.block.name, number, tried, &failure, Fate::Dead);
                let posted = letters::post(letters, Remains::Item(item), &failed);
                if let Err(failure) = posted {
                    attempt.cx.tx.undo();
                    return Some(self.failed(failure.behind(self.block.def.depth)));
                }
                if attempt.cx.tx.commit().is_err() {
                    return Some(Outcome::Failed("the run is stopping".into()));
                }
                journal.event(self.block.stage, Happened::Failed(failed));
                Some(self.done(number, parcels.take(), &journal))
            }
            (Verdict::DeadLetter, None) => Some(self.failed(failure.unkept().after(tried))),
            _ => Some(self.failed(failure.after(tried))),
        }
    }

    fn done(&self, number: u64, parcels: Vec<Parcel>, journal: &Journal) -> Outcome {
        let mut entries = journal.take();
        entries.events.append(&mut self.past.lock());
        Outcome::Done(Some(number), Done { parcels, entries })
    }

    /// The outer attempt fails with this, and what happened to its items is as if it never was.
    fn failed(&self, failure: Failure) -> Outcome {
        self.past.lock().clear();
        Outcome::Failed(failure)
    }
}

fn init_failed(failure: &Failure) -> Failure {
    let again = Failure::from(failure.chain()).finally();
    match failure.stage() {
        Some(stage) => again.at(stage),
        None => again,
    }
}
