//! A block on threads of the program: a queue, and workers that take from it.

use std::any::Any;
use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use super::books::balance;
use super::into_queue;
use crate::apart::Shelf;
use crate::defaults;
use crate::error::{Error, init_error};
use crate::exec::launch::{Book, Holds, Launch, Node};
use crate::failure::{FailedItem, Failure, Fate, Policy, Verdict};
use crate::graph::{BlockId, PointId, StageId};
use crate::in_flight::InFlight;
use crate::meter::Meter;
use crate::plan::{BlockDef, Executor, Placed, Spot, default_policy};
use crate::process::Arrival;
use crate::queue::{Kept, Pop, Queue};
use crate::shared::{Halt, Shared};
use crate::stage::Keep;
use crate::stage::attempt::Attempt;
use crate::stage::exit::{Carrier, Parcel};
use crate::stage::letters::{self, Letters, MakeLetters, Remains};
use crate::stage::sink::{Broken, Cx, MakeSink};
use crate::stage::turns::{Passed, Turns};
use crate::stats::{StageStats, WorkerState, WorkerStats};
use crate::timers;
use crate::working::Working;

/// A block's queue and its workers.
pub(crate) struct ThreadsNode<T> {
    team: Arc<Team<T>>,
    executor: Executor,
}

/// A stage outside any block.
const SINGLE: Executor = Executor::Threads(1);

/// What the workers of one block share.
struct Team<T> {
    queue: Arc<Queue<T>>,
    head: MakeSink<T>,
    policy: Policy,
    keep: Option<Keep<T>>,
    letters: Option<MakeLetters<T>>,
    stage: StageId,
    name: Arc<str>,
    /// What its workers make is put into the order of their items.
    ordered: Option<Ordered>,
    /// A stop of the run ends it as it ends producers.
    channel: bool,
    /// The point behind the queue.
    behind: PointId,
}

/// Where the outputs of a block's workers wait for their turn.
struct Ordered {
    block: Arc<BlockDef>,
    turns: Arc<Turns<InTurn>>,
}

/// The outputs of an item, and the attempt that made them.
struct InTurn {
    parcels: Vec<Parcel>,
    attempt: u32,
}

impl Ordered {
    fn of<T>(block: &Placed<T>) -> Option<Self> {
        let ordered = block.placement.settings.ordered;
        ordered.then(|| Ordered { block: Arc::clone(&block.def), turns: Turns::new() })
    }
}

impl<T> Drop for Team<T> {
    fn drop(&mut self) {
        // A channel's senders may outlive the pipeline, or it was never run.
        self.queue.stop();
    }
}

/// Ends a channel when the run is asked to stop.
struct Close<T>(Arc<Queue<T>>);

impl<T: Send> Halt for Close<T> {
    fn halt(&self) {
        self.0.close();
    }
}

impl<T: Send + 'static> ThreadsNode<T> {
    pub(crate) fn new(block: Placed<T>) -> (Self, MakeSink<T>) {
        let policy = block.placement.policy;
        let queue = Arc::new(block.placement.settings.make_queue(policy.retries()));
        let ordered = Ordered::of(&block);
        Self::with(
            block.placement.executor,
            Team {
                queue,
                head: block.head,
                policy,
                keep: block.placement.keep,
                letters: block.letters,
                stage: block.stage,
                name: block.name,
                ordered,
                channel: false,
                behind: block.behind,
            },
        )
    }

    /// A process block where there are no processes.
    pub(crate) fn instead(queue: &Arc<Queue<T>>, block: &Placed<T>) -> Self {
        let team = Team {
            queue: Arc::clone(queue),
            head: Arc::clone(&block.head),
            policy: block.placement.policy,
            keep: block.placement.keep,
            letters: block.letters.clone(),
            stage: block.stage,
            name: Arc::clone(&block.name),
            ordered: Ordered::of(block),
            channel: false,
            behind: block.behind,
        };
        ThreadsNode { team: Arc::new(team), executor: block.placement.executor }
    }

    /// One thread of a block whose threads have a queue each.
    pub(crate) fn of_lane(queue: &Arc<Queue<T>>, block: &Placed<T>) -> Self {
        ThreadsNode { executor: SINGLE, ..Self::instead(queue, block) }
    }

    /// A stage outside any block: one thread, the default policy; its queue holds so many items, if that was configured.
    pub(crate) fn single(
        head: &Spot<T>,
        (stage, name): (StageId, &str),
        limit: Option<NonZeroUsize>,
    ) -> (Self, MakeSink<T>) {
        let limit = limit.map_or_else(defaults::queue_items::<T>, NonZeroUsize::get);
        let queue = Arc::new(Queue::new(limit, false));
        Self::with(SINGLE, Team::alone(queue, head, stage, name, false))
    }

    pub(crate) fn queue(&self) -> &Arc<Queue<T>> {
        &self.team.queue
    }

    /// A channel that the user's own threads send into: the first stage of a flow.
    pub(crate) fn channel(queue: &Arc<Queue<T>>, head: &Spot<T>, stage: StageId, name: &str) -> Self {
        let team = Team::alone(Arc::clone(queue), head, stage, name, true);
        ThreadsNode { team: Arc::new(team), executor: SINGLE }
    }

    fn with(executor: Executor, team: Team<T>) -> (Self, MakeSink<T>) {
        let sink = into_queue(&team.queue);
        (ThreadsNode { team: Arc::new(team), executor }, sink)
    }
}

