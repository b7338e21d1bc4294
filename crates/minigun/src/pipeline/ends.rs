//! Ends of flows whose values are read from the report, and the stages whose state lives in the program.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;

use super::flow::Flow;
use super::scope::{Gathers, Scope};
use crate::error::Error;
use crate::exec::ReceiverNode;
use crate::failure::Failure;
use crate::graph::Mistake;
use crate::queue::{Pop, Queue};
use crate::report::{Outcome, Report, TAKEN};
use crate::stage::batch::{Batch, Batcher, Rebatch};
use crate::stage::output::Output;
use crate::stage::step::StepRun;

/// All items of a flow, to be taken from the report. Made by [`Flow::collect`].
#[must_use = "the values are taken from the report with `Report::take`"]
pub struct Collected<T> {
    pub(crate) pipeline: u64,
    pub(crate) values: Arc<Mutex<Option<Vec<T>>>>,
}

/// A folded value, to be taken from the report. Made by [`Flow::fold`].
#[must_use = "the value is taken from the report with `Report::take`"]
pub struct Folded<A> {
    pub(crate) pipeline: u64,
    pub(crate) value: Arc<Mutex<Option<A>>>,
}

impl<T> Outcome for Collected<T> {
    type Value = Vec<T>;
    fn read(self, report: &mut Report) -> Result<Vec<T>, Error> {
        report.ours("what a flow collected", self.pipeline)?;
        self.values.lock().take().ok_or(Error::Handle { what: "what a flow collected", why: TAKEN })
    }
}

impl<A> Outcome for Folded<A> {
    type Value = A;
    fn read(self, report: &mut Report) -> Result<A, Error> {
        report.ours("a folded value", self.pipeline)?;
        self.value.lock().take().ok_or(Error::Handle { what: "a folded value", why: TAKEN })
    }
}

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// Gathers `size` items into a batch, on a thread of its own; what is left at the end makes a smaller
    /// last batch, and no batch is empty.
    ///
    /// Batches are made in the program: a worker process that died would take a half-full one with it.
    pub fn batch(self, size: usize) -> Flow<Vec<T>, S>
    where
        S: Gathers,
    {
        let (stage, name) = self.batch_stage("batch", size);
        self.own_thread(stage, &name).step_at(stage, &name, move |_| Ok(Batch(Batcher::new(size.max(1)))))
    }

    fn batch_stage(&self, kind: &'static str, size: usize) -> (crate::graph::StageId, String) {
        self.home.graph(|graph| {
            let stage = graph.unnamed(kind, None);
            let name = graph.name(stage).to_string();
            if size == 0 {
                graph.mistakes.push(Mistake::EmptyBatch { stage: name.clone() });
            }
            (stage, name)
        })
    }

    /// Ends the flow: its items are taken from the report, in the order in which they arrived. They are kept
    /// in memory.
    pub fn collect(self, name: &str) -> Collected<T>
    where
        S: Gathers,
    {
        let values = Arc::new(Mutex::new(Some(Vec::new())));
        let (pipeline, into) = (self.home.totals.id(), Arc::clone(&values));
        let _ended = self
            .heavy(name, "collect", move |_| Ok(Gather { into: Arc::clone(&into), gathered: Vec::new() }))
            .ended();
        Collected { pipeline, values }
    }

    /// Ends the flow: every item is folded into one value, in the program, one at a time. A panic of `f` ends
    /// the run, whatever the policy: the value is lost in it.
    pub fn fold<A: Send + 'static>(
        self,
        name: &str,
        init: A,
        f: impl FnMut(A, T) -> A + Send + 'static,
    ) -> Folded<A>
    where
        S: Gathers,
    {
        let value = Arc::new(Mutex::new(Some(init)));
        let (pipeline, into, f) = (self.home.totals.id(), Arc::clone(&value), Arc::new(Mutex::new(f)));
        let _ended = self
            .heavy(name, "fold", move |_| {
                let (into, f) = (Arc::clone(&into), Arc::clone(&f));
                Ok(move |item, _: &mut Output<()>| {
                    let mut into = into.lock();
                    let Some(value) = into.take() else {
                        return Err(Failure::from("the folded value was lost in a panic").finally());
                    };
                    *into = Some((f.lock())(value, item));
                    Ok(())
                })
            })
            .ended();
        Folded { pipeline, value }
    }

    /// Ends the flow: its items can be received while the run goes on. At most `limit` items wait; then the
    /// stages before it wait.
    ///
    /// Receive on another thread than the one that waits for the run, and until the end: a receiver that is
    /// dropped before its flow ended ends the run with [`Error::ReceiverGone`](crate::Error::ReceiverGone).
    pub fn receiver(self, name: &str, limit: usize) -> Receiver<T>
    where
        S: Gathers,
    {
        let queue = Arc::new(Queue::new(limit, false));
        self.home.graph(|graph| {
            let stage = graph.stage(name, "receiver", None);
            graph.consume(self.spot.id, Some(stage));
        });
        let (node, sink) = ReceiverNode::new(&queue, name);
        self.home.add(Some(Box::new(node)));
        self.spot.point.attach(sink);
        Receiver { queue, run: VecDeque::new(), taken: 0 }
    }
}

impl<T: Send + 'static, S: Scope> Flow<Vec<T>, S> {
    /// Turns batches into batches of `size`, across their borders: 2 of 50 become 30, 30, 30 and 10.
    pub fn rebatch(self, size: usize) -> Flow<Vec<T>, S>
    where
        S: Gathers,
    {
        let (stage, name) = self.batch_stage("rebatch", size);
        self.own_thread(stage, &name).step_at(stage, &name, move |_| Ok(Rebatch(Batcher::new(size.max(1)))))
    }
}

struct Gather<T> {
    into: Arc<Mutex<Option<Vec<T>>>>,
    gathered: Vec<T>,
}

impl<T> StepRun<T, ()> for Gather<T> {
    fn run(&mut self, item: T, _: &mut Output<()>) -> Result<(), Failure> {
        self.gathered.push(item);
        Ok(())
    }

    fn finish(&mut self, _: &mut Output<()>) -> Result<(), Failure> {
        if let Some(values) = &mut *self.into.lock() {
            values.append(&mut self.gathered);
        }
        Ok(())
    }
}

/// The receiving end of [`Flow::receiver`]: an iterator that ends when the flow has ended.
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
    run: VecDeque<T>,
    /// Items of the run that was taken last.
    taken: usize,
}

impl<T> Iterator for Receiver<T> {
    type Item = T;

    /// Waits for the next item; `None` when the flow has ended, or the run was stopped by an error.
    fn next(&mut self) -> Option<T> {
        if self.run.is_empty() {
            self.queue.done(std::mem::take(&mut self.taken));
            match self.queue.pop(&mut self.run, usize::MAX) {
                Pop::Run(_) => self.taken = self.run.len(),
                Pop::Again(kept) => return Some(kept.item),
                Pop::End | Pop::Empty(_) | Pop::Rest => return None,
            }
        }
        self.run.pop_front()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.queue.stop();
    }
}
