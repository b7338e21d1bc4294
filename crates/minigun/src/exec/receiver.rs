//! The engine's half of a receiver: a queue that user code empties.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use super::books::books_differ;
use super::into_queue;
use crate::error::Error;
use crate::exec::launch::{Book, Launch, Node};
use crate::graph::StageId;
use crate::queue::{Hold, Queue};
use crate::shared::Shared;
use crate::stage::sink::MakeSink;
use crate::stats::StageStats;

pub(crate) struct ReceiverNode<T> {
    tap: Arc<Tap<T>>,
    name: String,
    /// Keeps the queue open until the run has started; dropped with a pipeline that is never run.
    _hold: Hold<T>,
}

struct ReceiverBook<T> {
    tap: Arc<Tap<T>>,
    name: String,
}

/// What both halves of a receiver know.
pub(crate) struct Tap<T> {
    pub(crate) queue: Arc<Queue<T>>,
    stage: StageId,
    /// The figures of its stage, once the run has begun.
    stats: OnceLock<Arc<StageStats>>,
}

impl<T> Tap<T> {
    pub(crate) fn new(limit: usize, stage: StageId) -> Arc<Self> {
        Arc::new(Tap { queue: Arc::new(Queue::new(limit, false)), stage, stats: OnceLock::new() })
    }

    /// The user has so many items more.
    pub(crate) fn took(&self, items: usize) {
        if let Some(stats) = self.stats.get() {
            stats.add(items as u64, 0, 0);
        }
    }
}

impl<T: Send + 'static> ReceiverNode<T> {
    pub(crate) fn new(tap: &Arc<Tap<T>>, name: &str) -> (Self, MakeSink<T>) {
        let node = ReceiverNode { tap: Arc::clone(tap), name: name.to_string(), _hold: tap.queue.hold() };
        (node, into_queue(&tap.queue))
    }
}

impl<T: Send + 'static> Node for ReceiverNode<T> {
    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(self.tap.queue.hold()))
    }

    fn register(&self, shared: &Shared) {
        let (queue, stats) = (&self.tap.queue, shared.stats(self.tap.stage));
        shared.on_halt(Arc::clone(queue) as _);
        stats.queued_in(queue.limit(), Arc::downgrade(queue) as _);
        // It was set by nobody else: a node is registered once.
        let _ = self.tap.stats.set(stats);
    }

    fn launch(self: Box<Self>, _: &Launch) -> Result<(), Error> {
        Ok(())
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(Arc::new(ReceiverBook { tap: Arc::clone(&self.tap), name: self.name.clone() }))
    }
}

impl<T: Send> Book for ReceiverBook<T> {
    fn check(&self, _: &Shared) -> Result<(), Error> {
        let (sent, (taken, left)) = (self.tap.queue.sent(), self.tap.queue.taken_and_left());
        if sent == taken + left { Ok(()) } else { Err(books_differ(&self.name, sent, taken, left, "")) }
    }
}
