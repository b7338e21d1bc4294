//! The way from one stage's worker into the queue of the next.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::sink::{Cx, Sink};
use super::tx::Outlet;
use crate::defaults;
use crate::failure::Failure;
use crate::queue::{Sender, Stopped};

/// Holds back a worker's items for one queue until their attempt commits.
struct Edge<T> {
    held: RefCell<VecDeque<T>>,
    sender: Sender<T>,
    sent: Cell<u64>,
}

/// A sink that ends in a queue.
pub(crate) struct EdgeSink<T>(Rc<Edge<T>>);

impl<T: 'static> EdgeSink<T> {
    pub(crate) fn new(cx: &Cx, sender: Sender<T>) -> Self {
        let edge = Rc::new(Edge { held: RefCell::default(), sender, sent: Cell::new(0) });
        cx.tx.add(Rc::clone(&edge) as Rc<dyn Outlet>);
        EdgeSink(edge)
    }
}

impl<T> Sink<T> for EdgeSink<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let mut held = self.0.held.borrow_mut();
        check_held(held.len())?;
        held.push_back(item);
        Ok(())
    }

    fn load(&mut self) -> usize {
        self.0.held.borrow().len() + self.0.sender.queue().load()
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
        self.held.borrow().len()
    }

    fn undo(&self, mark: usize) {
        self.held.borrow_mut().truncate(mark);
    }

    fn publish(&self) -> Result<(), Stopped> {
        let mut held = self.held.borrow_mut();
        let count = held.len();
        if count == 0 {
            return Ok(());
        }
        let result = self.sender.send_run(&mut held);
        self.sent.set(self.sent.get() + (count - held.len()) as u64);
        result
    }

    fn flush(&self) {
        self.sender.queue().add_sent(self.sent.replace(0));
    }
}

impl<T> Drop for Edge<T> {
    fn drop(&mut self) {
        self.flush();
    }
}
