//! One worker of a block on threads: takes items from the block's queue, tries them, and says what became of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Team;
use super::order::InTurn;
use crate::error::{Error, init_error};
use crate::exec::launch::Holds;
use crate::failure::{FailedItem, Failure, Fate, Verdict};
use crate::meter::Meter;
use crate::queue::{Kept, Pop};
use crate::shared::Shared;
use crate::stage::attempt::Attempt;
use crate::stage::exit::Parcel;
use crate::stage::letters::{self, Letters, Remains};
use crate::stage::series::Broken;
use crate::stage::sink::Cx;
use crate::stage::turns::Passed;
use crate::stats::{StageStats, WorkerState, WorkerStats};
use crate::timers;
use crate::working::Working;

/// Whether a worker goes on.
enum Next {
    On,
    Off,
}

impl<T: Send + 'static> Team<T> {
    /// One worker, which takes up to `most` items at once.
    pub(super) fn work(&self, shared: &Arc<Shared>, figures: &WorkerStats, holds: Holds, most: usize) {
        shared.worker_began(self.stage, figures);
        let _inside = shared.enter(self.stage, figures.place());
        self.serve(shared, figures, holds, most);
        shared.worker_retired(self.stage, figures);
        shared.worker_ended(self.stage, figures);
    }

    fn serve(&self, shared: &Arc<Shared>, figures: &WorkerStats, holds: Holds, most: usize) {
        let parcels = Rc::default();
        let border = self.ordered.as_ref().map(|ordered| ordered.border(&parcels));
        let within = self.queue.in_flight().cloned();
        let cx = Cx { within, ..Cx::new(shared, &self.name, border) };
        let _recording = cx.tx.journal.enter();
        let mut cx = cx;
        let opened = letters::open(self.letters.as_ref(), &mut cx)
            .and_then(|letters| Ok((letters, Attempt::new(Arc::clone(&self.head), cx)?)));
        let (letters, mut attempt) = match opened {
            Ok(opened) => opened,
            Err(failure) => return shared.fail(init_error(&self.name, &failure)),
        };
        drop(holds);
        // What hooks and `_init` closures recorded stands, whatever becomes of the first item.
        attempt.cx.tx.journal.commit();
        shared.settle(&attempt.cx.tx.journal);
        let stats = shared.stats(self.stage);
        figures.is(WorkerState::Working);
        let meter = Meter::new(shared.clock(), Some(figures.state()));
        let mut worker =
            Worker { team: self, shared, stats, figures, meter, letters, parcels, completed: 0, finished: 0 };
        let (mut run, mut last) = (Vec::new(), 0);
        loop {
            let got = self.queue.pop_until(&mut run, most, attempt.due(), || worker.flush(&attempt));
            let next = match got {
                Pop::Run(first) => {
                    last = first + run.len() as u64 - 1;
                    worker.run(&mut attempt, &mut run, first)
                }
                Pop::Again(kept) => worker.again(&mut attempt, kept),
                Pop::Rest => worker.rest(&mut attempt, last),
                Pop::Empty(_) => worker.ripen(&mut attempt, last),
                Pop::End => Next::Off,
            };
            if let Next::Off = next {
                break;
            }
        }
        worker.flush(&attempt);
        let cx = attempt.cx.clone();
        let finished = attempt.finish().and_then(|()| letters::finish(&mut worker.letters));
        // What steps emitted at their end (a batch's remainder) goes on now.
        if finished.is_ok() && cx.tx.commit().is_err() {
            shared.gone();
        }
        worker.meter.tell(|timing| worker.stats.timed(timing));
        cx.tx.flush();
        shared.settle(&cx.tx.journal);
        match finished {
            Ok(()) => {}
            Err(failure) if failure.is_hook() => {
                shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
            }
            // A step behind one that kept something until the end (a batch) failed on that.
            Err(failure) => {
                let failed = FailedItem::new(&self.name, last, 1, &failure, Fate::Stopped);
                shared.broke_off(self.stage, failed);
            }
        }
    }
}

struct Worker<'a, T> {
    team: &'a Team<T>,
    shared: &'a Arc<Shared>,
    stats: Arc<StageStats>,
    figures: &'a WorkerStats,
    meter: Meter,
    letters: Option<Box<dyn Letters<T>>>,
    /// In an ordered block: what an attempt made that was just committed.
    parcels: Rc<RefCell<Vec<Parcel>>>,
    /// Since the last flush: items completed, and items that have an outcome.
    completed: u64,
    finished: u64,
}

impl<T: Send + 'static> Worker<'_, T> {
    fn run(&mut self, attempt: &mut Attempt<T>, run: &mut Vec<T>, first: u64) -> Next {
        let (mut run, mut number, mut next) = (run.drain(..), first, Next::On);
        // Items whose outputs wait for their turn are committed one by one, too.
        let kept = (self.team.keep.is_some() && self.team.policy.keeps(1)) || self.team.ordered.is_some();
        while matches!(next, Next::On) && run.len() > 0 {
            if kept && let Some(item) = run.next() {
                next = self.item(attempt, Kept { item, number, attempts: 0 });
                number += 1;
                if self.meter.item() {
                    self.flush(attempt);
                }
                continue;
            }
            let (reached, outcome) = attempt.run_all(&mut run, number, &mut self.meter);
            self.completed += reached - number;
            self.finished += reached - number;
            self.team.queue.done((reached - number) as usize);
            number = reached;
            next = match outcome {
                Ok(()) => Next::On,
                Err(Broken::Due) => {
                    self.flush(attempt);
                    Next::On
                }
                Err(Broken::Failed(failure)) => {
                    number += 1;
                    let next = self.failed(attempt, reached, 1, failure, None);
                    self.meter.item();
                    next
                }
                Err(Broken::Stopped) => self.cut_off(),
            };
        }
        self.stats.abandoned(run.len() as u64);
        next
    }

