//! Where blocks run: one context for each kind of executor, chosen by one factory.

mod process;
mod receiver;
pub(crate) mod source;
pub(crate) mod threads;

use std::sync::Arc;

use crate::graph::StageId;
use crate::pipeline::flow::Flow;
use crate::pipeline::home::{BlockDef, Home, Spot};
use crate::pipeline::place::{Executor, Placement};
use crate::pipeline::scope::Scope;
use crate::queue::{Queue, Sender};
use crate::stage::edge::EdgeSink;
use crate::stage::guard::InlineBlock;
use crate::stage::nested;
use crate::stage::sink::{BoxSink, Cx, MakeSink};

pub(crate) use receiver::ReceiverNode;
pub(crate) use threads::ThreadsNode;

/// A block, ready to be placed.
pub(crate) struct Placed<T> {
    pub(crate) def: Arc<BlockDef>,
    pub(crate) head: MakeSink<T>,
    pub(crate) placement: Placement<T>,
    /// The stage on which the block's books are kept.
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    /// It stands inside another block.
    pub(crate) nested: bool,
}

/// Where a block's items run.
pub(crate) trait Context<T> {
    /// Adds to the pipeline what must run by itself, and says how the stage before hands its items over.
    fn place(&self, block: Placed<T>, home: &Arc<Home>) -> MakeSink<T>;
}

/// The one factory of contexts.
pub(crate) fn context<T: Send + 'static>(executor: Executor) -> Box<dyn Context<T>> {
    match executor {
        Executor::Inline => Box::new(InlineContext),
        Executor::Threads(_) => Box::new(ThreadContext),
        Executor::Processes(_) => Box::new(process::ProcessPoolContext),
        Executor::ProcessPerBatch(_) => Box::new(process::ForkContext),
    }
}

/// Runs in the caller: the stage before calls the block's steps.
struct InlineContext;

impl<T: Send + 'static> Context<T> for InlineContext {
    fn place(&self, block: Placed<T>, _: &Arc<Home>) -> MakeSink<T> {
        if !block.def.bordered {
            // Its failures are the outer attempt's: nothing stands between.
            return block.head;
        }
        Arc::new(move |cx| {
            Ok(Box::new(InlineBlock {
                head: (block.head)(cx)?,
                make: Arc::clone(&block.head),
                // Once built, it is only ever built again.
                cx: Cx { again: true, ..cx.clone() },
                depth: block.def.depth,
                policy: block.placement.policy,
                keep: block.placement.keep,
                stage: block.stage,
                name: Arc::clone(&block.name),
                seen: 0,
            }))
        })
    }
}

/// Runs on threads, behind a queue; inside another block, on threads of that block's worker.
struct ThreadContext;

impl<T: Send + 'static> Context<T> for ThreadContext {
    fn place(&self, block: Placed<T>, home: &Arc<Home>) -> MakeSink<T> {
        if block.nested {
            return nested::nested(block);
        }
        let (node, sink) = ThreadsNode::new(block);
        home.add(Box::new(node));
        sink
    }
}

/// A sink that ends in `queue`.
pub(crate) fn into_queue<T: Send + 'static>(queue: &Arc<Queue<T>>) -> MakeSink<T> {
    let queue = Arc::clone(queue);
    Arc::new(move |cx| Ok(Box::new(EdgeSink::new(cx, Sender::new(&queue))) as BoxSink<T>))
}

/// What follows `flow` runs on a thread of its own.
pub(crate) fn own_thread<T: Send + 'static, S: Scope>(
    flow: Flow<T, S>,
    stage: StageId,
    name: &str,
) -> Flow<T, S> {
    let Flow { home, spot, block, .. } = flow;
    let next = home.graph(|graph| {
        graph.consume(spot.id, None);
        Spot::<T>::new(graph, Vec::new(), vec![spot.id], None)
    });
    let (node, sink) = ThreadsNode::single(next.make(), stage, name);
    home.add(Box::new(node));
    spot.point.attach(sink);
    Flow::at(&home, next, block)
}
