//! The queues before a block: one from which any worker takes, or, by key, one for each worker.
//!
//! With a key every worker slot has a lane of its own: the item's key says which, whoever sends it. A worker that died is
//! replaced in its slot and takes from the same lane, where also the items that it had in flight come back to.
//! Together the lanes hold what the one queue would.

use std::any::Any;
use std::sync::Arc;

use super::books::balance;
use super::launch::{Book, Launch, Node};
use super::{ThreadsNode, into_queue};
use crate::error::Error;
use crate::failure::Failure;
use crate::graph::{PointId, StageId};
use crate::in_flight::InFlight;
use crate::plan::{Executor, KeyOf, Placed, Placement};
use crate::queue::Queue;
use crate::shared::Shared;
use crate::stage::sink::{BoxSink, MakeSink, Sink};

/// The queues before one block.
pub(crate) struct Lanes<T> {
    /// One, or as many as the block asks for workers.
    queues: Vec<Arc<Queue<T>>>,
    key: Option<KeyOf<T>>,
    executor: Executor,
}

impl<T: Send + 'static> Lanes<T> {
    /// Where `returns`, taken items may come back (see [`Queue::new`]).
    pub(crate) fn new(placement: &Placement<T>, returns: bool) -> Self {
        let (executor, key) = (placement.executor, placement.key.clone());
        let queues = match &key {
            None => vec![placement.settings.make_queue(returns)],
            Some(_) => placement.settings.make_lanes(executor.workers(), returns),
        };
        let queues = queues.into_iter().map(Arc::new).collect();
        Lanes { queues, key, executor }
    }

    /// The queue of each worker, if they have one each.
    pub(crate) fn by_worker(&self) -> Option<&[Arc<Queue<T>>]> {
        self.key.as_ref().map(|_| self.queues.as_slice())
    }

    /// All of them, of which there is one at least (a block of no workers is not run).
    pub(crate) fn queues(&self) -> &[Arc<Queue<T>>] {
        &self.queues
    }

    /// How many items they hold together.
    pub(crate) fn limit(&self) -> usize {
        self.queues.iter().map(|queue| queue.limit()).sum()
    }

    /// Where the stage before pushes its items.
    pub(crate) fn sink(&self) -> MakeSink<T> {
        let ways: Vec<_> = self.queues.iter().map(into_queue).collect();
        let (key, executor) = (self.key.clone(), self.executor);
        Arc::new(move |cx| {
            let Some(key) = &key else {
                return ways.first().ok_or("minigun: a block without a queue")?(cx);
            };
            // A pipeline's limits may leave it fewer workers than it asked for.
            let workers = executor.held_to(cx.run.limits());
            let lanes = ways.iter().take(workers).map(|way| way(cx)).collect::<Result<Vec<_>, _>>()?;
            Ok(Box::new(KeyedSink { lanes, key: Arc::clone(key) }) as BoxSink<T>)
        })
    }

    pub(crate) fn join(&self, in_flight: &Arc<InFlight>) {
        self.queues.iter().for_each(|queue| queue.join(in_flight, false));
    }

    pub(crate) fn hold(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(self.queues.iter().map(Queue::hold).collect::<Vec<_>>())
    }

    pub(crate) fn register(&self, shared: &Shared, stage: StageId) {
        let (stats, limit) = (shared.stats(stage), self.limit());
        for queue in &self.queues {
            shared.on_halt(Arc::clone(queue) as _);
            shared.on_stop_hurry(queue);
            let queue = Arc::downgrade(queue);
            stats.queued_in(limit, queue as _);
        }
    }

    pub(crate) fn book(&self, stage: StageId, name: &Arc<str>) -> Arc<dyn Book> {
        Arc::new(LanesBook { queues: self.queues.clone(), stage, name: Arc::clone(name) })
    }
}

struct LanesBook<T> {
    queues: Vec<Arc<Queue<T>>>,
    stage: StageId,
    name: Arc<str>,
}

impl<T: Send> Book for LanesBook<T> {
    fn check(&self, shared: &Shared) -> Result<(), Error> {
        balance(&self.name, &self.queues, shared.stats(self.stage).figures())
    }
}

/// Sends each item into the lane of its key.
struct KeyedSink<T> {
    lanes: Vec<BoxSink<T>>,
    key: KeyOf<T>,
}

impl<T> Sink<T> for KeyedSink<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let lane = (self.key)(&item) % (self.lanes.len() as u64).max(1);
        match self.lanes.get_mut(lane as usize) {
            Some(lane) => lane.push(item),
            None => Err("minigun: a block without workers".into()),
        }
    }

    fn load(&mut self) -> usize {
        self.lanes.iter_mut().map(|lane| lane.load()).sum()
    }
}

/// A block on threads of the program, each with a lane of its own.
pub(crate) struct KeyedThreads<T> {
    lanes: Lanes<T>,
    block: Arc<Placed<T>>,
}

impl<T: Send + 'static> KeyedThreads<T> {
    pub(crate) fn new(block: Placed<T>) -> (Self, MakeSink<T>) {
        let lanes = Lanes::new(&block.placement, block.placement.policy.retries());
        let sink = lanes.sink();
        (KeyedThreads { lanes, block: Arc::new(block) }, sink)
    }
}

/// Starts a thread for every lane.
pub(crate) fn launch_threads<T: Send + 'static>(
    queues: &[Arc<Queue<T>>],
    block: &Placed<T>,
    launch: &Launch,
) -> Result<(), Error> {
    let workers = block.placement.executor.held_to(launch.shared.limits());
    for queue in queues.iter().take(workers) {
        Box::new(ThreadsNode::of_lane(queue, block)).launch(launch)?;
    }
    Ok(())
}

impl<T: Send + 'static> Node for KeyedThreads<T> {
    fn behind(&self) -> Option<PointId> {
        Some(self.block.behind)
    }

    fn join(&self, in_flight: &Arc<InFlight>) {
        self.lanes.join(in_flight);
    }

    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(self.lanes.hold())
    }

    fn register(&self, shared: &Shared) {
        self.lanes.register(shared, self.block.stage);
    }

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        launch_threads(&self.lanes.queues, &self.block, launch)
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(self.lanes.book(self.block.stage, &self.block.name))
    }
}