    /// What a step kept goes on, for it is time; the last item that arrived had the number `last`.
    fn ripen(&mut self, attempt: &mut Attempt<T>, last: u64) -> Next {
        match attempt.ripen(timers::now()) {
            Ok(()) => self.let_go(attempt),
            Err(failure) => self.lost(&failure, last),
        }
    }

    /// What steps kept did not go on.
    fn lost(&self, failure: &Failure, last: u64) -> Next {
        let failed = FailedItem::new(&self.team.name, last, 1, failure, Fate::Stopped);
        self.shared.broke_off(self.team.stage, failed);
        Next::Off
    }

    /// What steps kept is on its way.
    fn let_go(&mut self, attempt: &Attempt<T>) -> Next {
        let published = attempt.cx.tx.commit();
        self.flush(attempt);
        if published.is_ok() {
            return Next::On;
        }
        self.shared.gone();
        Next::Off
    }

    fn again(&mut self, attempt: &mut Attempt<T>, kept: Kept<T>) -> Next {
        let next = self.item(attempt, kept);
        self.meter.item();
        self.flush(attempt);
        next
    }

    /// The loop is at rest: what the steps have gathered goes on.
    fn rest(&mut self, attempt: &mut Attempt<T>, last: u64) -> Next {
        let next = match attempt.rest() {
            Ok(()) => self.let_go(attempt),
            Err(failure) => self.lost(&failure, last),
        };
        if let Next::On = next {
            self.team.queue.rested();
        }
        next
    }

    /// What was done and measured until now is told.
    fn flush(&mut self, attempt: &Attempt<T>) {
        self.meter.tell(|timing| self.stats.timed(timing));
        self.figures.dealt_with(std::mem::take(&mut self.finished));
        self.stats.completed(std::mem::take(&mut self.completed));
        attempt.cx.tx.flush();
        self.shared.settle(&attempt.cx.tx.journal);
    }

    fn item(&mut self, attempt: &mut Attempt<T>, kept: Kept<T>) -> Next {
        let Kept { item, number, attempts } = kept;
        let tried = attempts + 1;
        let again = match self.team.keep {
            Some(keep) if self.team.policy.keeps(tried) => keep(&item),
            _ => None,
        };
        match attempt.run(item, Working::at(number, attempts)) {
            Ok(()) => {
                let next = self.commit(attempt, number, tried);
                self.completed += u64::from(matches!(next, Next::On));
                self.finished += 1;
                next
            }
            Err(failure) => self.failed(attempt, number, tried, failure, again),
        }
    }

    /// What becomes of an item whose attempt failed; `again` is the item, if it was kept.
    fn failed(
        &mut self,
        attempt: &Attempt<T>,
        number: u64,
        tried: u32,
        mut failure: Failure,
        again: Option<T>,
    ) -> Next {
        let verdict = if failure.is_final(0) {
            Verdict::Stop
        } else {
            self.team.policy.verdict(tried, self.shared.spread())
        };
        match (verdict, again) {
            (Verdict::Retry(wait), Some(item)) => {
                self.shared.retried(self.team.stage, Some((number, &failure)));
                self.team.queue.again(Kept { item, number, attempts: tried }, timers::now() + wait);
                Next::On
            }
            (Verdict::Skip, _) => {
                self.gave_up(number, tried, &failure, Fate::Skipped);
                self.done(number, tried)
            }
            (Verdict::DeadLetter, Some(item)) => {
                let failed = FailedItem::new(&self.team.name, number, tried, &failure, Fate::Dead);
                if let Err(failure) = letters::post(&mut self.letters, Remains::Item(item), &failed) {
                    attempt.cx.tx.undo();
                    self.gave_up(number, tried, &failure, Fate::Stopped);
                    return Next::Off;
                }
                let next = self.commit(attempt, number, tried);
                self.finished += 1;
                if let Next::On = next {
                    self.shared.gave_up(self.team.stage, failed);
                }
                next
            }
            (verdict, _) => {
                if let Verdict::DeadLetter = verdict {
                    failure = failure.unkept();
                }
                self.gave_up(number, tried, &failure, Fate::Stopped);
                Next::Off
            }
        }
    }

    fn gave_up(&mut self, number: u64, attempts: u32, failure: &Failure, fate: Fate) {
        self.finished += 1;
        let failed = FailedItem::new(&self.team.name, number, attempts, failure, fate);
        self.shared.gave_up(self.team.stage, failed);
    }

    /// Lets what the item made go on; then it has its outcome.
    fn commit(&mut self, attempt: &Attempt<T>, number: u64, tried: u32) -> Next {
        let tx = &attempt.cx.tx;
        let published = tx.commit();
        if tx.journal.has_values() {
            self.shared.settle(&tx.journal);
        }
        if published.is_ok() {
            return self.done(number, tried);
        }
        self.team.queue.done(1);
        self.cut_off()
    }

    /// What an item made cannot go on: the run was stopped.
    fn cut_off(&self) -> Next {
        self.stats.abandoned(1);
        self.shared.gone();
        Next::Off
    }

    /// The item will not come back. In an ordered block what it made is handed in.
    fn done(&self, number: u64, attempt: u32) -> Next {
        let queue = &self.team.queue;
        match &self.team.ordered {
            None => queue.done(1),
            Some(ordered) => {
                let parcels = self.parcels.take();
                let given = (!parcels.is_empty()).then_some(InTurn { parcels, attempt });
                let release = |passed: Passed| queue.release(passed.below, passed.full);
                ordered.turns.hand_in((number, 0), given, release);
            }
        }
        Next::On
    }
}
