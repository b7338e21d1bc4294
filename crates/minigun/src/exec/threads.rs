//! A block on threads of the program: a queue, and workers that take from it.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::into_queue;
use crate::defaults;
use crate::error::{Error, init_error};
use crate::exec::launch::{Book, Holds, Launch, Node};
use crate::failure::{FailedItem, Failure, Fate, Policy, Verdict};
use crate::graph::{PointId, StageId};
use crate::in_flight::InFlight;
use crate::plan::{Executor, Placed, Spot, default_policy};
use crate::queue::{Kept, Pop, Queue, Sender};
use crate::shared::{Halt, Shared};
use crate::stage::Keep;
use crate::stage::attempt::Attempt;
use crate::stage::letters::{self, Letters, MakeLetters, Remains};
use crate::stage::sink::{Cx, MakeSink};
use crate::stats::StageStats;
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
    /// A stop of the run ends it as it ends producers.
    channel: bool,
    /// The point behind the queue.
    behind: PointId,
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
        let queue = Arc::new(Queue::new(block.placement.settings.queue, policy.retries()));
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
            channel: false,
            behind: block.behind,
        };
        ThreadsNode { team: Arc::new(team), executor: block.placement.executor }
    }

    /// One thread of a block whose threads have a queue each.
    pub(crate) fn of_lane(queue: &Arc<Queue<T>>, block: &Placed<T>) -> Self {
        ThreadsNode { executor: SINGLE, ..Self::instead(queue, block) }
    }

    /// A stage outside any block: one thread, the default policy.
    pub(crate) fn single(head: &Spot<T>, stage: StageId, name: &str) -> (Self, MakeSink<T>) {
        let queue = Arc::new(Queue::new(defaults::QUEUE_ITEMS, false));
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
        Some(Box::new(Sender::new(&self.team.queue)))
    }

    fn register(&self, shared: &Shared) {
        shared.on_halt(Arc::clone(&self.team.queue) as _);
        shared.on_stop_hurry(&self.team.queue);
        if self.team.channel {
            shared.on_stop(Arc::new(Close(Arc::clone(&self.team.queue))));
        }
    }

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let workers = self.executor.held_to(launch.shared.limits());
        // An item must not wait in the hands of a busy worker while another is idle.
        let run = if workers == 1 { usize::MAX } else { 1 };
        for worker in 0..workers {
            let (team, shared) = (Arc::clone(&self.team), Arc::clone(&launch.shared));
            let name = if workers == 1 { team.name.to_string() } else { format!("{}/{worker}", team.name) };
            launch.spawn(&name, move |holds| team.work(&shared, holds, run))?;
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
            channel,
            behind: head.id,
        }
    }
}

impl<T: Send + 'static> Team<T> {
    /// One worker, which takes up to `most` items at once.
    fn work(&self, shared: &Arc<Shared>, holds: Holds, most: usize) {
        let cx = Cx { within: self.queue.in_flight().cloned(), ..Cx::new(shared, &self.name, None) };
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
        let mut worker = Worker { team: self, shared, stats, letters, completed: 0 };
        let (mut run, mut last) = (VecDeque::new(), 0);
        loop {
            let next = match self.queue.pop(&mut run, most) {
                Pop::Run(first) => {
                    last = first + run.len() as u64 - 1;
                    worker.run(&mut attempt, &mut run, first)
                }
                Pop::Again(kept) => worker.again(&mut attempt, kept),
                Pop::Rest => worker.rest(&mut attempt, last),
                Pop::End | Pop::Empty(_) => Next::Off,
            };
            if let Next::Off = next {
                break;
            }
        }
        let cx = attempt.cx.clone();
        let finished = attempt.finish().and_then(|()| letters::finish(&mut worker.letters));
        // What steps emitted at their end (a batch's remainder) goes on now.
        if finished.is_ok() && cx.tx.commit().is_err() {
            shared.gone();
        }
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
    letters: Option<Box<dyn Letters<T>>>,
    completed: u64,
}

impl<T: Send + 'static> Worker<'_, T> {
    fn run(&mut self, attempt: &mut Attempt<T>, run: &mut VecDeque<T>, first: u64) -> Next {
        let started = Instant::now();
        let (mut number, mut next) = (first, Next::On);
        while let Some(item) = run.pop_front() {
            next = self.item(attempt, Kept { item, number, attempts: 0 });
            number += 1;
            if let Next::Off = next {
                self.stats.abandoned(run.len() as u64);
                run.clear();
            }
        }
        self.flush(attempt, started);
        next
    }

    fn again(&mut self, attempt: &mut Attempt<T>, kept: Kept<T>) -> Next {
        let started = Instant::now();
        let next = self.item(attempt, kept);
        self.flush(attempt, started);
        next
    }

