//! Where blocks run: one context for each kind of executor, chosen by one factory.

mod books;
mod feedback;
mod lanes;
pub(crate) mod launch;
mod nested;
mod process;
mod receiver;
pub(crate) mod source;
pub(crate) mod threads;

use std::sync::Arc;

use crate::plan::{Executor, Placed};
use crate::queue::Queue;
use crate::stage::edge::EdgeSink;
use crate::stage::guard::InlineBlock;
use crate::stage::letters;
use crate::stage::pace::paced;
use crate::stage::sink::{BoxSink, Cx, MakeSink};
use crate::stage::timed::timed;
use launch::Node;

pub(crate) use feedback::FeedbackNode;
pub(crate) use receiver::{ReceiverNode, Tap};
pub(crate) use threads::ThreadsNode;

/// Where a block's items run.
pub(crate) trait Context<T> {
    /// Says how the stage before hands its items over, and what must run by itself.
    fn place(&self, block: Placed<T>) -> Stand<T>;
}

/// A block in its place.
pub(crate) struct Stand<T> {
    /// Where the stage before pushes its items.
    pub(crate) sink: MakeSink<T>,
    /// What runs on threads of its own.
    pub(crate) node: Option<Box<dyn Node>>,
}

impl<T> Stand<T> {
    /// Runs by itself.
    fn apart((node, sink): (impl Node + 'static, MakeSink<T>)) -> Self {
        Stand { sink, node: Some(Box::new(node)) }
    }

    /// Runs in the worker of the stage before.
    fn within(sink: MakeSink<T>) -> Self {
        Stand { sink, node: None }
    }
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
    fn place(&self, block: Placed<T>) -> Stand<T> {
        if block.placement.key.is_some() {
            // The threads before may be several: one of its own serves all keys.
            return Stand::apart(lanes::KeyedThreads::new(block));
        }
        let rate = block.placement.settings.rate;
        let head = timed(block.head, block.stage);
        if !block.def.bordered {
            // Its failures are the outer attempt's: nothing stands between.
            return Stand::within(paced(rate, head));
        }
        let inline: MakeSink<T> = Arc::new(move |cx| {
            Ok(Box::new(InlineBlock {
                head: head(cx)?,
                make: Arc::clone(&head),
                // Once built, it is only ever built again.
                cx: Cx { again: true, ..cx.clone() },
                depth: block.def.depth,
                nested: block.nested,
                policy: block.placement.policy,
                keep: block.placement.keep,
                letters: letters::open(block.letters.as_ref(), cx)?,
                stage: block.stage,
                name: Arc::clone(&block.name),
                seen: 0,
            }))
        });
        Stand::within(paced(rate, inline))
    }
}

/// Runs on threads, behind a queue; inside another block, on threads of that block's worker.
struct ThreadContext;

impl<T: Send + 'static> Context<T> for ThreadContext {
    fn place(&self, block: Placed<T>) -> Stand<T> {
        if block.nested {
            return Stand::within(paced(block.placement.settings.rate, nested::nested(block)));
        }
        if block.placement.key.is_some() {
            return Stand::apart(lanes::KeyedThreads::new(block));
        }
        Stand::apart(ThreadsNode::new(block))
    }
}

/// A sink that ends in `queue`.
pub(crate) fn into_queue<T: Send + 'static>(queue: &Arc<Queue<T>>) -> MakeSink<T> {
    let queue = Arc::clone(queue);
    Arc::new(move |cx| Ok(Box::new(EdgeSink::new(cx, &queue)) as BoxSink<T>))
}