impl<T: Send + 'static> Node for ThreadsNode<T> {
    fn behind(&self) -> Option<PointId> {
        Some(self.team.behind)
    }

    fn join(&self, in_flight: &Arc<InFlight>) {
        // Steps that keep items while others pass stand outside of blocks.
        self.team.queue.join(in_flight, self.executor == SINGLE);
    }

    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(self.team.queue.hold()))
    }

    fn register(&self, shared: &Shared) {
        shared.on_halt(Arc::clone(&self.team.queue) as _);
        shared.on_stop_hurry(&self.team.queue);
        let queue = Arc::downgrade(&self.team.queue);
        shared.stats(self.team.stage).queued_in(self.team.queue.limit(), queue as _);
        if self.team.channel {
            shared.on_stop(Arc::new(Close(Arc::clone(&self.team.queue))));
        }
    }

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let workers = self.executor.held_to(launch.shared.limits());
        // An item must not wait in the hands of a busy worker while another is idle.
        let run = if workers == 1 { usize::MAX } else { 1 };
        let hands: Vec<_> = match &self.team.ordered {
            None => Vec::new(),
            Some(ordered) => {
                let hands = (0..workers).map(|_| ordered.turns.hand()).collect();
                ordered.launch(&self.team, launch)?;
                hands
            }
        };
        let mut hands = hands.into_iter();
        let figures = launch.shared.stats(self.team.stage).make_workers(workers);
        for (worker, figures) in figures.into_iter().enumerate() {
            let hand = hands.next();
            let (team, shared) = (Arc::clone(&self.team), Arc::clone(&launch.shared));
            let name = if workers == 1 { team.name.to_string() } else { format!("{}/{worker}", team.name) };
            launch.spawn(&name, move |holds| {
                team.work(&shared, &figures, holds, run);
                drop(hand);
            })?;
        }
        Ok(())
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(Arc::clone(&self.team) as Arc<dyn Book>)
    }
}

/// Whether a worker goes on.
enum Next {
    On,
    Off,
}

impl<T> Team<T> {
    /// One thread under the default policy.
    fn alone(queue: Arc<Queue<T>>, head: &Spot<T>, stage: StageId, name: &str, channel: bool) -> Self
    where
        T: Send + 'static,
    {
        Team {
            queue,
            head: head.make(),
            policy: default_policy(),
            keep: None,
            letters: None,
            stage,
            name: name.into(),
            ordered: None,
            channel,
            behind: head.id,
        }
    }
}

impl<T: Send + 'static> Team<T> {
    /// One worker, which takes up to `most` items at once.
    fn work(&self, shared: &Arc<Shared>, figures: &WorkerStats, holds: Holds, most: usize) {
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

impl Ordered {
    /// The border of the block, over which a worker's outputs are left to be handed in.
    fn border(&self, parcels: &Rc<RefCell<Vec<Parcel>>>) -> (BlockId, Carrier) {
        (self.block.id, Carrier::Parcels(Rc::clone(parcels)))
    }

    /// Starts the thread that passes on what is handed in.
    fn launch<T: Send + 'static>(&self, team: &Arc<Team<T>>, launch: &Launch) -> Result<(), Error> {
        let (turns, block, team) = (Arc::clone(&self.turns), Arc::clone(&self.block), Arc::clone(team));
        let pass = move |arrival: &mut Arrival, number, InTurn { parcels, attempt }| {
            let of = Working::Item { item: number, attempt };
            Ok(arrival.parcels(parcels, of).map_err(|failure| (attempt, failure)))
        };
        let queue = Arc::clone(&team.queue);
        pass_in_order(launch, (&team.name, team.stage), (turns, queue), block, pass)
    }
}

/// Starts the thread that passes on in order what the workers of a block hand in. `pass` gives an item's outputs to the
/// way out of the block; it says which attempt failed there, and why, or what else went wrong.
pub(super) fn pass_in_order<T: Send + 'static, X: Send + 'static>(
    launch: &Launch,
    (name, stage): (&Arc<str>, StageId),
    (turns, queue): (Arc<Turns<X>>, Arc<Queue<T>>),
    block: Arc<BlockDef>,
    pass: impl Fn(&mut Arrival, u64, X) -> Result<Result<(), (u32, Failure)>, Error> + Send + 'static,
) -> Result<(), Error> {
    launch.shared.on_halt(Arc::clone(&turns) as _);
    let (shared, name) = (Arc::clone(&launch.shared), Arc::clone(name));
    launch.spawn(&format!("{name}/order"), move |holds| {
        let exits = block.exits.lock().clone();
        let mut arrival =
            match Arrival::open(&shared, &name, &exits, queue.in_flight().cloned(), Shelf::default()) {
                Ok(arrival) => arrival,
                Err(failure) => return shared.fail(init_error(&name, &failure)),
            };
        drop(holds);
        while let Some((number, given)) = turns.next(|passed| queue.release(passed.below, passed.full)) {
            match pass(&mut arrival, number, given) {
                Ok(Ok(())) => {}
                Ok(Err((attempt, failure))) => {
                    let failed = FailedItem::new(&name, number, attempt, &failure, Fate::Stopped);
                    shared.gave_up(stage, failed);
                    break;
                }
                Err(error) => {
                    shared.fail(error);
                    break;
                }
            }
            if arrival.commit(&shared).is_err() {
                shared.gone();
                break;
            }
            arrival.flush(&shared);
        }
        arrival.finish(&shared);
    })
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

impl<T: Send> Book for Team<T> {
    fn check(&self, shared: &Shared) -> Result<(), Error> {
        let figures = shared.stats(self.stage).figures();
        balance(&self.name, std::slice::from_ref(&self.queue), figures)
    }
}
