//! Ends of flows whose values are read from the report, and the stages whose state lives in the program.

use std::collections::HashSet;
use std::hash::Hash;
use std::iter::once;
use std::sync::Arc;

use crate::sync::Mutex;

use super::flow::Flow;
use super::scope::{Gathers, Scope};
use crate::error::Error;
use crate::exec::{ReceiverNode, Tap};
use crate::failure::Failure;
use crate::graph::{Mistake, StageId};
use crate::queue::Pop;
use crate::report::{Outcome, Report, TAKEN};
use crate::stage::batch::{Batch, Rebatch};
use crate::stage::batcher::{Batcher, Batches};
use crate::stage::output::Output;
use crate::stage::seen::{Bloom, Seen};
use crate::stage::step_run::StepRun;

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
        self.batch_by(Batches::of(size))
    }

    /// Gathers items into batches by size, age, weight and key, as `batches` says; otherwise as
    /// [`batch`](Self::batch).
    ///
    /// ```
    /// # use minigun::{Batches, Pipeline};
    /// let p = Pipeline::new("by key");
    /// let batches = p
    ///     .source("numbers", 0..10u32)
    ///     .batch_by(Batches::of(4).by_key(100, |n: &u32| n % 2))
    ///     .collect("batches");
    /// assert_eq!(p.run()?.take(batches), [vec![0, 2, 4, 6], vec![1, 3, 5, 7], vec![8], vec![9]]);
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// A panic of a closure that weighs an item or tells its key ends the run.
    pub fn batch_by<K>(self, batches: Batches<T, K>) -> Flow<Vec<T>, S>
    where
        K: Hash + Eq + Clone + Send + 'static,
        S: Gathers,
    {
        let (stage, name) = self.batch_stage("batch", batches.size());
        self.own_thread(stage, &name).step_at(stage, &name, move |_| Ok(Batch(Batcher::new(batches.clone()))))
    }

    /// Keeps the first item of every key and drops the others. Every key is remembered until the end of the run, in the
    /// program; for a bound on that see [`dedup_by_approx`](Self::dedup_by_approx). On a thread of its own.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("dedup");
    /// let firsts = p.source("words", ["ann", "bob", "amy"]).dedup_by(|word| word.chars().next()).collect("firsts");
    /// assert_eq!(p.run()?.take(firsts), ["ann", "bob"]);
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// A panic of `key` ends the run.
    pub fn dedup_by<K: Hash + Eq + Send + 'static>(
        self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Flow<T, S>
    where
        S: Gathers,
    {
        let stage = self.dedup_stage();
        self.dedup(stage, key, HashSet::new)
    }

    /// As [`dedup_by`](Self::dedup_by) in a memory of fixed size, at the price of an error: a new key may be taken for
    /// one that was seen before, and **its item is dropped**. No item passes twice.
    ///
    /// While there are at most `keys` different ones, a new key meets that fate with a probability of at most
    /// `error` (above 0, below 1); beyond that it grows. It takes `1.44 * log2(1 / error)` bits for each of
    /// `keys`: 1.8 MB for a million keys and 1 in 1000.
    pub fn dedup_by_approx<K: Hash + Send + 'static>(
        self,
        keys: usize,
        error: f64,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Flow<T, S>
    where
        S: Gathers,
    {
        let (stage, name) = self.dedup_stage();
        if !(error > 0.0 && error < 1.0) {
            let (stage, error) = (name.clone(), error.to_string());
            self.home.graph(|graph| graph.mistakes.push(Mistake::ErrorRate { stage, error }));
        }
        self.dedup((stage, name), key, move || Bloom::new(keys, error))
    }

    fn dedup_stage(&self) -> (StageId, String) {
        self.home.graph(|graph| {
            let stage = graph.unnamed("dedup_by", None);
            (stage, graph.name(stage).to_string())
        })
    }

    fn dedup<K: 'static, N: Seen<K> + 'static>(
        self,
        (stage, name): (StageId, String),
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        make: impl Fn() -> N + Send + Sync + 'static,
    ) -> Flow<T, S> {
        let key = Arc::new(key);
        self.own_thread(stage, &name).step_at(stage, &name, move |_| {
            let (key, mut seen) = (Arc::clone(&key), make());
            Ok(move |item, out: &mut Output<T>| {
                if seen.is_new(key(&item)) {
                    out.emit(item);
                }
                Ok(())
            })
        })
    }

    fn batch_stage(&self, kind: &'static str, size: usize) -> (StageId, String) {
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
        let (pipeline, value) = (self.home.totals.id(), Arc::new(Mutex::new(Some(init))));
        let (into, f) = (Arc::clone(&value), Arc::new(Mutex::new(Some(f))));
        let _ended = self
            .heavy(name, "fold", move |_| {
                Ok(Fold { value: Arc::clone(&into), f: Arc::clone(&f), at_work: None })
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
        let stage = self.home.graph(|graph| {
            let stage = graph.stage(name, "receiver", None);
            graph.consume(self.spot.id, Some(stage));
            stage
        });
        let tap = Tap::new(limit, stage);
        let (node, sink) = ReceiverNode::new(&tap, name);
        self.home.add(Some(Box::new(node)));
        self.spot.point.attach(sink);
        Receiver { tap, run: Vec::new().into_iter(), taken: 0 }
    }
}

impl<T: Send + 'static, S: Scope> Flow<Vec<T>, S> {
    /// Turns batches into batches of `size`, across their borders: 2 of 50 become 30, 30, 30 and 10.
    pub fn rebatch(self, size: usize) -> Flow<Vec<T>, S>
    where
        S: Gathers,
    {
        let (stage, name) = self.batch_stage("rebatch", size);
        self.own_thread(stage, &name).step_at(stage, &name, move |_| Ok(Rebatch(Batcher::of(size))))
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

/// A value, and what folds items into it.
///
/// Both are at home where the report and the next step, made after a panic elsewhere, find them; at work they are
/// the step's own, and lost in a panic that passes through it.
struct Fold<A, F> {
    value: Arc<Mutex<Option<A>>>,
    f: Arc<Mutex<Option<F>>>,
    at_work: Option<(A, F)>,
}

impl<A, F> Fold<A, F> {
    #[cold]
    fn begin(&mut self) -> Result<(A, F), Failure> {
        let (value, f) = (self.value.lock().take(), self.f.lock().take());
        value.zip(f).ok_or_else(|| Failure::from("the folded value was lost in a panic").finally())
    }
}

impl<T, A, F: FnMut(A, T) -> A> StepRun<T, ()> for Fold<A, F> {
    #[inline]
    fn run(&mut self, item: T, out: &mut Output<()>) -> Result<(), Failure> {
        self.each(&mut once(item), out, |_, outcome| outcome.map(|_| ()))
    }

    #[inline]
    fn each<B>(
        &mut self,
        items: &mut (impl Iterator<Item = T> + ?Sized),
        out: &mut Output<()>,
        mut over: impl FnMut(&mut Output<()>, Result<u64, Failure>) -> Result<(), B>,
    ) -> Result<(), B> {
        let (mut value, mut f) = match self.at_work.take().map_or_else(|| self.begin(), Ok) {
            Ok(at_work) => at_work,
            // It stands for the first item.
            Err(failure) => return items.next().map_or(Ok(()), |_| over(out, Err(failure))),
        };
        let mut broken = Ok(());
        for item in items {
            value = f(value, item);
            broken = over(out, Ok(0));
            if broken.is_err() {
                break;
            }
        }
        self.at_work = Some((value, f));
        broken
    }
}

impl<A, F> Drop for Fold<A, F> {
    fn drop(&mut self) {
        if let Some((value, f)) = self.at_work.take() {
            *self.value.lock() = Some(value);
            *self.f.lock() = Some(f);
        }
    }
}

/// The receiving end of [`Flow::receiver`]: an iterator that ends when the flow has ended.
pub struct Receiver<T> {
    tap: Arc<Tap<T>>,
    run: std::vec::IntoIter<T>,
    /// Items of the run that was taken last.
    taken: usize,
}

impl<T> Iterator for Receiver<T> {
    type Item = T;

    /// Waits for the next item; `None` when the flow has ended, or the run was stopped by an error.
    fn next(&mut self) -> Option<T> {
        if let Some(item) = self.run.next() {
            return Some(item);
        }
        self.tap.queue.done(std::mem::take(&mut self.taken));
        let mut run = Vec::new();
        match self.tap.queue.pop(&mut run, usize::MAX) {
            Pop::Run(_) => {
                self.taken = run.len();
                self.tap.took(run.len());
            }
            Pop::Again(kept) => return Some(kept.item),
            Pop::End | Pop::Empty(_) | Pop::Rest => return None,
        }
        self.run = run.into_iter();
        self.run.next()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.tap.queue.stop();
    }
}
