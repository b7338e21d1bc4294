//! The way from one stage's worker into the queue of the next.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Drain;

use super::series::{Broken, Series};
use super::sink::{Cx, Sink};
use super::tx::Outlet;
use crate::defaults;
use crate::failure::Failure;
use crate::queue::{Queue, Sender, Stopped, Straight};

/// Holds back a worker's items for one queue until their attempt commits. A worker has one for each queue.
///
/// They stand in the queue's lane already, not yet published. What finds no room there waits here.
pub(crate) struct Edge<T> {
    sender: Sender<T>,
    /// Behind what is in the lane.
    held: RefCell<VecDeque<T>>,
    /// Whether `held` has items.
    behind: Cell<bool>,
}

/// A sink that ends in a queue.
pub(crate) struct EdgeSink<T>(Rc<Edge<T>>);

impl<T: 'static> EdgeSink<T> {
    pub(crate) fn new(cx: &Cx, queue: &Arc<Queue<T>>) -> Self {
        let place = Arc::as_ptr(queue).cast();
        EdgeSink(cx.tx.sole(place, || Edge {
            sender: Sender::within(queue, cx.within.as_ref()),
            held: RefCell::default(),
            behind: Cell::new(false),
        }))
    }
}

impl<T> Edge<T> {
    /// Puts the item into the lane, if there is room at hand.
    #[inline]
    pub(crate) fn try_push(&self, item: T) -> Result<(), T> {
        self.sender.try_write(item)
    }

    /// The way in, for whoever has nothing to hold back.
    #[inline]
    pub(crate) fn sender(&self) -> &Sender<T> {
        &self.sender
    }

    /// Publishes by a straight way, which is one of this edge's sender. Says whether there was anything.
    #[inline(always)]
    pub(crate) fn publish_by(&self, straight: &mut Straight<'_, T>) -> Result<bool, Stopped> {
        if !self.behind.get() {
            return straight.publish();
        }
        self.publish()?;
        straight.renew();
        Ok(true)
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Failure> {
        if self.behind.get() {
            return self.hold(item);
        }
        match self.sender.write(item) {
            Ok(()) => Ok(()),
            Err(item) => self.hold(item),
        }
    }

    #[cold]
    fn hold(&self, item: T) -> Result<(), Failure> {
        let mut held = self.held.borrow_mut();
        check_held(self.sender.unpublished() + held.len())?;
        held.push_back(item);
        self.behind.set(true);
        // What comes next goes behind it.
        self.sender.shut();
        Ok(())
    }
}

impl<T> Sink<T> for EdgeSink<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        self.0.push(item)
    }

    /// No user code runs between two items, so that they are published together.
    fn push_run(&mut self, run: &mut Drain<'_, T>, series: &mut Series<'_>) -> Result<(), Broken> {
        let mut count = 0;
        for item in run {
            if let Err(item) = self.0.try_push(item) {
                self.0.push(item)?;
                self.0.publish()?;
            }
            count += 1;
        }
        series.all(count, || self.0.publish())
    }

    fn edge(&self) -> Option<Rc<Edge<T>>> {
        Some(Rc::clone(&self.0))
    }

    fn load(&mut self) -> usize {
        let sender = &self.0.sender;
        self.0.held.borrow().len() + sender.unpublished() + sender.queue().load()
    }
}

/// An error if one output more than these may not be held back.
pub(crate) fn check_held(held: usize) -> Result<(), Failure> {
    if held < defaults::HELD_ITEMS {
        return Ok(());
    }
    Err(format!(
        "one item made more than {} outputs, which are held back until it succeeds; \
         let it make fewer (smaller batches before the block)",
        defaults::HELD_ITEMS
    )
    .into())
}

impl<T> Outlet for Edge<T> {
    fn mark(&self) -> usize {
        self.sender.unpublished() + self.held.borrow().len()
    }

    fn undo(&self, mark: usize) {
        let mut held = self.held.borrow_mut();
        held.truncate(mark.saturating_sub(self.sender.unpublished()));
        self.behind.set(!held.is_empty());
        self.sender.take_back(mark);
    }

    #[inline]
    fn publish(&self) -> Result<(), Stopped> {
        if !self.behind.get() {
            return self.sender.publish();
        }
        let mut held = self.held.borrow_mut();
        let sent = self.sender.send_run(&mut held);
        self.behind.set(!held.is_empty());
        sent
    }

    #[inline]
    fn offer(&self) -> Result<bool, Stopped> {
        self.sender.publish()?;
        Ok(!self.behind.get())
    }

    fn flush(&self) {
        self.sender.flush();
    }
}
