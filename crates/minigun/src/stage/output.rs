//! What a closure emits into.

use std::rc::Rc;
use std::sync::Arc;

use super::edge::Edge;
use super::emit::Emit;
use super::sink::BoxSink;
use crate::failure::Failure;
use crate::shared::Shared;

/// Where a stage's closure emits its items.
///
/// What is emitted during an attempt goes on when the attempt succeeded, and never if it failed. A producer's
/// items go on at once.
pub struct Output<U> {
    way: Way<U>,
    failed: Option<Failure>,
    run: Arc<Shared>,
    pub(crate) emitted: u64,
}

/// Where the items go. What needs no call has a variant of its own: most items go such a way.
enum Way<U> {
    /// Into a queue and nothing else, by the edge; the sink keeps the rest of a sink's duties.
    Edge(Rc<Edge<U>>, BoxSink<U>),
    Sink(BoxSink<U>),
    Producer(Box<Emit<U>>),
}

/// The run is stopping; here is the item back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped<U>(pub U);

impl<U> Output<U> {
    pub(crate) fn new(sink: BoxSink<U>, run: Arc<Shared>) -> Self {
        let way = match sink.edge() {
            Some(edge) => Way::Edge(edge, sink),
            None => Way::Sink(sink),
        };
        Output { way, failed: None, run, emitted: 0 }
    }

    pub(crate) fn of_producer(emit: Emit<U>, run: Arc<Shared>) -> Self {
        Output { way: Way::Producer(Box::new(emit)), failed: None, run, emitted: 0 }
    }

    /// Sends one item on.
    ///
    /// In a producer it waits while the queue behind is full. Once the run is stopping, or a fused step of
    /// this attempt has failed, the item is dropped: the producer's `emit` then counts it as abandoned.
    #[inline(always)]
    pub fn emit(&mut self, item: U) {
        // The usual way, small enough to be inlined into every closure.
        let item = match &mut self.way {
            Way::Edge(edge, _) if self.failed.is_none() => match edge.try_push(item) {
                Ok(()) => return self.emitted += 1,
                Err(item) => item,
            },
            Way::Sink(sink) if self.failed.is_none() => match sink.push(item) {
                Ok(()) => return self.emitted += 1,
                Err(failure) => return self.fail(failure),
            },
            Way::Producer(emit) if self.failed.is_none() => match emit.try_push(item) {
                Ok(()) => return self.emitted += 1,
                Err(item) => item,
            },
            _ => item,
        };
        self.emit_slowly(item);
    }

    /// As [`emit`](Self::emit), of what `make` gives, which is made where it is needed. An item that was written field by
    /// field and is copied at once, in larger pieces than it was written in, costs what several items cost otherwise: the
    /// processor waits until its parts are in memory.
    #[inline(always)]
    pub(crate) fn emit_made(&mut self, make: impl FnOnce() -> U) {
        match &mut self.way {
            Way::Sink(sink) if self.failed.is_none() => match sink.push(make()) {
                Ok(()) => self.emitted += 1,
                Err(failure) => self.fail(failure),
            },
            _ => self.emit(make()),
        }
    }

    #[cold]
    fn fail(&mut self, failure: Failure) {
        self.failed = Some(failure);
    }

    #[inline(never)]
    fn emit_slowly(&mut self, item: U) {
        if self.failed.is_none() {
            let pushed = match &mut self.way {
                Way::Edge(edge, _) => edge.push(item),
                Way::Sink(sink) => sink.push(item),
                Way::Producer(emit) => emit.push(item),
            };
            match pushed {
                Ok(()) => self.emitted += 1,
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// As [`emit`](Self::emit), but gives the item back once the run is stopping.
    #[inline]
    pub fn try_emit(&mut self, item: U) -> Result<(), Stopped<U>> {
        if self.is_stopping() {
            return Err(Stopped(item));
        }
        self.emit(item);
        Ok(())
    }

    /// Sends on what `items` gives, in a producer and as long as that is quickly done; the rest has to be emitted.
    #[inline]
    pub(crate) fn feed(&mut self, items: &mut impl Iterator<Item = U>) {
        if let Way::Producer(emit) = &mut self.way
            && self.failed.is_none()
            && let Err(failure) = emit.feed(items)
        {
            self.fail(failure);
        }
    }

    /// As [`emit`](Self::emit), but says whether the item went on.
    pub(crate) fn try_send(&mut self, item: U) -> Result<(), ()> {
        let before = self.emitted;
        self.emit(item);
        if self.emitted > before { Ok(()) } else { Err(()) }
    }

    /// Whether the run is stopping, so that a producer should end.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.failed.is_some() || self.run.is_stopping()
    }

    pub(crate) fn run(&self) -> &Shared {
        &self.run
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failed.take()
    }

    /// How many items are under way behind here.
    pub(crate) fn load(&mut self) -> usize {
        match &mut self.way {
            Way::Edge(_, sink) | Way::Sink(sink) => sink.load(),
            Way::Producer(_) => 0,
        }
    }

    /// The queue into which everything goes, if it does.
    #[inline]
    pub(crate) fn edge(&self) -> Option<&Rc<Edge<U>>> {
        match &self.way {
            Way::Edge(edge, _) => Some(edge),
            Way::Sink(_) | Way::Producer(_) => None,
        }
    }

    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        match &mut self.way {
            Way::Edge(_, sink) | Way::Sink(sink) => sink.settle(),
            Way::Producer(_) => Ok(()),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match &mut self.way {
            Way::Edge(_, sink) | Way::Sink(sink) => sink.finish(),
            Way::Producer(emit) => emit.finish(),
        }
    }
}

impl<U> Extend<U> for Output<U> {
    fn extend<I: IntoIterator<Item = U>>(&mut self, items: I) {
        let mut items = items.into_iter().fuse();
        self.feed(&mut items);
        while let Some(item) = items.next() {
            self.emit(item);
            self.feed(&mut items);
        }
    }
}
