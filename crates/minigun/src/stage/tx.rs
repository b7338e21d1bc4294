//! One attempt as a transaction: what it emits, counts and collects is held back until it succeeded.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
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
    /// Those of them that several steps share, by where they lead.
    shared: RefCell<Vec<(*const (), Weak<dyn Any>)>>,
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
            shared: RefCell::default(),
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

    /// The worker's one outlet to this place. Branches that were split and meet again share it, however many ways lead
    /// there through the worker's steps: each of its own would be a lane of the queue, and one more to look after.
    pub(crate) fn sole<O: Outlet + 'static>(&self, place: *const (), make: impl FnOnce() -> O) -> Rc<O> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|(_, outlet)| outlet.strong_count() > 0);
        let there = shared.iter().filter(|(to, _)| *to == place).find_map(|(_, outlet)| outlet.upgrade());
        if let Some(Ok(outlet)) = there.map(|outlet| outlet.downcast::<O>()) {
            return outlet;
        }
        let outlet = Rc::new(make());
        let any: Rc<dyn Any> = Rc::<O>::clone(&outlet);
        shared.push((place, Rc::downgrade(&any)));
        self.add(Rc::<O>::clone(&outlet));
        outlet
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

    /// The panic came from elsewhere.
    pub(crate) fn absolve(&self) {
        self.blamed.take();
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

    /// Waits by `settle` for what is in flight, if anything is.
    #[inline]
    pub(crate) fn settle(&self, settle: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        if self.unsettled.get() {
            settle()?;
            self.unsettled.set(false);
        }
        Ok(())
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
        self.journal.commit();
        self.publish()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counts(Cell<u32>);

    impl Outlet for Counts {
        fn mark(&self) -> usize {
            0
        }

        fn undo(&self, _: usize) {}

        fn publish(&self) -> Result<(), Stopped> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn steps_that_lead_to_one_place_share_an_outlet_as_long_as_one_of_them_lives() {
        let tx = Tx::new(Journal::new(1, 2, "test".into()));
        let (here, there) = (0u8, 0u8);
        let place = |at: &u8| std::ptr::from_ref(at).cast::<()>();
        let first = tx.sole(place(&here), Counts::default);
        let again = tx.sole(place(&here), || -> Counts { unreachable!("there is one") });
        let other = tx.sole(place(&there), Counts::default);
        assert!(Rc::ptr_eq(&first, &again) && !Rc::ptr_eq(&first, &other) && !tx.has_sole_outlet());
        assert!(tx.publish().is_ok());
        assert_eq!((first.0.get(), other.0.get()), (1, 1), "each once");
        drop((first, again));
        tx.flush();
        assert!(tx.has_sole_outlet());
        let anew = tx.sole(place(&here), Counts::default);
        assert_eq!(anew.0.get(), 0);
    }
}
