//! The engine's half of a receiver: a queue that user code empties.

use std::any::Any;
use std::sync::Arc;

use super::books::books_differ;
use super::into_queue;
use crate::error::Error;
use crate::exec::launch::{Book, Launch, Node};
use crate::queue::{Hold, Queue};
use crate::shared::Shared;
use crate::stage::sink::MakeSink;

pub(crate) struct ReceiverNode<T> {
    queue: Arc<Queue<T>>,
    name: String,
    /// Keeps the queue open until the run has started; dropped with a pipeline that is never run.
    _hold: Hold<T>,
}

struct ReceiverBook<T> {
    queue: Arc<Queue<T>>,
    name: String,
}

impl<T: Send + 'static> ReceiverNode<T> {
    pub(crate) fn new(queue: &Arc<Queue<T>>, name: &str) -> (Self, MakeSink<T>) {
        let node = ReceiverNode { queue: Arc::clone(queue), name: name.to_string(), _hold: queue.hold() };
        (node, into_queue(queue))
    }
}

impl<T: Send + 'static> Node for ReceiverNode<T> {
    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(Box::new(self.queue.hold()))
    }

    fn register(&self, shared: &Shared) {
        shared.on_halt(Arc::clone(&self.queue) as _);
    }

    fn launch(self: Box<Self>, _: &Launch) -> Result<(), Error> {
        Ok(())
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(Arc::new(ReceiverBook { queue: Arc::clone(&self.queue), name: self.name.clone() }))
    }
}

impl<T: Send> Book for ReceiverBook<T> {
    fn check(&self, _: &Shared) -> Result<(), Error> {
        let (sent, (taken, left)) = (self.queue.sent(), self.queue.taken_and_left());
        if sent == taken + left { Ok(()) } else { Err(books_differ(&self.name, sent, taken, left, "")) }
    }
}