    /// The loop is at rest: what the steps have gathered goes on.
    fn rest(&mut self, attempt: &mut Attempt<T>, last: u64) -> Next {
        if let Err(failure) = attempt.rest() {
            let failed = FailedItem::new(&self.team.name, last, 1, &failure, Fate::Stopped);
            self.shared.broke_off(self.team.stage, failed);
            return Next::Off;
        }
        let published = attempt.cx.tx.commit();
        self.flush(attempt, Instant::now());
        self.team.queue.rested();
        if published.is_err() {
            self.shared.gone();
            return Next::Off;
        }
        Next::On
    }

    fn flush(&mut self, attempt: &Attempt<T>, started: Instant) {
        self.stats.busy(started.elapsed());
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
        let mut failure = match attempt.run(item, Working::at(number, attempts)) {
            Ok(()) => {
                let next = self.commit(attempt);
                self.completed += u64::from(matches!(next, Next::On));
                return next;
            }
            Err(failure) => failure,
        };
        let verdict = if failure.is_final(0) {
            Verdict::Stop
        } else {
            self.team.policy.verdict(tried, self.shared.spread())
        };
        match (verdict, again) {
            (Verdict::Retry(wait), Some(item)) => {
                self.stats.retried();
                self.team.queue.again(Kept { item, number, attempts: tried }, Instant::now() + wait);
                Next::On
            }
            (Verdict::Skip, _) => {
                self.gave_up(number, tried, &failure, Fate::Skipped);
                self.team.queue.done(1);
                Next::On
            }
            (Verdict::DeadLetter, Some(item)) => {
                let failed = FailedItem::new(&self.team.name, number, tried, &failure, Fate::Dead);
                if let Err(failure) = letters::post(&mut self.letters, Remains::Item(item), &failed) {
                    attempt.cx.tx.undo();
                    self.gave_up(number, tried, &failure, Fate::Stopped);
                    return Next::Off;
                }
                let next = self.commit(attempt);
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

    fn gave_up(&self, number: u64, attempts: u32, failure: &Failure, fate: Fate) {
        let failed = FailedItem::new(&self.team.name, number, attempts, failure, fate);
        self.shared.gave_up(self.team.stage, failed);
    }

    /// Lets what the item made go on; then it has its outcome.
    fn commit(&mut self, attempt: &Attempt<T>) -> Next {
        let tx = &attempt.cx.tx;
        let published = tx.commit();
        if tx.journal.has_values() {
            self.shared.settle(&tx.journal);
        }
        self.team.queue.done(1);
        if published.is_ok() {
            return Next::On;
        }
        self.stats.abandoned(1);
        self.shared.gone();
        Next::Off
    }
}

impl<T: Send> Book for Team<T> {
    fn check(&self, shared: &Shared) -> Result<(), Error> {
        let figures = shared.stats(self.stage).figures();
        balance(&self.name, std::slice::from_ref(&self.queue), figures)
    }
}

/// Compares what the senders, the queues and the workers counted, each by itself.
pub(crate) fn balance<T>(
    name: &str,
    queues: &[Arc<Queue<T>>],
    figures: crate::stats::StageFigures,
) -> Result<(), Error> {
    let sent = queues.iter().fold(0, |sent: u64, queue| sent.wrapping_add(queue.sent()));
    let (mut taken, mut left) = (0, 0);
    for queue in queues {
        let (t, l) = queue.taken_and_left();
        (taken, left) = (taken + t, left + l);
    }
    let outcomes = figures.completed + figures.skipped + figures.dead + figures.abandoned;
    if sent == taken + left && taken == outcomes {
        return Ok(());
    }
    let outcomes = format!(
        "; {} completed, {} skipped, {} dead, {} abandoned",
        figures.completed, figures.skipped, figures.dead, figures.abandoned
    );
    Err(books_differ(name, sent, taken, left, &outcomes))
}

pub(crate) fn books_differ(name: &str, sent: u64, taken: u64, left: u64, outcomes: &str) -> Error {
    let detail = format!("{sent} sent, {taken} taken, {left} left in the queue{outcomes}");
    Error::Books { stage: name.to_string(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::StageFigures;

    #[test]
    fn the_books_balance_only_if_every_item_taken_was_sent_and_has_one_outcome() {
        let queue = Arc::new(Queue::new(10, false));
        let sender = Sender::new(&queue);
        (0..5).for_each(|n| sender.send(n).unwrap());
        let mut run = VecDeque::new();
        assert!(matches!(queue.pop(&mut run, 4), Pop::Run(0)));
        let queue = [queue];
        let right = StageFigures { completed: 1, skipped: 1, dead: 1, abandoned: 1, ..Default::default() };
        assert!(balance("stage", &queue, right).is_ok());
        let lost = StageFigures { dead: 0, ..right };
        let twice = StageFigures { completed: 2, ..right };
        for wrong in [lost, twice] {
            let error = balance("stage", &queue, wrong).unwrap_err().to_string();
            assert!(error.contains("`stage`") && error.contains("5 sent, 4 taken, 1 left"), "{error}");
        }
        // A sender that counted one item less than the queue took.
        queue[0].add_sent(u64::MAX);
        assert!(balance("stage", &queue, right).is_err());
    }
}
