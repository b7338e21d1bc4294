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
    /// Lets everything held back go on its way. May wait for room.
    fn publish(&self) -> Result<(), Stopped>;
    /// As that, but only what need not wait: says whether it was all.
    #[inline]
    fn offer(&self) -> Result<bool, Stopped> {
        self.publish().map(|()| true)
    }
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
    /// How many outlets there are.
    ways: Cell<usize>,
    /// Items were handed to nested threads: the attempt's outcome is known when they are settled.
    unsettled: Cell<bool>,
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
            ways: Cell::new(0),
            unsettled: Cell::new(false),
        }
    }

    pub(crate) fn add(&self, outlet: Rc<dyn Outlet>) {
        let mut outlets = self.outlets.borrow_mut();
        outlets.push(outlet);
        self.ways.set(outlets.len());
    }

    /// Whether all that the worker makes leaves it by one way.
    #[inline]
    pub(crate) fn has_sole_outlet(&self) -> bool {
        self.ways.get() == 1
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

    /// Something was left in flight that `Sink::settle` waits for.
    pub(crate) fn set_unsettled(&self) {
        self.unsettled.set(true);
    }

    #[inline]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.get()
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
        self.unsettled.set(false);
        for outlet in self.outlets.borrow().iter() {
            outlet.undo(0);
        }
        self.journal.undo();
    }

    /// The attempt succeeded: everything it held back goes on. May wait for room downstream.
    #[inline]
    pub(crate) fn commit(&self) -> Result<(), Stopped> {
        self.commit_by(|| self.publish())
    }

    /// As [`commit`](Self::commit), by who knows the way out.
    #[inline]
    pub(crate) fn commit_by(&self, publish: impl FnOnce() -> Result<(), Stopped>) -> Result<(), Stopped> {
        if self.unsettled.get() {
            self.unsettled.set(false);
        }
        self.journal.commit();
        publish()
    }

    #[inline]
    pub(crate) fn publish(&self) -> Result<(), Stopped> {
        if self.ways.get() == 0 { Ok(()) } else { self.publish_all() }
    }

    /// What has room goes first, everywhere. Room that is kept in one queue while this waits for room in another would
    /// be missing to those who take from the other, if the two ways meet again.
    fn publish_all(&self) -> Result<(), Stopped> {
        let outlets = self.outlets.borrow();
        let mut all = true;
        for outlet in outlets.iter() {
            all &= outlet.offer()?;
        }
        if !all {
            outlets.iter().try_for_each(|outlet| outlet.publish())?;
        }
        Ok(())
    }

    /// Committed figures reach the shared books. Outlets whose sink was rebuilt after a panic are let go.
    pub(crate) fn flush(&self) {
        let mut outlets = self.outlets.borrow_mut();
        outlets.retain(|outlet| {
            outlet.flush();
            Rc::strong_count(outlet) > 1 || outlet.mark() > 0
        });
        self.ways.set(outlets.len());
    }
}
