//! One attempt as a transaction: what it emits, counts and collects is held back until it succeeded.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::journal::Journal;
use crate::queue::Stopped;

/// Something that holds back outputs.
pub(crate) trait Outlet {
    /// How much is held back now; a later `undo` to this mark drops what came after.
    fn mark(&self) -> usize;
    fn undo(&self, mark: usize);
    /// Lets everything held back go on its way.
    fn publish(&self) -> Result<(), Stopped>;
    /// Sent items reach the shared books.
    fn flush(&self) {}
}

/// A worker's running transaction. One per worker; between attempts it is empty.
pub(crate) struct Tx {
    outlets: RefCell<Vec<Rc<dyn Outlet>>>,
    pub(crate) journal: Rc<Journal>,
    blamed: RefCell<Option<Arc<str>>>,
}

/// A state to which an inner attempt can be undone.
pub(crate) struct Savepoint {
    outlets: Vec<usize>,
    journal: super::journal::Mark,
}

impl Tx {
    pub(crate) fn new(pipeline: u64) -> Self {
        Tx {
            outlets: RefCell::new(Vec::new()),
            journal: Rc::new(Journal::new(pipeline)),
            blamed: RefCell::default(),
        }
    }

    pub(crate) fn add(&self, outlet: Rc<dyn Outlet>) {
        self.outlets.borrow_mut().push(outlet);
    }

    /// A panic passes through this step; the first one named is the nearest to the cause.
    pub(crate) fn blame(&self, step: &Arc<str>) {
        self.blamed.borrow_mut().get_or_insert_with(|| Arc::clone(step));
    }

    pub(crate) fn take_blamed(&self) -> Option<Arc<str>> {
        self.blamed.borrow_mut().take()
    }

    /// Forgets all outlets: the worker is about to build its sinks again.
    pub(crate) fn clear(&self) {
        self.flush();
        self.outlets.borrow_mut().clear();
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            outlets: self.outlets.borrow().iter().map(|o| o.mark()).collect(),
            journal: self.journal.mark(),
        }
    }

    pub(crate) fn undo_to(&self, savepoint: &Savepoint) {
        // Outlets made since then held nothing.
        let marks = savepoint.outlets.iter().copied().chain(std::iter::repeat(0));
        for (outlet, mark) in self.outlets.borrow().iter().zip(marks) {
            outlet.undo(mark);
        }
        self.journal.undo_to(&savepoint.journal);
    }

    /// Drops everything the attempt held back.
    pub(crate) fn undo(&self) {
        for outlet in self.outlets.borrow().iter() {
            outlet.undo(0);
        }
        self.journal.undo();
    }

    /// The attempt succeeded: everything it held back goes on. May wait for room downstream.
    pub(crate) fn commit(&self) -> Result<(), Stopped> {
        self.journal.commit();
        for outlet in self.outlets.borrow().iter() {
            outlet.publish()?;
        }
        Ok(())
    }

    /// Committed figures reach the shared books. Outlets whose sink was rebuilt after a panic are let go.
    pub(crate) fn flush(&self) {
        self.outlets.borrow_mut().retain(|outlet| {
            outlet.flush();
            Rc::strong_count(outlet) > 1 || outlet.mark() > 0
        });
    }
}
