//! One attempt as a transaction: what it emits, counts and collects is held back until it succeeded.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::failure::Failure;
use crate::journal::Journal;
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
    /// The borders a panic passed through: the least depth of their blocks.
    passed: Cell<u16>,
    /// State made by `_init` closures may be broken, in steps that nobody has made anew yet.
    broken: Cell<bool>,
}

/// A state to which an inner attempt can be undone.
pub(crate) struct Savepoint {
    outlets: Vec<usize>,
    journal: crate::journal::Mark,
}

impl Tx {
    pub(crate) fn new(journal: Journal) -> Self {
        Tx {
            outlets: RefCell::new(Vec::new()),
            journal: Rc::new(journal),
            blamed: RefCell::default(),
            passed: Cell::new(u16::MAX),
            broken: Cell::new(false),
        }
    }

    pub(crate) fn add(&self, outlet: Rc<dyn Outlet>) {
        self.outlets.borrow_mut().push(outlet);
    }

    /// A panic passes through this step; the first one named is the nearest to the cause.
    pub(crate) fn blame(&self, step: &Arc<str>) {
        self.blamed.borrow_mut().get_or_insert_with(|| Arc::clone(step));
    }

    /// A panic passes through the border of a block nested this deep.
    pub(crate) fn pass(&self, depth: u16) {
        self.passed.set(self.passed.get().min(depth));
    }

    /// What a caught panic is as a failure: where it happened, and whose policies may catch it.
    pub(crate) fn panicked(&self, payload: Box<dyn Any + Send>) -> Failure {
        self.place(Failure::from_panic(payload))
    }

    /// Says of a failure made from a panic where that happened.
    pub(crate) fn place(&self, failure: Failure) -> Failure {
        let failure = failure.behind(self.passed.replace(u16::MAX));
        match self.blamed.borrow_mut().take() {
            Some(step) => failure.at(&step),
            None => failure,
        }
    }

    /// A panic broke steps that the one who caught it does not make anew.
    pub(crate) fn set_broken(&self) {
        self.broken.set(true);
    }

    pub(crate) fn take_broken(&self) -> bool {
        self.broken.replace(false)
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
