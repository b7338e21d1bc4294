//! The tree of steps that one worker runs: each step is a sink for its items.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use std::vec::Drain;

use super::edge::Edge;
use super::emit::Producer;
use super::exit::Carrier;
use super::series::{Broken, Series};
use super::tx::Tx;
use crate::apart::Shelf;
use crate::failure::Failure;
use crate::graph::BlockId;
use crate::in_flight::InFlight;
use crate::journal::Journal;
use crate::shared::Shared;
use crate::sync::Mutex;

/// Where a step's outputs go.
pub(crate) trait Sink<T> {
    /// Runs one item through this step and everything fused behind it.
    fn push(&mut self, item: T) -> Result<(), Failure>;

    /// Runs items one after the other, each as a transaction of its own, until one is not committed.
    ///
    /// Here, and not where attempts are made, so that a step can have a loop of its own into which its closure is
    /// inlined: one call for a run of items instead of one for each.
    fn push_run(&mut self, run: &mut Drain<'_, T>, series: &mut Series<'_>) -> Result<(), Broken> {
        self.feed(run, series)
    }

    /// As [`push_run`](Self::push_run), of what an iterator gives: each item is through before the next is asked for.
    fn feed(&mut self, items: &mut dyn Iterator<Item = T>, series: &mut Series<'_>) -> Result<(), Broken> {
        let tx = series.tx();
        let mut going = series.begin();
        for item in items {
            self.push(item)?;
            tx.settle(|| self.settle())?;
            going.over(Tx::publish)?;
        }
        going.end()
    }

    /// Waits for what `push` left in flight (nested threads), so that the attempt's outcome is known.
    fn settle(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// When a step that keeps items lets some of them go on, though nothing more may arrive. Only asked of the
    /// first step of a worker: those that keep items have a thread of their own.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// It is that time.
    fn ripen(&mut self, now: Instant) -> Result<(), Failure> {
        let _ = now;
        Ok(())
    }

    /// The worker ends: hooks and state of the steps behind end too.
    fn finish(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// The loop in which the worker stands is at rest: what was gathered goes on.
    fn rest(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// How many items are under way behind here: in the first queue, or taken from it and not done yet.
    fn load(&mut self) -> usize {
        0
    }

    /// The edge, if the sink is nothing but the end of one.
    fn edge(&self) -> Option<Rc<Edge<T>>> {
        None
    }
}

pub(crate) type BoxSink<T> = Box<dyn Sink<T>>;

/// Builds one worker's own sink. Called once per worker, in the worker: what it makes need not be `Send`.
pub(crate) type MakeSink<T> = Arc<dyn Fn(&mut Cx) -> Result<BoxSink<T>, Failure> + Send + Sync>;

/// What building a worker's sinks needs to know of the worker.
#[derive(Clone)]
pub struct Cx {
    pub(crate) tx: Rc<Tx>,
    pub(crate) run: Arc<Shared>,
    /// The block whose exits leave this worker by a carrier; exits of every other block are plain calls.
    pub(crate) border: Option<(BlockId, Carrier)>,
    /// The loop in which the worker stands.
    pub(crate) within: Option<Arc<InFlight>>,
    /// The producer that the worker is, if it is one.
    pub(crate) producer: Option<Rc<Producer>>,
    /// Where long runs of bytes lie that come from a worker process.
    pub(crate) shelf: Option<Rc<RefCell<Shelf>>>,
    /// The sinks are built again after a panic: the worker has begun long ago.
    pub(crate) again: bool,
}

impl Cx {
    /// `stage` is the outermost block whose items the worker runs, or the stage outside any.
    pub(crate) fn new(run: &Arc<Shared>, stage: &Arc<str>, border: Option<(BlockId, Carrier)>) -> Self {
        let journal = Journal::new(run.id(), run.run(), Arc::clone(stage));
        Cx {
            tx: Rc::new(Tx::new(journal)),
            run: Arc::clone(run),
            border,
            within: None,
            producer: None,
            shelf: None,
            again: false,
        }
    }
}

/// A place in the graph where items of one type arrive and to which consumers attach while the pipeline is
/// built. With one consumer it is a plain call; with several, each gets a clone.
pub(crate) struct Point<T> {
    consumers: Mutex<Consumers<T>>,
}

struct Consumers<T> {
    makes: Vec<MakeSink<T>>,
    clone: Option<fn(&T) -> T>,
}

impl<T: 'static> Point<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Point { consumers: Mutex::new(Consumers { makes: Vec::new(), clone: None }) })
    }

    pub(crate) fn attach(&self, make: MakeSink<T>) {
        self.consumers.lock().makes.push(make);
    }

    /// Several consumers may attach from now on.
    pub(crate) fn share(&self, clone: fn(&T) -> T) {
        self.consumers.lock().clone = Some(clone);
    }

    pub(crate) fn sink(&self, cx: &mut Cx) -> Result<BoxSink<T>, Failure> {
        let (makes, clone) = {
            let consumers = self.consumers.lock();
            (consumers.makes.clone(), consumers.clone)
        };
        let mut sinks = makes.iter().map(|make| make(cx)).collect::<Result<Vec<_>, _>>()?;
        match (sinks.pop(), clone) {
            (None, _) => Ok(Box::new(Discard)),
            (Some(only), _) if sinks.is_empty() => Ok(only),
            (Some(last), Some(clone)) => Ok(Box::new(Broadcast { others: sinks, last, clone })),
            (Some(_), None) => Err("minigun: a flow with several consumers was never cloned".into()),
        }
    }
}

/// The end of a flow: items are dropped.
pub(crate) struct Discard;

impl<T> Sink<T> for Discard {
    fn push(&mut self, _item: T) -> Result<(), Failure> {
        Ok(())
    }
}

struct Broadcast<T> {
    others: Vec<BoxSink<T>>,
    last: BoxSink<T>,
    clone: fn(&T) -> T,
}

impl<T> Sink<T> for Broadcast<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        for sink in &mut self.others {
            sink.push((self.clone)(&item))?;
        }
        self.last.push(item)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        for sink in &mut self.others {
            sink.settle()?;
        }
        self.last.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        for sink in &mut self.others {
            sink.finish()?;
        }
        self.last.finish()
    }

    fn load(&mut self) -> usize {
        let others = self.others.iter_mut().map(|sink| sink.load()).max();
        others.unwrap_or_default().max(self.last.load())
    }
}
