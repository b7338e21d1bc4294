//! A block on threads of the program: a queue, and workers that take from it.
//!
//! `worker` is the life of one thread, `order` what is put in the order of its items behind them.

mod order;
mod worker;

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::books::balance;
use super::into_queue;
use crate::defaults;
use crate::error::Error;
use crate::exec::launch::{Book, Launch, Node};
use crate::failure::Policy;
use crate::graph::{PointId, StageId};
use crate::in_flight::InFlight;
use crate::plan::{Executor, Placed, Spot, default_policy};
use crate::queue::Queue;
use crate::shared::{Halt, Shared};
use crate::stage::Keep;
use crate::stage::letters::MakeLetters;
use crate::stage::sink::MakeSink;
use order::Ordered;
pub(in crate::exec) use order::pass_in_order;

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

impl<T: Send> Book for Team<T> {
    fn check(&self, shared: &Shared) -> Result<(), Error> {
        let figures = shared.stats(self.stage).figures();
        balance(&self.name, std::slice::from_ref(&self.queue), figures)
    }
}
